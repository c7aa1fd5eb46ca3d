"""A sync without changes: two openings of the warehouse, and a few queries for all tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient

from analytics_ingest.apis.registry import APIS
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.warehouse import cached_tables
from analytics_ingest.warehouse.table_queries import DatasetTables
from analytics_ingest.warehouse.warehouse import Warehouse
from analytics_ingest_tests.conftest import expected_keys, live_keys, packages, sync

API = "project_planning"
MOST_QUERIES = 18
"""Queries of a sync without changes, dlt's own for state and schema included. The API has 24 tables."""


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The queries sent to DuckDB."""
    sent: list[str] = []
    execute = DuckDbSqlClient.execute_query

    @contextmanager
    def noted(self: DuckDbSqlClient, query: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        sent.append(str(query))
        with execute(self, query, *args, **kwargs) as cursor:
            yield cursor

    monkeypatch.setattr(DuckDbSqlClient, "execute_query", noted)
    return sent


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An entry for each opening of a warehouse."""
    found: list[str] = []
    enter = Warehouse.open

    def noted(self: Warehouse) -> Any:
        found.append(self.api)
        return enter(self)

    monkeypatch.setattr(Warehouse, "open", noted)
    return found


def test_warehouse_is_read_with_few_queries_and_gets_no_package(
    tmp_path: Path, sandbox: SandboxServer, queries: list[str], opened: list[str]
) -> None:
    first = sync(API)
    assert {result.status for result in first.values()} == {"complete"}
    before = packages(tmp_path, API)
    queries.clear()
    opened.clear()
    again = sync(API)

    # to read the tables, and to write the ledger once nothing is read any more
    assert opened == [API, API]
    assert len(queries) <= MOST_QUERIES < len(APIS[API].endpoints)
    assert packages(tmp_path, API) == before
    for name, result in again.items():
        assert (result.status, result.stats and result.stats.rows_loaded) == ("complete", 0)
        # the counts and checks are those of the first sync's tables
        assert (result.table_rows, result.rows_live) == (first[name].table_rows, first[name].rows_live)
        assert [each.name for each in result.checks if not each.passed] == []


@pytest.mark.parametrize("most", [0, pytest.param(30, marks=pytest.mark.extended)])
def test_large_tables_are_read_when_they_are_needed(
    tmp_path: Path, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(cached_tables, "MAX_ROWS", most)
    api = "experimentation"
    sync(api)
    sandbox.world.advance(24)
    for _ in range(2):
        results = sync(api)
        for name, result in results.items():
            assert (result.status, result.rows_live) == ("complete", len(sandbox.world.expected(api, name))), name
            if APIS[api].by_name[name].primary_key:
                assert live_keys(tmp_path, api, name) == expected_keys(sandbox.world, api, name)
    assert {result.stats.rows_loaded for result in results.values() if result.stats} == {0}


def test_table_that_cannot_be_read_fails_its_endpoint_alone(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync("experimentation")
    read = DatasetTables.read

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("no table at all")

    def fails_for_tags(self: Any, table: str, *args: Any, **kwargs: Any) -> Any:
        if table == "tags":
            raise ZeroDivisionError("no such table")
        return read(self, table, *args, **kwargs)

    monkeypatch.setattr(DatasetTables, "read_all", fail)
    monkeypatch.setattr(DatasetTables, "read", fails_for_tags)
    results = sync("experimentation")
    assert {name for name, result in results.items() if result.status == "failed"} == {"tags"}
    assert "ZeroDivisionError: no such table" in results["tags"].reason
