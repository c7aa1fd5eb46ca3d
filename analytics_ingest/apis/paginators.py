"""How endpoints page: dlt's paginators by their names and arguments, and what dlt has no argument for."""

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
"""Where envelopes state how many rows there are in all; the first that holds a whole number counts."""


SUPPORTED = {
    "single_page": {"type"},
    "page_number": {"type", "base_page", "page_param", "total_path"},
    "offset": {"type", "limit", "offset_param", "limit_param", "total_path"},
    "cursor": {"type", "cursor_param", "cursor_path"},
}
"""dlt's paginators that ``http/paginator.py`` guards, with their arguments. Links in headers are not among them."""


@dataclass(frozen=True, kw_only=True)
class Paginator:
    """One of dlt's paginators with its arguments, and the page size that goes with it.

    Attributes:
        config: dlt's paginator configuration, its ``type`` included.
        limit: Rows asked for per page, sent as ``limit_param``; ``None`` if the API has no such parameter.
        limit_param: The query parameter that carries ``limit``.
        cursor_path_else: Where the next page is named if not at the ``cursor_path``: a paginator with this one
            reads either, and fails if no page has either.
        cursor_is_link: Whether what stands at the ``cursor_path`` is a link: then its query parameter
            ``cursor_param`` is the cursor. A link itself is never followed, as the key would go where it leads.
        next_path: Where the envelope says whether a page follows: null means none, another value one,
            absent nothing. Names of fields, joined by dots.
        total_path: Where the envelope states how many rows there are, if not at one of ``TOTAL_PATHS``; fields too.
    """

    config: Mapping[str, Any]
    limit: int | None = None
    limit_param: str = "limit"
    cursor_path_else: str | None = None
    cursor_is_link: bool = False
    next_path: str | None = None
    total_path: str | None = None

    def __post_init__(self) -> None:
        """Rejects a configuration that is not supported.

        Raises:
            ValueError: A kind of paginator, an argument of it, or a field that it has no use for.
        """
        kind = self.config.get("type")
        if kind not in SUPPORTED:
            raise ValueError(f"paginator {kind!r} is not supported: use one of {', '.join(SUPPORTED)}")
        if unknown := sorted(self.config.keys() - SUPPORTED[kind]):
            raise ValueError(f"paginator {kind!r} has no {', '.join(unknown)}")
        if kind != "cursor" and (self.cursor_path_else or self.cursor_is_link):
            raise ValueError(f"paginator {kind!r} has no cursor")


def page_number(
    *,
    limit: int | None,
    page_param: str = "page",
    limit_param: str = "limit",
    next_path: str | None = None,
    total_path: str | None = None,
) -> Paginator:
    """Pages numbered from 1, read until one is empty (dlt counts from 0 and insists on a total)."""
    config = {"type": "page_number", "base_page": 1, "page_param": page_param, "total_path": None}
    return Paginator(config=config, limit=limit, limit_param=limit_param, next_path=next_path, total_path=total_path)


def offset(
    *, limit: int, offset_param: str = "offset", limit_param: str = "limit", total_path: str | None = None
) -> Paginator:
    """Pages that begin at a row number, read until one is empty."""
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
    cursor_path_else: str | None = None,
    cursor_is_link: bool = False,
) -> Paginator:
    """Pages that name the next one in their body at ``cursor_path`` (JSONPath), read until none is named."""
    return Paginator(
        config={"type": "cursor", "cursor_param": cursor_param, "cursor_path": cursor_path},
        limit=limit,
        limit_param=limit_param,
        cursor_path_else=cursor_path_else,
        cursor_is_link=cursor_is_link,
    )


SINGLE_PAGE = Paginator(config={"type": "single_page"})
"""The whole collection in one answer."""
