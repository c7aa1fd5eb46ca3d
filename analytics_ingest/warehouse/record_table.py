"""A table of ours whose columns are the fields of a dataclass: created, given new columns, and filled."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from dlt.destinations.sql_client import SqlClientBase

RecordT = TypeVar("RecordT")
TYPES: Mapping[str, str] = {"str": "VARCHAR", "int": "BIGINT", "datetime": "TIMESTAMPTZ"}
"""Types of the columns by the annotation of their field, in SQL that DuckDB, PostgreSQL and DuckLake have in common."""


class RecordTable(Generic[RecordT]):
    """A table of one dataset, over an open connection. A subclass names the table and the dataclass of its rows."""

    table: ClassVar[str]
    record: ClassVar[type]

    def __init__(self, sql: SqlClientBase[Any]) -> None:
        """Takes an open connection."""
        self._sql = sql

    @classmethod
    def column_types(cls) -> dict[str, str]:
        """The columns and their types in SQL."""
        return {each.name: TYPES[str(each.type).partition(" ")[0]] for each in fields(cls.record)}

    def fit(self, columns: Collection[str]) -> bool:
        """Creates the dataset and the table, or adds the columns that a table of an earlier version lacks.

        Args:
            columns: The columns that the table has; none if it does not exist.

        Returns:
            Whether anything was missing.
        """
        types = self.column_types()
        missing = {name: kind for name, kind in types.items() if name not in columns}
        if columns:
            for name, kind in missing.items():
                self._sql.execute_sql(f"ALTER TABLE {self._name} ADD COLUMN IF NOT EXISTS {name} {kind}")
        else:
            if not self._sql.has_dataset():
                self._sql.create_dataset()
            declared = ", ".join(f"{name} {kind}" for name, kind in types.items())
            self._sql.execute_sql(f"CREATE TABLE IF NOT EXISTS {self._name} ({declared})")
        return bool(missing)

    @property
    def _name(self) -> str:
        return self._sql.make_qualified_table_name(self.table)

    def _insert(self, rows: Sequence[RecordT]) -> None:
        # literals: DuckDB takes ten times as long for hundreds of parameters
        names = tuple(self.column_types())
        values = ", ".join(f"({', '.join(self._literal(getattr(row, name)) for name in names)})" for row in rows)
        self._sql.execute_sql(f"INSERT INTO {self._name} ({', '.join(names)}) VALUES {values}")  # noqa: S608

    def _literal(self, value: Any) -> str:
        if value is None:
            return "NULL"
        # PostgreSQL's texts cannot hold the character NUL
        plain = value.replace("\0", " ") if isinstance(value, str) else value
        return str(self._sql.capabilities.escape_literal(plain))
