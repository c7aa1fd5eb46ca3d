"""The keys that other tools get wrong, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from analytics_ingest_tests.conftest import expected_keys, live_keys, query, sync

if TYPE_CHECKING:
    from pathlib import Path

    from analytics_ingest.sandbox.server import SandboxServer


def assert_table_exact(tmp_path: Path, sandbox: SandboxServer, api: str, name: str) -> None:
    assert live_keys(tmp_path, api, name) == expected_keys(sandbox.world, api, name)


def counts(tmp_path: Path, sql: str) -> int:
    return int(query(tmp_path, f"SELECT count(*) FROM ({sql})")[0][0])


def test_versions_that_share_their_configs_id_are_all_kept(tmp_path: Path, sandbox: SandboxServer) -> None:
    sync("experimentation", "dynamic_configs", "dynamic_configs_versions")

    assert_table_exact(tmp_path, sandbox, "experimentation", "dynamic_configs_versions")
    table = "experimentation.dynamic_configs_versions"
    assert counts(tmp_path, f"SELECT id FROM {table} GROUP BY id HAVING count(*) > 1") > 0
    assert counts(tmp_path, f"SELECT 1 FROM {table} WHERE id <> dynamic_config_id") == 0


@pytest.mark.parametrize(
    ("api", "parents", "child", "shared", "apart"),
    [
        ("experimentation", ["gates"], "gates_rules", "id", "gate_id"),
        ("project_planning", ["objectives"], "objectives_epics", "id", "objective_id"),
        ("project_planning", ["milestones"], "milestones_epics", "id", "milestone_id"),
        ("project_planning", ["categories"], "categories_milestones", "id", "category_id"),
        ("project_planning", ["categories"], "categories_objectives", "id", "category_id"),
        ("feature_management", ["workspaces"], "segments", "name", "workspace_id"),
    ],
)
def test_same_id_under_two_parents_is_two_rows(
    tmp_path: Path, sandbox: SandboxServer, api: str, parents: list[str], child: str, shared: str, apart: str
) -> None:
    sync(api, *parents, child)

    assert_table_exact(tmp_path, sandbox, api, child)
    twice = f"SELECT {shared} FROM {api}.{child} GROUP BY {shared} HAVING count(DISTINCT {apart}) > 1"
    assert counts(tmp_path, twice) > 0


def test_job_number_1_of_two_projects_is_two_rows(tmp_path: Path, sandbox: SandboxServer) -> None:
    sync("continuous_integration")

    assert_table_exact(tmp_path, sandbox, "continuous_integration", "jobs")
    ones = query(tmp_path, "SELECT project_slug, org_id, project_id FROM continuous_integration.jobs WHERE number = 1")
    assert len(ones) == len(set(ones)) > 1
    assert all(slug.split("/")[-2:] == [org, project] for slug, org, project in ones)


def test_event_names_with_reserved_characters_reach_their_own_metrics(tmp_path: Path, sandbox: SandboxServer) -> None:
    sync("experimentation", "events", "events_metrics")

    assert_table_exact(tmp_path, sandbox, "experimentation", "events_metrics")
    names = "".join(row[0] for row in query(tmp_path, "SELECT DISTINCT event_name FROM experimentation.events_metrics"))
    assert set("/?# ü%+") <= set(names)


def test_stories_that_only_an_iteration_has_keep_their_comments_and_history(
    tmp_path: Path, sandbox: SandboxServer
) -> None:
    sync("project_planning")

    only = """SELECT id FROM project_planning.iterations_stories
        WHERE id NOT IN (SELECT id FROM project_planning.epics_stories)
        AND id NOT IN (SELECT id FROM project_planning.groups_stories)"""
    assert counts(tmp_path, only) > 0
    history = f"SELECT DISTINCT story_id FROM project_planning.story_history WHERE story_id IN ({only})"
    assert counts(tmp_path, history) == counts(tmp_path, only)
    for name in ("stories_comments", "story_history"):
        assert_table_exact(tmp_path, sandbox, "project_planning", name)


def test_workspace_with_120_flags_at_50_a_page(tmp_path: Path, sandbox: SandboxServer) -> None:
    sync("feature_management", "workspaces", "feature_flags")

    per_workspace = query(
        tmp_path,
        "SELECT workspace_id, count(*) FROM feature_management.feature_flags GROUP BY 1 HAVING count(*) = 120",
    )
    assert len(per_workspace) == 1
    path = f"/v2/splits/ws/{per_workspace[0][0]}"
    offsets = [r.query for r in sandbox.requests.records if r.path.endswith(path)]
    assert [query.count("offset=") for query in offsets] == [1, 1, 1]


@pytest.mark.parametrize(
    ("api", "name", "rows", "requests"),
    [
        ("experimentation", "tags", 100, 2),
        ("feature_management", "groups", 50, 2),
        ("experimentation", "holdouts", 0, 1),
    ],
)
def test_one_full_page_and_none(
    tmp_path: Path, sandbox: SandboxServer, api: str, name: str, rows: int, requests: int
) -> None:
    result = sync(api, name)[name]

    assert result.table_rows == rows
    assert sandbox.requests.count(api, name) == requests
    assert_table_exact(tmp_path, sandbox, api, name)


def test_rules_after_a_page_of_gates_without_rules(tmp_path: Path, sandbox: SandboxServer) -> None:
    sync("experimentation", "gates", "gates_rules")

    assert_table_exact(tmp_path, sandbox, "experimentation", "gates_rules")


def test_segment_not_defined_in_an_environment_is_counted_and_no_failure(
    tmp_path: Path, sandbox: SandboxServer
) -> None:
    result = sync("feature_management")["segments_keys"]

    assert result.status == "complete"
    assert result.reading is not None
    assert result.reading.parents_missing > 0
    assert_table_exact(tmp_path, sandbox, "feature_management", "segments_keys")
