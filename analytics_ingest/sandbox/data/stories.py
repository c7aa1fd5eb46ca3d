"""The stories of the planning tool, with their comments and their history."""

from __future__ import annotations

from typing import Any

from analytics_ingest.sandbox.draw import Draw, Row, Rows, ids, scaled

_PARENTS = (
    ("epics_stories", "epics", "epic_id"),
    ("groups_stories", "groups", "group_id"),
    ("iterations_stories", "iterations", "iteration_id"),
)
#: How often a story is in an epic, in a group and in an iteration.
_SHARES = (0.7, 0.6, 0.6)
#: The first stories are in one place each: only an iteration, only a group, only an epic.
_ALONE = ("iterations_stories", "groups_stories", "epics_stories")


def comment(draw: Draw, members: Rows, times: Row, story: int | None = None) -> Row:
    """Give a comment by a member; one on a story names the story."""
    row = {
        "id": draw.serial(),
        "author_id": draw.pick(members)["id"],
        "text": draw.remark(),
        "deleted": False,
        "parent_id": None,
        "mention_ids": ids(draw.some(members, 0, 1)),
        "reactions": draw.maybe([{"emoji": ":+1:", "permission_ids": []}], 0.2) or [],
        **times,
    }
    return row if story is None else {**row, "story_id": story}


def _entry(draw: Draw, members: Rows, moment: str, story: Row) -> Row:
    return {
        "id": draw.uuid(),
        "version": "v1",
        "changed_at": moment,
        "member_id": draw.pick(members)["id"],
        "actions": [
            {
                "id": story["id"],
                "entity_type": "story",
                "action": "update",
                "name": story["name"],
                "changes": {"estimate": {"new": draw.whole(0, 8), "old": draw.maybe(draw.whole(0, 8), 0.5)}},
            }
        ],
        "references": [],
    }


def _story(draw: Draw, store: dict[str, Any], times: Row) -> Row:
    """Give a story that is in no epic, group or iteration yet."""
    members = store["members"]
    state = draw.pick(draw.pick(store["workflows"])["states"])
    done = state["type"] == "done"
    return {
        "id": draw.serial(),
        "entity_type": "story",
        "name": draw.title(),
        "story_type": draw.pick(("feature", "feature", "bug", "chore")),
        "description": draw.maybe(draw.remark(), 0.8) or "",
        "epic_id": None,
        "group_id": None,
        "iteration_id": None,
        "workflow_state_id": state["id"],
        "estimate": draw.maybe(draw.pick((0, 1, 2, 4, 8)), 0.6),
        "owner_ids": ids(draw.some(members, 0, 2)),
        "requested_by_id": draw.pick(members)["id"],
        "labels": [{"id": each["id"], "name": each["name"]} for each in draw.some(store["labels"], 0, 2)],
        "custom_fields": [],
        "archived": draw.chance(0.05),
        "started": state["type"] in {"started", "done"},
        "completed": done,
        "completed_at": times["updated_at"] if done else None,
        "cycle_time": draw.whole(3_600, 900_000) if done else None,
        "stats": {"num_related_documents": draw.whole(0, 3)},
        **times,
    }


def _place(store: dict[str, Any], draw: Draw, story: Row, where: set[str]) -> None:
    """Put a story into one parent of each of these kinds."""
    for children, parents, field in _PARENTS:
        if children in where:
            parent = draw.pick(store[parents])
            story[field] = parent["id"]
            store[children][str(parent["id"]),].append(story)


def _somewhere(draw: Draw) -> set[str]:
    """Give the kinds of parents of a story, at least one."""
    where = {children for (children, _, _), share in zip(_PARENTS, _SHARES, strict=True) if draw.chance(share)}
    return where or {"iterations_stories"}


def fill(store: dict[str, Any], draw: Draw, number: int) -> None:
    """Add stories to the epics, groups and iterations of a store, the first ones to one parent only."""
    members = store["members"]
    for place in range(number):
        times = draw.span()
        story = _story(draw, store, times)
        _place(store, draw, story, {_ALONE[place]} if place < len(_ALONE) else _somewhere(draw))
        key = (str(story["id"]),)
        store["stories_comments"][key] = [
            comment(draw, members, draw.span(120), story["id"]) for _ in range(draw.whole(0, 3))
        ]
        store["story_history"][key] = [
            _entry(draw, members, times["created_at"], story) for _ in range(draw.whole(1, 5))
        ]
    histories = list(store["story_history"].values())
    # One edit of several stories is one entry in the history of each.
    for history in histories[1:3]:
        history.append(dict(histories[0][0]))


def advance(store: dict[str, Any], draw: Draw, scale: float) -> None:
    """Change, add and talk about stories; comments and history come and go without their story changing."""
    members = store["members"]
    known: dict[int, Row] = {}
    for children, _, _ in _PARENTS:
        for rows in store[children].values():
            known.update((story["id"], story) for story in rows)
    for story in draw.some(list(known.values()), 1, scaled(20, scale)):
        draw.touch(story, estimate=(story["estimate"] or 0) + 1)
        store["story_history"][str(story["id"]),].append(_entry(draw, members, story["updated_at"], story))
    for _ in range(scaled(12, scale)):
        story = _story(draw, store, draw.fresh())
        _place(store, draw, story, _somewhere(draw))
        key = (str(story["id"]),)
        store["stories_comments"][key] = [comment(draw, members, draw.fresh(), story["id"])]
        store["story_history"][key] = [_entry(draw, members, story["created_at"], story)]
    talk = [comments for comments in store["stories_comments"].values() if comments]
    chosen = draw.some(talk, 3, scaled(20, scale, 3))
    for comments in chosen[1:]:
        draw.touch(comments[0], text=f"{draw.remark()} (edited, {draw.serial()})")
        comments.append(comment(draw, members, draw.fresh(), comments[0]["story_id"]))
    chosen[0].pop()
