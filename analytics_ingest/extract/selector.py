"""Where the rows are in a body, checked: a selector that no longer matches is an error, not zero rows."""

from __future__ import annotations

import re
from typing import Any

from dlt.common.jsonpath import compile_path
from jsonpath_ng import DatumInContext, JSONPath

from analytics_ingest.extract.errors import ReadError

ERROR_FIELDS = {"error", "errors", "code", "message", "messages", "reason", "detail", "details", "title", "type"} | {
    "status", "status_code", "statusCode", "success", "ok", "request_id", "timestamp", "path", "documentation_url"
}  # fmt: skip
"""An object with nothing but these says what went wrong. It tells where a record has no key of its own."""
WILDCARD = re.compile(r"\[\*\]|\.\*")


class RowSelector(JSONPath):
    """A compiled ``data_selector`` for dlt's ``RESTClient`` (given as text it is parsed anew for each page).

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
        self._path = path
        self._otherwise = RowSelector(otherwise, record_key=record_key) if otherwise else None
        head = WILDCARD.split(path, maxsplit=1)[0]
        self._whole = head == "$"
        self._record_key = record_key
        self._head = compile_path(head)
        self._tail = compile_path("$" + path[len(head) :]) if head != path else None
        parts = WILDCARD.split(path)
        self._within = parts[1].strip(".") if len(parts) > 1 else ""

    def __str__(self) -> str:
        return self._path

    def page(self, body: Any) -> list[Any]:
        """The elements of the page: rows, or what holds them.

        Raises:
            ReadError: The body has no such part, or something else than records is there.
        """
        if self._otherwise and self._otherwise.fits(body) and not self.fits(body):
            return self._otherwise.page(body)
        if self._whole:
            found = body
            if isinstance(body, dict) and (lacking := [key for key in self._record_key if key not in body]):
                raise ReadError(f"the body is no record, it lacks {', '.join(lacking)}")
            if isinstance(body, dict) and not self._record_key and body and body.keys() <= ERROR_FIELDS:
                raise ReadError(f"the body is no record, it has nothing but {', '.join(sorted(body))}")
        else:
            matches = self._head.find(body)
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

    def find(self, datum: Any) -> list[DatumInContext]:
        """The rows in a body, as matches: jsonpath-ng's interface."""
        if self._otherwise and self._otherwise.fits(datum) and not self.fits(datum):
            return self._otherwise.find(datum)
        page = self.page(datum)
        if self._tail is None:
            return [DatumInContext(page)]
        return [DatumInContext([match.value for match in self._tail.find(page)])]
