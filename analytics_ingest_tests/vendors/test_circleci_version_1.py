"""CircleCI without version 1.1 of its API: everything else goes on, and nothing that version 1.1 gave is marked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    DagsterRunStatus,
    Definitions,
    evaluate_automation_conditions,
)

from analytics_ingest.config.schedule import load_schedule_settings
from analytics_ingest.diagnostics.connection_check import check_api
from analytics_ingest.diagnostics.verification import verify_some
from analytics_ingest.diagnostics.verify import verify_api
from analytics_ingest.orchestrate.account_assets import AccountAssets
from analytics_ingest.orchestrate.assets import build_assets
from analytics_ingest.orchestrate.freshness import CAUSE
from analytics_ingest.orchestrate.run_tags import CAUSE_TAG
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.contract import SCHEMA
from analytics_ingest_tests.orchestrate.test_materialize import materialised
from analytics_ingest_tests.stores import Store, on_duckdb
from analytics_ingest_tests.vendors.circleci import DOTFILES, ENGINE, SERVICE, SHOP, SITE, TOOLS, Circleci
from analytics_ingest_tests.vendors.circleci_rows import LONG_AGO
from analytics_ingest_tests.vendors.conftest import Synced, first_sync

pytestmark = pytest.mark.extended
LOG = logging.getLogger("test")
API = "continuous_integration"
GONE = ("me", "projects")
OF_PROJECTS = ("specific_project", "insights_metrics", "insights_branches")
both_ways = pytest.mark.parametrize("status", [404, 410])

first = first_sync(Circleci)


def check(results: dict[str, EndpointResult], *, gone: tuple[str, ...] = GONE) -> None:
    """That everything is complete, apart from what version 1.1 alone serves."""
    assert {name: each.reason for name, each in results.items() if each.status == "failed"} == {}
    assert {name for name, each in results.items() if each.status == "skipped"} == set(gone)
    assert not any(each.alarming for each in results.values())
    # a table without rows gets its columns with the first row
    failed = {
        name: [found.message for found in each.checks if not found.passed and found.name != SCHEMA]
        for name, each in results.items()
    }
    assert {name: said for name, said in failed.items() if said} == {}


def rows(store: Store, table: str) -> list[dict[str, Any]]:
    columns, found = store.table(API, table)
    return [dict(zip(columns, row, strict=True)) for row in found]


def live(store: Store, table: str) -> set[str]:
    return {row["project_slug"] for row in rows(store, table) if row["_deleted_at"] is None}


@both_ways
@on_duckdb
def test_a_first_sync_reads_everything_else(vendor_server: Callable[..., Circleci], store: Store, status: int) -> None:
    vendor = vendor_server(Circleci())
    vendor.version_1 = status
    results = vendor.sync()

    check(results)
    for name in GONE:
        assert results[name].reason.startswith(f"/v1.1/{name} answered {status}: ")
        assert "on 7 December 2026" in results[name].reason
    assert {results[name].table_rows for name in GONE} == {None}
    # site is in no list of an organisation, and dotfiles has no pipelines
    known = {SHOP, TOOLS, ENGINE, SERVICE}
    assert {name: live(store, name) for name in OF_PROJECTS} == dict.fromkeys(OF_PROJECTS, known)
    for name in ("pipelines", "pipeline_workflows", "workflow", "jobs"):
        assert live(store, name) == known
    requests = vendor.requests.copy()
    again = vendor.sync()
    check(again)
    assert {name: each.stats.rows_loaded for name, each in again.items() if each.stats.rows_loaded} == {}
    assert (vendor.requests - requests)["projects"] == 1


@both_ways
@on_duckdb
def test_what_is_in_the_tables_stays_and_what_is_new_arrives(
    synced: Synced[Circleci], store: Store, status: int
) -> None:
    vendor = synced.vendor
    was = {name: rows(store, name) for name in vendor.api.by_name}
    vendor.version_1 = status
    results = vendor.sync()

    check(results)
    assert {name: each.stats.rows_loaded for name, each in results.items() if each.stats.rows_loaded} == {}
    assert {name: rows(store, name) for name in vendor.api.by_name} == was
    vendor.add_project(new := "gh/acme/new", followed=False)
    vendor.add_workflow(vendor.add_pipeline(new, LONG_AGO))
    vendor.add_workflow(vendor.add_pipeline(SITE, LONG_AGO, listed=False))

    for mode in ({}, {"full_refresh": True}):
        results = vendor.sync(**mode)
        check(results)
        assert {name: each.rows_deleted for name, each in results.items() if each.rows_deleted} == {}
    for name in GONE:
        assert rows(store, name) == was[name]
    assert live(store, "specific_project") == {SHOP, SITE, TOOLS, ENGINE, SERVICE, DOTFILES, new}
    assert len([row for row in rows(store, "project_pipelines") if row["project_slug"] == SITE]) == 12
    assert len([row for row in rows(store, "workflow") if row["project_slug"] == SITE]) == 12


@on_duckdb
def test_a_project_that_leaves_the_lists_of_organisations_stays_and_its_own_list_is_read(
    vendor_server: Callable[..., Circleci], store: Store
) -> None:
    vendor = vendor_server(Circleci())
    vendor.version_1 = 404
    vendor.sync()
    before = {name: rows(store, name) for name in (*OF_PROJECTS, "workflow", "jobs")}
    listed = vendor.rows("pipelines", "gh/acme")
    listed[:] = [row for row in listed if row["project_slug"] != TOOLS]

    results = vendor.sync()
    check(results)
    assert results["pipelines"].rows_deleted == 9
    assert {name: rows(store, name) for name in before} == before
    assert live(store, "project_pipelines") == {TOOLS}
    assert len(rows(store, "project_pipelines")) == 9
    pipeline = vendor.rows("project_pipelines", TOOLS)[4]
    vendor.add_workflow(pipeline)
    pipeline["state"] = "errored"
    results = vendor.sync()
    check(results)
    assert results["project_pipelines"].stats.rows_loaded == results["workflow"].stats.rows_loaded == 1

    # one that is gone for good is marked, and not requested again
    del vendor.store["specific_project"][TOOLS,], vendor.store["project_pipelines"][TOOLS,]
    check(vendor.sync())
    assert TOOLS not in live(store, "specific_project")
    vendor.asked.clear()
    check(vendor.sync())
    assert [each.path for each in vendor.asked if each.path == f"/api/v2/project/{TOOLS}"] == []
    assert TOOLS not in live(store, "project_pipelines")


@on_duckdb
def test_a_list_that_is_served_again_is_read_again(vendor_server: Callable[..., Circleci], store: Store) -> None:
    vendor = vendor_server(Circleci())
    vendor.version_1 = 410
    check(vendor.sync())
    vendor.version_1 = 200
    check(vendor.sync(), gone=())
    assert live(store, "specific_project") == {SHOP, SITE, TOOLS, ENGINE, SERVICE, DOTFILES}
    vendor.rows("projects").pop()
    assert vendor.sync("projects")["projects"].rows_deleted == 1


@pytest.mark.parametrize("status", [403, 500])
def test_another_answer_is_a_failure(vendor_server: Callable[..., Circleci], status: int) -> None:
    vendor = vendor_server(Circleci())
    vendor.version_1 = status
    results = vendor.sync("self_collaborations", "projects", "pipelines", "specific_project")

    assert {name: each.status for name, each in results.items()} == {
        "self_collaborations": "complete",
        "projects": "failed",
        "pipelines": "complete",
        "specific_project": "skipped",
    }


def test_a_project_is_read_alone_without_a_table_of_version_1(vendor_server: Callable[..., Circleci]) -> None:
    vendor = vendor_server(Circleci())
    vendor.version_1 = 410
    vendor.sync("self_collaborations", "pipelines")
    result = vendor.sync("specific_project")["specific_project"]

    assert (result.status, result.table_rows) == ("complete", 4)


def test_a_connection_check_does_not_fail(vendor_server: Callable[..., Circleci]) -> None:
    vendor = vendor_server(Circleci())
    vendor.version_1 = 410
    found = {each.subject: each for each in check_api(vendor.api, log=LOG)}

    assert {name for name, each in found.items() if each.outcome == "failed"} == set()
    for name in GONE:
        assert found[name].outcome == "not tried"
        assert "on 7 December 2026" in found[name].message
    assert {found[name].outcome for name in (*OF_PROJECTS, "project_pipelines", "jobs")} == {"fine"}


@pytest.mark.parametrize("was_served", [True, False], ids=["later", "first sync"])
def test_verify_finds_no_difference(vendor_server: Callable[..., Circleci], was_served: bool) -> None:
    vendor = vendor_server(Circleci())
    if was_served:
        vendor.sync()
    vendor.version_1 = 404
    vendor.sync()
    found = {each.endpoint.name: each for each in verify_api(vendor.api, log=LOG)}

    assert {name: each.outcome for name, each in found.items() if each.outcome != "same"} == dict.fromkeys(
        GONE, "left out"
    )
    assert "on 7 December 2026" in found["projects"].reason
    compared = {each.endpoint.name: each.verification for each in verify_some(vendor.api, requests=None, log=LOG)}
    assert {name for name, each in compared.items() if each.rows} == set()
    assert {name for name, each in compared.items() if each.reason} == set(GONE)
    ending = "answered 404" if was_served else "it has no table yet: materialise it first"
    assert ending in str(compared["projects"].reason)


@pytest.mark.extended
@pytest.mark.parametrize("organisations", ["", "gh/acme"], ids=["listed", "set"])
def test_a_run_succeeds_and_says_why_two_assets_are_not_materialised(
    synced: Synced[Circleci], monkeypatch: pytest.MonkeyPatch, organisations: str
) -> None:
    server = synced.vendor
    if organisations:
        monkeypatch.setenv("SOURCES__CONTINUOUS_INTEGRATION__ORG_SLUGS", organisations)
    server.version_1 = 410
    location = Definitions(assets=[build_assets(AccountAssets(api=server.api), load_schedule_settings(server.api))])
    job = location.resolve_implicit_global_asset_job_def()
    with DagsterInstance.get() as instance:
        done = job.execute_in_process(instance=instance)
        events = instance.all_logs(done.run_id)

    assert done.success
    found = {key.removeprefix(f"{API}/") for key in materialised(done)}
    assert found == server.api.by_name.keys() - GONE
    seen = [each.dagster_event for each in events if each.dagster_event and each.dagster_event.is_asset_observation]
    observed = {each.asset_key: each.asset_observation_data.asset_observation.metadata for each in seen}
    for name in GONE:
        metadata = observed[AssetKey([API, name])]
        assert metadata["status"].value == "skipped"
        assert "on 7 December 2026" in str(metadata["reason"].value)
    warnings = [each.user_message for each in events if each.level == logging.WARNING]
    assert [name for name in GONE if any(f"{API}/{name} skipped: " in text for text in warnings)] == [*GONE]


def test_the_freshness_sensor_requests_what_has_a_missing_parent_of_version_1(
    vendor_server: Callable[..., Circleci],
) -> None:
    server = vendor_server(Circleci())
    assets = build_assets(AccountAssets(api=server.api), load_schedule_settings(server.api))
    there = ("self_collaborations", "pipelines", "pipeline_workflows")
    with DagsterInstance.get() as instance:
        for name in there:
            instance.report_runless_asset_event(AssetMaterialization(AssetKey([API, name])))
        run = instance.create_run_for_job(
            Definitions(assets=[assets]).resolve_implicit_global_asset_job_def(),
            status=DagsterRunStatus.STARTED,
            tags={CAUSE_TAG: CAUSE},
            asset_selection=frozenset(AssetKey([API, name]) for name in GONE),
        )
        instance.report_run_failed(run)
        found = evaluate_automation_conditions([assets], instance)

    requested = {name for name in server.api.by_name if found.get_num_requested(AssetKey([API, name]))}
    assert requested == server.api.by_name.keys() - {*GONE, *there}
