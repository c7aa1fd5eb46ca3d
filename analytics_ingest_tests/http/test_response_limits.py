"""What one answer may cost: bytes, memory, time; and how a wait ends."""

from __future__ import annotations

import gzip
import resource
import threading
import time
import zlib
from functools import cache

import pytest

from analytics_ingest.errors import FinalReadError, ReadError
from analytics_ingest_tests.fake_server import Response
from analytics_ingest_tests.raw_server import send_for_ever, singly
from analytics_ingest_tests.waiting import eventually

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ROWS = {"data": [{"id": 1}]}
TOO_LARGE = (
    "the answer is larger than SOURCES__EXPERIMENTATION__MAX_ANSWER_BYTES allows (1,000,000 bytes): "
    "lower the rows per page, or raise the setting"
)
TOO_LATE = "no answer: it was incomplete after 0.5 s, the time that SOURCES__EXPERIMENTATION__ANSWER_TIMEOUT allows"


@cache
def blanks_in(coding):
    """64 MiB of blanks in some 300 kB, packed once or twice."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 15 if coding == "deflate" else 31)
    packed = b"".join(packer.compress(b" " * 2**20) for _ in range(64)) + packer.flush()
    return gzip.compress(packed) if coding == "gzip, gzip" else packed


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65_536 + b"\r\n"),
        (OK + b"Content-Length: 1073741824\r\n\r\n", b" " * 65_536),
        (OK + b"\r\n", b" " * 65_536),
        (OK + b"\r\n", b'{"data": [{"id": "' + b"x" * 65_536),
        (OK + b"Content-Encoding: identity\r\n\r\n", b" " * 65_536),
    ],
    ids=["chunked", "length", "no length", "one text", "identity"],
)
def test_a_body_without_an_end_is_refused_at_a_size_and_not_requested_again(raw_server, client, clock, head, part):
    server = raw_server(send_for_ever(head, [part]))
    with pytest.raises(FinalReadError) as error:
        client("experimentation", server.url, max_answer_bytes=1_000_000).get()
    assert str(error.value) == TOO_LARGE
    assert (len(server.requests), clock.slept) == (1, [])


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "gzip, gzip"])
def test_a_small_body_that_unpacks_to_a_big_one_is_refused_in_little_memory(fake_server, client, clock, coding):
    server = fake_server(Response(body=blanks_in(coding), headers={"Content-Encoding": coding}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FinalReadError) as error:
        client("experimentation", server.url, max_answer_bytes=1_000_000).get()
    assert str(error.value) == TOO_LARGE
    assert (len(server.asked), clock.slept) == (1, [])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024


@pytest.mark.parametrize("size", [1_000_000, 1_000_001])
@pytest.mark.parametrize("coding", ["", "gzip"])
def test_the_bound_is_exact(fake_server, client, size, coding):
    body = b'{"data": []}'.ljust(size)
    headers = {"Content-Encoding": coding} if coding else {}
    server = fake_server(Response(body=gzip.compress(body) if coding else body, headers=headers))
    asking = client("experimentation", server.url, max_answer_bytes=1_000_000)
    if size > 1_000_000:
        with pytest.raises(FinalReadError):
            asking.get()
    else:
        assert asking.get() == {"data": []}


def test_a_bound_below_a_step_holds_too(fake_server, client):
    server = fake_server(Response(body=b'{"data": []}'.ljust(101)), Response(body=b'{"data": []}'.ljust(100)))
    asking = client("experimentation", server.url, max_answer_bytes=100)
    with pytest.raises(FinalReadError):
        asking.get()
    assert asking.get() == {"data": []}


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_of_an_error_only_the_beginning_is_read(raw_server, client, clock, status):
    head = OK.replace(b"200", str(status).encode()) + b"Content-Type: text/plain\r\n\r\n"
    server = raw_server(send_for_ever(head, [b"no " * 10_000]))
    with pytest.raises(Exception, match="no no no") as error:
        client("experimentation", server.url, max_answer_bytes=1_000_000).get()
    assert len(str(error.value)) < 500
    assert len(server.requests) == (4 if status == 500 else 1)


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, BR"])
def test_a_coding_that_was_not_asked_for_is_no_answer(fake_server, client, coding):
    server = fake_server(Response(body=b"x", headers={"Content-Encoding": coding}), Response(body=ROWS))
    assert client("experimentation", server.url).get() == ROWS
    assert len(server.asked) == 2


SLOW = {
    "head": (b"", singly(OK + b"X-Padding: " + b"x" * 60_000), 0.05),
    "body": (OK + b"Content-Length: 100000\r\n\r\n", [b" "], 0.05),
    "body without length": (OK + b"\r\n" + b'{"data": []}', [b" "], 0.05),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", singly(b"1\r\n \r\n"), 0.02),
    "trailers": (
        OK + b"Transfer-Encoding: chunked\r\n\r\nc\r\n" + b'{"data": []}\r\n0\r\n',
        singly(b"X: y\r\n"),
        0.02,
    ),
    "100 Continue": (b"", [b"HTTP/1.1 100 Continue\r\n\r\n"], 0.01),
    "empty blocks of deflate": (
        OK + b"Content-Encoding: deflate\r\n\r\n" + zlib.compressobj().flush(zlib.Z_SYNC_FLUSH),
        [b"\0\0\0\xff\xff"],
        0.001,
    ),
}
"""By name what comes at once, the pieces that come then for ever, and the seconds between them."""


@pytest.fixture(params=SLOW)
def slow_server(request, raw_server):
    """A server whose answers never end."""
    head, pieces, seconds = SLOW[request.param]
    return raw_server(send_for_ever(head, pieces, seconds=seconds))


def test_an_answer_that_never_ends_is_ended_and_requested_again_by_the_policy(slow_server, client, clock):
    started = time.monotonic()
    with pytest.raises(ReadError) as error:
        client("incident_response", slow_server.url, read_timeout=2, answer_timeout=0.5).get()
    assert time.monotonic() - started < 3 * 0.5 + 2
    assert str(error.value) == TOO_LATE.replace("EXPERIMENTATION", "INCIDENT_RESPONSE")
    assert (len(slow_server.requests), clock.slept, error.value.status) == (3, [5, 5], None)


def test_a_tls_handshake_that_never_ends_is_ended(raw_server, client):
    # a record of TLS that is announced and comes byte by byte
    record = singly(b"\x16\x03\x03\x40\x00" + b"\0" * 16_000)
    server = raw_server(send_for_ever(b"", record, seconds=0.05), read_head=False)
    started = time.monotonic()
    asking = client("experimentation", server.url.replace("http", "https"), read_timeout=2, answer_timeout=0.5)
    with pytest.raises(ReadError) as error:
        asking.get()
    assert time.monotonic() - started < 4 * 0.5 + 3
    assert str(error.value) == TOO_LATE


def test_a_slow_answer_that_ends_in_time_is_one(raw_server, client):
    def serve(connection, server):
        for byte in singly(OK + b"Content-Length: 12\r\n\r\n" + b'{"data": []}'):
            connection.sendall(byte)
            server.over.wait(0.002)
        server.over.wait(5)

    assert client("experimentation", raw_server(serve).url, read_timeout=1, answer_timeout=5).get() == {"data": []}


def test_a_connection_serves_again_after_its_answer(fake_server, client):
    server = fake_server(Response(body=ROWS))
    asking = client("experimentation", server.url, answer_timeout=0.3)
    for _ in range(5):
        assert asking.get() == ROWS
        time.sleep(0.1)


@pytest.mark.parametrize("slow_server", ["head", "body"], indirect=True)
def test_closing_the_session_ends_its_requests_at_once(slow_server, client, clock):
    asking = client("experimentation", slow_server.url)
    errors = []

    def ask():
        try:
            asking.get()
        except ReadError as error:
            errors.append(str(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    eventually(lambda: slow_server.requests, 10)
    asking.close()
    thread.join(2)
    assert errors == ["the sync has ended"]


def test_answers_share_the_bytes_in_memory_until_they_are_released(fake_server, client):
    body = b'{"data": []}'.ljust(300_000)
    server = fake_server(Response(body=body))
    asking = client("experimentation", server.url, max_bytes_in_flight=700_000)
    asking.get()
    kept = [asking.send() for _ in range(2)]
    third = threading.Thread(target=lambda: kept.append(asking.send()), daemon=True)
    third.start()
    third.join(0.3)
    assert third.is_alive()
    kept[0].release()
    third.join(3)
    assert len(kept) == 3
    assert [answer.content for answer in kept] == [b""] * 3


def test_waiting_for_bytes_is_not_the_servers_time(fake_server, client):
    server = fake_server(Response(body=b'{"data": []}'.ljust(300_000)))
    asking = client("experimentation", server.url, max_bytes_in_flight=350_000, answer_timeout=0.4)
    asking.get()
    kept = [asking.send()]
    second = threading.Thread(target=lambda: kept.append(asking.send()), daemon=True)
    second.start()
    second.join(1)
    kept[0].release()
    second.join(3)
    assert len(kept) == 2
    assert asking.meter.retries == 0
