"""Limits the bytes of all responses that are in memory at once."""

from __future__ import annotations

import threading
import time
from itertools import count

STALL_SECONDS = 5.0
"""Seconds without any change after which the oldest claim that is still reading may exceed the limit."""


class BudgetClosedError(OSError):
    """The budget is closed."""


class ByteBudget:
    """A number of bytes that the responses in memory share.

    The oldest claim never waits, so that responses larger than the whole budget can be read, one at a time. A claim
    counts until it is released, also when its body is read. If the threads that must release claims wait for bytes
    themselves, the oldest claim that is still reading continues after ``STALL_SECONDS``.
    """

    def __init__(self, limit: int) -> None:
        """Creates a budget of ``limit`` bytes."""
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
        """Bytes of all claims."""
        return self._held

    def claim(self) -> Claim:
        """A claim for a response whose body is about to be read.

        Raises:
            BudgetClosedError: The budget is closed.
        """
        with self._lock:
            claim = self._new_claim()
            self._reading.add(claim.number)
            return claim

    def try_claim(self, size: int) -> Claim | None:
        """A claim for a response whose ``size`` bytes are read already; ``None`` if they exceed the limit.

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
        """Releases all claims, and makes those that wait fail."""
        with self._changed:
            self._closed = True
            self._claims.clear()
            self._reading.clear()
            self._held = 0
            self._changed.notify_all()

    def add(self, claim: Claim, size: int, *, wait: bool) -> bool:
        """Adds bytes to a claim, and gives whether it did: without ``wait`` only if they are within the limit."""
        with self._lock:
            if not self._may_add(claim, size):
                if not wait:
                    return False
                self._wait(claim, size)
            self._check_open()
            self._add(claim, size)
            return True

    def end_reading(self, claim: Claim) -> None:
        """Reports that no more bytes will be added to a claim."""
        with self._lock:
            self._reading.discard(claim.number)

    def release(self, claim: Claim) -> None:
        """Removes a claim and its bytes."""
        with self._lock:
            if self._claims.pop(claim.number, None) is None:
                return
            self._reading.discard(claim.number)
            self._held -= claim.size
            self._changes += 1
            if self._waiting:
                self._changed.notify_all()

    def _check_open(self) -> None:
        if self._closed:
            raise BudgetClosedError("the sync has ended")

    def _new_claim(self) -> Claim:
        self._check_open()
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
        while not self._may_add(claim, size):
            if self._changes != seen:
                seen, since = self._changes, time.monotonic()
            remaining = since + STALL_SECONDS - time.monotonic()
            if remaining <= 0:
                if claim.number == min(self._reading):
                    return
                since = time.monotonic()
                continue
            self._changed.wait(remaining)

    def _may_add(self, claim: Claim, size: int) -> bool:
        if self._closed or self._held + size <= self._limit:
            return True
        # the dictionary keeps claims in the order of their numbers
        return next(iter(self._claims)) == claim.number


class Claim:
    """The bytes of one response within a ``ByteBudget``."""

    __slots__ = ("_budget", "number", "size")

    def __init__(self, budget: ByteBudget, number: int) -> None:
        """Called by ``ByteBudget``."""
        self._budget = budget
        self.number = number
        self.size = 0

    def try_add(self, size: int) -> bool:
        """Adds ``size`` bytes if they are within the limit, and gives whether it did.

        Raises:
            BudgetClosedError: The budget is closed.
        """
        return self._budget.add(self, size, wait=False)

    def add(self, size: int) -> None:
        """Adds ``size`` bytes as soon as they are within the limit.

        Raises:
            BudgetClosedError: The budget is closed.
        """
        self._budget.add(self, size, wait=True)

    def end_reading(self) -> None:
        """Reports that the response was read to its end; its bytes still count."""
        self._budget.end_reading(self)

    def release(self) -> None:
        """Removes the claim and its bytes. Further calls do nothing."""
        self._budget.release(self)
