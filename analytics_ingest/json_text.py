"""JSON text of values that orjson does not write: nested deeper than 254 levels, or with numbers beyond 64 bits."""

from __future__ import annotations

import re
from typing import Any

import orjson

ESCAPE = re.compile(r"\\(u0000|.)")
REPLACEMENT = "\ufffd"
"""Unicode's replacement character."""


def json_text(value: Any) -> str:
    """``value`` as JSON text with sorted keys, however deep it is nested: no call for each level, unlike orjson's."""
    parts: list[str] = []
    # what is still to be written, the next one last; text that stands between values is marked as such
    left: list[tuple[bool, Any]] = [(False, value)]
    while left:
        written, item = left.pop()
        if written:
            parts.append(item)
        elif isinstance(item, dict):
            left.append((True, "}"))
            for number, name in reversed(list(enumerate(sorted(item)))):
                left += [(False, item[name]), (True, f"{',' if number else ''}{_scalar_text(name)}:")]
            left.append((True, "{"))
        elif isinstance(item, list):
            left.append((True, "]"))
            for number, element in reversed(list(enumerate(item))):
                left += [(False, element), (True, "," if number else "")]
            left.append((True, "["))
        else:
            parts.append(_scalar_text(item))
    return "".join(parts)


def _scalar_text(value: Any) -> str:
    if type(value) is int:
        return str(value)
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()


def without_nul(text: str) -> str:
    """JSON text with U+FFFD in place of the character NUL, which PostgreSQL cannot hold."""
    return ESCAPE.sub(lambda match: REPLACEMENT if match[1] == "u0000" else match[0], text)
