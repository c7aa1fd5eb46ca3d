"""The parents that a child endpoint is asked for, read from the warehouse."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.parents import MARK, NAMING, FromRenamed
from analytics_ingest.errors import IngestError, MissingParentError
from analytics_ingest.extract.partitions import path_of
from analytics_ingest.extract.rows import DELETED_AT
from analytics_ingest.extract.stats import NO_NAMING, Partition

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.apis.parents import DateWindow, ReadTable
    from analytics_ingest.sync.pending_parents import PendingParentRows
    from analytics_ingest.warehouse.table_queries import DatasetTables

NOTHING_PENDING: Mapping[str, PendingParentRows] = MappingProxyType({})


def read_partitions(
    api: Api,
    endpoint: Endpoint,
    tables: DatasetTables,
    window: DateWindow,
    *,
    columns: Mapping[str, Collection[str]],
    pending: Mapping[str, PendingParentRows] = NOTHING_PENDING,
    log: logging.Logger,
) -> list[Partition]:
    """One parent per request to make, each once, by path; one without values if the path has no placeholders.

    Args:
        api: The API.
        endpoint: The child.
        tables: Where the parents are.
        window: What the sync covers of what no table lists.
        columns: The columns of each table that is there.
        pending: Parents that are read and not loaded yet.
        log: Told of parents that are passed over.

    Raises:
        MissingParentError: A parent's table is not there yet.
        IngestError: Two parents lead to the same path.
    """
    if endpoint.parents is None:
        return [Partition(path=endpoint.path, params={})]
    if missing := [name for name in endpoint.upstream if name not in columns and name not in pending]:
        names = ", ".join(f"{api.name}/{name}" for name in missing)
        raise MissingParentError(
            f"{api.name}/{endpoint.name} is read for each row of {names}, which has no table yet: "
            f"materialise {names} first, or together with it"
        )

    read = table_reader(endpoint, tables, columns=columns, pending=pending)
    by_path: dict[str, Partition] = {}
    left_out = 0
    for row in endpoint.parents.rows(read, window):
        mark, naming = row.pop(MARK), row.pop(NAMING, NO_NAMING)
        path = path_of(endpoint, row)
        if path is None:
            left_out += 1
            continue
        former = (path_of(endpoint, naming.former) if naming.former else "") or ""
        parent = Partition(path=path, params=row, mark=mark, naming=naming, former=former)
        known = by_path.setdefault(path, parent)
        if known is parent:
            continue
        if known.params != row:
            raise IngestError(
                f"{api.name}/{endpoint.name}: two parents lead to the same path {path}: "
                f"{_shown(known.params)} and {_shown(row)}"
            )
        # one feed may know it under a provisional name only, another under the API's
        if known.naming.late or (former and not known.former):
            known = replace(known, naming=naming, former=former)
        by_path[path] = replace(known, mark=known.mark.merged_with(mark))
    if left_out:
        log.info(f"{api.name}/{endpoint.name}: {left_out} parents have no value for the path and are passed over")
    return [by_path[path] for path in sorted(by_path)]


def table_reader(
    endpoint: Endpoint,
    tables: DatasetTables,
    *,
    columns: Mapping[str, Collection[str]],
    pending: Mapping[str, PendingParentRows] = NOTHING_PENDING,
) -> ReadTable:
    """Reads what an endpoint's feed needs of other tables, and of those that are not loaded yet."""

    def stored(resource: str, wanted: Sequence[str], *, live: str | None) -> Iterable[tuple[Any, ...]]:
        present = [name for name in wanted if name in columns[resource]]
        for values in tables.read(resource, present, where_null=live) if present else ():
            row = dict(zip(present, values, strict=True))
            # a column that no row ever filled does not exist
            yield tuple(row.get(name) for name in wanted)

    def read(resource: str, wanted: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        if isinstance(endpoint.parents, FromRenamed) and resource == endpoint.parents.table and resource in columns:
            # also of parents that are marked as deleted
            yield from stored(resource, wanted, live=None)
        elif resource in columns and resource not in pending:
            yield from stored(resource, wanted, live=DELETED_AT if DELETED_AT in columns[resource] else None)
        if resource in pending:
            yield from pending[resource].rows(tables, wanted)

    return read


def changing_paths(endpoint: Endpoint, tables: DatasetTables, columns: Collection[str]) -> set[str]:
    """The paths of the parents that have a row which is not finished, by the table as it is."""
    if not endpoint.final_when or endpoint.final_when[0] not in columns:
        return set()
    column, values = endpoint.final_when
    rows = tables.read(endpoint.name, [column, *endpoint.path_params], where_null=DELETED_AT)
    unfinished = {row[1:] for row in rows if row[0] not in values}
    return {endpoint.path_for(dict(zip(endpoint.path_params, row, strict=True))) for row in unfinished}


def _shown(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in params.items())
