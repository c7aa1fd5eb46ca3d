"""Locks in files of one machine, which are released when a process dies, and the wait for locks on tables."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock, Timeout

from analytics_ingest.warehouse.exceptions import LockTimeoutError

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

POLL_SECONDS = 0.1
"""Seconds between two attempts to get a lock."""
REPORT_SECONDS = 60
"""Seconds between two log lines about a wait that goes on."""


class TableLocks:
    """The wait for locks of other sessions on tables. Here there is none: a statement that is refused fails."""

    def wait(self, act: Callable[[], T], *, is_ddl: Callable[[BaseException], bool] = lambda _: False) -> T:  # noqa: ARG002
        """Calls ``act`` and gives its result; a subclass repeats it as long as it is refused for a lock.

        Args:
            act: What needs locks; it may be repeated.
            is_ddl: Whether the statement behind an error changes a table, so that readers alone are in its way.

        Raises:
            LockTimeoutError: A lock was not free in time.
        """
        return act()


class WaitLog:
    """Logs a wait for something that a foreign process holds: its start, that it goes on, and its end."""

    def __init__(self, what: str, *, timeout: float, log: logging.Logger) -> None:
        """Logs nothing yet.

        Args:
            what: What is waited for.
            timeout: Seconds to wait at most.
            log: Where the wait is logged.
        """
        self._what = what
        self._timeout = timeout
        self._log = log
        self._started: float | None = None
        self._reports = 0

    def waiting(self, holder: str) -> None:
        """Logs the wait if it starts now, or if nothing was logged for ``REPORT_SECONDS``.

        Args:
            holder: The process that holds it now.
        """
        if self._started is None:
            self._started = time.monotonic()
            self._log.info(f"waiting up to {self._timeout:g} s for {self._what}, held by {holder}")
        elif (waited := time.monotonic() - self._started) >= (self._reports + 1) * REPORT_SECONDS:
            self._reports = int(waited / REPORT_SECONDS)
            self._log.info(f"still waiting for {self._what}, held by {holder}, after {waited:.0f} s")

    def end(self) -> None:
        """Logs that the wait is over, if there was one."""
        if self._started is not None:
            self._log.info(f"got {self._what}")


@contextmanager
def file_lock(path: Path, *, what: str, timeout: float, log: logging.Logger) -> Iterator[None]:
    """Holds the lock at ``path``. A wait for it is logged.

    Args:
        path: The lock's file. ``<path>.holder`` beside it names the process that holds it.
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
            raise still_held(what, _holder(holder), timeout) from None
        log.info(f"got {what}")
    try:
        holder.write_text(f"process {os.getpid()} since {utc_text(datetime.now(UTC))}")
        yield
    finally:
        lock.release()


def was_released(path: Path, *, since: datetime) -> bool:
    """Whether a process of this machine took the lock at ``path`` after ``since``, and none holds it now.

    A process releases its locks when it ends, also when it is killed. Creates no file.

    Args:
        path: The lock's file.
        since: A time, with its zone.
    """
    holder = path.with_name(f"{path.name}.holder")
    try:
        taken = holder.stat().st_mtime
    except OSError:
        return False
    if taken < since.timestamp() or not path.exists():
        return False
    # twice, as a process that waits for the lock gets it a moment after another one has released it
    for _ in range(2):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except (OSError, Timeout):
            return False
        lock.release()
        time.sleep(2 * POLL_SECONDS)
    return holder.stat().st_mtime == taken


def still_held(what: str, holder: str, seconds: float) -> LockTimeoutError:
    """The error for a lock that was not free in time.

    Args:
        what: What the lock guards.
        holder: The process that holds it.
        seconds: How long it was waited for.
    """
    return LockTimeoutError(f"{what} is still held by {holder} after {seconds:g} s: wait for it or end it")


def utc_text(moment: datetime) -> str:
    """A time as a message shows it, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _holder(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return "another process"
