"""Error responses, rate limits and the responses of faults."""

from __future__ import annotations

import asyncio
import math
import time
from email.utils import formatdate
from http import HTTPStatus
from http.client import responses
from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.types import Send

    from analytics_ingest.sandbox.options import Fault, Options
    from analytics_ingest.sandbox.request_log import RequestRecord

JSON = "application/json"
PIECES = 10
"""Pieces in which ``drip_response`` sends a body."""


def json_response(content: Any, status: int = 200, *, headers: dict[str, str] | None = None) -> Response:
    """A response with ``content`` as JSON."""
    return Response(orjson.dumps(content), status, headers, JSON)


def error_response(status: int, message: str, *, headers: dict[str, str] | None = None) -> Response:
    """An error in the form that all five APIs give it."""
    return json_response({"error": message, "status": status}, status, headers=headers)


def fault_response(fault: Fault) -> Response:
    """The status, body and headers of a fault."""
    body = fault.body
    if fault.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        body = b""
    if body is None:
        return error_response(fault.status, responses.get(fault.status, "fault"), headers=fault.headers)
    content = orjson.dumps(body) if isinstance(body, dict) else body
    # as a header: Starlette adds a charset to a media type
    return Response(content, fault.status, {"content-type": fault.content_type, **fault.headers})


async def send_response(record: RequestRecord, response: Response, send: Send, *, part: int | None = None) -> None:
    """Sends a response and records its status.

    Args:
        record: The request's record.
        response: The response.
        send: The ASGI callable.
        part: Bytes of the body to send without ending it; the whole body by default. The header ``content-length``
            states the whole body either way.
    """
    record.status = response.status_code
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body[:part], "more_body": part is not None})


async def drip_response(record: RequestRecord, response: Response, send: Send, *, seconds: float) -> None:
    """Sends a response in ``PIECES``, spread over ``seconds``, and records its status."""
    record.status = response.status_code
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    body = bytes(response.body)
    size = math.ceil(len(body) / PIECES)
    for start in range(0, len(body), max(1, size)):
        await send({"type": "http.response.body", "body": body[start : start + size], "more_body": True})
        await asyncio.sleep(seconds / PIECES)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class RateLimit:
    """A fixed window of requests for one API."""

    def __init__(self) -> None:
        self._started = -math.inf
        self._count = 0

    def refuse(self, options: Options) -> Response | None:
        """Counts a request; gives the 429 if the window has too many."""
        if options.rate_limit is None:
            return None
        now = time.monotonic()
        if now - self._started >= options.rate_window:
            self._started, self._count = now, 0
        self._count += 1
        if self._count <= options.rate_limit:
            return None
        wait = self._started + options.rate_window - now
        seconds = max(1, math.ceil(wait))
        reset = math.ceil(time.time() + wait)
        headers = {
            "retry-after": {"retry-after": str(seconds)},
            "retry-after-date": {"retry-after": formatdate(reset, usegmt=True)},
            "x-ratelimit-reset": {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(reset)},
            "x-ratelimit-reset-delta": {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(seconds)},
            "none": {},
        }[options.rate_headers]
        return error_response(429, "rate limit exceeded", headers=headers)
