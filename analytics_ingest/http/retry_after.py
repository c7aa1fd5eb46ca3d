"""Parses how long a server requests to wait: ``Retry-After``, and the headers that state when a rate limit is reset."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from analytics_ingest.timestamps import to_utc

if TYPE_CHECKING:
    from collections.abc import Mapping

EPOCH_SECONDS = 1_000_000_000
"""Numbers above this are a time in epoch seconds, and above a thousand times this in milliseconds; smaller ones are
seconds to wait."""
RESET_HEADERS = ("ratelimit-reset", "x-ratelimit-reset")
RESET_HEADER_PREFIX = "x-ratelimit-reset-seconds"


def retry_after(headers: Mapping[str, str], *, now: float, rate_limited: bool) -> float:
    """Seconds to wait before the next attempt; the longest of several headers wins, and 0 stands for none.

    All of these request 30 seconds at 08:00:00 UTC on 15 January 2027, the last three only with a 429::

        Retry-After: 30
        Retry-After: Fri, 15 Jan 2027 08:00:30 GMT
        RateLimit-Reset: 30
        X-RateLimit-Reset: 1800000030
        X-RateLimit-Reset-Seconds-Org: 30

    Args:
        headers: The response's headers.
        now: UTC epoch seconds.
        rate_limited: Whether the response is a 429. Servers send the reset headers with other responses too, where
            they request no wait.
    """
    seconds = [0.0]
    for name, value in headers.items():
        lower = name.lower()
        is_reset = lower in RESET_HEADERS or lower.startswith(RESET_HEADER_PREFIX)
        if lower == "retry-after" or (is_reset and rate_limited):
            seconds.append(_seconds(value, now))
    return max(seconds)


def _seconds(value: str, now: float) -> float:
    """Seconds to wait, from seconds, epoch seconds, epoch milliseconds, an HTTP date or an ISO 8601 time."""
    try:
        number = float(value)
    except ValueError:
        time = _parse_time(value)
        return time.timestamp() - now if time else 0.0
    if math.isnan(number):
        return 0.0
    if number > 1000 * EPOCH_SECONDS:
        number /= 1000
    return number - now if number > EPOCH_SECONDS else number


def _parse_time(value: str) -> datetime | None:
    """An HTTP date or an ISO 8601 time; UTC if it has no zone."""
    try:
        time = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        time = to_utc(value)
    if not isinstance(time, datetime):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
