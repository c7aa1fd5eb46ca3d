"""CircleCI: each pipeline's list is read once and to its end, in whatever order it comes, and nothing is lost."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from analytics_ingest_tests.fake_server import Response
from analytics_ingest_tests.stores import Store, on_duckdb
from analytics_ingest_tests.vendors.circleci import DOTFILES, ENGINE, PAGE, SERVICE, SHOP, SITE, TOOLS, Circleci
from analytics_ingest_tests.vendors.circleci_rows import LONG_AGO
from analytics_ingest_tests.vendors.conftest import Synced, first_sync

API = "continuous_integration"
SOME = ("self_collaborations", "projects", "pipelines", "specific_project", "project_pipelines", "pipeline_workflows")

first = first_sync(Circleci, *SOME)


def pages(vendor: Circleci) -> int:
    """Pages of the lists of organisations, and of those projects that these lists lack."""
    lists = [*vendor.store["pipelines"].values()]
    lists += [rows for (slug,), rows in vendor.store["project_pipelines"].items() if slug not in vendor.listed()]
    return sum(max(1, -(-len(rows) // PAGE)) for rows in lists)


def requested(vendor: Circleci) -> int:
    found = vendor.requests["pipelines"] + vendor.requests["project_pipelines"]
    vendor.requests.clear()
    return found


def own_lists(vendor: Circleci) -> set[str]:
    """The projects whose own lists were requested since the last call."""
    start, end = "/api/v2/project/", "/pipeline"
    paths = [each.path for each in vendor.asked if each.path.startswith(start) and each.path.endswith(end)]
    vendor.asked.clear()
    return {path.removeprefix(start).removesuffix(end) for path in paths}


def stored(store: Store) -> dict[str, set[str]]:
    """The pipelines that exist by table, and those whose workflows are there."""
    found = {}
    tables = {"pipelines": "id", "project_pipelines": "id", "pipeline_workflows": "pipeline_id"}
    for table, key in tables.items():
        columns, rows = store.table(API, table)
        named = [dict(zip(columns, row, strict=True)) for row in rows]
        found[table] = {str(row[key]) for row in named if row["_deleted_at"] is None}
    return found


def upstream(vendor: Circleci) -> dict[str, set[str]]:
    lists = {name: {row["id"] for row in vendor.expected(name)} for name in ("pipelines", "project_pipelines")}
    everything = {row["pipeline_id"] for row in vendor.expected("pipeline_workflows")}
    return lists | {"pipeline_workflows": everything}


@on_duckdb
def test_each_list_is_read_once_to_its_end(synced: Synced[Circleci], store: Store) -> None:
    vendor = synced.vendor
    assert requested(vendor) == pages(vendor) == 6 + 3
    assert own_lists(vendor) == {SITE, DOTFILES}
    assert stored(store) == upstream(vendor)
    vendor.sync(*SOME)
    assert requested(vendor) == 9


@on_duckdb
@pytest.mark.parametrize("seed", range(3))
def test_pipelines_arrive_in_whatever_order_they_come(synced: Synced[Circleci], store: Store, seed: int) -> None:
    vendor, order = synced.vendor, random.Random(seed)
    acme, site = vendor.rows("pipelines", "gh/acme"), vendor.rows("project_pipelines", SITE)
    new = [vendor.add_pipeline(slug, LONG_AGO, listed=slug != SITE) for slug in (SHOP, TOOLS, SITE)]
    for each in new:
        vendor.add_workflow(each)
    acme[12].update(state="errored", errors=[{"type": "config", "message": "no"}])
    site[7]["state"] = "errored"
    vendor.remove_pipeline(next(row for row in acme if row["project_slug"] == TOOLS))
    for rows in (acme, site):
        order.shuffle(rows)
    # the newest at the very end
    acme.sort(key=lambda row: row["created_at"] > "2026-04-01")

    results = vendor.sync(*SOME)
    assert {each.status for each in results.values()} == {"complete"}
    assert stored(store) == upstream(vendor)
    assert results["pipelines"].stats.rows_loaded + results["project_pipelines"].stats.rows_loaded == 3 - 1 + 2
    assert results["pipelines"].rows_deleted + results["project_pipelines"].rows_deleted == 0
    order.shuffle(acme)
    results = vendor.sync(*SOME)
    assert {name: each.stats.rows_loaded for name, each in results.items() if each.stats.rows_loaded} == {}


@on_duckdb
def test_a_project_goes_from_one_list_to_the_other_and_back(synced: Synced[Circleci], store: Store) -> None:
    vendor = synced.vendor
    acme = vendor.rows("pipelines", "gh/acme")
    tools = [row for row in acme if row["project_slug"] == TOOLS]
    acme[:] = [row for row in acme if row["project_slug"] != TOOLS]
    vendor.asked.clear()

    vendor.sync(*SOME)
    assert own_lists(vendor) == {SITE, DOTFILES, TOOLS}
    assert stored(store) == upstream(vendor)
    acme.extend(tools)
    pipeline = vendor.add_pipeline(TOOLS, LONG_AGO)
    vendor.add_workflow(pipeline)
    vendor.sync(*SOME)
    assert own_lists(vendor) == {SITE, DOTFILES}
    found = stored(store)
    # its rows stay as they were, until a full refresh reads both lists
    assert found["project_pipelines"] == upstream(vendor)["project_pipelines"] | {row["id"] for row in tools}
    assert {pipeline["id"]} <= found["pipelines"] & found["pipeline_workflows"]
    vendor.sync(*SOME, full_refresh=True)
    assert own_lists(vendor) == {SHOP, SITE, TOOLS, ENGINE, SERVICE, DOTFILES}
    assert stored(store)["project_pipelines"] == {
        row["id"] for rows in vendor.store["project_pipelines"].values() for row in rows
    }


@on_duckdb
def test_pipelines_of_a_list_that_fails_arrive_with_the_next_sync(
    vendor_server: Callable[..., Circleci], store: Store
) -> None:
    vendor = vendor_server(Circleci())
    vendor.sync("self_collaborations")
    # every attempt of the four organisations
    vendor.faults["pipelines"] = [Response(status=500, body={"message": "no"})] * 16
    results = vendor.sync(*SOME)
    assert results["pipelines"].status == "failed"
    assert results["pipeline_workflows"].status == "skipped"

    results = vendor.sync(*SOME)
    assert {each.status for each in results.values()} == {"complete"}
    found, wanted = stored(store), upstream(vendor)
    assert (found["pipelines"], found["pipeline_workflows"]) == (wanted["pipelines"], wanted["pipeline_workflows"])
    assert found["project_pipelines"] >= wanted["project_pipelines"]


@on_duckdb
def test_own_lists_are_read_if_a_setting_leaves_those_of_organisations_out(
    synced: Synced[Circleci], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = synced.vendor
    monkeypatch.setenv("SOURCES__CONTINUOUS_INTEGRATION__SKIP_ENDPOINTS", "pipelines")
    pipeline = vendor.add_pipeline(SHOP, LONG_AGO)
    vendor.asked.clear()

    vendor.sync("specific_project", "project_pipelines")
    # of tools there are no rows but those of its organisation's list
    assert own_lists(vendor) == {SHOP, SITE, TOOLS, ENGINE, SERVICE, DOTFILES}
    assert pipeline["id"] in stored(store)["project_pipelines"]


@on_duckdb
def test_organisations_that_are_not_named_are_read_for_followed_projects_only(
    synced: Synced[Circleci], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = synced.vendor
    monkeypatch.setenv("SOURCES__CONTINUOUS_INTEGRATION__ORG_SLUGS", "bb/basalt")
    vendor.asked.clear()
    results = vendor.sync(*SOME)

    assert {each.status for each in results.values()} == {"complete"}
    assert own_lists(vendor) == {SHOP, SITE, SERVICE, DOTFILES}
    columns, rows = store.table(API, "specific_project")
    gone = [row[columns.index("slug")] for row in rows if row[columns.index("_deleted_at")]]
    assert gone == [TOOLS]
