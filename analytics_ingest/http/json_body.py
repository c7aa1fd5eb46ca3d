"""Parses JSON bodies: strictly with orjson, and leniently where that fails or would lose digits."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

ESCAPE = re.compile(r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
"""An escaped backslash, a surrogate pair, or a lone surrogate. The first two are matched so that neither is split."""
LONE_SURROGATE_LENGTH = len(r"\ud83d")
REPLACEMENT = r"\ufffd"
"""The escape of U+FFFD, Unicode's replacement character."""
MAX_DIGITS = 4_300
"""Digits of an integer that Python converts by default."""
LONG_DIGITS = 19
"""Digits of the shortest integer that may be beyond 64 bits: orjson reads such an integer as a double."""
DIGITS_TO_ZERO = bytes(ord("0") if chr(byte).isdecimal() and byte < 128 else ord(" ") for byte in range(256))
"""Translates each digit to 0, and each other byte to a blank."""
LONG_NUMBER = re.compile(rb"(?:^|[\s:\[,])(?:-[0-9]{19,}|[0-9]{20,})(?=[\s,\]}]|$)")
"""An integer that may be outside orjson's range, -2^63 to 2^64 - 1."""
EXCERPT_RADIUS = 40
"""Characters that an error shows before and after its position."""


class MalformedJSONError(ValueError):
    """A body that is not valid JSON, even for the lenient parser.

    Attributes:
        reason: The reason, in the words of Python's parser.
        position: The position of the error, in characters from the start.
        is_complete: Whether the body starts and ends like JSON. If not, it was cut off or is not JSON at all.
        near: The text around the position.
    """

    def __init__(self, reason: str, *, position: int, is_complete: bool, near: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position
        self.is_complete = is_complete
        self.near = near


def parse_json(content: bytes) -> Any:
    """The value of a JSON body.

    The lenient parser accepts:

    - invalid bytes and lone surrogates, which become U+FFFD,
    - a byte order mark, UTF-16 and UTF-32,
    - control characters within text.

    Integers keep all their digits. ``NaN``, ``Infinity``, ``-Infinity``, numbers outside the range of a double and
    integers of more than 4,300 digits become text.

    Raises:
        MalformedJSONError: The body is not valid JSON.
        RecursionError: The body is nested too deep.
    """
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return _parse_leniently(content)
    return _parse_leniently(content) if _has_long_number(content) else value


def _has_long_number(content: bytes) -> bool:
    # the translation is fast; the regular expression alone takes longer than parsing
    return b"0" * LONG_DIGITS in content.translate(DIGITS_TO_ZERO) and LONG_NUMBER.search(content) is not None


def _parse_leniently(content: bytes) -> Any:
    text = ESCAPE.sub(_replaced, content.decode(json.detect_encoding(content), "replace"))
    try:
        return json.loads(text, strict=False, parse_constant=str, parse_int=_integer, parse_float=_float)
    except json.JSONDecodeError as error:
        trimmed = text.strip()
        looks_complete = trimmed.startswith(("{", "[")) and trimmed.endswith(("}", "]"))
        # Python reports a body that is cut off at its end, but an unterminated string at the string's start
        is_cut_off = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        raise MalformedJSONError(
            error.msg,
            position=error.pos,
            is_complete=looks_complete and not is_cut_off,
            near=text[max(0, error.pos - EXCERPT_RADIUS) : error.pos + EXCERPT_RADIUS],
        ) from None


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= MAX_DIGITS else digits


def _float(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def _replaced(match: re.Match[str]) -> str:
    return REPLACEMENT if len(match[0]) == LONE_SURROGATE_LENGTH else match[0]
