"""dlt's paginators with what they lack: an end that is certain, and no page skipped when the server caps its size.

Paging by number or offset ends at an empty page, or where the envelope states a total that is reached by a page that
is not full; paging by cursor where no next page is named. A short page alone never ends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlsplit

from dlt.common.jsonpath import compile_path, find_values
from dlt.sources.helpers.rest_client.paginators import (
    BasePaginator,
    JSONResponseCursorPaginator,
    OffsetPaginator,
    RangePaginator,
    SinglePagePaginator,
)
from dlt.sources.rest_api.config_setup import create_paginator

from analytics_ingest.apis.paginators import TOTAL_PATHS, Paginator
from analytics_ingest.errors import ReadError
from analytics_ingest.json_text import json_text

if TYPE_CHECKING:
    import requests

    from analytics_ingest.http.transport import Response


MISSING: Any = object()
MAX_ALIKE = 20
"""Pages in a row that are the same and hold no row, after which reading a list fails."""


class CursorPaginator(JSONResponseCursorPaginator):
    """dlt's paginator by cursor, which takes any value for a cursor and a value such as ``{}`` for the end."""

    def __init__(self, *, cursor_path: str, cursor_param: str) -> None:
        super().__init__(cursor_path=cursor_path, cursor_param=cursor_param)

    def update_state(self, response: requests.Response, data: list[Any] | None = None) -> None:
        """Takes the cursor out of the body.

        Raises:
            ReadError: What is there cannot be a cursor.
        """
        super().update_state(response, data)
        cursor: Any = self._next_reference
        if cursor is None:
            found = find_values(self.cursor_path, response.json())
            cursor = found[0] if found else None
        if cursor in (None, "", 0):
            # False too
            return
        if isinstance(cursor, bool) or not isinstance(cursor, str | int):
            raise ReadError(f"'{self.cursor_path}' in the body names the next page by {type(cursor).__name__}")


class LinkPaginator(CursorPaginator):
    """A paginator by cursor for bodies that hold the cursor in a link to the next page.

    dlt's own paginator by link follows it to any host, with the key.
    """

    def update_state(self, response: requests.Response, data: list[Any] | None = None) -> None:
        """Takes the cursor out of the link.

        Raises:
            ReadError: There is no link, or none with the cursor.
        """
        super().update_state(response, data)
        link: Any = self._next_reference
        if link is None:
            return
        if not isinstance(link, str):
            raise ReadError(f"'{self.cursor_path}' in the body is {type(link).__name__}, not a link to the next page")
        values = parse_qs(urlsplit(link).query).get(str(self.cursor_param))
        if not values:
            raise ReadError(f"the link at '{self.cursor_path}' to the next page has no parameter {self.cursor_param}")
        self._next_reference = values[-1]


class GuardedPaginator:
    """One of dlt's paginators, watched.

    Attributes:
        has_next_page: Whether a page follows the last one.
        pages: Pages read.
        rows: Elements on these pages.
        total: How many there are, as the envelope last stated; ``None`` if it does not say or is proven wrong.
        sunk: Whether the envelope's total sank from one page to another: rows went while the list was read.
        repeated: True if the last page was the one before it once more; its rows count once.
        problem: Why the read cannot go on after the last page; ``None`` if it can, or is over.
    """

    def __init__(self, declared: Paginator, *, limit: int | None, max_pages: int) -> None:
        config = dict(declared.config)
        if config["type"] == "offset":
            config["limit"] = limit
        self._inner = _build(declared, config)
        self._totals = [declared.total_path] if declared.total_path else TOTAL_PATHS
        self._declared = declared
        self._limit = limit
        self._max_pages = max_pages
        self._previous: list[Any] | None = None
        self._largest = self._alike = 0
        self._requests: set[str] = set()
        self._cursor_else = compile_path(declared.cursor_path_else) if declared.cursor_path_else else None
        self._cursor_seen = False
        self.has_next_page = True
        self.pages = 0
        self.rows = 0
        self.total: int | None = None
        self.sunk = False
        self.repeated = False
        self.problem: ReadError | None = None

    def init_request(self, request: requests.Request) -> None:
        """Sets the first page's parameters."""
        if self._limit is not None and not isinstance(self._inner, OffsetPaginator):
            request.params[self._declared.limit_param] = self._limit
        self._inner.init_request(request)
        self._remember(request)

    def update_state(self, answer: Response) -> None:
        """Takes note of a page.

        Raises:
            ReadError: The read would not end, or the body does not say where the next page is.
        """
        body, page = answer.body, answer.page
        self.pages += 1
        if self.pages > self._max_pages:
            raise ReadError(f"no end after {self._max_pages} pages (MAX_PAGES)")
        if answer.rows and self._repeats(page, body):
            self.repeated = True
            self.has_next_page = False
            return
        # elements without rows may well be alike from page to page, but not for ever
        self._alike = self._alike + 1 if page and self._is_previous(page) else 0
        if self._alike >= MAX_ALIKE:
            raise ReadError(f"{MAX_ALIKE} pages in a row are alike and hold no row: the paging parameter is ignored")
        self._previous = page
        self.rows += len(page)
        if isinstance(self._inner, OffsetPaginator):
            # the server may send fewer rows than asked for: go on after those that came
            self._inner.value_step = len(page)
        self._find_cursor(body)
        self._inner.update_state(cast("requests.Response", answer), page)
        self.has_next_page = self._inner.has_next_page
        self._read_total(body)
        if isinstance(self._inner, RangePaginator) and self._total_reached(page):
            self.has_next_page = False
        self._ask_envelope(page, body)
        if self._cursor_else and not self.has_next_page and not self._cursor_seen and self.rows:
            raise ReadError(
                f"no page has '{self._declared.config['cursor_path']}' or '{self._declared.cursor_path_else}', "
                "so there is no telling whether more pages follow"
            )

    def update_request(self, request: requests.Request) -> None:
        """Sets the next page's parameters, or notes the ``problem`` that it was asked for before."""
        if not self.has_next_page or isinstance(self._inner, SinglePagePaginator):
            return
        self._inner.update_request(request)
        self._remember(request)

    def _remember(self, request: requests.Request) -> None:
        signature = f"{request.url} {sorted((request.params or {}).items())}"
        if signature in self._requests:
            self.problem = ReadError(f"page {self.pages} points to a page that was read before: paging would not end")
        self._requests.add(signature)

    def _is_previous(self, page: list[Any]) -> bool:
        try:
            return page == self._previous
        except RecursionError:
            # nested deeper than Python compares
            return json_text(page) == json_text(self._previous)

    def _repeats(self, page: list[Any], body: Any) -> bool:
        if not page or not self._is_previous(page):
            return False
        if isinstance(body, list) or (self._limit is not None and len(page) < self._limit):
            return True
        raise ReadError(f"page {self.pages} is the page before it once more: the paging parameter is ignored")

    def _read_total(self, body: Any) -> None:
        if not isinstance(body, dict):
            return
        for path in self._totals:
            value = _at(path, body)
            if isinstance(value, int) and not isinstance(value, bool):
                before, self.total = self.total, value if value >= self.rows else None
                self.sunk = self.total is not None and (self.sunk or value < (before or 0))
                return
        self.total, self.sunk = None, False

    def _ask_envelope(self, page: list[Any], body: Any) -> None:
        """Ends the read, or goes on with it, where the envelope says whether a page follows."""
        said = _at(self._declared.next_path, body) if self._declared.next_path else MISSING
        if said is MISSING:
            return
        if isinstance(said, dict | list):
            raise ReadError(
                f"'{self._declared.next_path}' in the body holds {type(said).__name__}, "
                "which does not say whether a page follows"
            )
        if said and not page:
            raise ReadError(f"page {self.pages} is empty, and '{self._declared.next_path}' says that more follow")
        self.has_next_page = bool(said)

    def _total_reached(self, page: list[Any]) -> bool:
        if self._limit is not None and len(page) > self._limit:
            # the limit is ignored, and all there is has come at once
            return self.total is not None and self.rows >= self.total
        # a server that caps its pages below the limit fills them to its own size
        full = len(page) >= (self._largest or self._limit or 1)
        self._largest = max(self._largest, len(page))
        return self.total is not None and self.rows >= self.total and not full

    def _find_cursor(self, body: Any) -> None:
        if self._cursor_else is None or not isinstance(self._inner, JSONResponseCursorPaginator):
            return
        for path in (self._inner.cursor_path, self._cursor_else):
            if path.find(body):
                self._inner.cursor_path = path
                self._cursor_seen = True
                return


def _build(declared: Paginator, config: dict[str, Any]) -> BasePaginator:
    if config["type"] == "cursor":
        kind = LinkPaginator if declared.cursor_is_link else CursorPaginator
        return kind(cursor_path=config["cursor_path"], cursor_param=config["cursor_param"])
    inner = create_paginator(config)  # type: ignore[arg-type]
    if inner is None:
        raise ValueError(f"{config['type']}: not a paginator that states when it ends")
    return inner


def _at(path: str, body: Any) -> Any:
    """What is in a body at a path of fields, without jsonpath, which takes ten times as long; or ``MISSING``."""
    for name in path.split("."):
        if not isinstance(body, dict) or name not in body:
            return MISSING
        body = body[name]
    return body
