"""What ``verify`` finds, and that it changes nothing and requests every list."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.diagnostics.verify import Difference, VerifyResult, verify_api
from analytics_ingest.errors import AuthenticationError
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.warehouse.table_queries import DatasetTables
from analytics_ingest.warehouse.warehouse import Warehouse
from analytics_ingest_tests.conftest import expected_keys, query, sync

API = "experimentation"
NONE = Difference()


@pytest.fixture
def synced_warehouse(filled: Callable[..., SandboxServer]) -> None:
    """A warehouse after a sync of those endpoints of ``API`` that the tests use."""
    filled(API, "gates", "gates_rules", "tags", "layers", "users", "ingestion_status", "events", "events_metrics")


def verify(api: str, *endpoints: str) -> dict[str, VerifyResult]:
    selected = set(endpoints) or None
    results = list(verify_api(APIS[api], selected=selected, log=logging.getLogger("test")))
    assert len({each.endpoint.name for each in results}) == len(results)
    return {each.endpoint.name: each for each in results}


def outcomes(found: dict[str, VerifyResult]) -> dict[str, str]:
    return {name: each.outcome for name, each in found.items() if each.outcome != "same"}


def dump(tmp_path: Path) -> dict[str, list[Any]]:
    """Every row of every table, dlt's own included."""
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as connection:
        tables = connection.sql(
            "SELECT table_schema, table_name FROM information_schema.tables ORDER BY ALL"
        ).fetchall()
        return {
            f"{schema}.{name}": connection.sql(f'FROM {schema}."{name}" ORDER BY ALL').fetchall()
            for schema, name in tables
        }


def change(tmp_path: Path, sql: str) -> None:
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute(sql)


def test_after_a_sync_every_endpoint_is_the_same_and_nothing_has_changed(
    tmp_path: Path, shared_sandbox: SandboxServer
) -> None:
    api = "feature_management"
    sync(api)
    requests_of_the_sync = shared_sandbox.requests.counts()
    shared_sandbox.requests.reset()
    before = dump(tmp_path)
    found = verify(api)

    assert f"{api}._dlt_loads" in before
    assert dump(tmp_path) == before
    assert outcomes(found) == {}
    expected = {name: len(shared_sandbox.world.expected(api, name)) for name in APIS[api].by_name}
    assert {name: each.upstream for name, each in found.items()} == expected
    assert {name: each.table for name, each in found.items()} == expected
    assert shared_sandbox.requests.counts() == requests_of_the_sync


@pytest.mark.parametrize("api", list(APIS))
def test_every_row_upstream_is_found_without_the_warehouse(shared_sandbox: SandboxServer, api: str) -> None:
    found = verify(api)

    expected = {name: len(shared_sandbox.world.expected(api, name)) for name in APIS[api].by_name}
    assert {name: each.upstream for name, each in found.items()} == expected
    assert {name: each.missing.count for name, each in found.items()} == expected


def test_without_a_sync_everything_is_missing_and_no_table_is_made(
    tmp_path: Path, shared_sandbox: SandboxServer
) -> None:
    found = verify(API, "gates", "gates_rules", "holdouts", "ingestion_status")

    assert outcomes(found) == dict.fromkeys(("gates", "gates_rules", "ingestion_status"), "differs")
    for name in ("gates", "gates_rules"):
        keys = sorted(tuple(map(str, key)) for key in expected_keys(shared_sandbox.world, API, name))
        assert found[name].upstream == found[name].missing.count == len(keys)
        assert (found[name].table, found[name].extra) == (0, NONE)
        assert list(found[name].missing.examples) == keys[:3]
    assert found["ingestion_status"].missing == Difference(count=7)
    assert not (tmp_path / "warehouse.duckdb").exists()


@pytest.mark.usefixtures("synced_warehouse")
def test_rows_that_are_missing_marked_doubled_or_too_many(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    gates = [row["id"] for row in shared_sandbox.world.collection(API, "gates")]
    change(tmp_path, f"DELETE FROM {API}.gates WHERE id = '{gates[1]}'")
    change(tmp_path, f"UPDATE {API}.tags SET _deleted_at = now() WHERE id IN (SELECT id FROM {API}.tags LIMIT 4)")
    change(tmp_path, f"INSERT INTO {API}.layers BY NAME SELECT * REPLACE ('by hand' AS id) FROM {API}.layers LIMIT 1")
    change(tmp_path, f"INSERT INTO {API}.users FROM {API}.users LIMIT 1")
    before = dump(tmp_path)
    found = verify(API, "gates", "gates_rules", "tags", "layers", "users")

    assert outcomes(found) == dict.fromkeys(("gates", "tags", "layers", "users"), "differs")
    assert found["gates"].missing == Difference(count=1, examples=((gates[1],),))
    assert (found["gates"].upstream, found["gates"].table, found["gates"].extra) == (6, 5, NONE)
    assert found["tags"].missing.count == 4
    assert len(found["tags"].missing.examples) == 3
    assert found["layers"].extra == Difference(count=1, examples=(("by hand",),))
    assert (found["layers"].upstream, found["layers"].table, found["layers"].missing) == (2, 3, NONE)
    assert (found["users"].doubled, found["users"].table, found["users"].extra) == (1, 13, NONE)
    # the rules of the gate that the table lacks were requested: parents do not come from the warehouse
    assert any(record.path.endswith(f"/v1/gates/{gates[1]}/rules") for record in shared_sandbox.requests)
    assert dump(tmp_path) == before


@pytest.mark.usefixtures("synced_warehouse")
def test_what_changes_upstream_shows(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    layers = shared_sandbox.world.collection(API, "layers")
    gone = layers.pop(0)
    layers.append({**layers[0], "id": "new"})
    found = verify(API, "layers")["layers"]

    assert found.missing == Difference(count=1, examples=(("new",),))
    assert found.extra == Difference(count=1, examples=((gone["id"],),))


@pytest.mark.usefixtures("synced_warehouse")
def test_snapshot_is_compared_by_its_number_of_rows(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    for rows, missing, extra in ((-2, 2, 0), (3, 0, 1)):
        sql = f"{API}.ingestion_status WHERE _dlt_id IN (SELECT _dlt_id FROM {API}.ingestion_status LIMIT {abs(rows)})"
        change(tmp_path, f"DELETE FROM {sql}" if rows < 0 else f"INSERT INTO {API}.ingestion_status FROM {sql}")
        found = verify(API, "ingestion_status")["ingestion_status"]

        assert (found.outcome, found.upstream, found.table) == ("differs", 7, 7 - missing + extra)
        assert (found.missing, found.extra) == (Difference(count=missing), Difference(count=extra))


@pytest.mark.usefixtures("synced_warehouse")
def test_keys_with_reserved_characters(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    assert outcomes(verify(API, "events", "events_metrics")) == {}

    change(tmp_path, f"DELETE FROM {API}.events_metrics WHERE event_name LIKE '%/%'")
    found = verify(API, "events_metrics")["events_metrics"]
    slashed = [key for key in expected_keys(shared_sandbox.world, API, "events_metrics") if "/" in key[0]]
    assert found.missing.count == len(slashed) > 0
    assert list(found.missing.examples) == sorted(slashed)[:3]


def test_key_column_of_another_type_holds_the_same_keys(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    sync("project_planning", "labels")
    assert query(tmp_path, "SELECT typeof(id) FROM project_planning.labels LIMIT 1") == [("BIGINT",)]
    change(tmp_path, "ALTER TABLE project_planning.labels ALTER id TYPE VARCHAR")

    assert outcomes(verify("project_planning", "labels")) == {}


@pytest.mark.usefixtures("synced_warehouse")
def test_child_alone_reads_its_parents_and_nothing_else(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    found = verify(API, "gates_rules")

    assert list(found) == ["gates_rules"]
    assert outcomes(found) == {}
    assert set(shared_sandbox.requests.counts()[API]) == {"gates", "gates_rules"}


def test_endpoint_that_fails_takes_its_children_along_and_no_other(
    shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__TAGS__LIMIT", "many")
    names = ("gates", "gates_rules", "dynamic_configs", "dynamic_configs_versions", "dynamic_configs_rules")
    shared_sandbox.options.faults = [
        Fault(api=API, path="^/v1/gates$", status=403),
        Fault(api=API, path="/versions", status=500, skip=1),
    ]
    found = verify(API, "tags", *names)

    failed = {name for name, each in found.items() if each.outcome == "failed"}
    assert failed == {"tags", "gates", "gates_rules", "dynamic_configs_versions"}
    assert "SOURCES__EXPERIMENTATION__TAGS__LIMIT must be" in found["tags"].reason
    assert found["dynamic_configs_rules"].upstream == 11
    assert found["gates"].reason.startswith("/v1/gates answered 403: ")
    assert found["gates_rules"].reason.startswith("it is requested for each row of gates: /v1/gates answered 403")
    assert "/versions answered 500" in found["dynamic_configs_versions"].reason


def test_failure_that_passes_is_retried(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    shared_sandbox.options.faults = [Fault(api=API, path="/v1/gates", status=503, times=3)]
    found = verify(API, "gates", "gates_rules")

    assert {name: each.upstream for name, each in found.items()} == {"gates": 6, "gates_rules": 129}


def test_404_of_a_parent_that_has_gone_is_no_row(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    shared_sandbox.world.collection(API, "gates_rules").popitem()
    left = len(shared_sandbox.world.expected(API, "gates_rules"))
    assert verify(API, "gates_rules")["gates_rules"].upstream == left < 129

    shared_sandbox.options.faults = [Fault(api=API, path="/rules", status=404)]
    found = verify(API, "gates_rules")["gates_rules"]
    assert found.outcome == "failed"
    assert found.reason == "/v1/gates/{gate_id}/rules: every one of 6 parents answered 404: is the path right?"


def test_rows_rejected_and_rows_that_did_not_come_are_reported_and_not_missing(shared_sandbox: SandboxServer) -> None:
    shared_sandbox.world.collection(API, "tags")[3]["id"] = None
    shared_sandbox.options.totals = "high"
    found = verify(API, "tags")["tags"]

    assert (found.upstream, found.missing.count, found.rejected, found.short) == (99, 99, 1, 10)


def test_rows_that_the_sync_rejects_for_the_type_of_their_key_are_reported_and_not_missing(
    shared_sandbox: SandboxServer,
) -> None:
    labels = shared_sandbox.world.collection("project_planning", "labels")
    sync("project_planning", "labels")
    labels[2]["id"] = "7"
    found = verify("project_planning", "labels")["labels"]

    # the row that had the key before is one too many until a sync marks it
    assert (found.upstream, found.missing.count, found.rejected) == (len(labels) - 1, 0, 1)
    assert found.extra.count == 1


def test_list_that_comes_short_is_read_once_more(shared_sandbox: SandboxServer) -> None:
    shared_sandbox.options.totals = "high"
    verify(API, "tags")
    assert shared_sandbox.requests.count(API, "tags") == 4


def test_rows_before_the_start_date_are_not_missing(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = shared_sandbox.world.collection(API, "audit_logs")
    start = sorted(row["updated_at"] for row in logs)[50]
    old = sum(row["updated_at"] < start for row in logs)
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__START_DATE", start)
    sync(API, "audit_logs")
    found = verify(API, "audit_logs")["audit_logs"]

    assert (found.outcome, found.too_old, found.upstream, found.table) == ("same", old, 150 - old, 150 - old)


def test_endpoint_that_a_setting_leaves_out(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__SKIP_ENDPOINTS", "gates")
    found = verify(API, "gates", "gates_rules")

    assert outcomes(found) == {"gates": "left out", "gates_rules": "left out"}
    assert shared_sandbox.requests.count() == 0


def test_wrong_key_ends_it_at_the_first_request(shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__API_KEY", "wr0ng/k3y")
    with pytest.raises(AuthenticationError, match="check SOURCES__EXPERIMENTATION__API_KEY") as raised:
        verify(API)

    assert "wr0ng" not in str(raised.value)
    assert shared_sandbox.requests.count() == 1


def test_no_request_is_made_while_syncs_are_kept_out(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    plain = Warehouse.read

    def watched(warehouse: Warehouse) -> AbstractContextManager[DatasetTables]:
        held.append(shared_sandbox.requests.count())
        return plain(warehouse)

    monkeypatch.setattr(Warehouse, "read", watched)
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__MAX_IN_FLIGHT", "2")
    verify(API, "gates", "gates_rules")

    # before the first request, for the types of the key columns; then level by level
    assert held == [0, shared_sandbox.requests.count(API, "gates"), shared_sandbox.requests.count()]
    assert shared_sandbox.requests.max_in_flight[API] <= 2
