"""Queries of the tables of a dataset: columns, rows, counts; and changes of values in place."""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import UTC
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from analytics_ingest.warehouse.column_changes import MAX_EXACT
from analytics_ingest.warehouse.history_names import CHANGES
from analytics_ingest.warehouse.locks import TableLocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from dlt.destinations.job_client_impl import SqlJobClientBase

T = TypeVar("T")

DLT_ID = "_dlt_id"
"""Column with dlt's identifier of a row."""
FETCH_ROWS = 10_000
TIMESTAMP_ROWS = 1_000
MAX_TABLES = 25
"""Tables that are read in one query: the plan of a query takes memory for each of them."""


class Counts(NamedTuple):
    """Counts of a table.

    Attributes:
        rows: Its rows.
        live: Its rows that are not marked as deleted.
        doubled: Keys that several rows have.
        lacking: Rows in whose key a column is null.
    """

    rows: int
    live: int
    doubled: int
    lacking: int


class Change(NamedTuple):
    """A change of one row, as the view of a dataset's changes has it.

    Attributes:
        at: The time of the change by the vendor, if it lies between two syncs; else the start of the sync that saw it.
        api: The account.
        endpoint: The name of the endpoint.
        key: The row's key; the parts of a composite key are joined by ``/``.
        name: The row's name for people, if it has one.
        operation: ``insert``, ``update``, ``delete`` or ``restore``.
        fields: By changed field its values, ``before`` and ``after``; empty for an insert and a delete.
    """

    at: datetime
    api: str
    endpoint: str
    key: str
    name: str | None
    operation: str
    fields: Mapping[str, Mapping[str, Any]]


class DatasetTables:
    """The tables of one dataset, over an open connection."""

    def __init__(self, client: SqlJobClientBase, *, locks: TableLocks | None = None, takes_nul: bool = True) -> None:
        """Takes a connection.

        Args:
            client: An open connection to the dataset.
            locks: How statements wait for locks on tables; by default a statement that is refused fails.
            takes_nul: Whether texts may hold the character NUL.
        """
        self._client = client
        self._sql = client.sql_client
        self._locks = locks or TableLocks()
        self._takes_nul = takes_nul

    def columns(self, tables: Iterable[str]) -> dict[str, dict[str, str]]:
        """The columns of each table that exists, with their types as dlt names them."""
        names = dict.fromkeys(tables)
        found = self._retry_while_locked(lambda: list(self._client.get_storage_tables(names)))
        return {
            name: {column: str(spec.get("data_type")) for column, spec in columns.items()}
            for name, columns in found
            if columns
        }

    def read(self, table: str, columns: Sequence[str], *, where_null: str | None = None) -> Iterator[tuple[Any, ...]]:
        """Rows of a table, as tuples in the order of ``columns``; only rows without a value in ``where_null``."""
        names = ", ".join(map(self._quoted, columns))
        query = f"SELECT {names} FROM {self._name(table)}{self._where(where_null)}"  # noqa: S608
        yield from self._stream(query)

    def read_all(self, wanted: Mapping[str, Mapping[str, str]]) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of several tables, read with one query for tables whose columns have the same types.

        Args:
            wanted: By table the columns to read and their types, in the order of the tuples.
        """
        rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in wanted}
        by_types: dict[tuple[str, ...], list[str]] = {}
        for name, columns in wanted.items():
            by_types.setdefault(tuple(columns.values()), []).append(name)
        for names in by_types.values():
            for some in batched(names, MAX_TABLES):
                query = " UNION ALL ".join(
                    f"SELECT {place}, {', '.join(map(self._quoted, wanted[name]))} FROM {self._name(name)}"  # noqa: S608
                    for place, name in enumerate(some)
                )
                for place, *values in self._stream(query):
                    rows[some[place]].append(tuple(values))
        return rows

    def set_timestamp(self, table: str, column: str, moment: datetime, *, key: str, values: Sequence[int]) -> int:
        """Sets a timestamp column in the rows whose ``key`` is one of ``values``, all or none; returns their number."""
        return self._retry_while_locked(lambda: self._set_timestamp(table, column, moment, key=key, values=values))

    def _set_timestamp(self, table: str, column: str, moment: datetime, *, key: str, values: Sequence[int]) -> int:
        name, column, key = self._name(table), self._quoted(column), self._quoted(key)
        stamped = 0
        with self._sql.begin_transaction():
            for start in range(0, len(values), TIMESTAMP_ROWS):
                where = f"WHERE {key} IN ({', '.join(map(str, values[start : start + TIMESTAMP_ROWS]))})"
                # without the wait for a lock: a refused statement ends the transaction
                rows = self._sql.execute_sql(f"SELECT count(*) FROM {name} {where}")  # noqa: S608
                found = int(rows[0][0]) if rows else 0
                if found:
                    self._sql.execute_sql(f"UPDATE {name} SET {column} = %s {where}", moment)  # noqa: S608
                stamped += found
        return stamped

    def rewrite(self, table: str, changes: Mapping[int, Mapping[str, Any]], *, key: str) -> None:
        """Updates columns in place, all or none.

        Args:
            table: The table.
            changes: By the value of ``key`` the columns to set and their values.
            key: A column of whole numbers, which may be set too.
        """
        name, quoted, items = self._name(table), self._quoted(key), list(changes.items())
        if not items:
            return
        with self._sql.begin_transaction():
            for start in range(0, len(items), TIMESTAMP_ROWS):
                batch = items[start : start + TIMESTAMP_ROWS]
                sets, values = [], []
                # one statement for all rows, as a DuckLake writes files for each statement
                for column in dict.fromkeys(column for _, change in batch for column in change):
                    found = [(row, change[column]) for row, change in batch if column in change]
                    whens = " ".join(f"WHEN {row:d} THEN %s" for row, _ in found)
                    target = self._quoted(column)
                    sets.append(f"{target} = CASE {quoted} {whens} ELSE {target} END")
                    values += [value for _, value in found]
                rows = ", ".join(f"{row:d}" for row, _ in batch)
                self._sql.execute_sql(f"UPDATE {name} SET {', '.join(sets)} WHERE {quoted} IN ({rows})", *values)  # noqa: S608

    @property
    def max_name_length(self) -> int | None:
        """Characters that the name of a column may have; ``None`` without a limit."""
        return self._client.capabilities.max_column_identifier_length

    @property
    def takes_nul(self) -> bool:
        """Whether texts may hold the character NUL."""
        return self._takes_nul

    def holds_large(self, table: str, column: str) -> bool:
        """Whether a column of whole numbers has a value that a double cannot hold exactly."""
        name = self._quoted(column)
        where = f"{name} > {MAX_EXACT} OR {name} < -{MAX_EXACT}"
        return bool(self._execute(f"SELECT 1 FROM {self._name(table)} WHERE {where} LIMIT 1"))  # noqa: S608

    def count(self, table: str) -> int:
        """Rows in a table."""
        return self._number(f"SELECT count(*) FROM {self._name(table)}")  # noqa: S608

    def counts(self, table: str, key: Sequence[str], *, where_null: str | None) -> Counts:
        """The counts of a table.

        Args:
            table: The table.
            key: The columns of its key; none for a table without one.
            where_null: The column that has a value in rows that are marked as deleted, if the table has one.
        """
        return self.counts_of({table: (key, where_null)})[table]

    def counts_of(self, wanted: Mapping[str, tuple[Sequence[str], str | None]]) -> dict[str, Counts]:
        """The counts of several tables, read with few queries.

        Args:
            wanted: By table its ``key`` and ``where_null``, as for ``counts``.
        """
        found: dict[str, Counts] = {}
        for names in batched(wanted, MAX_TABLES):
            query = " UNION ALL ".join(
                f"SELECT {place}, {self._counting(name, *wanted[name])}" for place, name in enumerate(names)
            )
            for place, *numbers in self._execute(query) or ():
                found[names[place]] = Counts(*(int(value or 0) for value in numbers))
        return found

    def _counting(self, table: str, key: Sequence[str], where_null: str | None) -> str:
        """The part after ``SELECT`` of a query for the counts of a table."""
        if not key:
            return f"count(*), count(*), 0, 0 FROM {self._name(table)}"
        live = f"CASE WHEN {self._quoted(where_null)} IS NULL THEN 1 END" if where_null else "*"
        columns = ", ".join(map(self._quoted, key))
        lacking = " OR ".join(f"{self._quoted(column)} IS NULL" for column in key)
        groups = (
            f"SELECT count(*) AS n, count({live}) AS live, "  # noqa: S608
            f"CASE WHEN {lacking} THEN 1 ELSE 0 END AS lacking FROM {self._name(table)} GROUP BY {columns}"
        )
        return f"sum(n), sum(live), sum(CASE WHEN n > 1 THEN 1 ELSE 0 END), sum(n * lacking) FROM ({groups}) AS keys"

    def sum_of(self, table: str, column: str, *, where_null: str | None) -> str:
        """The sum of a column of whole numbers, as text; only of rows without a value in ``where_null``."""
        total = f"CAST(sum({self._quoted(column)}) AS VARCHAR)"
        rows = self._execute(f"SELECT {total} FROM {self._name(table)}{self._where(where_null)}")  # noqa: S608
        return str(rows[0][0] or 0) if rows else "0"

    def replace_hashes(self, table: str, ids: Mapping[str, int], *, column: str, other: int) -> None:
        """Gives rows other hashes than their contents have, so that a sync takes them for rows that it does not know.

        Args:
            table: The table.
            ids: By ``_dlt_id`` of a row its hash.
            column: The column of the hashes.
            other: The hash of rows without a ``_dlt_id``.
        """
        target, row_id = self._quoted(column), self._quoted(DLT_ID)
        with self._sql.begin_transaction():
            self._sql.execute_sql(f"UPDATE {self._name(table)} SET {target} = {other:d} WHERE {row_id} IS NULL")  # noqa: S608
            for some in batched(ids, TIMESTAMP_ROWS):
                whens = " ".join(f"WHEN %s THEN {ids[each]:d}" for each in some)
                places = ", ".join(["%s"] * len(some))
                self._sql.execute_sql(
                    f"UPDATE {self._name(table)} SET {target} = CASE {row_id} {whens} ELSE {target} END "  # noqa: S608
                    f"WHERE {row_id} IN ({places})",
                    *some,
                    *some,
                )

    def distinct(self, table: str, columns: Sequence[str], *, where_null: str) -> list[tuple[Any, ...]]:
        """The distinct combinations of values in some columns; only of rows without a value in ``where_null``."""
        names = ", ".join(map(self._quoted, columns))
        rows = self._execute(f"SELECT DISTINCT {names} FROM {self._name(table)}{self._where(where_null)}")  # noqa: S608
        return [tuple(row) for row in rows or ()]

    def newest(self, table: str, column: str) -> Any:
        """The highest value of a column of timestamps or texts; ``None`` in an empty table."""
        rows = self._execute(f"SELECT max({self._quoted(column)}) FROM {self._name(table)}")  # noqa: S608
        return rows[0][0] if rows else None

    def sample(self, table: str, columns: Sequence[str], rows: int) -> list[dict[str, Any]]:
        """Some rows of a table, by column."""
        names = ", ".join(map(self._quoted, columns))
        found = self._execute(f"SELECT {names} FROM {self._name(table)} LIMIT {rows:d}")  # noqa: S608
        return [dict(zip(columns, row, strict=True)) for row in found or ()]

    def find(self, table: str, columns: Sequence[str], *, among: Sequence[str], text: str) -> Iterator[tuple[Any, ...]]:
        """Rows in which a column is, as text, the given one; as tuples in the order of ``columns``.

        Args:
            table: The table.
            columns: The columns to read. ``attributes.title`` is a field of the JSON column ``attributes``, as text.
            among: The columns to compare, any of which may match.
            text: The text.
        """
        names = ", ".join(map(self._expression, columns))
        where = " OR ".join(f"CAST({self._expression(name)} AS VARCHAR) = %s" for name in among)
        yield from self._stream(
            f"SELECT {names} FROM {self._name(table)} WHERE {where}",  # noqa: S608
            *[text] * len(among),
        )

    def changes(self, since: datetime, until: datetime | None = None) -> list[Change] | None:
        """The changes of configuration in the dataset, the oldest first; ``None`` if it has no view of them yet.

        Args:
            since: A time with its zone, included.
            until: A time with its zone, not included; open if ``None``.
        """
        if not self.columns([CHANGES]):
            return None
        names = ", ".join(map(self._quoted, Change._fields))
        at, bounds = self._quoted("at"), [since, *([until] if until else [])]
        where = f"{at} >= %s" + (f" AND {at} < %s" if until else "")
        order = ", ".join(map(self._quoted, ("at", "endpoint", "key")))
        query = f"SELECT {names} FROM {self._name(CHANGES)} WHERE {where} ORDER BY {order}"  # noqa: S608
        return [
            Change(moment.astimezone(UTC), api, endpoint, key, name, operation, _parsed(fields) or {})
            for moment, api, endpoint, key, name, operation, fields in self._stream(query, *bounds)
        ]

    def _stream(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, fetched in batches."""
        with ExitStack() as stack:
            cursor = self._retry_while_locked(lambda: stack.enter_context(self._sql.execute_query(query, *values)))
            while rows := cursor.fetchmany(FETCH_ROWS):
                yield from rows

    def _execute(self, sql: str) -> Sequence[Sequence[Any]] | None:
        return self._retry_while_locked(lambda: self._sql.execute_sql(sql))

    def _retry_while_locked(self, act: Callable[[], T]) -> T:
        return self._locks.wait(act)

    def _where(self, null: str | None) -> str:
        return f" WHERE {self._quoted(null)} IS NULL" if null else ""

    def _number(self, sql: str) -> int:
        rows = self._execute(sql)
        return int(rows[0][0]) if rows else 0

    def _expression(self, column: str) -> str:
        """A column, or the text of a field of a JSON column."""
        name, _, field = column.partition(".")
        literal = field.replace("'", "''")
        return f"({self._quoted(name)} ->> '{literal}')" if field else self._quoted(name)

    def _quoted(self, column: str) -> str:
        return self._sql.escape_column_name(column)

    def _name(self, table: str) -> str:
        return self._sql.make_qualified_table_name(table)


class EmptyDatasetTables(DatasetTables):
    """The tables of a warehouse that does not exist yet: none."""

    def __init__(self) -> None:
        """Needs no connection."""

    max_name_length = None
    takes_nul = True

    def columns(self, tables: Iterable[str]) -> dict[str, dict[str, str]]:  # noqa: ARG002
        """No columns of any table."""
        return {}


def _parsed(value: Any) -> Any:
    """A JSON value: some drivers give it as text."""
    return json.loads(value) if isinstance(value, str) else value


def batched(names: Iterable[str], size: int) -> Iterator[list[str]]:
    """The names, in lists of ``size`` names at most."""
    left = iter(names)
    while some := list(islice(left, size)):
        yield some
