"""The result of each check, by the facts of a table."""

from __future__ import annotations

from typing import Any

from analytics_ingest.apis.registry import APIS
from analytics_ingest.sync.table_checks import TABLE_CHECKS, CheckResult, TableFacts, check_table
from analytics_ingest.warehouse.table_queries import Counts, EmptyDatasetTables

API = APIS["experimentation"]
SOUND: dict[str, Any] = {
    "api": API,
    "endpoint": API.by_name["gates"],
    "tables": EmptyDatasetTables(),
    "counts": Counts(rows=40, live=40, doubled=0, lacking=0),
    "rows_before": 40,
    "rows_now": 40,
    "min_share": 0.5,
    "rows_withheld": 0,
    "rows_short": 0,
    "lists_unsettled": 0,
    "rows_rejected": 0,
    "unproven_since": None,
    "newest_before": None,
    "newest": None,
    "columns_before": {},
    "columns": {"id": "text"},
    "paths": set,
}
"""A table that passes every check."""


def results(**facts: Any) -> dict[str, CheckResult]:
    return {each.name: each for each in check_table(TableFacts(**{**SOUND, **facts}))}


def test_names_are_unique_and_everything_passes_where_nothing_is_wrong() -> None:
    assert len({check.name for check in TABLE_CHECKS}) == len(TABLE_CHECKS)
    assert all(each.passed for each in results().values())


def test_changed_columns_are_listed_one_by_one() -> None:
    before = {"id": "text", "gone": "text", "size": "bigint", "_dlt_id": "text"}
    now = {"id": "text", "size": "double", "more": "json", "size__v_text": "text"}
    lines = results(columns_before=before, columns=now)["schema_unchanged"].message.split("\n")

    assert lines == [
        "more json is new",
        "size__v_text text is new",
        "gone text is gone",
        "size is double, was bigint",
    ]
    assert results(columns_before={}, columns=now)["schema_unchanged"].passed


def test_a_key_of_two_rows_or_without_a_part_fails() -> None:
    counts = Counts(rows=40, live=40, doubled=2, lacking=1)
    found = results(counts=counts)["key_unique"]

    assert (found.passed, found.numbers) == (False, {"doubled": 2, "lacking": 1, "ambiguous": 0})
    assert found.message == "2 keys (id) have more than one row, 1 rows lack a part of it"


def test_a_table_that_lost_too_many_rows_has_collapsed() -> None:
    assert not results(rows_now=19)["rows_not_collapsed"].passed
    assert results(rows_now=21)["rows_not_collapsed"].passed
    withheld = results(rows_withheld=1)["rows_not_collapsed"]
    assert not withheld.passed
    assert withheld.message.endswith("the 1 that did not come stay unmarked until the next sync finds the same")
