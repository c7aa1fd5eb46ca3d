"""CircleCI: organisations, slugs and fan-outs that need no configuring, and how its lists end."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from analytics_ingest.sync.api_sync import ApiSync
from analytics_ingest_tests.conftest import query
from analytics_ingest_tests.vendors import circleci_rows as make
from analytics_ingest_tests.vendors.circleci import (
    CLOUD,
    DOTFILES,
    EDN,
    ENGINE,
    SERVICE,
    SHOP,
    SITE,
    TOOLS,
    Circleci,
    token,
)
from analytics_ingest_tests.vendors.conftest import Synced, first_sync

LOG = logging.getLogger("test")
SCHEMA = "continuous_integration"
ORGANISATIONS = ("gh/acme", "bb/basalt", CLOUD, "gh/ada")
FOLLOWED = (SHOP, SITE, ENGINE, SERVICE, DOTFILES)


first = first_sync(Circleci)


@pytest.fixture
def circleci(synced: Synced[Circleci]) -> Circleci:
    """The server after a first sync of everything."""
    return synced.vendor


def columns(tmp_path: Path, table: str) -> dict[str, str]:
    found = query(
        tmp_path,
        "SELECT column_name, data_type FROM information_schema.columns "
        f"WHERE table_schema = 'continuous_integration' AND table_name = '{table}'",
    )
    return dict(found)


def test_version_1_answers_json_only_to_those_who_ask_for_it(circleci: Circleci, tmp_path: Path) -> None:
    answer = requests.get(f"{circleci.url}/v1.1/projects", headers={"Circle-Token": circleci.KEY}, timeout=5)
    assert (answer.status_code, answer.text) == (200, EDN)
    unasked = ApiSync(replace(circleci.api, headers={}), selected={"me", "projects"}, log=LOG).run()
    assert {each.endpoint.name: each.status for each in unasked} == {"me": "failed", "projects": "failed"}
    before = len(circleci.asked)

    results = circleci.sync("me", "projects")

    assert {each.headers["Accept"] for each in circleci.asked[before:]} == {"application/json"}
    assert {name: each.status for name, each in results.items()} == {"me": "complete", "projects": "complete"}
    assert query(tmp_path, "SELECT vcs_url FROM continuous_integration.projects ORDER BY vcs_url") == [
        (f"//circleci.com/{make.made_of_ids(SERVICE).removeprefix('circleci/')}",),
        ("https://bitbucket.org/basalt/engine",),
        ("https://github.com/acme/shop",),
        ("https://github.com/acme/site",),
        ("https://github.com/ada/dotfiles",),
    ]


def test_pipelines_and_contexts_are_asked_for_each_organisation_of_the_user(circleci: Circleci, tmp_path: Path) -> None:
    pages = {"gh/acme": 3, "bb/basalt": 1, CLOUD: 1, "gh/ada": 1}
    asked = [None, token(10), token(20)]
    for org, count in pages.items():
        assert circleci.tokens("/v2/context", **{"owner-slug": org}) == asked[:count]
        assert circleci.tokens("/v2/pipeline", **{"org-slug": org}) == asked[:count]
    asked_for = ("self_collaborations", "context", "pipelines")
    assert [circleci.requests[name] for name in asked_for] == [1, 6, 6]
    counted = "SELECT org_slug, count(*) FROM continuous_integration.{} GROUP BY 1"
    assert dict(query(tmp_path, counted.format("context"))) == {"gh/acme": 23, "bb/basalt": 3, CLOUD: 1}
    assert dict(query(tmp_path, counted.format("pipelines"))) == {"gh/acme": 24, "bb/basalt": 3, CLOUD: 2}


def test_an_organisation_is_percent_encoded_in_a_query(circleci: Circleci, tmp_path: Path) -> None:
    assert circleci.api.by_name["pipelines"].path_for({"org_slug": "gh/acme"}) == "/v2/pipeline?org-slug=gh%2Facme"
    assert circleci.api.by_name["context"].path_for({"org_slug": "gh/acme"}) == "/v2/context?owner-slug=gh%2Facme"
    odd = ("gh/a&b", "gh/a+b", "gh/a#b")
    for slug in odd:
        circleci.add_organisation(slug)
        circleci.rows("context", slug).extend(make.context(slug, n) for n in range(11))

    results = circleci.sync("self_collaborations", "context", "pipelines")

    assert {each.status for each in results.values()} == {"complete"}
    found = "SELECT org_slug, count(*) FROM continuous_integration.context GROUP BY 1"
    counts = dict(query(tmp_path, found))
    for slug in odd:
        assert circleci.tokens("/v2/context", **{"owner-slug": slug}) == [None, token(10)]
        assert circleci.tokens("/v2/pipeline", **{"org-slug": slug}) == [None]
        assert counts[slug] == 11


def test_org_slugs_narrows_to_the_organisations_named(vendor_server: Callable[..., Circleci], tmp_path: Path) -> None:
    circleci = vendor_server(Circleci(), ORG_SLUGS=f"bb/basalt,{CLOUD}")
    circleci.sync("self_collaborations", "context", "pipelines")

    assert circleci.requests == {"self_collaborations": 1, "context": 2, "pipelines": 2}
    for table, counts in {"context": (3, 1), "pipelines": (3, 2)}.items():
        found = query(tmp_path, f"SELECT org_slug, count(*) FROM continuous_integration.{table} GROUP BY 1")
        assert dict(found) == dict(zip(("bb/basalt", CLOUD), counts, strict=True))
    # a list of what there is, not of what is read
    assert query(tmp_path, "SELECT count(*) FROM continuous_integration.self_collaborations") == [(4,)]


def test_rows_of_an_organisation_that_is_no_longer_named_are_marked(
    circleci: Circleci, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__CONTINUOUS_INTEGRATION__ORG_SLUGS", "bb/basalt")
    result = circleci.sync("self_collaborations", "context")["context"]

    assert result.rows_deleted == 24
    left = "SELECT org_slug, count(*) FROM continuous_integration.context WHERE _deleted_at IS NULL GROUP BY 1"
    assert query(tmp_path, left) == [("bb/basalt", 3)]


def test_a_collaboration_without_an_id_is_kept_under_its_slug(synced: Synced[Circleci], tmp_path: Path) -> None:
    result = synced.results["self_collaborations"]

    assert result.stats.rows_rejected == 0
    found = query(tmp_path, "SELECT slug, id, vcs_type FROM continuous_integration.self_collaborations")
    assert sorted(found) == [
        ("bb/basalt", make.ident("organisation", "bb/basalt"), "bitbucket"),
        (CLOUD, make.ident("organisation", CLOUD), "circleci"),
        ("gh/acme", make.ident("organisation", "gh/acme"), "github"),
        ("gh/ada", None, "github"),
    ]


def test_vcs_type_is_one_column_under_either_of_its_names(circleci: Circleci, tmp_path: Path) -> None:
    rows = circleci.rows("self_collaborations")
    assert [("vcs-type" in row, "vcs_type" in row) for row in rows] == [
        (True, False),
        (False, True),
        (True, False),
        (False, True),
    ]
    rows[0]["vcs_type"] = rows[0].pop("vcs-type")
    result = circleci.sync("self_collaborations")["self_collaborations"]

    assert result.stats.rows_loaded == 0
    assert [name for name in columns(tmp_path, "self_collaborations") if name.startswith("vcs")] == ["vcs_type"]


def test_workflows_come_from_the_lists_of_organisations_and_of_followed_projects(
    synced: Synced[Circleci], tmp_path: Path
) -> None:
    circleci = synced.vendor
    assert {each.status for each in synced.results.values()} == {"complete"}
    listed = {row["id"] for org in ORGANISATIONS for row in circleci.rows("pipelines", org)}
    own = {row["id"] for slug in FOLLOWED for row in circleci.rows("project_pipelines", slug)}
    # site is left out of its organisation's list
    assert (len(listed), len(own), len(listed & own)) == (29, 31, 20)
    asked = [each.path for each in circleci.asked if each.path.startswith("/api/v2/pipeline/")]
    # of one pipeline's 12 workflows there is a second page
    assert len(asked) == 40 + 1
    assert {path.split("/")[4] for path in asked} == listed | own
    found = dict(query(tmp_path, "SELECT project_slug, count(*) FROM continuous_integration.workflow GROUP BY 1"))
    assert found == {TOOLS: 9, SHOP: 15, SITE: 11, ENGINE: 14, SERVICE: 2}
    lists = [
        slug
        for slug in (*FOLLOWED, TOOLS)
        if any(asked.path == f"/api/v2/project/{slug}/pipeline" for asked in circleci.asked)
    ]
    # the lists of organisations have the pipelines of the others
    assert lists == [SITE, DOTFILES]


def test_slugs_of_every_host_are_sent_with_their_slashes(circleci: Circleci, tmp_path: Path) -> None:
    everyone = {*FOLLOWED, TOOLS}
    paths = [each.path.removeprefix("/api/v2") for each in circleci.asked]
    # the slug of one that version 1.1 alone tells of is not known before it answers
    asked = {slug if slug != SERVICE else make.made_of_ids(slug) for slug in everyone}
    assert {
        path.removeprefix("/project/") for path in paths if path.startswith("/project/") and path.count("/") == 4
    } == asked
    assert {path for path in paths if path.startswith("/insights/pages/")} == {
        f"/insights/pages/{slug}/summary" for slug in everyone
    }
    assert {path for path in paths if path.endswith("/branches")} == {f"/insights/{slug}/branches" for slug in everyone}
    jobs = {path for path in paths if "/job/" in path}
    assert jobs == {f"/project/{slug}/job/{number}" for slug, number in circleci.store["jobs"]}
    assert {path.split("/job/")[0].removeprefix("/project/") for path in jobs} == everyone - {DOTFILES}
    found = query(tmp_path, "SELECT project_slug, slug FROM continuous_integration.specific_project")
    assert sorted(found) == sorted((slug, slug) for slug in everyone)


def test_workflow_jobs_carry_their_workflow_and_approvals_have_no_record(circleci: Circleci, tmp_path: Path) -> None:
    lists = circleci.store["workflow_jobs"]
    found = query(tmp_path, "SELECT workflow_id, id, job_number FROM continuous_integration.workflow_jobs")
    assert sorted(found, key=str) == sorted(
        ((workflow, row["id"], row.get("job_number")) for (workflow,), rows in lists.items() for row in rows), key=str
    )
    approvals = query(
        tmp_path,
        "SELECT count(*), count(job_number), count(started_at) FROM continuous_integration.workflow_jobs "
        "WHERE type = 'approval'",
    )
    # 3 of tools, 5 of shop, 4 of site, 1 of each of the others, and one that holds
    assert approvals == [(3 + 5 + 4 + 1 + 1 + 1, 0, 0)]
    assert circleci.requests["jobs"] == len(circleci.store["jobs"]) == len(found) - 15
    assert circleci.requests["jobs"] == query(tmp_path, "SELECT count(*) FROM continuous_integration.jobs")[0][0]


def test_one_number_in_two_projects_is_two_jobs(circleci: Circleci, tmp_path: Path) -> None:
    found = query(
        tmp_path, "SELECT project_slug, number, web_url FROM continuous_integration.jobs WHERE number = 1 ORDER BY 1"
    )
    projects = sorted((SHOP, SITE, TOOLS, ENGINE, SERVICE))
    assert found == [(slug, 1, f"https://example.com/{slug}/1") for slug in projects]


def test_a_map_by_name_is_one_column(circleci: Circleci, tmp_path: Path) -> None:
    table, column = "me", "projects"
    there = columns(tmp_path, table)
    circleci.rows(table)[0][column]["https://example.com/one/more"] = {"a": 1}
    result = circleci.sync(table)[table]

    assert result.stats.rows_loaded == 1
    assert columns(tmp_path, table) == there
    assert {name: kind for name, kind in there.items() if name.startswith(column)} == {column: "JSON"}
    key = circleci.api.by_name[table].primary_key[0]
    found = {name: json.loads(text) for name, text in query(tmp_path, f"SELECT {key}, {column} FROM {SCHEMA}.{table}")}
    assert found == {row[key]: row[column] for row in circleci.rows(table)}


def test_a_project_without_insights_is_counted_and_no_failure(synced: Synced[Circleci], tmp_path: Path) -> None:
    circleci, results = synced.vendor, synced.results
    for name in ("insights_metrics", "insights_branches"):
        stats = results[name].stats
        assert (results[name].status, stats.parents, stats.parents_missing) == ("complete", 6, 1)
        assert circleci.requests[name] == 6
        found = query(tmp_path, f"SELECT project_slug, project_id FROM {SCHEMA}.{name}")
        there = {SHOP, SITE, TOOLS, ENGINE, SERVICE}
        assert sorted(found) == sorted((slug, make.ident("project", slug)) for slug in there)
    assert synced.slept == []


@pytest.mark.extended
def test_no_project_with_insights_is_no_failure_either(vendor_server: Callable[..., Circleci]) -> None:
    circleci = vendor_server(Circleci())
    circleci.store["insights_metrics"].clear()
    circleci.store["insights_branches"].clear()
    lists = ("self_collaborations", "projects", "pipelines", "specific_project")
    results = circleci.sync(*lists, "insights_metrics", "insights_branches")

    for name in ("insights_metrics", "insights_branches"):
        assert (results[name].status, results[name].stats.parents_missing) == ("complete", 6)
        assert results[name].table_rows == 0


def test_lists_are_read_by_token_until_it_is_null(synced: Synced[Circleci]) -> None:
    circleci, results = synced.vendor, synced.results
    asked = [None, token(10), token(20)]
    (service,) = [row for row in circleci.rows("project_pipelines", SERVICE) if row["number"] == 2]
    (engine,) = [row for row in circleci.rows("project_pipelines", ENGINE) if row["number"] == 3]
    (long,) = circleci.rows("pipeline_workflows", service["id"])
    assert len(circleci.rows("workflow_jobs", long["id"])) == 13
    assert circleci.tokens(f"/v2/workflow/{long['id']}/job") == asked[:2]
    assert circleci.tokens(f"/v2/pipeline/{engine['id']}/workflow") == asked[:2]
    for slug, pages in {SHOP: 0, SITE: 2, ENGINE: 0, SERVICE: 0, DOTFILES: 1}.items():
        assert circleci.tokens(f"/v2/project/{slug}/pipeline") == asked[:pages]
    assert all(each.stats.pages == each.stats.meter.requests - each.stats.parents_missing
               for each in results.values())  # fmt: skip


def test_times_have_milliseconds_or_none_and_may_be_null(circleci: Circleci, tmp_path: Path) -> None:
    (pipeline,) = [row for row in circleci.rows("project_pipelines", SHOP) if row["number"] == 14]
    (workflow,) = circleci.rows("pipeline_workflows", pipeline["id"])
    assert (pipeline["created_at"], workflow["created_at"]) == ("2026-03-03T10:00:00.250Z", "2026-03-03T10:00:00Z")
    told = {"pipelines": ("created_at", "updated_at"), "context": ("created_at",), "me": ("created_at",)} | {
        "project_pipelines": ("created_at", "updated_at"),
        "pipeline_workflows": ("created_at", "stopped_at"),
        "workflow": ("created_at", "stopped_at"),
        "workflow_jobs": ("started_at", "stopped_at"),
        "jobs": ("created_at", "queued_at", "started_at", "stopped_at"),
    }
    for table, names in told.items():
        kinds = columns(tmp_path, table)
        assert {name: kinds[name] for name in names} == dict.fromkeys(names, "TIMESTAMP WITH TIME ZONE")
    moment = 1_772_532_000_000
    times = "SELECT epoch_ms(created_at), epoch_ms({}) FROM continuous_integration.{} WHERE id = '{}'"
    assert query(tmp_path, times.format("updated_at", "pipelines", pipeline["id"])) == [(moment + 250, moment + 750)]
    for table in ("workflow", "pipeline_workflows"):
        assert query(tmp_path, times.format("stopped_at", table, workflow["id"])) == [(moment, None)]
