"""Many workers against a server that limits its rate, with real time: all are served, and pauses are kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from analytics_ingest.http.rate_limit import Clock
from analytics_ingest_tests.fake_server import Response

API = "experimentation"
WORKERS = 32


@pytest.fixture
def asking(client):
    """A session of 32 requests in flight that waits for real."""

    def make(server, **settings):
        key = server.options.api_keys[API]
        return client(API, server.base_url(API), clock=Clock(), api_key=key, max_in_flight=WORKERS, **settings)

    return make


def ask(session, times):
    with ThreadPoolExecutor(WORKERS) as pool:
        return [body["data"] for body in pool.map(session.get, ["/v1/gates"] * times)]


def test_a_limit_of_our_own_keeps_under_that_of_a_server_that_states_none(start_sandbox, asking):
    server = start_sandbox(rate_limit=30, rate_window=2.0, rate_headers="none")
    session = asking(server, requests_per_minute=780)
    assert ask(session, 50) == [server.world.collection(API, "gates")] * 50
    assert [record.status for record in server.requests] == [200] * 50
    assert (session.meter.requests, session.meter.retries) == (50, 0)


def test_after_a_pause_one_request_probes_before_the_others_follow(start_sandbox, asking):
    server = start_sandbox(rate_limit=30, rate_window=2.0, rate_headers="retry-after", latency=0.02)
    session = asking(server)
    assert ask(session, 50) == [server.world.collection(API, "gates")] * 50
    records = list(server.requests)
    refused = server.requests.count(status=429)
    assert len(records) == session.meter.requests == 50 + refused
    pauses = [number for number in range(1, len(records)) if records[number].at - records[number - 1].at > 1.5]
    assert len(pauses) >= 1
    for number in pauses:
        probe, follower = records[number], records[number + 1]
        # the next request came only when the probe was answered
        assert (probe.status, probe.in_flight, follower.in_flight) == (200, 1, 1)


def test_while_a_server_refuses_everything_only_one_request_goes_on_asking(start_sandbox, asking):
    server = start_sandbox(rate_limit=40, rate_window=2.0, rate_headers="retry-after")
    ask(asking(server), 40)
    server.requests.reset()
    session = asking(server)
    assert ask(session, WORKERS) == [server.world.collection(API, "gates")] * WORKERS
    assert [record.status for record in server.requests] == [429] + [200] * WORKERS
    assert (session.meter.requests, session.meter.retries) == (WORKERS + 1, 1)


def test_the_first_request_goes_alone(start_sandbox, asking):
    server = start_sandbox(latency=0.05)
    ask(asking(server), WORKERS)
    first, second, *_ = server.requests
    assert (first.in_flight, second.in_flight) == (1, 1)
    assert server.requests.max_in_flight[API] > 1


@pytest.mark.parametrize("first", [Response(status=500), Response(fault="reset"), Response(status=403)])
def test_a_first_request_that_fails_holds_nobody_up(fake_server, client, first):
    server = fake_server(first, Response(body={"data": [1]}))
    session = client("incident_response", server.url, max_in_flight=2)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(session.get) for _ in range(4)]
        failed = [each for each in asked if each.exception(timeout=10)]
    assert len(failed) == (first.status == 403)


def test_when_a_probe_gives_up_another_request_takes_its_place(fake_server, client, clock):
    tries = 3
    server = fake_server(*[Response(status=429)] * tries, Response(body={"data": [1]}))
    session = client("incident_response", server.url)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(session.get) for _ in range(8)]
        reasons = [str(each.exception(timeout=10)) for each in asked if each.exception(timeout=10)]
    assert len(reasons) == 1
    assert reasons[0].startswith("answered 429: ")
    assert (len(server.asked), clock.slept) == (tries + 7, [5, 5])
