"""Generates the rows of incident_response: incidents and dashboards."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from analytics_ingest.sandbox.random_values import AREAS, THEMES, RandomValues, Row, iso, scaled

if TYPE_CHECKING:
    from datetime import datetime

SEVERITIES = ("sev0", "sev1", "sev2", "sev3")
STEPS = ("started", "mitigated", "resolved")


def _dashboard(rng: RandomValues, number: int, times: Row) -> Row:
    area = rng.choice(AREAS)
    return {
        "id": rng.uuid(),
        "type": "dashboards",
        "attributes": {
            "name": f"{area} overview {number}",
            "description": rng.maybe(rng.remark(), 0.6),
            "owner": rng.choice(("user", "team")),
            "public": rng.chance(0.2),
            "range": rng.choice(("7_days", "30_days", "90_days")),
            "auto_refresh": rng.chance(0.5),
            "color": {"fill": f"#{rng.integer(0, 0xFFFFFF):06x}"},
            "period": rng.choice(("day", "week", "month")),
        },
        "relationships": {"panels": {"data": [{"id": rng.uuid(), "type": "dashboard_panels"}]}},
        **times,
    }


def _incident(rng: RandomValues, times: Row, step: str) -> Row:
    number = rng.serial()
    index = STEPS.index(step)
    return {
        "id": rng.uuid(),
        "type": "incidents",
        "attributes": {
            "sequential_id": number,
            "title": f"Errors in {rng.choice(AREAS)} after a change to {rng.choice(THEMES)}",
            "summary": rng.maybe(rng.remark()),
            "slug": f"incident-{number}",
            "kind": rng.choice(("normal", "test", "backfilled")),
            "status": step,
            "private": rng.chance(0.05),
            "severity": {"data": {"id": rng.uuid(), "type": "severities", "slug": rng.choice(SEVERITIES)}},
            "user": rng.person(rng.integer(0, 60)),
            "services": [{"name": area} for area in rng.sample(AREAS, 0, 3)],
            "labels": rng.maybe({"platform": rng.choice(("web", "ios", "android"))}, 0.5),
            "started_at": times["created_at"],
            "mitigated_at": times["updated_at"] if index else None,
            "resolved_at": times["updated_at"] if index == len(STEPS) - 1 else None,
            "customers_affected": rng.maybe(rng.integer(0, 5_000), 0.5),
        },
        **times,
    }


def build(rng: RandomValues, scale: float) -> dict[str, Any]:
    """The rows of all endpoints; at scale 1 the dashboards fill two pages exactly."""
    steps = ("started", "mitigated", *("resolved",) * 8)
    return {
        "dashboards": [_dashboard(rng, number, rng.span()) for number in range(scaled(100, scale, 5))],
        "incidents": [_incident(rng, rng.span(), rng.choice(steps)) for _ in range(scaled(2400, scale, 75))],
    }


def advance(store: dict[str, Any], rng: RandomValues, scale: float) -> None:
    """Adds incidents, changes the status of open ones, edits a dashboard and removes one."""
    incidents, dashboards = store["incidents"], store["dashboards"]
    waiting = [row for row in incidents if row["attributes"]["status"] != "resolved"]
    for row in rng.sample(waiting, 1, scaled(24, scale)):
        rng.touch(row)
        attributes = row["attributes"]
        attributes["status"] = STEPS[STEPS.index(attributes["status"]) + 1]
        attributes[f"{attributes['status']}_at"] = row["updated_at"]
    incidents += [_incident(rng, rng.fresh(), "started") for _ in range(scaled(20, scale))]
    chosen = rng.choice(dashboards)
    chosen["attributes"]["range"] = "7_days" if chosen["attributes"]["range"] != "7_days" else "30_days"
    rng.touch(chosen)
    if len(dashboards) > 1:
        dashboards.remove(rng.choice([row for row in dashboards if row is not chosen]))
    fresh = rng.fresh()
    dashboards.append(_dashboard(rng, rng.serial(), fresh))
    retitled = rng.choice(incidents)
    moment = iso(rng.now - timedelta(seconds=1))
    retitled["attributes"]["summary"] = rng.remark() + f" Noted at {moment}."
    retitled["updated_at"] = moment


def start_incident(store: dict[str, Any], rng: RandomValues, *, area: str, theme: str, moment: datetime) -> Row:
    """Adds a severe incident that customers of an area notice, and gives it."""
    row = _incident(rng, {"created_at": iso(moment), "updated_at": iso(moment)}, "started")
    row["attributes"] |= {
        "title": f"Errors in {area} after a change to {theme}",
        "kind": "normal",
        "private": False,
        "services": [{"name": area}],
    }
    row["attributes"]["severity"]["data"]["slug"] = "sev1"
    store["incidents"].append(row)
    return row
