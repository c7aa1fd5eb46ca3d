"""JSON as APIs send it: read strictly, and leniently where that fails."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

ESCAPE = re.compile(r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
"""A backslash, a surrogate pair, or a surrogate without the other one of its pair, whichever comes first."""
LONE_SURROGATE = len(r"\ud83d")
REPLACEMENT = r"\ufffd"
"""What stands in text for what is no character, as Unicode recommends."""
AROUND = 40
"""Characters that an error shows before and after the place."""


class MalformedJSONError(ValueError):
    """A body that is not JSON, also for a lenient reader.

    Attributes:
        reason: Why, in Python's words.
        place: Where, in characters from the beginning.
        is_complete: Whether it is meant to be JSON and does not just end too early.
        near: The text around the place.
    """

    def __init__(self, reason: str, *, place: int, is_complete: bool, near: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.place = place
        self.is_complete = is_complete
        self.near = near


def parse_json(content: bytes) -> Any:
    """The value that a body holds.

    Bytes that are not valid in its encoding, and surrogates without the other one of their pair, become U+FFFD. A byte
    order mark, UTF-16 and UTF-32 are read, and so are control characters within text. ``NaN``, ``Infinity`` and
    ``-Infinity``, which JSON does not have, are taken as text.

    Raises:
        MalformedJSONError: It is not JSON.
        RecursionError: It is nested too deep to be read.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return _parse_leniently(content)


def _parse_leniently(content: bytes) -> Any:
    text = ESCAPE.sub(_replaced, content.decode(json.detect_encoding(content), "replace"))
    try:
        return json.loads(text, strict=False, parse_constant=str)
    except json.JSONDecodeError as error:
        # of a text without an end Python names its beginning
        ends_early = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        raise MalformedJSONError(
            error.msg,
            place=error.pos,
            is_complete=text.lstrip().startswith(("{", "[")) and not ends_early,
            near=text[max(0, error.pos - AROUND) : error.pos + AROUND],
        ) from None


def _replaced(match: re.Match[str]) -> str:
    return REPLACEMENT if len(match[0]) == LONE_SURROGATE else match[0]
