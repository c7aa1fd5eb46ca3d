"""CircleCI: descriptions of columns.

Lists and objects are JSON columns. Facts are from the vendor's specification.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SHARED: Mapping[str, str] = {
    "org_id": "Identifier of the organisation, a UUID.",
    "org_slug": "Organisation whose list has it, such as gh/acme; refers to self_collaborations.slug.",
    "project_slug": "Project as version 2 names it, such as gh/acme/shop; refers to specific_project.slug.",
}
"""Columns that mean the same in all tables that have them."""

# the texts of endpoints: a shared one does not replace that of a path parameter
PROJECT_SLUG = {"project_slug": SHARED["project_slug"]}
ORG_SLUG = {"org_slug": SHARED["org_slug"]}

PIPELINE: Mapping[str, str] = {
    "errors": "Errors of the configuration or the plan, as objects with type and message; empty if there are none.",
    "id": "Identifier of the pipeline, a UUID, the same in pipelines and project_pipelines.",
    "number": "Number of the pipeline, unique only within its project.",
    "state": "State of its creation, not of its workflows: created, errored, setup-pending, setup or pending.",
    "trigger": "What started it, as an object: type (such as webhook or api), time and person.",
    "trigger_parameters": "Values that came with the trigger, as an object by source; null if there are none.",
    "updated_at": "When the pipeline was last changed, UTC; workflows that continue do not change it.",
    "vcs": "Commit that it runs on: branch or tag, revision and repository, as an object; may be null.",
}

WORKFLOW: Mapping[str, str] = {
    "auto_rerun_number": "Which of the automatic reruns this is; null for a run that is none.",
    "canceled_by": "User who cancelled it, as a UUID; null if it was not cancelled by a user.",
    "errored_by": "User to whom its error is ascribed, as a UUID; null if there is none.",
    "id": "Identifier of the workflow, a UUID; a rerun has another one.",
    "max_auto_reruns": "Automatic reruns that the configuration permits; null if it names no number.",
    "name": "Name that the workflow has in the project's configuration.",
    "pipeline_id": "Pipeline that it belongs to; refers to pipelines.id or project_pipelines.id.",
    "pipeline_number": "Number of its pipeline within the project.",
    "started_by": "User who started it, as a UUID.",
    "status": "Such as success, failed, canceled, error, not_run, unauthorized, running, failing or on_hold.",
    "stopped_at": "When it ended, UTC; null until then.",
    "tag": "The word setup if it generates the configuration of other workflows; null otherwise.",
}

WINDOW: Mapping[str, str] = {
    **PROJECT_SLUG,
    "window_end": "End of the time that the totals cover, UTC.",
    "window_start": "Start of the time that the totals cover, UTC.",
}

WORKFLOW_NAME = {
    "workflow_name": "Name of the workflow in the project's configuration; refers to insights_workflows.name."
}

SUMMARY: Mapping[str, str] = {
    **PROJECT_SLUG,
    "all_branches": "Names of all branches of the project that have insights, as a list.",
    "all_workflows": "Names of all workflows of the project that have insights, as a list.",
    "project_id": "Project, as a UUID; refers to specific_project.id.",
    "project_workflow_branch_data": "Totals by workflow and branch, with the 95th percentile of seconds.",
    "project_workflow_data": "Totals by workflow, with the 95th percentile of seconds.",
}

BY_ENDPOINT: Mapping[str, Mapping[str, str]] = {
    "context": {**ORG_SLUG, "name": "Name by which configurations refer to the context, unique in the organisation."},
    "context_environment_variables": {
        "context_id": "Context that has the variable; refers to context.id.",
        "created_at": "When the variable was added to the context, UTC.",
        "updated_at": "When the variable was last set, UTC.",
        "variable": "Name of the variable, unique in its context.",
    },
    "flaky_tests": {
        **PROJECT_SLUG,
        "classname": "Class that the test belongs to; empty if it has none.",
        "file": "File that the test is in; empty if it is unknown.",
        "job_name": "Name of the job that ran the test.",
        "job_number": "Number of the job within its project; refers to jobs.number.",
        "pipeline_number": "Number of the pipeline within its project.",
        "source": "Kind of test, as the test's report names it; may be null.",
        "test_name": "Name of the test.",
        "time_wasted": "Time that reruns of the test took; the vendor states no unit.",
        "times_flaked": "How often the test passed and failed on the same commit.",
        "workflow_created_at": "When the last workflow was started in which the test was flaky, UTC.",
        "workflow_id": "The last workflow in which the test was flaky; refers to workflow.id.",
        "workflow_name": "Name of the workflow.",
    },
    "insights_branches": {
        **PROJECT_SLUG,
        "branches": "Names of the branches that have insights, as a list of at most 5,000.",
        "project_id": "Project, as a UUID; refers to specific_project.id.",
    },
    "insights_metrics": {
        **SUMMARY,
        "project_data": "Totals of the last 90 days: runs, success rate, throughput (runs a day), seconds and credits.",
    },
    "insights_test_metrics": {
        **PROJECT_SLUG,
        **WORKFLOW_NAME,
        "average_test_count": "Number of tests of a run, on average.",
        "most_failed_tests": "Tests that failed most often: objects with names, runs and 95th percentile of seconds.",
        "most_failed_tests_extra": "Number of tests that failed as often as the last of most_failed_tests.",
        "slowest_tests": "Tests that took the longest: objects with names, runs and 95th percentile of seconds.",
        "slowest_tests_extra": "Number of tests that took as long as the last of slowest_tests.",
        "test_runs": "Counts of tests by run: objects with workflow_id, pipeline_number, success_rate and test_counts.",
        "total_test_runs": "Number of runs with tests among the last ten.",
    },
    "insights_trends": {
        **SUMMARY,
        "project_data": "Totals of the last 30 days (metrics), and how they compare with the 30 days before (trends).",
    },
    "insights_workflow_jobs": {
        **WINDOW,
        **WORKFLOW_NAME,
        "metrics": "Runs, success rate, throughput (runs a day), credits, and durations in seconds, as an object.",
        "name": "Name that the job has in the workflow.",
    },
    "insights_workflows": {
        **WINDOW,
        "metrics": "Runs, success rate, throughput, mttr and durations in seconds, and credits, as an object.",
        "name": "Name that the workflow has in the project's configuration.",
    },
    "jobs": {
        **PROJECT_SLUG,
        "contexts": "Contexts whose secrets the job may use, as objects with a name.",
        "duration": "Milliseconds that the job took; null until it has ended.",
        "executor": "Where it runs, as an object: type, such as docker or machine, and resource_class.",
        "job_number": "Number of the job within its project, as workflow_jobs has it; the same as number.",
        "latest_workflow": "Latest workflow that the job was part of, as an object with id and name.",
        "messages": "Messages of CircleCI about the run, as objects with type and message.",
        "name": "Name that the job has in the project's configuration.",
        "number": "Number of the job, unique only within its project.",
        "organization": "Organisation of the project, as an object with its name.",
        "parallel_runs": "Parallel runs of the job, as objects with index and status.",
        "parallelism": "Number of parallel runs.",
        "pipeline": "Pipeline of the job, as an object with its id.",
        "project": "Project of the job, as an object with id, slug, name and address of the repository.",
        "queued_at": "When the job was put into the queue, UTC.",
        "started_at": "When the job began to run, UTC; null before that.",
        "status": "Such as success, failed, canceled, timedout, infrastructure_fail, not_run, queued or running.",
        "stopped_at": "When the job ended, UTC; null until then.",
        "web_url": "Address of the job's page in CircleCI.",
    },
    "me": {
        "admin": "Whether the user is an administrator of CircleCI's server.",
        "all_emails": "The user's e-mail addresses, as a list.",
        "analytics_id": "Identifier of the user, a UUID.",
        "avatar_url": "Address of the user's picture.",
        "basic_email_prefs": "Which builds the user gets e-mail about: all, smart or none.",
        "bitbucket": "Identifier of the user at Bitbucket; null if there is none.",
        "bitbucket_authorized": "Whether CircleCI may use the user's account at Bitbucket.",
        "containers": "Number of containers that the user's plan has.",
        "created_at": "When the user's account was created, UTC.",
        "days_left_in_trial": "Days until the end of the user's trial; negative after the end.",
        "email_authentication": "Sign-in by e-mail, as an object: login, and whether the address was verified.",
        "enrolled_betas": "Beta tests that the user takes part in, as a list.",
        "github_id": "Identifier of the user at GitHub; null if there is none.",
        "github_oauth_scopes": "Rights that the user gave CircleCI at GitHub, as a list.",
        "gravatar_id": "Identifier of the user at Gravatar; null if there is none.",
        "identities": "The user's identities by service, as an object.",
        "in_beta_program": "Whether the user takes part in beta tests.",
        "login": "Name with which the user signs in.",
        "name": "The user's name; may be null.",
        "num_projects_followed": "Number of projects that the user follows.",
        "organization_prefs": "The user's settings by organisation, as an object.",
        "parallelism": "Number of parallel runs that the user's plan permits.",
        "plan": "Name of the user's plan; null if there is none.",
        "projects": "Projects that the user follows, as an object by address, with settings for e-mail.",
        "pusher_id": "Identifier of the channel that sends live updates to the user's browser.",
        "selected_email": "E-mail address that notifications go to.",
        "sign_in_count": "Number of times that the user has signed in.",
        "trial_end": "When the user's trial ended or ends, as text in ISO 8601.",
    },
    "pipeline_workflows": WORKFLOW,
    "pipelines": {**PIPELINE, **ORG_SLUG},
    "project_pipelines": {**PIPELINE, **PROJECT_SLUG},
    "projects": {
        "branches": "Latest builds by branch; CircleCI sends it no more, and stored values are not updated.",
        "default_branch": "Branch that the repository has as its default.",
        "followed": "Whether the key's user follows the project.",
        "following": "Whether the key's user follows the project.",
        "has_usable_key": "Whether CircleCI has a key with which it can read the repository.",
        "language": "Programming language of the repository; may be null.",
        "oss": "Whether the project is built as open source, with results that everyone can see.",
        "parallel": "Number of containers that a build may use in parallel.",
        "reponame": "Name of the repository; for projects with ids in vcs_url, of the project.",
        "username": "Name of the organisation or user that the repository belongs to.",
        "vcs_type": "Where the code is hosted: github, bitbucket, or circleci for projects with ids in vcs_url.",
        "vcs_url": "Address of the repository, or //circleci.com/ with the ids of organisation and project.",
    },
    "schedules": {
        **PROJECT_SLUG,
        "actor": "User in whose name the pipelines are started, as an object with id, login and name.",
        "created_at": "When the schedule was made, UTC.",
        "description": "Purpose of the schedule; null without a description.",
        "id": "Identifier of the schedule, a UUID.",
        "name": "Name of the schedule.",
        "parameters": "Parameters of the pipelines that it starts, as an object with branch or tag.",
        "timetable": "When it starts pipelines: per-hour, hours-of-day (UTC) and days-of-week, as an object.",
        "updated_at": "When the schedule was last changed, UTC.",
    },
    "self_collaborations": {
        "avatar_url": "Address of the organisation's picture.",
        "id": "Identifier of the organisation, a UUID; may be null.",
        "name": "Name of the organisation.",
        "slug": "Organisation as version 2 names it, such as gh/acme.",
        "vcs_type": "Where its code is hosted: github, bitbucket or circleci.",
    },
    "self_ids": {
        "id": "Identifier of the user, a UUID.",
        "login": "Name with which the user signs in at the host of the code.",
        "name": "The user's name.",
    },
    "specific_project": {
        **PROJECT_SLUG,
        "id": "Identifier of the project, a UUID.",
        "name": "Name of the project.",
        "organization_id": "Organisation of the project, a UUID; refers to self_collaborations.id.",
        "organization_name": "Name of the organisation.",
        "organization_slug": "Organisation of the project; refers to self_collaborations.slug.",
        "slug": "The project's name in paths of version 2, such as gh/acme/shop.",
        "vcs_info": "Repository, as an object: host (provider), address and default branch.",
    },
    "workflow": {**WORKFLOW, "workflow_id": "The same as id; refers to pipeline_workflows.id."},
    "workflow_jobs": {
        "approval_request_id": "Identifier with which an approval is given; null for other jobs.",
        "approved_by": "User who gave the approval, as a UUID; null if none was given.",
        "canceled_by": "User who cancelled the job, as a UUID; null if it was not cancelled by a user.",
        "dependencies": "Jobs that had to end before this one: a list of id.",
        "id": "Identifier of the job, a UUID; a rerun of failed jobs may list jobs of the first run as well.",
        "job_number": "Number of the job within its project; refers to jobs.number; null for an approval.",
        "name": "Name that the job has in the workflow.",
        "started_at": "When the job began to run, UTC; null for approvals and jobs that did not run.",
        "status": "Such as success, failed, canceled, not_run, running, blocked or on_hold (an approval that waits).",
        "stopped_at": "When the job ended, UTC; null until then.",
        "type": "Such as build, a job that runs, and approval, one that waits for a person.",
        "workflow_id": "Workflow whose list has the job; refers to workflow.id and pipeline_workflows.id.",
    },
}
"""Columns that mean something of their own in a table, by endpoint."""

COMMON_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "context": ("created_at",),
    "insights_branches": ("org_id",),
    "insights_metrics": ("org_id",),
    "insights_trends": ("org_id",),
    "jobs": ("created_at",),
    "pipeline_workflows": ("created_at", "project_slug"),
    "pipelines": ("project_slug",),
    "workflow": ("created_at", "project_slug"),
    "workflow_jobs": ("project_slug",),
}
"""By endpoint the columns of its rows that ``SHARED`` or ``COMMON`` describes."""
