"""When a request may leave: slots in flight, requests per minute, and the pauses that a server asks for."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyrate_limiter import Limiter, Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from analytics_ingest.config.api import Settings
    from analytics_ingest.errors import IngestError


@dataclass(frozen=True)
class Clock:
    """Time as the session sees it, so that tests can fake it."""

    now: Callable[[], float] = time.time
    """UTC epoch seconds."""
    sleep: Callable[[float], None] = time.sleep

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        """Waits for a condition, which the caller holds, to be notified of; for so many seconds at most."""
        changed.wait(seconds)


def rate_limiter(requests_per_minute: int) -> Limiter:
    """A limiter that spreads requests over the minute: a burst of a minute's worth would itself be refused."""
    burst = max(1, requests_per_minute // 60)
    return Limiter(Rate(burst, round(60_000 * burst / requests_per_minute)), buffer_ms=1)


@dataclass(eq=False)
class RequestTicket:
    """One request's claim on the gate, from its first try to its last; ``limited`` counts its own 429s."""

    limited: int = 0


class RequestThrottle:
    """One API's gate. A 429 closes it for everyone; the request that met it probes, the others wait.

    It is closed at first: the first request shows whether the key is accepted before others follow. A request
    that waits holds no slot.
    """

    def __init__(self, settings: Settings) -> None:
        self._changed = threading.Condition()
        self._slots = settings.max_in_flight
        self._closed = True
        self._starting = True
        self._pauses = 0
        self._prober: RequestTicket | None = None
        self._refused: IngestError | None = None
        limit = settings.requests_per_minute
        self._limiter = rate_limiter(limit) if limit else None

    @contextmanager
    def slot(self, ticket: RequestTicket) -> Iterator[int]:
        """Holds one of the API's slots, once there is one and the gate is open for ``ticket``.

        Gives the number of pauses there have been so far.

        Raises:
            IngestError: Nothing is let out any more.
        """
        if self._limiter:
            with self._changed:
                self._changed.wait_for(lambda: self._open_for(ticket))
            self._limiter.try_acquire("request")
        with self._changed:
            self._changed.wait_for(lambda: self._refused or (self._slots > 0 and self._open_for(ticket)))
            if self._refused:
                raise self._refused
            if self._closed:
                self._prober = ticket
            self._slots -= 1
            pauses = self._pauses
        try:
            yield pauses
        finally:
            with self._changed:
                self._slots += 1
                self._changed.notify_all()

    def pause_for(self, ticket: RequestTicket, *, left_after: int) -> bool:
        """Reports that the server told ``ticket`` to slow down. True if it is this request's turn to probe.

        Args:
            ticket: The request, which was sent when there had been ``left_after`` pauses. If there was another
                one since, its 429 tells nothing new.
            left_after: What ``slot`` gave.
        """
        with self._changed:
            if self._prober is not ticket and (self._closed or left_after != self._pauses):
                return False
            self._pauses += 1
            self._closed = True
            self._starting = False
            self._prober = ticket
            return True

    def resume(self, ticket: RequestTicket) -> None:
        """Reports that the server answered ``ticket``: if it was the probe, everyone may go on."""
        with self._changed:
            if self._prober is ticket:
                self._closed = self._starting = False
                self._prober = None
                self._changed.notify_all()

    def no_response(self, ticket: RequestTicket) -> None:
        """Reports that ``ticket`` got no answer. As the first request of all, it holds up the others no longer."""
        if self._starting:
            self.resume(ticket)

    def shut(self, error: IngestError) -> None:
        """Lets nothing out any more: the API refused the key, or the sync has ended."""
        with self._changed:
            self._refused = error
            self._changed.notify_all()

    def waits_for(self, ticket: RequestTicket) -> bool:
        """Whether every other request waits until ``ticket`` is answered."""
        with self._changed:
            return self._prober is ticket

    def give_back(self, ticket: RequestTicket) -> None:
        """Reports that ``ticket`` is done. If it was the probe, the next request that waits takes its place."""
        with self._changed:
            if self._prober is ticket:
                self._prober = None
                self._changed.notify_all()

    def dispose(self) -> None:
        """Ends the limiter's own thread."""
        if self._limiter:
            self._limiter.close()

    def _open_for(self, ticket: RequestTicket) -> bool:
        return not self._closed or self._prober is None or self._prober is ticket
