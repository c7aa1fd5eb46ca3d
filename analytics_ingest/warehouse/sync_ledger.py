"""The ledger: a table with a row for each endpoint and sync, also when nothing changed and when it failed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from analytics_ingest.warehouse.history_names import SYNCS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from dlt.destinations.sql_client import SqlClientBase

STARTED = "started"
"""Status of an endpoint whose rows are being loaded. One that a later sync finds was interrupted."""
INTERRUPTED = "interrupted"
COMPLETE = "complete"
TYPES: Mapping[str, str] = {"str": "VARCHAR", "int": "BIGINT", "datetime": "TIMESTAMPTZ"}
"""Types of the columns by the annotation of their field, in SQL that DuckDB, PostgreSQL and DuckLake have in common."""


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """How one endpoint's part of a sync ended. Each field is a column.

    Attributes:
        run_id: The run: Dagster's, or one that the sync drew itself.
        endpoint: The endpoint.
        started_at: When the sync started, UTC.
        read_completely_at: When the last response came, UTC; null unless the endpoint was read completely.
        status: ``complete``, ``failed``, ``skipped``; ``started`` while rows are loaded; ``interrupted`` if the process
            ended in between.
        reason: Why it failed or was skipped.
        rows_read: Rows that came.
        rows_loaded: Rows among them that were new or changed.
        rows_deleted: Rows that were found gone upstream.
        rows_rejected: Rows that cannot be stored.
        requests: Requests sent, retries included.
        declaration: A fingerprint of the endpoint's declaration and of the fields that are left out.
        verified_at: When the table was last proven against the API, UTC.
    """

    run_id: str
    endpoint: str
    started_at: datetime
    read_completely_at: datetime | None = None
    status: str
    reason: str | None = None
    rows_read: int | None = None
    rows_loaded: int | None = None
    rows_deleted: int | None = None
    rows_rejected: int | None = None
    requests: int | None = None
    declaration: str | None = None
    verified_at: datetime | None = None


COLUMNS = tuple(each.name for each in fields(LedgerRow))


class SyncLedger:
    """The ledger of one dataset, over an open connection."""

    def __init__(self, sql: SqlClientBase[Any]) -> None:
        """Takes an open connection."""
        self._sql = sql

    @property
    def _name(self) -> str:
        return self._sql.make_qualified_table_name(SYNCS)

    def create(self) -> None:
        """Creates the dataset and the table, where they are missing."""
        if not self._sql.has_dataset():
            self._sql.create_dataset()
        columns = ", ".join(f"{each.name} {TYPES[str(each.type).partition(' ')[0]]}" for each in fields(LedgerRow))
        self._sql.execute_sql(f"CREATE TABLE IF NOT EXISTS {self._name} ({columns})")

    def insert(self, rows: Sequence[LedgerRow], *, replace: bool) -> None:
        """Appends rows of one sync, all or none.

        Args:
            rows: The rows, at least one.
            replace: Whether to delete the rows of the same sync that have started.
        """
        # literals: DuckDB takes ten times as long for hundreds of parameters
        values = ", ".join(f"({', '.join(self._literal(getattr(row, name)) for name in COLUMNS)})" for row in rows)
        insertion = f"INSERT INTO {self._name} ({', '.join(COLUMNS)}) VALUES {values}"  # noqa: S608
        if not replace:
            self._sql.execute_sql(insertion)
            return
        with self._sql.begin_transaction():
            self._sql.execute_sql(
                f"DELETE FROM {self._name} WHERE status = %s AND run_id = %s AND started_at = %s",  # noqa: S608
                STARTED,
                rows[0].run_id,
                rows[0].started_at,
            )
            self._sql.execute_sql(insertion)

    def _literal(self, value: Any) -> str:
        if value is None:
            return "NULL"
        # PostgreSQL's texts cannot hold the character NUL
        plain = value.replace("\0", " ") if isinstance(value, str) else value
        return str(self._sql.capabilities.escape_literal(plain))

    def unfinished(self) -> dict[str, tuple[datetime, str | None] | None]:
        """The endpoints whose last part of a sync was not complete.

        Those of a sync whose process is gone have the time when that sync started, UTC, and the declaration then; the
        others ``None``.
        """
        latest = "max(CASE WHEN status {} %s THEN {} END)"
        columns = [
            latest.format("=", "started_at"),
            latest.format("=", "declaration"),
            latest.format("=", "started_at"),
            latest.format("<>", "started_at"),
        ]
        rows = self._sql.execute_sql(
            f"SELECT endpoint, {', '.join(columns)} FROM {self._name} GROUP BY endpoint ORDER BY endpoint",  # noqa: S608
            STARTED,
            STARTED,
            COMPLETE,
            COMPLETE,
        )
        return {
            str(endpoint): None if started is None else (started, declaration)
            for endpoint, started, declaration, complete, incomplete in rows or ()
            if incomplete is not None and (complete is None or incomplete > complete)
        }

    def mark_interrupted(self, reason: str) -> None:
        """Records that the syncs that have started and not ended were interrupted."""
        self._sql.execute_sql(
            f"UPDATE {self._name} SET status = %s, reason = %s WHERE status = %s",  # noqa: S608
            INTERRUPTED,
            reason,
            STARTED,
        )

    def last_complete(self) -> dict[str, tuple[datetime, str | None]]:
        """By endpoint when its last complete sync started, UTC, and the declaration then."""
        rows = self._sql.execute_sql(
            "SELECT endpoint, started_at, declaration FROM (SELECT endpoint, started_at, declaration, "  # noqa: S608
            f"row_number() OVER (PARTITION BY endpoint ORDER BY started_at DESC) AS place FROM {self._name} "
            "WHERE status = %s) AS complete WHERE place = 1",
            COMPLETE,
        )
        return {str(endpoint): (moment, declaration) for endpoint, moment, declaration in rows or ()}

    def prune(self, *, before: datetime) -> None:
        """Deletes the rows of syncs that started before a time, UTC, except the last complete one of each endpoint."""
        self._sql.execute_sql(
            f"DELETE FROM {self._name} AS former WHERE started_at < %s AND (status <> %s OR EXISTS "  # noqa: S608
            f"(SELECT 1 FROM {self._name} AS later WHERE later.endpoint = former.endpoint AND later.status = %s "
            "AND later.started_at > former.started_at))",
            before,
            COMPLETE,
            COMPLETE,
        )
