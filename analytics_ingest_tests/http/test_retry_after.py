"""How long a server's headers make a request wait, in the forms in use."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate

import pytest

from analytics_ingest.errors import LimitReachedError, ReadError
from analytics_ingest_tests.fake_server import Response

ROWS = {"data": [{"id": 1}]}
GOOD = Response(body=ROWS)


@pytest.mark.parametrize(
    ("value", "wait"), [("7", 7), ("1", 2), ("0", 2), ("120", 120), ("-3", 2), ("soon", 2), ("", 2)]
)
def test_a_longer_retry_after_wins_over_the_policy(fake_server, client, clock, value, wait):
    for status in (429, 503):
        server = fake_server(Response(status=status, headers={"Retry-After": value}), GOOD)
        assert client("experimentation", server.url).get() == ROWS
    assert clock.slept == [wait, wait]


@pytest.mark.parametrize(("ahead", "wait"), [(30, 30), (1, 2), (-60, 2)])
def test_retry_after_may_be_a_date(fake_server, client, clock, ahead, wait):
    date = formatdate(clock.moment + ahead, usegmt=True)
    server = fake_server(Response(status=429, headers={"Retry-After": date}), GOOD)
    assert client("experimentation", server.url).get() == ROWS
    assert clock.slept == [wait]


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"X-RateLimit-Reset": "1800000042"}, 42),
        ({"X-RateLimit-Reset": "1799999000"}, 2),
        ({"X-RateLimit-Reset": "17"}, 17),
        ({"RateLimit-Reset": "17"}, 17),
        ({"x-ratelimit-reset": "17.5"}, 17.5),
        ({"X-RateLimit-Reset": "later"}, 2),
        ({"X-RateLimit-Reset-Seconds-Org": "6", "X-RateLimit-Reset-Seconds-IP": "9"}, 9),
        ({"X-RateLimit-Reset-Seconds-Org": "11", "X-RateLimit-Reset-Seconds-IP": "9"}, 11),
        ({"X-RateLimit-Reset-Seconds-Org": "6", "X-RateLimit-Reset-Seconds-IP": ""}, 6),
        ({"Retry-After": "3", "X-RateLimit-Reset": "8"}, 8),
        ({"X-RateLimit-Remaining": "70", "X-RateLimit-Limit": "80"}, 2),
    ],
)
def test_a_429_is_waited_out_in_every_dialect(fake_server, client, clock, headers, wait):
    server = fake_server(Response(status=429, headers=headers), GOOD)
    assert client("experimentation", server.url).get() == ROWS
    assert (len(server.asked), clock.slept) == (2, [wait])


def test_a_server_error_is_not_waited_out_until_the_rate_limit_is_reset(fake_server, client, clock):
    standing = {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "99", "X-RateLimit-Reset": "600"}
    server = fake_server(Response(status=502, headers=standing), GOOD)
    assert client("experimentation", server.url).get() == ROWS
    assert clock.slept == [2]


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (429, "raise it, or lower SOURCES__EXPERIMENTATION__REQUESTS_PER_MINUTE"),
        (503, "raise it, or sync later"),
    ],
)
def test_a_pause_longer_than_max_wait_fails_at_once(fake_server, client, clock, status, advice):
    server = fake_server(Response(status=status, headers={"Retry-After": "61"}), GOOD)
    with pytest.raises(ReadError) as error:
        client("experimentation", server.url, max_wait=60).get()
    assert (len(server.asked), clock.slept, error.value.status) == (1, [], status)
    assert str(error.value) == (
        f"answered {status} and requested a pause of 61 s, longer than SOURCES__EXPERIMENTATION__MAX_WAIT (60 s) "
        f"allows: {advice}"
    )


def test_no_request_is_sent_until_a_limit_that_is_not_waited_for_is_reset(fake_server, client, clock):
    server = fake_server(Response(status=429, headers={"X-RateLimit-Reset": str(clock.moment + 3600)}), GOOD)
    one = client("experimentation", server.url)
    errors = []
    for path in ("/rows", "/others", "/rows"):
        with pytest.raises(LimitReachedError) as error:
            one.get(path)
        errors.append(str(error.value))
        clock.moment += 1799
    assert len(set(errors)) == 1
    assert ([asked.path for asked in server.asked], clock.slept, one.meter.requests) == (["/rows"], [], 1)

    clock.moment += 3
    assert one.get("/others") == ROWS
    assert len(server.asked) == 2


def test_a_pause_that_one_path_requests_holds_back_no_other(fake_server, client):
    server = fake_server(Response(status=503, headers={"Retry-After": "3600"}), GOOD)
    one = client("experimentation", server.url)
    with pytest.raises(ReadError, match="503"):
        one.get()
    assert one.get("/others") == ROWS


def test_a_pause_of_max_wait_is_waited_for(fake_server, client, clock):
    server = fake_server(Response(status=429, headers={"Retry-After": "60"}), GOOD)
    assert client("experimentation", server.url, max_wait=60).get() == ROWS
    assert clock.slept == [60]


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        (lambda now: datetime.fromtimestamp(now + 30, UTC).isoformat(), 30),
        (lambda now: datetime.fromtimestamp(now + 30.5, UTC).isoformat(), 30.5),
        (lambda now: datetime.fromtimestamp(now + 30, UTC).strftime("%Y-%m-%dT%H:%M:%S"), 30),
        (lambda now: datetime.fromtimestamp(now + 30, UTC).strftime("%a, %d %b %Y %H:%M:%S"), 30),
        (lambda now: datetime.fromtimestamp(now + 30, UTC).strftime("%a, %d %b %Y %H:%M:%S -0000"), 30),
        (lambda now: "7.25", 7.25),
        (lambda now: "-5", 2),
        (lambda now: "nan", 2),
        (lambda now: "-inf", 2),
        (lambda now: "0001-01-01T00:00:00+14:00", 2),
        (lambda now: "Mon, 99 Jan 99999 99:99:99 GMT", 2),
    ],
)
def test_a_pause_comes_in_many_forms(fake_server, client, clock, monkeypatch, value, wait):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    server = fake_server(Response(status=429, headers={"Retry-After": value(clock.moment)}), GOOD)
    assert client("experimentation", server.url).get() == ROWS
    assert clock.slept == [pytest.approx(wait)]


@pytest.mark.parametrize("value", ["inf", "9" * 400, "1e300", "9999-12-31T23:59:59Z", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_pause_that_never_ends_fails_at_once(fake_server, client, clock, value):
    server = fake_server(Response(status=429, headers={"Retry-After": value}), GOOD)
    with pytest.raises(ReadError, match=r"MAX_WAIT \(900 s\) allows: raise it"):
        client("experimentation", server.url).get()
    assert clock.slept == []
