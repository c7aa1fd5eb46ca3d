"""What reads an endpoint: its parents, its place in the sweep over them, and what the warehouse holds of it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.parents import LOAD_ID, FromRenamed
from analytics_ingest.config.api import page_limit
from analytics_ingest.errors import IngestError
from analytics_ingest.extract.date_window import build_date_window
from analytics_ingest.extract.endpoint_reader import EndpointReader
from analytics_ingest.extract.fan_out import SWEPT, plan_fan_out
from analytics_ingest.extract.former_rows import FormerRow, FormerRows, former_key, stored_value
from analytics_ingest.extract.partitions import feed_columns
from analytics_ingest.extract.rows import DELETED_AT, ROW_HASH
from analytics_ingest.extract.stats import CURSOR, Limits, TableSnapshot
from analytics_ingest.sync.stored_parents import changing_paths, read_partitions, table_reader
from analytics_ingest.sync.table_checks import TableBefore

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping, Sequence

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.extract.fan_out import FanOutPlan
    from analytics_ingest.extract.stats import Partition
    from analytics_ingest.extract.sync_options import SyncOptions
    from analytics_ingest.http.session import ApiSession
    from analytics_ingest.sync.pending_parents import PendingParentRows
    from analytics_ingest.warehouse.table_queries import DatasetTables


def cursor_of(state: Mapping[str, Any]) -> datetime | None:
    """The highest cursor value that a resource's state tells of."""
    return datetime.fromisoformat(state[CURSOR]) if CURSOR in state else None


def limits_of(tables: DatasetTables) -> Limits:
    """What the destination can hold."""
    return Limits(max_name_length=tables.max_name_length, takes_nul=tables.takes_nul)


class ReaderFactory:
    """Makes the readers of one sync."""

    def __init__(
        self, api: Api, session: ApiSession, mode: SyncOptions, *, started: datetime, log: logging.Logger
    ) -> None:
        """Takes what all of them have in common.

        Args:
            api: The API.
            session: Its session.
            mode: What the sync is asked to do.
            started: When it began.
            log: Gets progress.
        """
        self._api = api
        self._session = session
        self._mode = mode
        self._started = started
        self._log = log
        self._keep = feed_columns(api)

    def columns_of(self, table: str) -> list[str]:
        """The columns of a table that the readers of its endpoint and of that one's children need."""
        endpoint = self._api.by_name[table]
        own = [ROW_HASH, DELETED_AT, *endpoint.path_params, *(endpoint.final_when or ())[:1]]
        key = endpoint.primary_key if table in self._keep or endpoint.retired else ()
        return list(dict.fromkeys((*own, *key, *endpoint.retired, *self._keep.get(table, ()))))

    def build(
        self,
        endpoint: Endpoint,
        tables: DatasetTables,
        columns: Mapping[str, Mapping[str, str]],
        state: Mapping[str, Any],
        pending: Mapping[str, PendingParentRows],
    ) -> tuple[EndpointReader, TableBefore]:
        """What reads an endpoint, and what its table is before.

        Args:
            endpoint: The endpoint.
            tables: The API's tables.
            columns: The columns and types of its table and of its parents'.
            state: Its resource's state.
            pending: Parents that are not loaded yet.

        Raises:
            IngestError: It cannot be read: a parent's table is missing, two parents lead to one path, a setting; or its
                table is not ours.
        """
        there = columns.get(endpoint.name, {})
        if there and LOAD_ID not in there:
            raise IngestError(
                f"the warehouse has a table {self._api.name}.{endpoint.name} that no sync has made: rename or drop it"
            )
        window = build_date_window(self._session.settings, self._mode, now=self._started, first=SWEPT not in state)
        parents = read_partitions(self._api, endpoint, tables, window, columns=columns, pending=pending, log=self._log)
        stored = self._stored(endpoint, tables, columns, state, pending)
        before = TableBefore(
            rows=len(stored.hashes) or len(stored.rows),
            cursor=stored.cursor,
            columns=there,
            paths={parent.path for parent in parents},
        )
        before_load = not pending.keys().isdisjoint(endpoint.upstream)
        reader = EndpointReader(
            endpoint,
            self._session,
            limit=page_limit(self._api, endpoint),
            stored=stored,
            state=state,
            fan_out_plan=self._fan_out_plan(endpoint, parents, tables, there, state, pending=before_load),
            mode=self._mode,
            started=self._started,
            log=self._log,
            keep=self._keep.get(endpoint.name, ()),
        )
        return reader, before

    def _stored(
        self,
        endpoint: Endpoint,
        tables: DatasetTables,
        columns: Mapping[str, Mapping[str, str]],
        state: Mapping[str, Any],
        pending: Mapping[str, PendingParentRows],
    ) -> TableSnapshot:
        there = columns.get(endpoint.name, {})
        limits = limits_of(tables)
        if ROW_HASH not in there:
            # no table yet: what is read is new to it
            return TableSnapshot(columns=there, limits=limits)
        if not endpoint.primary_key:
            snapshot = [row[0] for row in tables.read(endpoint.name, [ROW_HASH])]
            return TableSnapshot(rows=snapshot, columns=there, limits=limits)
        live = DELETED_AT if DELETED_AT in there else None
        rows = tables.read(endpoint.name, [ROW_HASH, *endpoint.path_params], where_null=live)

        renamed = _renamed(endpoint, tables, columns, pending)

        @cache  # one text for all rows of a parent
        def path(*values: Any) -> str:
            return endpoint.path_for(renamed(dict(zip(endpoint.path_params, values, strict=True))))

        hashes = {row[0]: path(*row[1:]) for row in rows}
        former = _former(endpoint, tables, there, renamed)
        return TableSnapshot(hashes=hashes, columns=there, cursor=cursor_of(state), former=former, limits=limits)

    def _fan_out_plan(
        self,
        endpoint: Endpoint,
        parents: Sequence[Partition],
        tables: DatasetTables,
        there: Mapping[str, str],
        state: Mapping[str, Any],
        *,
        pending: bool,
    ) -> FanOutPlan:
        mode: str = self._session.settings.fan_out
        if self._mode.full_refresh or self._mode.windowed:
            mode = f"{self._mode.full_refresh} {self._mode.updated_from} {self._mode.updated_to}"
        return plan_fan_out(
            endpoint,
            parents,
            state,
            mode=mode,
            now=datetime.now(UTC),
            resume_within=self._session.settings.resume_within,
            changing=changing_paths(endpoint, tables, there),
            windowed=self._mode.windowed,
            pending=pending,
        )


def _renamed(
    endpoint: Endpoint,
    tables: DatasetTables,
    columns: Mapping[str, Mapping[str, str]],
    pending: Mapping[str, PendingParentRows],
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Gives stored path parameters the API's own name for the parent."""
    feed = endpoint.parents
    if not isinstance(feed, FromRenamed):
        return lambda params: params
    names = feed.names(table_reader(endpoint, tables, columns=columns, pending=pending))
    return lambda params: {**params, feed.param: feed.current(params[feed.param], names)}


def _former(
    endpoint: Endpoint,
    tables: DatasetTables,
    there: Mapping[str, str],
    renamed: Callable[[dict[str, Any]], dict[str, Any]],
) -> FormerRows:
    """The stored rows with values in retired columns, or whose parent has another name by now."""
    retired = [name for name in endpoint.retired if name in there]
    params = endpoint.path_params if isinstance(endpoint.parents, FromRenamed) else ()
    if not retired and not params:
        return FormerRows()
    key, gone = endpoint.primary_key, [DELETED_AT] if DELETED_AT in there else []
    names = list(dict.fromkeys((ROW_HASH, *key, *retired, *params, *gone)))
    found, moved = {}, {}
    for values in tables.read(endpoint.name, names):
        row = dict(zip(names, values, strict=True))
        now = renamed({name: row[name] for name in params})
        former = {name: row[name] for name in params if row[name] != now[name]}
        deleted = any(row[name] is not None for name in gone)
        if deleted and former:
            moved[row[ROW_HASH]] = {name: now[name] for name in former}
        sent = {name: stored_value(row[name], there[name]) for name in retired}
        if retired or former:
            found[former_key([row[name] for name in key])] = FormerRow(
                row_hash=None if deleted else row[ROW_HASH],
                retired={name: value for name, value in sent.items() if value is not None},
                params=former,
            )
    return FormerRows(retired, found, moved)
