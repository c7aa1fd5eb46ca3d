"""A row is marked as deleted only where that is proven: a complete list, none of its rows rejected, no collapse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.conftest import expected_keys, live_keys, query, sync

API = "experimentation"


def said(result: EndpointResult, check: str) -> str:
    return next((each.message for each in result.checks if each.name == check and not each.passed), "")


def test_a_key_under_another_name_marks_nothing_and_fails_the_endpoint(
    tmp_path: Path, filled: Callable[..., SandboxServer]
) -> None:
    sandbox = filled(API, "gates", "gates_rules")
    gates, rules = live_keys(tmp_path, API, "gates"), live_keys(tmp_path, API, "gates_rules")
    rows = sandbox.world.collection(API, "gates")
    for row in rows:
        row["gateID"] = row.pop("id")
    for _ in range(2):
        results = sync(API, "gates", "gates_rules")
        assert (results["gates"].status, results["gates_rules"].status) == ("failed", "skipped")
        assert (
            f"answered with {len(rows)} rows, none of which can be stored: no value for id" in results["gates"].reason
        )

    assert live_keys(tmp_path, API, "gates") == gates
    assert live_keys(tmp_path, API, "gates_rules") == rules
    for row in rows:
        row["id"] = row.pop("gateID")
    assert sync(API, "gates", "gates_rules")["gates"].status == "complete"
    assert live_keys(tmp_path, API, "gates") == gates


def test_one_rejected_row_keeps_every_mark_of_its_list_until_it_is_gone(
    tmp_path: Path, filled: Callable[..., SandboxServer]
) -> None:
    sandbox = filled(API, "tags", "gates", "gates_rules")
    tags = sandbox.world.collection(API, "tags")
    key, gone = tags[0].pop("id"), tags.pop(5)["id"]
    rules = sandbox.world.collection(API, "gates_rules")
    odd, fine = sorted(name for (name,), found in rules.items() if len(found[0]["rules"]) > 1)[:2]
    rules[odd,][0]["rules"][0]["id"] = None
    rules[fine,][0]["rules"].pop()
    first, second = (sync(API, "tags", "gates", "gates_rules") for _ in range(2))

    for results in (first, second):
        assert {result.status for result in results.values()} == {"complete"}
        assert "1 rows were rejected (no value for id)" in said(results["tags"], "rows_as_stated")
        assert "no deletion is marked, since " in said(results["tags"], "rows_as_stated")
    # since the first of them
    assert said(first["tags"], "rows_as_stated") == said(second["tags"], "rows_as_stated")
    live = {found for (found,) in live_keys(tmp_path, API, "tags")}
    assert {key, gone} <= live
    # the list of another parent is proven
    assert first["gates_rules"].rows_deleted == 1
    tags[0]["id"] = key
    healed = sync(API, "tags")["tags"]
    assert (healed.rows_deleted, said(healed, "rows_as_stated")) == (1, "")
    assert live_keys(tmp_path, API, "tags") == expected_keys(sandbox.world, API, "tags")


def test_a_collapse_is_marked_once_the_next_sync_finds_it_too(
    tmp_path: Path, filled: Callable[..., SandboxServer]
) -> None:
    sandbox = filled(API, "tags")
    tags = sandbox.world.collection(API, "tags")
    before, kept = live_keys(tmp_path, API, "tags"), list(tags)
    del tags[30:]
    first = sync(API, "tags")["tags"]

    assert (first.status, first.rows_deleted, first.rows_live) == ("complete", 0, 100)
    assert said(first, "rows_not_collapsed").startswith("30 rows, 100 before; the 70 that did not come")
    assert live_keys(tmp_path, API, "tags") == before
    # rows that come back were never gone
    tags[:] = kept
    snapshot = sandbox.world.collection(API, "ingestion_status")
    while len(snapshot) < 12:
        snapshot.append({**snapshot[0], "status": f"more {len(snapshot)}"})
    results = sync(API, "tags", "ingestion_status")
    again = results["tags"]
    assert (again.stats and again.stats.rows_loaded, said(again, "rows_not_collapsed")) == (0, "")
    # a snapshot that collapses is replaced as late
    rows = f"SELECT count(*) FROM {API}.ingestion_status"
    assert query(tmp_path, rows) == [(results["ingestion_status"].table_rows,)]
    del tags[30:]
    del snapshot[2:]
    assert sync(API, "tags", "ingestion_status")["tags"].rows_deleted == 0
    assert query(tmp_path, rows) == [(results["ingestion_status"].table_rows,)]
    true = sync(API, "tags", "ingestion_status")["tags"]
    assert (true.rows_deleted, said(true, "rows_not_collapsed")) == (70, "")
    assert live_keys(tmp_path, API, "tags") == expected_keys(sandbox.world, API, "tags")
    assert query(tmp_path, rows) == [(2,)]
