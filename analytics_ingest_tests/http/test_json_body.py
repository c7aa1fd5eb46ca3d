"""Bodies that are not quite JSON: what a lenient reader takes is taken, and else the place is named."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from analytics_ingest.http.json_body import MalformedJSONError, parse_json

TAKEN: dict[str, tuple[bytes, Any]] = {
    "half of a pair": (rb'{"a": "x\ud83dy", "b": "z"}', {"a": "x�y", "b": "z"}),
    "the other half": (rb'["\ude00"]', ["�"]),
    "two first halves": (rb'["\ud83d\ud83d"]', ["��"]),
    "the halves in the wrong order": (rb'["\ude00\ud83d"]', ["��"]),
    "a pair beside a half": (rb'["\ud83d\ude00\ud83d"]', ["😀�"]),
    "in the name of a field": (rb'{"a\ud83d": 1}', {"a�": 1}),
    "in capitals": (rb'["\uD83D", "\uDBFF\uDFFF"]', ["�", "\U0010ffff"]),
    "a backslash before it": (rb'["\\ud83d", "\\\ud83d"]', [r"\ud83d", "\\�"]),
    "bytes that are no UTF-8": (b'{"a": "x\xffy\xc3"}', {"a": "x�y�"}),
    "Latin-1": ('{"name": "Jürgen"}'.encode("latin-1"), {"name": "J�rgen"}),
    "surrogates in UTF-8": (b'["\xed\xa0\xbd"]', ["���"]),
    "a byte order mark": (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
    "UTF-16": ('{"a": "ü"}'.encode("utf-16"), {"a": "ü"}),
    "UTF-32": ('{"a": "ü"}'.encode("utf-32"), {"a": "ü"}),
    "control characters in text": (b'{"a": "x\ny\tz\x00\x1f"}', {"a": "x\ny\tz\x00\x1f"}),
    "numbers that JSON does not have": (b"[NaN, Infinity, -Infinity, 1.5]", ["NaN", "Infinity", "-Infinity", 1.5]),
    "whole numbers beyond 64 bits": (
        b'["\xff", 18446744073709551615, 18446744073709551616, -9223372036854775808, -9223372036854775809]',
        ["\ufffd", 2**64 - 1, 2**64, -(2**63), -(2**63) - 1],
    ),
    "whole numbers beyond 64 bits, and nothing else amiss": (
        b'{"a": 123456789012345678901234567890, "b": [-99999999999999999999, 0.12345678901234567890123, 7]}',
        {"a": 123456789012345678901234567890, "b": [-99999999999999999999, 0.12345678901234568, 7]},
    ),
    "one less than 64 bits hold": (b"[-9223372036854775809, -9223372036854775808]", [-(2**63) - 1, -(2**63)]),
    "digits in text": (b'{"a": "123456789012345678901234567890"}', {"a": "123456789012345678901234567890"}),
    "numbers beyond a double": (b"[1e400, -1e400, " + b"9" * 5_000 + b"]", ["1e400", "-1e400", "9" * 5_000]),
    "a zero character": (rb'["\u0000"]', ["\x00"]),
}
# the reasons are Python's
TRAILING_COMMA = (
    ("Illegal trailing comma before end of array", 14) if sys.version_info >= (3, 13) else ("Expecting value", 15)
)
REFUSED: dict[str, tuple[bytes, str, int, bool]] = {
    "a comma too many": (b'{"data": [1, 2,]}', *TRAILING_COMMA, True),
    "single quotes": (b"{'data': []}", "Expecting property name enclosed in double quotes", 1, True),
    "no value": (b'{"data": }', "Expecting value", 9, True),
    "something behind": (b'{"data": []} {"data": []}', "Extra data", 13, True),
    "an escape that does not exist": (rb'["\x41"]', "Invalid \\escape", 2, True),
    "half of it": (b'{"data": [{"id"', "Expecting ':' delimiter", 15, False),
    "half of a text": (b'{"data": [{"id": "ga', "Unterminated string starting at", 17, False),
    "half of a word": (b'{"data": tru', "Expecting value", 9, False),
    "half of a number": (b'{"data": 1.', "Expecting ',' delimiter", 10, False),
    "a sign": (b'{"data": -', "Expecting value", 9, False),
    "half of an escape": (rb'{"data": "\ud8', "Invalid \\uXXXX escape", 11, False),
    "cut behind an inner bracket": (b'{"data": [{"id": 1}', "Expecting ',' delimiter", 19, False),
    "half of it and blanks": (b'{"data": [  \n ', "Expecting value", 14, False),
    "a page": (b"<html><b>down</b></html>", "Expecting value", 0, False),
    "nothing": (b"", "Expecting value", 0, False),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_what_a_lenient_reader_takes_is_taken(kind: str) -> None:
    content, expected = TAKEN[kind]
    found = parse_json(content)
    assert found == expected
    # UTF-8 can encode it
    assert json.dumps(found, ensure_ascii=False).encode()


@pytest.mark.parametrize("kind", REFUSED)
def test_what_nobody_can_read_is_refused_with_the_place(kind: str) -> None:
    content, reason, place, is_complete = REFUSED[kind]
    with pytest.raises(MalformedJSONError) as error:
        parse_json(content)
    assert error.value.reason.startswith(reason)
    assert (error.value.position, error.value.is_complete) == (place, is_complete)


def test_an_error_shows_what_is_around_the_place() -> None:
    text = '{"data": [' + '{"id": 1}, ' * 1_000 + 'oops, {"id": 2}]}' + " " * 100
    with pytest.raises(MalformedJSONError) as error:
        parse_json(text.encode())
    place = text.index("oops")
    assert (error.value.position, error.value.near) == (place, text[place - 40 : place + 40])
