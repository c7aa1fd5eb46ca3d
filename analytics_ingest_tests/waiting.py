"""Waits for what another thread or process does, and does something beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def eventually(
    condition: Callable[[], T], timeout: float, *, interval: float = 0.02, state: Callable[[], str] = str
) -> T:
    """Polls a condition until it holds, and gives what it gave.

    Args:
        condition: Holds once it gives what counts as true.
        timeout: Seconds after which it fails.
        interval: Seconds between two tries.
        state: Tells what there is to see when it fails.

    Raises:
        AssertionError: The condition does not hold in time.
    """
    until = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {timeout} s: {state() or condition}")
        time.sleep(interval)
    return found


@contextmanager
def meanwhile(act: Callable[[], object], *, every: float) -> Iterator[None]:
    """Does something in another thread, over and over with so many seconds between, until the block ends."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(every):
            act()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
