"""Compares rows of an endpoint's lists with those of its table, by their keys and the hashes of their contents."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from analytics_ingest.extract.column_types import as_text
from analytics_ingest.extract.rows import DELETED_AT, ROW_HASH
from analytics_ingest.warehouse.verification_table import RowDifference

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.warehouse.table_queries import DatasetTables

Key = tuple[str, ...]


def key_of(values: Iterable[Any]) -> Key:
    """A key as text: a column has one type, so a 1 in JSON may be '1' in the table."""
    return tuple(map(as_text, values))


class UpstreamRows:
    """The rows that some lists of an endpoint gave.

    Attributes:
        paths: The lists that were read completely, also under the names that their rows have for them.
        hashes: By key the hashes of its rows.
        old: Keys of rows older than ``START_DATE``, which a sync does not load.
        snapshot: The hashes of the rows of an endpoint without a key.
    """

    def __init__(self, endpoint: Endpoint, *, start: datetime | None) -> None:
        """Has no row yet.

        Args:
            endpoint: The endpoint.
            start: Rows whose cursor is earlier are not compared, UTC; ``None`` for no limit.
        """
        self.paths: set[str] = set()
        self.hashes: dict[Key, set[int]] = {}
        self.old: set[Key] = set()
        self.snapshot: Counter[int] = Counter()
        self._path_of: dict[Key, str] = {}
        self._endpoint = endpoint
        self._start = start if endpoint.primary_key else None

    def add(self, path: str, rows: Sequence[Mapping[str, Any]], *, cursor: Callable[[Any], datetime | None]) -> None:
        """Adds all rows of a list.

        Args:
            path: The list.
            rows: Its rows, normalised.
            cursor: Gives a row's cursor value, UTC.
        """
        endpoint = self._endpoint
        self.paths.add(path)
        if not endpoint.primary_key:
            self.snapshot.update(row[ROW_HASH] for row in rows)
            return
        for row in rows:
            key = key_of(row[name] for name in endpoint.primary_key)
            value = cursor(row) if self._start else None
            if self._start and value is not None and value < self._start:
                self.old.add(key)
                continue
            self.hashes.setdefault(key, set()).add(row[ROW_HASH])
            named = endpoint.path_for(row) if all(name in row for name in endpoint.path_params) else path
            self._path_of[key] = named
            self.paths.add(named)

    def path_of(self, key: Key) -> str:
        """The list that a row came from."""
        return self._path_of[key]


def find_differences(
    endpoint: Endpoint,
    upstream: UpstreamRows,
    tables: DatasetTables,
    columns: Mapping[str, str],
    *,
    current: Callable[[dict[str, Any]], dict[str, Any]],
    present: Collection[str] | None,
    now: datetime,
) -> list[RowDifference]:
    """The rows that differ between lists and the table.

    A row of the table is compared with the list that it belongs to. Rows that are marked as deleted are not in the
    table, for this purpose.

    Args:
        endpoint: The endpoint.
        upstream: The rows of the lists.
        tables: The API's tables.
        columns: The table's columns; empty if there is no table.
        current: Replaces path parameters that the API names differently by now.
        present: The paths of all lists; rows of another one are extra. ``None`` if there may be others.
        now: The time to note for the differences, UTC.
    """
    if not endpoint.primary_key:
        stored = Counter(row[0] for row in tables.read(endpoint.name, [ROW_HASH])) if columns else Counter()
        if stored == upstream.snapshot:
            return []
        sums = [str(sum((value or 0) * count for value, count in each.items())) for each in (stored, upstream.snapshot)]
        path = min(upstream.paths, default=endpoint.path)
        return [RowDifference(kind="changed", key=(), path=path, stored=sums[0], upstream=sums[1], seen_at=now)]
    by_key: dict[Key, list[tuple[str, int | None]]] = {}
    for key, path, row_hash in _stored_rows(endpoint, tables, columns, current) if columns else ():
        by_key.setdefault(key, []).append((path, row_hash))
    return [
        RowDifference(kind=kind, key=key, path=path, stored=stored_hash, upstream=came, seen_at=now)  # type: ignore[arg-type]
        for kind, key, path, stored_hash, came in _differences(upstream, by_key, present)
    ]


def _stored_rows(
    endpoint: Endpoint,
    tables: DatasetTables,
    columns: Mapping[str, str],
    current: Callable[[dict[str, Any]], dict[str, Any]],
) -> Iterator[tuple[Key, str, int | None]]:
    """The rows of a table that are not marked as deleted: key, path, hash."""
    key, params = endpoint.primary_key, endpoint.path_params
    live = DELETED_AT if DELETED_AT in columns else None
    paths: dict[tuple[Any, ...], str] = {}
    for values in tables.read(endpoint.name, [*key, *params, ROW_HASH], where_null=live):
        given = values[len(key) : -1]
        if given not in paths:
            paths[given] = endpoint.path_for(current(dict(zip(params, given, strict=True))))
        yield key_of(values[: len(key)]), paths[given], values[-1]


def _differences(
    upstream: UpstreamRows, stored: Mapping[Key, Sequence[tuple[str, int | None]]], present: Collection[str] | None
) -> Iterator[tuple[str, Key, str, str | None, str | None]]:
    """Kind, key, path, stored hash and hash that came of each row that differs."""
    for key, hashes in upstream.hashes.items():
        came = str(min(hashes))
        rows = stored.get(key, ())
        if not rows:
            yield "missing", key, upstream.path_of(key), None, came
        elif len(rows) > 1:
            yield "doubled", key, upstream.path_of(key), str(sorted(str(row_hash) for _, row_hash in rows)), came
        # a row of another list is compared with that list
        elif rows[0][0] in upstream.paths and rows[0][1] not in hashes:
            yield "changed", key, rows[0][0], str(rows[0][1]), came
    for key, rows in stored.items():
        path, row_hash = rows[0]
        gone = present is not None and path not in present and path not in upstream.paths
        if key not in upstream.hashes and key not in upstream.old and (path in upstream.paths or gone):
            yield "extra", key, path, str(row_hash), None
