"""Reading the paging parameters of a request, and putting a page into its API's envelope."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics_ingest.sandbox.options import Options
    from analytics_ingest.sandbox.routes import Route

CURSOR_PAGE_SIZE = 20


class BadPagingError(ValueError):
    """A paging parameter that the API refuses; the text says which."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Which rows a request asks for: `size` rows from row `start` (from 0); all of them if `size` is `None`.

    `page` is the page's number for endpoints that count pages, else 1.
    """

    start: int = 0
    size: int | None = None
    page: int = 1


@dataclass(frozen=True, kw_only=True)
class _Dialect:
    """How one API names its paging parameters, and the page sizes that it takes."""

    place: str
    size: str
    default: int
    most: int


_DIALECTS = {
    "experimentation": _Dialect(place="page", size="limit", default=10, most=1000),
    "incident_response": _Dialect(place="page[number]", size="page[size]", default=10, most=200),
    "project_planning": _Dialect(place="next", size="limit", default=1, most=250),
    "continuous_integration": _Dialect(place="page-token", size="", default=CURSOR_PAGE_SIZE, most=CURSOR_PAGE_SIZE),
    "feature_management": _Dialect(place="offset", size="limit", default=20, most=200),
}


def _number(query: Mapping[str, str], name: str, *, default: int, least: int, most: int | None = None) -> int:
    text = query.get(name)
    if text is None:
        return default
    number = int(text) if len(text) < 10 and text.isascii() and text.isdigit() else -1
    if number < least or (most is not None and number > most):
        raise BadPagingError(f"bad value for {name}: {text}")
    return number


def cursor(path: str, start: int) -> str:
    """Give the opaque token of the page that starts at row `start` of the list at `path`."""
    return base64.urlsafe_b64encode(f"{start}|{path}".encode()).decode()


def _cursor_start(token: str, path: str) -> int:
    try:
        start, bound_to = base64.urlsafe_b64decode(token.encode()).decode().split("|", 1)
        if bound_to == path and start.isdigit():
            return int(start)
    except (ValueError, binascii.Error):
        pass
    raise BadPagingError("unknown cursor")


def window(route: Route, query: Mapping[str, str], path: str, options: Options) -> Window:
    """Read which rows a request asks for; raises `BadPagingError` for values that the API refuses."""
    if route.paging == "single_page":
        return Window()
    dialect = _DIALECTS[route.api]
    size = _number(query, dialect.size, default=dialect.default, least=1, most=dialect.most)
    if options.page_cap is not None:
        size = min(size, options.page_cap)
    if route.paging == "cursor":
        token = query.get(dialect.place)
        if route.rows == "$":
            if token is not None:
                raise BadPagingError("unknown cursor")
            return Window()
        return Window(start=0 if token is None else _cursor_start(token, path), size=size)
    if route.paging == "offset":
        return Window(start=_number(query, dialect.place, default=0, least=0), size=size)
    page = _number(query, dialect.place, default=1, least=1)
    return Window(start=(page - 1) * size, size=size, page=page)


def envelope(route: Route, rows: list[Any], *, asked: Window, total: int, path: str, options: Options) -> Any:
    """Wrap the rows of one page as the route's API does; `total` is the number of rows of the whole list."""
    if route.rows == "$":
        return rows
    size = asked.size or max(total, 1)
    following = asked.start + size if asked.start + size < total else None
    body: dict[str, Any] = {route.rows: rows}
    if route.api == "experimentation":
        body = {"message": f"{route.name} listed successfully.", **body}
    if route.paging == "cursor":
        return body | _cursor_fields(route, following, total=total, path=path, options=options)
    if route.paging == "offset":
        return body | {"offset": asked.start, "limit": size} | _totals(options, totalCount=_stated(total, options))
    if route.paging == "page_number":
        return body | _page_fields(route, asked, following, total=total, size=size, options=options)
    return body


def _cursor_fields(route: Route, following: int | None, *, total: int, path: str, options: Options) -> dict[str, Any]:
    token = None if following is None else cursor(path, following)
    if options.repeat_cursor:
        token = cursor(path, 0)
    if route.api == "continuous_integration":
        return {"next_page_token": token}
    return _totals(options, total=_stated(total, options)) | {"response": {"next": token}}


def _page_fields(
    route: Route, asked: Window, following: int | None, *, total: int, size: int, options: Options
) -> dict[str, Any]:
    stated = _stated(total, options)
    if route.api == "experimentation":
        counted = _totals(options, totalItems=stated)
        return {"pagination": {"itemsPerPage": size, "pageNumber": asked.page, **counted}}
    pages = None if stated is None else -(-stated // size)
    counted = _totals(options, total_count=stated, total_pages=pages)
    following_page = None if following is None else asked.page + 1
    return {"meta": {"current_page": asked.page, "next_page": following_page, **counted}}


def _stated(total: int, options: Options) -> int | None:
    """Give the number of rows that the envelope states."""
    return {"right": total, "low": total // 2, "high": total + 10}.get(options.totals)


def _totals(options: Options, **stated: int | None) -> dict[str, int | None]:
    """Give the fields that state a number of rows, none of them if the options leave totals out."""
    return {} if options.totals == "absent" else stated
