"""Shortcut: the profile of the project planning API for Shortcut's version 3.

Lists are bare arrays in one page, with two exceptions. The stories of a group page by offset: a response silently stops
at 1,000 stories. The search pages by cursor: its ``next`` is a path with a token in the query. Times are ISO 8601 in
UTC, and ``updated_at`` may be null.

``stories`` is a search by ``POST``, which gives all matches at once, archived stories among them: its specification
states no limit and no pages, and the vendor's own export reads a workspace's stories by three such searches. It is read
by windows of ``created_at``, which never changes, once a day, and else for the stories that were updated since.
Facts are from the vendor's specification.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.model import ChangeProbe, Endpoint, RetryPolicy
from analytics_ingest.apis.paginators import SINGLE_PAGE, cursor, offset, time_windows
from analytics_ingest.apis.parents import Constants, FromChanged
from analytics_ingest.apis.project_planning import COURSE, PROJECT_PLANNING
from analytics_ingest.apis.vendors.overlay import overlay
from analytics_ingest.apis.vendors.shortcut_columns import BY_ENDPOINT, COMMON_COLUMNS, SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

UPDATED = ("updated_at",)
CREATED_AND_UPDATED = ("created_at", "updated_at")
CHANGED_STORIES = FromChanged("stories", story_id="id")
"""Each comment and each change of a story changes its row: ``comment_ids``, ``updated_at``."""
REPLY_TO = "parent_comment_id"


def with_replies(comment: Any, *, reply_to: Any = None) -> Iterator[Any]:
    """A comment and its replies, which are nested in ``comments``, as rows with the id of the comment they reply to.

    ::

        {"id": 1, "text": "a", "comments": [{"id": 2, "text": "b", "comments": []}]}
        {"id": 1, "text": "a", "parent_comment_id": null}
        {"id": 2, "text": "b", "parent_comment_id": 1}
    """
    if not isinstance(comment, dict):
        yield comment
        return
    yield {**{name: value for name, value in comment.items() if name != "comments"}, REPLY_TO: reply_to}
    for reply in comment.get("comments") or ():
        yield from with_replies(reply, reply_to=comment.get("id"))


def without_own_milestone(epic: Any) -> Iterator[Any]:
    """An epic without its ``milestone_id``: it is one of several objectives, and not always the requested one."""
    yield {name: value for name, value in epic.items() if name != "milestone_id"} if isinstance(epic, dict) else epic


def with_id(health: Any) -> Iterator[Any]:
    """A report on an epic's health, or nothing in place of one without an id: the epic has none then."""
    if not (isinstance(health, dict) and health.get("id") is None):
        yield health


def whole_seconds(time: datetime) -> str:
    """A time as the search takes it, such as ``2026-03-01T12:30:00Z``."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


STORIES = Endpoint(
    "stories",
    "/stories/search",
    "$",
    time_windows(
        window=("created_at_start", "created_at_end"),
        changed=("updated_at_start", "updated_at_end"),
        days=90,
        # the vendor's first year; imported stories may be older
        earliest="2014-01-01",
    ),
    json={"includes_description": True},
    cursor_path=UPDATED,
    start_param="updated_at_start",
    convert=whole_seconds,
    whole_every=timedelta(days=1),
    timestamps=(*CREATED_AND_UPDATED, *COURSE),
    description="Every story of the workspace with its description, archived stories among them.",
)
PROJECTS = Endpoint(
    "projects",
    "/projects",
    "$",
    SINGLE_PAGE,
    cursor_path=UPDATED,
    timestamps=(*CREATED_AND_UPDATED, "start_time"),
    description="Projects: the older way to divide stories, by product, component or team.",
)
EPICS_HEALTH = Endpoint(
    "epics_health",
    "/epics/{epic_id}/health-history",
    "$",
    SINGLE_PAGE,
    parents=FromChanged("epics", epic_id="id"),
    yield_map=with_id,
    description="Reports on the health of each epic: on track, at risk or off track, with the author's words.",
)

SHORTCUT = overlay(
    replace(PROJECT_PLANNING, columns=SHARED),
    columns=BY_ENDPOINT,
    common_columns=COMMON_COLUMNS,
    added=(STORIES, PROJECTS, EPICS_HEALTH),
    profile="shortcut",
    title="Shortcut",
    base_url="https://api.app.shortcut.com/api/v3",
    docs_url="https://developer.shortcut.com/api/rest/v3",
    auth={"type": "api_key", "name": "Shortcut-Token", "location": "header"},
    # the limit is 200; the margin is for requests that the vendor counts in the next minute
    requests_per_minute=190,
    # a 429 does not state when the minute ends
    retry=RetryPolicy(max_retries=3, backoff_factor=2, limit_retries=6),
    prefix="/v1",
    probes=(
        ChangeProbe(
            endpoint="stories",
            recent_days=1,
            concerns=(
                *("stories", "stories_comments", "story_history"),
                *("epics_stories", "groups_stories", "iterations_stories"),
            ),
            blind="stories that are deleted",
        ),
        ChangeProbe(
            endpoint="epics",
            concerns=("epics", "epics_comments", "epics_health", "search_epics"),
            blind="comments on an epic and reports on its health that leave its row unchanged",
        ),
        ChangeProbe(
            endpoint="iterations",
            concerns=("iterations", "iterations_stories"),
            blind="all beside stories, epics and iterations",
        ),
    ),
    every={"data_selector": "$", "paginator": SINGLE_PAGE},
    endpoints={
        "epics": {"params": {"includes_description": "true"}},
        "epics_comments": {"yield_map": with_replies},
        "groups_stories": {"paginator": offset(limit=1000)},
        "milestones_epics": {"yield_map": without_own_milestone},
        "stories_comments": {"parents": CHANGED_STORIES},
        "story_history": {"timestamps": ("changed_at",), "parents": CHANGED_STORIES},
        "member": {"timestamps": ()},
        "search_epics": {
            "path": "/search/epics?query={query}",
            "data_selector": "data",
            "paginator": cursor(
                cursor_param="next", cursor_path="next", cursor_is_link=True, limit=250, limit_param="page_size"
            ),
            "params": {"detail": "full"},
            "parents": Constants(name="query", setting="search_query"),
        },
    },
)
