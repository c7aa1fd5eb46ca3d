"""Generates the rows of project_planning: objectives, milestones and epics, with their stories."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from analytics_ingest.sandbox.data import story_rows
from analytics_ingest.sandbox.random_values import AREAS, THEMES, RandomValues, Row, Rows, ids, iso, scaled

Children = dict[tuple[str, ...], Rows]

EPIC_STATES = ("to do", "in progress", "done")
STORY_STATES = (("Backlog", "backlog"), ("To do", "unstarted"), ("In progress", "started"), ("Done", "done"))


def _member(rng: RandomValues, number: int) -> Row:
    person = rng.person(number)
    return {
        "id": rng.uuid(),
        "role": rng.choice(("admin", "member", "observer")),
        "disabled": rng.chance(0.1),
        "state": rng.choice(("full", "partial")),
        "profile": {
            "name": person["name"],
            "email_address": person["email"],
            "mention_name": f"person{number}",
        },
        "group_ids": [],
        **rng.span(),
    }


def _workflow(rng: RandomValues, name: str) -> Row:
    states = [
        {
            "id": rng.serial(),
            "name": state,
            "type": kind,
            "position": index,
            "num_stories": rng.integer(0, 90),
        }
        for index, (state, kind) in enumerate(STORY_STATES)
    ]
    return {
        "id": rng.serial(),
        "name": name,
        "description": f"How {name.lower()} work flows",
        "auto_assign_owner": rng.chance(0.5),
        "states": states,
        "default_state_id": states[0]["id"],
        **rng.span(),
    }


def _goal(rng: RandomValues, kind: str, categories: Rows, number: int) -> Row:
    """An objective or a milestone under its categories."""
    return {
        "id": rng.serial(),
        "entity_type": kind,
        "name": f"{rng.choice(AREAS).title()} {rng.choice(THEMES)} {2024 + number % 3}",
        "description": rng.remark(),
        "state": rng.choice(EPIC_STATES),
        "archived": rng.chance(0.1),
        "categories": [{"id": each["id"], "name": each["name"]} for each in categories],
        "completed_at": None,
        "position": number,
        **rng.span(),
    }


def _epic(rng: RandomValues, members: Rows, objectives: Rows, milestones: Rows, times: Row) -> Row:
    state = rng.choice(EPIC_STATES)
    return {
        "id": rng.serial(),
        "entity_type": "epic",
        "name": rng.title(),
        "description": rng.maybe(rng.remark()),
        "state": state,
        "objective_ids": ids(objectives),
        "milestone_ids": ids(milestones),
        "owner_ids": ids(rng.sample(members, 0, 2)),
        "requested_by_id": rng.choice(members)["id"],
        "labels": [{"name": rng.choice(THEMES)}],
        "archived": False,
        "started": state != "to do",
        "completed": state == "done",
        "deadline": rng.maybe(iso(rng.now + timedelta(days=rng.integer(1, 90))), 0.3),
        "stats": {"num_points": rng.integer(0, 80), "average_cycle_time": rng.integer(10_000, 900_000)},
        **times,
    }


def _iteration(rng: RandomValues, number: int, first_day: datetime) -> Row:
    start = first_day + timedelta(days=14 * number)
    return {
        "id": rng.serial(),
        "entity_type": "iteration",
        "name": f"Iteration {number + 1}",
        "status": "done" if start + timedelta(days=14) < rng.now else "started",
        "start_date": start.date().isoformat(),
        "end_date": (start + timedelta(days=13)).date().isoformat(),
        "group_ids": [],
        "stats": {"num_stories_done": rng.integer(0, 40)},
        **rng.span(),
    }


def _under(parents: Rows, members: dict[Any, Rows]) -> Children:
    """The rows of each parent; an empty list for a parent without any."""
    return {(str(parent["id"]),): members.get(parent["id"], []) for parent in parents}


def _goals(rng: RandomValues, kind: str, categories: Rows, number: int) -> tuple[Rows, dict[Any, Rows]]:
    goals: Rows = []
    under: dict[Any, Rows] = {}
    for index in range(number):
        own = categories[:2] if index == 0 else rng.sample(categories, 1, 2)
        goal = _goal(rng, kind, own, index)
        goals.append(goal)
        for category in own:
            under.setdefault(category["id"], []).append(goal)
    return goals, under


def build(rng: RandomValues, scale: float) -> dict[str, Any]:
    """The rows of all endpoints."""
    members = [_member(rng, number) for number in range(scaled(40, scale, 4))]
    workflows = [_workflow(rng, name) for name in ("Engineering", "Design")]
    categories = [
        {
            "id": rng.serial(),
            "name": f"{THEMES[n % 10].title()} {n}",
            "color": "#0a7f42",
            "type": "milestone",
        }
        | {"archived": False, "external_id": rng.maybe(rng.code(8), 0.3), **rng.span()}
        for n in range(scaled(8, scale, 2))
    ]
    objectives, objectives_of = _goals(rng, "objective", categories, scaled(20, scale, 2))
    milestones, milestones_of = _goals(rng, "milestone", categories, scaled(15, scale, 2))
    epics: Rows = []
    of_objective: dict[Any, Rows] = {}
    of_milestone: dict[Any, Rows] = {}
    for index in range(scaled(60, scale, 4)):
        epic_objectives = objectives[:2] if index == 0 else rng.sample(objectives, 0, 2)
        epic_milestones = milestones[:2] if index == 0 else rng.sample(milestones, 0, 1)
        epic = _epic(rng, members, epic_objectives, epic_milestones, rng.span())
        epics.append(epic)
        for parents, under in ((epic_objectives, of_objective), (epic_milestones, of_milestone)):
            for parent in parents:
                under.setdefault(parent["id"], []).append(epic)
    groups = [
        {"id": rng.uuid(), "name": f"Team {AREAS[n % 10]} {n // 10 + 1}", "mention_name": f"team-{n}"}
        | {
            "description": rng.maybe(rng.remark()),
            "archived": False,
            "member_ids": ids(rng.sample(members, 1, 6)),
        }
        | {"color": "#6515dd", "workflow_ids": ids(workflows[:1]), **rng.span()}
        for n in range(scaled(12, scale, 2))
    ]
    number = scaled(26, scale, 3)
    first_day = rng.now - timedelta(days=14 * number - 7)
    iterations = [_iteration(rng, index, first_day) for index in range(number)]
    own = members[0]
    store = {
        "categories": categories,
        "categories_milestones": _under(categories, milestones_of),
        "categories_objectives": _under(categories, objectives_of),
        "custom_fields": [
            {
                "id": rng.uuid(),
                "name": f"{THEMES[n % 10].title()} field",
                "field_type": "enum",
                "enabled": True,
            }
            | {"values": [{"id": rng.uuid(), "value": area, "position": p} for p, area in enumerate(AREAS[:3])]}
            | rng.span()
            for n in range(scaled(8, scale, 2))
        ],
        "epic_workflow": [
            {
                "id": rng.serial(),
                "entity_type": "epic-workflow",
                "default_epic_state_id": 1,
                "epic_states": [{"id": n + 1, "name": name, "position": n} for n, name in enumerate(EPIC_STATES)],
                **rng.span(),
            }
        ],
        "epics": epics,
        "epics_comments": {
            (str(epic["id"]),): [story_rows.comment(rng, members, rng.span(90)) for _ in range(rng.integer(0, 4))]
            for epic in epics
        },
        "files": [
            {"id": rng.serial(), "name": f"screenshot-{n}.png", "filename": f"{rng.code(12)}.png"}
            | {"content_type": "image/png", "size": rng.integer(900, 4_000_000), "story_ids": []}
            | {"uploader_id": rng.choice(members)["id"], "description": None, **rng.span()}
            for n in range(scaled(150, scale, 5))
        ],
        "groups": groups,
        "iterations": iterations,
        "labels": [
            {
                "id": rng.serial(),
                "name": f"{AREAS[n % 10]}/{THEMES[n // 10 % 10]}",
                "color": rng.maybe("#ff8800"),
            }
            | {"archived": False, "stats": {"num_stories_total": rng.integer(0, 90)}, **rng.span()}
            for n in range(scaled(60, scale, 6))
        ],
        "member": [
            {"id": own["id"], "name": own["profile"]["name"], "mention_name": own["profile"]["mention_name"]}
            | {"workspace2": {"url_slug": "shop", "estimate_scale": [0, 1, 2, 4, 8]}}
        ],
        "members": members,
        "milestones": milestones,
        "milestones_epics": _under(milestones, of_milestone),
        "objectives": objectives,
        "objectives_epics": _under(objectives, of_objective),
        "workflows": workflows,
        # the search has the same rows as the list of epics
        "search_epics": epics,
        "epics_stories": _under(epics, {}),
        "groups_stories": _under(groups, {}),
        "iterations_stories": _under(iterations, {}),
        "stories_comments": {},
        "story_history": {},
    }
    for collection in ("epics_stories", "groups_stories", "iterations_stories"):
        store[collection] = {key: [] for key in store[collection]}
    story_rows.fill(store, rng, scaled(1000, scale, 50))
    return store


def advance(store: dict[str, Any], rng: RandomValues, scale: float) -> None:
    """Changes stories and epics, adds an epic, removes one from its objective, and edits a label and files."""
    story_rows.advance(store, rng, scale)
    epics, members = store["epics"], store["members"]
    for epic in rng.sample(epics, 1, scaled(2, scale)):
        rng.touch(epic, name=rng.title() + f" {rng.serial()}")
    objectives = [each for each in store["objectives"] if store["objectives_epics"][str(each["id"]),]]
    for objective in rng.sample(objectives, 1, 1):
        epic = store["objectives_epics"][str(objective["id"]),].pop()
        rng.touch(epic, objective_ids=[each for each in epic["objective_ids"] if each != objective["id"]])
    epic_objectives, epic_milestones = rng.sample(store["objectives"], 1, 1), rng.sample(store["milestones"], 1, 1)
    epic = _epic(rng, members, epic_objectives, epic_milestones, rng.fresh())
    epics.append(epic)
    store["objectives_epics"][str(epic_objectives[0]["id"]),].append(epic)
    store["milestones_epics"][str(epic_milestones[0]["id"]),].append(epic)
    store["epics_comments"][str(epic["id"]),] = [story_rows.comment(rng, members, rng.fresh())]
    store["epics_stories"][str(epic["id"]),] = []
    label = rng.choice(store["labels"])
    rng.touch(label, archived=not label["archived"])
    for file in rng.sample(store["files"], 1, scaled(3, scale)):
        rng.touch(file, description=f"{rng.remark()} ({rng.serial()})")
