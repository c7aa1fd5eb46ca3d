"""Where the rows are in a body, checked: a selector that no longer matches is an error, not zero rows."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from dlt.common.jsonpath import compile_path, find_values

from analytics_ingest.errors import ReadError

ERROR_FIELDS = {"error", "errors", "code", "message", "messages", "reason", "detail", "details", "title", "type"} | {
    "status", "status_code", "statusCode", "success", "ok", "request_id", "timestamp", "path", "documentation_url"
}  # fmt: skip
"""An object with nothing but these says what went wrong. It tells where a record has no key of its own."""
BESIDE_ROWS = ("error", "errors")
"""Members of an envelope that say that its rows are not all there are, unless they are empty."""
WILDCARD = re.compile(r"\[\*\]|\.\*")


class SelectedRows(NamedTuple):
    """What a selector gives of a body: the page's elements, and the rows that these come to."""

    page: list[Any]
    rows: list[Any]


class RowSelector:
    """A compiled ``data_selector``.

    Everything before the first wildcard is the page: it must be in the body, and paging ends when it is empty.
    What comes after spreads the page's elements into rows; at least one of them must have it.
    """

    def __init__(self, path: str, *, record_key: tuple[str, ...] = (), otherwise: str | None = None) -> None:
        """Compiles a selector.

        Args:
            path: The JSONPath as declared.
            record_key: Fields that a body must have to be a row itself, where ``path`` is ``$``.
            otherwise: The path for bodies without the first one; ``$`` fits arrays only, so that an object that
                says what went wrong is no row.
        """
        self._otherwise = RowSelector(otherwise, record_key=record_key) if otherwise else None
        head = WILDCARD.split(path, maxsplit=1)[0]
        self._whole = head == "$"
        self._record_key = record_key
        self._head = compile_path(head)
        self._tail = compile_path("$" + path[len(head) :]) if head != path else None
        parts = WILDCARD.split(path)
        self._within = parts[1].strip(".") if len(parts) > 1 else ""

    def select(self, body: Any) -> SelectedRows:
        """The elements of the page, and the rows in them.

        Raises:
            ReadError: The body has no such part, or something else than records is there.
        """
        if self._otherwise and self._otherwise.fits(body) and not self.fits(body):
            return self._otherwise.select(body)
        page = self._page(body)
        return SelectedRows(page, page if self._tail is None else find_values(self._tail, page))  # type: ignore[arg-type]

    def _page(self, body: Any) -> list[Any]:
        if self._whole:
            found = body
            if isinstance(body, dict) and (lacking := [key for key in self._record_key if key not in body]):
                raise ReadError(f"the body is no record, it lacks {', '.join(lacking)}")
            if isinstance(body, dict) and not self._record_key and body and body.keys() <= ERROR_FIELDS:
                raise ReadError(f"the body is no record, it has nothing but {', '.join(sorted(body))}")
        else:
            matches = self._head.find(body)
            if matches and isinstance(body, dict):
                for name in BESIDE_ROWS:
                    if body.get(name) and body[name] is not matches[0].value:
                        raise ReadError(f"the body has '{name}' beside '{self._head}'")
            if not matches:
                raise ReadError(f"the body has no '{self._head}'")
            found = matches[0].value
        if isinstance(found, list | dict):
            page = found if isinstance(found, list) else [found]
            if self._within and page and not any(isinstance(one, dict) and self._within in one for one in page):
                raise ReadError(f"no element of '{self._head}' in the body has '{self._within}'")
            return page
        where = "the body" if self._whole else f"'{self._head}' in the body"
        raise ReadError(f"{where} holds {type(found).__name__}, not records")

    def fits(self, body: Any) -> bool:
        """Whether the body has the part in which the page is."""
        return isinstance(body, list) if self._whole else bool(self._head.find(body))
