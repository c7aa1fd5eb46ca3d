"""Syncs that are killed, or fail, between a table and its versions, its marks, its ledger: the next sync heals all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.sync.comment_writer import texts_of
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest.warehouse.exceptions import WarehouseError
from analytics_ingest.warehouse.history_names import history_table
from analytics_ingest.warehouse.history_tables import HistoryTables
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.history.configuration import (
    API,
    ENDPOINTS,
    Configuration,
    Row,
    fill,
    history,
    key_of,
    now,
    present,
    rows,
    run,
    serving_into,
)
from analytics_ingest_tests.history.killed_sync import (
    BEFORE_LEDGER,
    BEFORE_MARKS,
    BEFORE_VERSIONS,
    BEFORE_VIEWS,
    BETWEEN_VERSIONS,
    IN_LOAD,
    run_killed,
)
from analytics_ingest_tests.stores import Store, on_duckdb

PLACES = {
    "before its marks": BEFORE_MARKS,
    "before its versions": BEFORE_VERSIONS,
    "before its ledger": BEFORE_LEDGER,
    "in the load": IN_LOAD,
    "between its versions": BETWEEN_VERSIONS,
}
FIRST, OTHERS = list(PLACES)[:3], list(PLACES)[3:]
ENDS = [("after", "complete"), ("killed", "interrupted")]
"""The runs, and the status of each endpoint in their rows of the ledger."""
UNMARKED = {"in the load", "before its marks"}
"""Where no row is marked as deleted yet."""


@dataclass
class Healed:
    """What a killed sync and the one after it have left.

    Attributes:
        killed: When the killed sync started.
        after: When the one after it started.
        results: The results of that.
        statuses: The statuses in the ledger by run and endpoint, as often as they are there.
        versions: The versions that are new since the sync before them.
        marked: When the segment that was deleted was marked.
        is_same: Whether the tables have the keys that the upstream holds.
        changes: What the view of changes has since then.
    """

    killed: datetime
    after: datetime
    results: dict[str, EndpointResult]
    statuses: list[tuple[str, str, str]]
    versions: dict[str, list[Row]]
    marked: datetime
    is_same: bool
    changes: list[Row]


def heal(configuration: Configuration, store: Store, name: str) -> Healed:
    """Edits, a sync that is killed, one more edit, and a sync."""
    before = {each: len(history(store, each)) for each in ENDPOINTS}
    seen = max(row["_seen_at"] for each in ENDPOINTS for row in history(store, each))
    configuration.put("gates", "a", name=f"killed {name}", updated_at=now())
    configuration.put("gates_rules", "b", "rule", name=f"killed {name}")
    segment = next(iter(configuration.held["segments"]))
    configuration.drop("segments", *segment)
    configuration.put("segments", f"instead of {segment[0]}", name="first")
    run_killed(PLACES[name], run_id="killed")
    configuration.put("gates", "a", name=f"after {name}", updated_at=now())
    results = run(run_id="after")
    ledger = rows(store, f"SELECT * FROM {API}._syncs WHERE run_id IN ('killed', 'after') ORDER BY started_at DESC")
    after, killed = list(dict.fromkeys(row["started_at"] for row in ledger))[:2]
    mine = [row for row in ledger if row["started_at"] in (killed, after)]
    versions = {each: [row for row in history(store, each) if row["_seen_at"] > seen] for each in ENDPOINTS}
    assert {each: len(history(store, each)) for each in ENDPOINTS} == {
        each: before[each] + len(found) for each, found in versions.items()
    }
    return Healed(
        killed,
        after,
        results,
        sorted((row["run_id"], row["endpoint"], row["status"]) for row in mine),
        versions,
        rows(store, f"SELECT _deleted_at FROM {API}.segments WHERE id = '{segment[0]}'")[0]["_deleted_at"],
        all(present(store, each).keys() == configuration.held[each].keys() for each in ENDPOINTS),
        [row for row in rows(store, "SELECT * FROM ingest_meta.changes") if row["at"] > seen],
    )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("duckdb", FIRST), id="duckdb"),
        pytest.param(("duckdb", OTHERS), id="duckdb, more", marks=pytest.mark.extended),
        pytest.param(("postgres", list(PLACES)), id="postgres", marks=pytest.mark.extended),
    ],
)
def healed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Healed]:
    """By place what is left of a sync that was killed there; one after the other, in one warehouse."""
    kind, names = request.param
    folder = tmp_path_factory.mktemp("healed")
    with serving_into(kind, folder) as (store, configuration):
        fill(configuration)
        run()
        return {name: heal(configuration, store, name) for name in names}


def test_what_a_killed_sync_loaded_is_neither_missing_nor_twice(healed: dict[str, Healed]) -> None:
    for name, found in healed.items():
        marked = found.after if name in UNMARKED else found.killed
        loaded = {each: result.stats.rows_loaded for each, result in found.results.items()}
        seen = {
            each: [(row["name"], row["_operation"], row["_seen_at"]) for row in versions]
            for each, versions in found.versions.items()
        }

        assert found.is_same
        assert (name, found.marked) == (name, marked)
        assert (name, loaded) == (name, {"gates": 1, "gates_rules": 0, "segments": 0})
        assert (name, seen) == (
            name,
            {
                "gates": [(f"killed {name}", "update", found.killed), (f"after {name}", "update", found.after)],
                "gates_rules": [(f"killed {name}", "update", found.killed)],
                "segments": [("first", "delete", marked), ("first", "insert", found.killed)],
            },
        )


def test_the_ledger_has_a_killed_sync_as_interrupted(healed: dict[str, Healed]) -> None:
    for name, found in healed.items():
        after, killed = ([(run_id, each, status) for each in ENDPOINTS] for run_id, status in ENDS)
        assert (name, found.statuses) == (name, [*after, *killed])


def test_the_view_of_changes_has_each_change_once(healed: dict[str, Healed]) -> None:
    for name, found in healed.items():
        versions = [(each, key_of(each, row), row) for each in ENDPOINTS for row in found.versions[each]]
        changes = sorted((row["endpoint"], row["key"], row["at"], row["operation"]) for row in found.changes)
        assert (name, changes) == (
            name,
            sorted(
                (each, "/".join(key), row["_changed_at"] or row["_seen_at"], row["_operation"])
                for each, key, row in versions
            ),
        )


def started(store: Store, run_id: str) -> datetime:
    return rows(store, f"SELECT DISTINCT started_at FROM {API}._syncs WHERE run_id = '{run_id}'")[0]["started_at"]


@on_duckdb
def test_the_next_sync_may_be_one_of_other_endpoints(store: Store, configuration: Configuration) -> None:
    run()
    configuration.put("gates", "a", name="killed", updated_at=now())
    configuration.put("segments", "0", name="killed")
    run_killed(BEFORE_VERSIONS, run_id="killed")
    results = run("segments", run_id="after")
    assert (results["segments"].status, results["segments"].stats.rows_loaded) == ("complete", 0)
    for endpoint in ("gates", "segments"):
        last = max(history(store, endpoint), key=lambda row: row["_seen_at"])
        assert (last["name"], last["_operation"], last["_seen_at"]) == ("killed", "update", started(store, "killed"))


@on_duckdb
def test_a_sync_that_is_killed_before_the_views_leaves_them_to_the_next_one(
    store: Store, configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        configure_api(patch, API, history=False)
        run()
    # it loads nothing
    run_killed(BEFORE_VIEWS)
    configuration.put("gates", "a", name="second")
    run()
    found = rows(store, "SELECT endpoint, key, operation, fields FROM ingest_meta.changes")
    assert [tuple(row.values()) for row in found] == [
        ("gates", "a", "update", {"name": {"before": "first", "after": "second"}})
    ]


@on_duckdb
def test_versions_that_could_not_be_written_are_written_by_the_next_sync(
    store: Store, configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()

    def fail(*_: object, **__: object) -> None:
        raise WarehouseError("no", transient=is_transient)

    with monkeypatch.context() as patch:
        patch.setattr(HistoryTables, "append", fail)
        is_transient = False
        configuration.put("gates", "a", name="second")
        reason = "/v1/gates its rows are loaded, and their history cannot be written: no"
        assert run()["gates"].reason == reason
        is_transient = True
        configuration.put("gates", "b", name="second")
        with pytest.raises(WarehouseError, match=r"^no$"):
            run()
    assert run(run_id="after")["gates"].stats.rows_loaded == 0
    at = started(store, "after")
    assert [(row["id"], row["name"], row["_seen_at"] == at) for row in history(store, "gates")] == [
        *(("a", "first", False), ("a", "second", True)),
        *(("b", "first", False), ("b", "second", True)),
    ]


@on_duckdb
def test_what_a_killed_sync_changed_is_no_redeclaration(
    store: Store, configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    configuration.put("gates_rules", "a", "rule", name="second")
    run_killed(BEFORE_VERSIONS)
    # as a new version of the product does, for whose start the sync was killed
    configure_api(monkeypatch, API, exclude_columns="owner")
    run()
    found = [row for row in history(store, "gates_rules") if row["gate_id"] == "a"]
    assert [(row["name"], row["owner"], row["_operation"]) for row in found] == [
        ("first", "Ada", "baseline"),
        ("second", "Ada", "update"),
        ("second", None, "redeclared"),
    ]


@on_duckdb
def test_comments_that_a_killed_sync_has_not_written_are_written_by_the_next(
    store: Store, configuration: Configuration
) -> None:
    commented = f"SELECT table_name, comment FROM duckdb_tables() WHERE schema_name = '{API}' AND comment IS NOT NULL"
    run_killed(BEFORE_LEDGER)
    assert rows(store, commented) == []
    run()
    found = {row["table_name"]: row["comment"] for row in rows(store, commented)}
    tables = {*ENDPOINTS, *map(history_table, ENDPOINTS), "_syncs"}
    assert found == {name: text.table for name, text in texts_of(APIS[API]).items() if name in tables}
