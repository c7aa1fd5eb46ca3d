"""Rows of the experimentation API, one function per kind."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from analytics_ingest.sandbox.draw import AREAS, THEMES, Draw, Row, Rows, iso

ODD_EVENTS = (
    "checkout/started",
    "search?q",
    "page#view",
    "add to cart",
    "Größe gewählt ü",
    "discount_50%_applied",
    "cart+wishlist",
    "a/b?c#d e",
)
ACTIONS = ("viewed", "clicked", "submitted", "abandoned", "failed", "completed")
_METRIC_TYPES = ("event_count", "event_user", "sum", "mean", "ratio", "funnel")
_CONDITIONS = ("user_id", "email", "country", "app_version", "browser_name", "passes_segment")
_UNITS = ("user_id", "stable_id", "basket_id")
_COUNTRIES = ("AT", "BR", "CA", "DE", "ES", "FR", "JP", "NL", "PL", "SE", "US")


def owner(users: Rows, draw: Draw) -> Row:
    """Give the owner of a gate, config or experiment."""
    user = draw.pick(users)
    return {"ownerID": user["id"], "ownerName": user["name"], "ownerType": "USER"}


def tags(draw: Draw) -> Rows:
    """Give the tags, exactly as many as a page holds."""
    return [
        {
            "id": f"tag-{area}-{theme}",
            "name": f"{area}:{theme}",
            "description": f"Work on {theme} in {area}",
            "isCore": draw.chance(0.1),
            **draw.span(),
        }
        for area in AREAS
        for theme in THEMES
    ]


def _condition(draw: Draw) -> Row:
    return {
        "type": draw.pick(_CONDITIONS),
        "operator": draw.pick(("any", "none")),
        "targetValue": draw.some(_COUNTRIES, 1, 4),
        "field": draw.maybe("locale", 0.2),
    }


def rule(draw: Draw, identifier: str, name: str, *, value: Any = None) -> Row:
    """Give one rule; the one with the id `everyone` lets everybody pass."""
    row: Row = {
        "id": identifier,
        "name": name,
        "passPercentage": draw.pick((0, 1, 5, 10, 25, 50, 100)),
        "conditions": [{"type": "public"}] if identifier == "everyone" else [_condition(draw)],
        "environments": draw.maybe(["production", "staging"], 0.4),
        "baseID": identifier,
    }
    return row if value is None else {**row, "returnValue": value}


def rules(draw: Draw, *, config: bool = False) -> Rows:
    """Give the rule that everybody has and a few of one's own."""
    value = {"columns": draw.whole(2, 5), "sticky": draw.chance(0.5)} if config else None
    own = [rule(draw, draw.code(), f"{draw.pick(_COUNTRIES)} shoppers", value=value) for _ in range(draw.whole(0, 5))]
    return [*own, rule(draw, "everyone", "Everyone", value=value)]


def gate(draw: Draw, number: int, users: Rows, times: Row) -> Row:
    """Give a feature gate; its rules are kept apart."""
    return {
        "id": f"{draw.pick(AREAS)}_{draw.pick(THEMES)}_{number}",
        "name": f"{draw.pick(AREAS)} {draw.pick(THEMES)} {number}",
        "description": draw.maybe(draw.title()),
        "idType": draw.pick(_UNITS),
        "isEnabled": draw.chance(0.8),
        "status": draw.pick(("In Progress", "Launched", "Disabled", "Archived")),
        "type": draw.pick(("TEMPORARY", "PERMANENT")),
        "checksPerHour": draw.whole(0, 90_000),
        "tags": [f"{draw.pick(AREAS)}:{draw.pick(THEMES)}"],
        "holdoutIDs": [],
        "owner": owner(users, draw),
        **times,
    }


def version(config: Row, number: int, user: Row, moment: str) -> Row:
    """Give one version of a config; its `id` is the config's."""
    return {
        "id": config["id"],
        "version": number,
        "name": config["name"],
        "isEnabled": config["isEnabled"],
        "author": {"id": user["id"], "name": user["name"]},
        "defaultValue": {"columns": number % 4 + 2},
        "created_at": moment,
        "updated_at": moment,
    }


def metric(draw: Draw, number: int) -> Row:
    """Give a metric, whose id is its name and its type."""
    kind = _METRIC_TYPES[number % len(_METRIC_TYPES)]
    name = f"{AREAS[number % len(AREAS)]}_{ACTIONS[number % len(ACTIONS)]}_{number}"
    return {
        "id": f"{name}::{kind}",
        "name": name,
        "type": kind,
        "directionality": draw.pick(("increase", "decrease")),
        "isPermanent": draw.chance(0.3),
        "isVerified": draw.chance(0.6),
        "unitTypes": draw.some(_UNITS, 1, 3),
        "lineage": {"events": draw.some(ODD_EVENTS, 0, 2), "metrics": []},
        "tags": draw.some(THEMES, 0, 2),
        **draw.span(),
    }


def _value(draw: Draw, metric: Row, day: str, unit: str, moment: str) -> Row:
    denominator = draw.whole(500, 50_000)
    return {
        "id": f"{day}/{metric['id']}/{unit}",
        "metricName": metric["name"],
        "metricType": metric["type"],
        "unitType": unit,
        "date": day,
        "numerator": draw.whole(0, denominator),
        "denominator": denominator,
        "value": draw.number(0, 500, 4),
        "created_at": moment,
        "updated_at": moment,
    }


def values(draw: Draw, metrics: Rows, number: int, *, first_day: int = 1) -> Rows:
    """Give a number of daily values, the latest days first, each a night after its day."""
    rows: Rows = []
    day = first_day
    while len(rows) < number:
        moment = draw.now - timedelta(days=day - 1, hours=6)
        name = (moment - timedelta(days=1)).date().isoformat()
        rows += [
            _value(draw, metric, name, unit, iso(moment))
            for metric in metrics[: number - len(rows)]
            for unit in metric["unitTypes"][:1]
        ]
        day += 1
    return rows


def experiment(draw: Draw, number: int, users: Rows, metrics: Rows, layers: Rows) -> Row:
    """Give an experiment of two groups."""
    status = draw.pick(("setup", "active", "active", "decision_made", "abandoned"))
    times = draw.span()
    return {
        "id": f"{draw.pick(AREAS)}_{draw.pick(THEMES)}_test_{number}",
        "name": f"{draw.pick(AREAS)} {draw.pick(THEMES)} test {number}",
        "hypothesis": f"{draw.title()} raises conversion",
        "status": status,
        "allocation": draw.pick((5, 10, 50, 100)),
        "layerID": draw.maybe(draw.pick(layers)["id"], 0.3),
        "idType": draw.pick(_UNITS),
        "groups": [
            {"id": draw.code(8), "name": name, "size": 50, "parameterValues": {"new_layout": name == "Test"}}
            for name in ("Control", "Test")
        ],
        "primaryMetrics": [{"name": each["name"], "type": each["type"]} for each in draw.some(metrics, 1, 2)],
        "secondaryMetrics": [],
        "targetExposures": draw.maybe(draw.whole(1_000, 90_000), 0.5),
        "startTime": None if status == "setup" else times["created_at"],
        "endTime": times["updated_at"] if status in {"decision_made", "abandoned"} else None,
        "owner": owner(users, draw),
        "tags": draw.some(THEMES, 0, 2),
        **times,
    }


def audit_log(draw: Draw, users: Rows, times: Row) -> Row:
    """Give an entry of the audit log, which never changes."""
    user = draw.pick(users)
    return {
        "id": draw.code(),
        "name": draw.pick(
            ("Gate updated", "Experiment started", "Config created", "Segment edited", "Metric archived")
        ),
        "changeLog": draw.title(),
        "actionType": draw.pick(("gate_update", "experiment_start", "dynamic_config_create", "segment_update")),
        "updatedBy": user["name"],
        "updatedByUserID": user["id"],
        "modifierEmail": draw.maybe(user["email"], 0.9),
        "changes": [{"field": "passPercentage", "from": draw.whole(0, 50), "to": draw.whole(51, 100)}],
        "targetAppIDs": [],
        "created_at": times["created_at"],
        "updated_at": times["created_at"],
    }


def run(draw: Draw, times: Row) -> Row:
    """Give a run of an ingestion."""
    return {
        "id": draw.uuid(),
        "datasetName": draw.pick(("orders", "sessions", "refunds", "products")),
        "status": draw.pick(("success", "success", "success", "failed", "running")),
        "rowCount": draw.maybe(draw.whole(0, 4_000_000), 0.9),
        "error": draw.maybe("source table not found", 0.05),
        **times,
    }


def status(draw: Draw, number: int) -> Rows:
    """Give the state of the last so many days; the current day is pending."""
    return [
        {
            "ds": (draw.now - timedelta(days=day)).date().isoformat(),
            "ingestionSource": draw.pick(("bigquery", "snowflake")),
            "status": "loaded" if day else "pending",
            "rows": draw.whole(100_000, 900_000),
            "timestamp": iso(draw.now - timedelta(days=day, hours=2)),
        }
        for day in range(number)
    ]


def segment(draw: Draw, number: int, users: Rows, times: Row) -> Row:
    """Give a segment that is a list of ids."""
    return {
        "id": f"segment_{draw.pick(THEMES)}_{number}",
        "name": f"{draw.pick(AREAS)} {draw.pick(THEMES)} shoppers",
        "description": draw.maybe(draw.title(), 0.5),
        "type": "id_list",
        "isEnabled": draw.chance(0.9),
        "count": draw.whole(0, 200),
        "creatorID": draw.pick(users)["id"],
        "tags": draw.some(THEMES, 0, 2),
        **times,
    }


def shoppers(draw: Draw, number: int) -> Rows:
    """Give new members of a segment."""
    return [{"id": f"user-{draw.code(10)}"} for _ in range(number)]
