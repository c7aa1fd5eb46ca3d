"""Guards pagination: the end of a list must be certain, and no page may be skipped or read twice.

Paging by number or offset ends at an empty page, or where the envelope states a total and a page that is not full
reaches it. Paging by cursor ends where no next page is named. A short page alone never ends a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from analytics_ingest.apis.paginators import TOTAL_PATHS, Paginator
from analytics_ingest.errors import ReadError
from analytics_ingest.http.paging_strategies import build_strategy
from analytics_ingest.http.time_windows import TimeWindowPaginator
from analytics_ingest.json_text import json_text

if TYPE_CHECKING:
    import requests

    from analytics_ingest.http.transport import Response


MISSING: Any = object()
MAX_IDENTICAL_PAGES = 20
"""Identical pages in a row without any row, after which a list fails."""


class GuardedPaginator:
    """Pages through one list: the strategy finds the next page, and the guard checks each page that comes.

    With ``limit`` 2, paging by number reads this list in two requests, as the second page is not full and reaches the
    total::

        GET /gates?limit=2&page=1    {"data": [{"id": "a"}, {"id": "b"}], "total": 3}
        GET /gates?limit=2&page=2    {"data": [{"id": "c"}], "total": 3}

    Without ``total`` a third request would be sent, whose page is empty.

    Attributes:
        has_next_page: Whether another page follows.
        pages: Pages read.
        rows: Elements on these pages.
        total: The total that the last envelope states; ``None`` if it states none, or one below ``rows``.
        total_decreased: Whether the total decreased from one page to another: rows were deleted during the read.
        repeated: Whether the last page repeats the one before it, so that its rows do not count.
        error: Why the next page cannot be requested; ``None`` if it can, or none follows.
    """

    def __init__(self, declared: Paginator, *, limit: int | None, max_pages: int) -> None:
        self._strategy = build_strategy(declared, limit=limit)
        self._declared = declared
        self._kind = declared.config["type"]
        self._total_paths = [declared.total_path] if declared.total_path else TOTAL_PATHS
        self._limit = limit
        self._max_pages = max_pages
        self._previous: list[Any] | None = None
        self._largest_page = self._identical_pages = 0
        self._requested: set[str] = set()
        self.has_next_page = True
        self.pages = 0
        self.rows = 0
        self.total: int | None = None
        self.total_decreased = False
        self.repeated = False
        self.error: ReadError | None = None

    def init_request(self, request: requests.Request) -> None:
        """Sets the first page's parameters."""
        # dlt's paginator by offset sets the limit itself
        if self._limit is not None and self._kind != "offset":
            request.params[self._declared.limit_param] = self._limit
        self._strategy.init_request(request)
        self._check_request(request)

    def update_state(self, response: Response) -> None:
        """Checks a page, and finds out whether another one follows.

        Raises:
            ReadError: Paging would not end, or the body does not state where the next page is.
        """
        body, page = response.body, response.page
        self.pages += 1
        if self.pages > self._max_pages:
            raise ReadError(f"the list has more pages than MAX_PAGES allows ({self._max_pages})")
        if response.rows and self._is_repeated(page, body):
            self.repeated = True
            self.has_next_page = False
            return
        # elements without rows may be identical from page to page, within a limit
        self._identical_pages = self._identical_pages + 1 if page and self._equals_previous(page) else 0
        if self._identical_pages >= MAX_IDENTICAL_PAGES:
            raise ReadError(
                f"{MAX_IDENTICAL_PAGES} pages in a row are identical and have no rows: "
                "the server ignores the paging parameter"
            )
        self._previous = page
        self.rows += len(page)
        self._strategy.update_state(cast("requests.Response", response), page)
        self.has_next_page = self._strategy.has_next_page
        self._read_total(body)
        if self._kind in ("page_number", "offset") and self._reaches_total(page):
            self.has_next_page = False
        self._read_has_more(page, body)

    def update_request(self, request: requests.Request) -> None:
        """Sets the next page's parameters, or sets ``error`` if that page was requested before."""
        if self.has_next_page:
            self._strategy.update_request(request)
            self._check_request(request)

    def halve(self, request: requests.Request) -> bool:
        """Makes the request one for less, if its response is too large; false if it cannot be made smaller."""
        return isinstance(self._strategy, TimeWindowPaginator) and self._strategy.halve(request)

    def _check_request(self, request: requests.Request) -> None:
        fields = {**(request.params or {}), **(request.json or {})}
        signature = f"{request.url} {sorted(fields.items())}"
        if signature in self._requested:
            self.error = ReadError(f"page {self.pages} names a page that was read before: paging would not end")
        self._requested.add(signature)

    def _equals_previous(self, page: list[Any]) -> bool:
        try:
            return page == self._previous
        except RecursionError:
            # nested deeper than Python compares
            return json_text(page) == json_text(self._previous)

    def _is_repeated(self, page: list[Any], body: Any) -> bool:
        """Whether a page repeats the one before it, and so ends the list: a bare array, or a page that is not full.

        Raises:
            ReadError: It repeats a full page.
        """
        if not page or not self._equals_previous(page):
            return False
        if isinstance(body, list) or (self._limit is not None and len(page) < self._limit):
            return True
        raise ReadError(f"page {self.pages} repeats the page before it: the server ignores the paging parameter")

    def _read_total(self, body: Any) -> None:
        if not isinstance(body, dict):
            return
        for path in self._total_paths:
            value = _value_at(path, body)
            if isinstance(value, int) and not isinstance(value, bool):
                previous, self.total = self.total, value if value >= self.rows else None
                self.total_decreased = self.total is not None and (self.total_decreased or value < (previous or 0))
                return
        self.total, self.total_decreased = None, False

    def _read_has_more(self, page: list[Any], body: Any) -> None:
        """Sets ``has_next_page`` from the envelope's statement, if it makes one."""
        path = self._declared.has_more_path
        value = _value_at(path, body) if path else MISSING
        if value is MISSING:
            return
        if isinstance(value, dict | list):
            raise ReadError(
                f"'{path}' in the body holds {type(value).__name__}, which does not state whether more pages follow"
            )
        if value and not page:
            raise ReadError(f"page {self.pages} is empty, but '{path}' states that more pages follow")
        self.has_next_page = bool(value)

    def _reaches_total(self, page: list[Any]) -> bool:
        reached = self.total is not None and self.rows >= self.total
        if self._limit is not None and len(page) > self._limit:
            # the server ignores the limit and sends the whole list as one page
            return reached
        # a server that caps its pages below the limit fills them to its own size
        is_full = len(page) >= (self._largest_page or self._limit or 1)
        self._largest_page = max(self._largest_page, len(page))
        return reached and not is_full


def _value_at(path: str, body: Any) -> Any:
    """The value at a dotted path of fields, or ``MISSING``. The library jsonpath takes ten times as long."""
    for name in path.split("."):
        if not isinstance(body, dict) or name not in body:
            return MISSING
        body = body[name]
    return body
