"""Makes the views of present rows, and remakes them when their tables have new columns."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from analytics_ingest.warehouse.destination_errors import describe, is_transient
from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError
from analytics_ingest.warehouse.history_names import present_view
from analytics_ingest.warehouse.present_views import DELETED_AT, PresentViews, shown_columns

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

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
        self._shown: dict[str, list[str]] = {}
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
        outdated = [name for name in self._endpoints if self._is_outdated(name, tables.get(name, ()))]
        if not outdated:
            return
        self._tables.connect()
        for name in outdated:
            self._tables.forget(present_view(name))
        if not self._remake(outdated):
            for name in outdated:
                self._remake([name])

    def _is_outdated(self, name: str, columns: Collection[str]) -> bool:
        if DELETED_AT not in columns or name in self._failed:
            return False
        return {*shown_columns(columns)} != {*self._shown[name]}

    def _remake(self, names: Sequence[str]) -> bool:
        """Remakes views. False if one of several cannot be made, so that each has to be made alone."""
        try:
            self._shown |= self._warehouse.present_views(partial(PresentViews.remake, tables=names))
        except Exception as error:
            is_locked = isinstance(error, LockTimeoutError)
            if is_transient(error) and not is_locked:
                raise
            if len(names) > 1 and not is_locked:
                return False
            self._failed |= {*names}
            reason = error if is_locked or isinstance(error, WarehouseError) else describe(error, set())
            views = ", ".join(map(present_view, names))
            self._context.log.warning(f"{self._context.api.name}: the view {views} cannot be made: {reason}")
        return True
