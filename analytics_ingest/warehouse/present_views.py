"""Views of the present rows of tables: the API's columns only, without rows that are marked as deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

    def remake(self, table: str) -> list[str]:
        """Creates or replaces the view of a table with a key, unless it has the table's columns in their order.

        It keeps its grants and what reads it, except where PostgreSQL cannot replace it.

        Args:
            table: The table.

        Returns:
            The columns of the view.

        Raises:
            WarehouseError: Something else has created a view of this name.
        """
        name = present_view(table)
        wanted, former = shown_columns(self._columns(table)), self._columns(name)
        if wanted == former:
            return wanted
        if former and not self._is_own(name):
            raise WarehouseError(
                f"{self._sql.dataset_name}.{name} exists, and no sync has made it: rename or drop it", transient=False
            )
        with self._sql.begin_transaction():
            if former and wanted[: len(former)] != former:
                # PostgreSQL only adds columns to the end
                self._sql.execute_sql(f"DROP VIEW {self._name(name)}")
            self._sql.execute_sql(f"CREATE OR REPLACE VIEW {self._name(name)} AS {self.query(table)}")
            self._sql.execute_sql(f"COMMENT ON VIEW {self._name(name)} IS '{COMMENT}'")
        return wanted

    def follow(self, table: str) -> None:
        """Replaces the view of a table whose columns have changed, within the transaction of these changes.

        Where a view prevents no change of a table: in DuckDB and DuckLake.
        """
        name = present_view(table)
        if self._is_own(name):
            self._sql.execute_sql(f"CREATE OR REPLACE VIEW {self._name(name)} AS {self.query(table)}")
            self._sql.execute_sql(f"COMMENT ON VIEW {self._name(name)} IS '{COMMENT}'")

    def rename(self, table: str, renamed: Mapping[str, str]) -> None:
        """Gives columns of the view of a table the names that the table's columns have got, in PostgreSQL.

        Args:
            table: The table.
            renamed: New names, by the name of the column.
        """
        name = present_view(table)
        columns = self._columns(name) if renamed else ()
        for was, now in renamed.items():
            if was in columns and now not in columns and self._is_own(name):
                pair = f"{self._sql.escape_column_name(was)} TO {self._sql.escape_column_name(now)}"
                self._sql.execute_sql(f"ALTER VIEW {self._name(name)} RENAME COLUMN {pair}")

    def query(self, table: str) -> str:
        """The query of the view, by the columns that the table has now."""
        names = ", ".join(map(self._sql.escape_column_name, shown_columns(self._columns(table))))
        return f"SELECT {names} FROM {self._name(table)} WHERE {DELETED_AT} IS NULL"  # noqa: S608

    def _is_own(self, view: str) -> bool:
        rows = self._sql.execute_sql(self._comment_query, self._sql.dataset_name, view)
        return any(str(row[0] or "").startswith(OWN_VIEW) for row in rows or ())

    def _columns(self, table: str) -> Sequence[str]:
        """The columns of a table or a view, in order."""
        rows = self._sql.execute_sql(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s "
            "AND table_catalog = current_database() ORDER BY ordinal_position",
            self._sql.dataset_name,
            table,
        )
        return [str(row[0]) for row in rows or ()]

    def _name(self, table: str) -> str:
        return self._sql.make_qualified_table_name(table)
