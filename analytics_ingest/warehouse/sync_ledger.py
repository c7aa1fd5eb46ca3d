"""The ledger: a table with a row for each endpoint and sync, also when nothing changed and when it failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from analytics_ingest.warehouse.history_names import SYNCS
from analytics_ingest.warehouse.record_table import RecordTable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

STARTED = "started"
"""Status of an endpoint whose rows are being loaded. One that a later sync finds was interrupted."""
INTERRUPTED = "interrupted"
COMPLETE = "complete"
SKIPPED = "skipped"


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
        rows_hash: The sum of ``_row_hash`` over the rows that are not marked as deleted, when the sync was done. A
            different sum later shows that something else than a sync has changed the table.
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
    rows_hash: str | None = None


class LastSync(NamedTuple):
    """What the ledger knows of the last syncs of an endpoint.

    Attributes:
        started_at: When the last complete one started, UTC; ``None`` without one.
        declaration: The declaration then.
        requests: The requests that it sent.
        rows_hash: ``LedgerRow.rows_hash`` of the last one that was not skipped; ``None`` if it was interrupted.
    """

    started_at: datetime | None = None
    declaration: str | None = None
    requests: int | None = None
    rows_hash: str | None = None


class SyncLedger(RecordTable[LedgerRow]):
    """The ledger of one dataset, over an open connection."""

    table = SYNCS
    record = LedgerRow

    def insert(self, rows: Sequence[LedgerRow], *, replace: bool) -> None:
        """Appends rows of one sync, all or none.

        Args:
            rows: The rows, at least one.
            replace: Whether to delete the rows of the same sync that have started.
        """
        if not replace:
            self._insert(rows)
            return
        with self._sql.begin_transaction():
            self._sql.execute_sql(
                f"DELETE FROM {self._name} WHERE status = %s AND run_id = %s AND started_at = %s",  # noqa: S608
                STARTED,
                rows[0].run_id,
                rows[0].started_at,
            )
            self._insert(rows)

    def unfinished(self) -> tuple[dict[str, tuple[datetime, str | None] | None], datetime | None]:
        """The endpoints whose last part of a sync was not complete, and when the last sync started, UTC.

        Endpoints of a sync whose process is gone have the time when that sync started, UTC, and the declaration then;
        the others ``None``. The time of the last sync is ``None`` without any.
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
        found: dict[str, tuple[datetime, str | None] | None] = {
            str(endpoint): None if started is None else (started, declaration)
            for endpoint, started, declaration, complete, incomplete in rows or ()
            if incomplete is not None and (complete is None or incomplete > complete)
        }
        return found, max((moment for row in rows or () for moment in row[3:] if moment is not None), default=None)

    def mark_interrupted(self, reason: str) -> None:
        """Records that the syncs that have started and not ended were interrupted."""
        self._sql.execute_sql(
            f"UPDATE {self._name} SET status = %s, reason = %s WHERE status = %s",  # noqa: S608
            INTERRUPTED,
            reason,
            STARTED,
        )

    def last_syncs(self, columns: Collection[str]) -> dict[str, LastSync]:
        """What is known of the last syncs of each endpoint.

        Args:
            columns: The columns that the table has; one of an earlier version lacks some.
        """
        rows_hash = "rows_hash" if "rows_hash" in columns else "NULL"
        place = "row_number() OVER (PARTITION BY endpoint, status = %s ORDER BY started_at DESC) AS place"
        rows = self._sql.execute_sql(
            f"SELECT endpoint, status, started_at, declaration, requests, rows_hash FROM (SELECT endpoint, status, "  # noqa: S608
            f"started_at, declaration, requests, {rows_hash} AS rows_hash, {place} FROM {self._name} "
            "WHERE status <> %s) AS latest WHERE place = 1 ORDER BY started_at",
            COMPLETE,
            SKIPPED,
        )
        found: dict[str, LastSync] = {}
        for endpoint, status, moment, declaration, requests, sum_of_hashes in rows or ():
            last = found.get(str(endpoint), LastSync())
            if status == COMPLETE:
                last = LastSync(moment, declaration, requests)
            found[str(endpoint)] = last._replace(rows_hash=sum_of_hashes)
        return found

    def set_verified(self, endpoint: str, moment: datetime) -> None:
        """Records in the row of an endpoint's last complete sync when its table was proven, UTC."""
        self._sql.execute_sql(
            f"UPDATE {self._name} SET verified_at = %s WHERE endpoint = %s AND status = %s AND started_at = "  # noqa: S608
            f"(SELECT max(started_at) FROM {self._name} WHERE endpoint = %s AND status = %s)",
            moment,
            endpoint,
            COMPLETE,
            endpoint,
            COMPLETE,
        )

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
