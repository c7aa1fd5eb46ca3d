"""Declares how endpoints page: dlt's paginators by name and arguments, and arguments that dlt lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

TOTAL_PATHS = (
    "total",
    "totalCount",
    "total_count",
    "meta.total_count",
    "pagination.totalItems",
)
"""Fields, joined by dots, in which envelopes state the total number of rows; the first that holds an integer wins."""
SUPPORTED = {
    "single_page": {"type"},
    "page_number": {"type", "base_page", "page_param", "total_path"},
    "offset": {"type", "limit", "offset_param", "limit_param", "total_path"},
    "cursor": {"type", "cursor_param", "cursor_path"},
    "time_windows": {"type", "window", "changed", "days", "earliest"},
}
"""The supported paginators, with their arguments; all but ``time_windows`` are dlt's."""


@dataclass(frozen=True, kw_only=True)
class Paginator:
    """A paginator of dlt with its arguments, and the page size.

    Attributes:
        config: dlt's paginator configuration, or that of ``time_windows``; including ``type``.
        limit: Rows to request per page, sent as ``limit_param``; ``None`` if the API has no such parameter.
        limit_param: The query parameter that carries ``limit``.
        fallback_cursor_path: JSONPath to the cursor in bodies without ``cursor_path``. With it, a list of which no
            page has either path is an error.
        cursor_is_link: Whether the value at ``cursor_path`` is a link whose query parameter ``cursor_param`` is the
            cursor. The link itself is never followed: the key would be sent to its host.
        has_more_path: The fields, joined by dots, at which the envelope states whether another page follows: null or
            false for no, any other value for yes. If they are absent, the envelope states nothing.
        total_path: The fields, joined by dots, at which the envelope states the total number of rows; by default those
            of ``TOTAL_PATHS``.
    """

    config: Mapping[str, Any]
    limit: int | None = None
    limit_param: str = "limit"
    fallback_cursor_path: str | None = None
    cursor_is_link: bool = False
    has_more_path: str | None = None
    total_path: str | None = None

    def __post_init__(self) -> None:
        """Rejects a configuration that is not supported.

        Raises:
            ValueError: The type or one of its arguments is not supported, or a field has no effect with the type.
        """
        kind = self.config.get("type")
        if kind not in SUPPORTED:
            raise ValueError(f"paginator {kind!r} is not supported: use one of {', '.join(SUPPORTED)}")
        if unknown := sorted(self.config.keys() - SUPPORTED[kind]):
            raise ValueError(f"paginator {kind!r} has no {', '.join(unknown)}")
        if kind != "cursor" and (self.fallback_cursor_path or self.cursor_is_link):
            raise ValueError(f"paginator {kind!r} has no cursor")


def page_number(
    *,
    limit: int | None,
    page_param: str = "page",
    limit_param: str = "limit",
    has_more_path: str | None = None,
    total_path: str | None = None,
) -> Paginator:
    """Pages numbered from 1, read until one is empty or the total is reached.

    By default ``?limit=100&page=1`` is followed by ``?limit=100&page=2``. dlt's own defaults start at page 0 and
    require a total.
    """
    config = {"type": "page_number", "base_page": 1, "page_param": page_param, "total_path": None}
    return Paginator(
        config=config, limit=limit, limit_param=limit_param, has_more_path=has_more_path, total_path=total_path
    )


def offset(
    *, limit: int, offset_param: str = "offset", limit_param: str = "limit", total_path: str | None = None
) -> Paginator:
    """Pages that start at a row number, read until one is empty or the total is reached.

    By default ``?limit=50&offset=0`` is followed by ``?limit=50&offset=50`` after a page of 50 rows.
    """
    config = {
        "type": "offset",
        "limit": limit,
        "offset_param": offset_param,
        "limit_param": limit_param,
        "total_path": None,
    }
    return Paginator(config=config, limit=limit, limit_param=limit_param, total_path=total_path)


def cursor(
    *,
    cursor_param: str,
    cursor_path: str,
    limit: int | None = None,
    limit_param: str = "limit",
    fallback_cursor_path: str | None = None,
    cursor_is_link: bool = False,
) -> Paginator:
    """Pages whose body contains the cursor of the next page at ``cursor_path`` (JSONPath), read until one has none.

    With ``cursor_param="after"`` and ``cursor_path="nextMarker"``, the body ``{"data": [...], "nextMarker": "b2"}`` is
    followed by the request ``?after=b2``.
    """
    return Paginator(
        config={"type": "cursor", "cursor_param": cursor_param, "cursor_path": cursor_path},
        limit=limit,
        limit_param=limit_param,
        fallback_cursor_path=fallback_cursor_path,
        cursor_is_link=cursor_is_link,
    )


def time_windows(*, window: tuple[str, str], changed: tuple[str, str], days: int, earliest: str) -> Paginator:
    """Pages that are windows of time in the JSON body, for an API that gives all matches of a search at once.

    A whole list is read by windows of ``days``, the newest first: with ``window=("created_from", "created_to")``, the
    body ``{"created_from": "2026-09-05T00:00:00Z"}`` is followed by
    ``{"created_from": "2026-06-07T00:00:00Z", "created_to": "2026-09-04T23:59:59.999Z"}``. The last window has no
    start. A list that the API filters by time is read in one window. Any window whose response is too large is halved.

    Args:
        window: The fields with a window's first and last moment, both included, by a time that a row never changes.
        changed: The same for the time of a row's last change; the first is the endpoint's ``start_param``.
        days: The length of a window of the whole list.
        earliest: The day, ISO 8601, before which hardly any row exists: the last window has it and all earlier ones.
    """
    config = {"type": "time_windows", "window": window, "changed": changed, "days": days, "earliest": earliest}
    return Paginator(config=config)


SINGLE_PAGE = Paginator(config={"type": "single_page"})
"""The whole list in one response."""
