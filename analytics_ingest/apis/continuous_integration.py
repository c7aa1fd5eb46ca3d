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
    columns={
        "project_slug": "Path of the project: version control system, organisation, repository; gh/acme/shop.",
        "slug": "Path of the organisation or project, such as gh/acme or gh/acme/shop.",
        "vcs_type": "Version control system, such as github.",
        "login": "Name by which the user signs in.",
        "pipeline_id": "The id in pipelines of the pipeline that it is part of.",
        "pipeline_number": "Number of the pipeline, counted within its project.",
        "status": "Where it stands, such as running, on_hold, success, failed or canceled.",
        "started_by": "Identifier of the user who started it.",
        "started_at": "When it started to run, UTC; null before that, and for approvals.",
        "stopped_at": "When it ended, UTC; null before that.",
        "tag": "What sets it apart from ordinary workflows, such as setup; null if nothing.",
    },
    endpoints=(
        with_cursor(
            "context",
            "/v2/context",
            data_selector="items",
            history=True,
            description="Contexts: named sets of secrets that jobs may use.",
            common_columns=("created_at",),
            columns={"name": "Name by which the configuration of jobs refers to it."},
        ),
        endpoint(
            "self_ids",
            "/v2/me",
            description="The user whom the API key belongs to, from version 2 of the API.",
            common_columns=("name", "login"),
        ),
        endpoint(
            "self_collaborations",
            "/v2/me/collaborations",
            description="The organisations that the key's user works with.",
            common_columns=("name", "slug", "vcs_type"),
            columns={"avatar_url": "URL of the organisation's picture; null if it has none."},
        ),
        endpoint(
            "me",
            "/v1.1/me",
            primary_key=("analytics_id",),
            # a key of another service, which the user has stored here
            secrets=("heroku_api_key",),
            description="The user whom the API key belongs to, from version 1.1 of the API.",
            common_columns=("name", "created_at", "login"),
            columns={
                "analytics_id": "Identifier of the user; it is the key.",
                "all_emails": "JSON list of the user's email addresses.",
                "num_projects_followed": "Number of projects that the user follows.",
            },
        ),
        endpoint(
            "projects",
            "/v1.1/projects",
            primary_key=("vcs_url",),
            history=True,
            description="The projects that the key's user follows.",
            common_columns=("vcs_type",),
            columns={
                "vcs_url": "URL of the repository; it is the key.",
                "username": "Organisation or user that owns the repository.",
                "reponame": "Name of the repository within its organisation.",
                "default_branch": "Branch that changes are merged into.",
                "branches": "JSON object with the branches by name: who pushed, and what ran.",
                "language": "Main programming language; null if it is unknown.",
                "following": "Whether the key's user follows the project.",
                "oss": "Whether its builds are open to the public, as open source.",
                "scopes": "JSON list of what the key's user may do in the project.",
            },
        ),
        with_cursor(
            "pipelines",
            "/v2/pipeline",
            data_selector="items",
            description="Pipelines: one row for each time that a project's configuration was run.",
            common_columns=("created_at", "project_slug"),
            columns={
                "number": "Number of the pipeline, counted within its project.",
                "state": "How far its workflows are made, such as created or errored.",
                "errors": "JSON list of errors in the configuration; empty without errors.",
                "trigger": "JSON object with what started it, when (UTC), and who caused it.",
                "vcs": "JSON object with the provider, branch and revision that it ran for.",
            },
        ),
        endpoint(
            "pipeline_workflows",
            "/v2/pipeline/{pipeline_id}/workflow",
            data_selector="items",
            parents=FromTable("pipelines", pipeline_id="id"),
            timestamps_as_sent=("stopped_at",),
            description="The workflows of each pipeline, as its list shows them.",
            common_columns=("name", "created_at", "project_slug", "pipeline_number", "status", "started_by", "tag"),
        ),
        endpoint(
            "specific_project",
            "/v2/project/{org_id}/{project_id}",
            parents=PROJECT,
            history=True,
            description="Each project's own record: its name, organisation and version control.",
            common_columns=("slug",),
            columns={
                "name": "Name of the repository within its organisation.",
                "organization_name": "Organisation that owns the project.",
                "vcs_info": "JSON object with the repository's URL, provider and default branch.",
            },
        ),
        endpoint(
            "workflow",
            "/v2/workflow/{workflow_id}",
            parents=FromTable("pipeline_workflows", workflow_id="id"),
            timestamps_as_sent=("stopped_at",),
            description="Each workflow's own record: its status and the times of its course.",
            common_columns=(
                "name",
                "created_at",
                "project_slug",
                "pipeline_id",
                "pipeline_number",
                "status",
                "started_by",
                "tag",
            ),
        ),
        endpoint(
            "workflow_jobs",
            "/v2/workflow/{workflow_id}/job",
            data_selector="items",
            parents=FromTable("pipeline_workflows", workflow_id="id"),
            timestamps_as_sent=("started_at", "stopped_at"),
            description="The jobs of each workflow, approvals included.",
            common_columns=("name", "project_slug", "status"),
            columns={
                "type": "Kind of job, such as build, or approval if it waits for a person.",
                "job_number": "Number of the job, counted within its project; null for approvals.",
                "dependencies": "JSON list of the ids of the jobs that must end before it.",
                "approved_by": "Identifier of the user who approved it; null if it is no approval or is waiting.",
            },
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
            common_columns=("name", "created_at", "status"),
            columns={
                "project_slug": "Path of the project, such as gh/acme/shop; with number it is the key.",
                "number": "Number of the job, unique only within its project.",
                "org_id": "Name of the organisation, the last part but one of project_slug.",
                "project_id": "Name of the repository, the last part of project_slug.",
                "queued_at": "When it began to wait for a machine, UTC; null before that.",
                "duration": "How long it ran, in milliseconds; null if it is unknown.",
                "parallelism": "Number of runs that share the work at the same time.",
                "executor": "JSON object with the kind of machine and its size.",
                "latest_workflow": "JSON object with id and name of the last workflow that it was part of.",
                "contexts": "JSON list of the names of the contexts that it may use.",
                "project": "JSON object with slug, name and URL of the project.",
                "organization": "JSON object with the name of the organisation.",
            },
        ),
        endpoint(
            "insights_metrics",
            "/v2/insights/pages/{org_id}/{project_id}/summary",
            primary_key=("org_id", "project_id"),
            parents=PROJECT,
            description="Each project's success rate, throughput and durations over the reporting window.",
            columns={
                "metrics": "JSON object with runs, success_rate from 0 to 1, throughput and durations in seconds.",
                "trends": "JSON object with each metric's ratio to the window before; 1 means no change.",
                "top_workflows": "JSON list of the busiest workflows; their durations are in seconds.",
            },
        ),
        endpoint(
            "insights_branches",
            "/v2/insights/{org_id}/{project_id}/branches",
            primary_key=("org_id", "project_id"),
            parents=PROJECT,
            description="The branches of each project that have insights.",
            columns={"branches": "JSON list of the names of the branches."},
        ),
    ),
)
