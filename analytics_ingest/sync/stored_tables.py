"""What a sync reads from the API's tables: the partitions of children, and what each table holds before it is read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.parents import COVERED, NAMING, VERSION, FromRenamed
from analytics_ingest.errors import IngestError, MissingParentError
from analytics_ingest.extract.former_rows import FormerRow, FormerRows, former_key, stored_value
from analytics_ingest.extract.partitions import NO_NAMING, Partition, addressable_path
from analytics_ingest.extract.resource_state import stored_cursor
from analytics_ingest.extract.rows import DELETED_AT, ROW_HASH
from analytics_ingest.extract.table_snapshot import Limits, TableSnapshot

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.apis.parents import DateWindow, ReadTable
    from analytics_ingest.sync.pending_parents import PendingParentRows
    from analytics_ingest.warehouse.table_queries import DatasetTables


def limits_of(tables: DatasetTables) -> Limits:
    """What the destination can hold."""
    return Limits(max_name_length=tables.max_name_length, takes_nul=tables.takes_nul)


@dataclass(frozen=True, kw_only=True)
class StoredTables:
    """An API's tables as readers need them, with the rows of parents that are read and not loaded yet.

    Attributes:
        api: The API.
        tables: Its tables, over an open connection or a cache.
        columns: By table its columns and their types in dlt's terms; a table that is missing here does not exist.
        pending: By name the parents that are read and not loaded yet.
    """

    api: Api
    tables: DatasetTables
    columns: Mapping[str, Mapping[str, str]]
    pending: Mapping[str, PendingParentRows] = field(default_factory=dict)

    def partitions(self, endpoint: Endpoint, window: DateWindow, *, log: logging.Logger) -> list[Partition]:
        """The partitions of an endpoint, each once, by path; a single one for an endpoint without parents.

        Args:
            endpoint: The endpoint.
            window: The days and option values that the sync covers.
            log: Gets the number of parents without a value for the path.

        Raises:
            MissingParentError: A parent's table does not exist yet.
            IngestError: Two parents lead to the same path.
        """
        if endpoint.parents is None:
            return [Partition(path=endpoint.path, params={})]
        name = f"{self.api.name}/{endpoint.name}"
        if missing := [each for each in endpoint.upstream if not self._has_rows(each)]:
            names = ", ".join(f"{self.api.name}/{each}" for each in missing)
            raise MissingParentError(
                f"{name} is read for each row of {names}, which has no table yet: "
                f"materialise {names} first, or together with it"
            )
        by_path: dict[str, Partition] = {}
        left_out = 0
        for row in endpoint.parents.rows(self.reader_for(endpoint), window):
            version, naming = row.pop(VERSION), row.pop(NAMING, NO_NAMING)
            covered = row.pop(COVERED, False)
            path = addressable_path(endpoint, row)
            if path is None:
                left_out += 1
                continue
            former = (addressable_path(endpoint, naming.former) if naming.former else "") or ""
            partition = Partition(path=path, params=row, version=version, naming=naming, former=former, covered=covered)
            known = by_path.setdefault(path, partition)
            if known is partition:
                continue
            if known.params != row:
                raise IngestError(
                    f"{name}: two parents lead to the same path {path}: {_shown(known.params)} and {_shown(row)}"
                )
            # one source may know it under a provisional name only, another under the API's
            if known.naming.late or (former and not known.former):
                known = replace(known, naming=naming, former=former)
            by_path[path] = replace(known, version=known.version.merged_with(version))
        if left_out:
            log.info(f"{name}: {left_out} parents have no value for the path and are passed over")
        return [by_path[path] for path in sorted(by_path)]

    def _has_rows(self, resource: str) -> bool:
        """Whether the rows of a parent are known; there are none of one that the API withdrew before its first sync."""
        return resource in self.columns or resource in self.pending or bool(self.api.by_name[resource].withdrawal)

    def reader_for(self, endpoint: Endpoint) -> ReadTable:
        """Reads what the partitions of an endpoint need of other tables, see ``parents.ReadTable``."""

        def read(resource: str, wanted: Sequence[str]) -> Iterable[tuple[Any, ...]]:
            columns = self.columns.get(resource, {})
            if isinstance(endpoint.parents, FromRenamed) and resource == endpoint.parents.table and columns:
                # also of parents that are marked as deleted
                yield from self._stored(resource, wanted, live=None)
            elif columns and resource not in self.pending:
                yield from self._stored(resource, wanted, live=DELETED_AT if DELETED_AT in columns else None)
            if resource in self.pending:
                yield from self.pending[resource].rows(self.tables, wanted)

        return read

    def _stored(self, resource: str, wanted: Sequence[str], *, live: str | None) -> Iterable[tuple[Any, ...]]:
        present = [name for name in wanted if name in self.columns[resource]]
        for values in self.tables.read(resource, present, where_null=live) if present else ():
            row = dict(zip(present, values, strict=True))
            # a column that no row ever filled does not exist
            yield tuple(row.get(name) for name in wanted)

    def changing_paths(self, endpoint: Endpoint) -> set[str]:
        """The paths of the partitions that have a row which is not final, by the table as it is."""
        if not endpoint.final_when or endpoint.final_when[0] not in self.columns.get(endpoint.name, {}):
            return set()
        column, values = endpoint.final_when
        rows = self.tables.read(endpoint.name, [column, *endpoint.path_params], where_null=DELETED_AT)
        changing = {row[1:] for row in rows if row[0] not in values}
        return {endpoint.path_for(dict(zip(endpoint.path_params, row, strict=True))) for row in changing}

    def snapshot(self, endpoint: Endpoint, state: Mapping[str, Any]) -> TableSnapshot:
        """What the endpoint's table holds.

        Args:
            endpoint: The endpoint.
            state: Its resource's state.
        """
        columns, limits = self.columns.get(endpoint.name, {}), limits_of(self.tables)
        if ROW_HASH not in columns:
            # no table yet: every row is new
            return TableSnapshot(columns=columns, limits=limits)
        if not endpoint.primary_key:
            hashes = [row[0] for row in self.tables.read(endpoint.name, [ROW_HASH])]
            return TableSnapshot(rows=hashes, columns=columns, limits=limits)
        live = DELETED_AT if DELETED_AT in columns else None
        rows = self.tables.read(endpoint.name, [ROW_HASH, *endpoint.path_params], where_null=live)
        renamed = self.renaming(endpoint)

        @cache  # one text for all rows of a partition
        def path(*values: Any) -> str:
            return endpoint.path_for(renamed(dict(zip(endpoint.path_params, values, strict=True))))

        return TableSnapshot(
            hashes={row[0]: path(*row[1:]) for row in rows},
            columns=columns,
            cursor=stored_cursor(state),
            former=self._former_rows(endpoint, renamed),
            limits=limits,
        )

    def renaming(self, endpoint: Endpoint) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """Replaces a parent's name in stored path parameters by the API's own name for it."""
        source = endpoint.parents
        if not isinstance(source, FromRenamed):
            return lambda params: params
        names = source.names(self.reader_for(endpoint))
        return lambda params: {**params, source.param: source.current(params[source.param], names)}

    def _former_rows(self, endpoint: Endpoint, renamed: Callable[[dict[str, Any]], dict[str, Any]]) -> FormerRows:
        """The stored rows with values in retired columns, or whose parent has another name by now."""
        columns = self.columns[endpoint.name]
        retired = [name for name in endpoint.retired if name in columns]
        params = endpoint.path_params if isinstance(endpoint.parents, FromRenamed) else ()
        if not retired and not params:
            return FormerRows()
        key, marks = endpoint.primary_key, [DELETED_AT] if DELETED_AT in columns else []
        names = list(dict.fromkeys((ROW_HASH, *key, *retired, *params, *marks)))
        found, moved = {}, {}
        for values in self.tables.read(endpoint.name, names):
            row = dict(zip(names, values, strict=True))
            now = renamed({name: row[name] for name in params})
            former = {name: row[name] for name in params if row[name] != now[name]}
            is_deleted = any(row[name] is not None for name in marks)
            if is_deleted and former:
                moved[row[ROW_HASH]] = {name: now[name] for name in former}
            sent = {name: stored_value(row[name], columns[name]) for name in retired}
            if retired or former:
                found[former_key([row[name] for name in key])] = FormerRow(
                    row_hash=None if is_deleted else row[ROW_HASH],
                    retired={name: value for name, value in sent.items() if value is not None},
                    params=former,
                )
        return FormerRows(retired, found, moved)


def _shown(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in params.items())
