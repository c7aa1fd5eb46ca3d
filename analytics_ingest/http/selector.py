"""Selects the rows in a body. A selector that matches nothing is an error, not zero rows."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from dlt.common.jsonpath import compile_path, find_values

from analytics_ingest.errors import ReadError

ERROR_FIELDS = {"error", "errors", "code", "message", "messages", "reason", "detail", "details", "title", "type"} | {
    "status", "status_code", "statusCode", "success", "ok", "request_id", "timestamp", "path", "documentation_url"
}  # fmt: skip
"""An object with these fields only is an error, not a record. The check is for records without a key of their own."""
PARTIAL_FIELDS = ("error", "errors")
"""Members of an envelope that, unless empty, state that its rows are incomplete."""
WILDCARD = re.compile(r"\[\*\]|\.\*")


class SelectedRows(NamedTuple):
    """The elements of a page, and the rows in them."""

    page: list[Any]
    rows: list[Any]


class RowSelector:
    """A compiled ``data_selector``.

    The part before the first wildcard selects the page: it must be in the body, and paging ends when it is empty. The
    part after it selects the rows within the page's elements: at least one element must have it. ``data[*].rules[*]``
    selects a page of two elements and three rows from this body::

        {"data": [{"id": "g1", "rules": [{"id": "r1"}, {"id": "r2"}]}, {"id": "g2", "rules": [{"id": "r3"}]}]}

    ``data`` would select the two elements as rows. ``$`` selects the elements of an array, or an object as one row::

        [{"id": "g1"}, {"id": "g2"}]
        {"id": "g1"}
    """

    def __init__(self, path: str, *, record_key: tuple[str, ...] = (), fallback: str | None = None) -> None:
        """Compiles a selector.

        Args:
            path: The declared JSONPath.
            record_key: With ``$``, fields that an object must have to be a row.
            fallback: The path for bodies that do not match ``path``. A fallback ``$`` matches arrays only, so that
                an object with an error is not a row.
        """
        self._fallback = RowSelector(fallback, record_key=record_key) if fallback else None
        head = WILDCARD.split(path, maxsplit=1)[0]
        self._whole = head == "$"
        self._record_key = record_key
        self._head = compile_path(head)
        self._tail = compile_path("$" + path[len(head) :]) if head != path else None
        parts = WILDCARD.split(path)
        self._within = parts[1].strip(".") if len(parts) > 1 else ""

    def select(self, body: Any) -> SelectedRows:
        """Selects the elements of the page, and the rows in them.

        Raises:
            ReadError: The body does not match, or holds something other than records.
        """
        if self._fallback and self._fallback.matches(body) and not self.matches(body):
            return self._fallback.select(body)
        page = self._page(body)
        return SelectedRows(page, page if self._tail is None else find_values(self._tail, page))  # type: ignore[arg-type]

    def _page(self, body: Any) -> list[Any]:
        if self._whole:
            found = body
            if isinstance(body, dict) and (missing := [key for key in self._record_key if key not in body]):
                raise ReadError(f"the body is not a record (it has no {', '.join(missing)})")
            if isinstance(body, dict) and not self._record_key and body and body.keys() <= ERROR_FIELDS:
                raise ReadError(f"the body is not a record (it has only {', '.join(sorted(body))})")
        else:
            matches = self._head.find(body)
            if matches and isinstance(body, dict):
                for name in PARTIAL_FIELDS:
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

    @property
    def has_envelope(self) -> bool:
        """Whether an object in the body is an envelope around rows; else it is a row."""
        return not self._whole

    def matches(self, body: Any) -> bool:
        """Whether the body has the part that selects the page."""
        return isinstance(body, list) if self._whole else bool(self._head.find(body))
