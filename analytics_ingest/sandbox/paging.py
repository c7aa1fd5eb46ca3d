"""The paging parameters of a request, and the envelope of a page."""

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
    """A paging parameter that the API refuses; the text names it."""


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """The rows that a request is for.

    Attributes:
        start: Number of the first row, from 0.
        size: Number of rows; ``None`` for all.
        page: Number of the page, for endpoints that count pages; else 1.
    """

    start: int = 0
    size: int | None = None
    page: int = 1


@dataclass(frozen=True, kw_only=True)
class PagingParameters:
    """How one API names its paging parameters, and the page sizes that it accepts.

    Attributes:
        position: Name of the parameter for the page's number, offset or cursor.
        size: Name of the parameter for the page size.
        default: The page size without that parameter.
        most: The largest page size.
    """

    position: str
    size: str
    default: int
    most: int


PARAMETERS = {
    "experimentation": PagingParameters(position="page", size="limit", default=10, most=1000),
    "incident_response": PagingParameters(position="page[number]", size="page[size]", default=10, most=200),
    "project_planning": PagingParameters(position="next", size="limit", default=1, most=250),
    "continuous_integration": PagingParameters(
        position="page-token", size="", default=CURSOR_PAGE_SIZE, most=CURSOR_PAGE_SIZE
    ),
    "feature_management": PagingParameters(position="offset", size="limit", default=20, most=200),
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
    """The opaque token of the page that starts at row ``start`` of the list at ``path``."""
    return base64.urlsafe_b64encode(f"{start}|{path}".encode()).decode()


def _cursor_start(token: str, path: str) -> int:
    try:
        start, bound_to = base64.urlsafe_b64decode(token.encode()).decode().split("|", 1)
        if bound_to == path and start.isdigit():
            return int(start)
    except (ValueError, binascii.Error):
        pass
    raise BadPagingError("unknown cursor")


def parse_page_request(route: Route, query: Mapping[str, str], path: str, options: Options) -> PageRequest:
    """The rows that the query of a request is for.

    Raises:
        BadPagingError: The API refuses a value.
    """
    if route.paging == "single_page":
        return PageRequest()
    parameters = PARAMETERS[route.api]
    size = _number(query, parameters.size, default=parameters.default, least=1, most=parameters.most)
    if options.page_cap is not None:
        size = min(size, options.page_cap)
    if route.paging == "cursor":
        token = query.get(parameters.position)
        if route.rows == "$":
            if token is not None:
                raise BadPagingError("unknown cursor")
            return PageRequest()
        return PageRequest(start=0 if token is None else _cursor_start(token, path), size=size)
    if route.paging == "offset":
        return PageRequest(start=_number(query, parameters.position, default=0, least=0), size=size)
    page = _number(query, parameters.position, default=1, least=1)
    return PageRequest(start=(page - 1) * size, size=size, page=page)


def envelope(route: Route, rows: list[Any], *, requested: PageRequest, total: int, path: str, options: Options) -> Any:
    """The body of a page, as the route's API has it.

    Args:
        route: The route.
        rows: The rows of the page.
        requested: The page.
        total: Number of rows of the whole list.
        path: The list's path.
        options: How the server behaves.
    """
    if route.rows == "$":
        return rows
    size = requested.size or max(total, 1)
    following = requested.start + size if requested.start + size < total else None
    body: dict[str, Any] = {route.rows: rows}
    if route.api == "experimentation":
        body = {"message": f"{route.name} listed successfully.", **body}
    if route.paging == "cursor":
        return body | _cursor_fields(route, following, total=total, path=path, options=options)
    if route.paging == "offset":
        return body | {"offset": requested.start, "limit": size} | _totals(options, totalCount=_stated(total, options))
    if route.paging == "page_number":
        return body | _page_fields(route, requested, following, total=total, size=size, options=options)
    return body


def _cursor_fields(route: Route, following: int | None, *, total: int, path: str, options: Options) -> dict[str, Any]:
    token = None if following is None else cursor(path, following)
    if options.repeat_cursor:
        token = cursor(path, 0)
    if route.api == "continuous_integration":
        return {"next_page_token": token}
    return _totals(options, total=_stated(total, options)) | {"response": {"next": token}}


def _page_fields(
    route: Route, requested: PageRequest, following: int | None, *, total: int, size: int, options: Options
) -> dict[str, Any]:
    stated = _stated(total, options)
    if route.api == "experimentation":
        counted = _totals(options, totalItems=stated)
        return {"pagination": {"itemsPerPage": size, "pageNumber": requested.page, **counted}}
    pages = None if stated is None else -(-stated // size)
    counted = _totals(options, total_count=stated, total_pages=pages)
    following_page = None if following is None else requested.page + 1
    return {"meta": {"current_page": requested.page, "next_page": following_page, **counted}}


def _stated(total: int, options: Options) -> int | None:
    """The number of rows that the envelope states."""
    return {"right": total, "low": total // 2, "high": total + 10}.get(options.totals)


def _totals(options: Options, **stated: int | None) -> dict[str, int | None]:
    """The fields that state a number of rows; none if the options leave totals out."""
    return {} if options.totals == "absent" else stated
