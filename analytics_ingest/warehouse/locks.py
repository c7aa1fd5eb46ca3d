"""File locks: the operating system frees them when a process dies, however it dies."""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator
    from pathlib import Path

POLL_SECONDS = 0.1


class LockTimeoutError(TimeoutError):
    """Another process holds what is needed. The message says which one, and since when."""


@contextmanager
def held(path: Path, *, what: str, timeout: float, log: logging.Logger) -> Iterator[None]:
    """Holds the lock at ``path``, waiting for it if need be; the wait is logged.

    Args:
        path: The lock's file. Beside it, ``<path>.holder`` tells who holds it.
        what: What the lock guards, for the log and the error.
        timeout: Seconds to wait at most.
        log: Where a wait is logged.

    Raises:
        LockTimeoutError: It was not free in time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    holder = path.with_name(f"{path.name}.holder")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info(f"waiting up to {timeout:g} s for {what}, held by {_holder(holder)}")
        try:
            lock.acquire(timeout=timeout, poll_interval=POLL_SECONDS)
        except Timeout:
            raise LockTimeoutError(
                f"{what} is still held by {_holder(holder)} after {timeout:g} s: wait for it or end it"
            ) from None
        log.info(f"got {what}")
    try:
        holder.write_text(f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return "another process"
