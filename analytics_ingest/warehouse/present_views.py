"""Views of the present rows of tables: the API's columns only, without rows that are marked as deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytics_ingest.warehouse.column_changes import sql_text
from analytics_ingest.warehouse.exceptions import WarehouseError
from analytics_ingest.warehouse.history_names import OWN_VIEW, present_view

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dlt.destinations.sql_client import SqlClientBase

DELETED_AT = "_deleted_at"
"""The column with a value in rows that are marked as deleted."""
OWN_COLUMNS = frozenset({DELETED_AT, "_row_hash"})
DLT_PREFIX = "_dlt_"
COMMENT = f"{OWN_VIEW}: remade by syncs; the rows that exist, without the columns that no API sends"


def shown_columns(columns: Iterable[str]) -> list[str]:
    """The columns of a table that the view of its present rows has."""
    return [name for name in columns if name not in OWN_COLUMNS and not name.startswith(DLT_PREFIX)]


class PresentViews:
    """The views of the present rows in one dataset, over an open connection."""

    def __init__(self, sql: SqlClientBase[Any], *, comment_query: str) -> None:
        """Takes an open connection.

        Args:
            sql: The connection.
            comment_query: A query for the comment on a view, with the dataset's and the view's name as its parameters.
        """
        self._sql = sql
        self._comment_query = comment_query

    def remake(self, tables: Sequence[str]) -> dict[str, list[str]]:
        """Creates or replaces the views of tables with a key, all or none; leaves those with the columns of the table.

        A view keeps its grants and what reads it, except where PostgreSQL cannot replace it.

        Args:
            tables: The tables.

        Returns:
            By table the columns of its view.

        Raises:
            WarehouseError: Something else has the name of a view.
        """
        found = self._columns([*tables, *map(present_view, tables)])
        shown = {table: shown_columns(found.get(table, ())) for table in tables}
        statements: list[str] = []
        for table, columns in shown.items():
            name, former = present_view(table), found.get(present_view(table), [])
            if columns == former:
                continue
            if former and not self._is_own(name):
                raise WarehouseError(
                    f"{self._sql.dataset_name}.{name} exists, and no sync has made it: rename or drop it",
                    transient=False,
                )
            if former and columns[: len(former)] != former:
                # PostgreSQL only adds columns to the end
                statements.append(f"DROP VIEW {self._name(name)}")
            statements += self._create(table, columns)
        if statements:
            with self._sql.begin_transaction():
                # at once: a DuckLake takes as long for each statement as for all
                self._sql.execute_sql(";\n".join(statements))
        return shown

    def follow(self, table: str) -> None:
        """Replaces the view of a table whose columns have changed, within the transaction of these changes.

        Where a view prevents no change of a table: in DuckDB and DuckLake.
        """
        if self._is_own(present_view(table)):
            for statement in self._create(table, shown_columns(self._columns([table])[table])):
                self._sql.execute_sql(statement)

    def rename(self, table: str, renamed: Mapping[str, str]) -> None:
        """Gives columns of the view of a table the names that the table's columns have got, in PostgreSQL.

        Args:
            table: The table.
            renamed: New names, by the name of the column.
        """
        name = present_view(table)
        columns = self._columns([name]).get(name, ()) if renamed else ()
        for was, now in renamed.items():
            if was in columns and now not in columns and self._is_own(name):
                pair = f"{self._sql.escape_column_name(was)} TO {self._sql.escape_column_name(now)}"
                self._sql.execute_sql(f"ALTER VIEW {self._name(name)} RENAME COLUMN {pair}")

    def query(self, table: str) -> str:
        """The query of the view, by the columns that the table has now."""
        return self._query(table, shown_columns(self._columns([table])[table]))

    def _query(self, table: str, columns: Sequence[str]) -> str:
        names = ", ".join(map(self._sql.escape_column_name, columns))
        return f"SELECT {names} FROM {self._name(table)} WHERE {DELETED_AT} IS NULL"  # noqa: S608

    def _create(self, table: str, columns: Sequence[str]) -> list[str]:
        """The statements that create or replace the view of a table."""
        name = self._name(present_view(table))
        return [
            f"CREATE OR REPLACE VIEW {name} AS {self._query(table, columns)}",
            f"COMMENT ON VIEW {name} IS '{COMMENT}'",
        ]

    def _is_own(self, view: str) -> bool:
        rows = self._sql.execute_sql(self._comment_query, self._sql.dataset_name, view)
        return any(str(row[0] or "").startswith(OWN_VIEW) for row in rows or ())

    def _columns(self, names: Sequence[str]) -> dict[str, list[str]]:
        """The columns of tables and views that exist, in order."""
        rows = self._sql.execute_sql(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = %s "  # noqa: S608
            f"AND table_catalog = current_database() AND table_name IN ({', '.join(map(sql_text, names))}) "
            "ORDER BY table_name, ordinal_position",
            self._sql.dataset_name,
        )
        found: dict[str, list[str]] = {}
        for table, column in rows or ():
            found.setdefault(str(table), []).append(str(column))
        return found

    def _name(self, table: str) -> str:
        return self._sql.make_qualified_table_name(table)
