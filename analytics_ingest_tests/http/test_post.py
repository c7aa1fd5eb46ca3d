"""POST requests that read: sent with a JSON body, retried like a GET, and never sent to the target of a redirect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from analytics_ingest.errors import ReadError
from analytics_ingest_tests.conftest import FakeClock
from analytics_ingest_tests.fake_server import KEY, Client, FakeServer, Response

ROWS = {"data": [{"id": 1}]}
BODY = {"updated_at_start": "2026-03-01T00:00:00Z", "text": "Zürich, 東京", "archived": None, "ids": [1, 2]}
GOOD = Response(status=201, body=ROWS)
Ask = Callable[..., Client]
Serve = Callable[..., FakeServer]


def sent(server: FakeServer) -> list[tuple[str, str, Any, str | None, str | None]]:
    """Method, path, parsed body, its type, and the key of each request."""
    return [
        (each.method, each.path, each.json, each.headers.get("Content-Type"), each.headers.get("api_key"))
        for each in server.asked
    ]


POSTED = ("POST", "/rows", BODY, "application/json", KEY)


def test_a_body_is_sent_as_json_and_makes_the_request_a_post(fake_server: Serve, client: Ask) -> None:
    server = fake_server(GOOD)
    asking = client("project_planning", server.url)

    assert asking.get(json=BODY) == ROWS
    assert asking.get(json={}) == ROWS
    assert asking.get() == ROWS
    assert sent(server) == [
        POSTED,
        ("POST", "/rows", {}, "application/json", KEY),
        ("GET", "/rows", None, None, KEY),
    ]


@pytest.mark.parametrize(
    "fault",
    [
        *(Response(status=status, body={"message": "not now"}) for status in (429, 500, 502, 503, 504, 202)),
        Response(body=""),
        Response(fault="reset"),
        Response(body=ROWS, fault="truncate"),
    ],
    ids=["429", "500", "502", "503", "504", "202", "empty", "reset", "truncated"],
)
def test_a_post_is_retried_like_a_get_with_the_same_body(
    fake_server: Serve, client: Ask, clock: FakeClock, fault: Response
) -> None:
    server = fake_server(fault, fault, GOOD)
    asking = client("project_planning", server.url)

    assert asking.get(json=BODY) == ROWS
    assert sent(server) == [POSTED] * 3
    assert clock.slept == [2, 4]
    assert (asking.meter.requests, asking.meter.retries) == (3, 2)


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_post_with_a_final_status_is_not_retried(fake_server: Serve, client: Ask, status: int) -> None:
    server = fake_server(Response(status=status, body={"message": "no"}), GOOD)
    with pytest.raises(ReadError, match=f"^answered {status}: {status}, application/json, ") as error:
        client("project_planning", server.url).get(json=BODY)

    assert (sent(server), error.value.status) == ([POSTED], status)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", ["same", "other"])
def test_a_redirect_of_a_post_is_not_followed(fake_server: Serve, client: Ask, status: int, host: str) -> None:
    other = fake_server(GOOD)
    target = "/elsewhere" if host == "same" else f"{other.url}/rows"
    server = fake_server(Response(status=status, body="", headers={"Location": target}), GOOD)
    with pytest.raises(ReadError, match=f"^answered {status}, a redirect to .*; the key is not sent there"):
        client("project_planning", server.url).get(json=BODY)

    assert (sent(server), other.asked) == ([POSTED], [])
