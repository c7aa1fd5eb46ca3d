"""Writes values as JSON that orjson cannot write: nested deeper than 254 levels, or with integers beyond 64 bits."""

from __future__ import annotations

import re
from typing import Any

import orjson

ESCAPE = re.compile(r"\\(u0000|.)")
REPLACEMENT = "\ufffd"
"""Unicode's replacement character."""


def json_text(value: Any) -> str:
    """``value`` as JSON text with sorted keys, nested to any depth. Iterative, unlike orjson."""
    parts: list[str] = []
    # a stack of values and of the text between them; the first field is True for text
    pending: list[tuple[bool, Any]] = [(False, value)]
    while pending:
        is_text, item = pending.pop()
        if is_text:
            parts.append(item)
        elif isinstance(item, dict):
            pending.append((True, "}"))
            for number, name in reversed(list(enumerate(sorted(item)))):
                pending += [(False, item[name]), (True, f"{',' if number else ''}{_scalar_text(name)}:")]
            pending.append((True, "{"))
        elif isinstance(item, list):
            pending.append((True, "]"))
            for number, element in reversed(list(enumerate(item))):
                pending += [(False, element), (True, "," if number else "")]
            pending.append((True, "["))
        else:
            parts.append(_scalar_text(item))
    return "".join(parts)


def _scalar_text(value: Any) -> str:
    if type(value) is int:
        return str(value)
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()


def without_nul(text: str) -> str:
    """JSON text with U+FFFD in place of the character NUL, which PostgreSQL cannot store."""
    return ESCAPE.sub(lambda match: REPLACEMENT if match[1] == "u0000" else match[0], text)
