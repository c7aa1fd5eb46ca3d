"""Limits when a request may be sent: requests in flight, requests per minute, and the pause after a 429."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyrate_limiter import Limiter, Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from analytics_ingest.config.api_settings import Settings
    from analytics_ingest.errors import IngestError


@dataclass(frozen=True)
class Clock:
    """The clock of a session, so that tests can fake time."""

    now: Callable[[], float] = time.time
    """UTC epoch seconds."""
    sleep: Callable[[float], None] = time.sleep

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        """Waits until a condition, which the caller holds, is notified; at most so many seconds."""
        changed.wait(seconds)


def rate_limiter(requests_per_minute: int) -> Limiter:
    """A limiter that spreads requests over the minute: servers refuse a burst of a minute's worth."""
    burst = max(1, requests_per_minute // 60)
    return Limiter(Rate(burst, round(60_000 * burst / requests_per_minute)), buffer_ms=1)


class RequestTicket:
    """Identifies one request to the throttle, from its first attempt to its last."""


class RequestThrottle:
    """Limits the requests of one API, shared by all threads.

    A request takes a slot while it is in flight; a request that waits holds none. The throttle is in one of three
    states::

        open      requests are sent as slots and the rate per minute allow
        on trial  one request, the trial, is being sent or retried; the others wait
        paused    no request is sent; the next one that is ready becomes the trial

        open      -- a 429 -->                        on trial: that request is the trial
        on trial  -- the trial gets a response -->    open
        on trial  -- another 429 -->                  on trial
        on trial  -- the trial is given up -->        paused

    A throttle starts paused, so that the first request shows whether the key is accepted before others follow.
    """

    def __init__(self, settings: Settings) -> None:
        self._changed = threading.Condition()
        self._slots = settings.max_in_flight
        self._is_open = False
        self._is_starting = True
        self._pauses = 0
        self._trial: RequestTicket | None = None
        self._shut_by: IngestError | None = None
        limit = settings.requests_per_minute
        self._limiter = rate_limiter(limit) if limit else None

    @contextmanager
    def slot(self, ticket: RequestTicket) -> Iterator[int]:
        """Waits until ``ticket`` may be sent, and holds a slot; gives the number of pauses so far.

        Raises:
            IngestError: The throttle is shut.
        """
        if self._limiter:
            with self._changed:
                self._changed.wait_for(lambda: self._admits(ticket))
            self._limiter.try_acquire("request")
        with self._changed:
            self._changed.wait_for(lambda: self._shut_by or (self._slots > 0 and self._admits(ticket)))
            if self._shut_by:
                raise self._shut_by
            if not self._is_open:
                self._trial = ticket
            self._slots -= 1
            pauses = self._pauses
        try:
            yield pauses
        finally:
            with self._changed:
                self._slots += 1
                self._changed.notify_all()

    def pause(self, ticket: RequestTicket, *, pauses_seen: int) -> bool:
        """Reports a 429, and gives whether ``ticket`` is the trial from now on.

        Args:
            ticket: The request. It does not become the trial if another request has paused the throttle since it was
                sent: then its 429 repeats what is known.
            pauses_seen: The number that ``slot`` gave.
        """
        with self._changed:
            if self._trial is not ticket and (not self._is_open or pauses_seen != self._pauses):
                return False
            self._pauses += 1
            self._is_open = self._is_starting = False
            self._trial = ticket
            return True

    def resume(self, ticket: RequestTicket) -> None:
        """Reports a response other than 401 and 429: if ``ticket`` is the trial, all requests may be sent."""
        with self._changed:
            if self._trial is ticket:
                self._is_open, self._is_starting = True, False
                self._trial = None
                self._changed.notify_all()

    def no_response(self, ticket: RequestTicket) -> None:
        """Reports that ``ticket`` got no response. After the first request, the others stop waiting."""
        if self._is_starting:
            self.resume(ticket)

    def shut(self, error: IngestError) -> None:
        """Makes every request fail with ``error`` from now on: the API refused the key, or the sync has ended."""
        with self._changed:
            self._shut_by = error
            self._changed.notify_all()

    def is_trial(self, ticket: RequestTicket) -> bool:
        """Whether all other requests wait for ``ticket``."""
        with self._changed:
            return self._trial is ticket

    def release(self, ticket: RequestTicket) -> None:
        """Reports that ``ticket`` is done. If it was the trial, the next waiting request takes its place."""
        with self._changed:
            if self._trial is ticket:
                self._trial = None
                self._changed.notify_all()

    def close(self) -> None:
        """Stops the limiter's thread."""
        if self._limiter:
            self._limiter.close()

    def _admits(self, ticket: RequestTicket) -> bool:
        return self._is_open or self._trial is None or self._trial is ticket
