"""Writes the ledger of an API's syncs: what each endpoint's part of a sync read, loaded and cost."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING

from analytics_ingest.warehouse.history_names import SYNCS
from analytics_ingest.warehouse.sync_ledger import COMPLETE, STARTED, LastSync, LedgerRow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.extract.sync_context import SyncContext
    from analytics_ingest.sync.result import EndpointResult
    from analytics_ingest.warehouse.cached_tables import CachedTables
    from analytics_ingest.warehouse.warehouse import Warehouse

ENDED = "the process ended before the sync did; what was loaded until then stays"
"""The reason of an interrupted part of a sync."""


def declaration_of(api: Api, endpoint: Endpoint, exclude: Collection[str]) -> str:
    """A fingerprint of an endpoint's declaration, and of the fields that the setting ``EXCLUDE_COLUMNS`` leaves out."""
    others = api.by_name.keys() - {endpoint.name}
    excluded = [each for each in exclude if "." not in each or each.partition(".")[0] not in others]
    if not excluded:
        return endpoint.declaration
    return blake2b(f"{endpoint.declaration} {sorted(excluded)}".encode(), digest_size=8).hexdigest()


class LedgerWriter:
    """Writes the ledger of one sync, where the destination has one."""

    def __init__(self, context: SyncContext, warehouse: Warehouse, tables: CachedTables) -> None:
        """Opens no connection.

        Args:
            context: The sync.
            warehouse: The API's part of the warehouse.
            tables: Its tables.
        """
        self._context = context
        self._warehouse = warehouse
        self._tables = tables
        self._started: set[str] = set()
        self._last: Mapping[str, LastSync] | None = None

    def begin(self, names: Iterable[str]) -> None:
        """Records that rows of endpoints are about to be loaded, so that the next sync knows if this one is killed.

        Within ``open``.
        """
        new = [name for name in names if name not in self._started]
        if not new or not self._warehouse.keeps_history:
            return
        self._tables.connect()
        self._started |= {*new}
        self._create()
        # rows of the same sync that have started are replaced
        rows = [self._row(name, status=STARTED) for name in self._started]
        self._warehouse.ledger(lambda ledger: ledger.insert(rows, replace=True))

    @property
    def has_begun(self) -> bool:
        """Whether this sync has loaded rows, or was about to."""
        return bool(self._started)

    def unfinished(self) -> tuple[dict[str, tuple[datetime, str | None] | None], datetime | None]:
        """See ``SyncLedger.unfinished``."""
        self._tables.connect()
        return self._warehouse.ledger(lambda ledger: ledger.unfinished())

    def mark_interrupted(self) -> None:
        """Records that the parts of syncs that have started and not ended were interrupted."""
        self._warehouse.ledger(lambda ledger: ledger.mark_interrupted(ENDED))

    def last_complete(self, name: str) -> tuple[datetime | None, str | None]:
        """When the last complete sync of an endpoint before this one started, UTC, and its declaration then."""
        if self._last is None:
            columns = self._tables.columns([SYNCS]).get(SYNCS, {})
            self._last = self._warehouse.ledger(lambda ledger: ledger.last_syncs(columns))
        last = self._last.get(name, LastSync())
        return last.started_at, last.declaration

    def declaration(self, endpoint: Endpoint) -> str:
        """A fingerprint of the endpoint's declaration, and of the fields that settings leave out of its rows."""
        return declaration_of(self._context.api, endpoint, self._context.settings.exclude_columns)

    def finish(self, results: Iterable[EndpointResult], *, names: Iterable[str] = (), reason: str = "") -> None:
        """Writes a row for each endpoint of the sync. Within ``open``.

        Args:
            results: The results of the endpoints that were synced.
            names: The endpoints that the sync did not come to.
            reason: Why.

        Raises:
            LockTimeoutError: The ledger stays locked.
            WarehouseError: The destination fails.
        """
        if not self._warehouse.keeps_history:
            return
        rows = [self._row_of(result) for result in results]
        rows += [self._row(name, status="failed", reason=reason) for name in names]
        if not rows:
            return
        before = self._context.started - timedelta(days=self._context.settings.ledger_retention)
        self._tables.connect()
        self._create()
        self._warehouse.ledger(lambda ledger: ledger.insert(rows, replace=bool(self._started)))
        self._warehouse.ledger(lambda ledger: ledger.prune(before=before))

    def _create(self) -> None:
        columns = self._tables.columns([SYNCS]).get(SYNCS, {})
        if self._warehouse.ledger(lambda ledger: ledger.fit(columns)):
            self._tables.forget(SYNCS)

    def _row_of(self, result: EndpointResult) -> LedgerRow:
        stats = result.stats
        return self._row(
            result.endpoint.name,
            read_completely_at=stats.ended if stats and result.status == COMPLETE else None,
            status=result.status,
            reason=result.reason or None,
            rows_read=stats.rows_read if stats else 0,
            rows_loaded=stats.rows_loaded if stats else 0,
            rows_deleted=result.rows_deleted,
            rows_rejected=stats.rows_rejected if stats else 0,
            requests=stats.meter.requests if stats else 0,
            verified_at=result.verified_at,
            rows_hash=result.rows_hash,
        )

    def _row(self, name: str, *, status: str, **values: object) -> LedgerRow:
        context = self._context
        return LedgerRow(
            run_id=context.run_id,
            endpoint=name,
            started_at=context.started,
            status=status,
            declaration=self.declaration(context.api.by_name[name]),
            **values,  # type: ignore[arg-type]
        )
