"""CircleCI's API as a local server: version 2 pages by token, version 1.1 answers JSON to those who ask for it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Literal

from analytics_ingest_tests.fake_server import Asked, Response
from analytics_ingest_tests.vendors import circleci_rows as make
from analytics_ingest_tests.vendors.circleci_rows import LONG_AGO, Row
from analytics_ingest_tests.vendors.server import Route, Rows, Vendor, cut, numbered

PAGE = 10
"""Rows a page: no parameter changes that."""
TOKEN = frozenset({"page-token"})
SLUG = r"((?:gh|bb|circleci)(?:/|%2F)[^/%]+(?:/|%2F)[^/%]+)"
TRENDS = "#trends"
"""Ends the path of a summary of at most 30 days, for which alone there are trends."""
WINDOWS = {"last-24-hours", "last-7-days", "last-30-days", "last-60-days", "last-90-days"}
TRENDS_WINDOWS = {"last-24-hours", "last-7-days", "last-30-days"}
LISTS = {"context", "pipelines", "project_pipelines", "pipeline_workflows", "workflow_jobs"} | {
    "insights_workflows",
    "insights_workflow_jobs",
    "schedules",
    "context_environment_variables",
}
INSIGHTS = ("insights_metrics", "insights_branches", "insights_trends", "insights_workflows", "flaky_tests")
"""What a project has of insights; each of its workflows has more."""
OF_WORKFLOWS = ("insights_workflow_jobs", "insights_test_metrics")
ARRAYS = {"self_collaborations", "projects"}
EDN = '({:login "ada", :followed true, :branches {:main {:pusher_logins ["ada"]}}})'
CLOUD = f"circleci/{make.opaque('organisation', 'cloud')}"
SHOP, SITE, TOOLS, DOTFILES = "gh/acme/shop", "gh/acme/site", "gh/acme/tools", "gh/ada/dotfiles"
ENGINE, SERVICE = "bb/basalt/engine", f"{CLOUD}/{make.opaque('project', 'service')}"


def token(start: int) -> str:
    """The token of the page that begins at a row, with characters that a query has to encode."""
    return f"AB+/{start}=="


class Circleci(Vendor):
    """Four organisations, five projects that are followed and one that is not."""

    profile = "circleci"
    prefix = "/api"
    ROUTES = (
        Route("context", r"/v2/context", TOKEN, frozenset({"owner-slug"})),
        Route("self_ids", r"/v2/me"),
        Route("self_collaborations", r"/v2/me/collaborations"),
        Route("me", r"/v1.1/me"),
        Route("projects", r"/v1.1/projects", frozenset({"shallow"})),
        Route("pipelines", r"/v2/pipeline", TOKEN, frozenset({"org-slug"})),
        Route("project_pipelines", rf"/v2/project/{SLUG}/pipeline", TOKEN | {"branch"}),
        Route("pipeline_workflows", r"/v2/pipeline/([^/]+)/workflow", TOKEN),
        Route("specific_project", rf"/v2/project/{SLUG}"),
        Route("jobs", rf"/v2/project/{SLUG}/job/(\d+)"),
        Route("workflow", r"/v2/workflow/([^/]+)"),
        Route("workflow_jobs", r"/v2/workflow/([^/]+)/job", TOKEN),
        Route("insights_metrics", rf"/v2/insights/pages/{SLUG}/summary", frozenset({"reporting-window"})),
        Route("insights_branches", rf"/v2/insights/{SLUG}/branches"),
        # one path with the one before last: the window tells them apart
        Route("insights_trends", rf"/v2/insights/pages/{SLUG}/summary{TRENDS}", frozenset({"reporting-window"})),
        Route("insights_workflows", rf"/v2/insights/{SLUG}/workflows", TOKEN | {"reporting-window", "all-branches"}),
        Route(
            "insights_workflow_jobs",
            rf"/v2/insights/{SLUG}/workflows/([^/]+)/jobs",
            TOKEN | {"reporting-window", "all-branches"},
        ),
        Route(
            "insights_test_metrics",
            rf"/v2/insights/{SLUG}/workflows/([^/]+)/test-metrics",
            frozenset({"all-branches", "branch"}),
        ),
        Route("flaky_tests", rf"/v2/insights/{SLUG}/flaky-tests"),
        Route("schedules", rf"/v2/project/{SLUG}/schedule", TOKEN),
        Route("context_environment_variables", r"/v2/context/([0-9a-f-]{36})/environment-variable", TOKEN),
    )
    PARAMS: ClassVar[dict[str, tuple[str, ...]]] = {
        "context": ("org_slug",),
        "pipelines": ("org_slug",),
        "project_pipelines": ("project_slug",),
        "pipeline_workflows": ("pipeline_id",),
        "specific_project": ("project_slug",),
        "jobs": ("project_slug",),
        "workflow": ("workflow_id",),
        "workflow_jobs": ("workflow_id",),
        "insights_metrics": ("project_slug",),
        "insights_branches": ("project_slug",),
        "insights_trends": ("project_slug",),
        "insights_workflows": ("project_slug",),
        "insights_workflow_jobs": ("project_slug", "workflow_name"),
        "insights_test_metrics": ("project_slug", "workflow_name"),
        "flaky_tests": ("project_slug",),
        "schedules": ("project_slug",),
        "context_environment_variables": ("context_id",),
    }
    UNPAGED = frozenset(
        {"self_ids", "self_collaborations", "me", "projects", "specific_project", "jobs", "workflow"}
        | {"insights_metrics", "insights_branches", "insights_trends", "insights_test_metrics", "flaky_tests"}
    )
    retry_after = True
    """Whether a refusal says ``Retry-After``; most do."""
    hyphens = False
    """Whether the fields of flaky tests are named with hyphens."""
    version_1 = 200
    """What version 1.1 answers; 404 or 410 once the vendor has switched it off."""
    branches: Literal["unless shallow", "always", "null", "never"] = "unless shallow"
    """When version 1.1's projects have ``branches``: the vendor takes it off the list."""

    def __post_init__(self) -> None:
        self._numbers: Counter[str] = Counter()
        super().__post_init__()

    def fill(self) -> None:
        self.add_user()
        for slug, known, hyphen in (
            ("gh/acme", True, True),
            ("bb/basalt", True, False),
            (CLOUD, True, True),
            ("gh/ada", False, False),
        ):
            self.add_organisation(slug, known=known, hyphen=hyphen)
        for org, count in (("gh/acme", 23), ("bb/basalt", 3), (CLOUD, 1)):
            self.rows("context", org).extend(numbered(count, partial(make.context, org)))
            for number, row in enumerate(self.rows("context", org)):
                self.add_variables(row, 12 if number == 0 else number % 3)
        for slug in (SHOP, SITE, ENGINE, SERVICE, DOTFILES):
            self.add_project(slug, insights=slug != DOTFILES)
        self.add_project(TOOLS, followed=False)
        self.add_insights(SHOP, "nightly / build & test", jobs=12)
        for n in range(11):
            self.add_insights(ENGINE, f"check-{n}", jobs=1)
        self.rows("schedules", SHOP).extend(numbered(12, partial(make.schedule, SHOP)))
        self.rows("schedules", SITE).append(make.schedule(SITE, 0))
        for slug, count in ((TOOLS, 9), (SHOP, 13), (SITE, 11), (ENGINE, 2), (SERVICE, 1)):
            for n in range(count):
                # the organisation's list leaves a project out that was not built for long
                pipeline = self.add_pipeline(slug, LONG_AGO + timedelta(hours=n), listed=slug != SITE)
                self.add_workflow(pipeline, approval=n % 3 == 0)
        self.add_workflow(self.add_pipeline(SHOP, LONG_AGO + timedelta(days=1)), "on_hold", approval=True)
        young = datetime.now(UTC) - timedelta(days=1)
        self.add_workflow(self.add_pipeline(SHOP, young), "failed")
        self.add_workflow(self.add_pipeline(SERVICE, young), "running", jobs=13)
        many = self.add_pipeline(ENGINE, young)
        for _ in range(12):
            self.add_workflow(many, "canceled", jobs=1)

    def add_user(self) -> None:
        self.rows("self_ids").append({"id": make.ident("user", "ada"), "login": "ada", "name": "Ada"})
        self.rows("me").append(make.user([]))

    def add_organisation(self, slug: str, *, known: bool = True, hyphen: bool = True) -> None:
        self.rows("self_collaborations").append(make.collaboration(slug, known=known, hyphen=hyphen))
        self.rows("context", slug)
        self.rows("pipelines", slug)

    def add_project(self, slug: str, *, followed: bool = True, insights: bool = True) -> None:
        self.rows("specific_project", slug).append(make.project(slug))
        self.rows("project_pipelines", slug)
        if followed:
            self.rows("projects").append(make.followed(slug))
            self.rows("me")[0] = make.user(self.rows("projects"))
        if not slug.startswith("circleci/"):
            self.rows("schedules", slug)
        if insights:
            self.rows("insights_metrics", slug).append(make.summary(slug))
            self.rows("insights_branches", slug).append(make.branches(slug))
            self.rows("insights_trends", slug).append(make.summary(slug))
            self.rows("flaky_tests", slug).extend(
                [make.flaky_test(slug, "adds"), make.flaky_test(slug, "adds", in_class=False)]
            )
            self.add_insights(slug, "build", jobs=2)

    def add_insights(self, slug: str, workflow: str, *, jobs: int) -> None:
        """The insights of one more workflow of a project."""
        self.rows("insights_workflows", slug).append(make.insight(workflow))
        self.rows("insights_workflow_jobs", slug, workflow).extend(
            numbered(jobs, lambda number: make.insight(f"job-{number}"))
        )
        self.rows("insights_test_metrics", slug, workflow).append(make.metrics_of_tests(slug, workflow))

    def remove_insights(self, slug: str) -> None:
        """A project that has no insights any more."""
        for name in INSIGHTS:
            self.store[name].pop((slug,), None)
        for name in OF_WORKFLOWS:
            for parent in [each for each in self.store[name] if each[0] == slug]:
                del self.store[name][parent]

    def add_variables(self, context: Row, count: int) -> None:
        """The environment variables of a context."""
        self.rows("context_environment_variables", context["id"]).extend(
            numbered(count, partial(make.variable, context["id"]))
        )

    def add_pipeline(self, slug: str, created: datetime, *, listed: bool = True) -> Row:
        """A pipeline on top of its project's list and of its organisation's."""
        self._numbers[f"pipeline {slug}"] += 1
        row = make.pipeline(slug, self._numbers[f"pipeline {slug}"], created)
        self.rows("pipeline_workflows", row["id"])
        if listed:
            self.rows("pipelines", slug.rpartition("/")[0]).insert(0, row)
        self.rows("project_pipelines", slug).insert(0, row)
        return row

    def add_workflow(self, of: Row, status: str = "success", *, jobs: int = 2, approval: bool = False) -> Row:
        """One more workflow of a pipeline, with its jobs; the last one has the workflow's status."""
        rows = self.rows("pipeline_workflows", of["id"])
        row = make.workflow(of, len(rows) + 1, datetime.fromisoformat(of["created_at"]), status=status)
        rows.append(row)
        self.rows("workflow", row["id"]).append(row)
        self.rows("workflow_jobs", row["id"])
        for n in range(1, jobs + 1):
            self.add_job(row, f"job-{n}", status if n == jobs else "success")
        if approval:
            self.add_job(row, "hold", "success" if status == "success" else "on_hold", approval=True)
        if status not in make.GOING:
            row["stopped_at"] = make.later(row["created_at"], 10)
        return row

    def add_job(self, of: Row, name: str, status: str = "success", *, approval: bool = False) -> Row:
        """One more job of a workflow, with a record of its own unless it is an approval."""
        slug = of["project_slug"]
        self._numbers[slug] += not approval
        row = make.job(of, name, None if approval else self._numbers[slug], status=status)
        self.rows("workflow_jobs", of["id"]).append(row)
        if not approval:
            self.rows("jobs", slug, str(row["job_number"])).append(make.detail(of, row))
        if status not in make.GOING:
            self.end_job(row, status)
        return row

    def end_job(self, row: Row, status: str = "success") -> None:
        row.update(status=status, stopped_at=make.later(row["started_at"], 5))
        if "job_number" in row:
            (record,) = self.rows("jobs", row["project_slug"], str(row["job_number"]))
            record.update(status=status, stopped_at=row["stopped_at"], duration=300_000)

    def end_workflow(self, row: Row, status: str = "success") -> None:
        """Ends a workflow and what of its jobs has not ended."""
        for each in self.rows("workflow_jobs", row["id"]):
            if each["status"] in make.GOING:
                self.end_job(each, status)
        row.update(status=status, stopped_at=make.later(row["created_at"], 10))

    def remove_pipeline(self, row: Row) -> None:
        """A pipeline goes with all that it led to."""
        for name in ("pipelines", "project_pipelines"):
            for rows in self.store[name].values():
                rows[:] = [each for each in rows if each is not row]
        for workflow in self.store["pipeline_workflows"].pop((row["id"],)):
            del self.store["workflow"][workflow["id"],]
            for job in self.store["workflow_jobs"].pop((workflow["id"],)):
                self.store["jobs"].pop((job["project_slug"], str(job.get("job_number"))), None)

    def advance(self) -> None:
        contexts = self.rows("context", "gh/acme")
        del self.store["context_environment_variables"][contexts.pop(4)["id"],]
        contexts.append(make.context("gh/acme", 30))
        self.add_variables(contexts[-1], 2)
        self.rows("self_ids")[0]["name"] = "Ada L."
        self.rows("self_collaborations")[1]["avatar_url"] = "https://example.com/another.png"
        self.add_organisation("gh/newco")
        self.rows("context", "gh/newco").append(make.context("gh/newco", 0))
        self.add_variables(self.rows("context", "gh/newco")[0], 1)
        self.add_project("gh/newco/app")
        young = datetime.now(UTC) - timedelta(hours=2)
        self.add_workflow(self.add_pipeline("gh/newco/app", young), "running")
        shop = self.rows("project_pipelines", SHOP)
        self.rows("projects")[0]["branches"]["topic%2Ftwo"] = make.branch(3)
        self.end_workflow(self.rows("pipeline_workflows", shop[1]["id"])[0])
        self.add_workflow(shop[0], "success")
        shop[5].update(state="errored", errors=[{"type": "config", "message": "no"}])
        self.remove_pipeline(shop[4])
        self.add_workflow(self.add_pipeline(SHOP, young), "running", approval=True)
        self.rows("insights_metrics", SHOP)[0]["project_data"]["metrics"]["total_runs"] = 41
        self.rows("insights_branches", SHOP)[0]["branches"].append("topic/two")
        self.rows("insights_trends", SHOP)[0]["project_data"]["trends"]["total_runs"] = 1.25
        self.rows("insights_workflows", SHOP)[0]["metrics"]["total_runs"] = 41
        self.rows("insights_workflow_jobs", SHOP, "build")[1]["metrics"]["total_runs"] = 41
        self.rows("insights_test_metrics", SHOP, "build")[0]["total_test_runs"] = 9
        self.rows("flaky_tests", SHOP)[0]["times-flaked"] = 4
        del self.rows("flaky_tests", SHOP)[1]
        self.remove_insights(SITE)
        self.rows("specific_project", TOOLS)[0]["name"] = "tooling"
        # no longer followed, and without pipelines there is nothing else that names it
        for name in ("specific_project", "project_pipelines"):
            del self.store[name][DOTFILES,]
        del self.rows("projects")[4]
        self.rows("me")[0] = make.user(self.rows("projects"))

    def authorised(self, asked: Asked) -> bool:
        return asked.headers.get("Circle-Token") == self.KEY

    def error(self, status: int) -> Response:
        words = {400: "Bad request", 401: "You must log in first.", 404: "Not found", 429: "Rate limit exceeded"}
        says = {"Retry-After": self._resets_in()} if status == 429 and self.retry_after else {}
        return Response(status=status, body={"message": words[status]}, headers=says)

    def headers(self) -> dict[str, str]:
        if not self.limit:
            return {}
        return {
            "X-RateLimit-Limit-Second": str(self.limit.requests),
            "X-RateLimit-Reset": self._resets_in(),
            "RateLimit-Remaining": str(self.limit.left),
        }

    def _resets_in(self) -> str:
        return str(math.ceil(self.limit.resets_in)) if self.limit else "0"

    def answer(self, route: Route, parts: tuple[str, ...], asked: Asked) -> Response:
        name, query = route.endpoint, asked.query
        if name in ("me", "projects") and (found := self.instead_of_version_1(asked)):
            return found
        if query.get("reporting-window", "last-90-days") not in WINDOWS:
            return self.error(400)
        if name in ARRAYS:
            return Response(body=self.array(name, query))
        parts = tuple(self.canonical(part) for part in parts)
        owner = [query[each] for each in ("owner-slug", "org-slug") if each in query]
        rows = self.store[name].get((*owner, *parts))
        if rows is None:
            return self.error(404)
        if name == "flaky_tests":
            return Response(body=self.flaky_tests(rows))
        return self.page(rows, query.get("page-token")) if name in LISTS else Response(body=rows[0])

    def flaky_tests(self, rows: Rows) -> Row:
        """A body with the names of fields that the specification has, or with those that clients meet."""
        if self.hyphens:
            return {"flaky-tests": rows, "total-flaky-tests": len(rows)}
        return {"flaky_tests": [make.with_underscores(row) for row in rows], "total_flaky_tests": len(rows)}

    def array(self, name: str, query: Mapping[str, str]) -> Rows:
        """A body that is a bare array."""
        if name != "projects":
            return self.rows(name)
        return [self.project_sent(row, shallow=query.get("shallow") == "true") for row in self.rows(name)]

    def instead_of_version_1(self, asked: Asked) -> Response | None:
        """What is answered in place of version 1.1's JSON; ``None`` if that is."""
        if self.version_1 != 200:
            return Response(status=self.version_1, body={"message": "API v1.1 is no longer available"})
        if "application/json" not in asked.headers.get("Accept", ""):
            return Response(body=EDN, content_type="application/edn")
        return None

    def canonical(self, part: str) -> str:
        """A slug as version 2 writes it, from either form; anything else as it is."""
        return next((slug for (slug,) in self.store["specific_project"] if make.made_of_ids(slug) == part), part)

    def project_sent(self, row: Row, *, shallow: bool) -> Row:
        """A row of version 1.1's projects as it is sent."""
        if self.branches == "always" or (self.branches == "unless shallow" and not shallow):
            return row
        rest = {name: value for name, value in row.items() if name != "branches"}
        return rest | {"branches": None} if self.branches == "null" else rest

    def tokens(self, path: str, **wanted: str) -> list[str | None]:
        """The page tokens with which a path was asked so far, with these other parameters."""
        asked = [each.query for each in self.asked if each.path == self.prefix + path]
        return [each.get("page-token") for each in asked if wanted.items() <= each.items()]

    def page(self, rows: Rows, asked: str | None) -> Response:
        starts = {token(start): start for start in range(PAGE, len(rows), PAGE)}
        if asked is not None and asked not in starts:
            self.complaints.append(f"no such page-token: {asked}")
            return self.error(400)
        start = starts[asked] if asked else 0
        following = token(start + PAGE)
        page = cut(rows, start=start, limit=PAGE)
        return Response(body={"items": page, "next_page_token": following if following in starts else None})

    def listed(self) -> set[str]:
        """The projects that an organisation's list has pipelines of."""
        return {row["project_slug"] for rows in self.store["pipelines"].values() for row in rows}

    def expected(self, endpoint: str) -> Rows:
        rows = super().expected(endpoint)
        listed = self.listed() if endpoint == "project_pipelines" else ()
        return [row for row in rows if row.get("project_slug") not in listed]

    def _reply(self, asked: Asked) -> Response:
        if asked.path.endswith("/summary") and asked.query.get("reporting-window") in TRENDS_WINDOWS:
            asked = replace(asked, path=asked.path + TRENDS)
        return super()._reply(asked)

    def sent(self, endpoint: str, row: dict[str, Any]) -> Rows:
        if endpoint == "flaky_tests":
            given = make.with_underscores(row)
            return [given | {name: given[name] or "" for name in ("classname", "file")}]
        if endpoint == "schedules":
            return [make.with_underscores(row)]
        if endpoint == "context_environment_variables":
            return [{name: value for name, value in row.items() if name != "truncated_value"}]
        if endpoint == "projects":
            return [{name: value for name, value in row.items() if name != "branches"}]
        return [row | {"job_number": row["number"]}] if endpoint == "jobs" else [row]
