"""Incidents of a web shop and the dashboards that watch them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from analytics_ingest.sandbox.draw import AREAS, THEMES, Draw, Row, iso, scaled

_SEVERITIES = ("sev0", "sev1", "sev2", "sev3")
_STEPS = ("started", "mitigated", "resolved")


def _dashboard(draw: Draw, number: int, times: Row) -> Row:
    area = draw.pick(AREAS)
    return {
        "id": draw.uuid(),
        "type": "dashboards",
        "attributes": {
            "name": f"{area} overview {number}",
            "description": draw.maybe(draw.remark(), 0.6),
            "owner": draw.pick(("user", "team")),
            "public": draw.chance(0.2),
            "range": draw.pick(("7_days", "30_days", "90_days")),
            "auto_refresh": draw.chance(0.5),
            "color": {"fill": f"#{draw.whole(0, 0xFFFFFF):06x}"},
            "period": draw.pick(("day", "week", "month")),
        },
        "relationships": {"panels": {"data": [{"id": draw.uuid(), "type": "dashboard_panels"}]}},
        **times,
    }


def _incident(draw: Draw, times: Row, step: str) -> Row:
    number = draw.serial()
    place = _STEPS.index(step)
    return {
        "id": draw.uuid(),
        "type": "incidents",
        "attributes": {
            "sequential_id": number,
            "title": f"Errors in {draw.pick(AREAS)} after a change to {draw.pick(THEMES)}",
            "summary": draw.maybe(draw.remark()),
            "slug": f"incident-{number}",
            "kind": draw.pick(("normal", "test", "backfilled")),
            "status": step,
            "private": draw.chance(0.05),
            "severity": {"data": {"id": draw.uuid(), "type": "severities", "slug": draw.pick(_SEVERITIES)}},
            "user": draw.person(draw.whole(0, 60)),
            "services": [{"name": area} for area in draw.some(AREAS, 0, 3)],
            "labels": draw.maybe({"platform": draw.pick(("web", "ios", "android"))}, 0.5),
            "started_at": times["created_at"],
            "mitigated_at": times["updated_at"] if place else None,
            "resolved_at": times["updated_at"] if place == len(_STEPS) - 1 else None,
            "customers_affected": draw.maybe(draw.whole(0, 5_000), 0.5),
        },
        **times,
    }


def build(draw: Draw, scale: float) -> dict[str, Any]:
    """Make the rows of all incident_response endpoints; at scale 1 the dashboards fill two pages exactly."""
    steps = ("started", "mitigated", *("resolved",) * 8)
    return {
        "dashboards": [_dashboard(draw, number, draw.span()) for number in range(scaled(100, scale, 5))],
        "incidents": [_incident(draw, draw.span(), draw.pick(steps)) for _ in range(scaled(2400, scale, 75))],
    }


def advance(store: dict[str, Any], draw: Draw, scale: float) -> None:
    """Open new incidents, move open ones on, edit and drop a dashboard."""
    incidents, dashboards = store["incidents"], store["dashboards"]
    waiting = [row for row in incidents if row["attributes"]["status"] != "resolved"]
    for row in draw.some(waiting, 1, scaled(24, scale)):
        draw.touch(row)
        attributes = row["attributes"]
        attributes["status"] = _STEPS[_STEPS.index(attributes["status"]) + 1]
        attributes[f"{attributes['status']}_at"] = row["updated_at"]
    incidents += [_incident(draw, draw.fresh(), "started") for _ in range(scaled(20, scale))]
    chosen = draw.pick(dashboards)
    chosen["attributes"]["range"] = "7_days" if chosen["attributes"]["range"] != "7_days" else "30_days"
    draw.touch(chosen)
    if len(dashboards) > 1:
        dashboards.remove(draw.pick([row for row in dashboards if row is not chosen]))
    fresh = draw.fresh()
    dashboards.append(_dashboard(draw, draw.serial(), fresh))
    retitled = draw.pick(incidents)
    moment = iso(draw.now - timedelta(seconds=1))
    retitled["attributes"]["summary"] = draw.remark() + f" Noted at {moment}."
    retitled["updated_at"] = moment
