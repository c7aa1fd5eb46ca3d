"""Statsig's results, exposures, versions and overrides: their rows, and which of them each sync requests."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2.extensions
import pytest

from analytics_ingest_tests.conftest import ROOT, query
from analytics_ingest_tests.fake_server import Response
from analytics_ingest_tests.vendors.conftest import Synced, first_sync
from analytics_ingest_tests.vendors.server import Rows
from analytics_ingest_tests.vendors.statsig import Statsig
from analytics_ingest_tests.vendors.statsig_rows import (
    EXAMPLE,
    UNMEASURED,
    comparisons,
    experiment,
    experiment_overrides,
    group,
)

ENDPOINTS = (
    *("experiments", "experiments_pulse_results", "experiments_cumulative_exposures", "gates", "gates_rules"),
    *("gates_rules_pulse_results", "holdouts", "holdouts_pulse_results"),
)
RESULTS = ("experiments_pulse_results", "gates_rules_pulse_results", "holdouts_pulse_results")

first = first_sync(Statsig, *ENDPOINTS)


@pytest.fixture
def statsig(synced: Synced[Statsig]) -> Statsig:
    """The server after a first sync of what has results."""
    return synced.vendor


@pytest.fixture
def fresh_statsig(vendor_server: Callable[..., Statsig]) -> Statsig:
    return vendor_server(Statsig())


def milliseconds(*, days_ago: float) -> int:
    return int((time.time() - days_ago * 86_400) * 1000)


def asked(statsig: Statsig, **options: Any) -> dict[str, int]:
    """Syncs, and gives the requests for results and exposures."""
    statsig.requests.clear()
    statsig.asked.clear()
    results = statsig.sync(*ENDPOINTS, **options)
    assert {result.status for result in results.values()} == {"complete"}
    return {name: statsig.requests[name] for name in ENDPOINTS if name.endswith(("_results", "_exposures"))}


def begun(statsig: Statsig) -> Rows:
    return [row for row in statsig.rows("experiments") if row["startTime"]]


def expected_requests(experiments: Rows, gates_rules: int, holdouts: int) -> dict[str, int]:
    return {
        "experiments_pulse_results": sum(len(comparisons(row)) for row in experiments),
        "experiments_cumulative_exposures": len(experiments),
        "gates_rules_pulse_results": gates_rules,
        "holdouts_pulse_results": holdouts,
    }


def first_requests(statsig: Statsig) -> dict[str, int]:
    rules = sum(n % 5 for n in range(20) if n != UNMEASURED)
    return expected_requests(begun(statsig), rules, 7)


def later_requests(statsig: Statsig) -> dict[str, int]:
    """Of running experiments, rules that split users at gates in progress, and holdouts that are on."""
    rules = sum(max(0, n % 5 - 1) for n in range(20) if n != UNMEASURED and n % 4 != 2)
    holdouts = sum(row["isEnabled"] for row in statsig.rows("holdouts"))
    return expected_requests([row for row in begun(statsig) if row["status"] == "active"], rules, holdouts)


def test_a_first_sync_requests_every_result_and_later_ones_only_those_that_go_on(statsig: Statsig) -> None:
    """Whatever changes in the row of a gate, such as the number of its checks: its settled rules are not requested."""
    assert {name: statsig.requests[name] for name in first_requests(statsig)} == first_requests(statsig)
    for row in statsig.rows("gates"):
        row["checksPerHour"] = 1200
    assert asked(statsig) == later_requests(statsig)
    assert asked(statsig) == later_requests(statsig)
    assert asked(statsig, full_refresh=True) == first_requests(statsig)


def test_results_that_go_on_are_requested_too_if_only_changed_parents_are(
    statsig: Statsig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__FAN_OUT", "changed")
    # the mode is another one, but the last fan-out counts
    assert asked(statsig) == later_requests(statsig)


@pytest.mark.parametrize(("days_ago", "requested"), [(0.1, True), (6, True), (30, False)])
def test_an_experiment_that_ended_is_requested_for_the_days_of_the_window(
    statsig: Statsig, tmp_path: Path, days_ago: float, requested: bool
) -> None:
    row = statsig.rows("experiments")[7]
    row.update(
        status="decision_made", endTime=milliseconds(days_ago=days_ago), lastModifiedTime=milliseconds(days_ago=0)
    )
    statsig.rows("experiments_pulse_results", "experiment-7", "group-7-0", "group-7-1")[0]["pValue"] = 0.5
    asked(statsig)

    paths = {each.path for each in statsig.asked}
    assert ("/console/v1/experiments/experiment-7/pulse_results" in paths) == requested
    assert ("/console/v1/experiments/experiment-7/cumulative_exposures" in paths) == requested
    found = query(
        tmp_path,
        "SELECT p_value FROM experimentation.experiments_pulse_results WHERE experiment_id = 'experiment-7' "
        "AND metric_id = 'metric 0::sum' AND metric_role = 'primary' AND _deleted_at IS NULL",
    )
    assert found == [(0.5 if requested else 0.0,)]


def test_an_experiment_that_ended_without_a_time_ended_with_its_last_change(statsig: Statsig) -> None:
    row = statsig.rows("experiments")[7]
    row.update(status="abandoned", endTime=None, lastModifiedTime=milliseconds(days_ago=1))
    asked(statsig)
    assert "/console/v1/experiments/experiment-7/pulse_results" in {each.path for each in statsig.asked}

    row["lastModifiedTime"] = milliseconds(days_ago=30)
    asked(statsig)
    assert "/console/v1/experiments/experiment-7/pulse_results" not in {each.path for each in statsig.asked}


def test_results_of_an_experiment_that_is_reset_are_marked_as_deleted(statsig: Statsig, tmp_path: Path) -> None:
    statsig.rows("experiments")[7].update(status="setup", startTime=None)
    results = statsig.sync(*ENDPOINTS)

    assert results["experiments_pulse_results"].rows_deleted == 6
    assert results["experiments_cumulative_exposures"].rows_deleted == 6
    found = query(
        tmp_path,
        "SELECT DISTINCT experiment_id FROM experimentation.experiments_pulse_results WHERE _deleted_at IS NOT NULL",
    )
    assert found == [("experiment-7",)]


def test_each_group_is_compared_with_the_control_group(fresh_statsig: Statsig) -> None:
    statsig = fresh_statsig
    row = statsig.rows("experiments")[10]
    groups = [group(10, n) for n in range(3)]
    # experiment-10 declares its control group
    row.update(groups=groups, controlGroupID="group-10-2")
    # experiment-4 has a group of that name, which is not the first
    other = statsig.rows("experiments")[4]
    other.pop("controlGroupID", None)
    named = [{**group(4, 1), "name": "The old checkout"}, {**group(4, 0), "name": "control"}]
    other["groups"] = [*named, {"name": "without an id", "id": None}]
    # experiment-16 has none of that name
    third = statsig.rows("experiments")[16]
    third.pop("controlGroupID", None)
    third["groups"] = [{**group(16, 1), "name": "A"}, {**group(16, 0), "name": "B"}]
    statsig.rows("experiments")[:] = [row, other, third]
    statsig.store["experiments_pulse_results"].clear()
    statsig.sync("experiments", "experiments_pulse_results")

    found = {
        (each.path.split("/")[4], each.query["control"], each.query["test"])
        for each in statsig.asked
        if each.path.endswith("/pulse_results")
    }
    assert found == {
        ("experiment-10", "group-10-2", "group-10-0"),
        ("experiment-10", "group-10-2", "group-10-1"),
        ("experiment-4", "group-4-0", "group-4-1"),
        ("experiment-16", "group-16-1", "group-16-0"),
    }


def test_a_metric_in_two_lists_is_two_rows_and_the_day_is_in_each(statsig: Statsig, tmp_path: Path) -> None:
    found = query(
        tmp_path,
        "SELECT metric_role, metric_id, ds, test_units, p_value, typeof(p_value) "
        "FROM experimentation.experiments_pulse_results WHERE experiment_id = 'experiment-1' ORDER BY ALL",
    )
    assert found == [
        ("other", "metric 4::sum", "2026-10-01", 1500.0, 0.2, "DOUBLE"),
        ("primary", "metric 0::sum", "2026-10-01", 1500.0, 0.0, "DOUBLE"),
        ("primary", "metric 1::sum", "2026-10-01", 1500.0, 0.5, "DOUBLE"),
        ("secondary", "metric 0::sum", "2026-10-01", 1500.0, 0.0, "DOUBLE"),
    ]


def test_the_names_of_the_example_are_the_same_columns(statsig: Statsig, tmp_path: Path) -> None:
    found = query(
        tmp_path,
        "SELECT metric_id, absolute_change, confidence_interval_delta, test_units, p_value, ds "
        f"FROM experimentation.experiments_pulse_results WHERE experiment_id = 'experiment-{EXAMPLE}' ORDER BY 1",
    )
    assert found == [(f"metric {n}::user_warehouse", -0.5, 1.25, 1669.0, 0.75, None) for n in range(2)]
    columns = query(tmp_path, "SELECT * FROM (DESCRIBE experimentation.experiments_pulse_results)")
    assert not {"value", "p_value_2"} & {row[0] for row in columns}


def test_a_rule_that_reaches_all_users_keeps_its_last_result(statsig: Statsig, tmp_path: Path) -> None:
    statsig.rows("gates_rules", "gate-3")[2]["passPercentage"] = 100
    statsig.rows("gates")[3]["lastModifiedTime"] = milliseconds(days_ago=30)
    results = statsig.sync(*ENDPOINTS)

    assert results["gates_rules_pulse_results"].rows_deleted == 0
    found = query(
        tmp_path,
        "SELECT metric_id, rule_base_id, _deleted_at FROM experimentation.gates_rules_pulse_results "
        "WHERE gate_id = 'gate-3' AND rule_id = 'rule-2'",
    )
    assert found == [("metric 0::sum", "base-2", None)]


def test_days_of_exposures_are_rows(statsig: Statsig, tmp_path: Path) -> None:
    found = query(
        tmp_path,
        "SELECT group_id, group_name, date, exposures FROM experimentation.experiments_cumulative_exposures "
        "WHERE experiment_id = 'experiment-7' ORDER BY ALL",
    )
    assert found == [
        (f"group-7-{n}", ("Control", "Test")[n], f"2026-10-0{1 + day}", 1000 * day + n)
        for n in range(2)
        for day in range(3)
    ]


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_that_is_not_there_is_no_failure_and_another_body_is_one(statsig: Statsig, name: str) -> None:
    empty = [Response(status=404, body={"status": 404, "message": "Not Found"}), Response(body={"data": {}})]
    statsig.faults[name] = [*empty]
    assert statsig.sync(*ENDPOINTS)[name].status == "complete"
    assert statsig.faults[name] == []

    statsig.faults[name] = [Response(body={"message": "ok", "data": {"results": [{"metricID": "a"}]}})]
    result = statsig.sync(*ENDPOINTS)[name]
    assert result.status == "failed"
    assert "no value for metric" in result.reason


def test_postgres_gives_the_same_parents(
    postgres: Callable[[], psycopg2.extensions.connection], fresh_statsig: Statsig
) -> None:
    """Its JSON comes back as lists, and DuckDB's as text."""
    assert asked(fresh_statsig) == first_requests(fresh_statsig)
    assert asked(fresh_statsig) == later_requests(fresh_statsig)
    with postgres() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM experimentation.experiments_pulse_results WHERE _deleted_at IS NULL")
        assert cursor.fetchone() == (len(fresh_statsig.expected("experiments_pulse_results")),)


PARTS = ("gates_versions", "gates_overrides", "experiments_overrides")


def parts_asked(statsig: Statsig) -> set[str]:
    """The lists of single gates and experiments that were requested since the last time."""
    found = {each.path.removeprefix("/console/v1") for each in statsig.asked if each.path.count("/") == 5}
    statsig.asked.clear()
    return found


def expected_parts(*gates: int) -> set[str]:
    lists = {f"/gates/gate-{n}/{part}" for n in gates for part in ("versions", "overrides")}
    return lists | {"/experiments/experiment-205/overrides"}


def test_versions_and_overrides_are_requested_for_what_has_changed_within_the_window(
    fresh_statsig: Statsig, tmp_path: Path
) -> None:
    statsig = fresh_statsig
    statsig.sync("gates", "experiments", *PARTS)
    lists = [sum(max(1, -(-len(rows) // 5)) for rows in statsig.store["gates_versions"].values()), 20, 205]
    assert [statsig.requests[name] for name in PARTS] == lists

    statsig.requests.clear()
    statsig.asked.clear()
    for n, days_ago in ((3, 0.1), (5, 6), (8, 30)):
        statsig.rows("gates")[n]["lastModifiedTime"] = milliseconds(days_ago=days_ago)
    # a new one, which was not changed since
    created = {"createdTime": milliseconds(days_ago=1), "lastModifiedTime": None}
    statsig.rows("experiments").append({**experiment(205), **created})
    statsig.rows("experiments_overrides", "experiment-205").append(experiment_overrides(205))
    results = statsig.sync("gates", "experiments", *PARTS)

    assert {result.status for result in results.values()} == {"complete"}
    assert [results[name].rows_deleted for name in PARTS] == [0, 0, 0]
    # what changed before the window is requested once: no sync has read it since then
    assert parts_asked(statsig) == expected_parts(3, 5, 8)
    statsig.sync("gates", "experiments", *PARTS)
    assert parts_asked(statsig) == expected_parts(3, 5)
    found = query(
        tmp_path, "SELECT gate_id, passing_user_ids FROM experimentation.gates_overrides WHERE gate_id = 'gate-5'"
    )
    assert found == [("gate-5", '["user-0","user-1"]')]


def test_a_team_without_an_id_has_its_name_for_one(fresh_statsig: Statsig, tmp_path: Path) -> None:
    fresh_statsig.sync("teams")
    found = query(tmp_path, "SELECT id, name FROM experimentation.teams ORDER BY name")
    assert found == [(f"team {n}" if n % 2 else f"team-{n}", f"team {n}") for n in range(9)]


@pytest.mark.usefixtures("synced")
def test_each_query_of_the_page_finds_rows(tmp_path: Path) -> None:
    queries = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "vendors" / "statsig.md").read_text(), flags=re.DOTALL)
    assert len(queries) == 2
    assert [sql for sql in queries if not query(tmp_path, sql)] == []
