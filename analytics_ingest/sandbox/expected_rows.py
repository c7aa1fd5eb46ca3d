"""The rows that each table must have after a complete sync, with their path parameters, and the primary keys.

They are computed from the world's store, not read over HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytics_ingest.sandbox.routes import ROUTES
from analytics_ingest.sandbox.row_formats import without_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Row = dict[str, Any]
Rows = list[Row]
Store = dict[str, dict[str, Any]]
"""All rows by API and endpoint.

A list for a top-level endpoint; for a child a dictionary from the tuple of path values, as text, to its list of rows or
its one row.
"""
OTHER_KEYS: dict[tuple[str, str], tuple[str, ...]] = {
    ("experimentation", "dynamic_configs_versions"): ("id", "version"),
    ("experimentation", "dynamic_configs_rules"): ("dynamic_config_id", "id"),
    ("experimentation", "events"): ("name",),
    ("experimentation", "events_metrics"): ("event_name", "id"),
    ("experimentation", "gates_rules"): ("gate_id", "id"),
    ("experimentation", "ingestion_status"): (),
    ("experimentation", "segments_ids"): ("segment_id", "id"),
    ("project_planning", "categories_milestones"): ("category_id", "id"),
    ("project_planning", "categories_objectives"): ("category_id", "id"),
    ("project_planning", "milestones_epics"): ("milestone_id", "id"),
    ("project_planning", "objectives_epics"): ("objective_id", "id"),
    ("project_planning", "story_history"): ("story_id", "id"),
    ("continuous_integration", "me"): ("analytics_id",),
    ("continuous_integration", "projects"): ("vcs_url",),
    ("continuous_integration", "jobs"): ("project_slug", "number"),
    ("continuous_integration", "insights_metrics"): ("org_id", "project_id"),
    ("continuous_integration", "insights_branches"): ("org_id", "project_id"),
    ("feature_management", "segments"): ("workspace_id", "name"),
    ("feature_management", "segments_keys"): ("environment_id", "segment_name", "key"),
}
"""The primary keys that are not ``id``."""
KEYS: dict[tuple[str, str], tuple[str, ...]] = {each: OTHER_KEYS.get(each, ("id",)) for each in ROUTES}
"""The primary key of each (API, endpoint); empty for a snapshot without one."""


def _per_row(api: str, parent: str, **columns: str) -> Callable[[Store], Iterator[Row]]:
    """One partition for each row of a parent: ``columns`` gives the parent's field by the child's column."""

    def partitions(store: Store) -> Iterator[Row]:
        for row in listed(store, api, parent):
            yield {name: row[field] for name, field in columns.items()}

    return partitions


def _stories(store: Store) -> Iterator[Row]:
    seen: dict[Any, None] = {}
    for endpoint in ("epics_stories", "groups_stories", "iterations_stories"):
        seen.update(dict.fromkeys(row["id"] for row in listed(store, "project_planning", endpoint)))
    return ({"story_id": story} for story in seen)


def _jobs(store: Store) -> Iterator[Row]:
    for row in listed(store, "continuous_integration", "workflow_jobs"):
        if row.get("job_number") is not None:
            slug = row["project_slug"]
            org, project = slug.split("/")[-2:]
            number = row["job_number"]
            yield {"org_id": org, "project_id": project, "job_number": number, "project_slug": slug}


def _segment_keys(store: Store) -> Iterator[Row]:
    segments = expected_rows(store, "feature_management", "segments")
    for environment in expected_rows(store, "feature_management", "environments"):
        for segment in segments:
            if segment["workspace_id"] == environment["workspace_id"]:
                yield {"environment_id": environment["id"], "segment_name": segment["name"]}


PER_CONFIG = _per_row("experimentation", "dynamic_configs", dynamic_config_id="id")
PER_CATEGORY = _per_row("project_planning", "categories", category_id="id")
PER_EPIC = _per_row("project_planning", "epics", epic_id="id")
PER_WORKFLOW = _per_row("continuous_integration", "pipeline_workflows", workflow_id="id")
PER_PROJECT = _per_row("continuous_integration", "projects", org_id="username", project_id="reponame")
PER_WORKSPACE = _per_row("feature_management", "workspaces", workspace_id="id")
PARTITIONS: dict[tuple[str, str], Callable[[Store], Iterator[Row]]] = {
    ("experimentation", "dynamic_configs_versions"): PER_CONFIG,
    ("experimentation", "dynamic_configs_rules"): PER_CONFIG,
    ("experimentation", "events_metrics"): _per_row("experimentation", "events", event_name="name"),
    ("experimentation", "gates_rules"): _per_row("experimentation", "gates", gate_id="id"),
    ("experimentation", "segments_ids"): _per_row("experimentation", "segments", segment_id="id"),
    ("project_planning", "categories_milestones"): PER_CATEGORY,
    ("project_planning", "categories_objectives"): PER_CATEGORY,
    ("project_planning", "epics_comments"): PER_EPIC,
    ("project_planning", "epics_stories"): PER_EPIC,
    ("project_planning", "groups_stories"): _per_row("project_planning", "groups", group_id="id"),
    ("project_planning", "iterations_stories"): _per_row("project_planning", "iterations", iteration_id="id"),
    ("project_planning", "milestones_epics"): _per_row("project_planning", "milestones", milestone_id="id"),
    ("project_planning", "objectives_epics"): _per_row("project_planning", "objectives", objective_id="id"),
    ("project_planning", "stories_comments"): _stories,
    ("project_planning", "story_history"): _stories,
    ("continuous_integration", "pipeline_workflows"): _per_row("continuous_integration", "pipelines", pipeline_id="id"),
    ("continuous_integration", "workflow"): PER_WORKFLOW,
    ("continuous_integration", "workflow_jobs"): PER_WORKFLOW,
    ("continuous_integration", "jobs"): _jobs,
    ("continuous_integration", "specific_project"): PER_PROJECT,
    ("continuous_integration", "insights_metrics"): PER_PROJECT,
    ("continuous_integration", "insights_branches"): PER_PROJECT,
    ("feature_management", "segments"): PER_WORKSPACE,
    ("feature_management", "environments"): PER_WORKSPACE,
    ("feature_management", "traffic_types"): PER_WORKSPACE,
    ("feature_management", "feature_flags"): PER_WORKSPACE,
    ("feature_management", "segments_keys"): _segment_keys,
}
"""The partitions of each child endpoint: the path values by column, with other columns that the parent gives."""


def _flat(endpoint: str, stored: Any) -> Rows:
    """The rows of one partition: an object is one row, and rules are one level down."""
    if isinstance(stored, dict):
        return [stored]
    if endpoint in {"gates_rules", "dynamic_configs_rules"}:
        return [rule for element in stored for rule in element["rules"]]
    return list(stored)


def listed_partitions(store: Store, api: str, endpoint: str) -> Iterator[tuple[tuple[str, ...], Row]]:
    """The partitions of a child endpoint whose parent is listed: their path values, and the columns of their rows."""
    names = ROUTES[api, endpoint].columns
    for columns in PARTITIONS[api, endpoint](store):
        yield tuple(str(columns[name]) for name in names), columns


def listed(store: Store, api: str, endpoint: str) -> Iterator[Row]:
    """The rows of an endpoint as they are served, without those whose parent is not listed."""
    stored = store[api][endpoint]
    if (api, endpoint) not in PARTITIONS:
        yield from stored
        return
    for path, _ in listed_partitions(store, api, endpoint):
        yield from _flat(endpoint, stored.get(path, []))


def expected_rows(store: Store, api: str, endpoint: str, *, slug_prefix: bool = True) -> Rows:
    """Copies of the rows that the table of an endpoint must have after a complete sync, each key once.

    A child's rows have their path parameters.

    Args:
        store: The rows of all endpoints.
        api: The API.
        endpoint: The endpoint's name.
        slug_prefix: The server's option of that name.

    Raises:
        KeyError: There is no such endpoint.
    """
    stored = store[api][endpoint]
    if (api, endpoint) not in PARTITIONS:
        rows = [dict(row) for row in stored]
    else:
        rows = [
            {**row, **columns}
            for path, columns in listed_partitions(store, api, endpoint)
            for row in _flat(endpoint, stored.get(path, []))
        ]
    if not slug_prefix:
        rows = [without_prefix(row) for row in rows]
    key = KEYS[api, endpoint]
    if not key:
        return rows
    return list({tuple(row[name] for name in key): row for row in rows}.values())
