"""Makes the reader of an endpoint: its partitions, its place in the fan-out, and what the warehouse holds of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.parents import LOAD_ID
from analytics_ingest.config.api import page_limit
from analytics_ingest.errors import IngestError
from analytics_ingest.extract.date_window import build_date_window
from analytics_ingest.extract.endpoint_reader import EndpointReader
from analytics_ingest.extract.fan_out import LAST_FAN_OUT, plan_fan_out
from analytics_ingest.extract.partitions import columns_for_children
from analytics_ingest.extract.rows import DELETED_AT, ROW_HASH
from analytics_ingest.sync.table_checks import TableBefore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.extract.sync_context import SyncContext
    from analytics_ingest.sync.stored_tables import StoredTables


class ReaderFactory:
    """Makes the readers of one sync."""

    def __init__(self, context: SyncContext) -> None:
        """Takes what all readers have in common.

        Args:
            context: The sync.
        """
        self._context = context
        self._columns_for_children = columns_for_children(context.api)

    def columns_of(self, table: str) -> list[str]:
        """The columns of a table that the readers of its endpoint and of that one's children need."""
        endpoint = self._context.api.by_name[table]
        own = [ROW_HASH, DELETED_AT, *endpoint.path_params, *(endpoint.final_when or ())[:1]]
        key = endpoint.primary_key if table in self._columns_for_children or endpoint.retired else ()
        return list(dict.fromkeys((*own, *key, *endpoint.retired, *self._columns_for_children.get(table, ()))))

    def build(
        self, endpoint: Endpoint, stored: StoredTables, state: Mapping[str, Any]
    ) -> tuple[EndpointReader, TableBefore]:
        """Makes the reader of an endpoint, and says what its table is before.

        Args:
            endpoint: The endpoint.
            stored: The API's tables.
            state: The resource's state, as the last sync left it.

        Raises:
            IngestError: The endpoint cannot be read: a parent's table does not exist, two parents lead to one path, a
                setting is not valid, or no sync has made its table.
        """
        context, api = self._context, self._context.api
        columns = stored.columns.get(endpoint.name, {})
        if columns and LOAD_ID not in columns:
            raise IngestError(
                f"the warehouse has a table {api.name}.{endpoint.name} that no sync has made: rename or drop it"
            )
        options, settings = context.options, context.settings
        window = build_date_window(settings, options, now=context.started, first=LAST_FAN_OUT not in state)
        partitions = stored.partitions(endpoint, window, log=context.log)
        snapshot = stored.snapshot(endpoint, state)
        mode: str = settings.fan_out
        if options.full_refresh or options.windowed:
            mode = f"{options.full_refresh} {options.updated_from} {options.updated_to}"
        repair = options.repairs.get(endpoint.name)
        plan = plan_fan_out(
            endpoint,
            partitions,
            state,
            mode=mode,
            now=datetime.now(UTC),
            resume_within=settings.resume_within,
            changing=stored.changing_paths(endpoint),
            windowed=options.windowed,
            pending=not stored.pending.keys().isdisjoint(endpoint.upstream),
            # a snapshot is replaced as a whole
            only=repair.paths if repair and endpoint.primary_key else None,
            reads_covered=options.full_refresh,
        )
        reader = EndpointReader(
            endpoint,
            context,
            plan=plan,
            stored=snapshot,
            state=state,
            limit=page_limit(api, endpoint),
            columns_for_children=self._columns_for_children.get(endpoint.name, ()),
        )
        before = TableBefore(
            rows=len(snapshot.hashes) or len(snapshot.rows),
            cursor=snapshot.cursor,
            columns=columns,
            paths={partition.path for partition in partitions},
        )
        return reader, before
