"""CircleCI: insights by workflow and job, flaky tests, schedules and variables are read where something can be new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from analytics_ingest_tests.conftest import query
from analytics_ingest_tests.fake_server import Response
from analytics_ingest_tests.vendors import circleci_rows as make
from analytics_ingest_tests.vendors.circleci import ENGINE, SERVICE, SHOP, SITE, TOOLS, Circleci
from analytics_ingest_tests.vendors.conftest import Synced, first_sync

pytestmark = pytest.mark.extended
SCHEMA = "continuous_integration"
FIRST = {
    "insights_trends": 5,
    # the twelve workflows of engine are two pages
    "insights_workflows": 6,
    "insights_workflow_jobs": 17 + 1,
    "insights_test_metrics": 17,
    "flaky_tests": 5,
    "schedules": 6 + 1,
    "context_environment_variables": 27 + 3,
}
"""Requests of a first sync: five of six projects have insights, with 17 workflows, and there are 27 contexts."""

first = first_sync(Circleci)


def requests(circleci: Circleci) -> Counter[str]:
    """Requests since the last call, of the endpoints of this module."""
    found = Counter({name: circleci.requests[name] for name in FIRST if circleci.requests[name]})
    circleci.requests.clear()
    return found


def test_nothing_is_requested_again_unless_its_parent_has_changed(synced: Synced[Circleci]) -> None:
    circleci = synced.vendor
    assert requests(circleci) == FIRST
    circleci.sync()
    assert requests(circleci) == {}

    circleci.rows("insights_metrics", SHOP)[0]["project_data"]["metrics"]["total_runs"] = 41
    circleci.rows("insights_workflows", SHOP)[0]["metrics"]["total_runs"] = 41
    results = circleci.sync()
    assert requests(circleci) == {
        "insights_trends": 1,
        "insights_workflows": 1,
        "insights_workflow_jobs": 1,
        "insights_test_metrics": 1,
        "flaky_tests": 1,
    }
    assert {name: results[name].stats.rows_loaded for name in FIRST} == dict.fromkeys(FIRST, 0) | {
        "insights_workflows": 1
    }
    assert {name: results[name].rows_deleted for name in FIRST} == dict.fromkeys(FIRST, 0)
    circleci.sync()
    assert requests(circleci) == {}


def test_a_full_refresh_finds_what_no_parent_tells_of(synced: Synced[Circleci]) -> None:
    circleci = synced.vendor
    circleci.rows("schedules", SITE)[0]["updated-at"] = "2026-03-01T00:00:00.000Z"
    context = circleci.rows("context", "gh/acme")[0]["id"]
    circleci.rows("context_environment_variables", context).pop()
    circleci.requests.clear()
    results = circleci.sync()
    assert requests(circleci) == {}

    results = circleci.sync(full_refresh=True)
    assert requests(circleci) == FIRST
    assert {name for name, each in results.items() if each.rows_deleted} == {"context_environment_variables"}
    assert results["context_environment_variables"].rows_deleted == 1
    assert {each.status for each in results.values()} == {"complete"}


def test_trends_are_of_thirty_days_and_totals_of_ninety(synced: Synced[Circleci]) -> None:
    asked = [each for each in synced.vendor.asked if "/insights/" in each.path]
    windows = Counter((each.path.rpartition("/")[2], each.query.get("reporting-window")) for each in asked)
    assert windows == {
        ("summary", "last-90-days"): 6,
        ("summary", "last-30-days"): 5,
        ("branches", None): 6,
        ("workflows", "last-90-days"): 6,
        ("jobs", "last-90-days"): 18,
        ("test-metrics", None): 17,
        ("flaky-tests", None): 5,
    }
    branches = {each.query.get("all-branches") for each in asked if "/workflows" in each.path}
    assert branches == {"true"}


def test_the_name_of_a_workflow_is_percent_encoded(synced: Synced[Circleci], tmp_path: Path) -> None:
    name = "nightly / build & test"
    path = f"/api/v2/insights/{SHOP}/workflows/nightly%20%2F%20build%20%26%20test/jobs"
    assert sum(each.path == path for each in synced.vendor.asked) == 2
    found = f"SELECT count(*) FROM {SCHEMA}.insights_workflow_jobs WHERE workflow_name = '{name}'"
    assert query(tmp_path, found) == [(12,)]


@pytest.mark.parametrize("hyphens", [False, True])
def test_flaky_tests_have_one_form(vendor_server: Callable[..., Circleci], tmp_path: Path, hyphens: bool) -> None:
    circleci = vendor_server(Circleci())
    circleci.hyphens = hyphens
    lists = ("self_collaborations", "projects", "pipelines", "specific_project", "insights_metrics", "flaky_tests")
    circleci.sync(*lists)

    found = query(
        tmp_path,
        "SELECT test_name, classname, file, times_flaked, epoch_ms(workflow_created_at) "
        f"FROM {SCHEMA}.flaky_tests WHERE project_slug = '{SHOP}' ORDER BY classname",
    )
    assert found == [("adds", "", "", 3, 1_772_445_600_000), ("adds", "Sums", "sums.py", 3, 1_772_445_600_000)]
    circleci.hyphens = not hyphens
    circleci.rows("insights_metrics", SHOP)[0]["project_data"]["metrics"]["total_runs"] = 41
    result = circleci.sync(*lists)["flaky_tests"]
    assert (result.stats.rows_read, result.stats.rows_loaded, result.rows_deleted) == (2, 0, 0)


def test_no_part_of_a_variables_value_is_stored(synced: Synced[Circleci], tmp_path: Path) -> None:
    found = "SELECT column_name FROM information_schema.columns WHERE table_name = 'context_environment_variables'"
    columns = {name for (name,) in query(tmp_path, found) if not name.startswith("_")}

    assert columns == {"context_id", "variable", "created_at", "updated_at"}
    assert query(tmp_path, f"SELECT count(*) FROM {SCHEMA}.context_environment_variables") == [
        (sum(len(rows) for rows in synced.vendor.store["context_environment_variables"].values()),)
    ]


def test_a_project_without_schedules_or_insights_is_no_failure(synced: Synced[Circleci], tmp_path: Path) -> None:
    stats = synced.results["schedules"].stats
    # a project of the GitHub App
    assert (stats.parents, stats.parents_missing) == (6, 1)
    assert dict(query(tmp_path, f"SELECT project_slug, count(*) FROM {SCHEMA}.schedules GROUP BY 1")) == {
        SHOP: 12,
        SITE: 1,
    }
    found = query(tmp_path, f"SELECT DISTINCT project_slug FROM {SCHEMA}.insights_workflows")
    assert {slug for (slug,) in found} == {SHOP, SITE, TOOLS, ENGINE, SERVICE}


def test_a_list_that_failed_is_requested_again(synced: Synced[Circleci]) -> None:
    circleci = synced.vendor
    circleci.rows("insights_metrics", SHOP)[0]["project_data"]["metrics"]["total_runs"] = 41
    circleci.rows("insights_workflows", SHOP)[0]["metrics"]["total_runs"] = 41
    circleci.rows("insights_workflow_jobs", SHOP, "build")[0]["metrics"]["total_runs"] = 41
    circleci.faults["insights_workflow_jobs"] = [Response(status=500, body={"message": "no"})] * 4
    assert circleci.sync()["insights_workflow_jobs"].status == "failed"

    result = circleci.sync()["insights_workflow_jobs"]
    assert (result.status, result.stats.parents, result.stats.rows_loaded) == ("complete", 1, 1)


def test_what_a_new_context_has_is_read(synced: Synced[Circleci]) -> None:
    circleci = synced.vendor
    context = make.context("bb/basalt", 40)
    circleci.rows("context", "bb/basalt").append(context)
    circleci.add_variables(context, 4)
    circleci.requests.clear()

    results = circleci.sync()
    assert requests(circleci) == {"context_environment_variables": 1}
    assert results["context_environment_variables"].stats.rows_loaded == 4
