"""The hierarchy of types: the table in the documentation is what the code does, and no order of values matters."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from analytics_ingest.extract.column_types import (
    NATIVE,
    ColumnTypes,
    Kind,
    as_json,
    as_text,
    column_type,
    is_whole,
    key_type,
    kind_of,
    number_text,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "types.md"
NAMES = {
    "whole": Kind.WHOLE,
    "large": Kind.LARGE,
    "huge": Kind.HUGE,
    "fraction": Kind.DOUBLE,
    "truth": Kind.BOOL,
    "text": Kind.TEXT,
    "time": Kind.TIME,
    "object": Kind.JSON,
}
NOON = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)


def test_the_documented_table_is_what_the_code_does() -> None:
    lines = DOCUMENT.read_text().splitlines()
    start = lines.index("| | whole | large | huge | fraction | truth | text | time | object |")
    names = [cell.strip() for cell in lines[start].strip("|").split("|")][1:]
    assert names == list(NAMES)
    for line in lines[start + 2 : start + 2 + len(names)]:
        first, *found = [cell.strip() for cell in line.strip("|").split("|")]
        assert found == [column_type(NAMES[first] | NAMES[second]) for second in names]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (0, Kind.WHOLE),
        (2**53, Kind.WHOLE),
        (-(2**53), Kind.WHOLE),
        (2**53 + 1, Kind.LARGE),
        (2**63 - 1, Kind.LARGE),
        (-(2**63), Kind.LARGE),
        (2**63, Kind.HUGE),
        (-(2**63) - 1, Kind.HUGE),
        (3.0, Kind.DOUBLE),
        (True, Kind.BOOL),
        ("", Kind.TEXT),
        (NOON, Kind.TIME),
        ({}, Kind.JSON),
        ([], Kind.JSON),
    ],
)
def test_kinds(value: Any, kind: Kind) -> None:
    assert kind_of(value) is kind


def test_no_type_becomes_narrower_by_another_value() -> None:
    """More kinds of values never give a type that does not hold those of before."""
    wider = {"bigint": 0, "double": 1, "bool": 0, "timestamp": 0, "text": 2, "json": 3}
    for size in range(1, 5):
        for kinds in itertools.combinations(NAMES.values(), size):
            union = Kind(sum(kinds))
            for more in NAMES.values():
                assert wider[column_type(union | more)] >= wider[column_type(union)]
                assert key_type(union | more) in ("bigint", "timestamp", "text")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (3.0, "3"),
        (-0.0, "0"),
        (0.375, "0.375"),
        (1e15, "1000000000000000"),
        (1e16, "1e+16"),
        (5e-324, "5e-324"),
        (float(2**53), str(2**53)),
        (2**70, str(2**70)),
        (9007199254740994.0, "9007199254740994.0"),
    ],
)
def test_a_number_as_text(value: float, text: str) -> None:
    assert number_text(value) == as_text(value) == text
    assert json.loads(text) == value


@pytest.mark.parametrize(
    ("value", "text", "encoded"),
    [
        (True, "true", "true"),
        ("x", "x", '"x"'),
        (NOON, "2026-01-01T12:30:00+00:00", '"2026-01-01T12:30:00+00:00"'),
        ([1, {"a": None}], '[1,{"a":null}]', '[1,{"a":null}]'),
        ([2**70], f"[{2**70}]", f"[{2**70}]"),
    ],
)
def test_other_values_as_text_and_as_json(value: Any, text: str, encoded: str) -> None:
    assert (as_text(value), as_json(value)) == (text, encoded)


def test_stored_types_stay_as_long_as_values_fit() -> None:
    values: dict[str, list[Any]] = {
        "bigint": [3, -7],
        "double": [3, 0.5],
        "bool": [True],
        "text": ["x"],
        "timestamp": [NOON],
        "json": [{}, 1, "x"],
    }
    for kind, fitting in values.items():
        types = ColumnTypes({"value": kind}, times={"value"})
        for value in fitting:
            types.add_row({"value": value})
        assert (types.now(), types.widened) == ({"value": kind}, [])
    assert set(values) == set(NATIVE)


@pytest.mark.parametrize("stored", [{}, {"value": "bigint"}, {"value": "double"}])
def test_a_declared_double_is_one_from_the_first_whole_number_on(stored: dict[str, str]) -> None:
    types = ColumnTypes(stored, doubles={"value", "other"})
    types.add_row({"value": 3})

    assert (types.now(), types.widened) == ({"value": "double"}, [])
    assert not types.fit_natively("value", "double")


@pytest.mark.parametrize("values", [(2**60, 3), (3, 2**60), (2**60,)])
def test_a_declared_double_loses_no_digit(values: tuple[int, ...]) -> None:
    types = ColumnTypes({}, doubles={"value"})
    for value in values:
        types.add_row({"value": value})

    assert types.now() == {"value": "text"}


@pytest.mark.parametrize(("text", "whole"), [("7", True), ("-7", True), ("007", False), ("+7", False), ("-0", False)])
def test_texts_that_are_whole_numbers(text: str, whole: bool) -> None:
    assert is_whole(text) is whole
    assert is_whole("9" * 30) is False
