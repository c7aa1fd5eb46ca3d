"""CircleCI: a project has one slug, the one that version 2 gives it, whatever form version 1.1 knows it by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from analytics_ingest.apis.parents import PartitionName
from analytics_ingest.apis.vendors.circleci import CIRCLECI, project_id
from analytics_ingest.diagnostics.verify import verify_api
from analytics_ingest.extract.fan_out import FAILED, UNFINISHED, FanOutPlan, plan_fan_out
from analytics_ingest.extract.partitions import Partition
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.fake_server import Response
from analytics_ingest_tests.former_warehouse import former_warehouse
from analytics_ingest_tests.stores import STORES, Store, on_duckdb
from analytics_ingest_tests.vendors import circleci_rows as make
from analytics_ingest_tests.vendors.circleci import CLOUD, SERVICE, SHOP
from analytics_ingest_tests.vendors.circleci_before import PROJECTS, QUIET, Before
from analytics_ingest_tests.vendors.circleci_rows import LONG_AGO
from analytics_ingest_tests.vendors.conftest import Synced, first_sync
from analytics_ingest_tests.vendors.test_circleci import LOG

API = "continuous_integration"
NAMED = ("specific_project", "insights_metrics", "insights_branches", "project_pipelines")
SLUGS = (*NAMED, "pipelines", "pipeline_workflows", "workflow", "workflow_jobs", "jobs")
SOME = ("self_collaborations", "projects", "pipelines", *NAMED)
"""What it takes to read all that projects' slugs are in the path of."""
NEW = (
    *("insights_trends", "insights_workflows", "insights_workflow_jobs", "insights_test_metrics", "flaky_tests"),
    *("schedules", "context_environment_variables"),
)
"""Endpoints that the earlier version did not have."""
ONLY_THERE = [QUIET]
"""The projects whose pipelines no organisation's list has: their own lists are read."""


def stored(store: Store, tables: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    found = store.tables(API, tables)
    return {name: [dict(zip(columns, row, strict=True)) for row in rows] for name, (columns, rows) in found.items()}


def slugs_of(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(row["project_slug"] for row in rows)


def slugs(store: Store, table: str) -> Counter[str]:
    return slugs_of(stored(store, [table])[table])


def asked(vendor: Before) -> dict[str, list[str]]:
    """By endpoint the slugs that were requested since the last call, as they were sent."""
    # the summary is requested for trends as well
    asked = [each for each in vendor.asked if each.query.get("reporting-window") != "last-30-days"]
    paths = [each.path.removeprefix("/api/v2") for each in asked]
    vendor.asked.clear()
    ends = {"project_pipelines": ("/project/", "/pipeline"), "specific_project": ("/project/", "")} | {
        "insights_metrics": ("/insights/pages/", "/summary"),
        "insights_branches": ("/insights/", "/branches"),
    }
    found = {
        name: [
            path.removeprefix(start).removesuffix(end)
            for path in paths
            if path.startswith(start) and path.endswith(end)
        ]
        for name, (start, end) in ends.items()
    }
    return {name: sorted(slug for slug in parts if slug.count("/") == 2) for name, parts in found.items()}


def check(results: Mapping[str, EndpointResult], *, loaded: int | None = None) -> None:
    assert {name: each.reason for name, each in results.items() if each.status != "complete"} == {}
    failed = {name: [f.message for f in each.checks if not f.passed] for name, each in results.items()}
    assert {name: said for name, said in failed.items() if said} == {}
    assert {name: each.rows_deleted for name, each in results.items() if each.rows_deleted} == {}
    if loaded is not None:
        found = {name: each.stats.rows_loaded for name, each in results.items() if name not in NEW}
        assert {name: count for name, count in found.items() if count} == {}


def check_joins(store: Store, projects: tuple[str, ...] = PROJECTS, tables: tuple[str, ...] = ()) -> None:
    """One row a project, all under the slug of version 2, in each table that has one."""
    found = stored(store, tables or SLUGS)
    for table in NAMED[:3]:
        assert slugs_of(found[table]) == dict.fromkeys(projects, 1)
    for rows in found.values():
        assert slugs_of(rows).keys() <= set(projects)
    assert all(row["slug"] == row["project_slug"] for row in found["specific_project"])


def test_a_slug_made_of_ids_is_told_from_others() -> None:
    ident = make.ident("project", SERVICE)
    assert project_id(make.made_of_ids(SERVICE)) == ident
    assert project_id(make.made_of_ids(SERVICE).upper().replace("CIRCLECI", "circleci")) == ident
    for other in (*PROJECTS[:2], SERVICE, f"gh/{ident}/{ident}", f"circleci/{ident}", None, ""):
        assert project_id(other) is None


first = first_sync(Before)


@on_duckdb
def test_each_project_is_requested_once_also_on_the_first_sync(synced: Synced[Before], store: Store) -> None:
    vendor = synced.vendor
    check(synced.results)
    first = {make.made_of_ids(slug) if slug in (SERVICE, QUIET) else slug for slug in PROJECTS}
    everyone = {name: sorted(PROJECTS) for name in NAMED} | {"project_pipelines": ONLY_THERE}
    assert asked(vendor) == everyone | {"specific_project": sorted(first)}
    check_joins(store)


@pytest.mark.extended
@on_duckdb
def test_projects_are_requested_once_on_later_syncs_also_those_that_are_new(
    synced: Synced[Before], store: Store
) -> None:
    vendor = synced.vendor
    asked(vendor)
    new = tuple(f"{CLOUD}/{make.opaque('project', n)}" for n in range(3))
    for slug in new:
        vendor.add_project(slug, followed=slug != new[0])
        vendor.add_pipeline(slug, LONG_AGO)

    results = vendor.sync()
    check(results)
    everyone = asked(vendor)
    assert Counter(map(vendor.canonical, everyone["specific_project"])) == dict.fromkeys((*PROJECTS, *new), 1)
    assert everyone["insights_metrics"] == sorted((*PROJECTS, *new))
    assert results["specific_project"].stats.rows_loaded == 3
    check_joins(store, (*PROJECTS, *new))
    check(vendor.sync(), loaded=0)
    assert asked(vendor)["insights_metrics"] == sorted((*PROJECTS, *new))
    for each in verify_api(vendor.api, log=LOG):
        assert (each.endpoint.name, each.outcome) == (each.endpoint.name, "same")


@pytest.mark.parametrize(
    ("store", "wanted"),
    # on slower destinations without those whose slugs do not move
    [
        ("duckdb", ()),
        pytest.param("postgres", SOME, marks=pytest.mark.extended),
        pytest.param("ducklake", SOME, marks=pytest.mark.extended),
    ],
    indirect=["store"],
    ids=STORES,
)
def test_rows_of_an_earlier_version_move_to_the_slug_in_place(
    vendor_server: Callable[..., Before], store: Store, wanted: tuple[str, ...]
) -> None:
    vendor = vendor_server(Before())
    former_warehouse("circleci").restore(store)
    before = stored(store, vendor.api.by_name.keys() - NEW)
    was = {name: {row["_dlt_id"]: row for row in rows} for name, rows in before.items()}
    assert all(any(map(project_id, slugs_of(before[name]))) for name in NAMED[:3])

    everyone = {name: sorted(PROJECTS) for name in NAMED} | {"project_pipelines": ONLY_THERE}
    for _ in range(2):
        check(vendor.sync(*wanted), loaded=0)
        assert asked(vendor) == everyone
        check_joins(store)
    for name, rows in stored(store, was).items():
        for row in rows:
            same = {"_row_hash": 0} | ({"project_slug": ""} if name in NAMED else {})
            assert {**row, **same} == {**was[name].pop(row["_dlt_id"]), **same}
        assert was[name] == {}


@pytest.mark.extended
@on_duckdb
def test_rows_that_have_changed_as_well_and_those_marked_as_deleted_move_too(
    vendor_server: Callable[..., Before], store: Store
) -> None:
    vendor = vendor_server(Before())
    former_warehouse("circleci").restore(store)
    vendor.rows("specific_project", QUIET)[0]["name"] = "renamed"
    with store.writing() as execute:
        execute(f"UPDATE {API}.insights_metrics SET _deleted_at = now()", ())
    vendor.store["insights_metrics"].clear()

    results = vendor.sync()
    check(results)
    # what has changed is loaded, under its slug
    loaded = {name: each.stats.rows_loaded for name, each in results.items() if name not in NEW}
    assert {name: count for name, count in loaded.items() if count} == {"specific_project": 1}
    check_joins(store)
    assert all(row["_deleted_at"] for row in stored(store, ["insights_metrics"])["insights_metrics"])


@pytest.mark.parametrize(
    ("status", "wanted"),
    # an error shows with everything that it might keep from arriving
    [
        (404, SOME),
        pytest.param(500, (), marks=pytest.mark.extended),
    ],
    ids=["404", "500"],
)
@on_duckdb
def test_a_project_that_cannot_be_read_by_its_provisional_slug_is_read_by_the_other(
    vendor_server: Callable[..., Before], store: Store, status: int, wanted: tuple[str, ...]
) -> None:
    vendor = vendor_server(Before())
    refused = {make.made_of_ids(SERVICE), make.made_of_ids(QUIET)}
    answer = vendor.answer

    def refuse(route: Any, parts: tuple[str, ...], asked: Any) -> Response:
        if refused.intersection(parts):
            return Response(status=status, body={"message": "no"})
        return answer(route, parts, asked)

    vendor.answer = refuse
    results = vendor.sync(*wanted)

    assert results["specific_project"].status == ("complete" if status == 404 else "failed")
    assert {name for name, each in results.items() if each.status != "complete"} <= {"specific_project", "schedules"}
    # what version 2 does not answer for has no name yet; all else arrives
    assert slugs(store, "specific_project").keys() == set(PROJECTS) - {QUIET}
    assert slugs(store, "insights_metrics").keys() == set(PROJECTS) - {QUIET}
    vendor.answer = answer
    check(vendor.sync(*wanted))
    check_joins(store, tables=wanted and (*NAMED, "pipelines"))


@pytest.mark.extended
@on_duckdb
def test_the_others_arrive_without_the_table_of_names(vendor_server: Callable[..., Before], store: Store) -> None:
    vendor = vendor_server(Before(), SKIP_ENDPOINTS="specific_project")

    results = vendor.sync()
    assert {name for name, each in results.items() if each.status != "complete"} == {"specific_project", "schedules"}
    # of a project that only version 1.1 knows no slug is known
    assert slugs(store, "insights_metrics") == dict.fromkeys(set(PROJECTS) - {QUIET}, 1)
    assert asked(vendor)["project_pipelines"] == []


def test_state_with_the_former_path_goes_on() -> None:
    paths = [f"/v2/project/{slug}" for slug in (SERVICE, QUIET, SHOP)]
    service, quiet, shop = (
        Partition(path=path, params={}, former=f"/v2/project/{make.made_of_ids(slug)}" if slug != SHOP else "")
        for path, slug in zip(paths, (SERVICE, QUIET, SHOP), strict=True)
    )
    late = Partition(path="/v2/project/a", params={}, naming=PartitionName(late=True))
    endpoint = CIRCLECI.by_name["specific_project"]

    def planned(state: dict[str, Any]) -> FanOutPlan:
        parents = [service, quiet, shop, late]
        return plan_fan_out(endpoint, parents, state, mode="all", now=datetime.now(UTC), resume_within=3600)

    first = planned({FAILED: [service.former, "/v2/project/gone"]})
    assert (first.failed, first.partitions[0], first.partitions[-1]) == ({service.path}, service, late)
    done = {"mode": "all", "began": datetime.now(UTC).isoformat(), "done": "/v2/project/circleci/zzz"}
    assert planned({UNFINISHED: done}).partitions == [shop, late]
    # not yet requested under the former path, though the new one comes before what is done
    done["done"] = min(service.former, quiet.former)
    resumed = {parent.path for parent in planned({UNFINISHED: done}).partitions}
    assert max((service, quiet), key=lambda parent: parent.former).path in resumed
    state: dict[str, Any] = {}
    first.record_progress(state, late.path)
    assert state[UNFINISHED]["done"] == ""
