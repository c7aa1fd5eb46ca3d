"""The continuous integration API: pipelines, their workflows and jobs, projects and insights.

Lists are at ``items``; single records and some lists are the whole body. ``next_page_token`` is the cursor of the next
page. There is no list of all workflows, so they are read for each pipeline. A job's number is unique only within its
project.
"""

from functools import partial

from analytics_ingest.apis.model import Api, ChangeProbe, Endpoint, RetryPolicy
from analytics_ingest.apis.paginators import cursor
from analytics_ingest.apis.parents import FromTable, Row

PAGES = cursor(cursor_param="page-token", cursor_path="next_page_token")
UPDATED = ("updated_at",)


def org_and_project(row: Row) -> Row:
    """The last two parts of ``project_slug``: ``gh/acme/shop`` and ``acme/shop`` both give acme, shop."""
    parts = str(row["project_slug"] or "").split("/")
    org, project = parts[-2:] if len(parts) >= 2 else (None, None)
    return {"org_id": org, "project_id": project}


PROJECT = FromTable("projects", org_id="username", project_id="reponame")

endpoint = partial(Endpoint, data_selector="$", paginator=PAGES)
"""An endpoint with the defaults of this API."""
with_cursor = partial(endpoint, cursor_path=UPDATED)
"""An endpoint whose rows have the time of their last change."""

CONTINUOUS_INTEGRATION = Api(
    name="continuous_integration",
    title="Continuous integration",
    auth={"type": "api_key", "name": "api_key", "location": "header"},
    headers={"Accept": "application/json"},
    retry=RetryPolicy(max_retries=3, backoff_factor=2),
    cron="10,40 * * * *",
    full_refresh_cron="0 4 * * 0",
    probes=(
        ChangeProbe(
            endpoint="pipelines",
            concerns=("pipelines", "pipeline_workflows", "workflow", "workflow_jobs", "jobs"),
            blind="workflows and jobs that go on under an unchanged pipeline, contexts, projects and insights",
        ),
    ),
    endpoints=(
        with_cursor(
            "context",
            "/v2/context",
            data_selector="items",
            history=True,
            description="Contexts: named sets of secrets that jobs may use.",
        ),
        endpoint(
            "self_ids",
            "/v2/me",
            description="The user whom the API key belongs to, from version 2 of the API.",
        ),
        endpoint(
            "self_collaborations",
            "/v2/me/collaborations",
            description="The organisations that the key's user works with.",
        ),
        endpoint(
            "me",
            "/v1.1/me",
            primary_key=("analytics_id",),
            description="The user whom the API key belongs to, from version 1.1 of the API.",
        ),
        endpoint(
            "projects",
            "/v1.1/projects",
            primary_key=("vcs_url",),
            history=True,
            description="The projects that the key's user follows.",
        ),
        with_cursor(
            "pipelines",
            "/v2/pipeline",
            data_selector="items",
            description="Pipelines: one row for each time that a project's configuration was run.",
        ),
        endpoint(
            "pipeline_workflows",
            "/v2/pipeline/{pipeline_id}/workflow",
            data_selector="items",
            parents=FromTable("pipelines", pipeline_id="id"),
            timestamps_as_sent=("stopped_at",),
            description="The workflows of each pipeline, as its list shows them.",
        ),
        endpoint(
            "specific_project",
            "/v2/project/{org_id}/{project_id}",
            parents=PROJECT,
            history=True,
            description="Each project's own record: its name, organisation and version control.",
        ),
        endpoint(
            "workflow",
            "/v2/workflow/{workflow_id}",
            parents=FromTable("pipeline_workflows", workflow_id="id"),
            timestamps_as_sent=("stopped_at",),
            description="Each workflow's own record: its status and the times of its course.",
        ),
        endpoint(
            "workflow_jobs",
            "/v2/workflow/{workflow_id}/job",
            data_selector="items",
            parents=FromTable("pipeline_workflows", workflow_id="id"),
            timestamps_as_sent=("started_at", "stopped_at"),
            description="The jobs of each workflow, approvals included.",
        ),
        endpoint(
            "jobs",
            "/v2/project/{org_id}/{project_id}/job/{job_number}",
            primary_key=("project_slug", "number"),
            parents=FromTable(
                "workflow_jobs",
                project_slug="project_slug",
                job_number="job_number",
                derive=org_and_project,
                derived=("org_id", "project_id"),
            ),
            timestamps_as_sent=("queued_at", "started_at", "stopped_at"),
            description="Each numbered job's own record: executor, duration, parallel runs; approvals have none.",
        ),
        endpoint(
            "insights_metrics",
            "/v2/insights/pages/{org_id}/{project_id}/summary",
            primary_key=("org_id", "project_id"),
            parents=PROJECT,
            description="Each project's success rate, throughput and durations over the reporting window.",
        ),
        endpoint(
            "insights_branches",
            "/v2/insights/{org_id}/{project_id}/branches",
            primary_key=("org_id", "project_id"),
            parents=PROJECT,
            description="The branches of each project that have insights.",
        ),
    ),
)
