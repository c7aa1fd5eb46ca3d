"""Lists that are present and empty: no failure, a table with its known columns, every row marked as gone."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.extract.rows import ROW_HASH
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import expected_keys, live_keys, query, sync

every_api = pytest.mark.parametrize(
    ("api", "names"),
    [
        pytest.param(
            *("experimentation", ("tags", "gates", "gates_rules", "ingestion_status")),
            id="a list, a child and a snapshot",
        ),
        *(pytest.param(api, (), id=api, marks=pytest.mark.extended) for api in APIS),
    ],
)


def empty(server: SandboxServer, api: str) -> None:
    """Takes every row of every list away, below each parent as well. What is one record stays."""
    for endpoint in APIS[api].endpoints:
        if endpoint.name in ("me", "member", "self_ids", "epic_workflow"):
            continue
        rows = server.world.collection(api, endpoint.name)
        for each in rows.values() if isinstance(rows, dict) else [rows]:
            if isinstance(each, list):
                each.clear()


@every_api
def test_first_sync_of_nothing_makes_every_table(
    tmp_path: Path, shared_sandbox: SandboxServer, api: str, names: tuple[str, ...]
) -> None:
    empty(shared_sandbox, api)
    results = sync(api, *names)

    assert {result.status for result in results.values()} == {"complete"}
    for name, result in results.items():
        expected = shared_sandbox.world.expected(api, name)
        assert result.table_rows == len(expected), name
        assert result.columns is not None
        assert {*APIS[api].by_name[name].primary_key, ROW_HASH} <= result.columns.keys()
        if not expected:
            assert result.stats.rows_loaded == 0


@every_api
def test_rows_that_are_all_gone_are_all_marked(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, api: str, names: tuple[str, ...]
) -> None:
    # it is true, for once
    monkeypatch.setenv(f"SOURCES__{api.upper()}__MIN_ROWS_SHARE", "0")
    before = sync(api, *names)
    empty(shared_sandbox, api)
    results = sync(api, *names)

    assert {result.status for result in results.values()} == {"complete"}
    for name, result in results.items():
        if not APIS[api].by_name[name].primary_key:
            assert result.table_rows == 0
            continue
        assert live_keys(tmp_path, api, name) == expected_keys(shared_sandbox.world, api, name)
        assert result.table_rows == before[name].table_rows
    again = sync(api, *names)
    assert {result.rows_deleted for result in again.values()} == {0}
    assert {result.stats.rows_loaded for result in again.values() if result.stats} == {0}


def test_table_that_something_else_made_is_left_alone(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute("CREATE SCHEMA experimentation")
        connection.execute("CREATE TABLE experimentation.tags (id VARCHAR NOT NULL, note VARCHAR)")
    results = sync("experimentation", "tags", "gates")

    assert results["tags"].status == "failed"
    assert results["tags"].reason == (
        "the warehouse has a table experimentation.tags that no sync has made: rename or drop it"
    )
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'tags'"
    assert query(tmp_path, columns) == [("id",), ("note",)]
    assert results["gates"].status == "complete"
    gates = expected_keys(shared_sandbox.world, "experimentation", "gates")
    assert live_keys(tmp_path, "experimentation", "gates") == gates
