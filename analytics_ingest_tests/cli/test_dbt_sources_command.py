"""``analytics-ingest dbt-sources``: the text that it writes, where it writes it, and its exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Template
from typer.testing import CliRunner

from analytics_ingest.apis.column_descriptions import declared_columns
from analytics_ingest.apis.model import Api
from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.cli.app import app
from analytics_ingest.diagnostics.dbt_sources import declare_source, write_sources
from analytics_ingest_tests import trials
from analytics_ingest_tests.conftest import ROOT
from analytics_ingest_tests.environment import WAREHOUSE, configure_api, set_environment
from analytics_ingest_tests.stores import lake_store
from analytics_ingest_tests.vendors.circleci import OF_WORKFLOWS

DECLARATIONS = [*APIS.values(), *(profile for profiles in PROFILES.values() for profile in profiles.values())]
every_api = pytest.mark.parametrize("api", DECLARATIONS, ids=lambda api: api.profile or api.name)
TEXT = """\
# Written by `analytics-ingest dbt-sources`: the next call replaces the file, and edits with it.
version: 2
sources:
- name: trials
  description: Trials.
  database: warehouse
  schema: trials
  config:
    freshness:
      warn_after:
        count: 2
        period: hour
      error_after:
        count: 4
        period: hour
    loaded_at_query: 'select max(read_completely_at) from {{ this.incorporate(path={''identifier'': ''_syncs''}) }} \
where endpoint = ''{{ model.name }}'' and status = ''complete'''
  tables:
  - name: things
    description: Things.
    config:
      meta:
        dagster:
          asset_key:
          - trials
          - things
    columns:
    - name: id
      quote: true
      description: Identifier of the row, given by the API.
      data_tests:
      - not_null
      - unique
    - name: due_on
      quote: true
    - name: ends_at
      quote: true
    - name: seen_at
      quote: true
    - name: starts_at
      quote: true
    - name: updated_at
      quote: true
      description: When it was last changed, UTC.
    - name: _deleted_at
      quote: true
      description: When a sync found that the row was deleted upstream, UTC; null while it exists.
  - name: states
    description: A snapshot.
    config:
      meta:
        dagster:
          asset_key:
          - trials
          - states
    columns: []
  - name: others
    description: Always the same.
    config:
      meta:
        dagster:
          asset_key:
          - trials
          - others
    columns:
    - name: id
      quote: true
      description: Identifier of the row, given by the API.
      data_tests:
      - not_null
      - unique
    - name: name
      quote: true
      description: Name, as people see it.
    - name: updated_at
      quote: true
      description: When it was last changed, UTC.
    - name: _deleted_at
      quote: true
      description: When a sync found that the row was deleted upstream, UTC; null while it exists.
  - name: parts
    description: Parts of things.
    config:
      meta:
        dagster:
          asset_key:
          - trials
          - parts
    data_tests:
    - unique:
        name: unique_trials__parts__key
        arguments:
          column_name: cast(length(cast("thing_id" as text)) as text) || ':' || cast("thing_id" as text) || '/' || \
cast("id" as text)
    columns:
    - name: thing_id
      quote: true
      description: The id of the row of things that it belongs to.
      data_tests:
      - not_null
      - relationships:
          arguments:
            to: source('trials', 'things')
            field: '"id"'
          config:
            where: _deleted_at is null
    - name: id
      quote: true
      description: Identifier of the row, given by the API.
      data_tests:
      - not_null
    - name: _deleted_at
      quote: true
      description: When a sync found that the row was deleted upstream, UTC; null while it exists.
"""
STEPS = "dbt build tests them, dbt source freshness reads when they were last synced."


def run(*arguments: str | Path) -> tuple[int, str, list[str]]:
    """The exit code, standard output, and the lines of standard error."""
    result = CliRunner().invoke(app, ["dbt-sources", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.stdout, result.stderr.splitlines()


def tables(api: Api) -> dict[str, dict[str, Any]]:
    """The tables of an account's source, by name."""
    return {table["name"]: table for table in declare_source(api)["tables"]}


def checks_of(api: Api, table: str, column: str) -> list[Any]:
    """The tests of a column."""
    (found,) = [each for each in tables(api)[table]["columns"] if each["name"] == column]
    return found.get("data_tests", [])


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Api:
    """The API of four endpoints, among those that are registered."""
    monkeypatch.setitem(APIS, trials.NAME, trials.API)
    return trials.API


def attachment(file: Path) -> str:
    """What is said about a DuckDB file."""
    return (
        "The profile of dbt-duckdb needs, unless this file is its path: "
        f"attach: [{{path: {file}, alias: warehouse, read_only: true}}]"
    )


def test_the_text_is_as_it_is(registered: Api, tmp_path: Path) -> None:
    steps = f"sources: 1, tables: 4. Save them as a file below models/ of a dbt project. {STEPS}"

    assert run("trials") == (0, TEXT, [steps, attachment(tmp_path / WAREHOUSE)])


def test_a_file_is_replaced(registered: Api, tmp_path: Path) -> None:
    file = tmp_path / "models" / "sources.yml"
    assert run("trials", "--output", file) == (1, "", [f"{file} cannot be written: No such file or directory"])
    file.parent.mkdir()
    file.write_text("x" * 100_000)
    code, output, lines = run("trials", "--output", file)

    assert (code, output) == (0, "")
    assert lines[0] == f"sources: 1, tables: 4, in {file}. {STEPS}"
    assert file.read_text() == TEXT
    assert [*file.parent.iterdir()] == [file]


def test_accounts_that_are_not_configured_are_left_out_unless_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    code, output, lines = run()
    assert (code, output) == (1, "")
    assert lines == [f"no account is configured: {', '.join(APIS)}; name those whose tables are there"]

    configure_api(monkeypatch, "experimentation", profile="statsig", api_key="k")
    code, output, lines = run()
    assert code == 0
    assert [each["name"] for each in yaml.safe_load(output)["sources"]] == ["experimentation"]
    assert lines[-1] == f"Left out, as they are not configured: {', '.join(list(APIS)[1:])}"

    assert [each["name"] for each in yaml.safe_load(run("incident_response")[1])["sources"]] == ["incident_response"]


def test_readers_attach_the_published_copy_under_the_name_of_the_file(
    registered: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "readers" / "copy.duckdb"
    monkeypatch.setenv("ANALYTICS_INGEST_PUBLISH", str(copy))

    assert run("trials")[1:] == (TEXT, [run("trials")[2][0], attachment(copy)])


def test_a_source_in_postgresql_is_in_the_database_of_the_profile(
    registered: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", "postgres")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", "postgresql://user:password@127.0.0.1:5432/other")
    code, output, lines = run("trials")

    assert (code, output) == (0, TEXT.replace("  database: warehouse\n", ""))
    assert len(lines) == 1


@pytest.mark.extended
def test_a_lake_is_attached_under_its_name(registered: Api, tmp_path: Path) -> None:
    with lake_store(tmp_path) as store, pytest.MonkeyPatch.context() as patch:
        set_environment(patch, store.settings)
        code, output, lines = run("trials")

    assert (code, output) == (0, TEXT.replace("  database: warehouse\n", "  database: ducklake\n"))
    assert lines[1:] == ["The profile of dbt-duckdb has to attach the lake as ducklake."]


def test_a_destination_without_a_ledger_is_refused(registered: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", "motherduck")

    assert run("trials") == (
        1,
        "",
        ["the destination motherduck has no ledger of syncs: only duckdb, ducklake, postgres have it"],
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"warn_after": (2, "hour"), "error_after": (4, "hour")}),
        ({"cron": "0 3 * * *"}, {"warn_after": (2, "day"), "error_after": (4, "day")}),
        ({"cron": "*/15 * * * *"}, {"warn_after": (30, "minute"), "error_after": (1, "hour")}),
        ({"warn_after": 5430, "fail_after": 100_000}, {"warn_after": (90, "minute"), "error_after": (1666, "minute")}),
        ({"warn_after": 7200, "fail_after": 7200}, {"error_after": (2, "hour")}),
    ],
)
def test_limits_of_freshness_are_those_of_the_assets(
    settings: dict[str, Any], expected: dict[str, tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_api(monkeypatch, trials.NAME, **settings)
    found = declare_source(trials.API)["config"]["freshness"]

    assert {name: (limit["count"], limit["period"]) for name, limit in found.items()} == expected


def test_a_setting_that_is_wrong_ends_the_command(registered: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    configure_api(monkeypatch, trials.NAME, warn_after=7200, fail_after=60)

    assert run("trials") == (1, "", ["SOURCES__TRIALS__WARN_AFTER is longer than SOURCES__TRIALS__FAIL_AFTER"])


def test_endpoints_that_no_sync_reads_are_left_out_with_their_children(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_api(monkeypatch, trials.NAME, skip_endpoints="things")

    assert list(tables(trials.API)) == ["states", "others"]


def test_a_value_of_one_of_several_parents_is_looked_up_in_all_of_them() -> None:
    assert checks_of(APIS["project_planning"], "story_history", "story_id") == [
        "not_null",
        {
            "relationships": {
                "name": "relationships_project_planning__story_history__story_id",
                "arguments": {
                    "to": "(select \"id\" as value from {{ source('project_planning', 'epics_stories') }} union all "
                    "select \"id\" as value from {{ source('project_planning', 'groups_stories') }} union all "
                    "select \"id\" as value from {{ source('project_planning', 'iterations_stories') }}) as parents",
                    "field": "value",
                },
                "config": {"where": "_deleted_at is null"},
            }
        },
    ]


def test_values_that_come_from_a_setting_or_under_another_name_have_no_parent_to_test() -> None:
    circleci = PROFILES["continuous_integration"]["circleci"]
    found = {
        (table["name"], column["name"])
        for table in tables(circleci).values()
        for column in table["columns"]
        for test in column.get("data_tests", [])
        if "relationships" in test
    }

    assert found == {
        ("pipeline_workflows", "pipeline_id"),
        ("workflow", "workflow_id"),
        ("workflow_jobs", "workflow_id"),
        ("jobs", "project_slug"),
        ("jobs", "job_number"),
        ("schedules", "project_slug"),
        ("context_environment_variables", "context_id"),
        *((table, name) for table in OF_WORKFLOWS for name in ("project_slug", "workflow_name")),
    }


def test_text_in_templates_of_dbt_stays_text() -> None:
    thing = replace(trials.API.by_name["others"], description="{{ env_var('HOME') }}, {% x %}, {# y #}, {{{z}}}.")
    text = declare_source(replace(trials.API, endpoints=(thing,)))["tables"][0]["description"]

    assert text == "{{ '{{' }} env_var('HOME') }}, {{ '{%' }} x %}, {{ '{#' }} y #}, {{ '{{' }}{z}}}."
    assert Template(text).render() == thing.description


@every_api
def test_every_endpoint_has_a_table_with_the_tests_of_its_key(api: Api) -> None:
    found = tables(api)

    assert list(found) == [endpoint.name for endpoint in api.endpoints]
    for endpoint in api.endpoints:
        table = found[endpoint.name]
        columns = {column["name"]: column for column in table["columns"]}
        assert table["description"] == endpoint.description
        assert list(columns) == [*declared_columns(endpoint), *(["_deleted_at"] if endpoint.primary_key else [])]
        not_null = [name for name, column in columns.items() if "not_null" in column.get("data_tests", [])]
        assert not_null == [*endpoint.primary_key]
        single = [name for name, column in columns.items() if "unique" in column.get("data_tests", [])]
        assert single == ([*endpoint.primary_key] if len(endpoint.primary_key) == 1 else [])
        assert ("data_tests" in table) == (len(endpoint.primary_key) > 1)


@every_api
def test_the_text_says_what_was_declared(api: Api) -> None:
    declared = declare_source(api)
    text = write_sources([declared])

    assert yaml.safe_load(text) == {"version": 2, "sources": [declared]}
    assert text == write_sources([declare_source(api)])
    # YAML's anchors, for what occurs twice
    assert " &id" not in text


def test_the_asset_keys_are_those_of_the_projects_definitions(tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(
        "from analytics_ingest import build_definitions\n\n"
        "defs = build_definitions(\n"
        "    accounts=['statsig_eu'],\n"
        "    settings={'statsig_eu': {'api': 'experimentation', 'profile': 'statsig', 'api_key': 'k'}},\n"
        "    key_prefix=['raw', 'vendors'],\n"
        ")\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "analytics_ingest", "dbt-sources", "-m", "project", "statsig_eu"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    (source,) = yaml.safe_load(done.stdout)["sources"]
    assert (source["name"], source["schema"], source["description"]) == (
        "statsig_eu",
        "statsig_eu",
        "Statsig (statsig_eu).",
    )
    keys = {table["name"]: table["config"]["meta"]["dagster"]["asset_key"] for table in source["tables"]}
    names = [endpoint.name for endpoint in PROFILES["experimentation"]["statsig"].endpoints]
    assert keys == {name: ["raw", "vendors", "statsig_eu", name] for name in names}
