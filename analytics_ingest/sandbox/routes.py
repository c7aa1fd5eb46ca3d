"""The 71 endpoints of the five APIs as a table: path, envelope, paging.

A path's placeholders name its parameters. A route without placeholders is *top level*: its rows are a list in
the world's store. A route with placeholders is a *child*: its rows are stored by tuple of path values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Rows = Literal["data", "items", "objects", "$"]
Paging = Literal["page_number", "offset", "cursor", "single_page"]

BASE_PATHS: dict[str, str] = {
    "experimentation": "/experimentation",
    "incident_response": "/incident_response/v1/",
    "project_planning": "/project_planning",
    "continuous_integration": "/continuous_integration",
    "feature_management": "/feature_management",
}
"""Path of each API's base URL below the server's root, as the APIs' clients are configured with it."""
APIS: tuple[str, ...] = tuple(BASE_PATHS)
BEARER_APIS: frozenset[str] = frozenset({"incident_response", "feature_management"})
"""APIs that take the key as a bearer token; the others take it in the header ``api_key``."""
WORD_BOUNDARY = re.compile(r"(?<=[a-z])(?=[A-Z])")
"""Between two words of a name in camel case."""
OTHER_COLUMNS = {"wsId": "workspace_id"}
"""By path parameter its column, where that is not the parameter's name in snake case."""


def column(parameter: str) -> str:
    """The column that has a path parameter's value: ``workspace_id`` for ``workspaceId`` and for ``wsId``."""
    return OTHER_COLUMNS.get(parameter) or WORD_BOUNDARY.sub("_", parameter).lower()


@dataclass(frozen=True, kw_only=True)
class Route:
    """One endpoint.

    Attributes:
        api: The API.
        name: The endpoint's name.
        path: Its path below the API's base URL, with placeholders for parameters.
        rows: The key of the rows in the body; ``$`` if the body is the rows.
        paging: How it is paged.
        single: Whether the rows are one object instead of a list.
    """

    api: str
    name: str
    path: str
    rows: Rows
    paging: Paging
    single: bool = False

    @cached_property
    def parts(self) -> tuple[str | None, ...]:
        """The path's segments; ``None`` for a placeholder."""
        return tuple(None if part.startswith("{") else part for part in self.path.strip("/").split("/"))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of the path's parameters, in the path's order; empty for a top-level route."""
        return tuple(column(parameter) for parameter in re.findall(r"{(\w+)}", self.path))


def _routes(api: str, rows: Rows, paging: Paging, paths: str) -> list[Route]:
    """The routes of lines of ``name path [single]``."""
    routes = []
    for line in filter(str.strip, paths.split("\n")):
        name, path, *flags = line.split()
        routes.append(Route(api=api, name=name, path=path, rows=rows, paging=paging, single="single" in flags))
    return routes


ROUTES: dict[tuple[str, str], Route] = {
    (route.api, route.name): route
    for route in [
        *_routes(
            "experimentation",
            "data",
            "page_number",
            """
            audit_logs /v1/audit_logs
            autotunes /v1/autotunes
            dynamic_configs /v1/dynamic_configs
            dynamic_configs_versions /v1/dynamic_configs/{dynamic_config_id}/versions
            dynamic_configs_rules /v1/dynamic_configs/{dynamic_config_id}/rules
            events /v1/events
            events_metrics /v1/events/{event_name}/metrics
            experiments /v1/experiments
            gates /v1/gates
            gates_rules /v1/gates/{gate_id}/rules
            holdouts /v1/holdouts
            ingestion_runs /v1/ingestion/runs
            layers /v1/layers
            metrics /v1/metrics/list
            metrics_values /v1/metrics/values
            segments /v1/segments
            segments_ids /v1/segments/{segment_id}/id_list
            tags /v1/tags
            target_apps /v1/target_app
            users /v1/users
            """,
        ),
        *_routes("experimentation", "data", "single_page", "ingestion_status /v1/ingestion/status"),
        *_routes("incident_response", "data", "page_number", "dashboards /dashboards\nincidents /incidents"),
        *_routes(
            "project_planning",
            "data",
            "single_page",
            """
            categories /v1/categories
            categories_milestones /v1/categories/{category_id}/milestones
            categories_objectives /v1/categories/{category_id}/objectives
            custom_fields /v1/custom-fields
            epic_workflow /v1/epic-workflow single
            epics /v1/epics
            epics_comments /v1/epics/{epic_id}/comments
            epics_stories /v1/epics/{epic_id}/stories
            files /v1/files
            groups /v1/groups
            groups_stories /v1/groups/{group_id}/stories
            iterations /v1/iterations
            iterations_stories /v1/iterations/{iteration_id}/stories
            labels /v1/labels
            member /v1/member single
            members /v1/members
            milestones /v1/milestones
            milestones_epics /v1/milestones/{milestone_id}/epics
            objectives /v1/objectives
            objectives_epics /v1/objectives/{objective_id}/epics
            workflows /v1/workflows
            stories_comments /v1/stories/{story_id}/comments
            story_history /v1/stories/{story_id}/history
            """,
        ),
        *_routes("project_planning", "data", "cursor", "search_epics /v1/search/epics"),
        *_routes(
            "continuous_integration",
            "items",
            "cursor",
            """
            context /v2/context
            pipelines /v2/pipeline
            pipeline_workflows /v2/pipeline/{pipeline_id}/workflow
            workflow_jobs /v2/workflow/{workflow_id}/job
            """,
        ),
        *_routes(
            "continuous_integration",
            "$",
            "cursor",
            """
            self_ids /v2/me single
            self_collaborations /v2/me/collaborations
            me /v1.1/me single
            projects /v1.1/projects
            specific_project /v2/project/{org_id}/{project_id} single
            jobs /v2/project/{org_id}/{project_id}/job/{job_number} single
            workflow /v2/workflow/{workflow_id} single
            insights_metrics /v2/insights/pages/{org_id}/{project_id}/summary single
            insights_branches /v2/insights/{org_id}/{project_id}/branches single
            """,
        ),
        *_routes(
            "feature_management",
            "data",
            "offset",
            """
            change_requests /v2/changeRequests
            flag_sets /v3/flag-sets
            users /v2/users
            """,
        ),
        *_routes(
            "feature_management",
            "objects",
            "offset",
            """
            workspaces /v2/workspaces
            segments /v2/segments/ws/{workspaceId}
            groups /v2/groups
            feature_flags /v2/splits/ws/{wsId}
            """,
        ),
        *_routes(
            "feature_management",
            "$",
            "offset",
            """
            segments_keys /v2/segments/{environment_id}/{segment_name}/keys
            rollout_statuses /v2/rolloutStatuses
            environments /v2/environments/ws/{wsId}
            traffic_types /v2/trafficTypes/ws/{wsId}
            """,
        ),
    ]
}


class Router:
    """Finds the route and the path values of a request path of one API."""

    def __init__(self, api: str) -> None:
        self._static: dict[tuple[str, ...], Route] = {}
        self._templates: dict[int, list[Route]] = {}
        for route in ROUTES.values():
            if route.api != api:
                continue
            if route.columns:
                self._templates.setdefault(len(route.parts), []).append(route)
            else:
                self._static[tuple(str(part) for part in route.parts)] = route

    def find(self, segments: tuple[str, ...]) -> tuple[Route, tuple[str, ...]] | None:
        """The route of decoded path segments with its path values; ``None`` if there is none."""
        static = self._static.get(segments)
        if static is not None:
            return static, ()
        for route in self._templates.get(len(segments), []):
            if all(part is None or part == segment for part, segment in zip(route.parts, segments, strict=True)):
                values = (segment for part, segment in zip(route.parts, segments, strict=True) if part is None)
                return route, tuple(values)
        return None
