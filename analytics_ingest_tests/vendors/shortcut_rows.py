"""Shortcut's entities in its shapes, each made from a number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from analytics_ingest_tests.vendors.server import Rows

Row = dict[str, Any]
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
STATES = ("to do", "in progress", "done")


def uuid(kind: str, n: int) -> str:
    """An id of custom fields, groups, members and history."""
    return f"{kind.encode().hex()[:8]:0<8}-0000-4000-8000-{n:012x}"


def moment(minutes: int) -> str:
    """A time in whole seconds."""
    return f"{BEGIN + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"


def times(n: int, *, updated: bool = True, created: bool = True) -> Row:
    """When a row was created and updated, null where that is not known."""
    return {"created_at": moment(n) if created else None, "updated_at": moment(1000 + n) if updated else None}


def category(n: int) -> Row:
    row = {"entity_type": "category", "id": 100 + n, "name": f"Category {n}", "type": "milestone", "archived": False}
    return {**row, **times(n)}


def objective(n: int, categories: Rows) -> Row:
    return {
        "entity_type": "objective",
        "id": 200 + n,
        "name": f"Objective {n}",
        "state": "in progress",
        "position": n,
        "categories": [{"id": each["id"], "name": each["name"]} for each in categories],
        **times(n),
    }


def custom_field(n: int) -> Row:
    return {
        "entity_type": "custom-field",
        "id": uuid("field", n),
        "name": f"Field {n}",
        "field_type": "enum",
        "enabled": True,
        "values": [{"id": uuid("enum", n), "value": "High", "position": 0}],
        **times(n),
    }


def epic_workflow() -> Row:
    states = [{"id": 401 + n, "name": state, "type": state, "position": n} for n, state in enumerate(STATES)]
    return {"entity_type": "epic-workflow", "id": 400, "default_epic_state_id": 401, "epic_states": states, **times(0)}


def epic(n: int, *, state: str, objective_ids: list[int]) -> Row:
    """An epic; ``milestone_id`` names one of its objectives, however many it has."""
    known = n % 7 != 3
    return {
        "entity_type": "epic",
        "id": 1000 + n,
        "name": f"Epic {n}",
        "description": f"What epic {n} is for",
        "state": state,
        "milestone_id": objective_ids[0] if objective_ids else None,
        "objective_ids": objective_ids,
        "group_ids": [uuid("group", n % 4)],
        "labels": [{"id": 600 + n % 3, "name": label(n % 3)["name"]}],
        **times(n, created=known, updated=known),
    }


def threaded(n: int, *replies: Row) -> Row:
    """A comment on an epic with its replies; it does not say of which epic."""
    row = {"entity_type": "epic-comment", "id": n, "text": f"Comment {n}", "author_id": uuid("member", n % 8)}
    return {**row, "deleted": False, "comments": [*replies], **times(n % 1000)}


def flat(comment: Row, parent: int | None = None) -> Rows:
    """A comment and all replies below it."""
    row = {name: value for name, value in comment.items() if name != "comments"}
    below = [each for reply in comment["comments"] for each in flat(reply, comment["id"])]
    return [{**row, "parent_comment_id": parent}, *below]


def file(n: int) -> Row:
    row = {"entity_type": "file", "id": 700 + n, "name": f"file-{n}.png", "size": 10 * n, "story_ids": [5000 + n]}
    return {**row, **times(n, updated=n % 5 != 0)}


def group(n: int) -> Row:
    row = {"entity_type": "group", "id": uuid("group", n), "name": f"Group {n}", "mention_name": f"group-{n}"}
    return {**row, "member_ids": [uuid("member", n)], "archived": False, **times(n)}


def iteration(n: int) -> Row:
    row = {"entity_type": "iteration", "id": 800 + n, "name": f"Iteration {n}", "status": "started"}
    return {**row, "start_date": f"2026-03-{1 + n:02}", "end_date": f"2026-03-{15 + n:02}", **times(n)}


def label(n: int) -> Row:
    row = {"entity_type": "label", "id": 600 + n, "name": f"Label {n} & more, 100%", "archived": False}
    return {**row, **times(n, created=n % 3 != 1, updated=n % 3 != 1)}


def member(n: int) -> Row:
    return {
        "entity_type": "member",
        "id": uuid("member", n),
        "role": "member",
        "disabled": False,
        "profile": {"name": f"Member {n}", "mention_name": f"member{n}"},
        **times(n, created=n % 4 != 2, updated=n % 4 != 2),
    }


def own_member() -> Row:
    """The member whom the key belongs to: without any time."""
    return {"id": uuid("member", 0), "name": "Member 0", "mention_name": "member0", "workspace2": {"url_slug": "acme"}}


def workflow(n: int) -> Row:
    states = [{"id": 500 + 10 * n + k, "name": state, "position": k} for k, state in enumerate(STATES)]
    return {"entity_type": "workflow", "id": 500 + 100 * n, "name": f"Workflow {n}", "states": states, **times(n)}


def project(n: int) -> Row:
    row = {"entity_type": "project", "id": 900 + n, "name": f"Project {n}", "abbreviation": f"P{n}" if n else None}
    return {**row, "start_time": moment(n), "team_id": 50 + n, "archived": n == 2, **times(n, updated=n != 1)}


def health(n: int, epic_id: int, *, id_: str | None) -> Row:
    """A report on an epic's health; the one without an id says that there is none."""
    if id_ is None:
        return {"entity_type": "health", "id": None, "status": "No Health"}
    row = {"entity_type": "health", "id": id_, "epic_id": epic_id, "status": ("On Track", "At Risk")[n % 2]}
    return {**row, "text": f"As of {n}", "author_id": uuid("member", n % 8), **times(n)}


def story(n: int, *, epic_id: int | None, group_id: str | None, iteration_id: int | None) -> Row:
    return {
        "entity_type": "story",
        "id": 5000 + n,
        "name": f"Story {n}",
        "description": f"What story {n} is about",
        "archived": n % 11 == 5,
        "project_id": 900 + n % 3 if n % 2 else None,
        "story_type": ("feature", "bug", "chore")[n % 3],
        "estimate": n % 5 or None,
        "epic_id": epic_id,
        "group_id": group_id,
        "iteration_id": iteration_id,
        "completed_at": moment(3000 + n) if n % 2 else None,
        **times(n, updated=n % 7 != 4),
    }


def story_comment(story_id: int, k: int) -> Row:
    row = {"entity_type": "story-comment", "id": 10 * story_id + k, "story_id": story_id, "text": f"On it, {k}"}
    return {**row, "parent_id": None, "author_id": uuid("member", k), **times(k, updated=k % 2 == 0)}


def change(story_id: int, k: int) -> Row:
    """An entry of a story's history; its time has milliseconds or not, and it does not say ``story_id``."""
    changed = moment(2000 + k)
    return {
        "id": uuid("history", 10 * story_id + k),
        "changed_at": changed.replace("Z", ".250Z") if k % 2 else changed,
        "primary_id": story_id,
        "member_id": uuid("member", k),
        "version": "v1",
        "actions": [{"id": story_id, "entity_type": "story", "action": "update" if k else "create"}],
        "references": [],
    }
