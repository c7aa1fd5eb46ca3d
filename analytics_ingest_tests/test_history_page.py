"""The queries of docs/history.md give what the page says: they run on warehouses that were synced twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import query, sandbox_in, sync
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.pages import queries_of, start_at
from analytics_ingest_tests.stores import STORES, Store, duckdb_store
from analytics_ingest_tests.vendors import shortcut_rows
from analytics_ingest_tests.vendors.conftest import configured
from analytics_ingest_tests.vendors.server import Vendor
from analytics_ingest_tests.vendors.shortcut import Shortcut
from analytics_ingest_tests.vendors.statsig import Statsig

Results = list[tuple[Any, ...]]
QUERIES = queries_of("history.md")
"""The page's queries by the heading above them."""
FIRST, SECOND = datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 3, 15, 12, tzinfo=UTC)
"""When the two syncs start."""
GATE_CHANGED, FLAG_CHANGED = datetime(2026, 3, 15, 9, 30, tzinfo=UTC), datetime(2026, 3, 15, 10, tzinfo=UTC)
CHANGES: Results = [
    (
        GATE_CHANGED,
        "experimentation",
        "gates",
        "new_checkout",
        "New checkout",
        "update",
        {"is_enabled": {"before": False, "after": True}},
    ),
    (
        FLAG_CHANGED,
        "feature_management",
        "feature_flags",
        "flag-1",
        "new_checkout",
        "update",
        {"rollout_status": {"before": {"name": "Internal testing"}, "after": {"name": "Ramping"}}},
    ),
    (
        SECOND,
        "experimentation",
        "gates_rules",
        "new_checkout/employees",
        "Employees",
        "update",
        {"pass_percentage": {"before": 10, "after": 100}},
    ),
    (SECOND, "experimentation", "gates_rules", "new_checkout/everyone", "Everyone", "insert", None),
]
EXPECTED: dict[str, Results] = {
    "A gate on a day": [("new_checkout", False, "Employees", 10)],
    "How long a flag was in a status": [("Ramping", 398), ("Internal testing", 334)],
    "All changes of a day": CHANGES,
    "Changes of one field": [(GATE_CHANGED, "new_checkout", "false", "true")],
    "How fresh each table is": [("gates", SECOND), ("gates_rules", SECOND)],
    "What did not complete": [],
    "Statsig: who changed a gate": [
        ("new_checkout", "update", datetime(2026, 3, 15, 9, 30, tzinfo=UTC), "Jane", "Enabled Gate")
    ],
    "Statsig: a config before its history": [
        (datetime(2026, 2, 1, tzinfo=UTC), "Statsig", 1, False),
        (datetime(2026, 2, 2, tzinfo=UTC), "Statsig", 2, False),
        (FIRST, "history", None, False),
        (datetime(2026, 3, 10, tzinfo=UTC), "history", None, True),
    ],
    "Shortcut: a story's states by their names of that time": [
        (5000, datetime(2026, 2, 1, tzinfo=UTC), "in progress"),
        (5000, datetime(2026, 3, 14, tzinfo=UTC), "in progress"),
        (5000, datetime(2026, 3, 16, tzinfo=UTC), "doing"),
    ],
}
"""What they give, by heading."""
STATEMENT = "What is not seen"
"""The heading above the one that is not a query."""
ELSEWHERE = ("Statsig", "Shortcut", STATEMENT)
"""What the headings begin with whose statements run on warehouses of their own."""


def rows_of(store: Store, heading: str) -> Results:
    """Rows of a query of the page; ``fields`` is parsed and lacks the time, whose form is the destination's."""
    with store.reading() as run:
        columns, rows = run(QUERIES[heading])
    parsed = [{**dict(zip(columns, row, strict=True))} for row in rows]
    for row in parsed:
        if fields := row.get("fields"):
            # DuckDB gives JSON as text
            row["fields"] = json.loads(fields) if isinstance(fields, str) else fields
            row["fields"].pop("updated_at", None)
    return [tuple(row.values()) for row in parsed]


@pytest.fixture(scope="module", params=["duckdb", pytest.param("postgres", marks=pytest.mark.extended)])
def twice(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A warehouse after two syncs from the sandbox, between which a gate, a rule and a flag change."""
    folder = tmp_path_factory.mktemp("twice")
    with STORES[request.param](folder) as store, sandbox_in(folder, store) as server:
        old = {"created_at": "2026-01-10T00:00:00Z", "updated_at": "2026-01-10T00:00:00Z"}
        gates, rules = (server.world.collection("experimentation", name) for name in ("gates", "gates_rules"))
        workspace = server.world.collection("feature_management", "workspaces")[0]["id"]
        flags = server.world.collection("feature_management", "feature_flags")
        gate = {"id": "new_checkout", "name": "New checkout", "isEnabled": False, "checksPerHour": 1, **old}
        rule = {"id": "employees", "name": "Employees", "passPercentage": 10}
        flag = {"id": "flag-1", "name": "new_checkout", "rolloutStatus": {"name": "Internal testing"}, **old}
        gates[:], flags[workspace,] = [gate], [flag]
        rules[gate["id"],] = [{"rules": [rule]}]
        sync_at(FIRST)
        gate.update(isEnabled=True, checksPerHour=2, updated_at=f"{GATE_CHANGED:%Y-%m-%dT%H:%M:%SZ}")
        rule.update(passPercentage=100)
        rules[gate["id"],].append({"rules": [{"id": "everyone", "name": "Everyone", "passPercentage": 50}]})
        flag.update(rolloutStatus={"name": "Ramping"}, updated_at=f"{FLAG_CHANGED:%Y-%m-%dT%H:%M:%SZ}")
        sync_at(SECOND)
        yield store


def sync_at(moment: datetime) -> None:
    """Syncs gates, rules and flags."""
    with pytest.MonkeyPatch.context() as patch:
        start_at(patch, moment)
        sync("experimentation", "gates", "gates_rules")
        sync("feature_management", "workspaces", "feature_flags")


@pytest.mark.parametrize("heading", [name for name in QUERIES if not name.startswith(ELSEWHERE)])
def test_a_query_gives_what_the_page_says(twice: Store, heading: str) -> None:
    found = rows_of(twice, heading)

    # a section that has no rows here has at least a query that runs
    assert found == EXPECTED.get(heading, found)


def test_headings_of_queries_are_those_of_the_page() -> None:
    assert {*EXPECTED, STATEMENT} <= QUERIES.keys()


def synced_twice(vendor: Vendor, folder: Path, change: Callable[[], None], *endpoints: str) -> None:
    """Syncs endpoints of a vendor at both times, with a change in between."""
    with vendor, configured(vendor, folder), pytest.MonkeyPatch.context() as patch:
        start_at(patch, FIRST)
        first = vendor.sync(*endpoints)
        change()
        start_at(patch, SECOND)
        second = vendor.sync(*endpoints)
    assert {result.status for result in (*first.values(), *second.values())} == {"complete"}


def milliseconds(day: int, month: int = 3, hour: int = 0, minute: int = 0) -> int:
    """A time of the year 2026 as Statsig sends it."""
    return int(datetime(2026, month, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


def test_queries_join_statsigs_logs_with_the_history(tmp_path: Path) -> None:
    vendor = Statsig()
    created = {"createdTime": milliseconds(1, 2), "lastModifiedTime": None}
    gate = {"id": "new_checkout", "name": "New checkout", "isEnabled": False, **created}
    config = {"id": "checkout_limits", "name": "Checkout limits", "isEnabled": False, **created}
    versions = [{**config, "version": n, "lastModifiedTime": milliseconds(n, 2)} for n in (1, 2)]

    def entry(moment: datetime, name: str, text: str) -> dict[str, str]:
        time = moment.strftime("%H:%M:%S GMT+0000 (Coordinated Universal Time)")
        day = moment.strftime("%a %b %d %Y")
        return {"id": text, "name": name, "changeLog": text, "date": day, "time": time, "updatedBy": "Jane"}

    log = [entry(datetime(2026, 2, 1, tzinfo=UTC), "new_checkout", "Created Gate")]
    vendor.store = {
        "gates": {(): [gate]},
        "dynamic_configs": {(): [config]},
        "dynamic_configs_versions": {("checkout_limits",): versions},
        "audit_logs": {(): log},
    }

    def change() -> None:
        gate.update(isEnabled=True, lastModifiedTime=milliseconds(15, 3, 9, 30))
        config.update(isEnabled=True, lastModifiedTime=milliseconds(10))
        versions.append({**config, "version": 3})
        log.append(entry(GATE_CHANGED, "new_checkout", "Enabled Gate"))
        log.append(entry(GATE_CHANGED, "another_gate", "Created Gate "))

    synced_twice(vendor, tmp_path, change, *vendor.store)

    with duckdb_store(tmp_path) as store:
        for heading in (name for name in QUERIES if name.startswith("Statsig")):
            assert rows_of(store, heading) == EXPECTED[heading], heading


def test_a_query_joins_shortcuts_history_of_stories_with_that_of_workflows(tmp_path: Path) -> None:
    vendor = Shortcut()
    workflow, story = shortcut_rows.workflow(0), 5000

    def move(day: int, month: int) -> dict[str, Any]:
        action = {"id": story, "action": "update", "changes": {"workflow_state_id": {"old": 500, "new": 501}}}
        moved = {"id": f"{month}-{day}", "changed_at": f"2026-{month:02}-{day:02}T00:00:00Z", "actions": [action]}
        return {**shortcut_rows.change(story, 0), **moved}

    row = shortcut_rows.story(0, epic_id=None, group_id=None, iteration_id=None)
    history = [shortcut_rows.change(story, 1), move(1, 2)]
    vendor.store = {
        "workflows": {(): [workflow]},
        "stories": {(): [row]},
        "story_history": {(str(story),): history},
    }

    def change() -> None:
        workflow["states"][1]["name"] = "doing"
        workflow["updated_at"] = "2026-03-15T00:00:00Z"
        history.extend([move(14, 3), move(16, 3)])
        row["updated_at"] = "2026-03-16T00:00:00Z"

    synced_twice(vendor, tmp_path, change, "workflows", "stories", "story_history")

    heading = "Shortcut: a story's states by their names of that time"
    with duckdb_store(tmp_path) as store:
        assert rows_of(store, heading) == EXPECTED[heading]


def test_values_of_a_column_that_is_left_out_later_can_be_deleted(
    tmp_path: Path, filled: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = filled("experimentation", "gates").world.collection("experimentation", "gates")
    owners = sum(gate["owner"] is not None for gate in gates)
    configure_api(monkeypatch, "experimentation", exclude_columns="gates.owner")
    sync("experimentation", "gates")
    versions = "SELECT _operation, count(*), count(owner) FROM experimentation._history_gates GROUP BY ALL ORDER BY ALL"
    assert query(tmp_path, versions) == [("baseline", len(gates), owners), ("redeclared", owners, 0)]

    with duckdb_store(tmp_path) as store, store.writing() as execute:
        execute(QUERIES[STATEMENT], ())
    gates[0]["name"] = "another name"
    sync("experimentation", "gates")

    assert query(tmp_path, versions) == [("baseline", len(gates), 0), ("redeclared", owners, 0), ("update", 1, 0)]
    assert query(tmp_path, "SELECT key, fields FROM experimentation._changes") == [
        (gates[0]["id"], '{"name":{"before":"cart stock 0","after":"another name"}}')
    ]
