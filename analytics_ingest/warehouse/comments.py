"""Comments on the tables of a dataset and their columns: which ones there are, and the ones to write."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analytics_ingest.warehouse.column_changes import sql_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlt.destinations.job_client_impl import SqlJobClientBase
    from dlt.destinations.sql_client import SqlClientBase


@dataclass(frozen=True, kw_only=True)
class CommentSql:
    """How a destination lists the comments of a dataset.

    Attributes:
        view: A query for the comment on a view, with the names of the dataset and the view as its parameters.
        listing: A query with the dataset's name as its parameter, twice. Its rows: the table, the column or null, the
            comment, and whether the user may change it.
    """

    listing: str
    view: str


@dataclass(frozen=True, kw_only=True)
class TableTexts:
    """What people should read about a table.

    Attributes:
        table: One sentence about the table.
        columns: By column one sentence, where there is one.
    """

    table: str
    columns: Mapping[str, str] = field(default_factory=dict)


class Comments:
    """The comments of one dataset, over an open connection."""

    def __init__(self, client: SqlJobClientBase, sql: CommentSql) -> None:
        """Takes an open connection.

        Args:
            client: An open connection to the dataset.
            sql: How the destination lists comments.
        """
        self._sql: SqlClientBase[Any] = client.sql_client
        self._listing = sql.listing

    def write(self, texts: Mapping[str, TableTexts]) -> list[str]:
        """Writes the comments that differ, all or none; leaves those of columns without a text.

        Args:
            texts: By table what its comments have to be. Tables and columns that do not exist are left out.

        Returns:
            Tables with comments that differ, which the user may not change.
        """
        dataset = self._sql.dataset_name
        statements: list[str] = []
        foreign: set[str] = set()
        for table, column, comment, is_changeable in self._sql.execute_sql(self._listing, dataset, dataset) or ():
            wanted = texts.get(table)
            if wanted is None:
                continue
            text = wanted.table if column is None else wanted.columns.get(column)
            if text is None or text == comment:
                continue
            if not is_changeable:
                foreign.add(str(table))
                continue
            name = self._sql.make_qualified_table_name(table)
            target = f"TABLE {name}" if column is None else f"COLUMN {name}.{self._sql.escape_column_name(column)}"
            statements.append(f"COMMENT ON {target} IS {sql_text(text)}")
        if statements:
            with self._sql.begin_transaction():
                self._sql.execute_sql(";\n".join(statements))
        return sorted(foreign)
