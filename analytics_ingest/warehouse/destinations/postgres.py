"""PostgreSQL: a server, to which all machines write, with locks that all of them share."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from analytics_ingest.warehouse.column_changes import ColumnChanger, ColumnChanges
from analytics_ingest.warehouse.comments import CommentSql
from analytics_ingest.warehouse.destinations.base import Destination, configuration_of
from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError, chain_of
from analytics_ingest.warehouse.history_names import OWN_VIEW, present_view
from analytics_ingest.warehouse.history_tables import HistorySql
from analytics_ingest.warehouse.locks import POLL_SECONDS, TableLocks, still_held, utc_text

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator, Sequence

    from dlt.common.destination import AnyDestination, TLoaderFileFormat
    from dlt.destinations.job_client_impl import SqlJobClientBase
    from dlt.destinations.sql_client import SqlClientBase

    from analytics_ingest.warehouse.destinations.base import Connect

T = TypeVar("T")

STATEMENT_LOCK_SECONDS = 2
"""Seconds that one statement waits for a lock. Other readers queue behind a statement that waits."""
PAUSE_SECONDS = 1
"""Seconds between two attempts, in which the sessions that queued behind the first one get their locks."""
LOCK_NOT_AVAILABLE = "55P03"
"""The code for a lock that was not free within ``lock_timeout`` (PostgreSQL's documentation, Appendix A)."""
PRIVILEGE_CODES = {"42501", "42P07"}
"""The codes for a missing privilege, and for a table that exists already: tables without privileges are not listed."""
ROW_ERROR_CODES = {"22", "23", "54"}
"""Classes of codes that concern values: data, constraints, limits of a row."""
PROGRAM_LIMIT = "54"
"""The class of codes for rows and statements beyond a limit: psycopg2 raises them as an ``OperationalError``."""
MAX_SHOWN = 64
"""Characters that are shown of a name that another application has chosen."""
LOCK_HOLDER_SQL = """
SELECT activity.application_name, activity.backend_start
FROM pg_locks AS locks JOIN pg_stat_activity AS activity USING (pid)
WHERE locks.locktype = 'advisory' AND locks.granted AND locks.objsubid = 1
  AND (locks.classid::bigint << 32 | locks.objid::bigint) = hashtextextended(%s, 0)
  AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""The session that holds an advisory lock. ``pg_locks`` has the lock's number in two halves (PostgreSQL's documentation
of it)."""
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
"""Sessions with a lock on one of a dataset's tables, the oldest first. Their queries are left out: they may hold
secrets."""

COMMENTS = """
SELECT c.relname, a.attname, col_description(c.oid, a.attnum), pg_has_role(c.relowner, 'USAGE')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = %s AND c.relkind IN ('r', 'p')
UNION ALL SELECT c.relname, NULL, obj_description(c.oid, 'pg_class'), pg_has_role(c.relowner, 'USAGE')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p')
"""
VIEW_COMMENT = """
SELECT obj_description(c.oid, 'pg_class') FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND c.relkind = 'v'
"""
"""See ``CommentSql``. Only the owner of a table may comment on it."""


class PostgresTableLocks(TableLocks):
    """Waits for locks of other sessions on tables: a reader idle in a transaction, a ``SELECT ... FOR UPDATE``.

    PostgreSQL refuses a statement that has waited for a lock as long as ``lock_timeout``. Here it is repeated.
    """

    def __init__(self, sql: SqlClientBase[Any], *, timeout: float, log: logging.Logger) -> None:
        """Takes the limits of a wait.

        Args:
            sql: An open connection, to find the sessions that hold a lock.
            timeout: Seconds to wait in all for one lock.
            log: Where a wait is logged.
        """
        self._sql = sql
        self._timeout = timeout
        self._log = log

    def wait(self, act: Callable[[], T], *, is_ddl: Callable[[BaseException], bool] = lambda _: False) -> T:
        """See ``TableLocks.wait``."""
        started = time.monotonic()
        logged = False
        while True:
            try:
                return act()
            except Exception as error:
                if not _is_lock_refusal(error):
                    raise
                tables, holders = self._blockers(readers=is_ddl(error))
                if time.monotonic() - started >= self._timeout:
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


@dataclass(frozen=True)
class _View:
    """A view that reads a column, as PostgreSQL describes it."""

    oid: int
    name: str
    is_own: bool
    definition: str
    comment: str
    grants: Sequence[tuple[str, str]]


class PostgresColumns(ColumnChanger):
    """Drops the product's own views and creates them again; a user's view is an error that names it."""

    time_text = """to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')"""
    number_text = (
        # a number has no exponent below 1e+16, as on the other destinations
        "CASE WHEN abs({0}) >= 1e15 AND abs({0}) < 1e16 THEN "
        "CAST(CAST(CAST({0} AS VARCHAR) AS NUMERIC) AS VARCHAR) || CASE WHEN {0} = trunc({0}) THEN '.0' ELSE '' END "
        "ELSE CAST({0} AS VARCHAR) END"
    )
    parsed = "CAST({0} AS JSONB)"
    quoted = "to_jsonb({0})"

    def _apply(self, changes: ColumnChanges) -> None:
        dropped = [name for variants in changes.folded.values() for name in variants]
        former = {now: was for was, now in changes.renamed.items()}
        views = list(self._views(changes.table, [*(former.get(name, name) for name in changes.types), *dropped]))
        if foreign := [view.name for view in views if not view.is_own]:
            what = ", ".join(f"{name} from {was} to {now}" for name, (was, now) in changes.types.items())
            raise WarehouseError(
                f"{self._sql.dataset_name}.{changes.table}: the type of {what} has to change, and a view reads it: "
                f"{', '.join(foreign)}. Drop the view, sync, and create it again",
                transient=False,
            )
        for view in reversed(views):
            self._sql.execute_sql(f"DROP VIEW {view.name}")
        super()._apply(changes)
        for view in views:
            definition = view.definition
            if self._present_views and view.name == f"{self._sql.dataset_name}.{present_view(changes.table)}":
                # columns may have been dropped
                definition = self._present_views.query(changes.table)
            self._sql.execute_sql(f"CREATE VIEW {view.name} AS {definition}")
            self._sql.execute_sql(f"COMMENT ON VIEW {view.name} IS %s", view.comment)
            for grantee, privilege in view.grants:
                self._sql.execute_sql(f"GRANT {privilege} ON {view.name} TO {grantee}")

    def _follow(self, changes: ColumnChanges) -> None:
        # a view with another type was created again
        if self._present_views:
            self._present_views.rename(changes.table, changes.renamed)

    def _views(self, table: str, columns: Sequence[str]) -> Iterator[_View]:
        """The views that read some columns, and the views on these, in an order in which they can be created."""
        if not columns:
            return
        found = self._rows(
            "WITH RECURSIVE reading(oid, depth) AS ("
            " SELECT r.ev_class, 1 FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid"
            " JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
            " WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = CAST(%s AS regclass) AND a.attname = ANY(%s)"
            " UNION SELECT r.ev_class, reading.depth + 1 FROM reading JOIN pg_depend d ON d.refobjid = reading.oid"
            " JOIN pg_rewrite r ON r.oid = d.objid"
            " WHERE d.classid = 'pg_rewrite'::regclass AND r.ev_class <> reading.oid AND reading.depth < 50"
            ") SELECT c.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(c.relname),"
            " coalesce(obj_description(c.oid, 'pg_class'), ''), c.relkind::text, pg_get_viewdef(c.oid)"
            " FROM (SELECT oid, max(depth) AS depth FROM reading GROUP BY oid) AS v"
            " JOIN pg_class c ON c.oid = v.oid JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY v.depth, 2",
            self._table(table),
            list(columns),
        )
        for oid, name, comment, kind, definition in found:
            granted = self._rows(
                "SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,"
                " a.privilege_type FROM pg_class c, aclexplode(c.relacl) a"
                " WHERE c.oid = %s AND a.grantee <> c.relowner",
                oid,
            )
            yield _View(
                oid=oid,
                name=name,
                is_own=kind == "v" and comment.startswith(OWN_VIEW),
                definition=definition,
                comment=comment,
                grants=[(str(grantee), str(privilege)) for grantee, privilege in granted],
            )


class Postgres(Destination):
    """PostgreSQL.

    dlt would load CSV, of which it loads an empty text as null: rows are inserted instead.
    """

    loader_file_format: ClassVar[TLoaderFileFormat] = "insert_values"
    takes_nul = False
    locks_all_machines = True
    columns = PostgresColumns
    history = HistorySql(
        json_of="to_jsonb",
        json_object="jsonb_build_object",
        json_collect="jsonb_object_agg",
        # tables of earlier versions have json, which has no operator for it
        comparable_json="to_jsonb({0})",
        lock="SELECT pg_advisory_xact_lock(hashtextextended('analytics_ingest changes', 0))",
    )
    comments = CommentSql(listing=COMMENTS, view=VIEW_COMMENT)
    drivers = frozenset({"psycopg2"})
    transient_errors = frozenset({"OperationalError", "InterfaceError"})

    def build(self) -> AnyDestination:
        """The dlt destination, with a limit on the wait for locks in every connection that dlt opens.

        A startup option holds after ``RESET ALL``, and also for a session whose client was killed. The connection
        string's own ``options`` come after it, and win.
        """
        destination = self._dlt_destination()
        credentials = configuration_of(destination).credentials
        if credentials is None or not credentials.is_resolved():
            # dlt reports what is missing when it connects
            return destination
        # credentials in parts, without a URL, have no query
        query = credentials.query or {}
        options = f"-clock_timeout={STATEMENT_LOCK_SECONDS}s {query.get('options', '')}"
        credentials.query = {**query, "options": options.strip()}
        return self._dlt_destination(credentials=credentials)

    def forbid_writes(self, client: SqlJobClientBase) -> None:
        """See ``Destination.forbid_writes``."""
        client.sql_client.execute_sql("SET default_transaction_read_only = on")

    @contextmanager
    def cluster_lock(
        self, connect: Connect, api: str, *, timeout: float, log: logging.Logger
    ) -> Iterator[Callable[[], object]]:
        """Holds an advisory lock of the database; see ``Destination.cluster_lock``.

        The lock is the session's: a pooler in between must not share sessions.
        """
        with connect() as client:
            sql, name, what = client.sql_client, _lock_name(api), f"the sync of {api}"
            sql.execute_sql(
                "SELECT set_config('application_name', %s, false)",
                f"{name}: process {os.getpid()} on {socket.gethostname()}",
            )

            def acquire() -> bool:
                rows = sql.execute_sql("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", name)
                return bool(rows and rows[0][0])

            def holder() -> str:
                rows = sql.execute_sql(LOCK_HOLDER_SQL, name)
                return f"{rows[0][0]} since {utc_text(rows[0][1])}" if rows else "another process"

            if not acquire():
                log.info(f"waiting up to {timeout:g} s for {what}, held by {holder()}")
                waiting = Retrying(
                    retry=retry_if_result(lambda acquired: not acquired),
                    stop=stop_after_delay(timeout),
                    wait=wait_fixed(POLL_SECONDS),
                )
                try:
                    waiting(acquire)
                except RetryError:
                    raise still_held(what, holder(), timeout) from None
                log.info(f"got {what}")
            # the lock goes with its session: then this fails
            yield lambda: sql.execute_sql("SELECT 1")

    def is_cluster_locked(self, connect: Connect, api: str) -> bool:
        """See ``Destination.is_cluster_locked``."""
        with connect() as client:
            return bool(client.sql_client.execute_sql(LOCK_HOLDER_SQL, _lock_name(api)))

    def table_locks(self, sql: SqlClientBase[Any], *, timeout: float, log: logging.Logger) -> TableLocks:
        """See ``Destination.table_locks``."""
        return PostgresTableLocks(sql, timeout=timeout, log=log)

    @classmethod
    def is_transient(cls, error: BaseException) -> bool:
        """See ``Destination.is_transient``."""
        return not _code(error).startswith(PROGRAM_LIMIT) and super().is_transient(error)

    @classmethod
    def is_about_rows(cls, error: BaseException) -> bool:
        """See ``Destination.is_about_rows``."""
        return _code(error)[:2] in ROW_ERROR_CODES or super().is_about_rows(error)

    @classmethod
    def lacks_privilege(cls, error: BaseException) -> bool:
        """See ``Destination.lacks_privilege``."""
        return _code(error) in PRIVILEGE_CODES


def _lock_name(api: str) -> str:
    return f"analytics_ingest {api}"


def _code(error: BaseException) -> str:
    """The code with which PostgreSQL refused a statement; empty for any other error."""
    return str(getattr(error, "pgcode", None) or "")


def _is_lock_refusal(error: BaseException) -> bool:
    """Whether PostgreSQL refused a statement that did not get a lock within ``lock_timeout``."""
    return any(_code(each) == LOCK_NOT_AVAILABLE for each in chain_of(error))


def _session(row: Sequence[Any]) -> str:
    pid, name, user, client, state, since, _ = row
    shown = [f"application {_plain(name)}"] if name else []
    shown += [f"user {_plain(user)}", f"from {client or 'the same machine'}"]
    return f"process {pid} ({', '.join(shown)}), {state or 'in a transaction'} since {utc_text(since)}"


def _plain(text: object) -> str:
    """A name that another application has chosen, in one line and shortened."""
    return "".join(each if each.isprintable() else " " for each in str(text))[:MAX_SHOWN]
