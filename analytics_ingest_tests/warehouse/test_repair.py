"""What somebody takes out of the warehouse is there again after the next sync, and no other row is touched."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.warehouse.destinations.ducklake import EXTENSIONS
from analytics_ingest_tests.conftest import sandbox_in, sync
from analytics_ingest_tests.stores import Store
from analytics_ingest_tests.trials import Trial

API = "experimentation"
ENDPOINTS = ("gates", "gates_rules", "tags", "ingestion_status")
LOADS, VERSION, STATE = "_dlt_loads", "_dlt_version", "_dlt_pipeline_state"
DLT = [f"DROP TABLE {API}.{name}" for name in (LOADS, VERSION, STATE)]


def column(table: str, name: str) -> str:
    return f"ALTER TABLE {API}.{table} DROP COLUMN {name}"


LOSSES = {
    "table": [f"DROP TABLE {API}.gates"],
    "child table": [f"DROP TABLE {API}.gates_rules"],
    "two tables": [f"DROP TABLE {API}.gates_rules", f"DROP TABLE {API}.tags"],
    "data column": [column("gates", "description"), column("gates_rules", "name")],
    "column of a key": [column("gates", "id"), column("gates_rules", "gate_id")],
    "hash": [column("gates", "_row_hash"), column("gates_rules", "_row_hash")],
    "mark of deletion": [column("gates", "_deleted_at")],
    "load id": [column("gates", "_dlt_load_id"), column("tags", "_dlt_load_id")],
    "loads": DLT[:1],
    "version": DLT[1:2],
    "state": DLT[2:],
    "loads and state": [DLT[0], DLT[2]],
    "all of dlt": DLT,
    "all of dlt and a table": [*DLT, f"DROP TABLE {API}.tags"],
    "dataset": [f"DROP SCHEMA {API} CASCADE"],
    "everything": [f"DROP SCHEMA {API} CASCADE", f"DROP SCHEMA {API}_staging CASCADE"],
}
LOSSES_OF_A_LAKE = {"table and data column": [f"DROP TABLE {API}.gates_rules", column("gates", "description")]}
STAGING_LOSSES = {
    "table": [f"DROP TABLE {API}_staging.gates"],
    "column": [f"ALTER TABLE {API}_staging.gates DROP COLUMN description"],
    "staging's version": [f"DROP TABLE {API}_staging.{VERSION}"],
    "dataset": [f"DROP SCHEMA {API}_staging CASCADE"],
}
UNNOTICED = ("version", "dataset", "everything")
"""Losses after which the next load makes everything that is missing without more ado."""
SHORT = ("two tables", "data column", "hash", "all of dlt and a table")
"""What is tried on the destinations that are slower."""
EACH_KIND = ("child table", "column of a key", "hash", "all of dlt and a table")
"""A loss of each kind, for the run that is not to take long."""


CASES = [
    *(pytest.param("duckdb", loss, id=f"duckdb-{loss}") for loss in EACH_KIND),
    *(
        pytest.param(kind, loss, id=f"{kind}-{loss}", marks=pytest.mark.extended)
        for kind, losses in (
            ("duckdb", [loss for loss in LOSSES if loss not in EACH_KIND]),
            ("postgres", SHORT),
            ("ducklake", LOSSES_OF_A_LAKE),
        )
        for loss in losses
    ),
]


@pytest.fixture(scope="module")
def warehouse_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DuckDB file after two syncs, between which a gate has gone."""
    folder = tmp_path_factory.mktemp("filled")
    with sandbox_in(folder) as server:
        fill(server)
    return folder / "warehouse.duckdb"


def fill(server: SandboxServer) -> None:
    sync(API, *ENDPOINTS)
    server.world.collection(API, "gates").pop()
    sync(API, *ENDPOINTS)


def execute(store: Store, tmp_path: Path, statements: list[str]) -> None:
    """Executes statements in a store, as somebody with a client of its own."""
    credentials = store.settings.get("DESTINATION__POSTGRES__CREDENTIALS")
    if credentials:
        with psycopg2.connect(credentials) as connection:
            for statement in statements:
                # with the views of present rows
                connection.cursor().execute(f"{statement.removesuffix(' CASCADE')} CASCADE")
        connection.close()
        return
    with duckdb.connect(store.settings.get("DESTINATION__DUCKDB__CREDENTIALS", ":memory:")) as lake:
        if "DESTINATION__DUCKDB__CREDENTIALS" not in store.settings:
            for extension in EXTENSIONS[:2]:
                lake.load_extension(extension)
            lake.execute(f"ATTACH 'ducklake:sqlite:{tmp_path}/catalog.sqlite' AS lake (DATA_PATH '{tmp_path}/lake')")
            lake.execute("USE lake")
        for statement in statements:
            lake.execute(statement)


def stored(store: Store, *tables: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of tables, in an order of their own."""
    return {
        table: sorted((dict(zip(names, row, strict=True)) for row in found), key=str)
        for table, (names, found) in store.tables(API, tables or ENDPOINTS).items()
    }


def live(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that are not marked as deleted, without what tells one load from another."""
    kept = [row for row in found if row.get("_deleted_at") is None]
    return sorted(({name: row[name] for name in sorted(row) if not name.startswith("_dlt")} for row in kept), key=str)


@pytest.mark.parametrize(("store", "loss"), CASES, indirect=["store"])
def test_what_is_lost_comes_back(
    loss: str,
    warehouse_file: Path,
    store: Store,
    tmp_path: Path,
    shared_sandbox: SandboxServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gates = shared_sandbox.world.collection(API, "gates")
    if file := store.settings.get("DESTINATION__DUCKDB__CREDENTIALS"):
        shutil.copy(warehouse_file, file)
        gates.pop()
    else:
        fill(shared_sandbox)
    before = stored(store)
    assert [len(live(found)) for found in before.values()] == [5, 128, 100, 7]
    statements = {**LOSSES, **LOSSES_OF_A_LAKE}[loss]
    execute(store, tmp_path, statements)
    caplog.clear()

    results = sync(API, *ENDPOINTS)

    assert {result.status for result in results.values()} == {"complete"}
    lost = "; ".join(statements) + " "
    after = stored(store)
    for name, found in after.items():
        assert live(found) == live(before[name]), name
        if f"{API}.{name} " not in lost.replace(";", " ") and f"SCHEMA {API} " not in lost:
            assert found == before[name], f"{name} was touched"
    if loss == "mark of deletion":
        assert [row["id"] for row in after["gates"] if row["_deleted_at"]] == [
            row["id"] for row in before["gates"] if row["_deleted_at"]
        ]
    assert ("created again" in caplog.text or "added, and" in caplog.text) is (loss not in UNNOTICED), caplog.text
    caplog.clear()
    gates[0]["description"] = "changed"
    gates[0]["updated_at"] = "2026-06-01T00:00:00Z"
    again = sync(API, *ENDPOINTS)
    loaded = {name: each.stats.rows_loaded for name, each in again.items() if each.stats}
    assert loaded == {"gates": 1, "gates_rules": 0, "tags": 0, "ingestion_status": 0}
    # without a load there was nothing to store a schema with
    assert ("created again" in caplog.text) is (loss == "version")
    assert "added" not in caplog.text


@pytest.mark.extended
def test_what_the_staging_dataset_loses_comes_back(store: Store, tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    gates = shared_sandbox.world.collection(API, "gates")
    sync(API, "gates", "tags")
    tags = stored(store, "tags")
    for number, (loss, statements) in enumerate(STAGING_LOSSES.items()):
        execute(store, tmp_path, statements)
        gates[0]["description"] = loss
        gates[0]["updated_at"] = f"2026-06-0{number + 1}T00:00:00Z"

        results = sync(API, "gates", "tags")

        assert {result.status for result in results.values()} == {"complete"}
        assert {row["id"]: row["description"] for row in stored(store, "gates")["gates"]} == {
            row["id"]: row["description"] for row in gates
        }
        assert stored(store, "tags") == tags


@pytest.mark.parametrize("store", ["duckdb"], indirect=True)
def test_endpoints_that_fail_are_named_also_without_dlts_tables(store: Store, tmp_path: Path, trial_api: Trial) -> None:
    trial_api.rows.things = [[{"id": 1, "name": "a thing"}]]
    trial_api.sync()
    execute(store, tmp_path, [each.replace(API, "trials") for each in DLT])
    # no endpoint loads a row, so that dlt has no schema at the end
    trial_api.rows.wrap = {"data": 7}
    results = trial_api.sync()

    assert {name: each.status for name, each in results.items()} == {
        "things": "failed",
        "parts": "skipped",
        "states": "failed",
        "others": "complete",
    }
    assert results["things"].reason.startswith("/things 'data' in the body holds int, not records")
