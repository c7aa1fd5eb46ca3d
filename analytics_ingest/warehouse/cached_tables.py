"""Caches the rows and counts of a dataset's tables, so that a sync without changes connects once."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

from analytics_ingest.warehouse.destination_errors import is_transient
from analytics_ingest.warehouse.table_queries import Counts, DatasetTables

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

MAX_ROWS = 50_000
"""Rows up to which a table is cached; a larger one is read when its rows are needed."""
MAX_ALL_ROWS = 200_000
"""Rows of all cached tables together. Smaller tables are cached first."""


class CachedTables(DatasetTables):
    """The tables of one dataset, from a cache that is valid until the sync changes a table.

    What is not cached is read from the warehouse, which is opened for it.
    """

    def __init__(self, connect: Callable[[], AbstractContextManager[DatasetTables]]) -> None:
        """Starts with an empty cache.

        Args:
            connect: Opens the warehouse.
        """
        self._connect = connect
        self._stack: ExitStack | None = None
        self._tables: DatasetTables | None = None
        self._columns: dict[str, dict[str, str]] = {}
        self._counts: dict[str, tuple[tuple[str, ...], str | None, Counts]] = {}
        self._rows: dict[str, tuple[dict[str, int], list[tuple[Any, ...]]]] = {}
        self._limits: tuple[int | None, bool] | None = None

    @contextmanager
    def open(self, *, at_once: bool = False) -> Iterator[Self]:
        """The tables: the warehouse is opened ``at_once``, or when something is needed that is not cached.

        Raises:
            LockTimeoutError: Another sync writes for too long, or a table stays locked.
            WarehouseError: A foreign process holds the file, or the destination fails.
        """
        with ExitStack() as stack:
            self._stack = stack
            if at_once:
                self._connected()
            try:
                yield self
            finally:
                self._stack = self._tables = None

    def connect(self) -> None:
        """Opens the warehouse if it is not open yet. Within ``open`` only."""
        self._connected()

    def keep(
        self,
        wanted: Mapping[str, Sequence[str]],
        keys: Mapping[str, Sequence[str]],
        *,
        where_null: str,
        beside: Collection[str] = (),
    ) -> None:
        """Caches the rows and the counts of tables, read with a few queries for all of them.

        Args:
            wanted: By table the columns to cache, if it has them.
            keys: By table the columns of its key; none for a table without one.
            where_null: The column that has a value in rows that are marked as deleted, if a table has it.
            beside: Tables of which only the columns are cached.
        """
        tables = self._connected()
        found = tables.columns([*wanted, *beside])
        self._columns = {name: found.get(name, {}) for name in (*wanted, *beside)}
        there = {name: found[name] for name in wanted if name in found and set(keys[name]) <= found[name].keys()}
        marks = {name: where_null if where_null in types else None for name, types in there.items()}
        try:
            counts = tables.counts_of({name: (keys[name], marks[name]) for name in there})
            sizes, total = {}, 0
            for name in sorted(there, key=lambda name: counts[name].rows):
                total += counts[name].rows
                if counts[name].rows <= MAX_ROWS and total <= MAX_ALL_ROWS:
                    sizes[name] = {
                        column: there[name][column] for column in dict.fromkeys(wanted[name]) if column in there[name]
                    }
            rows = tables.read_all(sizes)
        except Exception as error:
            if is_transient(error):
                raise
            # a table that cannot be read is reported by the endpoint that needs it
            return
        self._counts = {name: (tuple(keys[name]), marks[name], counts[name]) for name in there}
        self._rows = {
            name: ({column: place for place, column in enumerate(sizes[name])}, kept) for name, kept in rows.items()
        }

    def forget(self, table: str) -> None:
        """Removes a table from the cache, as it has changed."""
        for kept in (self._columns, self._counts, self._rows):
            kept.pop(table, None)

    def columns(self, tables: Iterable[str]) -> dict[str, dict[str, str]]:
        """See ``DatasetTables.columns``."""
        names = list(tables)
        if all(name in self._columns for name in names):
            return {name: dict(self._columns[name]) for name in names if self._columns[name]}
        return self._connected().columns(names)

    def read(self, table: str, columns: Sequence[str], *, where_null: str | None = None) -> Iterator[tuple[Any, ...]]:
        """See ``DatasetTables.read``."""
        places, rows = self._rows.get(table, ({}, []))
        if table not in self._rows or not {*columns, *([where_null] if where_null else [])} <= places.keys():
            yield from self._connected().read(table, columns, where_null=where_null)
            return
        chosen = [places[name] for name in columns]
        mark = places[where_null] if where_null else None
        for row in rows:
            if mark is None or row[mark] is None:
                yield tuple(row[place] for place in chosen)

    def counts(self, table: str, key: Sequence[str], *, where_null: str | None) -> Counts:
        """See ``DatasetTables.counts``."""
        kept_key, mark, counts = self._counts.get(table, ((), None, None))
        if counts is None or kept_key != tuple(key) or mark != where_null:
            return self._connected().counts(table, key, where_null=where_null)
        return counts

    def sum_of(self, table: str, column: str, *, where_null: str | None) -> str:
        """See ``DatasetTables.sum_of``."""
        places, _ = self._rows.get(table, ({}, []))
        if table not in self._rows or not {column, *([where_null] if where_null else [])} <= places.keys():
            return self._connected().sum_of(table, column, where_null=where_null)
        return str(sum(row[0] or 0 for row in self.read(table, [column], where_null=where_null)))

    def replace_hashes(self, table: str, ids: Mapping[str, int], *, column: str, other: int) -> None:
        """See ``DatasetTables.replace_hashes``."""
        self.forget(table)
        self._connected().replace_hashes(table, ids, column=column, other=other)

    def distinct(self, table: str, columns: Sequence[str], *, where_null: str) -> list[tuple[Any, ...]]:
        """See ``DatasetTables.distinct``."""
        if table not in self._rows:
            return self._connected().distinct(table, columns, where_null=where_null)
        return list(dict.fromkeys(self.read(table, columns, where_null=where_null)))

    def sample(self, table: str, columns: Sequence[str], rows: int) -> list[dict[str, Any]]:
        """See ``DatasetTables.sample``."""
        return self._connected().sample(table, columns, rows)

    def set_timestamp(self, table: str, column: str, moment: datetime, *, key: str, values: Sequence[int]) -> int:
        """See ``DatasetTables.set_timestamp``."""
        if not values:
            return 0
        self.forget(table)
        return self._connected().set_timestamp(table, column, moment, key=key, values=values)

    def rewrite(self, table: str, changes: Mapping[int, Mapping[str, Any]], *, key: str) -> None:
        """See ``DatasetTables.rewrite``."""
        if changes:
            self.forget(table)
            self._connected().rewrite(table, changes, key=key)

    def count(self, table: str) -> int:
        """See ``DatasetTables.count``."""
        return self._connected().count(table)

    def newest(self, table: str, column: str) -> Any:
        """See ``DatasetTables.newest``."""
        return self._connected().newest(table, column)

    def holds_large(self, table: str, column: str) -> bool:
        """See ``DatasetTables.holds_large``."""
        return self._connected().holds_large(table, column)

    @property
    def max_name_length(self) -> int | None:
        """See ``DatasetTables.max_name_length``."""
        return self._known_limits[0]

    @property
    def takes_nul(self) -> bool:
        """See ``DatasetTables.takes_nul``."""
        return self._known_limits[1]

    @property
    def _known_limits(self) -> tuple[int | None, bool]:
        if self._limits is None:
            tables = self._connected()
            self._limits = tables.max_name_length, tables.takes_nul
        return self._limits

    def _connected(self) -> DatasetTables:
        if self._stack is None:
            raise RuntimeError("tables are read within open() only")
        if self._tables is None:
            self._tables = self._stack.enter_context(self._connect())
        return self._tables
