"""DuckLake: tables as Parquet files, with a catalog in SQLite or PostgreSQL, written by DuckDB in this process."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dlt

from analytics_ingest.config.project import describe_ambiguity, find_default
from analytics_ingest.warehouse.column_changes import NEW, ColumnChanger, ColumnChanges, sql_text
from analytics_ingest.warehouse.database_file import DatabaseFile
from analytics_ingest.warehouse.destinations.base import Destination
from analytics_ingest.warehouse.destinations.duckdb import LIMITS, DuckDB, DuckDBColumns
from analytics_ingest.warehouse.exceptions import WarehouseError
from analytics_ingest.warehouse.history_tables import HistorySql

if TYPE_CHECKING:
    from dlt.common.destination import AnyDestination
    from dlt.destinations.job_client_impl import SqlJobClientBase

DEFAULT_CATALOG = Path("data") / "lake.sqlite"
"""The catalog unless a setting names another, relative to the project; the Parquet files are in ``lake`` beside it."""
EXTENSIONS = ("ducklake", "sqlite_scanner", "postgres_scanner")
"""DuckDB's extensions for a lake: the lake itself, and its catalog in SQLite or PostgreSQL."""


class DuckLakeColumns(DuckDBColumns):
    """Builds each column anew beside the old one, as DuckLake cannot change the type of a column to text."""

    def apply(self, changes: ColumnChanges) -> None:
        """See ``ColumnChanger.apply``."""
        ColumnChanger.apply(self, changes)

    def _change_type(self, table: str, name: str, was: str, now: str) -> None:
        qualified, column, new = self._table(table), self._name(name), self._name(name + NEW)
        required = bool(
            self._rows(
                "SELECT 1 FROM information_schema.columns WHERE table_schema = %s AND table_name = %s "
                "AND column_name = %s AND is_nullable = 'NO' AND table_catalog = current_database()",
                self._sql.dataset_name,
                table,
                name,
            )
        )
        comment = self._comment(table, name)
        for sql in (
            f"ALTER TABLE {qualified} ADD COLUMN {new} {self._type(now)}",
            f"UPDATE {qualified} SET {new} = {self.converted(column, was, now)}",  # noqa: S608
            f"ALTER TABLE {qualified} DROP COLUMN {column}",
            f"ALTER TABLE {qualified} RENAME COLUMN {new} TO {column}",
        ):
            self._sql.execute_sql(sql)
        if comment is not None:
            self._sql.execute_sql(f"COMMENT ON COLUMN {qualified}.{column} IS {sql_text(comment)}")
        if required:
            self._sql.execute_sql(f"ALTER TABLE {qualified} ALTER COLUMN {column} SET NOT NULL")

    def _comment(self, table: str, name: str) -> str | None:
        """The comment on a column."""
        found = self._described("comment", "duckdb_columns()", table, f"AND column_name = {sql_text(name)}")
        return next((row[0] for row in found), None)


class DuckLake(DuckDB):
    """DuckLake: ``data/lake`` and ``data/lake.sqlite``, unless a setting names others."""

    columns = DuckLakeColumns
    history = HistorySql(has_changes=False, comments_on_views=False)
    # readers do not stop syncs
    published_copy = Destination.published_copy
    # its files are Parquet, and the catalog's
    reader_file = Destination.reader_file

    def build(self) -> AnyDestination:
        """See ``Destination.build``."""
        provide_extensions()
        configured: Any = dlt.secrets.get(f"destination.{self.name}.credentials.global_config", dict)
        return self._dlt_destination(
            credentials={"global_config": {**LIMITS, **(configured or {})}, **self._default_lake()}
        )

    def database_file(self, configuration: Any, api: str) -> DatabaseFile | None:  # noqa: ARG002
        """The file of a catalog in SQLite; ``None`` for a catalog on a server.

        Raises:
            WarehouseError: The catalog is a DuckDB file.
        """
        catalog = configuration.credentials.catalog
        if catalog is not None and catalog.drivername == "duckdb":
            # dlt opens it several times, which DuckDB refuses within a process
            raise WarehouseError(f"{self.setting}__CATALOG is a DuckDB file: it must be SQLite or PostgreSQL")
        if catalog is None or catalog.drivername != "sqlite":
            return None
        return DatabaseFile(path=Path(catalog.database).absolute(), kind="the DuckLake catalog")

    def default_warning(self) -> str:
        """See ``Destination.default_warning``."""
        if not self._is_default():
            return ""
        # the catalog has the path of the Parquet files
        settings = f"{self.setting}__CATALOG and {self.setting}__STORAGE__BUCKET_URL"
        return describe_ambiguity(DEFAULT_CATALOG, settings=settings, movable=False)

    def location(self, configuration: Any) -> str:
        """See ``Destination.location``: where the catalog is."""
        catalog = configuration.credentials.catalog
        return f"{self.name}://{catalog.host}/{catalog.database}" if catalog else self.name

    def database_name(self, configuration: Any) -> str:
        """See ``Destination.database_name``: the name under which dlt attaches the lake."""
        return str(configuration.credentials.ducklake_name)

    def open_read_only(self, client: SqlJobClientBase) -> None:
        """See ``Destination.open_read_only``."""
        sql: Any = client.sql_client
        # dlt has no setting for it
        sql._attach_statement = sql.attach_statement.rstrip(";) ") + ", READ_ONLY)"  # noqa: SLF001

    def limit(self, client: SqlJobClientBase) -> None:
        """Does nothing: dlt opens several connections, each an engine of its own, with the limits of ``build``."""

    def _is_default(self) -> bool:
        """Whether no setting says where the lake is."""
        settings = (f"destination.{self.name}.credentials{part}" for part in ("", ".catalog", ".storage"))
        return not any(dlt.secrets.get(each) for each in settings)

    def _default_lake(self) -> dict[str, Any]:
        """Where the lake is, unless a setting says where."""
        if not self._is_default():
            return {}
        catalog = find_default(DEFAULT_CATALOG)
        return {"catalog": f"sqlite:///{catalog}", "storage": {"bucket_url": catalog.with_suffix("").as_uri()}}


@cache
def provide_extensions() -> None:
    """Installs DuckDB's extensions from their packages on PyPI, if these are there; else DuckDB fetches them itself."""
    with suppress(ImportError):
        from duckdb_extensions import import_extension  # noqa: PLC0415 - an extra

        for name in EXTENSIONS:
            import_extension(name)
