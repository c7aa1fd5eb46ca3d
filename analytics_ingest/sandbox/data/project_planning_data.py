"""A planning tool: objectives, milestones and epics, and the stories of epics, teams and iterations."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from analytics_ingest.sandbox.data import stories
from analytics_ingest.sandbox.draw import AREAS, THEMES, Draw, Row, Rows, ids, iso, scaled

Children = dict[tuple[str, ...], Rows]

_EPIC_STATES = ("to do", "in progress", "done")
_STORY_STATES = (("Backlog", "backlog"), ("To do", "unstarted"), ("In progress", "started"), ("Done", "done"))


def _member(draw: Draw, number: int) -> Row:
    person = draw.person(number)
    return {
        "id": draw.uuid(),
        "role": draw.pick(("admin", "member", "observer")),
        "disabled": draw.chance(0.1),
        "state": draw.pick(("full", "partial")),
        "profile": {
            "name": person["name"],
            "email_address": person["email"],
            "mention_name": f"person{number}",
        },
        "group_ids": [],
        **draw.span(),
    }


def _workflow(draw: Draw, name: str) -> Row:
    states = [
        {
            "id": draw.serial(),
            "name": state,
            "type": kind,
            "position": place,
            "num_stories": draw.whole(0, 90),
        }
        for place, (state, kind) in enumerate(_STORY_STATES)
    ]
    return {
        "id": draw.serial(),
        "name": name,
        "description": f"How {name.lower()} work flows",
        "auto_assign_owner": draw.chance(0.5),
        "states": states,
        "default_state_id": states[0]["id"],
        **draw.span(),
    }


def _goal(draw: Draw, kind: str, categories: Rows, number: int) -> Row:
    """Give an objective or a milestone; the first one is under two categories."""
    return {
        "id": draw.serial(),
        "entity_type": kind,
        "name": f"{draw.pick(AREAS).title()} {draw.pick(THEMES)} {2024 + number % 3}",
        "description": draw.remark(),
        "state": draw.pick(_EPIC_STATES),
        "archived": draw.chance(0.1),
        "categories": [{"id": each["id"], "name": each["name"]} for each in categories],
        "completed_at": None,
        "position": number,
        **draw.span(),
    }


def _epic(draw: Draw, members: Rows, objectives: Rows, milestones: Rows, times: Row) -> Row:
    state = draw.pick(_EPIC_STATES)
    return {
        "id": draw.serial(),
        "entity_type": "epic",
        "name": draw.title(),
        "description": draw.maybe(draw.remark()),
        "state": state,
        "objective_ids": ids(objectives),
        "milestone_ids": ids(milestones),
        "owner_ids": ids(draw.some(members, 0, 2)),
        "requested_by_id": draw.pick(members)["id"],
        "labels": [{"name": draw.pick(THEMES)}],
        "archived": False,
        "started": state != "to do",
        "completed": state == "done",
        "deadline": draw.maybe(iso(draw.now + timedelta(days=draw.whole(1, 90))), 0.3),
        "stats": {"num_points": draw.whole(0, 80), "average_cycle_time": draw.whole(10_000, 900_000)},
        **times,
    }


def _iteration(draw: Draw, number: int, first_day: datetime) -> Row:
    start = first_day + timedelta(days=14 * number)
    return {
        "id": draw.serial(),
        "entity_type": "iteration",
        "name": f"Iteration {number + 1}",
        "status": "done" if start + timedelta(days=14) < draw.now else "started",
        "start_date": start.date().isoformat(),
        "end_date": (start + timedelta(days=13)).date().isoformat(),
        "group_ids": [],
        "stats": {"num_stories_done": draw.whole(0, 40)},
        **draw.span(),
    }


def _under(parents: Rows, members: dict[Any, Rows]) -> Children:
    """Give each parent's rows, an empty list for those without."""
    return {(str(parent["id"]),): members.get(parent["id"], []) for parent in parents}


def _goals(draw: Draw, kind: str, categories: Rows, number: int) -> tuple[Rows, dict[Any, Rows]]:
    goals: Rows = []
    under: dict[Any, Rows] = {}
    for place in range(number):
        own = categories[:2] if place == 0 else draw.some(categories, 1, 2)
        goal = _goal(draw, kind, own, place)
        goals.append(goal)
        for category in own:
            under.setdefault(category["id"], []).append(goal)
    return goals, under


def build(draw: Draw, scale: float) -> dict[str, Any]:
    """Make the rows of all project_planning endpoints."""
    members = [_member(draw, number) for number in range(scaled(40, scale, 4))]
    workflows = [_workflow(draw, name) for name in ("Engineering", "Design")]
    categories = [
        {
            "id": draw.serial(),
            "name": f"{THEMES[n % 10].title()} {n}",
            "color": "#0a7f42",
            "type": "milestone",
        }
        | {"archived": False, "external_id": draw.maybe(draw.code(8), 0.3), **draw.span()}
        for n in range(scaled(8, scale, 2))
    ]
    objectives, objectives_of = _goals(draw, "objective", categories, scaled(20, scale, 2))
    milestones, milestones_of = _goals(draw, "milestone", categories, scaled(15, scale, 2))
    epics: Rows = []
    of_objective: dict[Any, Rows] = {}
    of_milestone: dict[Any, Rows] = {}
    for place in range(scaled(60, scale, 4)):
        aims = objectives[:2] if place == 0 else draw.some(objectives, 0, 2)
        stones = milestones[:2] if place == 0 else draw.some(milestones, 0, 1)
        epic = _epic(draw, members, aims, stones, draw.span())
        epics.append(epic)
        for parents, under in ((aims, of_objective), (stones, of_milestone)):
            for parent in parents:
                under.setdefault(parent["id"], []).append(epic)
    groups = [
        {"id": draw.uuid(), "name": f"Team {AREAS[n % 10]} {n // 10 + 1}", "mention_name": f"team-{n}"}
        | {
            "description": draw.maybe(draw.remark()),
            "archived": False,
            "member_ids": ids(draw.some(members, 1, 6)),
        }
        | {"color": "#6515dd", "workflow_ids": ids(workflows[:1]), **draw.span()}
        for n in range(scaled(12, scale, 2))
    ]
    number = scaled(26, scale, 3)
    first_day = draw.now - timedelta(days=14 * number - 7)
    iterations = [_iteration(draw, place, first_day) for place in range(number)]
    own = members[0]
    store = {
        "categories": categories,
        "categories_milestones": _under(categories, milestones_of),
        "categories_objectives": _under(categories, objectives_of),
        "custom_fields": [
            {
                "id": draw.uuid(),
                "name": f"{THEMES[n % 10].title()} field",
                "field_type": "enum",
                "enabled": True,
            }
            | {"values": [{"id": draw.uuid(), "value": area, "position": p} for p, area in enumerate(AREAS[:3])]}
            | draw.span()
            for n in range(scaled(8, scale, 2))
        ],
        "epic_workflow": [
            {
                "id": draw.serial(),
                "entity_type": "epic-workflow",
                "default_epic_state_id": 1,
                "epic_states": [{"id": n + 1, "name": name, "position": n} for n, name in enumerate(_EPIC_STATES)],
                **draw.span(),
            }
        ],
        "epics": epics,
        "epics_comments": {
            (str(epic["id"]),): [stories.comment(draw, members, draw.span(90)) for _ in range(draw.whole(0, 4))]
            for epic in epics
        },
        "files": [
            {"id": draw.serial(), "name": f"screenshot-{n}.png", "filename": f"{draw.code(12)}.png"}
            | {"content_type": "image/png", "size": draw.whole(900, 4_000_000), "story_ids": []}
            | {"uploader_id": draw.pick(members)["id"], "description": None, **draw.span()}
            for n in range(scaled(150, scale, 5))
        ],
        "groups": groups,
        "iterations": iterations,
        "labels": [
            {
                "id": draw.serial(),
                "name": f"{AREAS[n % 10]}/{THEMES[n // 10 % 10]}",
                "color": draw.maybe("#ff8800"),
            }
            | {"archived": False, "stats": {"num_stories_total": draw.whole(0, 90)}, **draw.span()}
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
        # A search lists the same rows as the list of epics.
        "search_epics": epics,
        "epics_stories": _under(epics, {}),
        "groups_stories": _under(groups, {}),
        "iterations_stories": _under(iterations, {}),
        "stories_comments": {},
        "story_history": {},
    }
    for collection in ("epics_stories", "groups_stories", "iterations_stories"):
        store[collection] = {key: [] for key in store[collection]}
    stories.fill(store, draw, scaled(1000, scale, 50))
    return store


def advance(store: dict[str, Any], draw: Draw, scale: float) -> None:
    """Do a day's work: stories change and are talked about, an epic comes, one leaves its objective."""
    stories.advance(store, draw, scale)
    epics, members = store["epics"], store["members"]
    for epic in draw.some(epics, 1, scaled(2, scale)):
        draw.touch(epic, name=draw.title() + f" {draw.serial()}")
    objectives = [each for each in store["objectives"] if store["objectives_epics"][str(each["id"]),]]
    for objective in draw.some(objectives, 1, 1):
        epic = store["objectives_epics"][str(objective["id"]),].pop()
        draw.touch(epic, objective_ids=[each for each in epic["objective_ids"] if each != objective["id"]])
    aims, stones = draw.some(store["objectives"], 1, 1), draw.some(store["milestones"], 1, 1)
    epic = _epic(draw, members, aims, stones, draw.fresh())
    epics.append(epic)
    store["objectives_epics"][str(aims[0]["id"]),].append(epic)
    store["milestones_epics"][str(stones[0]["id"]),].append(epic)
    store["epics_comments"][str(epic["id"]),] = [stories.comment(draw, members, draw.fresh())]
    store["epics_stories"][str(epic["id"]),] = []
    label = draw.pick(store["labels"])
    draw.touch(label, archived=not label["archived"])
    for file in draw.some(store["files"], 1, scaled(3, scale)):
        draw.touch(file, description=f"{draw.remark()} ({draw.serial()})")
