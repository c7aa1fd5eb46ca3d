"""Rows of experimentation, one function per kind of row."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from analytics_ingest.sandbox.random_values import AREAS, THEMES, RandomValues, Row, Rows, iso

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
METRIC_TYPES = ("event_count", "event_user", "sum", "mean", "ratio", "funnel")
CONDITIONS = ("user_id", "email", "country", "app_version", "browser_name", "passes_segment")
UNITS = ("user_id", "stable_id", "basket_id")
COUNTRIES = ("AT", "BR", "CA", "DE", "ES", "FR", "JP", "NL", "PL", "SE", "US")


def owner(users: Rows, rng: RandomValues) -> Row:
    """The owner of a gate, config or experiment."""
    user = rng.choice(users)
    return {"ownerID": user["id"], "ownerName": user["name"], "ownerType": "USER"}


def tags(rng: RandomValues) -> Rows:
    """The tags, exactly as many as a page holds."""
    return [
        {
            "id": f"tag-{area}-{theme}",
            "name": f"{area}:{theme}",
            "description": f"Work on {theme} in {area}",
            "isCore": rng.chance(0.1),
            **rng.span(),
        }
        for area in AREAS
        for theme in THEMES
    ]


def _condition(rng: RandomValues) -> Row:
    return {
        "type": rng.choice(CONDITIONS),
        "operator": rng.choice(("any", "none")),
        "targetValue": rng.sample(COUNTRIES, 1, 4),
        "field": rng.maybe("locale", 0.2),
    }


def rule(rng: RandomValues, identifier: str, name: str, *, value: Any = None) -> Row:
    """One rule; the one with the id ``everyone`` has no condition."""
    row: Row = {
        "id": identifier,
        "name": name,
        "passPercentage": rng.choice((0, 1, 5, 10, 25, 50, 100)),
        "conditions": [{"type": "public"}] if identifier == "everyone" else [_condition(rng)],
        "environments": rng.maybe(["production", "staging"], 0.4),
        "baseID": identifier,
    }
    return row if value is None else {**row, "returnValue": value}


def rules(rng: RandomValues, *, config: bool = False) -> Rows:
    """Up to five rules, and the rule ``everyone``, whose id repeats over gates and configs."""
    value = {"columns": rng.integer(2, 5), "sticky": rng.chance(0.5)} if config else None
    own = [rule(rng, rng.code(), f"{rng.choice(COUNTRIES)} shoppers", value=value) for _ in range(rng.integer(0, 5))]
    return [*own, rule(rng, "everyone", "Everyone", value=value)]


def gate(rng: RandomValues, number: int, users: Rows, times: Row) -> Row:
    """A feature gate without its rules, which are an endpoint of their own."""
    return {
        "id": f"{rng.choice(AREAS)}_{rng.choice(THEMES)}_{number}",
        "name": f"{rng.choice(AREAS)} {rng.choice(THEMES)} {number}",
        "description": rng.maybe(rng.title()),
        "idType": rng.choice(UNITS),
        "isEnabled": rng.chance(0.8),
        "status": rng.choice(("In Progress", "Launched", "Disabled", "Archived")),
        "type": rng.choice(("TEMPORARY", "PERMANENT")),
        "checksPerHour": rng.integer(0, 90_000),
        "tags": [f"{rng.choice(AREAS)}:{rng.choice(THEMES)}"],
        "holdoutIDs": [],
        "owner": owner(users, rng),
        **times,
    }


def version(config: Row, number: int, user: Row, moment: str) -> Row:
    """One version of a config; its ``id`` is the config's."""
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


def metric(rng: RandomValues, number: int) -> Row:
    """A metric; its id is made of its name and its type."""
    kind = METRIC_TYPES[number % len(METRIC_TYPES)]
    name = f"{AREAS[number % len(AREAS)]}_{ACTIONS[number % len(ACTIONS)]}_{number}"
    return {
        "id": f"{name}::{kind}",
        "name": name,
        "type": kind,
        "directionality": rng.choice(("increase", "decrease")),
        "isPermanent": rng.chance(0.3),
        "isVerified": rng.chance(0.6),
        "unitTypes": rng.sample(UNITS, 1, 3),
        "lineage": {"events": rng.sample(ODD_EVENTS, 0, 2), "metrics": []},
        "tags": rng.sample(THEMES, 0, 2),
        **rng.span(),
    }


def _value(rng: RandomValues, metric: Row, day: str, unit: str, moment: str) -> Row:
    denominator = rng.integer(500, 50_000)
    return {
        "id": f"{day}/{metric['id']}/{unit}",
        "metricName": metric["name"],
        "metricType": metric["type"],
        "unitType": unit,
        "date": day,
        "numerator": rng.integer(0, denominator),
        "denominator": denominator,
        "value": rng.decimal(0, 500, 4),
        "created_at": moment,
        "updated_at": moment,
    }


def values(rng: RandomValues, metrics: Rows, number: int, *, first_day: int = 1) -> Rows:
    """So many daily values, the latest days first; each is created in the night after its day."""
    rows: Rows = []
    day = first_day
    while len(rows) < number:
        moment = rng.now - timedelta(days=day - 1, hours=6)
        name = (moment - timedelta(days=1)).date().isoformat()
        rows += [
            _value(rng, metric, name, unit, iso(moment))
            for metric in metrics[: number - len(rows)]
            for unit in metric["unitTypes"][:1]
        ]
        day += 1
    return rows


def experiment(rng: RandomValues, number: int, users: Rows, metrics: Rows, layers: Rows) -> Row:
    """An experiment of two groups."""
    status = rng.choice(("setup", "active", "active", "decision_made", "abandoned"))
    times = rng.span()
    return {
        "id": f"{rng.choice(AREAS)}_{rng.choice(THEMES)}_test_{number}",
        "name": f"{rng.choice(AREAS)} {rng.choice(THEMES)} test {number}",
        "hypothesis": f"{rng.title()} raises conversion",
        "status": status,
        "allocation": rng.choice((5, 10, 50, 100)),
        "layerID": rng.maybe(rng.choice(layers)["id"], 0.3),
        "idType": rng.choice(UNITS),
        "groups": [
            {"id": rng.code(8), "name": name, "size": 50, "parameterValues": {"new_layout": name == "Test"}}
            for name in ("Control", "Test")
        ],
        "primaryMetrics": [{"name": each["name"], "type": each["type"]} for each in rng.sample(metrics, 1, 2)],
        "secondaryMetrics": [],
        "targetExposures": rng.maybe(rng.integer(1_000, 90_000), 0.5),
        "startTime": None if status == "setup" else times["created_at"],
        "endTime": times["updated_at"] if status in {"decision_made", "abandoned"} else None,
        "owner": owner(users, rng),
        "tags": rng.sample(THEMES, 0, 2),
        **times,
    }


def audit_log(rng: RandomValues, users: Rows, times: Row) -> Row:
    """An entry of the audit log, which never changes."""
    user = rng.choice(users)
    return {
        "id": rng.code(),
        "name": rng.choice(
            ("Gate updated", "Experiment started", "Config created", "Segment edited", "Metric archived")
        ),
        "changeLog": rng.title(),
        "actionType": rng.choice(("gate_update", "experiment_start", "dynamic_config_create", "segment_update")),
        "updatedBy": user["name"],
        "updatedByUserID": user["id"],
        "modifierEmail": rng.maybe(user["email"], 0.9),
        "changes": [{"field": "passPercentage", "from": rng.integer(0, 50), "to": rng.integer(51, 100)}],
        "targetAppIDs": [],
        "created_at": times["created_at"],
        "updated_at": times["created_at"],
    }


def run(rng: RandomValues, times: Row) -> Row:
    """A run of an ingestion."""
    return {
        "id": rng.uuid(),
        "datasetName": rng.choice(("orders", "sessions", "refunds", "products")),
        "status": rng.choice(("success", "success", "success", "failed", "running")),
        "rowCount": rng.maybe(rng.integer(0, 4_000_000), 0.9),
        "error": rng.maybe("source table not found", 0.05),
        **times,
    }


def status(rng: RandomValues, number: int) -> Rows:
    """The state of the last so many days; the current day is pending."""
    return [
        {
            "ds": (rng.now - timedelta(days=day)).date().isoformat(),
            "ingestionSource": rng.choice(("bigquery", "snowflake")),
            "status": "loaded" if day else "pending",
            "rows": rng.integer(100_000, 900_000),
            "timestamp": iso(rng.now - timedelta(days=day, hours=2)),
        }
        for day in range(number)
    ]


def segment(rng: RandomValues, number: int, users: Rows, times: Row) -> Row:
    """A segment that is a list of ids."""
    return {
        "id": f"segment_{rng.choice(THEMES)}_{number}",
        "name": f"{rng.choice(AREAS)} {rng.choice(THEMES)} shoppers",
        "description": rng.maybe(rng.title(), 0.5),
        "type": "id_list",
        "isEnabled": rng.chance(0.9),
        "count": rng.integer(0, 200),
        "creatorID": rng.choice(users)["id"],
        "tags": rng.sample(THEMES, 0, 2),
        **times,
    }


def shoppers(rng: RandomValues, number: int) -> Rows:
    """So many new members of a segment."""
    return [{"id": f"user-{rng.code(10)}"} for _ in range(number)]
