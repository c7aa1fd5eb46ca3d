"""Shortcut: the profile of the project planning API for Shortcut's version 3.

Lists are bare arrays in one page, with two exceptions. The stories of a group page by offset: a response silently stops
at 1,000 stories. The search pages by cursor: its ``next`` is a path with a token in the query. Times are ISO 8601 in
UTC, and ``updated_at`` may be null.
Facts are from the vendor's specification.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.model import RetryPolicy
from analytics_ingest.apis.paginators import SINGLE_PAGE, cursor, offset
from analytics_ingest.apis.parents import Constants
from analytics_ingest.apis.project_planning import PROJECT_PLANNING
from analytics_ingest.apis.vendors.overlay import overlay
from analytics_ingest.apis.vendors.shortcut_columns import BY_ENDPOINT, SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator

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


SHORTCUT = overlay(
    replace(PROJECT_PLANNING, columns=SHARED),
    columns=BY_ENDPOINT,
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
    every={"data_selector": "$", "paginator": SINGLE_PAGE},
    endpoints={
        "epics": {"params": {"includes_description": "true"}},
        "epics_comments": {"yield_map": with_replies},
        "groups_stories": {"paginator": offset(limit=1000)},
        "milestones_epics": {"yield_map": without_own_milestone},
        "story_history": {"timestamps": ("changed_at",)},
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
