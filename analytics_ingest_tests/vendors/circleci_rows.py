"""Rows in CircleCI's shapes: version 1.1 speaks of addresses and maps, version 2 of slugs and lists."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import NAMESPACE_URL, uuid5

Row = dict[str, Any]
LONG_AGO = datetime(2026, 3, 2, 10, tzinfo=UTC)
HOSTS = {"gh": ("github", "https://github.com"), "bb": ("bitbucket", "https://bitbucket.org")}
"""By the first part of a slug: version 1.1's ``vcs_type``, and what its ``vcs_url`` begins with."""
OWN_HOST = ("circleci", "//circleci.com")
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
GOING = {"queued", "running", "not_running", "blocked", "on_hold", "failing"}
"""Statuses of workflows and jobs that have not stopped."""


def ident(*parts: object) -> str:
    """A UUID, the same for the same parts."""
    return str(uuid5(NAMESPACE_URL, "/".join(map(str, parts))))


def opaque(*parts: object) -> str:
    """A part of a slug of the vendor's own: 22 characters that cannot be had from an id."""
    number = int.from_bytes(sha256("/".join(map(str, parts)).encode()).digest())
    return "".join(BASE58[number // 58**n % 58] for n in range(22))


def made_of_ids(slug: str) -> str:
    """The other form of a slug of the vendor's own, which version 1.1's addresses hold."""
    return f"circleci/{ident('organisation', slug.rpartition('/')[0])}/{ident('project', slug)}"


def with_milliseconds(moment: datetime) -> str:
    """A time as pipelines, contexts and version 1.1's user have it."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def whole_seconds(moment: datetime) -> str:
    """A time as workflows and jobs have it."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def later(moment: str | None, minutes: int) -> str | None:
    """So many minutes after a time; never, if that never was."""
    return whole_seconds(datetime.fromisoformat(moment) + timedelta(minutes=minutes)) if moment else None


def collaboration(slug: str, *, known: bool, hyphen: bool) -> Row:
    """An organisation; one that is not ``known`` has no id, and the field of its host has one of two names."""
    host, _, name = slug.partition("/")
    return {
        "vcs-type" if hyphen else "vcs_type": HOSTS.get(host, OWN_HOST)[0],
        "name": name,
        "id": ident("organisation", slug) if known else None,
        "avatar_url": f"https://example.com/{name}.png",
        "slug": slug,
    }


def context(org_slug: str, number: int) -> Row:
    name = f"secrets-{number}"
    return {
        "id": ident("context", org_slug, name),
        "name": name,
        "created_at": f"2026-01-02T03:04:{number:02}.517Z",
    }


def user(projects: list[Row]) -> Row:
    """The key's user by version 1.1, with a map of what is followed."""
    return {
        "analytics_id": ident("user", "ada"),
        "login": "ada",
        "name": "Ada",
        "admin": False,
        "created_at": "2020-05-06T07:08:09.010Z",
        "all_emails": ["ada@example.com"],
        "projects": {row["vcs_url"]: {"emails": "default", "on_dashboard": True} for row in projects},
    }


def followed(slug: str) -> Row:
    """A project by version 1.1; one of the vendor's own has ids in its address, and names that are not."""
    named = slug.split("/", maxsplit=1)[0] in HOSTS
    host, org, name = (slug if named else made_of_ids(slug)).split("/")
    vcs_type, begins = HOSTS.get(host, OWN_HOST)
    return {
        "vcs_url": f"{begins}/{org}/{name}",
        "vcs_type": vcs_type,
        "username": org if named else "Cloud",
        "reponame": name if named else "service",
        "default_branch": "main",
        "followed": True,
        "oss": False,
        "parallel": 1,
        "branches": {"main": branch(1), "topic%2Fone": branch(2)},
    }


def branch(build: int) -> Row:
    return {
        "last_success": {"build_num": build, "outcome": "success", "pushed_at": "2026-03-02T10:00:00.000Z"},
        "pusher_logins": ["ada"],
        "running_builds": [],
    }


def project(slug: str) -> Row:
    _, org, name = slug.split("/")
    return {
        "id": ident("project", slug),
        "slug": slug,
        "name": name,
        "organization_id": ident("organisation", slug.rpartition("/")[0]),
        "organization_name": org,
        "organization_slug": slug.rpartition("/")[0],
        "vcs_info": {"provider": "GitHub", "vcs_url": f"https://example.com/{org}/{name}", "default_branch": "main"},
    }


def summary(slug: str) -> Row:
    """A project's insights."""
    metrics = {"total_runs": 40, "success_rate": 0.9, "throughput": 1.5, "total_duration_secs": 4_000}
    return {
        "org_id": ident("organisation", slug.rpartition("/")[0]),
        "project_id": ident("project", slug),
        "project_data": {"metrics": metrics, "trends": {"total_runs": 1.1}},
        "project_workflow_data": [{"workflow_name": "build", "metrics": metrics, "trends": {}}],
        "all_branches": ["main"],
        "all_workflows": ["build"],
    }


def branches(slug: str) -> Row:
    """The branches of a project's insights."""
    return {
        "org_id": ident("organisation", slug.rpartition("/")[0]),
        "project_id": ident("project", slug),
        "branches": ["main"],
    }


def duration(seconds: int) -> Row:
    return {
        "min": seconds,
        "mean": seconds,
        "median": seconds,
        "p95": seconds,
        "max": seconds,
        "standard_deviation": 0.5,
    }


def insight(name: str, runs: int = 40) -> Row:
    """The totals of a workflow, or of a job."""
    return {
        "name": name,
        "window_start": "2026-01-01T10:00:00.000Z",
        "window_end": "2026-03-31T10:00:00.000Z",
        "metrics": {"total_runs": runs, "success_rate": 0.5, "duration_metrics": duration(runs)},
    }


def metrics_of_tests(slug: str, workflow: str) -> Row:
    test = {"test_name": "adds", "classname": None, "file": None, "source": "junit", "job_name": "job-1"}
    return {
        "average_test_count": 12,
        "most_failed_tests": [test | {"failed_runs": 2, "total_runs": 10, "p95_duration": 0.25, "flaky": True}],
        "most_failed_tests_extra": 0,
        "slowest_tests": [],
        "slowest_tests_extra": 0,
        "total_test_runs": 10,
        "test_runs": [{"workflow_id": ident("workflow", slug, workflow), "pipeline_number": 3, "success_rate": 0.75}],
    }


def flaky_test(slug: str, name: str, *, in_class: bool = True) -> Row:
    """A flaky test, with the fields as the specification names them; class and file may be null."""
    return {
        "test-name": name,
        "classname": "Sums" if in_class else None,
        "file": "sums.py" if in_class else None,
        "source": "junit",
        "job-name": "job-1",
        "job-number": 1,
        "workflow-name": "build",
        "workflow-id": ident("workflow", slug),
        "workflow-created-at": "2026-03-02T10:00:00.000Z",
        "pipeline-number": 1,
        "times-flaked": 3,
    }


def schedule(slug: str, number: int) -> Row:
    return {
        "id": ident("schedule", slug, number),
        "name": f"nightly-{number}",
        "description": None if number % 2 else "Every night",
        "project-slug": slug,
        "created-at": f"2026-01-02T03:04:{number:02}.517Z",
        "updated-at": f"2026-01-03T03:04:{number:02}.517Z",
        "timetable": {"per-hour": 1, "hours-of-day": [3], "days-of-week": ["MON", "FRI"]},
        "actor": {"id": ident("user", "ada"), "login": "ada", "name": "Ada"},
        "parameters": {"branch": "main"},
    }


def variable(context_id: str, number: int) -> Row:
    """An environment variable of a context; of its value there are the last characters."""
    return {
        "variable": f"TOKEN_{number}",
        "context_id": context_id,
        "created_at": f"2026-01-02T03:04:{number:02}.517Z",
        "updated_at": f"2026-01-03T03:04:{number:02}.517Z",
        "truncated_value": f"x7{number:02}",
    }


def with_underscores(row: Row) -> Row:
    """A row as the table has its fields."""
    return {name.replace("-", "_"): value for name, value in row.items()}


def pipeline(slug: str, number: int, created: datetime) -> Row:
    return {
        "id": ident("pipeline", slug, number),
        "number": number,
        "project_slug": slug,
        "state": "created",
        "errors": [],
        "created_at": with_milliseconds(created.replace(microsecond=250_000)),
        "updated_at": with_milliseconds(created.replace(microsecond=750_000)),
        "trigger": {"type": "webhook", "received_at": with_milliseconds(created), "actor": {"login": "ada"}},
        "vcs": {"branch": "main", "revision": ident(slug, number)[:8]},
    }


def workflow(of: Row, number: int, created: datetime, *, status: str) -> Row:
    return {
        "id": ident("workflow", of["id"], number),
        "name": f"build-{number}",
        "pipeline_id": of["id"],
        "pipeline_number": of["number"],
        "project_slug": of["project_slug"],
        "status": status,
        "started_by": ident("user", "ada"),
        "created_at": whole_seconds(created),
        "stopped_at": None,
    }


def job(of: Row, name: str, number: int | None, *, status: str) -> Row:
    """A job in a workflow's list; without a number it is an approval, which never starts."""
    row = {
        "id": ident("job", of["id"], name),
        "name": name,
        "type": "approval" if number is None else "build",
        "project_slug": of["project_slug"],
        "status": status,
        "dependencies": [],
        "started_at": None if number is None else of["created_at"],
        "stopped_at": None,
    }
    return row if number is None else row | {"job_number": number}


def detail(of: Row, row: Row) -> Row:
    """A job's own record."""
    slug = of["project_slug"]
    return {
        "number": row["job_number"],
        "name": row["name"],
        "status": row["status"],
        "project": {"id": ident("project", slug), "slug": slug, "name": slug.rpartition("/")[2]},
        "pipeline": {"id": of["pipeline_id"]},
        "latest_workflow": {"id": of["id"], "name": of["name"]},
        "executor": {"type": "docker", "resource_class": "medium"},
        "parallelism": 1,
        "parallel_runs": [{"index": 0, "status": row["status"]}],
        "duration": None,
        "web_url": f"https://example.com/{slug}/{row['job_number']}",
        "created_at": of["created_at"],
        "queued_at": of["created_at"],
        "started_at": of["created_at"],
        "stopped_at": None,
    }
