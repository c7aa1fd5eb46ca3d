"""CircleCI: the profile of the continuous integration API for CircleCI's versions 2 and 1.1.

No list can be filtered by time, and a pipeline does not show whether its workflows have ended. Workflows and jobs are
read again until they have ended; the workflows of a pipeline for ``WINDOW_DAYS`` more, as a workflow may be rerun.
Facts are from the vendor's specification and documentation.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.continuous_integration import CONTINUOUS_INTEGRATION, PAGES
from analytics_ingest.apis.model import ChangeProbe, Endpoint, RetryPolicy
from analytics_ingest.apis.parents import ALWAYS, Constants, FromRenamed, FromTable, UnionOf
from analytics_ingest.apis.vendors.circleci_columns import BY_ENDPOINT, COMMON_COLUMNS, SHARED
from analytics_ingest.apis.vendors.overlay import overlay

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from analytics_ingest.apis.parents import Row

WORKFLOW_ENDED = frozenset({"success", "failed", "error", "canceled", "unauthorized", "not_run"})
"""Final statuses of a workflow. A rerun is another workflow of the same pipeline."""
JOB_ENDED = frozenset(
    {"success", "failed", "canceled", "unauthorized", "retried", "timedout", "infrastructure_fail"}
    | {"terminated-unknown", "not_run"}
)
JOB_FINAL = JOB_ENDED | {"blocked", "on_hold"}
"""Final statuses of a job whose workflow has ended. A job that still runs then ends a little later."""
UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
PROVISIONAL = re.compile(f"circleci/{UUID}/({UUID})", re.IGNORECASE)
"""A slug built from a URL of version 1.1. Only a response of version 2 contains the slug that version 2 uses."""
WITHDRAWAL = (
    "CircleCI is replacing version 1.1 of its API: it removes branches from its projects on 7 December 2026, and had "
    "named no date for its end by November 2026"
)
HOSTS = {"github": "gh", "bitbucket": "bb"}
"""The first part of a project's slug by ``vcs_type``; ``circleci`` for any other type."""


def slug(row: Row) -> Row:
    """A project's slug: ``gh/acme/shop``, ``bb/acme/shop``, ``circleci/<organisation's id>/<project's id>``.

    Version 2 accepts the last form, but responds with another one, ``circleci/<base58>/<base58>``.
    """
    *_, org, project = ["", "", *str(row["_vcs_url"] or "").rstrip("/").split("/")]
    host = HOSTS.get(str(row["_vcs_type"]), "circleci")
    return {"project_slug": f"{host}/{org}/{project.removesuffix('.git')}" if org and project else None}


def project_id(slug: object) -> str | None:
    """The project's id in a slug of ids; ``None`` for any other slug."""
    found = PROVISIONAL.fullmatch(str(slug))
    return found[1].lower() if found else None


def by_slug(source: FromTable | UnionOf, **options: Any) -> FromRenamed:
    """Projects by the slug that version 2 uses; ``options`` are those of ``FromRenamed``."""
    return FromRenamed(
        source=source, param="project_slug", identify=project_id, table="specific_project", name="slug", **options
    )


FOLLOWED = FromTable("projects", _vcs_type="vcs_type", _vcs_url="vcs_url", derive=slug, derived=("project_slug",))


def with_vcs_type(row: Any) -> Iterator[Any]:
    """A collaboration with ``vcs_type`` under this name; the API may send it as ``vcs-type``."""
    if isinstance(row, dict) and "vcs-type" in row and "vcs_type" not in row:
        row = {"vcs_type" if name == "vcs-type" else name: value for name, value in row.items()}
    yield row


def underscored(row: Any) -> Iterator[Any]:
    """A row whose fields are named with underscores; some are sent with hyphens, as ``created-at``."""
    yield {name.replace("-", "_"): value for name, value in row.items()} if isinstance(row, dict) else row


def flaky_test(row: Any) -> Iterator[Any]:
    """A flaky test whose class and file, which are parts of its key, are empty texts rather than null."""
    for each in underscored(row):
        if isinstance(each, dict):
            each |= {name: each.get(name) or "" for name in ("classname", "file")}
        yield each


PROJECTS = UnionOf((FOLLOWED, FromTable("pipelines", project_slug="project_slug")))
# without version 1.1, a project that has no pipelines any more is known by its own record only
KNOWN: Mapping[str, Any] = {"includes_named": True, "group": ("organization_slug", "org_slugs")}
ORGANISATIONS = Constants(
    name="org_slug", setting="org_slugs", fallback=FromTable("self_collaborations", org_slug="slug")
)
# a pipeline's updated_at does not change when a workflow continues or is rerun, and no other column does
PIPELINES = UnionOf(
    (
        FromTable("pipelines", pipeline_id="id", settled_after="created_at", updated=None),
        FromTable("project_pipelines", pipeline_id="id", settled_after="created_at", updated=None),
    )
)
ENDED_WORKFLOW = FromTable("pipeline_workflows", workflow_id="id", settled=("status", WORKFLOW_ENDED))
# they are computed once a day for all insights of a project, so they change with its summary
CHANGED_INSIGHTS = by_slug(FromTable("insights_metrics", project_slug="project_slug", settled=ALWAYS))
CHANGED_WORKFLOW = FromTable("insights_workflows", project_slug="project_slug", workflow_name="name", settled=ALWAYS)
LAST_90_DAYS: Mapping[str, Any] = {"reporting-window": "last-90-days", "all-branches": "true"}

insight = partial(Endpoint, data_selector="$", paginator=PAGES, timestamps=(), on_404="not defined")
"""An endpoint of insights, of which a project may have none."""

CIRCLECI = overlay(
    replace(CONTINUOUS_INTEGRATION, columns=SHARED),
    columns=BY_ENDPOINT,
    common_columns=COMMON_COLUMNS,
    profile="circleci",
    title="CircleCI",
    base_url="https://circleci.com/api",
    versions=("/v2", "/v1.1"),
    docs_url="https://circleci.com/docs/api/v2/",
    auth={"type": "api_key", "name": "Circle-Token", "location": "header"},
    # without it, version 1.1 responds in a format of its own
    headers={"Accept": "application/json"},
    retry=RetryPolicy(max_retries=3, backoff_factor=2, limit_retries=6),
    every={"cursor_path": (), "timestamps": ()},
    endpoints={
        "context": {
            "path": "/v2/context?owner-slug={org_slug}",
            "parents": ORGANISATIONS,
            "timestamps": ("created_at",),
        },
        # the id may be null
        "self_collaborations": {"primary_key": ("slug",), "yield_map": with_vcs_type},
        "me": {"timestamps": ("created_at",), "withdrawal": WITHDRAWAL},
        # the API will remove branches on 7 December 2026; with shallow it leaves them out before
        "projects": {"params": {"shallow": "true"}, "retired": ("branches",), "withdrawal": WITHDRAWAL},
        "pipelines": {
            "path": "/v2/pipeline?org-slug={org_slug}",
            "parents": ORGANISATIONS,
            "cursor_path": ("updated_at", "created_at"),
            "timestamps": ("created_at", "updated_at"),
        },
        "pipeline_workflows": {
            "parents": PIPELINES,
            "final_when": ("status", WORKFLOW_ENDED),
            "timestamps": ("created_at", "stopped_at"),
        },
        "specific_project": {
            "path": "/v2/project/{project_slug:path}",
            "parents": by_slug(PROJECTS, includes_unnamed=True, **KNOWN),
        },
        "workflow": {"parents": ENDED_WORKFLOW, "timestamps": ("created_at", "stopped_at")},
        "workflow_jobs": {
            # a workflow that is rerun from its failed jobs may list jobs of the first run that succeeded
            "primary_key": ("workflow_id", "id"),
            "parents": ENDED_WORKFLOW,
            "final_when": ("status", JOB_FINAL),
            "timestamps": ("started_at", "stopped_at"),
        },
        "jobs": {
            "path": "/v2/project/{project_slug:path}/job/{job_number}",
            "parents": FromTable(
                "workflow_jobs",
                project_slug="project_slug",
                job_number="job_number",
                settled=("status", JOB_ENDED),
            ),
            "timestamps": ("created_at", "queued_at", "started_at", "stopped_at"),
        },
        "insights_metrics": {
            "path": "/v2/insights/pages/{project_slug:path}/summary",
            "params": {"reporting-window": "last-90-days"},
            "primary_key": ("project_id",),
            "parents": by_slug(PROJECTS, **KNOWN),
            "on_404": "not defined",
        },
        "insights_branches": {
            "path": "/v2/insights/{project_slug:path}/branches",
            "primary_key": ("project_id",),
            "parents": by_slug(PROJECTS, **KNOWN),
            "on_404": "not defined",
        },
    },
    added=(
        Endpoint(
            "project_pipelines",
            "/v2/project/{project_slug:path}/pipeline",
            "items",
            PAGES,
            # an organisation's list has all pipelines of the projects that it names
            parents=by_slug(FOLLOWED, covered_by=("pipelines", "project_slug"), **KNOWN),
            cursor_path=("updated_at", "created_at"),
            description="The pipelines of each project that no organisation's list has pipelines of.",
        ),
        insight(
            "insights_trends",
            "/v2/insights/pages/{project_slug:path}/summary",
            primary_key=("project_id",),
            parents=CHANGED_INSIGHTS,
            # longer windows have no trends
            params={"reporting-window": "last-30-days"},
            description="Each project's totals of the last 30 days, and how they compare with the 30 days before.",
        ),
        insight(
            "insights_workflows",
            "/v2/insights/{project_slug:path}/workflows",
            data_selector="items",
            primary_key=("project_slug", "name"),
            parents=CHANGED_INSIGHTS,
            params=LAST_90_DAYS,
            timestamps=("window_start", "window_end"),
            description="Runs, durations and credits of each workflow over the last 90 days, on all branches.",
        ),
        insight(
            "insights_workflow_jobs",
            "/v2/insights/{project_slug:path}/workflows/{workflow_name}/jobs",
            data_selector="items",
            primary_key=("project_slug", "workflow_name", "name"),
            parents=CHANGED_WORKFLOW,
            params=LAST_90_DAYS,
            timestamps=("window_start", "window_end"),
            description="Runs, durations and credits of each workflow's jobs over the last 90 days, on all branches.",
        ),
        insight(
            "insights_test_metrics",
            "/v2/insights/{project_slug:path}/workflows/{workflow_name}/test-metrics",
            primary_key=("project_slug", "workflow_name"),
            parents=CHANGED_WORKFLOW,
            params={"all-branches": "true"},
            description="The slowest and the most failed tests of each workflow's ten last runs.",
        ),
        insight(
            "flaky_tests",
            "/v2/insights/{project_slug:path}/flaky-tests",
            data_selector="flaky_tests",
            # as the specification names it
            fallback_selector="'flaky-tests'",
            primary_key=("project_slug", "workflow_name", "job_name", "classname", "file", "test_name"),
            yield_map=flaky_test,
            parents=CHANGED_INSIGHTS,
            timestamps=("workflow_created_at",),
            description="The tests of each project that passed and failed on the same commit.",
        ),
        Endpoint(
            "schedules",
            "/v2/project/{project_slug:path}/schedule",
            "items",
            PAGES,
            yield_map=underscored,
            # a project's record changes with none of its schedules: a full refresh finds what has changed
            parents=FromTable("specific_project", project_slug="slug", settled=ALWAYS),
            # projects of the GitHub App have none
            on_404="not defined",
            description="The schedules by which each project starts pipelines.",
        ),
        Endpoint(
            "context_environment_variables",
            "/v2/context/{context_id}/environment-variable",
            "items",
            PAGES,
            primary_key=("context_id", "variable"),
            # a context has no time of its last change: a full refresh finds what has changed
            parents=FromTable("context", context_id="id", settled=ALWAYS),
            # the last characters of the value
            secrets=("truncated_value",),
            timestamps=("created_at", "updated_at"),
            description="The names of each context's environment variables, without their values.",
        ),
    ),
    probes=(
        ChangeProbe(
            endpoint="pipelines",
            concerns=(
                "pipelines",
                "project_pipelines",
                "pipeline_workflows",
                "workflow",
                "workflow_jobs",
                "jobs",
            ),
            blind="workflows and jobs that go on under unchanged pipelines, contexts, projects, schedules and insights",
        ),
    ),
)
