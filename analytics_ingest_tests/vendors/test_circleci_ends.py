"""CircleCI: workflows, jobs and pipelines are read again until they have ended, and no longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from analytics_ingest.apis.profiles.circleci import JOB_ENDED, WORKFLOW_ENDED
from analytics_ingest_tests.conftest import query
from analytics_ingest_tests.vendors.circleci import SHOP, Circleci
from analytics_ingest_tests.vendors.circleci_rows import LONG_AGO, with_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from analytics_ingest_tests.vendors.server import Vendor

FANNED_OUT = ("pipeline_workflows", "workflow", "workflow_jobs", "jobs")
ALWAYS = {"self_collaborations": 1, "projects": 1, "pipelines": 1, "project_pipelines": 1}


class OneProject(Circleci):
    """One organisation with one project, and no pipeline yet."""

    def fill(self) -> None:
        self.add_user()
        self.add_organisation("gh/acme")
        self.add_project(SHOP)


@pytest.fixture
def one(connect: Callable[..., Vendor]) -> Vendor:
    return connect(OneProject())


def days_ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def synced(vendor: Vendor, **mode: Any) -> dict[str, int]:
    """Syncs, and gives the requests that it took beside those that each sync takes."""
    vendor.requests.clear()
    results = vendor.sync(*ALWAYS, *FANNED_OUT, **mode)
    assert {result.status for result in results.values()} == {"complete"}
    assert {name: vendor.requests[name] for name in ALWAYS} == ALWAYS
    return {name: vendor.requests[name] for name in FANNED_OUT}


def asks(pipelines: int, workflows: int, lists: int, jobs: int) -> dict[str, int]:
    return dict(zip(FANNED_OUT, (pipelines, workflows, lists, jobs), strict=True))


def statuses(tmp_path: Path, table: str, key: str) -> dict[Any, tuple[str, bool]]:
    """By key the status, and whether it has stopped."""
    found = query(tmp_path, f"SELECT {key}, status, stopped_at FROM continuous_integration.{table}")
    assert len(found) == len({row[0] for row in found})
    return {row[0]: (row[1], row[2] is not None) for row in found}


def test_a_workflow_is_read_until_it_has_ended(one: Vendor, tmp_path: Path) -> None:
    pipeline = one.add_pipeline(SHOP, days_ago(1))
    workflow = one.add_workflow(pipeline, "running", approval=True)

    assert synced(one) == asks(1, 1, 1, 2)
    for table in ("workflow", "pipeline_workflows"):
        assert statuses(tmp_path, table, "id") == {workflow["id"]: ("running", False)}
    assert statuses(tmp_path, "workflow_jobs", "name") == {
        "job-1": ("success", True),
        "job-2": ("running", False),
        "hold": ("on_hold", False),
    }
    assert statuses(tmp_path, "jobs", "number") == {1: ("success", True), 2: ("running", False)}

    # nothing has changed: the job that has ended is not asked for again
    assert synced(one) == asks(1, 1, 1, 1)

    one.end_workflow(workflow)
    one.add_job(workflow, "job-3", "failed")
    workflow["status"] = "failed"
    assert synced(one) == asks(1, 1, 1, 2)
    for table in ("workflow", "pipeline_workflows"):
        assert statuses(tmp_path, table, "id") == {workflow["id"]: ("failed", True)}
    assert statuses(tmp_path, "workflow_jobs", "name") == {
        "job-1": ("success", True),
        "job-2": ("success", True),
        "hold": ("success", False),
        "job-3": ("failed", True),
    }
    assert statuses(tmp_path, "jobs", "number") == {1: ("success", True), 2: ("success", True), 3: ("failed", True)}

    # the pipeline is young: it may be run once more
    assert synced(one) == asks(1, 0, 0, 0)


def test_an_old_pipeline_whose_workflows_have_ended_is_not_asked_again(one: Vendor, tmp_path: Path) -> None:
    one.add_workflow(one.add_pipeline(SHOP, LONG_AGO))

    assert synced(one) == asks(1, 1, 1, 2)
    # what would be found if it were asked
    one.add_workflow(one.rows("pipelines", "gh/acme")[0])
    assert synced(one) == asks(0, 0, 0, 0)
    assert query(tmp_path, "SELECT count(*) FROM continuous_integration.workflow") == [(1,)]


def test_an_old_pipeline_is_asked_until_each_of_its_workflows_has_ended(one: Vendor, tmp_path: Path) -> None:
    old, other = one.add_pipeline(SHOP, LONG_AGO), one.add_pipeline(SHOP, LONG_AGO)
    ended, held = one.add_workflow(old), one.add_workflow(old, "on_hold", jobs=1)
    one.add_workflow(other)

    assert synced(one) == asks(2, 3, 3, 5)
    assert synced(one) == asks(1, 1, 1, 1)
    one.end_workflow(held, "canceled")
    assert synced(one) == asks(1, 1, 1, 1)
    assert statuses(tmp_path, "workflow", "id")[held["id"]] == ("canceled", True)
    assert statuses(tmp_path, "workflow", "id")[ended["id"]] == ("success", True)
    assert synced(one) == asks(0, 0, 0, 0)


def test_a_young_pipeline_that_is_run_again_gives_a_second_workflow(one: Vendor, tmp_path: Path) -> None:
    pipeline = one.add_pipeline(SHOP, days_ago(5))
    first = one.add_workflow(pipeline, "failed")
    assert synced(one) == asks(1, 1, 1, 2)

    second = one.add_workflow(pipeline)
    assert synced(one) == asks(1, 1, 1, 2)

    expected = {first["id"]: ("failed", True), second["id"]: ("success", True)}
    assert statuses(tmp_path, "pipeline_workflows", "id") == statuses(tmp_path, "workflow", "id") == expected
    assert len(statuses(tmp_path, "workflow_jobs", "id")) == 4
    assert statuses(tmp_path, "jobs", "number").keys() == {1, 2, 3, 4}


def test_a_job_that_two_workflows_list_has_a_row_in_each(one: Vendor, tmp_path: Path) -> None:
    pipeline = one.add_pipeline(SHOP, days_ago(5))
    first, second = one.add_workflow(pipeline, "failed"), one.add_workflow(pipeline)
    kept = one.rows("workflow_jobs", first["id"])[0]
    one.rows("workflow_jobs", second["id"])[0] = dict(kept)
    synced(one)

    found = query(tmp_path, f"SELECT workflow_id FROM continuous_integration.workflow_jobs WHERE id = '{kept['id']}'")
    assert sorted(found) == sorted([(first["id"],), (second["id"],)])


@pytest.mark.parametrize(
    ("settings", "asked"),
    [({}, 2), ({"WINDOW_DAYS": "3"}, 1), ({"WINDOW_DAYS": "30"}, 3)],
)
def test_window_days_says_what_is_young(connect: Callable[..., Vendor], settings: dict[str, str], asked: int) -> None:
    one = connect(OneProject(), **settings)
    for days in (1, 5, 10, 40):
        one.add_workflow(one.add_pipeline(SHOP, days_ago(days)))

    assert synced(one) == asks(4, 4, 4, 8)
    assert synced(one) == asks(asked, 0, 0, 0)


def test_nothing_is_asked_of_pipelines_before_start_date(connect: Callable[..., Vendor], tmp_path: Path) -> None:
    one = connect(OneProject(), START_DATE="2026-03-03")
    for day in (0, 1):
        one.add_workflow(one.add_pipeline(SHOP, LONG_AGO + timedelta(days=day)))

    assert synced(one) == asks(1, 1, 1, 2)
    for table in ("pipelines", "project_pipelines"):
        assert query(tmp_path, f"SELECT number FROM continuous_integration.{table}") == [(2,)]


def test_an_old_pipeline_whose_own_row_changed_is_asked_once_more(one: Vendor) -> None:
    pipeline = one.add_pipeline(SHOP, LONG_AGO)
    one.add_workflow(pipeline)
    synced(one)
    pipeline["updated_at"] = with_milliseconds(days_ago(1))

    assert synced(one) == asks(1, 0, 0, 0)
    assert synced(one) == asks(0, 0, 0, 0)


def test_a_full_refresh_asks_for_everything(one: Vendor, tmp_path: Path) -> None:
    young, old = one.add_pipeline(SHOP, days_ago(1)), one.add_pipeline(SHOP, days_ago(100))
    one.add_workflow(young)
    one.add_workflow(old)
    assert synced(one) == asks(2, 2, 2, 4)
    missed = one.add_workflow(old, jobs=1)

    assert synced(one) == asks(1, 0, 0, 0)
    assert missed["id"] not in statuses(tmp_path, "workflow", "id")
    assert synced(one, full_refresh=True) == asks(2, 3, 3, 5)
    assert statuses(tmp_path, "workflow", "id")[missed["id"]] == ("success", True)
    assert statuses(tmp_path, "jobs", "number").keys() == {1, 2, 3, 4, 5}
    assert synced(one) == asks(1, 0, 0, 0)


def test_a_job_that_outlives_its_workflow_is_read_until_it_has_ended(one: Vendor, tmp_path: Path) -> None:
    workflow = one.add_workflow(one.add_pipeline(SHOP, LONG_AGO), "running")
    one.add_job(workflow, "after", "blocked", approval=True)
    workflow.update(status="canceled", stopped_at="2026-03-02T12:00:00Z")

    assert synced(one) == asks(1, 1, 1, 2)
    assert statuses(tmp_path, "workflow_jobs", "name")["job-2"] == ("running", False)
    one.end_job(one.rows("workflow_jobs", workflow["id"])[1], "canceled")
    assert synced(one) == asks(0, 0, 1, 1)
    assert statuses(tmp_path, "workflow_jobs", "name") == {
        "job-1": ("success", True),
        "job-2": ("canceled", True),
        "after": ("blocked", False),
    }
    assert statuses(tmp_path, "jobs", "number")[2] == ("canceled", True)
    # what is blocked in a workflow that has ended stays so
    assert synced(one) == asks(0, 0, 0, 0)


def test_a_young_pipeline_is_asked_again_also_where_only_changed_parents_are(connect: Callable[..., Vendor]) -> None:
    one = connect(OneProject(), FAN_OUT="changed")
    pipeline = one.add_pipeline(SHOP, days_ago(1))
    one.add_workflow(pipeline, "failed")
    synced(one)
    # a pipeline's own time does not move when it is run again
    one.add_workflow(pipeline)

    assert synced(one) == asks(1, 1, 1, 2)


def test_workflows_of_every_last_status_settle(one: Vendor) -> None:
    ended = ("success", "failed", "error", "canceled", "unauthorized", "not_run")
    assert set(ended) == WORKFLOW_ENDED
    for status in ended:
        one.add_workflow(one.add_pipeline(SHOP, LONG_AGO), status, jobs=0)

    assert synced(one) == asks(6, 6, 6, 0)
    assert synced(one) == asks(0, 0, 0, 0)


def test_workflows_of_every_other_status_do_not(one: Vendor) -> None:
    for status in ("running", "failing", "on_hold", "a new one"):
        one.add_workflow(one.add_pipeline(SHOP, LONG_AGO), status, jobs=0)

    assert synced(one) == asks(4, 4, 4, 0)
    assert synced(one) == asks(4, 4, 4, 0)


def test_jobs_settle_by_their_status(one: Vendor) -> None:
    ended = {"success", "failed", "canceled", "unauthorized", "retried", "timedout"} | {
        "infrastructure_fail",
        "terminated-unknown",
        "not_run",
    }
    assert ended == JOB_ENDED
    workflow = one.add_workflow(one.add_pipeline(SHOP, LONG_AGO), "running", jobs=0)
    going = ("queued", "running", "not_running", "blocked", "on_hold")
    for status in (*sorted(ended), *going):
        one.add_job(workflow, f"job-{status}", status)

    # 14 jobs are two pages of the workflow's list
    assert synced(one) == asks(1, 1, 2, 14)
    assert synced(one) == asks(1, 1, 2, 5)
