"""The generated trials find what they are for: each defect that is put in makes them fail (``make fuzz-defects``)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from analytics_ingest.extract import column_names, column_types, rows
from analytics_ingest.extract.column_types import Kind
from analytics_ingest.extract.deletions import Deletions
from analytics_ingest.http import session, transport
from analytics_ingest.timestamps import to_utc
from analytics_ingest_tests.environment import use_folder
from analytics_ingest_tests.fuzz.strategies import Trials, trials
from analytics_ingest_tests.fuzz.test_generated_rows import MAX_ANSWER, Warehouse, run_draw
from analytics_ingest_tests.trials import trial

DRAWS = 60
"""Draws after which a defect counts as not found."""
Patch = pytest.MonkeyPatch


def a_field_without_a_name_raises(patch: Patch) -> None:
    """FAULTS A: a row with a field named ``""``."""
    patch.setattr(column_names, "UNNAMED", "")


def whole_numbers_are_taken_for_64_bits(patch: Patch) -> None:
    """FAULTS A: an integer of 2^63 in any field."""
    plain = column_types.kind_of
    patch.setattr(column_types, "kind_of", lambda value: Kind.LARGE if plain(value) is Kind.HUGE else plain(value))


def deep_values_raise(patch: Patch) -> None:
    """FAULTS A: a field nested 260 levels deep."""
    patch.setitem(column_types.CONVERSIONS, "json", lambda value: orjson.dumps(value).decode())


def times_out_of_range_raise(patch: Patch) -> None:
    """FAULTS A: a declared timestamp before year 1 or after year 9999 in UTC."""
    plain = to_utc

    def raising(value: Any) -> Any:
        if isinstance(value, str) and "T00:00:00+14:00" in value:
            raise OverflowError("date value out of range")
        return plain(value)

    patch.setattr(rows, "to_utc", raising)


def the_first_value_decides(patch: Patch) -> None:
    """FAULTS B: 3, then 0.375."""
    plain = column_types.column_type

    def first(kinds: Kind) -> str:
        return "bigint" if kinds == Kind.WHOLE | Kind.DOUBLE else plain(kinds)

    patch.setattr(column_types, "column_type", first)


def texts_that_look_like_times_become_times(patch: Patch) -> None:
    """FAULTS B: ``"2026-01-01T00:00:00Z"``, then ``"42"``."""
    plain = column_types.as_text
    found = {"2026-01-01T00:00:00Z": "2026-01-01 00:00:00"}
    patch.setitem(
        column_types.CONVERSIONS,
        "text",
        lambda value: found.get(value, plain(value)) if isinstance(value, str) else plain(value),
    )
    patch.setattr(column_types.ColumnTypes, "fit_natively", lambda _self, _name, _kind: False)


def truth_is_a_number(patch: Patch) -> None:
    """FAULTS B: true, then 7, then "x"."""
    patch.setitem(column_types.KINDS, bool, Kind.WHOLE)


def rejected_rows_count_as_gone(patch: Patch) -> None:
    """FAULTS C: a list of which a row was rejected was not read completely."""
    patch.setattr(Deletions, "reject", lambda _self, _path: None)


def answers_have_no_bound(patch: Patch) -> None:
    """FAULTS D: no bound on what an answer may cost."""
    plain = transport.Transport.__init__

    def unbounded(self: Any, *arguments: Any, **options: Any) -> None:
        plain(self, *arguments, **options)
        self._max_bytes = 2**40

    patch.setattr(transport.Transport, "__init__", unbounded)


def two_fields_share_a_column(patch: Patch) -> None:
    """FAULTS L, names: fields ``id`` and ``ID``."""
    patch.setattr(column_names.ColumnNames, "_free", lambda _self, _field, plain: plain)


def a_child_says_whose_it_is(patch: Patch) -> None:
    """FAULTS L, identity: a child row that has a ``thing_id`` of its own."""
    patch.setattr(rows.RowNormalizer, "_put", lambda _self, row, name, value: row.setdefault(name, value))


def keys_are_compared_as_a_column_has_them(patch: Patch) -> None:
    """FAULTS L, identity: keys 7 and "7"."""
    patch.setattr(rows.RowNormalizer, "_check_form", lambda *_: None)


def json_is_read_strictly(patch: Patch) -> None:
    """FAULTS L, JSON: one lone surrogate in one text."""
    patch.setattr(session, "parse_json", orjson.loads)


DEFECTS: list[Callable[[Patch], None]] = [
    a_field_without_a_name_raises,
    whole_numbers_are_taken_for_64_bits,
    deep_values_raise,
    times_out_of_range_raise,
    the_first_value_decides,
    texts_that_look_like_times_become_times,
    truth_is_a_number,
    rejected_rows_count_as_gone,
    answers_have_no_bound,
    two_fields_share_a_column,
    a_child_says_whose_it_is,
    keys_are_compared_as_a_column_has_them,
    json_is_read_strictly,
]


class FoundError(Exception):
    """A draw has failed: there is no need for another one."""


@pytest.mark.skipif("FUZZ_DEFECTS" not in os.environ, reason="takes minutes: make fuzz-defects")
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_defect_is_found(
    defect: Callable[[Patch], None],
    tmp_path: Path,
    monkeypatch: Patch,
    record_property: Callable[[str, object], None],
) -> None:
    warehouse = Warehouse(tmp_path / "draw")
    use_folder(monkeypatch, warehouse.folder)
    defect(monkeypatch)
    drawn = 0

    @settings(
        max_examples=DRAWS,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(draw=trials())
    def search(draw: Trials) -> None:
        nonlocal drawn
        drawn += 1
        try:
            run_draw(draw, upstream, warehouse)
        except Exception as error:
            raise FoundError(f"{drawn} draws: {error}") from error

    with trial(monkeypatch, MAX_ANSWER_BYTES=str(MAX_ANSWER)) as upstream, pytest.raises(FoundError) as found:
        search()
    record_property("found", str(found.value)[:300])
