"""Projects of a web shop with their pipelines, workflows and jobs."""

from __future__ import annotations

from typing import Any

from analytics_ingest.sandbox.draw import AREAS, Draw, Row, Rows, scaled

_ORGS = ("shop-web", "shop-data")
_BRANCHES = ("main", "develop", "release/2026.1", "feature/ü-umlaut")
_JOB_NAMES = ("lint", "unit-tests", "build-image", "integration-tests", "deploy-staging", "deploy-production")
_MANY_JOBS = 24


def _project(draw: Draw, number: int) -> Row:
    org, name = _ORGS[number % len(_ORGS)], f"{AREAS[number // 2 % len(AREAS)]}-service"
    return {
        "vcs_url": f"https://github.com/{org}/{name}",
        "vcs_type": "github",
        "username": org,
        "reponame": name,
        "default_branch": "main",
        "oss": draw.chance(0.1),
        "following": True,
        "language": draw.maybe(draw.pick(("Python", "TypeScript", "Go")), 0.8),
        "branches": {
            branch: {"is_using_workflows": True, "pusher_logins": [draw.person(draw.whole(0, 30))["name"]]}
            for branch in draw.some(_BRANCHES, 1, len(_BRANCHES))
        },
        "scopes": ["write-settings", "view-builds"],
    }


def _slug(project: Row) -> str:
    return f"gh/{project['username']}/{project['reponame']}"


def _key(project: Row) -> tuple[str, str]:
    return project["username"], project["reponame"]


def _insights(draw: Draw, project: Row) -> Row:
    return {
        "org_id": project["username"],
        "project_id": project["reponame"],
        "metrics": {
            "total_runs": draw.whole(10, 900),
            "success_rate": draw.number(0.6, 1, 3),
            "throughput": draw.number(0.5, 30),
            "total_duration_secs": draw.whole(1_000, 900_000),
        },
        "trends": {"success_rate": draw.number(0.8, 1.2, 3)},
        "top_workflows": [{"name": "build-and-test", "p95_duration_secs": draw.whole(60, 3_000)}],
    }


def _context(draw: Draw, number: int, times: Row) -> Row:
    return {"id": draw.uuid(), "name": f"{AREAS[number % 10]}-secrets-{number}", **times}


def _jobs(
    draw: Draw, store: dict[str, Any], workflow: Row, *, names: list[str], times: Row, counts: dict[str, int]
) -> Rows:
    """Add the jobs of a workflow to the store, and give them as the workflow lists them."""
    slug = workflow["project_slug"]
    org, project = slug.split("/")[-2:]
    listed: Rows = []
    for name in names:
        row: Row = {"id": draw.uuid(), "name": name, "project_slug": slug, "type": "build"}
        row |= {"dependencies": [listed[-1]["id"]] if listed else []}
        if name.startswith("approve"):
            row |= {"type": "approval", "status": workflow["status"], "approved_by": draw.uuid()}
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
            "duration": draw.maybe(draw.whole(2_000, 900_000), 0.95),
            "parallelism": draw.pick((1, 1, 4)),
            "project": {"slug": slug, "name": project, "external_url": f"https://github.com/{org}/{project}"},
            "executor": {"type": "docker", "resource_class": draw.pick(("small", "medium", "large"))},
            "latest_workflow": {"id": workflow["id"], "name": workflow["name"]},
            "contexts": [{"name": each["name"]} for each in draw.some(store["context"], 0, 2)],
            "organization": {"name": org},
        }
    return listed


def _job_names(draw: Draw) -> list[str]:
    names = draw.some(_JOB_NAMES, 2, 5)
    return [*names[:-1], "approve-release", names[-1]] if draw.chance(0.3) else names


def _pipeline(
    draw: Draw, store: dict[str, Any], project: Row, times: Row, *, status: str, runs: list[list[str]]
) -> None:
    """Add a pipeline with one workflow for each list of job names."""
    slug = _slug(project)
    counts = {slug: sum(key[:2] == _key(project) for key in store["jobs"])}
    person = draw.person(draw.whole(0, 30))
    pipeline: Row = {
        "id": draw.uuid(),
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
            "branch": draw.pick(list(project["branches"])),
            "revision": draw.code(40),
        },
        **times,
    }
    store["pipelines"].append(pipeline)
    store["pipeline_workflows"][pipeline["id"],] = listed = []
    for place, names in enumerate(runs):
        workflow = {
            "id": draw.uuid(),
            "name": ("build-and-test", "nightly")[place % 2],
            "pipeline_id": pipeline["id"],
            "pipeline_number": pipeline["number"],
            "project_slug": slug,
            "status": status,
            "started_by": draw.uuid(),
            "created_at": times["created_at"],
            "stopped_at": None if status == "running" else times["updated_at"],
            "tag": draw.maybe("setup", 0.2),
        }
        listed.append(workflow)
        store["workflow"][workflow["id"],] = workflow
        store["workflow_jobs"][workflow["id"],] = _jobs(draw, store, workflow, names=names, times=times, counts=counts)


def build(draw: Draw, scale: float) -> dict[str, Any]:
    """Make the rows of all continuous_integration endpoints; the first workflow's jobs need two pages."""
    projects = [_project(draw, number) for number in range(min(20, scaled(12, scale, 2)))]
    own = {"id": draw.uuid(), "login": "shop-bot", "name": "Shop Bot"}
    store: dict[str, Any] = {
        "context": [_context(draw, number, draw.span()) for number in range(scaled(40, scale, 22))],
        "self_ids": [own],
        "self_collaborations": [
            {"id": draw.uuid(), "vcs-type": "github", "name": org, "slug": f"gh/{org}", "avatar_url": None}
            for org in _ORGS
        ],
        "me": [
            {
                "analytics_id": draw.uuid(),
                "login": own["login"],
                "name": own["name"],
                "all_emails": ["bot@shop.example"],
                "num_projects_followed": len(projects),
                "created_at": draw.span()["created_at"],
            }
        ],
        "projects": projects,
        "specific_project": {
            _key(project): {
                "id": draw.uuid(),
                "slug": _slug(project),
                "name": project["reponame"],
                "organization_name": project["username"],
                "vcs_info": {"vcs_url": project["vcs_url"], "provider": "GitHub", "default_branch": "main"},
            }
            for project in projects
        },
        "insights_metrics": {_key(project): _insights(draw, project) for project in projects},
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
    many = [f"unit-tests-{number:02d}" for number in range(_MANY_JOBS)]
    for place in range(scaled(60, scale, 4)):
        runs = [_job_names(draw) for _ in range(draw.whole(1, 2))]
        runs = {0: [[*many, "approve-release"]], 1: [["lint", "unit-tests"]], 2: []}.get(place, runs)
        status = "running" if place == 3 else draw.pick(("success", "success", "success", "failed"))
        _pipeline(draw, store, projects[place % len(projects)], draw.span(90), status=status, runs=runs)
    return store


def advance(store: dict[str, Any], draw: Draw, scale: float) -> None:
    """End the running workflows, start new pipelines, measure projects anew, rename and drop a context."""
    pipelines = {each["id"]: each for each in store["pipelines"]}
    for workflow in store["workflow"].values():
        if workflow["status"] != "running":
            continue
        pipeline = pipelines[workflow["pipeline_id"]]
        draw.touch(pipeline)
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
    number = scaled(3, scale, 2)
    for place, project in enumerate(draw.some(store["projects"], number, number)):
        status = "running" if place == 0 else "success"
        _pipeline(draw, store, project, draw.fresh(), status=status, runs=[_job_names(draw)])
        store["insights_metrics"][_key(project)] = _insights(draw, project)
    contexts = store["context"]
    contexts.remove(draw.pick(contexts))
    contexts.append(_context(draw, draw.serial(), draw.fresh()))
    draw.touch(contexts[0], name=f"{draw.pick(AREAS)}-secrets-{draw.serial()}")
