"""Statsig: its lists, paging and shapes, each by name, and its limit on requests. Days are in ``test_statsig_days``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from analytics_ingest_tests.conftest import FakeClock, query
from analytics_ingest_tests.fake_server import Response
from analytics_ingest_tests.vendors.conftest import Later, Synced, first_sync, later_sync
from analytics_ingest_tests.vendors.server import Limit, Vendor
from analytics_ingest_tests.vendors.statsig import Statsig
from analytics_ingest_tests.vendors.statsig_rows import EVENT_NAMES, LATER_MS, event_metric, rule

RULES = [("gates", "gates_rules", "gate_id"), ("dynamic_configs", "dynamic_configs_rules", "dynamic_config_id")]


def statsig_with_a_metric_of_another_event() -> Statsig:
    vendor = Statsig()
    vendor.rows("events_metrics", "#1").append(event_metric("add to cart", 0))
    return vendor


def change(statsig: Statsig) -> None:
    statsig.rows("gates_rules", "gate-4").pop(0)
    # on the last page, and older than the cursor
    last = statsig.rows("experiments")[203]
    last.update(name="another name", lastModifiedTime=last["createdTime"] + 1)
    statsig.rows("ingestion_runs")[7].update(latestStatus="error", lastUpdatedAt="2026-10-14T03:47:00.000Z")
    statsig.rows("users")[3]["role"] = "Admin"


first = first_sync(statsig_with_a_metric_of_another_event)
later = later_sync(change, "gates", "gates_rules", "experiments", "ingestion_runs", "users")


@pytest.fixture
def statsig(synced: Synced[Statsig]) -> Statsig:
    """The server after a first sync of everything."""
    return synced.vendor


@pytest.fixture
def fresh_statsig(vendor_server: Callable[..., Statsig]) -> Statsig:
    return vendor_server(Statsig())


def queries(statsig: Statsig | Later, path: str) -> list[dict[str, str]]:
    return [asked.query for asked in statsig.asked if asked.path == f"/console/v1{path}"]


def pages(statsig: Statsig | Later, path: str) -> list[str]:
    return [each["page"] for each in queries(statsig, path)]


@pytest.mark.parametrize(("parent", "name", "column"), RULES)
def test_rules_carry_their_parents_id_and_are_read_from_both_shapes(
    statsig: Statsig, tmp_path: Path, parent: str, name: str, column: str
) -> None:
    found = query(tmp_path, f"SELECT {column}, id, name, pass_percentage FROM experimentation.{name} ORDER BY ALL")
    sent = [
        (*key, row["id"], row["name"], row["passPercentage"])
        for key, rows in statsig.store[name].items()
        for row in rows
    ]
    assert found == sorted(sent)
    # of the same id in several parents, from a list with two objects (config-3) and from one object (gate-4)
    assert len(found) > len({row[1] for row in found})
    asked = [asked for asked in statsig.asked if f"/{parent}/" in asked.path and asked.path.endswith("/rules")]
    assert len(asked) == len(statsig.rows(parent))
    assert [each.query for each in asked if each.query] == []


@pytest.mark.parametrize(("parent", "name", "column"), [RULES[0], pytest.param(*RULES[1], marks=pytest.mark.extended)])
def test_a_body_without_rules_is_a_failure_and_not_zero_rows(
    fresh_statsig: Statsig, tmp_path: Path, parent: str, name: str, column: str
) -> None:
    statsig = fresh_statsig
    only = statsig.rows(parent)[2]
    statsig.rows(parent)[:] = [only]
    statsig.sync(parent, name)
    bodies: list[dict[str, Any]] = [{"message": "Rules"}, {"data": {}}, {"data": None}, {"data": [{"id": "rule-0"}]}]
    # a body that passed would leave those after it
    statsig.faults[name] = [Response(body=body) for body in bodies]
    result = statsig.sync(parent, name)[name]

    assert (result.status, statsig.faults[name]) == ("failed", [])
    assert "no element of 'data' in the body has 'rules'" in result.reason
    assert query(tmp_path, f"SELECT {column}, id, _deleted_at FROM experimentation.{name} ORDER BY ALL") == [
        (only["id"], "rule-0", None),
        (only["id"], "rule-1", None),
    ]


def test_a_rule_that_goes_is_marked_in_its_gate_alone(later: Later) -> None:
    result = later.results["gates_rules"]

    assert (result.stats.rows_loaded, result.rows_deleted) == (0, 1)
    gone = query(later.folder, "SELECT gate_id, id FROM experimentation.gates_rules WHERE _deleted_at IS NOT NULL")
    assert gone == [("gate-4", "rule-0")]


def test_id_lists_longer_than_a_page_are_read_and_other_segments_are_not_asked(
    synced: Synced[Statsig], tmp_path: Path
) -> None:
    statsig, result = synced.vendor, synced.results["segments_ids"]
    assert result.status == "complete"
    counts = (
        "SELECT segment_id, count(*), min(id), max(id) FROM experimentation.segments_ids GROUP BY 1 ORDER BY 2 DESC"
    )
    assert query(tmp_path, counts)[:3] == [
        ("segment-0", 250, "user-0", "user-99"),
        ("segment-3", 100, "user-0", "user-99"),
        ("segment-9", 3, "user-0", "user-2"),
    ]
    asked = {asked.path.split("/")[4] for asked in statsig.asked if asked.path.endswith("/id_list")}
    assert asked == {f"segment-{n}" for n in range(0, 26, 3)}
    # the count ends it, but after a full page only an empty one does
    assert pages(statsig, "/segments/segment-0/id_list") == ["1", "2", "3"]
    assert pages(statsig, "/segments/segment-3/id_list") == ["1", "2"]
    assert pages(statsig, "/segments/segment-6/id_list") == ["1"]
    assert result.stats.parents_missing == 0


@pytest.mark.extended
def test_a_row_that_was_never_changed_has_its_creation_for_a_cursor(fresh_statsig: Statsig, tmp_path: Path) -> None:
    statsig = fresh_statsig
    gates = statsig.rows("gates")
    for row in gates:
        row["lastModifiedTime"] = None
    first = statsig.sync("gates")["gates"]
    latest = max(row["createdTime"] for row in gates)

    assert first.cursor == datetime.fromtimestamp(latest / 1000, UTC)
    kinds = "SELECT DISTINCT typeof(created_time), typeof(last_modified_time), last_modified_time FROM"
    kind = "TIMESTAMP WITH TIME ZONE"
    assert query(tmp_path, f"{kinds} experimentation.gates") == [(kind, kind, None)]

    gates[3]["lastModifiedTime"] = LATER_MS
    second = statsig.sync("gates")["gates"]
    assert (second.cursor, second.stats.rows_loaded) == (datetime.fromtimestamp(LATER_MS / 1000, UTC), 1)
    changed = "SELECT id, epoch_ms(last_modified_time) FROM experimentation.gates WHERE last_modified_time IS NOT NULL"
    assert query(tmp_path, changed) == [("gate-3", LATER_MS)]


def test_an_experiments_begin_and_end_are_times(statsig: Statsig, tmp_path: Path) -> None:
    row = statsig.rows("experiments")[3]
    found = query(
        tmp_path,
        "SELECT typeof(start_time), epoch_ms(start_time), epoch_ms(end_time) "
        "FROM experimentation.experiments WHERE id = 'experiment-3'",
    )
    assert found == [("TIMESTAMP WITH TIME ZONE", row["startTime"], row["endTime"])]


def test_a_list_that_is_not_newest_first_loses_no_change(later: Later, first: Synced[Statsig]) -> None:
    result = later.results["experiments"]

    assert result.stats.rows_loaded == 1
    last = first.vendor.rows("experiments")[203]
    assert result.cursor
    assert result.cursor > datetime.fromtimestamp(last["createdTime"] / 1000 + 1, UTC)
    assert pages(later, "/experiments") == ["1", "2", "3"]
    assert query(later.folder, "SELECT id FROM experimentation.experiments WHERE name = 'another name'") == [
        ("experiment-203",)
    ]


def test_an_envelope_that_names_no_next_page_ends_the_list_though_the_page_is_full(synced: Synced[Statsig]) -> None:
    statsig, result = synced.vendor, synced.results["gates"]
    assert queries(statsig, "/gates") == [{"page": "1", "limit": "10"}, {"page": "2", "limit": "10"}]
    assert (result.stats.rows_read, result.stats.doubt) == (20, "")


def test_a_list_without_pagination_is_read_to_an_empty_page_whatever_its_pages_hold(statsig: Statsig) -> None:
    statsig.largest = 40
    statsig.asked.clear()
    result = statsig.sync("tags")["tags"]

    assert queries(statsig, "/tags") == [{"page": str(n), "limit": "100"} for n in range(1, 6)]
    assert (result.status, result.table_rows) == ("complete", 130)


def test_a_short_page_that_is_repeated_counts_once(fresh_statsig: Statsig, tmp_path: Path) -> None:
    statsig = fresh_statsig
    page = Response(
        body={"message": "Listed successfully.", "data": [{"id": "a", "name": "A"}, {"id": "b", "name": "B"}]}
    )
    statsig.faults["tags"] = [page, page]
    result = statsig.sync("tags")["tags"]

    assert (result.status, result.stats.rows_read, len(queries(statsig, "/tags"))) == ("complete", 2, 2)
    assert query(tmp_path, "SELECT id FROM experimentation.tags ORDER BY 1") == [("a",), ("b",)]


def test_samples_of_events_are_all_kept_under_names_that_repeat(synced: Synced[Statsig], tmp_path: Path) -> None:
    statsig, result = synced.vendor, synced.results["events"]
    assert (result.table_rows, result.endpoint.write_disposition) == (45, "replace")
    found = query(
        tmp_path, "SELECT name, epoch_ms(timestamp), typeof(timestamp) FROM experimentation.events ORDER BY 2"
    )
    sent = [(row["name"], int(row["timestamp"]), "TIMESTAMP WITH TIME ZONE") for row in statsig.rows("events")]
    assert found == sent


def test_metrics_of_events_are_asked_for_once_a_name_and_percent_encoded(statsig: Statsig, tmp_path: Path) -> None:
    first = [asked.path for asked in statsig.asked if asked.path.endswith("/metrics") and asked.query["page"] == "1"]
    assert len(first) == len(set(first)) == len(EVENT_NAMES)
    assert {
        "/console/v1/events/page%2Fview/metrics",
        "/console/v1/events/what%20next%3F/metrics",
        "/console/v1/events/cart%3A%3Aadded/metrics",
        "/console/v1/events/100%25%20done/metrics",
        "/console/v1/events/gr%C3%B6%C3%9Fe/metrics",
        "/console/v1/events/%231/metrics",
        "/console/v1/events/a%26b%3Dc/metrics",
    } <= set(first)
    assert pages(statsig, "/events/page%2Fview/metrics") == ["1", "2", "3"]
    found = query(tmp_path, "SELECT event_name, id FROM experimentation.events_metrics ORDER BY ALL")
    sent = [(*key, row["id"]) for key, rows in statsig.store["events_metrics"].items() for row in rows]
    assert found == sorted(sent)


def test_runs_of_the_ingestion_are_asked_for_by_page_alone(statsig: Statsig, later: Later) -> None:
    assert queries(statsig, "/ingestion/runs") == [{"page": "1"}, {"page": "2"}]

    result = later.results["ingestion_runs"]
    assert (result.stats.rows_loaded, result.table_rows) == (1, 130)
    assert result.cursor == datetime(2026, 10, 14, 3, 47, tzinfo=UTC)
    found = query(
        later.folder,
        "SELECT run_id, typeof(last_updated_at) FROM experimentation.ingestion_runs WHERE latest_status = 'error'",
    )
    assert found == [("run-7", "TIMESTAMP WITH TIME ZONE")]


def test_a_target_app_without_an_id_has_its_name_for_one(statsig: Statsig, tmp_path: Path) -> None:
    found = query(tmp_path, "SELECT id, name FROM experimentation.target_apps ORDER BY name")
    assert found == [(f"app {n}" if n % 2 else f"app-{n}", f"app {n}") for n in range(9)]


def test_users_are_told_apart_by_email(later: Later) -> None:
    result = later.results["users"]

    assert (result.stats.rows_loaded, result.table_rows) == (1, 230)
    assert query(later.folder, "SELECT email FROM experimentation.users WHERE role = 'Admin'") == [("u3@example.com",)]


def test_hidden_metrics_are_read_too(statsig: Statsig, tmp_path: Path) -> None:
    assert {each["showHiddenMetrics"] for each in queries(statsig, "/metrics/list")} == {"true"}
    found = query(tmp_path, "SELECT is_hidden, count(*) FROM experimentation.metrics GROUP BY 1 ORDER BY 1")
    assert found == [(False, 207), (True, 23)]


def test_the_version_of_the_api_is_sent_with_every_request(statsig: Statsig) -> None:
    assert {asked.headers.get("STATSIG-API-VERSION") for asked in statsig.asked} == {"20240601"}


@pytest.mark.extended
def test_only_rules_of_gates_that_changed_are_asked_for_again(
    vendor_server: Callable[..., Vendor], tmp_path: Path
) -> None:
    statsig = vendor_server(Statsig(), FAN_OUT="changed")
    gates = statsig.rows("gates")
    statsig.sync("gates", "gates_rules")
    assert statsig.requests["gates_rules"] == 20

    gates[4]["lastModifiedTime"] = LATER_MS
    statsig.rows("gates_rules", "gate-4").append(rule(9))
    statsig.asked.clear()
    result = statsig.sync("gates", "gates_rules")["gates_rules"]

    asked = {asked.path.split("/")[4] for asked in statsig.asked if asked.path.endswith("/rules")}
    # those that were never changed do not say so, and are asked again
    assert asked == {"gate-4"} | {row["id"] for row in gates if row["lastModifiedTime"] is None}
    assert len(asked) == 6
    assert (result.stats.rows_loaded, result.rows_deleted, result.rows_live) == (1, 0, 41)
    assert query(tmp_path, "SELECT gate_id FROM experimentation.gates_rules WHERE id = 'rule-9'") == [("gate-4",)]


def test_a_limit_that_says_nothing_is_ridden_out_for_a_quarter_of_an_hour(
    fresh_statsig: Statsig, clock: FakeClock
) -> None:
    fresh_statsig.limit = Limit(requests=20, seconds=900, now=clock.now)
    wanted = ("gates", "gates_rules", "tags", "metrics_values")
    results = fresh_statsig.sync(*wanted)

    assert {name: result.status for name, result in results.items()} == dict.fromkeys(wanted, "complete")
    assert 40 < fresh_statsig.requests.total() - fresh_statsig.limit.refused <= 60
    assert clock.slept == [2, 4, 8, 16, 32, 64, 128, 256, 512] * 2
