"""Which requests are retried, after which pauses, and the errors of those that fail."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from analytics_ingest.apis.model import RetryPolicy
from analytics_ingest.errors import ReadError
from analytics_ingest.http.rate_limit import Clock
from analytics_ingest_tests.fake_server import KEY, Response

POLICIES = {
    "experimentation": [2, 4, 8],
    "incident_response": [5, 5],
    "project_planning": [2, 4, 8],
    "continuous_integration": [2, 4, 8],
    "feature_management": [2, 4, 8],
}
ROWS = {"data": [{"id": 1}]}
GOOD = Response(body=ROWS)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("api", POLICIES)
def test_a_status_that_is_retried_is_retried_by_the_policy_of_the_api(fake_server, client, clock, api, status):
    waits = POLICIES[api]
    server = fake_server(Response(status=status, body={"error": "not now"}))
    asking = client(api, server.url)
    with pytest.raises(ReadError) as error:
        asking.get()
    assert (len(server.asked), clock.slept) == (1 + len(waits), waits)
    assert error.value.status == status
    said = f'answered {status}: {status}, application/json, \'{{"error": "not now"}}\''
    assert str(error.value) == said
    meter = asking.meter
    assert (meter.requests, meter.retries, meter.wait_seconds) == (1 + len(waits), len(waits), sum(waits))


@pytest.mark.parametrize(("api", "waits"), POLICIES.items(), ids=POLICIES)
def test_the_last_try_may_succeed(fake_server, client, clock, api, waits):
    server = fake_server(*[Response(status=429)] * len(waits), GOOD)
    assert client(api, server.url).get() == ROWS
    assert (len(server.asked), clock.slept) == (1 + len(waits), waits)


@pytest.mark.parametrize("status", [400, 403, 404, 410, 422])
def test_a_status_that_is_final_is_not_retried(fake_server, client, clock, status):
    server = fake_server(Response(status=status, body="no such thing", content_type="text/plain"), GOOD)
    with pytest.raises(ReadError) as error:
        client("experimentation", server.url).get()
    assert (len(server.asked), clock.slept) == (1, [])
    assert (str(error.value), error.value.status) == (
        f"answered {status}: {status}, text/plain, 'no such thing'",
        status,
    )


def test_an_endpoint_may_retry_more_statuses_than_its_api(fake_server, client, clock):
    server = fake_server(Response(status=404))
    with pytest.raises(ReadError) as error:
        client("feature_management", server.url, status_codes=(404,)).get()
    assert (len(server.asked), clock.slept, error.value.status) == (4, [2, 4, 8], 404)


@pytest.mark.parametrize(
    "broken",
    [
        Response(fault="reset"),
        Response(fault="hang"),
        Response(body=ROWS, fault="truncate"),
        Response(body=b"not gzip", headers={"Content-Encoding": "gzip"}),
    ],
    ids=["reset", "time-out", "truncated", "undecodable"],
)
def test_no_answer_is_retried_by_every_api(fake_server, client, clock, broken):
    server = fake_server(broken, broken, GOOD)
    assert client("incident_response", server.url, read_timeout=0.2).get() == ROWS
    assert (len(server.asked), clock.slept) == (3, [5, 5])


@pytest.mark.parametrize("fault", ["reset", "hang", "truncate"])
def test_no_answer_at_the_last_try_is_an_error_without_a_status(fake_server, client, clock, fault):
    server = fake_server(Response(body=ROWS, fault=fault))
    with pytest.raises(ReadError, match=r"^no answer: .") as error:
        client("experimentation", server.url, read_timeout=0.1).get()
    assert (len(server.asked), clock.slept, error.value.status) == (4, [2, 4, 8], None)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Response(body=b""), "an empty body: 200, application/json"),
        (Response(status=204, body=b"", content_type=None), "an empty body: 204, no content type"),
        (
            Response(body="<html>\n <b>down</b></html>", content_type="text/html"),
            "a body that is not JSON: 200, text/html, '<html> <b>down</b></html>'",
        ),
        (
            Response(body='{"data": [{"id"'),
            'a body that is not JSON: 200, application/json, \'{"data": [{"id"\'',
        ),
        (Response(body={"items": []}), "the body has no 'data': 200, application/json, '{\"items\": []}'"),
        (
            Response(body={"data": None}),
            "'data' in the body holds NoneType, not records: 200, application/json, '{\"data\": null}'",
        ),
    ],
    ids=["empty", "204", "html", "half", "no selector", "null"],
)
def test_a_success_without_the_rows_is_retried_and_then_described(fake_server, client, clock, answer, said):
    server = fake_server(answer)
    with pytest.raises(ReadError) as error:
        client("experimentation", server.url).get()
    assert (len(server.asked), clock.slept) == (4, [2, 4, 8])
    assert (str(error.value), error.value.status) == (said, answer.status)
    again = fake_server(answer, GOOD)
    assert client("experimentation", again.url).get() == ROWS


def test_an_error_shows_the_first_200_characters_of_a_body(fake_server, client):
    server = fake_server(Response(status=400, body="x" * 200 + "y" * 800, content_type="text/plain"))
    with pytest.raises(ReadError) as error:
        client("experimentation", server.url).get()
    assert str(error.value) == f"answered 400: 400, text/plain, '{'x' * 200}…'"


@pytest.mark.parametrize(
    "answer",
    [Response(status=status, body={"error": f"bad key {KEY}"}) for status in (400, 500)]
    + [Response(body=f"<p>{KEY}</p>"), Response(body={"your key": KEY})],
)
def test_a_key_that_the_server_repeats_is_masked_in_errors_and_in_the_log(fake_server, client, caplog, answer):
    caplog.set_level(logging.DEBUG, logger="test")
    server = fake_server(answer)
    with pytest.raises(ReadError) as error:
        client("experimentation", server.url).get()
    assert server.asked[0].headers["api_key"] == KEY
    assert "***" in str(error.value)
    assert KEY not in str(error.value) + caplog.text


def test_each_wait_is_logged_with_its_reason(fake_server, client, caplog):
    caplog.set_level(logging.INFO, logger="test")
    server = fake_server(Response(status=503, body={}), GOOD)
    client("experimentation", server.url).get("/v1/gates?page=2")
    waiting = "experimentation: waiting 2.0 s after try 1 of 4 of GET /v1/gates: "
    assert caplog.messages == [waiting + "answered 503: 503, application/json, '{}'"]


def test_while_paused_only_the_429_of_the_probe_counts_as_a_try(fake_server, client, clock):
    together = threading.Barrier(4)
    refused = threading.Semaphore(4)

    def reply(asked):
        if asked.path != "/first" and refused.acquire(blocking=False):
            together.wait(10)
            return Response(status=429)
        return GOOD

    server = fake_server(reply)
    asking = client("incident_response", server.url)
    asking.get("/first")
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(asking.get, ["/rows"] * 4)) == [ROWS] * 4
    assert (len(server.asked), clock.slept) == (1 + 4 + 4, [5])
    assert (asking.meter.requests, asking.meter.retries) == (9, 4)


def test_a_request_that_waits_for_its_next_try_holds_no_slot(fake_server, client):
    server = fake_server(Response(status=500), GOOD)
    asking = client(
        "experimentation",
        server.url,
        max_in_flight=1,
        clock=Clock(sleep=lambda _: asking.get("/meanwhile")),
    )
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(asking.get, "/rows").result(timeout=10) == ROWS
    assert [asked.path for asked in server.asked] == ["/rows", "/meanwhile", "/rows"]


def test_no_more_requests_are_under_way_than_allowed(start_sandbox, client):
    server = start_sandbox(latency=0.02)
    asking = client(
        "experimentation",
        server.base_url("experimentation"),
        max_in_flight=3,
        api_key=server.options.api_keys["experimentation"],
    )
    with ThreadPoolExecutor(12) as pool:
        bodies = list(pool.map(asking.get, ["/v1/gates"] * 24))
    assert [len(body["data"]) for body in bodies] == [6] * 24
    assert server.requests.max_in_flight["experimentation"] == 3


PATIENT = RetryPolicy(max_retries=2, backoff_factor=1, limit_retries=4)


def test_refusals_by_a_limit_may_have_a_count_of_their_own(fake_server, client, clock):
    limited, broken = Response(status=429), Response(status=500)
    server = fake_server(limited, limited, broken, limited, broken, limited, GOOD)
    assert client("experimentation", server.url, retry=PATIENT).get() == ROWS
    assert (len(server.asked), clock.slept) == (7, [1, 2, 4, 8, 16, 32])


@pytest.mark.parametrize(("status", "tries"), [(429, 5), (500, 3), (503, 3)])
def test_each_count_ends_by_itself(fake_server, client, clock, status, tries):
    server = fake_server(Response(status=status))
    with pytest.raises(ReadError, match=f"^answered {status}: "):
        client("experimentation", server.url, retry=PATIENT).get()
    assert len(server.asked) == tries


def test_a_policy_without_retries_asks_once_whatever_it_counts(fake_server, client, clock):
    server = fake_server(Response(status=429))
    with pytest.raises(ReadError, match=r"^answered 429: "):
        client("experimentation", server.url, retry=PATIENT.without_retries).get()
    assert (len(server.asked), clock.slept) == (1, [])


def test_a_proxy_of_the_environment_is_used(fake_server, client, monkeypatch):
    proxy = fake_server(GOOD)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert client("experimentation", "http://upstream.invalid").get() == ROWS
    assert [(asked.headers["Host"], asked.path) for asked in proxy.asked] == [("upstream.invalid", "/rows")]


def test_what_is_not_to_go_through_the_proxy_does_not(fake_server, client, monkeypatch):
    server, proxy = fake_server(GOOD), fake_server(Response(status=500))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert client("experimentation", server.url).get() == ROWS
    assert (len(server.asked), len(proxy.asked)) == (1, 0)
