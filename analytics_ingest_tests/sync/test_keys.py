"""The keys that other tools get wrong, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.conftest import expected_keys, live_keys, query, sandbox_in, sync

NAMES = {
    "experimentation": (
        *("dynamic_configs", "dynamic_configs_versions", "gates", "gates_rules", "events", "events_metrics"),
        *("tags", "holdouts"),
    ),
    "project_planning": (
        *("objectives", "objectives_epics", "milestones", "milestones_epics"),
        *("categories", "categories_milestones", "categories_objectives"),
        *("epics", "epics_stories", "groups", "groups_stories", "iterations", "iterations_stories"),
        *("stories_comments", "story_history"),
    ),
    "continuous_integration": ("projects", "pipelines", "pipeline_workflows", "workflow_jobs", "jobs"),
    "feature_management": (*("workspaces", "environments", "segments", "segments_keys", "feature_flags", "groups"),),
}
"""The endpoints that the tests look at, and their parents."""


@dataclass
class Synced:
    """A warehouse after one sync of each API."""

    folder: Path
    server: SandboxServer
    results: dict[str, dict[str, EndpointResult]] = field(default_factory=dict)

    def assert_exact(self, api: str, name: str) -> None:
        assert live_keys(self.folder, api, name) == expected_keys(self.server.world, api, name)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return query(self.folder, sql)

    def count(self, sql: str) -> int:
        return int(self.query(f"SELECT count(*) FROM ({sql})")[0][0])


@pytest.fixture(scope="module")
def synced_apis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synced]:
    folder = tmp_path_factory.mktemp("keys")
    with sandbox_in(folder) as server:
        found = Synced(folder, server)
        found.results |= {api: sync(api, *names) for api, names in NAMES.items()}
        yield found


def test_versions_that_share_their_configs_id_are_all_kept(synced_apis: Synced) -> None:
    synced_apis.assert_exact("experimentation", "dynamic_configs_versions")
    table = "experimentation.dynamic_configs_versions"
    assert synced_apis.count(f"SELECT id FROM {table} GROUP BY id HAVING count(*) > 1") > 0
    assert synced_apis.count(f"SELECT 1 FROM {table} WHERE id <> dynamic_config_id") == 0


@pytest.mark.parametrize(
    ("api", "child", "shared", "apart"),
    [
        ("experimentation", "gates_rules", "id", "gate_id"),
        ("project_planning", "objectives_epics", "id", "objective_id"),
        ("project_planning", "milestones_epics", "id", "milestone_id"),
        ("project_planning", "categories_milestones", "id", "category_id"),
        ("project_planning", "categories_objectives", "id", "category_id"),
        ("feature_management", "segments", "name", "workspace_id"),
    ],
)
def test_same_id_under_two_parents_is_two_rows(
    synced_apis: Synced, api: str, child: str, shared: str, apart: str
) -> None:
    synced_apis.assert_exact(api, child)
    twice = f"SELECT {shared} FROM {api}.{child} GROUP BY {shared} HAVING count(DISTINCT {apart}) > 1"
    assert synced_apis.count(twice) > 0


def test_job_number_1_of_two_projects_is_two_rows(synced_apis: Synced) -> None:
    synced_apis.assert_exact("continuous_integration", "jobs")
    columns = "project_slug, org_id, project_id"
    ones = synced_apis.query(f"SELECT {columns} FROM continuous_integration.jobs WHERE number = 1")
    assert len(ones) == len(set(ones)) > 1
    assert all(slug.split("/")[-2:] == [org, project] for slug, org, project in ones)


def test_event_names_with_reserved_characters_reach_their_own_metrics(synced_apis: Synced) -> None:
    synced_apis.assert_exact("experimentation", "events_metrics")
    names = synced_apis.query("SELECT DISTINCT event_name FROM experimentation.events_metrics")
    assert set("/?# ü%+") <= set("".join(name for (name,) in names))


def test_stories_that_only_an_iteration_has_keep_their_comments_and_history(synced_apis: Synced) -> None:
    only = """SELECT id FROM project_planning.iterations_stories
        WHERE id NOT IN (SELECT id FROM project_planning.epics_stories)
        AND id NOT IN (SELECT id FROM project_planning.groups_stories)"""
    assert synced_apis.count(only) > 0
    history = f"SELECT DISTINCT story_id FROM project_planning.story_history WHERE story_id IN ({only})"
    assert synced_apis.count(history) == synced_apis.count(only)
    for name in ("stories_comments", "story_history"):
        synced_apis.assert_exact("project_planning", name)


def test_workspace_with_120_flags_at_50_a_page(synced_apis: Synced) -> None:
    per_workspace = synced_apis.query(
        "SELECT workspace_id, count(*) FROM feature_management.feature_flags GROUP BY 1 HAVING count(*) = 120",
    )
    assert len(per_workspace) == 1
    path = f"/v2/splits/ws/{per_workspace[0][0]}"
    offsets = [r.query for r in synced_apis.server.requests.records if r.path.endswith(path)]
    assert [query.count("offset=") for query in offsets] == [1, 1, 1]


@pytest.mark.parametrize(
    ("api", "name", "rows", "requests"),
    [
        ("experimentation", "tags", 100, 2),
        ("feature_management", "groups", 50, 2),
        ("experimentation", "holdouts", 0, 1),
    ],
)
def test_one_full_page_and_none(synced_apis: Synced, api: str, name: str, rows: int, requests: int) -> None:
    result = synced_apis.results[api][name]

    assert result.table_rows == rows
    assert synced_apis.server.requests.count(api, name) == requests
    synced_apis.assert_exact(api, name)


def test_rules_after_a_page_of_gates_without_rules(synced_apis: Synced) -> None:
    synced_apis.assert_exact("experimentation", "gates_rules")


def test_segment_not_defined_in_an_environment_is_counted_and_no_failure(synced_apis: Synced) -> None:
    result = synced_apis.results["feature_management"]["segments_keys"]

    assert result.status == "complete"
    assert result.stats.parents_missing > 0
    synced_apis.assert_exact("feature_management", "segments_keys")
