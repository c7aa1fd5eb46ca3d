"""Records the versions of an API's rows in tables beside those of its endpoints."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from analytics_ingest.config.api import has_history
from analytics_ingest.errors import ReadError
from analytics_ingest.extract.column_names import DELETED_AT, DLT_PREFIX, PLANNED, ROW_HASH
from analytics_ingest.extract.column_types import STORED, Kind, column_type
from analytics_ingest.warehouse.destination_errors import is_transient, lacks_privilege
from analytics_ingest.warehouse.history_names import ALL_CHANGES, CHANGES, META, SYNCS, history_table
from analytics_ingest.warehouse.history_tables import TableHistory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.extract.endpoint_reader import EndpointReader
    from analytics_ingest.extract.sync_context import SyncContext
    from analytics_ingest.sync.ledger_writer import LedgerWriter
    from analytics_ingest.warehouse.cached_tables import CachedTables
    from analytics_ingest.warehouse.warehouse import Warehouse

NAMES = ("name", "title", "display_name", "label", "summary", "slug", "email", "key")
"""Columns that people know a row by; the first that a table has counts."""


class HistoryRecorder:
    """Records the versions of the rows of those endpoints that have a history.

    It begins with the first complete sync of an endpoint: each present row is its first version, the ``baseline``.

    Attributes:
        has_healed: Whether an earlier sync was interrupted.
    """

    def __init__(self, context: SyncContext, warehouse: Warehouse, tables: CachedTables, ledger: LedgerWriter) -> None:
        """Opens no connection.

        Args:
            context: The sync.
            warehouse: The API's part of the warehouse.
            tables: Its tables.
            ledger: The ledger of its syncs.
        """
        self._context = context
        self._warehouse = warehouse
        self._tables = tables
        self._ledger = ledger
        self._endpoints = {
            each.name: each
            for each in context.api.endpoints
            if warehouse.keeps_history and has_history(context.api, each, default=context.settings.history)
        }
        # their last versions may not be written
        self._unfinished: set[str] = set()
        self._changes_outdated = context.options.full_refresh
        self.has_healed = False

    @property
    def tables(self) -> list[str]:
        """The tables of versions."""
        return [history_table(name) for name in self._endpoints]

    def heal(self) -> None:
        """Records what interrupted syncs have loaded, before this one changes their tables. Within ``open``.

        Also puts the start of this sync after that of the last one.

        An endpoint whose versions cannot be written fails when this sync has read it.

        Raises:
            WarehouseError: The destination fails.
        """
        if SYNCS not in self._tables.columns([SYNCS]):
            return
        unfinished, last_start = self._ledger.unfinished()
        if last_start:
            self._context.start_after(last_start)
        self._unfinished = {*unfinished}
        started = {name: part for name, part in unfinished.items() if part is not None}
        for name, (moment, declaration) in started.items():
            if name in self._endpoints:
                try:
                    self._heal(self._endpoints[name], seen_at=moment, declaration=declaration)
                except Exception as error:
                    if is_transient(error):
                        raise
        if started:
            self._ledger.mark_interrupted()
            self.has_healed = True

    def _heal(self, endpoint: Endpoint, *, seen_at: datetime, declaration: str | None) -> None:
        # also the table of an endpoint that this sync does not read
        columns = self._tables.columns([endpoint.name, history_table(endpoint.name)])
        if endpoint.name in columns and history_table(endpoint.name) in columns:
            self._append(endpoint, columns[endpoint.name], seen_at=seen_at, is_whole=False, declaration=declaration)

    def record(self, reader: EndpointReader, columns: Mapping[str, str], *, changed: bool) -> None:
        """Records the versions that a sync made, once an endpoint is read and loaded. Within ``open``.

        Args:
            reader: The endpoint's reader.
            columns: The columns of its table and their types.
            changed: Whether the sync may have changed the table.

        Raises:
            ReadError: A user's object prevents it.
            WarehouseError: The destination fails.
        """
        endpoint = self._endpoints.get(reader.endpoint.name)
        if endpoint is None or ROW_HASH not in columns:
            return
        if taken := PLANNED & columns.keys():
            name = f"{self._context.api.name}/{endpoint.name}"
            self._context.log.warning(f"{name} has no history, as its table has {', '.join(sorted(taken))}")
            return
        started = self._context.started
        if history_table(endpoint.name) not in self._tables.columns([history_table(endpoint.name)]):
            if reader.is_complete and not self._context.options.windowed:
                self._begin(endpoint, columns, seen_at=started)
            return
        if changed or endpoint.name in self._unfinished or self._context.options.full_refresh:
            is_whole = reader.is_complete and reader.reads_everything and reader.plan.whole
            self._append(endpoint, columns, seen_at=started, is_whole=is_whole)

    def finish(self) -> None:
        """Brings the view of changes up to date, if a table of versions is new or has new columns. Within ``open``.

        Raises:
            WarehouseError: The destination fails.
        """
        if not self._changes_outdated:
            return
        self._tables.connect()
        columns = self._tables.columns([*self._endpoints, *self.tables])
        tables = [
            self._table(endpoint, columns[name], columns[history_table(name)])
            for name, endpoint in self._endpoints.items()
            if history_table(name) in columns and name in columns
        ]
        self._changes_outdated = False
        if not tables or not self._warehouse.history(lambda history: history.has_changes):
            return
        self._warehouse.history(lambda history: history.replace_changes(tables))
        try:
            self._warehouse.history(lambda history: history.replace_all_changes())
        except Exception as error:
            if not lacks_privilege(error):
                raise
            api = self._context.api.name
            self._context.log.warning(
                f"{api}: the view {META}.{ALL_CHANGES} cannot be made, as the user of the destination lacks a "
                f"privilege: grant it CREATE on the database, or, if the schema {META} exists, USAGE and CREATE on it. "
                f"The view {api}.{CHANGES} has the changes of this API"
            )

    def _begin(self, endpoint: Endpoint, columns: Mapping[str, str], *, seen_at: datetime) -> None:
        table = self._table(endpoint, columns, {})
        self._tables.connect()
        # the next sync remakes the views of changes if this one is killed before it does
        self._ledger.begin([endpoint.name])
        self._warehouse.history(lambda history: history.begin(table, seen_at=seen_at))
        self._tables.forget(history_table(endpoint.name))
        self._changes_outdated = True

    def _append(
        self,
        endpoint: Endpoint,
        columns: Mapping[str, str],
        *,
        seen_at: datetime,
        is_whole: bool,
        declaration: str | None = None,
    ) -> None:
        """Appends versions; ``declaration``: that of the sync that loaded the rows, by default this one's."""
        self._tables.connect()
        name = history_table(endpoint.name)
        history = self._tables.columns([name])[name]
        table = self._table(endpoint, columns, history)
        since, before = self._ledger.last_complete(endpoint.name)
        is_redeclared = before not in (None, declaration or self._ledger.declaration(endpoint))
        if self._warehouse.history(lambda each: each.fit(table)):
            self._tables.forget(name)
            self._changes_outdated = True
            table = self._table(endpoint, columns, self._tables.columns([name])[name])
        # the last sync may have ended before it remade the views of changes
        self._changes_outdated |= endpoint.name in self._unfinished
        self._warehouse.history(
            lambda each: each.append(
                table, seen_at=seen_at, since=since, is_redeclared=is_redeclared, is_whole=is_whole
            )
        )
        if days := self._context.settings.history_retention:
            oldest = self._context.started - timedelta(days=days)
            self._warehouse.history(lambda each: each.prune(table, before=oldest))

    def _table(self, endpoint: Endpoint, columns: Mapping[str, str], history: Mapping[str, str]) -> TableHistory:
        shown = [name for name in columns if name != DELETED_AT and not name.startswith(DLT_PREFIX)]
        versioned = {name: columns[name] for name in dict.fromkeys((*endpoint.primary_key, *shown))}
        wide = {name: self._wide(endpoint, name, kind, history.get(name, kind)) for name, kind in versioned.items()}
        times = [path for path in endpoint.cursor_path or ("updated_at",) if columns.get(path) == "timestamp"]
        return TableHistory(
            api=self._context.api.name,
            table=endpoint.name,
            key=endpoint.primary_key,
            columns=versioned,
            row_hash=ROW_HASH,
            deleted_at=DELETED_AT if DELETED_AT in columns else "",
            wide=wide,
            history=history,
            times=[name for name in times if wide[name] == "timestamp"],
            unversioned=endpoint.unversioned,
            name=next((name for name in NAMES if columns.get(name) == "text"), ""),
        )

    def _wide(self, endpoint: Endpoint, column: str, kind: str, history: str) -> str:
        """The type that versions need: older ones may hold values that the table lost."""
        if kind == history:
            return kind
        wide = column_type(STORED.get(kind, Kind.TEXT) | STORED.get(history, Kind.TEXT))
        if wide == "double":
            whole = endpoint.name if kind == "bigint" else history_table(endpoint.name)
            return "text" if self._tables.holds_large(whole, column) else wide
        return wide


def history_failure(error: Exception) -> ReadError:
    """The failure of an endpoint whose versions cannot be written."""
    return ReadError(f"its rows are loaded, and their history cannot be written: {error}")
