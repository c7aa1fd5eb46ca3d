"""dlt's paginators, adapted: offsets follow the rows that came, cursors are checked, links are not followed.

A strategy finds the next page. ``GuardedPaginator`` makes sure that the end of a list is certain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from dlt.common.jsonpath import compile_path, find_values
from dlt.sources.helpers.rest_client.paginators import (
    BasePaginator,
    JSONResponseCursorPaginator,
    OffsetPaginator,
    PageNumberPaginator,
    SinglePagePaginator,
)

from analytics_ingest.errors import ReadError
from analytics_ingest.http.time_windows import TimeWindowPaginator

if TYPE_CHECKING:
    import requests

    from analytics_ingest.apis.paginators import Paginator


class RowOffsetPaginator(OffsetPaginator):
    """dlt's paginator by offset, which advances by the rows of a page, also if a server caps its pages below the limit.

    After ``GET /flags?limit=50&offset=0`` with the body ``{"objects": [20 rows], "total": 70}`` follows
    ``GET /flags?limit=50&offset=20``.
    """

    def update_state(self, response: requests.Response, data: list[Any] | None = None) -> None:
        """Advances the offset."""
        self.value_step = len(data or ())
        super().update_state(response, data)


class CursorPaginator(JSONResponseCursorPaginator):
    """dlt's paginator by cursor, which checks the cursor and may read it at one of two paths.

    After ``GET /pipeline`` with this body follows ``GET /pipeline?page-token=b2``; a cursor that is null, empty, 0 or
    absent ends the list::

        {"items": [{"id": 1}], "next_page_token": "b2"}
    """

    def __init__(self, *, cursor_path: str, cursor_param: str, fallback_path: str | None = None) -> None:
        """Compiles the paths.

        Args:
            cursor_path: JSONPath to the cursor in the body.
            cursor_param: The query parameter that carries it.
            fallback_path: JSONPath to the cursor in bodies without the first path. With it, a list of which no page
                has either path is an error.
        """
        super().__init__(cursor_path=cursor_path, cursor_param=cursor_param)
        self._paths = [self.cursor_path, compile_path(fallback_path)] if fallback_path else []
        self._path_found = False

    def update_state(self, response: requests.Response, data: list[Any] | None = None) -> None:
        """Reads the cursor.

        Raises:
            ReadError: The value cannot be a cursor, or neither path exists.
        """
        body = response.json()
        if self._paths:
            self._choose_path(body, data)
        super().update_state(response, data)
        cursor: Any = self._next_reference
        if cursor is None:
            # dlt takes a value such as {} for the end of the list
            values = find_values(self.cursor_path, body)
            cursor = values[0] if values else None
        # 0 equals False too
        if cursor in (None, "", 0):
            return
        if isinstance(cursor, bool) or not isinstance(cursor, str | int):
            raise ReadError(f"'{self.cursor_path}' in the body is {type(cursor).__name__}, not a page cursor")

    def _choose_path(self, body: Any, data: list[Any] | None) -> None:
        for path in self._paths:
            if path.find(body):
                self.cursor_path = path
                self._path_found = True
                return
        if data and not self._path_found:
            names = " or ".join(f"'{path}'" for path in self._paths)
            raise ReadError(f"no page has {names}, so whether more pages follow is unknown")


class LinkPaginator(CursorPaginator):
    """A paginator by cursor for bodies with a link to the next page, whose query contains the cursor.

    After ``GET /search/epics`` with this body follows ``GET /search/epics?next=c3``::

        {"data": [{"id": 1}], "next": "/api/v3/search/epics?next=c3"}

    Why not dlt's own paginator by link: it follows a link to any host, and sends the key there.
    """

    def update_state(self, response: requests.Response, data: list[Any] | None = None) -> None:
        """Reads the cursor in the link.

        Raises:
            ReadError: The value is not a link, or the link has no cursor.
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


def build_strategy(declared: Paginator, *, limit: int | None) -> BasePaginator:
    """The paginator that finds the next page of a list.

    Args:
        declared: The declaration.
        limit: Rows to request per page, for a paginator by offset.
    """
    config: dict[str, Any] = dict(declared.config)
    kind = config.pop("type")
    if kind == "page_number":
        return PageNumberPaginator(**config)
    if kind == "offset":
        return RowOffsetPaginator(**{**config, "limit": limit})
    if kind == "time_windows":
        return TimeWindowPaginator(**config)
    if kind == "cursor":
        strategy = LinkPaginator if declared.cursor_is_link else CursorPaginator
        return strategy(**config, fallback_path=declared.fallback_cursor_path)
    return SinglePagePaginator()
