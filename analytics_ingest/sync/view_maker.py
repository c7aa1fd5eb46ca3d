"""Makes the views of present rows, and remakes them when their tables have new columns."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from analytics_ingest.warehouse.destination_errors import describe, is_transient
from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError
from analytics_ingest.warehouse.history_names import present_view
from analytics_ingest.warehouse.present_views import DELETED_AT, PresentViews, shown_columns

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from analytics_ingest.extract.sync_context import SyncContext
    from analytics_ingest.warehouse.cached_tables import CachedTables
    from analytics_ingest.warehouse.warehouse import Warehouse


class ViewMaker:
    """Makes the views of one sync, where the destination has them; each endpoint with a key has one.

    A view lists its columns, so it has to be remade when its table gets one. The columns that are there are compared,
    so a view that a killed sync has not remade is remade by the next one; until then it shows what it showed before.
    """

    def __init__(
        self, context: SyncContext, warehouse: Warehouse, tables: CachedTables, *, selected: Collection[str]
    ) -> None:
        """Opens no connection.

        Args:
            context: The sync.
            warehouse: The API's part of the warehouse.
            tables: Its tables.
            selected: Names of the endpoints to sync.
        """
        self._context = context
        self._warehouse = warehouse
        self._tables = tables
        self._endpoints = [
            each.name
            for each in context.api.endpoints
            if each.primary_key and each.name in selected and warehouse.has_present_views
        ]
        self._shown: dict[str, Collection[str]] = {}
        self._failed: set[str] = set()

    @property
    def views(self) -> list[str]:
        """The names of the views."""
        return [present_view(name) for name in self._endpoints]

    def begin(self, tables: Mapping[str, Collection[str]]) -> None:
        """Makes the views that are missing, and remakes those that a killed sync has left. Within ``open``.

        Args:
            tables: By endpoint the columns of its table.
        """
        found = self._tables.columns(self.views) if self._endpoints else {}
        self._shown = {name: [*found.get(present_view(name), ())] for name in self._endpoints}
        self.fit(tables)

    def fit(self, tables: Mapping[str, Collection[str]]) -> None:
        """Remakes the views whose tables have other columns than they show. Within ``open``.

        A failure is logged as a warning, as the rows are loaded: the view shows what it showed before.

        Args:
            tables: By endpoint the columns that its table has now.
        """
        for name in self._endpoints:
            columns = tables.get(name, ())
            if DELETED_AT not in columns or name in self._failed or {*shown_columns(columns)} == {*self._shown[name]}:
                continue
            self._tables.connect()
            self._tables.forget(present_view(name))
            try:
                self._shown[name] = self._warehouse.present_views(partial(PresentViews.remake, table=name))
            except Exception as error:
                if is_transient(error) and not isinstance(error, LockTimeoutError):
                    raise
                self._failed.add(name)
                reason = error if isinstance(error, WarehouseError | LockTimeoutError) else describe(error, set())
                self._context.log.warning(
                    f"{self._context.api.name}: the view {present_view(name)} cannot be made: {reason}"
                )
