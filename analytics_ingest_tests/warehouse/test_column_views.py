"""What stands on a column that has to change: views, indexes, constraints of the destination."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest

from analytics_ingest_tests.conftest import query
from analytics_ingest_tests.trials import NAME, OTHERS, Rows, Trial

WHOLE = [[{"id": 1, "share": 3, "name": "a"}]]
FRACTION = [[{"id": 1, "share": 3, "name": "a"}, {"id": 2, "share": 0.375, "name": "b"}]]
PARTS = {"1": [[{"id": 1}]]}


@pytest.fixture
def upstream(trial_api: Trial) -> Trial:
    trial_api.rows = Rows(things=WHOLE, parts=PARTS)
    return trial_api


class Database:
    """A PostgreSQL database, as a user sees it."""

    def __init__(self, connect: Callable[[], psycopg2.extensions.connection]) -> None:
        self._connection = connect()

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        cursor = self._connection.cursor()
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def database(postgres: Callable[[], psycopg2.extensions.connection]) -> Database:
    return Database(postgres)


def test_a_view_of_the_products_is_made_anew_with_its_comment_and_grants(upstream: Trial, database: Database) -> None:
    upstream.sync()
    database.execute(f"CREATE VIEW {NAME}.live AS SELECT id, share FROM {NAME}.things")
    database.execute(f"COMMENT ON VIEW {NAME}.live IS 'analytics_ingest: present rows'")
    database.execute(f"CREATE VIEW {NAME}.above AS SELECT share * 2 AS twice FROM {NAME}.live")
    database.execute(f"COMMENT ON VIEW {NAME}.above IS 'analytics_ingest: one above the other'")
    database.execute(f"GRANT SELECT ON {NAME}.live TO PUBLIC")
    upstream.rows = Rows(things=FRACTION, parts=PARTS)
    results = upstream.sync()
    assert {result.status for result in results.values()} == {"complete"}
    assert database.execute(f"SELECT id, share FROM {NAME}.live ORDER BY id") == [(1, 3.0), (2, 0.375)]
    assert database.execute(f"SELECT twice FROM {NAME}.above ORDER BY 1") == [(0.75,), (6.0,)]
    comment = f"SELECT obj_description('{NAME}.live'::regclass)"
    assert database.execute(comment) == [("analytics_ingest: present rows",)]
    granted = f"SELECT has_table_privilege('pg_read_all_settings', '{NAME}.live', 'SELECT')"
    assert database.execute(granted) == [(True,)]


@pytest.mark.parametrize("on", ["the table", "a view of the product's"])
def test_a_view_of_a_users_is_the_endpoints_failure_and_named(upstream: Trial, database: Database, on: str) -> None:
    upstream.sync()
    source = f"{NAME}.things"
    if on != "the table":
        database.execute(f"CREATE VIEW {NAME}.live AS SELECT id, share FROM {source}")
        database.execute(f"COMMENT ON VIEW {NAME}.live IS 'analytics_ingest: present rows'")
        source = f"{NAME}.live"
    database.execute(f'CREATE VIEW public."My report" AS SELECT share FROM {source}')
    upstream.rows = Rows(things=FRACTION, parts=PARTS)
    results = upstream.sync()
    assert {name: result.status for name, result in results.items()} == {
        "things": "failed",
        "states": "complete",
        "others": "complete",
        "parts": "skipped",
    }
    reason = results["things"].reason
    assert 'public."My report"' in reason
    assert f"{NAME}.things: the type of share from bigint to double has to change" in reason
    assert reason.endswith("Drop the view, sync, and create it again")
    # nothing that was loaded is lost
    assert database.execute(f"SELECT id, share FROM {NAME}.things") == [(1, 3)]
    assert database.execute('SELECT share FROM public."My report"') == [(3,)]
    database.execute('DROP VIEW public."My report"')
    assert {result.status for result in upstream.sync().values()} == {"complete"}
    assert database.execute(f"SELECT id, share FROM {NAME}.things ORDER BY id") == [(1, 3.0), (2, 0.375)]


def test_a_view_of_other_columns_stands_in_nobodys_way(upstream: Trial, database: Database) -> None:
    upstream.sync()
    database.execute(f"CREATE VIEW public.names AS SELECT name FROM {NAME}.things")
    upstream.rows = Rows(things=FRACTION, parts=PARTS)
    assert upstream.sync()["things"].status == "complete"
    assert database.execute("SELECT name FROM public.names ORDER BY 1") == [("a",), ("b",)]


def write(folder: Path, *statements: str) -> None:
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        for each in statements:
            connection.execute(each)


def test_a_view_in_duckdb_goes_on(upstream: Trial, tmp_path: Path) -> None:
    upstream.sync()
    write(tmp_path, f"CREATE VIEW {NAME}.report AS SELECT id, share FROM {NAME}.things")
    upstream.rows = Rows(things=FRACTION, parts=PARTS)
    assert upstream.sync()["things"].status == "complete"
    assert query(tmp_path, f"SELECT id, share FROM {NAME}.report ORDER BY id") == [(1, 3.0), (2, 0.375)]


@pytest.mark.parametrize(
    "column", ["share", *(pytest.param(each, marks=pytest.mark.extended) for each in ("name", "id"))]
)
def test_an_index_in_duckdb_is_made_anew(upstream: Trial, tmp_path: Path, column: str) -> None:
    upstream.sync()
    write(tmp_path, f"CREATE INDEX mine ON {NAME}.things ({column})")
    upstream.rows = Rows(things=[[*FRACTION[0], {"id": "x", "share": 1, "name": "c"}]], parts=PARTS)
    results = upstream.sync()
    assert (results["things"].status, results["others"].table_rows) == ("complete", len(OTHERS))
    rows = query(tmp_path, f"SELECT id, share, name FROM {NAME}.things ORDER BY id")
    assert rows == [("1", 3.0, "a"), ("2", 0.375, "b"), ("x", 1.0, "c")]
    assert query(tmp_path, "SELECT index_name FROM duckdb_indexes()") == [("mine",)]


@pytest.mark.extended
def test_a_constraint_in_duckdb_is_kept(upstream: Trial, tmp_path: Path) -> None:
    upstream.sync()
    write(
        tmp_path,
        f"CREATE TABLE {NAME}.made AS SELECT * FROM {NAME}.things",
        f"DROP TABLE {NAME}.things",
        f"ALTER TABLE {NAME}.made RENAME TO things",
        f"ALTER TABLE {NAME}.things ADD PRIMARY KEY (id)",
    )
    upstream.rows = Rows(things=[[*FRACTION[0], {"id": "x", "share": 1, "name": "c"}]], parts=PARTS)
    assert upstream.sync()["things"].status == "complete"
    rows = query(tmp_path, f"SELECT id, share, name FROM {NAME}.things ORDER BY id")
    assert rows == [("1", 3.0, "a"), ("2", 0.375, "b"), ("x", 1.0, "c")]
    kinds = query(tmp_path, "SELECT constraint_type FROM duckdb_constraints() WHERE table_name = 'things'")
    assert ("PRIMARY KEY",) in kinds
