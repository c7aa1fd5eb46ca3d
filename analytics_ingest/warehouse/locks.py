"""Locks that are free again when a process dies, however it dies: files of a machine, and locks of a database."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator
    from pathlib import Path

    from dlt.destinations.sql_client import SqlClientBase

POLL_SECONDS = 0.1
HOLDER = """
SELECT activity.application_name, activity.backend_start
FROM pg_locks AS locks JOIN pg_stat_activity AS activity USING (pid)
WHERE locks.locktype = 'advisory' AND locks.granted AND locks.objsubid = 1
  AND (locks.classid::bigint << 32 | locks.objid::bigint) = hashtextextended(%s, 0)
  AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""An advisory lock's number stands in two halves: PostgreSQL's documentation of pg_locks."""


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
            raise _timeout(what, _holder(holder), timeout) from None
        log.info(f"got {what}")
    try:
        holder.write_text(f"process {os.getpid()} since {_shown(datetime.now(UTC))}")
        yield
    finally:
        lock.release()


@contextmanager
def held_in_postgres(
    sql: SqlClientBase[Any], name: str, *, what: str, timeout: float, log: logging.Logger
) -> Iterator[None]:
    """Holds an advisory lock of a PostgreSQL database, for every machine that uses it, until ``sql`` is closed.

    Args:
        sql: A connection of its own: the lock is the session's. A pooler between must not share sessions.
        name: What names the lock in its database.
        what: What the lock guards, for the log and the error.
        timeout: Seconds to wait at most.
        log: Where a wait is logged.

    Raises:
        LockTimeoutError: It was not free in time.
    """
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    sql.execute_sql("SELECT set_config('application_name', %s, false)", f"{name}: {holder}")

    def acquire() -> bool:
        rows = sql.execute_sql("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", name)
        return bool(rows and rows[0][0])

    def by() -> str:
        rows = sql.execute_sql(HOLDER, name)
        return f"{rows[0][0]} since {_shown(rows[0][1].astimezone(UTC))}" if rows else "another process"

    if not acquire():
        log.info(f"waiting up to {timeout:g} s for {what}, held by {by()}")
        waiting = Retrying(
            retry=retry_if_result(lambda acquired: not acquired),
            stop=stop_after_delay(timeout),
            wait=wait_fixed(POLL_SECONDS),
        )
        try:
            waiting(acquire)
        except RetryError:
            raise _timeout(what, by(), timeout) from None
        log.info(f"got {what}")
    yield


def _timeout(what: str, holder: str, seconds: float) -> LockTimeoutError:
    return LockTimeoutError(f"{what} is still held by {holder} after {seconds:g} s: wait for it or end it")


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _holder(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return "another process"
