"""Generates the rows of feature_management: workspaces with environments, segments and feature flags."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from analytics_ingest.sandbox.random_values import AREAS, THEMES, RandomValues, Row, Rows, iso, scaled

WORKSPACES = ("Storefront", "Back office", "Mobile", "Payments", "Logistics", "Marketing", "Data", "Support")
ENVIRONMENTS = ("Production", "Staging", "Development", "Load test")
SEGMENTS = (
    "beta-testers",
    "VIP Kunden/EU",
    "employees",
    "new_customers",
    "wholesale",
    "returning",
    "newsletter",
    "black_friday",
)
KINDS = ("user", "account", "anonymous")
STATUSES = (
    "Pre-production",
    "Internal testing",
    "External beta",
    "Ramping",
    "Experimenting",
    "100% released",
    "Killed",
    "Removed from code",
)
RELEASED = ("Ramping", "100% released")
"""Statuses of a flag that customers get."""
MANY_FLAGS = 120
"""Flags of the first workspace: more than a page holds."""
GROUPS = 50
"""Exactly a page."""
LONG_KEY_LIST = 130
"""Keys of one segment: more than a page holds."""


def _workspace(rng: RandomValues, name: str) -> Row:
    return {
        "id": rng.uuid(),
        "type": "workspace",
        "name": name,
        "requiresTitleAndComments": rng.chance(0.3),
        **rng.span(),
    }


def _traffic_types(rng: RandomValues) -> Rows:
    return [{"id": rng.uuid(), "name": kind, "displayAttributeId": "name", **rng.span()} for kind in KINDS]


def _environment(rng: RandomValues, name: str) -> Row:
    return {
        "id": rng.uuid(),
        "name": name,
        "type": "environment",
        "production": name == "Production",
        "creationTime": rng.span()["created_at"],
        "orgId": None,
        "changePermissions": {
            "allowKills": True,
            "areApprovalsRequired": name == "Production",
            "approvers": [],
        },
    }


def _segment(rng: RandomValues, name: str, kind: Row) -> Row:
    return {
        "name": name,
        "description": rng.maybe(f"Shoppers of the list {name}", 0.6),
        "trafficType": {"id": kind["id"], "name": kind["name"]},
        "creationTime": rng.span()["created_at"],
        "tags": [{"name": tag} for tag in rng.sample(THEMES, 0, 2)],
        "status": rng.choice(("active", "archived")),
    }


def _flag(rng: RandomValues, number: int, kind: Row, statuses: Rows, times: Row) -> Row:
    status = rng.choice(statuses)
    return {
        "id": rng.uuid(),
        "name": f"{AREAS[number % 10]}_{THEMES[number // 10 % 10]}_{number}",
        "description": rng.maybe(rng.title(), 0.6),
        "trafficType": {"id": kind["id"], "name": kind["name"]},
        "rolloutStatus": {"id": status["id"], "name": status["name"]},
        "rolloutStatusTimestamp": rng.maybe(times["updated_at"], 0.8),
        "tags": [{"name": tag} for tag in rng.sample(THEMES, 0, 3)],
        "owners": [{"type": "user", "id": rng.code(12)}],
        **times,
    }


def _keys(rng: RandomValues, number: int) -> Rows:
    return [{"key": f"customer-{rng.code(10)}"} for _ in range(number)]


def _change_request(rng: RandomValues, users: Rows, times: Row) -> Row:
    return {
        "id": rng.uuid(),
        "title": rng.title(),
        "comment": rng.maybe(rng.remark()),
        "status": rng.choice(("REQUESTED", "APPROVED", "PUBLISHED", "REJECTED", "WITHDRAWN")),
        "operationType": rng.choice(("CREATE", "UPDATE", "KILL", "ARCHIVE")),
        "approvers": [user["email"] for user in rng.sample(users, 0, 2)],
        "split": {"name": f"{rng.choice(AREAS)}_{rng.choice(THEMES)}"},
        "organizationId": None,
        **times,
    }


def _user(rng: RandomValues, number: int, groups: Rows, times: Row) -> Row:
    return {
        "id": rng.uuid(),
        "type": "user",
        **rng.person(number),
        "status": rng.choice(("ACTIVE", "ACTIVE", "PENDING", "DEACTIVATED")),
        "2fa": rng.chance(0.6),
        "groups": [{"type": "group", "id": group["id"]} for group in rng.sample(groups, 0, 2)],
        **times,
    }


def build(rng: RandomValues, scale: float) -> dict[str, Any]:
    """The rows of all endpoints; the first workspace has the most flags."""
    workspaces = [_workspace(rng, name) for name in WORKSPACES[: min(8, scaled(5, scale, 2))]]
    groups = [
        {
            "id": rng.uuid(),
            "name": f"{AREAS[n % 10]} team {n // 10}",
            "description": "",
            "type": "group",
            **rng.span(),
        }
        for n in range(GROUPS)
    ]
    users = [_user(rng, number, groups, rng.span()) for number in range(scaled(240, scale, 6))]
    statuses = [{"id": rng.uuid(), "name": name, "description": name, **rng.span()} for name in STATUSES]
    kinds: dict[tuple[str, ...], Rows] = {}
    environments: dict[tuple[str, ...], Rows] = {}
    segments: dict[tuple[str, ...], Rows] = {}
    flags: dict[tuple[str, ...], Rows] = {}
    keys: dict[tuple[str, ...], Rows] = {}
    for index, workspace in enumerate(workspaces):
        key = (workspace["id"],)
        kinds[key] = _traffic_types(rng)
        environments[key] = [
            _environment(rng, name) for name in ENVIRONMENTS[: min(4, scaled(3, scale, 2 if index == 0 else 1))]
        ]
        names = SEGMENTS[: min(8, scaled(7, scale, 3 if index == 0 else 2))]
        segments[key] = [_segment(rng, name, rng.choice(kinds[key])) for name in names]
        number = MANY_FLAGS if index == 0 else scaled(70, scale, 4)
        flags[key] = [_flag(rng, n, rng.choice(kinds[key]), statuses, rng.span()) for n in range(number)]
        for environment in environments[key]:
            for name in names:
                keys[environment["id"], name] = _keys(rng, rng.integer(0, 30))
    first = workspaces[0]["id"]
    keys[environments[first,][0]["id"], SEGMENTS[0]] = _keys(rng, LONG_KEY_LIST)
    undefined = environments[first,][-1]["id"]
    for name in (segment["name"] for segment in segments[first,][2 : 2 + scaled(3, scale)]):
        del keys[undefined, name]
    return {
        "change_requests": [_change_request(rng, users, rng.span()) for _ in range(scaled(450, scale, 6))],
        "workspaces": workspaces,
        "flag_sets": [
            {
                "id": rng.uuid(),
                "name": f"{AREAS[n % 10]}_{THEMES[n // 10 % 10]}",
                "description": rng.maybe(rng.title(), 0.4),
                "workspace": {"type": "workspace", "id": rng.choice(workspaces)["id"]},
                **rng.span(),
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


def advance(store: dict[str, Any], rng: RandomValues, scale: float) -> None:
    """Adds and changes requests and users, adds and removes flags and keys, and adds a segment."""
    requests, users = store["change_requests"], store["users"]
    requests += [_change_request(rng, users, rng.fresh()) for _ in range(scaled(5, scale))]
    for row in rng.sample(requests[:-1], 1, scaled(6, scale)):
        rng.touch(row, status="WITHDRAWN" if row["status"] == "PUBLISHED" else "PUBLISHED")
    users.append(_user(rng, rng.serial(), store["groups"], rng.fresh()))
    for row in rng.sample(users[:-1], 1, scaled(3, scale)):
        rng.touch(row, status="DEACTIVATED" if row["status"] == "ACTIVE" else "ACTIVE")
    for index, (key, flags) in enumerate(store["feature_flags"].items()):
        kind = store["traffic_types"][key][0]
        if index == 0:
            flags.pop(rng.integer(0, len(flags) - 1))
        flags.append(_flag(rng, rng.serial(), kind, store["rollout_statuses"], rng.fresh()))
        status = rng.choice(store["rollout_statuses"])
        rng.touch(rng.choice(flags[:-1]), rolloutStatus={"id": status["id"], "name": status["name"]})
    lists = [keys for keys in store["segments_keys"].values() if keys]
    chosen = rng.sample(lists, 2, scaled(6, scale, 2))
    for keys in chosen[1:]:
        keys.extend(_keys(rng, rng.integer(1, 3)))
    chosen[0].pop(rng.integer(0, len(chosen[0]) - 1))
    workspace = rng.choice(list(store["segments"]))
    segment = _segment(rng, f"segment_{rng.serial()}", store["traffic_types"][workspace][0])
    store["segments"][workspace].append(segment)
    for environment in store["environments"][workspace]:
        store["segments_keys"][environment["id"], segment["name"]] = _keys(rng, 3)


def release_flag(store: dict[str, Any], rng: RandomValues, *, area: str, moment: datetime) -> Row:
    """Rolls a flag of the first workspace out, and gives it: a flag of the area that is older than the advance.

    Args:
        store: The rows.
        rng: The random values.
        area: The first word of the flag's name; if no flag has it, any flag is chosen.
        moment: The time of the change.
    """
    flags = [
        row
        for row in next(iter(store["feature_flags"].values()))
        if datetime.fromisoformat(row["created_at"]) <= rng.since
    ]
    flag: Row = rng.choice([row for row in flags if row["name"].startswith(f"{area}_")] or flags)
    status = rng.choice(
        [
            row
            for row in store["rollout_statuses"]
            if row["name"] in RELEASED and row["name"] != flag["rolloutStatus"]["name"]
        ]
    )
    flag |= {
        "rolloutStatus": {"id": status["id"], "name": status["name"]},
        "rolloutStatusTimestamp": iso(moment),
        "updated_at": iso(moment),
    }
    return flag
