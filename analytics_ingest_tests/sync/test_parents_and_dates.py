"""Children by their parents, not by a cursor: no date of a parent or a child hides a row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import expected_keys, live_keys, sync

API = "experimentation"


def assert_exact(tmp_path: Path, server: SandboxServer) -> None:
    for name in ("gates", "gates_rules"):
        assert live_keys(tmp_path, API, name) == expected_keys(server.world, API, name)


def rules_of(server: SandboxServer, gate: str, *names: str, updated: str) -> None:
    rules = [{"id": name, "name": name, "updated_at": updated} for name in names]
    server.world.collection(API, "gates_rules")[gate,] = [{"id": gate, "rules": rules}]


def test_child_that_changes_while_its_parent_does_not(tmp_path: Path, sandbox: SandboxServer) -> None:
    gate = sandbox.world.collection(API, "gates")[0]["id"]
    rules_of(sandbox, gate, "one", "two", updated="2025-01-01T00:00:00Z")
    sync(API, "gates", "gates_rules")
    # older than anything that came before
    rules_of(sandbox, gate, "two", "three", updated="2024-01-01T00:00:00Z")
    results = sync(API, "gates", "gates_rules")

    loaded = {name: result.stats.rows_loaded for name, result in results.items() if result.stats}
    assert loaded == {"gates": 0, "gates_rules": 2}
    assert results["gates_rules"].rows_deleted == 1
    assert_exact(tmp_path, sandbox)


def test_parent_that_appears_later_with_old_children(tmp_path: Path, filled: Callable[..., SandboxServer]) -> None:
    sandbox = filled(API, "gates", "gates_rules")
    gates = sandbox.world.collection(API, "gates")
    gates.append({**gates[0], "id": "moved_here", "updated_at": "2019-01-01T00:00:00Z"})
    rules_of(sandbox, "moved_here", "old", updated="2018-01-01T00:00:00Z")
    results = sync(API, "gates", "gates_rules")

    loaded = {name: result.stats.rows_loaded for name, result in results.items() if result.stats}
    assert loaded == {"gates": 1, "gates_rules": 1}
    assert_exact(tmp_path, sandbox)


def test_parents_over_three_pages_whose_children_get_older(
    tmp_path: Path, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__GATES__LIMIT", "4")
    gates = sandbox.world.collection(API, "gates")
    pattern = gates[0]
    gates.clear()
    for number in range(10):
        year = 2025 - number
        gates.append({**pattern, "id": f"gate_{number}", "updated_at": f"{year}-06-01T00:00:00Z"})
        rules_of(sandbox, f"gate_{number}", "a", "b", updated=f"{year}-01-01T00:00:00Z")
    results = sync(API, "gates", "gates_rules")

    assert sandbox.requests.count(API, "gates") == 3
    assert sandbox.requests.count(API, "gates_rules") == 10
    assert results["gates_rules"].table_rows == 20
    assert_exact(tmp_path, sandbox)


@pytest.mark.parametrize(
    ("api", "lists"),
    [
        ("incident_response", ("incidents",)),
        pytest.param(
            *("experimentation", ("tags", "gates", "gates_rules", "ingestion_status")), marks=pytest.mark.extended
        ),
    ],
)
def test_no_page_before_the_first_is_asked_for(shared_sandbox: SandboxServer, api: str, lists: tuple[str, ...]) -> None:
    sync(api, *lists)
    parameter = {"experimentation": "page=", "incident_response": "page%5Bnumber%5D="}[api]
    parts = [part for record in shared_sandbox.requests for part in record.query.split("&")]
    asked = [part for part in parts if part.startswith(parameter)]

    assert asked
    assert f"{parameter}1" in asked
    assert f"{parameter}0" not in asked
