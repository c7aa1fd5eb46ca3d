"""Whether the destination failed or the data, by errors that the databases themselves raise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest
from dlt.destinations.exceptions import (
    DatabaseTerminalException,
    DatabaseTransientException,
    DestinationConnectionError,
)
from dlt.load.exceptions import LoadClientJobRetry

from analytics_ingest.warehouse.destination_errors import is_transient
from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError

DATA = [
    "SELECT 'x'::int",
    "SELECT 1e40::decimal(5, 2)",
    "CREATE TABLE t AS SELECT 1 AS a; ALTER TABLE t ALTER a SET NOT NULL; INSERT INTO t VALUES (NULL)",
    "SELECT * FROM nowhere",
    "SELEC 1",
]
TOO_MANY_COLUMNS = f"CREATE TABLE wide ({', '.join(f'c{number} int' for number in range(1_700))})"


def wrapped(error: Exception) -> list[BaseException]:
    """The error as it is, and as dlt passes it on."""
    retry = LoadClientJobRetry("1", "t.1", 5, 5, str(error), DatabaseTransientException(error))
    connection = DestinationConnectionError("client", "dataset", str(error), error)
    terminal = DatabaseTerminalException(error)
    outer = RuntimeError("outer")
    outer.__cause__ = terminal
    return [error, retry, connection, terminal, outer]


@pytest.mark.parametrize("sql", DATA)
def test_data_that_duckdb_refuses(sql: str) -> None:
    with duckdb.connect() as connection, pytest.raises(duckdb.Error) as error:
        connection.execute(sql)

    assert [is_transient(each) for each in wrapped(error.value)] == [False] * 5


@pytest.mark.parametrize("sql", [*DATA, TOO_MANY_COLUMNS])
def test_data_that_postgres_refuses(sql: str, postgres: Callable[[], Any]) -> None:
    with pytest.raises(psycopg2.Error) as error:
        postgres().cursor().execute(sql)

    assert [is_transient(each) for each in wrapped(error.value)] == [False] * 5


@pytest.mark.parametrize(
    "settings", ["SET lock_timeout = 1; SELECT * FROM t", "SET statement_timeout = 1; SELECT pg_sleep(1)"]
)
def test_postgres_that_does_not_go_on(settings: str, postgres: Callable[[], Any]) -> None:
    holding = postgres()
    holding.autocommit = False
    holding.cursor().execute("CREATE TABLE t (a int)")
    holding.commit()
    holding.cursor().execute("LOCK TABLE t")
    with pytest.raises(psycopg2.Error) as error:
        postgres().cursor().execute(settings)
    holding.rollback()

    assert [is_transient(each) for each in wrapped(error.value)] == [True] * 5


def test_connections_that_fail(postgres: Callable[[], Any]) -> None:
    lost = postgres()
    postgres().cursor().execute("SELECT pg_terminate_backend(%s)", [lost.info.backend_pid])
    for act in (
        lambda: psycopg2.connect("postgresql://u:p@127.0.0.1:1/db"),
        lambda: lost.cursor().execute("SELECT 1"),
        lambda: lost.cursor().execute("SELECT 1"),
    ):
        with pytest.raises(psycopg2.Error) as error:
            act()
        assert [is_transient(each) for each in wrapped(error.value)] == [True] * 5


def test_duckdb_without_memory() -> None:
    with (
        duckdb.connect(config={"memory_limit": "10MB", "max_temp_directory_size": "0B"}) as connection,
        pytest.raises(duckdb.OutOfMemoryException) as error,
    ):
        connection.execute("CREATE TABLE t AS SELECT random() AS a FROM range(10_000_000) ORDER BY a")

    assert [is_transient(each) for each in wrapped(error.value)] == [True] * 5


def test_duckdb_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(duckdb.IOException) as error:
        duckdb.connect(str(tmp_path / "no folder" / "w.duckdb"))

    assert [is_transient(each) for each in wrapped(error.value)] == [True] * 5


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(28, "No space left on device"), True),
        (MemoryError(), True),
        (LockTimeoutError("held"), True),
        (WarehouseError("the destination cannot be opened"), True),
        (WarehouseError("refused", transient=False), False),
        (ValueError("a number"), False),
    ],
)
def test_errors_of_other_kinds(error: BaseException, expected: bool) -> None:
    assert is_transient(error) is expected
