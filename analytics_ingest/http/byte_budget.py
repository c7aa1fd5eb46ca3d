"""Bounds the bytes of all answers that are in memory at once."""

from __future__ import annotations

import threading
import time
from itertools import count

STALL = 5.0
"""Seconds without any change after which the oldest claim that is still reading goes on over the limit."""


class BudgetClosedError(OSError):
    """The budget was closed while a claim waited for bytes, or before."""


class ByteBudget:
    """A number of bytes that the answers in memory share.

    The oldest claim never waits, so an answer larger than the whole budget can be read, one at a time. A claim that
    was read counts until it is released. If whoever must release it waits itself, the oldest claim that is still
    reading goes on after ``STALL`` seconds.
    """

    def __init__(self, limit: int) -> None:
        """Opens a budget of ``limit`` bytes."""
        self._limit = limit
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0
        self._held = 0
        self._claims: dict[int, Claim] = {}
        self._reading: set[int] = set()
        self._numbers = count()
        self._changes = 0
        self._closed = False

    @property
    def held(self) -> int:
        """Bytes that claims hold now."""
        return self._held

    def claim(self) -> Claim:
        """A claim of an answer whose body is about to be read.

        Raises:
            BudgetClosedError: The budget is closed.
        """
        with self._lock:
            claim = self._new_claim()
            self._reading.add(claim.number)
            return claim

    def claim_now(self, size: int) -> Claim | None:
        """A claim of an answer of ``size`` bytes whose body was read by now; ``None`` if there is no room for it.

        Raises:
            BudgetClosedError: The budget is closed.
        """
        with self._lock:
            if self._held + size > self._limit:
                return None
            claim = self._new_claim()
            self._add(claim, size)
            return claim

    def close(self) -> None:
        """Ends all waits and releases all claims."""
        with self._changed:
            self._closed = True
            self._claims.clear()
            self._reading.clear()
            self._held = 0
            self._changed.notify_all()

    def take(self, claim: Claim, size: int, *, wait: bool) -> bool:
        """Adds bytes to a claim if they are within the limit, or once they are; gives whether it did."""
        with self._lock:
            if not self._may_take(claim, size):
                if not wait:
                    return False
                self._wait(claim, size)
            self._refuse_closed()
            self._add(claim, size)
            return True

    def end_reading(self, claim: Claim) -> None:
        """Reports that a claim takes no more bytes."""
        with self._lock:
            self._reading.discard(claim.number)

    def release(self, claim: Claim) -> None:
        """Gives a claim's bytes back."""
        with self._lock:
            if self._claims.pop(claim.number, None) is None:
                return
            self._reading.discard(claim.number)
            self._held -= claim.size
            self._changes += 1
            if self._waiting:
                self._changed.notify_all()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise BudgetClosedError("the sync has ended")

    def _new_claim(self) -> Claim:
        self._refuse_closed()
        claim = Claim(self, next(self._numbers))
        self._claims[claim.number] = claim
        return claim

    def _add(self, claim: Claim, size: int) -> None:
        self._held += size
        claim.size += size
        self._changes += 1

    def _wait(self, claim: Claim, size: int) -> None:
        self._waiting += 1
        try:
            self._wait_for(claim, size)
        finally:
            self._waiting -= 1

    def _wait_for(self, claim: Claim, size: int) -> None:
        seen, since = self._changes, time.monotonic()
        while not self._may_take(claim, size):
            if self._changes != seen:
                seen, since = self._changes, time.monotonic()
            left = since + STALL - time.monotonic()
            if left <= 0:
                if claim.number == min(self._reading):
                    return
                since = time.monotonic()
                continue
            self._changed.wait(left)

    def _may_take(self, claim: Claim, size: int) -> bool:
        if self._closed or self._held + size <= self._limit:
            return True
        # claims are numbered and kept in their order
        return next(iter(self._claims)) == claim.number


class Claim:
    """The bytes of one answer within a ``ByteBudget``."""

    __slots__ = ("_budget", "number", "size")

    def __init__(self, budget: ByteBudget, number: int) -> None:
        """Made by ``ByteBudget.claim``."""
        self._budget = budget
        self.number = number
        self.size = 0

    def take_now(self, size: int) -> bool:
        """Adds ``size`` bytes if there is room for them; gives whether there was.

        Raises:
            BudgetClosedError: The budget was closed.
        """
        return self._budget.take(self, size, wait=False)

    def take(self, size: int) -> None:
        """Adds ``size`` bytes once there is room for them.

        Raises:
            BudgetClosedError: The budget was closed.
        """
        self._budget.take(self, size, wait=True)

    def end_reading(self) -> None:
        """Reports that the answer was read to its end; its bytes still count."""
        self._budget.end_reading(self)

    def release(self) -> None:
        """Gives the bytes back; more than once does nothing."""
        self._budget.release(self)
