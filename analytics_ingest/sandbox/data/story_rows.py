"""Stories of project_planning, with their comments and their history."""

from __future__ import annotations

from typing import Any

from analytics_ingest.sandbox.random_values import RandomValues, Row, Rows, ids, scaled

PARENTS = (
    ("epics_stories", "epics", "epic_id"),
    ("groups_stories", "groups", "group_id"),
    ("iterations_stories", "iterations", "iteration_id"),
)
SHARES = (0.7, 0.6, 0.6)
"""Share of the stories that have an epic, a group and an iteration."""
SINGLE_PARENTS = ("iterations_stories", "groups_stories", "epics_stories")
"""The only kind of parent of each of the first stories."""


def comment(rng: RandomValues, members: Rows, times: Row, story: int | None = None) -> Row:
    """A comment by a member; a comment on a story has the story's id."""
    row = {
        "id": rng.serial(),
        "author_id": rng.choice(members)["id"],
        "text": rng.remark(),
        "deleted": False,
        "parent_id": None,
        "mention_ids": ids(rng.sample(members, 0, 1)),
        "reactions": rng.maybe([{"emoji": ":+1:", "permission_ids": []}], 0.2) or [],
        **times,
    }
    return row if story is None else {**row, "story_id": story}


def _entry(rng: RandomValues, members: Rows, moment: str, story: Row) -> Row:
    return {
        "id": rng.uuid(),
        "version": "v1",
        "changed_at": moment,
        "member_id": rng.choice(members)["id"],
        "actions": [
            {
                "id": story["id"],
                "entity_type": "story",
                "action": "update",
                "name": story["name"],
                "changes": {"estimate": {"new": rng.integer(0, 8), "old": rng.maybe(rng.integer(0, 8), 0.5)}},
            }
        ],
        "references": [],
    }


def _story(rng: RandomValues, store: dict[str, Any], times: Row) -> Row:
    """A story without an epic, a group and an iteration."""
    members = store["members"]
    state = rng.choice(rng.choice(store["workflows"])["states"])
    done = state["type"] == "done"
    return {
        "id": rng.serial(),
        "entity_type": "story",
        "name": rng.title(),
        "story_type": rng.choice(("feature", "feature", "bug", "chore")),
        "description": rng.maybe(rng.remark(), 0.8) or "",
        "epic_id": None,
        "group_id": None,
        "iteration_id": None,
        "workflow_state_id": state["id"],
        "estimate": rng.maybe(rng.choice((0, 1, 2, 4, 8)), 0.6),
        "owner_ids": ids(rng.sample(members, 0, 2)),
        "requested_by_id": rng.choice(members)["id"],
        "labels": [{"id": each["id"], "name": each["name"]} for each in rng.sample(store["labels"], 0, 2)],
        "custom_fields": [],
        "archived": rng.chance(0.05),
        "started": state["type"] in {"started", "done"},
        "completed": done,
        "completed_at": times["updated_at"] if done else None,
        "cycle_time": rng.integer(3_600, 900_000) if done else None,
        "stats": {"num_related_documents": rng.integer(0, 3)},
        **times,
    }


def _assign(store: dict[str, Any], rng: RandomValues, story: Row, kinds: set[str]) -> None:
    """Adds a story to one parent of each of these kinds."""
    for children, parents, field in PARENTS:
        if children in kinds:
            parent = rng.choice(store[parents])
            story[field] = parent["id"]
            store[children][str(parent["id"]),].append(story)


def _parent_kinds(rng: RandomValues) -> set[str]:
    """The kinds of parents of a story, at least one."""
    kinds = {children for (children, _, _), share in zip(PARENTS, SHARES, strict=True) if rng.chance(share)}
    return kinds or {"iterations_stories"}


def fill(store: dict[str, Any], rng: RandomValues, number: int) -> None:
    """Adds stories to the epics, groups and iterations of a store, the first ones to one parent only."""
    members = store["members"]
    for index in range(number):
        times = rng.span()
        story = _story(rng, store, times)
        _assign(store, rng, story, {SINGLE_PARENTS[index]} if index < len(SINGLE_PARENTS) else _parent_kinds(rng))
        key = (str(story["id"]),)
        store["stories_comments"][key] = [
            comment(rng, members, rng.span(120), story["id"]) for _ in range(rng.integer(0, 3))
        ]
        store["story_history"][key] = [
            _entry(rng, members, times["created_at"], story) for _ in range(rng.integer(1, 5))
        ]
    histories = list(store["story_history"].values())
    # an edit of several stories is one entry in the history of each
    for history in histories[1:3]:
        history.append(dict(histories[0][0]))


def advance(store: dict[str, Any], rng: RandomValues, scale: float) -> None:
    """Changes and adds stories; comments and history are added and removed without a change of their story."""
    members = store["members"]
    known: dict[int, Row] = {}
    for children, _, _ in PARENTS:
        for rows in store[children].values():
            known.update((story["id"], story) for story in rows)
    for story in rng.sample(list(known.values()), 1, scaled(20, scale)):
        rng.touch(story, estimate=(story["estimate"] or 0) + 1)
        store["story_history"][str(story["id"]),].append(_entry(rng, members, story["updated_at"], story))
    for _ in range(scaled(12, scale)):
        story = _story(rng, store, rng.fresh())
        _assign(store, rng, story, _parent_kinds(rng))
        key = (str(story["id"]),)
        store["stories_comments"][key] = [comment(rng, members, rng.fresh(), story["id"])]
        store["story_history"][key] = [_entry(rng, members, story["created_at"], story)]
    lists = [comments for comments in store["stories_comments"].values() if comments]
    chosen = rng.sample(lists, 3, scaled(20, scale, 3))
    for comments in chosen[1:]:
        rng.touch(comments[0], text=f"{rng.remark()} (edited, {rng.serial()})")
        comments.append(comment(rng, members, rng.fresh(), comments[0]["story_id"]))
    chosen[0].pop()
