"""Shortcut's API as a local server: bare arrays, groups' stories by offset, a search whose ``next`` is a path.

The search of stories takes its filters in the body of a ``POST``, and gives all matches at once.
"""

from __future__ import annotations

import copy
import zlib
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import quote

from analytics_ingest_tests.fake_server import Asked, Response
from analytics_ingest_tests.vendors import shortcut_rows as rows_of
from analytics_ingest_tests.vendors.server import Route, Rows, Vendor, cut, each_parent, numbered

QUERIES = ("is:unstarted", "is:started", "is:done")
LARGEST_SEARCH = 250
REACHABLE = 1000
"""Matches of a search that can be read, and stories that a page of a group has at most."""
EPICS, STORIES = 24, 80
STORY_FILTERS: dict[str, type] = {
    **dict.fromkeys(
        (
            *("created_at_start", "created_at_end", "updated_at_start", "updated_at_end"),
            *("completed_at_start", "completed_at_end", "deadline_start", "deadline_end"),
        ),
        datetime,
    ),
    **dict.fromkeys(("archived", "includes_description"), bool),
    **dict.fromkeys(("owner_id", "story_type", "label_name", "requested_by_id", "group_id", "external_id"), str),
    **dict.fromkeys(("epic_id", "iteration_id", "workflow_state_id", "estimate", "project_id"), int),
}
"""Fields of a search of stories that hold one value, by type; it has no other fields but lists of these."""
SEARCH = Route("search_epics", r"/search/epics", frozenset({"page_size", "detail", "next"}), frozenset({"query"}))


class Shortcut(Vendor):
    """Epics under several objectives, objectives under several categories, stories in epics, groups and iterations."""

    profile = "shortcut"
    prefix = "/api/v3"
    ROUTES = (
        Route("categories", r"/categories"),
        Route("categories_milestones", r"/categories/(\d+)/milestones"),
        Route("categories_objectives", r"/categories/(\d+)/objectives"),
        Route("custom_fields", r"/custom-fields"),
        Route("epic_workflow", r"/epic-workflow"),
        Route("epics", r"/epics", frozenset({"includes_description"})),
        Route("epics_comments", r"/epics/(\d+)/comments"),
        Route("epics_stories", r"/epics/(\d+)/stories"),
        Route("files", r"/files"),
        Route("groups", r"/groups"),
        Route("groups_stories", r"/groups/([0-9a-f-]{36})/stories", frozenset({"limit", "offset"})),
        Route("iterations", r"/iterations"),
        Route("iterations_stories", r"/iterations/(\d+)/stories"),
        Route("labels", r"/labels"),
        Route("member", r"/member"),
        Route("members", r"/members", frozenset({"disabled"})),
        Route("milestones", r"/milestones"),
        Route("milestones_epics", r"/milestones/(\d+)/epics"),
        Route("objectives", r"/objectives"),
        Route("objectives_epics", r"/objectives/(\d+)/epics"),
        Route("projects", r"/projects"),
        Route("epics_health", r"/epics/(\d+)/health-history"),
        Route("workflows", r"/workflows"),
        Route("stories", r"/stories/search", method="POST"),
        Route("stories_comments", r"/stories/(\d+)/comments"),
        Route("story_history", r"/stories/(\d+)/history"),
        SEARCH,
    )
    UNPAGED = frozenset(route.endpoint for route in ROUTES) - {"groups_stories", "search_epics", "stories"}
    LIMITS: ClassVar[dict[str, int]] = {"groups_stories": 15, "search_epics": 3}
    OF: ClassVar[dict[str, tuple[str, str]]] = {
        "categories_milestones": ("categories", "category_id"),
        "categories_objectives": ("categories", "category_id"),
        "epics_comments": ("epics", "epic_id"),
        "epics_health": ("epics", "epic_id"),
        "epics_stories": ("epics", "epic_id"),
        "groups_stories": ("groups", "group_id"),
        "iterations_stories": ("iterations", "iteration_id"),
        "milestones_epics": ("objectives", "milestone_id"),
        "objectives_epics": ("objectives", "objective_id"),
        "stories_comments": ("stories", "story_id"),
        "story_history": ("stories", "story_id"),
        "search_epics": ("", "query"),
    }
    """By endpoint the rows that it is asked for, and the column that tells of which of them a row is."""

    link_base = ""
    """What the search's links to the next page begin with: nothing, as they are paths."""

    def fill(self) -> None:
        self.rows("categories").extend(numbered(3, rows_of.category))
        first, second, third = self.rows("categories")
        under: tuple[Rows, ...] = ([first], [first, second], [second], [first, second, third], [], [third])
        self.rows("objectives").extend(rows_of.objective(n, each) for n, each in enumerate(under))
        self.rows("custom_fields").extend(numbered(2, rows_of.custom_field))
        self.rows("epic_workflow").append(rows_of.epic_workflow())
        self.rows("files").extend(numbered(11, rows_of.file))
        self.rows("groups").extend(numbered(4, rows_of.group))
        self.rows("iterations").extend(numbered(6, rows_of.iteration))
        self.rows("labels").extend(numbered(5, rows_of.label))
        self.rows("member").append(rows_of.own_member())
        self.rows("members").extend(numbered(8, rows_of.member))
        self.rows("projects").extend(numbered(3, rows_of.project))
        self.rows("workflows").extend(numbered(2, rows_of.workflow))
        for n in range(EPICS):
            self.add_epic(n, rows_of.STATES[n % 3], ([], [200], [201, 202], [203, 200, 205])[n % 4])
        for n in range(STORIES):
            self.add_story(
                n,
                epic_id=1000 + n % EPICS if n % 4 != 3 else None,
                group_id=rows_of.uuid("group", n % 4) if n % 5 != 1 else None,
                iteration_id=800 + n // 3 % 6 if n % 3 == 0 else None,
            )

    def add_epic(self, n: int, state: str, objective_ids: list[int]) -> None:
        """An epic; of three, two have comments, with replies to any depth; of four, three have reports on health."""
        self.rows("epics").append(rows_of.epic(n, state=state, objective_ids=[*objective_ids]))
        ids = [rows_of.uuid("health", 10 * n + k) for k in range(n % 4)]
        reports = self.rows("epics_health", str(1000 + n))
        reports.extend(rows_of.health(n + k, 1000 + n, id_=id_) for k, id_ in enumerate(ids))
        if n % 8 == 0:
            reports.append(rows_of.health(n, 1000 + n, id_=None))
        if n % 3:
            first = 10_000 + 10 * n
            deepest = rows_of.threaded(first + 3)
            reply = rows_of.threaded(first + 1, rows_of.threaded(first + 2, deepest), rows_of.threaded(first + 4))
            both = [rows_of.threaded(first, reply), rows_of.threaded(first + 5)]
            self.rows("epics_comments", str(1000 + n)).extend(both)

    def add_story(
        self, n: int, *, epic_id: int | None = None, group_id: str | None = None, iteration_id: int | None = None
    ) -> None:
        """A story with its comments and its history."""
        row = rows_of.story(n, epic_id=epic_id, group_id=group_id, iteration_id=iteration_id)
        self.rows("stories").append(row)
        self.rows("stories_comments", str(row["id"])).extend(
            rows_of.story_comment(row["id"], k) for k in range((1, 0, 3)[n % 3])
        )
        self.rows("story_history", str(row["id"])).extend(rows_of.change(row["id"], k) for k in range(1 + n % 3))

    def advance(self) -> None:
        later = {"updated_at": rows_of.moment(9000)}
        self.rows("categories").append(rows_of.category(3) | later)
        objectives, epics, stories = self.rows("objectives"), self.rows("epics"), self.rows("stories")
        objectives[0].update(later, categories=[])
        objectives[4].update(later, categories=[{"id": 103, "name": "Category 3"}])
        objectives.append(rows_of.objective(6, self.rows("categories")[2:]))
        self.rows("custom_fields")[1].update(later, enabled=False)
        self.rows("epic_workflow")[0].update(later, default_epic_state_id=402)
        self.rows("files").append(rows_of.file(11) | later)
        self.rows("labels")[1].update(name="another name")
        self.rows("member")[0]["name"] = "Member Zero"
        self.rows("members")[2].update(disabled=True)
        self.rows("members").append(rows_of.member(8) | later)
        self.rows("workflows")[0]["states"].pop()
        del self.rows("files")[3], self.rows("iterations")[2]
        self.rows("iterations").append(rows_of.iteration(6) | later)
        self.rows("groups").append(rows_of.group(4) | later)
        for story in stories:
            if story["iteration_id"] == 802:
                story.update(later, iteration_id=None)
        # one epic goes, and its stories stay without it
        del epics[5]
        for story in stories:
            if story["epic_id"] == 1005:
                story.update(later, epic_id=None)
        epics[0].update(later, state="in progress")
        epics[1]["objective_ids"].append(206)
        epics[2].update(later)
        self.rows("epics_health", "1002")[0].update(later, status="Off Track")
        del self.rows("epics_health", "1002")[1]
        self.rows("projects").append(rows_of.project(3) | later)
        del self.rows("projects")[0]
        self.add_epic(25, "to do", [206, 201])
        replies = self.rows("epics_comments", "1001")[0]["comments"]
        replies[0]["comments"][0]["comments"][0].update(later, text="changed my mind")
        replies.append(rows_of.threaded(10_019))
        self.rows("epics_comments", "1002").pop(0)
        stories[9].update(later, name="another story")
        # it leaves the lists by epic and by group; one that is deleted shows in no search of changed stories
        stories[8].update(later, epic_id=None, group_id=None)
        stories[12].update(later, group_id=rows_of.uuid("group", 4), epic_id=1025, iteration_id=806)
        self.add_story(STORIES, group_id=rows_of.uuid("group", 4))
        self.add_story(STORIES + 1, epic_id=1025, iteration_id=806)
        self.add_story(STORIES + 2)
        for story in stories:
            if story["id"] in (5014, 5017, 5080, 5081, 5082):
                story.update(later)
        self.rows("stories_comments", "5014").append(rows_of.story_comment(5014, 7))
        self.rows("stories_comments", "5017").pop()
        self.rows("story_history", "5009").append(rows_of.change(5009, 5))

    def authorised(self, asked: Asked) -> bool:
        return asked.headers.get("Shortcut-Token") == self.KEY

    def error(self, status: int) -> Response:
        """An object with a message; a 429 has no header that tells more."""
        words = {400: "The request is not valid.", 401: "Unauthorized", 404: "Resource not found."}
        return Response(status=status, body={"message": words.get(status, "Too many requests.")})

    def answer(self, route: Route, parts: tuple[str, ...], asked: Asked) -> Response:
        name, query = route.endpoint, asked.query
        if parts and parts not in self.parents(name):
            return self.error(404)
        if name == "stories":
            return self.search_stories(asked)
        if name == "search_epics":
            return self.search(query)
        found = self.listed(name, parts)
        if name in ("epic_workflow", "member"):
            return Response(body=found[0])
        if name == "groups_stories":
            limit = min(int(query.get("limit", REACHABLE)), REACHABLE)
            found = cut(found, start=int(query.get("offset", 0)), limit=limit)
        if name == "epics" and query.get("includes_description") != "true":
            found = slim(found)
        return Response(body=found)

    def search_stories(self, asked: Asked) -> Response:
        """All stories that a search finds, archived ones too unless it says otherwise; it needs a filter."""
        body = asked.json
        fields = body if isinstance(body, dict) else {"no object": body}
        filters = {name: value for name, value in fields.items() if name != "includes_description"}
        if (
            asked.headers.get("Content-Type") != "application/json"
            or not filters
            or not all(is_story_filter(name, value) for name, value in fields.items())
        ):
            self.complaints.append(f"no such search of stories: {asked.body!r}")
            return self.error(400)
        found = [row for row in self.rows("stories") if is_found(row, filters)]
        return Response(status=201, body=found if fields.get("includes_description") else slim(found))

    def search(self, query: dict[str, str]) -> Response:
        """A page of a search; a token is good for the query, the page size and the detail that it came with."""
        text, size, detail = query["query"], int(query.get("page_size", 25)), query.get("detail", "full")
        mine = f"{zlib.crc32(f'{text} {size} {detail}'.encode()):08x}"
        token, _, start = query.get("next", f"{mine}~0").partition("~")
        if token != mine or not 1 <= size <= LARGEST_SEARCH or detail not in ("full", "slim"):
            self.complaints.append(f"no such search: {query}")
            return self.error(400)
        found = self.listed("search_epics", (text,))
        end = int(start) + size
        page = cut(found[:REACHABLE], start=int(start), limit=size)
        link = f"{self.link_base}/api/v3/search/epics?query={quote(text)}&page_size={size}&detail={detail}"
        following = f"{link}&next={mine}~{end}" if end < min(len(found), REACHABLE) else None
        return Response(body={"data": page if detail == "full" else slim(page), "next": following, "total": len(found)})

    def listed(self, name: str, parts: tuple[str, ...]) -> Rows:
        """All rows of a list, as a sync asks for them."""
        part = parts[0] if parts else ""
        if name == "milestones":
            return self.rows("objectives")
        if name in ("categories_milestones", "categories_objectives"):
            return [row for row in self.rows("objectives") if int(part) in {each["id"] for each in row["categories"]}]
        if name in ("milestones_epics", "objectives_epics"):
            return slim([row for row in self.rows("epics") if int(part) in row["objective_ids"]])
        if name in ("epics_stories", "groups_stories", "iterations_stories"):
            return slim([row for row in self.rows("stories") if str(row[self.OF[name][1]]) == part])
        if name == "search_epics":
            return [row for row in self.rows("epics") if matches(row, part)]
        return self.rows(name, *parts)

    def parents(self, name: str) -> list[tuple[str, ...]]:
        """What a list is asked for."""
        if name not in self.OF:
            return [()]
        if name == "search_epics":
            return [(query,) for query in QUERIES]
        return [(each,) for each in each_parent(self.rows(self.OF[name][0]))]

    def expected(self, endpoint: str) -> Rows:
        """The rows that the table holds: each list's with what it was asked for, an epic's ``milestone_id`` too."""
        found: Rows = []
        for parts in self.parents(endpoint):
            values = [int(part) if part.isdecimal() else part for part in parts]
            given = {self.OF[endpoint][1]: values[0]} if values else {}
            rows = copy.deepcopy(self.listed(endpoint, parts))
            found += [each | given for row in rows for each in self.sent(endpoint, row)]
        return found

    def sent(self, endpoint: str, row: dict[str, Any]) -> Rows:
        """A comment on an epic is as many rows as there are replies below it, and one; no health is no row."""
        if endpoint == "epics_health" and row["id"] is None:
            return []
        return rows_of.flat(row) if endpoint == "epics_comments" else [row]


def slim(rows: Rows) -> Rows:
    """Epics or stories without their descriptions."""
    return [{name: value for name, value in row.items() if name != "description"} for row in rows]


def is_story_filter(name: str, value: Any) -> bool:
    """Whether the specification has a field of a search of stories, and permits the value."""
    kind = STORY_FILTERS.get(name)
    if kind is not datetime:
        return kind is not None and type(value) is kind
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def is_found(story: dict[str, Any], filters: dict[str, Any]) -> bool:
    """Whether a search finds a story: both ends of a time are included, and a story without the time is not found."""
    for name, value in filters.items():
        field, _, end = name.rpartition("_")
        if STORY_FILTERS[name] is not datetime:
            if story[name] != value:
                return False
        elif story[field] is None:
            return False
        else:
            time, limit = datetime.fromisoformat(story[field]), datetime.fromisoformat(value)
            if time < limit if end == "start" else time > limit:
                return False
    return True


def matches(epic: dict[str, Any], query: str) -> bool:
    """Whether a search finds an epic: ``is:`` tells its state, ``label:"..."`` one of its labels."""
    operator, _, value = query.partition(":")
    if operator == "label":
        return value.strip('"') in {each["name"] for each in epic["labels"]}
    return bool(epic["state"] == rows_of.STATES[QUERIES.index(query)])
