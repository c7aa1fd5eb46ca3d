"""Locks that are free again when a process dies, however it dies: files of a machine, and locks of a database."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock, Timeout
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from analytics_ingest.warehouse.exceptions import LockTimeoutError, chain_of

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from dlt.destinations.sql_client import SqlClientBase

T = TypeVar("T")

POLL_SECONDS = 0.1
LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's code for a lock that was not free within ``lock_timeout``."""
LOCK_HOLDER_SQL = """
SELECT activity.application_name, activity.backend_start
FROM pg_locks AS locks JOIN pg_stat_activity AS activity USING (pid)
WHERE locks.locktype = 'advisory' AND locks.granted AND locks.objsubid = 1
  AND (locks.classid::bigint << 32 | locks.objid::bigint) = hashtextextended(%s, 0)
  AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""An advisory lock's number stands in two halves: PostgreSQL's documentation of pg_locks."""


BLOCKERS = """
SELECT activity.pid, activity.application_name, activity.usename, activity.client_addr::text, activity.state,
       coalesce(activity.xact_start, activity.backend_start),
       string_agg(DISTINCT space.nspname || '.' || tbl.relname, ', ')
FROM pg_locks AS locks
JOIN pg_stat_activity AS activity USING (pid)
JOIN pg_class AS tbl ON tbl.oid = locks.relation
JOIN pg_namespace AS space ON space.oid = tbl.relnamespace
WHERE locks.granted AND tbl.relkind IN ('r', 'p') AND space.nspname IN (%s, %s)
  AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND activity.pid <> pg_backend_pid() AND (%s OR locks.mode <> 'AccessShareLock')
GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 6 LIMIT 3
"""
"""Sessions with a lock on one of a dataset's tables, the oldest first. Their queries are not asked for: they are
foreign text, and may hold secrets."""
PAUSE_SECONDS = 1
"""Seconds between two attempts, in which those who queued behind the first one get what they want."""
MAX_SHOWN = 64


@contextmanager
def file_lock(path: Path, *, what: str, timeout: float, log: logging.Logger) -> Iterator[None]:
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


def was_released(path: Path, *, since: datetime) -> bool:
    """Whether a process of this machine took the lock at ``path`` after ``since``, and none holds it now.

    A process that ends, however it ends, releases its locks. Makes no file.

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
    # twice, as one that waits for the lock has it a moment after another one released it
    for _ in range(2):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except (OSError, Timeout):
            return False
        lock.release()
        time.sleep(2 * POLL_SECONDS)
    return holder.stat().st_mtime == taken


def is_advisory_lock_held(sql: SqlClientBase[Any], name: str) -> bool:
    """Whether somebody holds the advisory lock of this name."""
    return bool(sql.execute_sql(LOCK_HOLDER_SQL, name))


@contextmanager
def advisory_lock(
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
        rows = sql.execute_sql(LOCK_HOLDER_SQL, name)
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


class TableLocks:
    """Waits for locks of other sessions on tables: a reader idle in a transaction, a ``SELECT ... FOR UPDATE``.

    Each statement waits for a lock briefly, set by ``lock_timeout`` of its connection. Here it is repeated.
    """

    def __init__(self, sql: SqlClientBase[Any], *, timeout: float, log: logging.Logger) -> None:
        """Prepares waits.

        Args:
            sql: An open connection, to find out who holds a lock.
            timeout: Seconds to wait in all for one lock.
            log: Where a wait is logged.
        """
        self._sql = sql
        self._timeout = timeout
        self._log = log

    def wait(self, act: Callable[[], T], *, is_ddl: Callable[[BaseException], bool] = lambda _: False) -> T:
        """What ``act`` returns, once it is not refused for a lock any more.

        Args:
            act: What needs locks; it may be repeated.
            is_ddl: Whether what was refused changes a table, so that mere readers are in its way.

        Raises:
            LockTimeoutError: A lock was not free in time.
        """
        began = time.monotonic()
        logged = False
        while True:
            try:
                return act()
            except Exception as error:
                if not is_lock_refusal(error):
                    raise
                tables, holders = self._blockers(readers=is_ddl(error))
                if time.monotonic() - began >= self._timeout:
                    raise LockTimeoutError(
                        f"{tables} has been locked for {self._timeout:g} s by {holders}: end the transaction there, "
                        "or the session with pg_terminate_backend, and sync again (LOCK_TIMEOUT bounds the wait)"
                    ) from None
            if not logged:
                self._log.info(f"waiting up to {self._timeout:g} s for {tables}, locked by {holders}")
                logged = True
            time.sleep(PAUSE_SECONDS)

    def _blockers(self, *, readers: bool) -> tuple[str, str]:
        dataset = self._sql.dataset_name
        rows = self._sql.execute_sql(BLOCKERS, dataset, self._sql.staging_dataset_name, readers)
        if not rows:
            return f"a table of {dataset}", "another session"
        return str(rows[0][6]), "; ".join(map(_session, rows))


def is_lock_refusal(error: BaseException) -> bool:
    """Whether PostgreSQL refused a statement as it did not get a lock within ``lock_timeout``."""
    return any(getattr(each, "pgcode", None) == LOCK_NOT_AVAILABLE for each in chain_of(error))


def _session(row: Sequence[Any]) -> str:
    pid, name, user, client, state, since, _ = row
    shown = [f"application {_plain(name)}"] if name else []
    shown += [f"user {_plain(user)}", f"from {client or 'the same machine'}"]
    return f"process {pid} ({', '.join(shown)}), {state or 'in a transaction'} since {_shown(since.astimezone(UTC))}"


def _plain(text: object) -> str:
    """A name that somebody else has chosen, in one line and bounded."""
    return "".join(each if each.isprintable() else " " for each in str(text))[:MAX_SHOWN]


def _timeout(what: str, holder: str, seconds: float) -> LockTimeoutError:
    return LockTimeoutError(f"{what} is still held by {holder} after {seconds:g} s: wait for it or end it")


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _holder(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return "another process"
