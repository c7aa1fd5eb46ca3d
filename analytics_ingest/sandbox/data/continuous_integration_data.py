"""Generates the rows of continuous_integration: projects with their pipelines, workflows and jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytics_ingest.sandbox.random_values import AREAS, RandomValues, Row, Rows, iso, scaled

if TYPE_CHECKING:
    from datetime import datetime

ORGS = ("shop-web", "shop-data")
BRANCHES = ("main", "develop", "release/2026.1", "feature/ü-umlaut")
JOB_NAMES = ("lint", "unit-tests", "build-image", "integration-tests", "deploy-staging", "deploy-production")
DEPLOYMENT = ("build-image", "integration-tests", "deploy-staging", "deploy-production")
"""Jobs of the workflow ``deploy``."""
MANY_JOBS = 24
"""Jobs of the first workflow: more than a page holds."""


def _project(rng: RandomValues, number: int) -> Row:
    org, name = ORGS[number % len(ORGS)], f"{AREAS[number // 2 % len(AREAS)]}-service"
    return {
        "vcs_url": f"https://github.com/{org}/{name}",
        "vcs_type": "github",
        "username": org,
        "reponame": name,
        "default_branch": "main",
        "oss": rng.chance(0.1),
        "following": True,
        "language": rng.maybe(rng.choice(("Python", "TypeScript", "Go")), 0.8),
        "branches": {
            branch: {"is_using_workflows": True, "pusher_logins": [rng.person(rng.integer(0, 30))["name"]]}
            for branch in rng.sample(BRANCHES, 1, len(BRANCHES))
        },
        "scopes": ["write-settings", "view-builds"],
    }


def _slug(project: Row) -> str:
    return f"gh/{project['username']}/{project['reponame']}"


def _key(project: Row) -> tuple[str, str]:
    return project["username"], project["reponame"]


def _insights(rng: RandomValues, project: Row) -> Row:
    return {
        "org_id": project["username"],
        "project_id": project["reponame"],
        "metrics": {
            "total_runs": rng.integer(10, 900),
            "success_rate": rng.decimal(0.6, 1, 3),
            "throughput": rng.decimal(0.5, 30),
            "total_duration_secs": rng.integer(1_000, 900_000),
        },
        "trends": {"success_rate": rng.decimal(0.8, 1.2, 3)},
        "top_workflows": [{"name": "build-and-test", "p95_duration_secs": rng.integer(60, 3_000)}],
    }


def _context(rng: RandomValues, number: int, times: Row) -> Row:
    return {"id": rng.uuid(), "name": f"{AREAS[number % 10]}-secrets-{number}", **times}


def _jobs(
    rng: RandomValues, store: dict[str, Any], workflow: Row, *, names: list[str], times: Row, counts: dict[str, int]
) -> Rows:
    """Adds the jobs of a workflow to the store, and gives them as the workflow lists them."""
    slug = workflow["project_slug"]
    org, project = slug.split("/")[-2:]
    listed: Rows = []
    for name in names:
        row: Row = {"id": rng.uuid(), "name": name, "project_slug": slug, "type": "build"}
        row |= {"dependencies": [listed[-1]["id"]] if listed else []}
        if name.startswith("approve"):
            row |= {"type": "approval", "status": workflow["status"], "approved_by": rng.uuid()}
            row |= {"started_at": None, "stopped_at": None}
            listed.append(row)
            continue
        counts[slug] = number = counts.get(slug, 0) + 1
        row |= {"job_number": number, "status": workflow["status"]}
        row |= {"started_at": times["created_at"], "stopped_at": workflow["stopped_at"]}
        listed.append(row)
        store["jobs"][org, project, str(number)] = {
            "number": number,
            "name": name,
            "status": workflow["status"],
            "created_at": times["created_at"],
            "queued_at": times["created_at"],
            "started_at": times["created_at"],
            "stopped_at": workflow["stopped_at"],
            "duration": rng.maybe(rng.integer(2_000, 900_000), 0.95),
            "parallelism": rng.choice((1, 1, 4)),
            "project": {"slug": slug, "name": project, "external_url": f"https://github.com/{org}/{project}"},
            "executor": {"type": "docker", "resource_class": rng.choice(("small", "medium", "large"))},
            "latest_workflow": {"id": workflow["id"], "name": workflow["name"]},
            "contexts": [{"name": each["name"]} for each in rng.sample(store["context"], 0, 2)],
            "organization": {"name": org},
        }
    return listed


def _job_names(rng: RandomValues) -> list[str]:
    names = rng.sample(JOB_NAMES, 2, 5)
    return [*names[:-1], "approve-release", names[-1]] if rng.chance(0.3) else names


def _pipeline(
    rng: RandomValues,
    store: dict[str, Any],
    project: Row,
    times: Row,
    *,
    status: str,
    runs: list[list[str]],
    names: tuple[str, ...] = ("build-and-test", "nightly"),
    branch: str = "",
) -> Row:
    """Adds a pipeline with one workflow for each list of job names, and gives it.

    Args:
        rng: The random values.
        store: The rows.
        project: The pipeline's project.
        times: ``created_at`` and ``updated_at`` of the pipeline.
        status: The status of its workflows.
        runs: The names of each workflow's jobs.
        names: The names of the workflows, in turn.
        branch: The branch that it runs for; by default one of the project's.
    """
    slug = _slug(project)
    counts = {slug: sum(key[:2] == _key(project) for key in store["jobs"])}
    person = rng.person(rng.integer(0, 30))
    pipeline: Row = {
        "id": rng.uuid(),
        "number": 1 + sum(each["project_slug"] == slug for each in store["pipelines"]),
        "project_slug": slug,
        "state": "created" if runs else "errored",
        "errors": [] if runs else [{"type": "config", "message": "no workflow is defined"}],
        "trigger": {
            "type": "webhook",
            "received_at": times["created_at"],
            "actor": {"login": person["name"]},
        },
        "vcs": {
            "provider_name": "GitHub",
            "branch": branch or rng.choice(list(project["branches"])),
            "revision": rng.code(40),
        },
        **times,
    }
    store["pipelines"].append(pipeline)
    store["pipeline_workflows"][pipeline["id"],] = listed = []
    for index, jobs in enumerate(runs):
        workflow = {
            "id": rng.uuid(),
            "name": names[index % len(names)],
            "pipeline_id": pipeline["id"],
            "pipeline_number": pipeline["number"],
            "project_slug": slug,
            "status": status,
            "started_by": rng.uuid(),
            "created_at": times["created_at"],
            "stopped_at": None if status == "running" else times["updated_at"],
            "tag": rng.maybe("setup", 0.2),
        }
        listed.append(workflow)
        store["workflow"][workflow["id"],] = workflow
        store["workflow_jobs"][workflow["id"],] = _jobs(rng, store, workflow, names=jobs, times=times, counts=counts)
    return pipeline


def build(rng: RandomValues, scale: float) -> dict[str, Any]:
    """The rows of all endpoints; the first workflow's jobs need two pages."""
    projects = [_project(rng, number) for number in range(min(20, scaled(12, scale, 2)))]
    own = {"id": rng.uuid(), "login": "shop-bot", "name": "Shop Bot"}
    store: dict[str, Any] = {
        "context": [_context(rng, number, rng.span()) for number in range(scaled(40, scale, 22))],
        "self_ids": [own],
        "self_collaborations": [
            {"id": rng.uuid(), "vcs-type": "github", "name": org, "slug": f"gh/{org}", "avatar_url": None}
            for org in ORGS
        ],
        "me": [
            {
                "analytics_id": rng.uuid(),
                "login": own["login"],
                "name": own["name"],
                "all_emails": ["bot@shop.example"],
                "num_projects_followed": len(projects),
                "created_at": rng.span()["created_at"],
            }
        ],
        "projects": projects,
        "specific_project": {
            _key(project): {
                "id": rng.uuid(),
                "slug": _slug(project),
                "name": project["reponame"],
                "organization_name": project["username"],
                "vcs_info": {"vcs_url": project["vcs_url"], "provider": "GitHub", "default_branch": "main"},
            }
            for project in projects
        },
        "insights_metrics": {_key(project): _insights(rng, project) for project in projects},
        "insights_branches": {
            _key(project): {
                "org_id": project["username"],
                "project_id": project["reponame"],
                "branches": list(project["branches"]),
            }
            for project in projects
        },
        "pipelines": [],
        "pipeline_workflows": {},
        "workflow": {},
        "workflow_jobs": {},
        "jobs": {},
    }
    many = [f"unit-tests-{number:02d}" for number in range(MANY_JOBS)]
    for index in range(scaled(60, scale, 4)):
        runs = [_job_names(rng) for _ in range(rng.integer(1, 2))]
        runs = {0: [[*many, "approve-release"]], 1: [["lint", "unit-tests"]], 2: []}.get(index, runs)
        status = "running" if index == 3 else rng.choice(("success", "success", "success", "failed"))
        _pipeline(rng, store, projects[index % len(projects)], rng.span(90), status=status, runs=runs)
    return store


def advance(store: dict[str, Any], rng: RandomValues, scale: float) -> None:
    """Finishes the running workflows, starts pipelines, updates insights, renames a context and removes one."""
    pipelines = {each["id"]: each for each in store["pipelines"]}
    for workflow in store["workflow"].values():
        if workflow["status"] != "running":
            continue
        pipeline = pipelines[workflow["pipeline_id"]]
        rng.touch(pipeline)
        workflow |= {"status": "success", "stopped_at": pipeline["updated_at"]}
        for row in store["workflow_jobs"][workflow["id"],]:
            row["status"] = "success"
            if "job_number" in row:
                row["stopped_at"] = pipeline["updated_at"]
                org, project = row["project_slug"].split("/")[-2:]
                store["jobs"][org, project, str(row["job_number"])] |= {
                    "status": "success",
                    "stopped_at": pipeline["updated_at"],
                }
    number = scaled(2, scale, 2)
    for index, project in enumerate(rng.sample(store["projects"], number, number)):
        status = "running" if index == 0 else "success"
        _pipeline(rng, store, project, rng.fresh(), status=status, runs=[_job_names(rng)])
        store["insights_metrics"][_key(project)] = _insights(rng, project)
    contexts = store["context"]
    contexts.remove(rng.choice(contexts))
    contexts.append(_context(rng, rng.serial(), rng.fresh()))
    rng.touch(contexts[0], name=f"{rng.choice(AREAS)}-secrets-{rng.serial()}")


def deploy(store: dict[str, Any], rng: RandomValues, *, started: datetime, stopped: datetime) -> Row:
    """Adds a pipeline whose workflow has deployed a project's default branch, and gives the pipeline."""
    project = rng.choice(store["projects"])
    return _pipeline(
        rng,
        store,
        project,
        {"created_at": iso(started), "updated_at": iso(stopped)},
        status="success",
        runs=[[*DEPLOYMENT]],
        names=("deploy",),
        branch=project["default_branch"],
    )
