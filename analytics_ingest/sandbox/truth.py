"""What a complete sync must hold: the rows of each endpoint with their path parameters, and their keys.

It is computed from the world's store, not read over HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytics_ingest.sandbox.dialects import without_prefix
from analytics_ingest.sandbox.routes import ROUTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Row = dict[str, Any]
Rows = list[Row]

#: All rows by API and endpoint: a list for a top-level endpoint; for a child a dictionary from the tuple of
#: its path values, as text, to its list of rows or its one row.
Store = dict[str, dict[str, Any]]

_OTHER_KEYS: dict[tuple[str, str], tuple[str, ...]] = {
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

#: The primary key of each (API, endpoint); empty for a snapshot without one.
KEYS: dict[tuple[str, str], tuple[str, ...]] = {each: _OTHER_KEYS.get(each, ("id",)) for each in ROUTES}


def key_columns(api: str, endpoint: str) -> tuple[str, ...]:
    """Give the primary key of an endpoint; raises `KeyError` for an unknown one."""
    return KEYS[api, endpoint]


def _each(api: str, parent: str, **columns: str) -> Callable[[Store], Iterator[Row]]:
    """One request for each row of a parent: `columns` maps the child's columns to the parent's fields."""

    def feed(store: Store) -> Iterator[Row]:
        for row in listed(store, api, parent):
            yield {name: row[field] for name, field in columns.items()}

    return feed


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
    segments = expected(store, "feature_management", "segments")
    for environment in expected(store, "feature_management", "environments"):
        for segment in segments:
            if segment["workspace_id"] == environment["workspace_id"]:
                yield {"environment_id": environment["id"], "segment_name": segment["name"]}


_CONFIG = _each("experimentation", "dynamic_configs", dynamic_config_id="id")
_CATEGORY = _each("project_planning", "categories", category_id="id")
_EPIC = _each("project_planning", "epics", epic_id="id")
_WORKFLOW = _each("continuous_integration", "pipeline_workflows", workflow_id="id")
_PROJECT = _each("continuous_integration", "projects", org_id="username", project_id="reponame")
_WORKSPACE = _each("feature_management", "workspaces", workspace_id="id")

#: What each child endpoint is asked for: its path values by column, with other columns that come from the
#: parent.
FEEDS: dict[tuple[str, str], Callable[[Store], Iterator[Row]]] = {
    ("experimentation", "dynamic_configs_versions"): _CONFIG,
    ("experimentation", "dynamic_configs_rules"): _CONFIG,
    ("experimentation", "events_metrics"): _each("experimentation", "events", event_name="name"),
    ("experimentation", "gates_rules"): _each("experimentation", "gates", gate_id="id"),
    ("experimentation", "segments_ids"): _each("experimentation", "segments", segment_id="id"),
    ("project_planning", "categories_milestones"): _CATEGORY,
    ("project_planning", "categories_objectives"): _CATEGORY,
    ("project_planning", "epics_comments"): _EPIC,
    ("project_planning", "epics_stories"): _EPIC,
    ("project_planning", "groups_stories"): _each("project_planning", "groups", group_id="id"),
    ("project_planning", "iterations_stories"): _each("project_planning", "iterations", iteration_id="id"),
    ("project_planning", "milestones_epics"): _each("project_planning", "milestones", milestone_id="id"),
    ("project_planning", "objectives_epics"): _each("project_planning", "objectives", objective_id="id"),
    ("project_planning", "stories_comments"): _stories,
    ("project_planning", "story_history"): _stories,
    ("continuous_integration", "pipeline_workflows"): _each("continuous_integration", "pipelines", pipeline_id="id"),
    ("continuous_integration", "workflow"): _WORKFLOW,
    ("continuous_integration", "workflow_jobs"): _WORKFLOW,
    ("continuous_integration", "jobs"): _jobs,
    ("continuous_integration", "specific_project"): _PROJECT,
    ("continuous_integration", "insights_metrics"): _PROJECT,
    ("continuous_integration", "insights_branches"): _PROJECT,
    ("feature_management", "segments"): _WORKSPACE,
    ("feature_management", "environments"): _WORKSPACE,
    ("feature_management", "traffic_types"): _WORKSPACE,
    ("feature_management", "feature_flags"): _WORKSPACE,
    ("feature_management", "segments_keys"): _segment_keys,
}


def _flat(endpoint: str, stored: Any) -> Rows:
    """Give the rows of what one request stands for: an object is one row, rules lie one level down."""
    if isinstance(stored, dict):
        return [stored]
    if endpoint in {"gates_rules", "dynamic_configs_rules"}:
        return [rule for element in stored for rule in element["rules"]]
    return list(stored)


def listed(store: Store, api: str, endpoint: str) -> Iterator[Row]:
    """Give the rows of an endpoint as they are served, without those whose parent is not listed."""
    stored = store[api][endpoint]
    feed = FEEDS.get((api, endpoint))
    if feed is None:
        yield from stored
        return
    names = ROUTES[api, endpoint].columns
    for columns in feed(store):
        yield from _flat(endpoint, stored.get(tuple(str(columns[name]) for name in names), []))


def expected(store: Store, api: str, endpoint: str, *, slug_prefix: bool = True) -> Rows:
    """Give copies of the rows that a complete sync of an endpoint must hold, each key once.

    A child's rows carry their path parameters. `slug_prefix=False`
    gives them as the option of that name does. Raises `KeyError` for an unknown endpoint.
    """
    stored = store[api][endpoint]
    feed = FEEDS.get((api, endpoint))
    if feed is None:
        rows = [dict(row) for row in stored]
    else:
        names = ROUTES[api, endpoint].columns
        rows = [
            {**row, **columns}
            for columns in feed(store)
            for row in _flat(endpoint, stored.get(tuple(str(columns[name]) for name in names), []))
        ]
    if not slug_prefix:
        rows = [without_prefix(row) for row in rows]
    key = KEYS[api, endpoint]
    if not key:
        return rows
    return list({tuple(row[name] for name in key): row for row in rows}.values())
