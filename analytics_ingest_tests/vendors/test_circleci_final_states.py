"""CircleCI: workflows, jobs and pipelines are read again until they have ended, and no longer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from analytics_ingest.apis.vendors.circleci import JOB_ENDED, WORKFLOW_ENDED
from analytics_ingest_tests.conftest import query
from analytics_ingest_tests.vendors.circleci import PAGE, SHOP, Circleci
from analytics_ingest_tests.vendors.circleci_rows import LONG_AGO, Row, with_milliseconds
from analytics_ingest_tests.vendors.conftest import configured

pytestmark = pytest.mark.extended
FANNED_OUT = ("pipeline_workflows", "workflow", "workflow_jobs", "jobs")
ALWAYS = ("self_collaborations", "projects", "pipelines", "project_pipelines")
Asks = dict[str, int]
"""Requests beside those that each sync takes, by endpoint."""


class NoProject(Circleci):
    """One organisation, and no project yet."""

    def fill(self) -> None:
        self.add_user()
        self.add_organisation("gh/acme")


class OneProject(NoProject):
    """One organisation with one project, and no pipeline yet."""

    def fill(self) -> None:
        super().fill()
        self.add_project(SHOP)


def days_ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def asks(pipelines: int, workflows: int, lists: int, jobs: int) -> Asks:
    return dict(zip(FANNED_OUT, (pipelines, workflows, lists, jobs), strict=True))


def synced(vendor: Circleci, **mode: Any) -> Asks:
    """Syncs, and gives the requests that it took."""
    vendor.requests.clear()
    vendor.asked.clear()
    results = vendor.sync(*ALWAYS, *FANNED_OUT, **mode)
    assert {result.status for result in results.values()} == {"complete"}
    # each page of each list once
    pages = {name: sum(max(1, -(-len(rows) // PAGE)) for rows in vendor.store[name].values()) for name in ALWAYS}
    # those of a project only if no organisation's list has them
    listed = () if mode.get("full_refresh") else vendor.listed()
    own = vendor.store["project_pipelines"].items()
    pages["project_pipelines"] = sum(max(1, -(-len(rows) // PAGE)) for (slug,), rows in own if slug not in listed)
    assert {name: vendor.requests[name] for name in ALWAYS} == pages | {"projects": 1}
    return {name: vendor.requests[name] for name in FANNED_OUT}


class Project:
    """One project of several, none of which has to do with another; its pipelines are its own."""

    def __init__(self, vendor: Circleci, slug: str, folder: Path) -> None:
        self.vendor, self.slug, self.folder = vendor, slug, folder
        self.add_workflow, self.add_job = vendor.add_workflow, vendor.add_job
        self.end_workflow, self.end_job = vendor.end_workflow, vendor.end_job
        vendor.add_project(slug)

    def add_pipeline(self, created: datetime) -> Row:
        return self.vendor.add_pipeline(self.slug, created)

    def jobs_of(self, workflow: Row) -> list[Row]:
        return self.vendor.rows("workflow_jobs", workflow["id"])

    def statuses(self, table: str, key: str) -> dict[Any, tuple[str, bool]]:
        """By key the status, and whether it has stopped."""
        found = query(
            self.folder,
            f"SELECT {key}, status, stopped_at FROM continuous_integration.{table} WHERE project_slug = '{self.slug}'",
        )
        assert len(found) == len({row[0] for row in found})
        return {row[0]: (row[1], row[2] is not None) for row in found}

    def asked(self) -> Asks:
        """What the last sync asked for of this project."""
        tables = [self.vendor.store.get(name, {}).values() for name in ("pipelines", "workflow")]
        mine = {row["id"] for table in tables for rows in table for row in rows if row["project_slug"] == self.slug}
        found = Counter[str]()
        for each in self.vendor.asked:
            kind, *parts = each.path.removeprefix("/api/v2/").split("/")
            if kind == "project":
                found["jobs"] += parts[3:4] == ["job"] and "/".join(parts[:3]) == self.slug
            elif parts and parts[0] in mine:
                found["pipeline_workflows" if kind == "pipeline" else "_".join([kind, *parts[1:]])] += 1
        return asks(*(found[name] for name in ("pipeline_workflows", "workflow", "workflow_job", "jobs")))


FULL = "full refresh"
Course = Generator[Any, Asks, None]
"""What happens to a project between syncs: each ``yield`` is a sync, and gives what it asked for."""
COURSES: dict[str, Callable[[Project], Course]] = {}


def course(what: Callable[[Project], Course]) -> Callable[[Project], Course]:
    """Makes a test of what happens to a project, in the syncs that all such tests share."""
    COURSES[what.__name__] = what
    return what


@course
def a_workflow_is_read_until_it_has_ended(one: Project) -> Course:
    pipeline = one.add_pipeline(days_ago(1))
    workflow = one.add_workflow(pipeline, "running", approval=True)

    assert (yield) == asks(1, 1, 1, 2)
    for table in ("workflow", "pipeline_workflows"):
        assert one.statuses(table, "id") == {workflow["id"]: ("running", False)}
    assert one.statuses("workflow_jobs", "name") == {
        "job-1": ("success", True),
        "job-2": ("running", False),
        "hold": ("on_hold", False),
    }
    assert one.statuses("jobs", "number") == {1: ("success", True), 2: ("running", False)}

    # nothing has changed: the job that has ended is not asked for again
    assert (yield) == asks(1, 1, 1, 1)

    one.end_workflow(workflow)
    one.add_job(workflow, "job-3", "failed")
    workflow["status"] = "failed"
    assert (yield) == asks(1, 1, 1, 2)
    for table in ("workflow", "pipeline_workflows"):
        assert one.statuses(table, "id") == {workflow["id"]: ("failed", True)}
    assert one.statuses("workflow_jobs", "name") == {
        "job-1": ("success", True),
        "job-2": ("success", True),
        "hold": ("success", False),
        "job-3": ("failed", True),
    }
    assert one.statuses("jobs", "number") == {1: ("success", True), 2: ("success", True), 3: ("failed", True)}

    # the pipeline is young: it may be run once more
    assert (yield) == asks(1, 0, 0, 0)


@course
def an_old_pipeline_whose_workflows_have_ended_is_not_asked_again(one: Project) -> Course:
    pipeline = one.add_pipeline(LONG_AGO)
    one.add_workflow(pipeline)

    assert (yield) == asks(1, 1, 1, 2)
    # what would be found if it were asked
    one.add_workflow(pipeline)
    assert (yield) == asks(0, 0, 0, 0)
    assert len(one.statuses("workflow", "id")) == 1


@course
def an_old_pipeline_is_asked_until_each_of_its_workflows_has_ended(one: Project) -> Course:
    old, other = one.add_pipeline(LONG_AGO), one.add_pipeline(LONG_AGO)
    ended, held = one.add_workflow(old), one.add_workflow(old, "on_hold", jobs=1)
    one.add_workflow(other)

    assert (yield) == asks(2, 3, 3, 5)
    assert (yield) == asks(1, 1, 1, 1)
    one.end_workflow(held, "canceled")
    assert (yield) == asks(1, 1, 1, 1)
    assert one.statuses("workflow", "id")[held["id"]] == ("canceled", True)
    assert one.statuses("workflow", "id")[ended["id"]] == ("success", True)
    assert (yield) == asks(0, 0, 0, 0)


@course
def a_young_pipeline_that_is_run_again_gives_a_second_workflow(one: Project) -> Course:
    pipeline = one.add_pipeline(days_ago(5))
    first = one.add_workflow(pipeline, "failed")
    assert (yield) == asks(1, 1, 1, 2)

    second = one.add_workflow(pipeline)
    assert (yield) == asks(1, 1, 1, 2)

    expected = {first["id"]: ("failed", True), second["id"]: ("success", True)}
    assert one.statuses("pipeline_workflows", "id") == one.statuses("workflow", "id") == expected
    assert len(one.statuses("workflow_jobs", "id")) == 4
    assert one.statuses("jobs", "number").keys() == {1, 2, 3, 4}


@course
def a_job_that_two_workflows_list_has_a_row_in_each(one: Project) -> Course:
    pipeline = one.add_pipeline(days_ago(5))
    first, second = one.add_workflow(pipeline, "failed"), one.add_workflow(pipeline)
    kept = one.jobs_of(first)[0]
    one.jobs_of(second)[0] = dict(kept)
    yield

    found = query(one.folder, f"SELECT workflow_id FROM continuous_integration.workflow_jobs WHERE id = '{kept['id']}'")
    assert sorted(found) == sorted([(first["id"],), (second["id"],)])


@course
def an_old_pipeline_whose_own_row_changed_is_asked_once_more(one: Project) -> Course:
    pipeline = one.add_pipeline(LONG_AGO)
    one.add_workflow(pipeline)
    yield
    pipeline["updated_at"] = with_milliseconds(days_ago(1))

    assert (yield) == asks(1, 0, 0, 0)
    assert (yield) == asks(0, 0, 0, 0)


@course
def a_job_that_outlives_its_workflow_is_read_until_it_has_ended(one: Project) -> Course:
    workflow = one.add_workflow(one.add_pipeline(LONG_AGO), "running")
    one.add_job(workflow, "after", "blocked", approval=True)
    workflow.update(status="canceled", stopped_at="2026-03-02T12:00:00Z")

    assert (yield) == asks(1, 1, 1, 2)
    assert one.statuses("workflow_jobs", "name")["job-2"] == ("running", False)
    one.end_job(one.jobs_of(workflow)[1], "canceled")
    assert (yield) == asks(0, 0, 1, 1)
    assert one.statuses("workflow_jobs", "name") == {
        "job-1": ("success", True),
        "job-2": ("canceled", True),
        "after": ("blocked", False),
    }
    assert one.statuses("jobs", "number")[2] == ("canceled", True)
    # what is blocked in a workflow that has ended stays so
    assert (yield) == asks(0, 0, 0, 0)


@course
def workflows_of_every_last_status_settle(one: Project) -> Course:
    ended = ("success", "failed", "error", "canceled", "unauthorized", "not_run")
    assert set(ended) == WORKFLOW_ENDED
    for status in ended:
        one.add_workflow(one.add_pipeline(LONG_AGO), status, jobs=0)

    assert (yield) == asks(6, 6, 6, 0)
    assert (yield) == asks(0, 0, 0, 0)


@course
def workflows_of_every_other_status_do_not(one: Project) -> Course:
    for status in ("running", "failing", "on_hold", "a new one"):
        one.add_workflow(one.add_pipeline(LONG_AGO), status, jobs=0)

    assert (yield) == asks(4, 4, 4, 0)
    assert (yield) == asks(4, 4, 4, 0)


@course
def jobs_settle_by_their_status(one: Project) -> Course:
    ended = {"success", "failed", "canceled", "unauthorized", "retried", "timedout"} | {
        "infrastructure_fail",
        "terminated-unknown",
        "not_run",
    }
    assert ended == JOB_ENDED
    workflow = one.add_workflow(one.add_pipeline(LONG_AGO), "running", jobs=0)
    going = ("queued", "running", "not_running", "blocked", "on_hold")
    for status in (*sorted(ended), *going):
        one.add_job(workflow, f"job-{status}", status)

    # 14 jobs are two pages of the workflow's list
    assert (yield) == asks(1, 1, 2, 14)
    assert (yield) == asks(1, 1, 2, 5)


@course
def a_full_refresh_asks_for_everything(one: Project) -> Course:
    young, old = one.add_pipeline(days_ago(1)), one.add_pipeline(days_ago(100))
    one.add_workflow(young)
    one.add_workflow(old)
    assert (yield) == asks(2, 2, 2, 4)
    missed = one.add_workflow(old, jobs=1)

    assert (yield) == asks(1, 0, 0, 0)
    assert missed["id"] not in one.statuses("workflow", "id")
    assert (yield FULL) == asks(2, 3, 3, 5)
    assert one.statuses("workflow", "id")[missed["id"]] == ("success", True)
    assert one.statuses("jobs", "number").keys() == {1, 2, 3, 4, 5}
    assert (yield) == asks(1, 0, 0, 0)


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exception]:
    """What is not as it has to be, by course: each has a project of its own, and all are synced together."""
    folder = tmp_path_factory.mktemp("courses")
    found: dict[str, Exception] = {}
    wanted: dict[str, str | None] = {}

    def go_on(name: str, asked: Asks | None) -> None:
        del wanted[name]
        try:
            wanted[name] = under_way[name].send(asked)  # type: ignore[arg-type]
        except StopIteration:
            pass
        except Exception as error:  # noqa: BLE001 - told to the course's own test
            found[name] = error

    with NoProject() as vendor, configured(vendor, folder):
        projects = {name: Project(vendor, f"gh/acme/{name}", folder) for name in COURSES}
        under_way = {name: COURSES[name](project) for name, project in projects.items()}
        wanted = dict.fromkeys(under_way)
        for name in under_way:
            go_on(name, None)
        while wanted:
            # a full refresh is one for all: it comes when the others have ended
            kind = None if None in wanted.values() else FULL
            synced(vendor, full_refresh=kind == FULL)
            asked = {name: projects[name].asked() for name in wanted if wanted[name] == kind}
            for name, each in asked.items():
                go_on(name, each)
    return found


@pytest.mark.parametrize("name", COURSES)
def test_it_is_so_that(failures: dict[str, Exception], name: str) -> None:
    if name in failures:
        raise failures[name]


@pytest.mark.extended
def test_what_is_young_is_what_window_days_says(
    vendor_server: Callable[..., Circleci], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = vendor_server(OneProject())
    for days in (1, 5, 10, 40):
        one.add_workflow(one.add_pipeline(SHOP, days_ago(days)))

    assert synced(one) == asks(4, 4, 4, 8)
    assert synced(one) == asks(2, 0, 0, 0)
    for window, young in (("3", 1), ("30", 3)):
        monkeypatch.setenv("SOURCES__CONTINUOUS_INTEGRATION__WINDOW_DAYS", window)
        assert synced(one) == asks(young, 0, 0, 0)


@pytest.mark.extended
def test_nothing_is_asked_of_pipelines_before_start_date(
    vendor_server: Callable[..., Circleci], tmp_path: Path
) -> None:
    one = vendor_server(OneProject(), START_DATE="2026-03-03")
    for day in (0, 1):
        one.add_workflow(one.add_pipeline(SHOP, LONG_AGO + timedelta(days=day)))

    assert synced(one) == asks(1, 1, 1, 2)
    assert query(tmp_path, "SELECT number FROM continuous_integration.pipelines") == [(2,)]


@pytest.mark.extended
def test_a_young_pipeline_is_asked_again_also_where_only_changed_parents_are(
    vendor_server: Callable[..., Circleci],
) -> None:
    one = vendor_server(OneProject(), FAN_OUT="changed")
    pipeline = one.add_pipeline(SHOP, days_ago(1))
    one.add_workflow(pipeline, "failed")
    synced(one)
    # a pipeline's own time does not move when it is run again
    one.add_workflow(pipeline)

    assert synced(one) == asks(1, 1, 1, 2)
