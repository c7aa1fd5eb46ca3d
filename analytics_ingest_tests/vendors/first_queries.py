"""What the first query of each vendor's page must give, computed from the rows that the vendor's server has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import product
from statistics import median
from typing import Any

from analytics_ingest.timestamps import to_utc

Rows = list[dict[str, Any]]
Truth = Mapping[str, Rows]
Found = list[tuple[Any, ...]]


def _time(value: Any) -> datetime:
    found = to_utc(value)
    assert isinstance(found, datetime)
    return found


def statsig(truth: Truth) -> Found:
    """Gates that are on, those not changed for the longest time first."""
    rules = defaultdict(list)
    for rule in truth["gates_rules"]:
        rules[rule["gate_id"]].append(rule["pass_percentage"])
    found: Found = [
        (
            gate["id"],
            _time(gate.get("last_modified_time") or gate["created_time"]),
            len(rules[gate["id"]]),
            max(rules[gate["id"]], default=None),
        )
        for gate in truth["gates"]
        if gate.get("is_enabled")
    ]
    return sorted(found, key=lambda row: row[1])[:20]


def rootly(truth: Truth) -> Found:
    """Open action items of resolved incidents, the oldest first."""
    resolved = {each["id"]: each for each in truth["incidents"] if each.get("resolved_at")}
    found: Found = [
        (_time(incident["resolved_at"]), incident["title"], item["summary"], item["status"])
        for item in truth["incidents_action_items"]
        if (incident := resolved.get(item["incident_id"])) and item["status"] not in ("done", "cancelled")
    ]
    return sorted(found, key=lambda row: row[0])


def shortcut(truth: Truth) -> Found:
    """Completed stories by month and group, with the median of days."""
    groups = {each["id"]: each["name"] for each in truth["groups"]}
    stories = [each for each in truth["stories"] if each.get("completed_at")]
    days = defaultdict(list)
    for each in stories:
        created, completed = _time(each["created_at"]), _time(each["completed_at"])
        key = (datetime(completed.year, completed.month, 1, tzinfo=UTC), groups.get(each.get("group_id") or ""))
        # as DuckDB counts days between two dates
        days[key].append((completed.date() - created.date()).days)
    return [(month, name, len(each), float(median(each))) for (month, name), each in days.items()]


def circleci(truth: Truth) -> Found:
    """How often jobs fail, and how long they take."""
    jobs = defaultdict(list)
    for each in truth["workflow_jobs"]:
        if each.get("job_number") is not None and each.get("stopped_at"):
            jobs[each["project_slug"], each["name"]].append(each)
    found: Found = []
    for (slug, name), runs in jobs.items():
        failed = sum(each["status"] == "failed" for each in runs)
        seconds = [(_time(each["stopped_at"]) - _time(each["started_at"])).total_seconds() for each in runs]
        found.append((slug, name, len(runs), round(100 * failed / len(runs), 1), median(seconds)))
    return sorted(found, key=lambda row: (-row[3], -row[2]))


def split(truth: Truth) -> Found:
    """Flags that differ between two environments."""
    flags = defaultdict(list)
    for each in truth["feature_flag_definitions"]:
        flags[each["workspace_id"], each["name"]].append(each)
    return [
        (name, a["environment_id"], a["default_treatment"], b["environment_id"], b["default_treatment"])
        for (_, name), found in flags.items()
        for a, b in product(found, found)
        if a["environment_id"] < b["environment_id"]
        and (a["killed"], a["default_treatment"]) != (b["killed"], b["default_treatment"])
    ]


FIRST_QUERIES: Mapping[str, Callable[[Truth], Found]] = {
    "statsig": statsig,
    "rootly": rootly,
    "shortcut": shortcut,
    "circleci": circleci,
    "split": split,
}
