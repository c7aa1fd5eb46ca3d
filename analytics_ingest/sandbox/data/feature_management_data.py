"""Workspaces of a web shop's teams with environments, segments and feature flags."""

from __future__ import annotations

from typing import Any

from analytics_ingest.sandbox.draw import AREAS, THEMES, Draw, Row, Rows, scaled

_WORKSPACES = ("Storefront", "Back office", "Mobile", "Payments", "Logistics", "Marketing", "Data", "Support")
_ENVIRONMENTS = ("Production", "Staging", "Development", "Load test")
_SEGMENTS = (
    "beta-testers",
    "VIP Kunden/EU",
    "employees",
    "new_customers",
    "wholesale",
    "returning",
    "newsletter",
    "black_friday",
)
_KINDS = ("user", "account", "anonymous")
_STATUSES = (
    "Pre-production",
    "Internal testing",
    "External beta",
    "Ramping",
    "Experimenting",
    "100% released",
    "Killed",
    "Removed from code",
)
_FLAGS_OF_THE_LARGEST = 120
_GROUPS = 50
_LONG_KEY_LIST = 130


def _workspace(draw: Draw, name: str) -> Row:
    return {
        "id": draw.uuid(),
        "type": "workspace",
        "name": name,
        "requiresTitleAndComments": draw.chance(0.3),
        **draw.span(),
    }


def _traffic_types(draw: Draw) -> Rows:
    return [{"id": draw.uuid(), "name": kind, "displayAttributeId": "name", **draw.span()} for kind in _KINDS]


def _environment(draw: Draw, name: str) -> Row:
    return {
        "id": draw.uuid(),
        "name": name,
        "type": "environment",
        "production": name == "Production",
        "creationTime": draw.span()["created_at"],
        "orgId": None,
        "changePermissions": {
            "allowKills": True,
            "areApprovalsRequired": name == "Production",
            "approvers": [],
        },
    }


def _segment(draw: Draw, name: str, kind: Row) -> Row:
    return {
        "name": name,
        "description": draw.maybe(f"Shoppers of the list {name}", 0.6),
        "trafficType": {"id": kind["id"], "name": kind["name"]},
        "creationTime": draw.span()["created_at"],
        "tags": [{"name": tag} for tag in draw.some(THEMES, 0, 2)],
        "status": draw.pick(("active", "archived")),
    }


def _flag(draw: Draw, number: int, kind: Row, statuses: Rows, times: Row) -> Row:
    status = draw.pick(statuses)
    return {
        "id": draw.uuid(),
        "name": f"{AREAS[number % 10]}_{THEMES[number // 10 % 10]}_{number}",
        "description": draw.maybe(draw.title(), 0.6),
        "trafficType": {"id": kind["id"], "name": kind["name"]},
        "rolloutStatus": {"id": status["id"], "name": status["name"]},
        "rolloutStatusTimestamp": draw.maybe(times["updated_at"], 0.8),
        "tags": [{"name": tag} for tag in draw.some(THEMES, 0, 3)],
        "owners": [{"type": "user", "id": draw.code(12)}],
        **times,
    }


def _keys(draw: Draw, number: int) -> Rows:
    return [{"key": f"customer-{draw.code(10)}"} for _ in range(number)]


def _change_request(draw: Draw, users: Rows, times: Row) -> Row:
    return {
        "id": draw.uuid(),
        "title": draw.title(),
        "comment": draw.maybe(draw.remark()),
        "status": draw.pick(("REQUESTED", "APPROVED", "PUBLISHED", "REJECTED", "WITHDRAWN")),
        "operationType": draw.pick(("CREATE", "UPDATE", "KILL", "ARCHIVE")),
        "approvers": [user["email"] for user in draw.some(users, 0, 2)],
        "split": {"name": f"{draw.pick(AREAS)}_{draw.pick(THEMES)}"},
        "organizationId": None,
        **times,
    }


def _user(draw: Draw, number: int, groups: Rows, times: Row) -> Row:
    return {
        "id": draw.uuid(),
        "type": "user",
        **draw.person(number),
        "status": draw.pick(("ACTIVE", "ACTIVE", "PENDING", "DEACTIVATED")),
        "2fa": draw.chance(0.6),
        "groups": [{"type": "group", "id": group["id"]} for group in draw.some(groups, 0, 2)],
        **times,
    }


def build(draw: Draw, scale: float) -> dict[str, Any]:
    """Make the rows of all feature_management endpoints; the first workspace has the most flags."""
    workspaces = [_workspace(draw, name) for name in _WORKSPACES[: min(8, scaled(5, scale, 2))]]
    groups = [
        {
            "id": draw.uuid(),
            "name": f"{AREAS[n % 10]} team {n // 10}",
            "description": "",
            "type": "group",
            **draw.span(),
        }
        for n in range(_GROUPS)
    ]
    users = [_user(draw, number, groups, draw.span()) for number in range(scaled(240, scale, 6))]
    statuses = [{"id": draw.uuid(), "name": name, "description": name, **draw.span()} for name in _STATUSES]
    kinds: dict[tuple[str, ...], Rows] = {}
    environments: dict[tuple[str, ...], Rows] = {}
    segments: dict[tuple[str, ...], Rows] = {}
    flags: dict[tuple[str, ...], Rows] = {}
    keys: dict[tuple[str, ...], Rows] = {}
    for place, workspace in enumerate(workspaces):
        key = (workspace["id"],)
        kinds[key] = _traffic_types(draw)
        environments[key] = [
            _environment(draw, name) for name in _ENVIRONMENTS[: min(4, scaled(3, scale, 2 if place == 0 else 1))]
        ]
        names = _SEGMENTS[: min(8, scaled(7, scale, 3 if place == 0 else 2))]
        segments[key] = [_segment(draw, name, draw.pick(kinds[key])) for name in names]
        number = _FLAGS_OF_THE_LARGEST if place == 0 else scaled(70, scale, 4)
        flags[key] = [_flag(draw, n, draw.pick(kinds[key]), statuses, draw.span()) for n in range(number)]
        for environment in environments[key]:
            for name in names:
                keys[environment["id"], name] = _keys(draw, draw.whole(0, 30))
    first = workspaces[0]["id"]
    keys[environments[first,][0]["id"], _SEGMENTS[0]] = _keys(draw, _LONG_KEY_LIST)
    undefined = environments[first,][-1]["id"]
    for name in (segment["name"] for segment in segments[first,][2 : 2 + scaled(3, scale)]):
        del keys[undefined, name]
    return {
        "change_requests": [_change_request(draw, users, draw.span()) for _ in range(scaled(450, scale, 6))],
        "workspaces": workspaces,
        "flag_sets": [
            {
                "id": draw.uuid(),
                "name": f"{AREAS[n % 10]}_{THEMES[n // 10 % 10]}",
                "description": draw.maybe(draw.title(), 0.4),
                "workspace": {"type": "workspace", "id": draw.pick(workspaces)["id"]},
                **draw.span(),
            }
            for n in range(scaled(60, scale, 3))
        ],
        "users": users,
        "segments": segments,
        "segments_keys": keys,
        "rollout_statuses": statuses,
        "environments": environments,
        "traffic_types": kinds,
        "groups": groups,
        "feature_flags": flags,
    }


def advance(store: dict[str, Any], draw: Draw, scale: float) -> None:
    """Decide requests, invite users, add and drop flags, move keys in and out of segments, add a segment."""
    requests, users = store["change_requests"], store["users"]
    requests += [_change_request(draw, users, draw.fresh()) for _ in range(scaled(5, scale))]
    for row in draw.some(requests[:-1], 1, scaled(6, scale)):
        draw.touch(row, status="WITHDRAWN" if row["status"] == "PUBLISHED" else "PUBLISHED")
    users.append(_user(draw, draw.serial(), store["groups"], draw.fresh()))
    for row in draw.some(users[:-1], 1, scaled(3, scale)):
        draw.touch(row, status="DEACTIVATED" if row["status"] == "ACTIVE" else "ACTIVE")
    for place, (key, flags) in enumerate(store["feature_flags"].items()):
        kind = store["traffic_types"][key][0]
        if place == 0:
            flags.pop(draw.whole(0, len(flags) - 1))
        flags.append(_flag(draw, draw.serial(), kind, store["rollout_statuses"], draw.fresh()))
        status = draw.pick(store["rollout_statuses"])
        draw.touch(draw.pick(flags[:-1]), rolloutStatus={"id": status["id"], "name": status["name"]})
    lists = [keys for keys in store["segments_keys"].values() if keys]
    chosen = draw.some(lists, 2, scaled(6, scale, 2))
    for keys in chosen[1:]:
        keys.extend(_keys(draw, draw.whole(1, 3)))
    chosen[0].pop(draw.whole(0, len(chosen[0]) - 1))
    workspace = draw.pick(list(store["segments"]))
    segment = _segment(draw, f"segment_{draw.serial()}", store["traffic_types"][workspace][0])
    store["segments"][workspace].append(segment)
    for environment in store["environments"][workspace]:
        store["segments_keys"][environment["id"], segment["name"]] = _keys(draw, 3)
