"""Changes the columns of a table in place and converts their values: the base class, in SQL that databases share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlt.destinations.job_client_impl import SqlJobClientBase
    from dlt.destinations.sql_client import SqlClientBase

    from analytics_ingest.warehouse.present_views import PresentViews

MAX_EXACT = 2**53
"""Up to this number a double can hold every whole number."""
NEW = "__new"
"""The end of the name of a column, or of a table, that replaces another one within a transaction."""


@dataclass(frozen=True, kw_only=True)
class ColumnChanges:
    """Changes to make to the columns of a table, in this order.

    Attributes:
        table: The table.
        renamed: New names, by the name of the column.
        types: Old and new types, as dlt names them, by the column's new name.
        folded: Columns that dlt has added for values of another type, with their types, by the column that gets their
            values. They are dropped.
    """

    table: str
    renamed: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    folded: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything is to change."""
        return bool(self.renamed or self.types or self.folded)


class ColumnChanger:
    """Changes columns by ``ALTER TABLE``, in SQL that DuckDB, PostgreSQL and DuckLake have in common.

    A subclass has the SQL of its destination, with ``{0}`` for a value.

    Attributes:
        time_text: A timestamp as text, ISO 8601 in UTC with microseconds.
        number_text: A double as text, with the fewest digits that give the same number.
        parsed: JSON text as JSON.
        quoted: A text as a JSON string.
    """

    time_text: ClassVar[str]
    number_text: ClassVar[str]
    parsed: ClassVar[str]
    quoted: ClassVar[str]

    def __init__(self, client: SqlJobClientBase, *, views: PresentViews | None = None) -> None:
        """Takes an open connection.

        Args:
            client: An open connection to the dataset.
            views: The views of present rows, which change with their tables.
        """
        self._client: Any = client
        self._sql: SqlClientBase[Any] = client.sql_client
        self._present_views = views

    def apply(self, changes: ColumnChanges) -> None:
        """Makes the changes, all or none.

        Raises:
            WarehouseError: An object that a user has created prevents them.
        """
        with self._sql.begin_transaction():
            self._apply(changes)
            self._follow(changes)

    def _follow(self, changes: ColumnChanges) -> None:
        """Has the view of the table's present rows follow the changes."""
        if self._present_views:
            self._present_views.follow(changes.table)

    def apply_within(self, changes: ColumnChanges) -> None:
        """Makes the changes within a transaction of the caller's.

        Raises:
            WarehouseError: An object that a user has created prevents them.
        """
        self._apply(changes)

    def _apply(self, changes: ColumnChanges) -> None:
        table = self._table(changes.table)
        for name, now in changes.renamed.items():
            self._sql.execute_sql(f"ALTER TABLE {table} RENAME COLUMN {self._name(name)} TO {self._name(now)}")
        for name, (was, now) in changes.types.items():
            self._change_type(changes.table, name, was, now)
        for name, variants in changes.folded.items():
            kind = changes.types[name][1]
            for variant, was in variants.items():
                value = self.converted(self._name(variant), was, kind)
                self._sql.execute_sql(
                    f"UPDATE {table} SET {self._name(name)} = {value} "  # noqa: S608
                    f"WHERE {self._name(name)} IS NULL AND {self._name(variant)} IS NOT NULL"
                )
                self._sql.execute_sql(f"ALTER TABLE {table} DROP COLUMN {self._name(variant)}")

    def _change_type(self, table: str, name: str, was: str, now: str) -> None:
        column = self._name(name)
        self._sql.execute_sql(
            f"ALTER TABLE {self._table(table)} ALTER COLUMN {column} TYPE {self._type(now)} "
            f"USING {self.converted(column, was, now)}"
        )

    def converted(self, value: str, was: str, now: str) -> str:
        """SQL that converts a value to another type, with the same result as a sync that writes it anew.

        Args:
            value: SQL of the value.
            was: Its type, as dlt names it.
            now: The new type.
        """
        if was == now:
            return value
        if now == "text":
            return self._as_text(value, was)
        if now == "timestamp":
            # whole numbers are milliseconds
            return f"CAST({value} AS TIMESTAMPTZ)" if was == "text" else f"to_timestamp({value} / 1000.0)"
        if now == "json":
            if was in ("text", "timestamp"):
                return self.quoted.format(self._as_text(value, was))
            plain = was in ("bigint", "double", "bool", "decimal", "wei")
            return (self.parsed if plain else self.quoted).format(self._as_text(value, was))
        return f"CAST({value} AS {self._type(now)})"

    def _as_text(self, value: str, was: str) -> str:
        if was == "timestamp":
            return f"replace({self.time_text.format(value)}, '.000000+00:00', '+00:00')"
        if was != "double":
            kind = self._type("text")
            return f"CAST({value} AS {kind})"
        whole = f"{value} = trunc({value}) AND abs({value}) <= {MAX_EXACT}"
        return (
            f"CASE WHEN {whole} THEN CAST(CAST({value} AS BIGINT) AS VARCHAR) ELSE {self.number_text.format(value)} END"
        )

    def _type(self, kind: str) -> str:
        found: str = self._client.type_mapper.to_destination_type(
            {"name": "value", "data_type": kind}, {"name": "table"}
        )
        return found

    def _table(self, table: str) -> str:
        return self._sql.make_qualified_table_name(table)

    def _name(self, column: str) -> str:
        return self._sql.escape_column_name(column)

    def _rows(self, sql: str, *values: Any) -> Sequence[Sequence[Any]]:
        return self._sql.execute_sql(sql, *values) or ()


def sql_text(value: str) -> str:
    """A text as a literal in SQL."""
    return "'" + value.replace("'", "''") + "'"
