"""JSON as APIs send it: read strictly, and leniently where that fails."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

ESCAPE = re.compile(r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
"""A backslash, a surrogate pair, or a surrogate without the other one of its pair, whichever comes first."""
LONE_SURROGATE = len(r"\ud83d")
REPLACEMENT = r"\ufffd"
"""The escape of U+FFFD, Unicode's replacement character."""
MAX_DIGITS = 4_300
"""Digits of a whole number that Python converts by default."""
LONG = 19
"""Digits of a whole number that may be beyond 64 bits: orjson reads it as a double, which loses digits."""
DIGITS = bytes(ord("0") if chr(byte).isdecimal() and byte < 128 else ord(" ") for byte in range(256))
"""Translates every digit to 0, and every other byte to a blank."""
LONG_NUMBER = re.compile(rb"(?:^|[\s:\[,])(?:-[0-9]{19,}|[0-9]{20,})(?=[\s,\]}]|$)")
"""Such a number in a body. orjson reads whole numbers from -2^63 to 2^64 - 1."""
AROUND = 40
"""Characters that an error shows before and after the place."""


class MalformedJSONError(ValueError):
    """A body that a lenient reader cannot parse either.

    Attributes:
        reason: Why, in Python's words.
        place: Where, in characters from the beginning.
        is_complete: Whether the body begins and ends like JSON; if not it was cut off, or is something else.
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
    order mark, UTF-16 and UTF-32 are read, and so are control characters within text. Whole numbers have all their
    digits. ``NaN``, ``Infinity``, ``-Infinity``, numbers beyond a double and whole numbers of more than 4,300 digits
    are taken as text.

    Raises:
        MalformedJSONError: It is not JSON.
        RecursionError: It is nested too deep to be read.
    """
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return _parse_leniently(content)
    return _parse_leniently(content) if _has_long_number(content) else value


def _has_long_number(content: bytes) -> bool:
    # the regular expression alone takes longer than to parse the body
    return b"0" * LONG in content.translate(DIGITS) and LONG_NUMBER.search(content) is not None


def _parse_leniently(content: bytes) -> Any:
    text = ESCAPE.sub(_replaced, content.decode(json.detect_encoding(content), "replace"))
    try:
        return json.loads(text, strict=False, parse_constant=str, parse_int=_integer, parse_float=_float)
    except json.JSONDecodeError as error:
        trimmed = text.strip()
        begins_and_ends = trimmed.startswith(("{", "[")) and trimmed.endswith(("}", "]"))
        # a cut behind an inner bracket is found at the end; of an unterminated string Python gives the beginning
        is_cut_off = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        raise MalformedJSONError(
            error.msg,
            place=error.pos,
            is_complete=begins_and_ends and not is_cut_off,
            near=text[max(0, error.pos - AROUND) : error.pos + AROUND],
        ) from None


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= MAX_DIGITS else digits


def _float(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def _replaced(match: re.Match[str]) -> str:
    return REPLACEMENT if len(match[0]) == LONE_SURROGATE else match[0]
