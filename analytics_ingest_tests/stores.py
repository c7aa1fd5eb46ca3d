"""Destinations of tests, and how what is in them is read there by other means than the product's."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest

from analytics_ingest.warehouse.destinations.ducklake import EXTENSIONS

Table = tuple[list[str], list[tuple[Any, ...]]]
Query = Callable[[str], Table]
"""Executes a query, and gives its columns and rows."""
Execute = Callable[[str, Sequence[Any]], object]
"""Executes a statement whose parameters are marked with ``?``."""


@dataclass(frozen=True)
class Store:
    """A destination: the settings that pick it, and how to read and write there, each in a connection of its own."""

    settings: dict[str, str]
    reading: Callable[[], AbstractContextManager[Query]]
    writing: Callable[[], AbstractContextManager[Execute]]

    def tables(self, api: str, names: Iterable[str]) -> dict[str, Table]:
        """Tables of an API as columns and rows, by name."""
        with self.reading() as query:
            return {name: query(f'SELECT * FROM {api}."{name}"') for name in names}

    def table(self, api: str, name: str) -> Table:
        """One table."""
        return self.tables(api, [name])[name]


def _duckdb_query(connection: duckdb.DuckDBPyConnection) -> Query:
    def query(sql: str) -> Table:
        found = connection.sql(sql)
        return found.columns, found.fetchall()

    return query


@contextmanager
def duckdb_store(folder: Path) -> Iterator[Store]:
    """A DuckDB file."""
    file = folder / "warehouse.duckdb"

    @contextmanager
    def reading() -> Iterator[Query]:
        with duckdb.connect(str(file), read_only=True) as connection:
            yield _duckdb_query(connection)

    @contextmanager
    def writing() -> Iterator[Execute]:
        with duckdb.connect(str(file)) as connection:
            yield connection.execute

    yield Store({"DESTINATION__DUCKDB__CREDENTIALS": str(file)}, reading, writing)


@contextmanager
def postgres_store(_: Path) -> Iterator[Store]:
    """A database of its own on the PostgreSQL server."""
    with postgres_database() as (credentials, connect):
        yield store_behind(connect(), postgres_settings(credentials))


def store_behind(connection: psycopg2.extensions.connection, settings: dict[str, str]) -> Store:
    """A destination in the PostgreSQL database of a connection."""

    def query(sql: str) -> Table:
        cursor = connection.cursor()
        cursor.execute(sql)
        return [each.name for each in cursor.description or ()], cursor.fetchall()

    @contextmanager
    def reading() -> Iterator[Query]:
        yield query

    @contextmanager
    def writing() -> Iterator[Execute]:
        cursor = connection.cursor()
        yield lambda sql, values: cursor.execute(sql.replace("?", "%s"), values)

    return Store(settings, reading, writing)


def postgres_settings(credentials: str) -> dict[str, str]:
    """The settings that pick a PostgreSQL database."""
    return {"ANALYTICS_INGEST_DESTINATION": "postgres", "DESTINATION__POSTGRES__CREDENTIALS": credentials}


@contextmanager
def lake_store(folder: Path) -> Iterator[Store]:
    """A DuckLake on the disk: its catalog in SQLite, its tables as Parquet files."""
    catalog, storage = folder / "catalog.sqlite", folder / "lake"
    connect = duckdb.connect

    def unsigned(*arguments: Any, **options: Any) -> duckdb.DuckDBPyConnection:
        # to check the extensions' signatures takes a quarter of a second for each of hundreds of connections
        options["config"] = {**(options.get("config") or {}), "allow_unsigned_extensions": "true"}
        return connect(*arguments, **options)

    @contextmanager
    def attached(options: str = "") -> Iterator[duckdb.DuckDBPyConnection]:
        with duckdb.connect() as connection:
            for extension in EXTENSIONS[:2]:
                connection.load_extension(extension)
            connection.execute(f"ATTACH 'ducklake:sqlite:{catalog}' AS lake (DATA_PATH '{storage}'{options})")
            connection.execute("USE lake")
            yield connection

    @contextmanager
    def reading() -> Iterator[Query]:
        with attached(", READ_ONLY") as connection:
            yield _duckdb_query(connection)

    @contextmanager
    def writing() -> Iterator[Execute]:
        with attached() as connection:
            yield connection.execute

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duckdb, "connect", unsigned)
        yield Store(
            {
                "ANALYTICS_INGEST_DESTINATION": "ducklake",
                "DESTINATION__DUCKLAKE__CREDENTIALS__CATALOG": f"sqlite:///{catalog}",
                "DESTINATION__DUCKLAKE__CREDENTIALS__STORAGE__BUCKET_URL": storage.as_uri(),
            },
            reading,
            writing,
        )


@contextmanager
def postgres_database() -> Iterator[tuple[str, Callable[[], psycopg2.extensions.connection]]]:
    """A PostgreSQL database for the while: its connection string, and connections to it.

    The server is that of ``PGHOST`` and its kin, 127.0.0.1 by default. Without one the test is skipped, but not in CI.
    """
    server = {"host": os.environ.get("PGHOST", "127.0.0.1"), "port": os.environ.get("PGPORT", "5432")}
    user, password = os.environ.get("PGUSER", "postgres"), os.environ.get("PGPASSWORD", "postgres")
    name = f"analytics_ingest_{uuid.uuid4().hex[:12]}"
    open_here: list[psycopg2.extensions.connection] = []

    def connect(database: str = name) -> psycopg2.extensions.connection:
        connection = psycopg2.connect(dbname=database, user=user, password=password, connect_timeout=5, **server)
        connection.autocommit = True
        open_here.append(connection)
        return connection

    try:
        admin = connect("postgres")
    except psycopg2.OperationalError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no PostgreSQL server: {error}")
    admin.cursor().execute(f"CREATE DATABASE {name}")
    try:
        yield f"postgresql://{user}:{password}@{server['host']}:{server['port']}/{name}", connect
    finally:
        for connection in open_here[1:]:
            connection.close()
        admin.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")
        admin.close()


STORES = {"duckdb": duckdb_store, "postgres": postgres_store, "ducklake": lake_store}
DESTINATIONS = [pytest.param(name, marks=[pytest.mark.extended] if name != "duckdb" else []) for name in STORES]
"""Names of the destinations as parameters of a test: by default a test runs with DuckDB alone."""
on_duckdb = pytest.mark.parametrize("store", ["duckdb"], indirect=True)
"""For a test of the fixture ``store`` that runs with DuckDB alone also with ``make test-all``."""
