"""The queries of docs/analysts.md give what the sandbox has, which is computed here without SQL."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.extract.column_names import column_name
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sandbox.world import DEFAULT_NOW, World
from analytics_ingest_tests.conftest import sandbox_in, sync
from analytics_ingest_tests.environment import WAREHOUSE
from analytics_ingest_tests.pages import DOCS, queries_of, start_at
from analytics_ingest_tests.stores import STORES, Store

Rows = list[dict[str, Any]]
Results = list[tuple[Any, ...]]
QUERIES = queries_of("analysts.md")
DAY = timedelta(days=1)
SLUG = "incident-1573"
"""The incident that the page asks about."""
COPY = "/srv/readers/warehouse.duckdb"
DEPLOYMENT = "deploy-production"
TESTED = {
    "analysts.md",
    "destinations.md",
    "history.md",
    "projects.md",
    "tables.md",
    "tutorial.md",
    "verification.md",
    *(f"vendors/{path.name}" for path in DOCS.glob("vendors/*.md")),
}
"""The pages whose queries a test runs."""


class Synced:
    """A warehouse that was synced before and after a day of the sandbox, and the sandbox's rows at both times."""

    def __init__(self, store: Store, world: World) -> None:
        self.store = store
        self.world = world
        self.before = self._rows()
        self._sync()
        world.advance(24)
        assert world.story
        incidents = {each["id"]: each["attributes"] for each in world.collection("incident_response", "incidents")}
        self.incident = incidents[world.story.incident]
        for each in incidents.values():
            if each["slug"] == SLUG:
                each["slug"] = self.incident["slug"]
        self.incident["slug"] = SLUG
        self.after = self._rows()
        self._sync()

    def _rows(self) -> dict[tuple[str, str], Rows]:
        return {
            (name, endpoint.name): [
                {column_name(field): value for field, value in row.items()}
                for row in self.world.expected(name, endpoint.name)
            ]
            for name, api in APIS.items()
            for endpoint in api.endpoints
        }

    def _sync(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            start_at(patch, self.world.now)
            for api in APIS:
                assert {result.status for result in sync(api).values()} == {"complete"}

    def run(self, heading: str) -> Results:
        """What the page's query below a heading gives."""
        with self.store.reading() as query:
            return [tuple(map(plain, row)) for row in query(QUERIES[heading])[1]]


@pytest.fixture(scope="module", params=["duckdb", pytest.param("postgres", marks=pytest.mark.extended)])
def two_days(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synced]:
    folder = tmp_path_factory.mktemp("two_days")
    world = World(scale=0.2, now=DEFAULT_NOW)
    with STORES[request.param](folder) as store, sandbox_in(folder, store, world):
        yield Synced(store, world)


def plain(value: Any) -> Any:
    """A value as both destinations give it: a number in ten digits, a time in UTC."""
    if isinstance(value, float | Decimal):
        return rounded(float(value))
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def rounded(value: float) -> float:
    return float(f"{value:.10g}")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def share(values: list[float], part: float) -> float:
    """The value below which a part of the values lies, between two of them in proportion."""
    place = (len(values) - 1) * part
    low, rest = int(place), place - int(place)
    ordered = sorted(values)
    return ordered[low] + (ordered[min(low + 1, len(values) - 1)] - ordered[low]) * rest


def test_a_published_copy_is_read_as_the_page_does(
    tmp_path: Path, filled: Callable[..., SandboxServer], capsys: pytest.CaptureFixture[str]
) -> None:
    server = filled("experimentation", "gates")
    (code,) = re.findall(r"^```python\n(.*?)^```", (DOCS / "analysts.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    assert code.count(COPY) == 1
    exec(code.replace(COPY, str(tmp_path / WAREHOUSE)), {})  # noqa: S102 - the page's

    counted = re.findall(r"│ +(\d+) +│", capsys.readouterr().out)
    assert counted == [str(len(server.world.collection("experimentation", "gates")))]


def test_rows_that_were_deleted(two_days: Synced) -> None:
    names = {row["id"]: row["name"] for row in two_days.after["feature_management", "workspaces"]}
    environments = two_days.after["feature_management", "environments"]

    assert two_days.run("Rows that were deleted") == sorted(
        (names[row["workspace_id"]], row["name"]) for row in environments
    )


def test_json_columns(two_days: Synced) -> None:
    found = [row["attributes"] for row in two_days.after["incident_response", "incidents"]]

    assert two_days.run("JSON columns") == sorted(
        (each["slug"], each["customers_affected"], each["severity"]["data"]["slug"])
        for each in found
        if each["status"] == "started"
    )


def test_a_list(two_days: Synced) -> None:
    other = "ANALYTICS_INGEST_DESTINATION" in two_days.store.settings
    flags = two_days.after["feature_management", "feature_flags"]
    truth = sorted((flag["name"], tag["name"]) for flag in flags for tag in flag["tags"])

    # each database has its own order of texts with underscores
    assert sorted(two_days.run(f"A list in {'PostgreSQL' if other else 'DuckDB'}")) == truth
    assert len(truth) > 100


def test_how_long_a_story_takes(two_days: Synced) -> None:
    stories = {
        row["id"]: row
        for endpoint in ("epics_stories", "groups_stories", "iterations_stories")
        for row in two_days.after["project_planning", endpoint]
        if row["completed_at"]
    }
    kinds: dict[str, Rows] = defaultdict(list)
    for row in stories.values():
        kinds[row["story_type"]].append(row)
    truth = []
    for kind, rows in sorted(kinds.items()):
        cycles = [row["cycle_time"] / 86400 for row in rows]
        leads = [(moment(row["completed_at"]) - moment(row["created_at"])) / DAY for row in rows]
        numbers = (median(cycles), share(cycles, 0.9), median(leads))
        truth.append((kind, len(rows), *map(rounded, numbers)))

    assert two_days.run("How long does a story take") == truth
    assert [row[0] for row in truth] == ["bug", "chore", "feature"]


def test_how_often_we_deploy_and_how_often_it_fails(two_days: Synced) -> None:
    statuses: dict[tuple[str, date], list[str]] = defaultdict(list)
    for row in two_days.after["continuous_integration", "workflow_jobs"]:
        if row["name"] == DEPLOYMENT and row["stopped_at"]:
            month = moment(row["stopped_at"]).date().replace(day=1)
            statuses[row["project_slug"], month].append(row["status"])
    truth = []
    for key, found in sorted(statuses.items()):
        failed = found.count("failed")
        truth.append((*key, len(found), found.count("success"), failed, round(100 * failed / len(found), 1)))

    assert two_days.run("How often do we deploy, and how often does it fail") == truth
    assert sum(row[3] for row in truth)
    assert sum(row[4] for row in truth)


def test_how_long_an_incident_lasts(two_days: Synced) -> None:
    severities: dict[str, Rows] = defaultdict(list)
    for row in two_days.after["incident_response", "incidents"]:
        if row["attributes"]["kind"] == "normal":
            severities[row["attributes"]["severity"]["data"]["slug"]].append(row["attributes"])
    truth = []
    for severity, rows in sorted(severities.items()):
        hours = [
            (moment(row["resolved_at"]) - moment(row["started_at"])) / timedelta(hours=1)
            for row in rows
            if row["resolved_at"]
        ]
        truth.append((severity, len(rows), len(rows) - len(hours), rounded(median(hours))))

    assert two_days.run("How long does an incident last") == truth
    assert [row[0] for row in truth] == ["sev0", "sev1", "sev2", "sev3"]


def test_flags_that_were_not_touched_for_90_days(two_days: Synced) -> None:
    names = {row["id"]: row["name"] for row in two_days.after["feature_management", "workspaces"]}
    flags = two_days.after["feature_management", "feature_flags"]
    ages = [(row, two_days.world.now - moment(row["updated_at"])) for row in flags]
    truth = [
        (names[row["workspace_id"]], row["name"], row["rollout_status"]["name"], age.days)
        for row, age in ages
        if age > 90 * DAY and row["rollout_status"]["name"] != "Removed from code"
    ]
    found = two_days.run("Which flags were not touched for 90 days")

    assert sorted(found) == sorted(truth)
    assert [row[3] for row in found] == sorted((row[3] for row in truth), reverse=True)
    assert 10 < len(truth) < len(flags)


def test_what_changed_before_an_incident(two_days: Synced) -> None:
    started = moment(two_days.incident["started_at"])
    events = [*changes(two_days), *deployments(two_days)]
    truth = sorted(event for event in events if started - DAY <= event[0] < started)
    found = two_days.run("What changed before an incident")

    assert found == truth
    story = two_days.world.story
    (flag,) = [row for row in two_days.after["feature_management", "feature_flags"] if row["id"] == story.flag]
    (pipeline,) = [row for row in two_days.after["continuous_integration", "pipelines"] if row["id"] == story.pipeline]
    steps = [
        ("deployment", pipeline["project_slug"], "success"),
        ("feature_management/feature_flags", flag["name"], "update"),
    ]
    assert [event[1:] for event in found if event[1:] in steps] == steps


def changes(synced: Synced) -> Iterator[tuple[datetime, str, str, str]]:
    """What changed in endpoints with a history: at the row's own time, or when the second sync started."""
    for name, api in APIS.items():
        for endpoint in (each for each in api.endpoints if each.history):
            left_out = endpoint.unversioned
            before, after = (
                {
                    tuple(row[part] for part in endpoint.primary_key): {
                        field: value for field, value in row.items() if field not in left_out
                    }
                    for row in rows[name, endpoint.name]
                }
                for rows in (synced.before, synced.after)
            )
            for key in before.keys() | after.keys():
                if before.get(key) == after.get(key):
                    continue
                row = after.get(key) or before[key]
                what = "insert" if key not in before else "delete" if key not in after else "update"
                own = moment(row["updated_at"]) if "updated_at" in row and what != "delete" else None
                at = own if own and synced.world.now - DAY < own <= synced.world.now else synced.world.now
                yield at, f"{name}/{endpoint.name}", row.get("name") or "/".join(map(str, key)), what


def deployments(synced: Synced) -> Iterator[tuple[datetime, str, str, str]]:
    for row in synced.after["continuous_integration", "workflow"]:
        if row["name"] == "deploy" and row["stopped_at"]:
            yield moment(row["stopped_at"]), "deployment", row["project_slug"], row["status"]


def test_every_query_of_the_page_has_a_test() -> None:
    assert [*QUERIES] == [
        "Rows that were deleted",
        "JSON columns",
        "A list in DuckDB",
        "A list in PostgreSQL",
        "How long does a story take",
        "How often do we deploy, and how often does it fail",
        "How long does an incident last",
        "Which flags were not touched for 90 days",
        "What changed before an incident",
    ]


def test_queries_are_on_pages_whose_queries_a_test_runs() -> None:
    pages = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if "```sql" in path.read_text()]

    assert set(pages) == TESTED
    assert "```sql" not in (DOCS.parent / "README.md").read_text()
