"""The columns of a new table: which ones there are, and in which order."""

from __future__ import annotations

import pytest

from analytics_ingest_tests.stores import Store
from analytics_ingest_tests.trials import NAME, Trial

OWN = ["_deleted_at", "_row_hash", "_dlt_load_id", "_dlt_id"]


def names(store: Store, table: str) -> list[str]:
    return store.table(NAME, table)[0]


def test_the_key_comes_first_and_our_own_columns_last(store: Store, trial_api: Trial) -> None:
    trial_api.rows.things = [
        [{"name": "a", "note": None, "seen_at": "2026-01-01T00:00:00Z", "id": 1}],
        [{"id": 2, "note": "b", "extra": {}}],
    ]
    trial_api.rows.parts = {"1": [[{"size": 3, "id": "p"}]]}
    trial_api.rows.states = [[{"on": True, "at": "now"}]]
    trial_api.sync()
    assert names(store, "things") == ["id", "name", "note", "seen_at", "extra", *OWN]
    assert names(store, "parts") == ["thing_id", "id", "size", *OWN]
    assert names(store, "states") == ["on", "at", *OWN[1:]]


def test_a_table_without_rows_has_its_key_and_our_own_columns(store: Store, trial_api: Trial) -> None:
    trial_api.sync()
    found = {table: names(store, table) for table in ("things", "parts", "states")}
    assert found == {"things": ["id", *OWN], "parts": ["thing_id", "id", *OWN], "states": OWN[1:]}


def test_a_declared_time_that_comes_later_is_a_time(store: Store, trial_api: Trial) -> None:
    trial_api.rows.things = [[{"id": 1, "name": "a"}]]
    trial_api.sync("things")
    trial_api.rows.things = [[{"id": 1, "name": "a", "updated_at": "2026-01-01T12:00:00Z", "seen_at": None}]]
    result = trial_api.sync("things")["things"]
    assert result.columns is not None
    assert names(store, "things") == ["id", "name", *OWN, "updated_at"]
    assert result.columns["updated_at"]["data_type"] == "timestamp"
    assert [check.message for check in result.checks if not check.passed] == ["updated_at timestamp is new"]


@pytest.mark.parametrize("first", [[], [[{"id": 2, "name": "other"}]]], ids=["a new table", "a table without times"])
def test_of_two_rows_with_a_key_the_newer_one_wins_once_there_are_times(
    store: Store, trial_api: Trial, first: list[list[dict[str, object]]]
) -> None:
    if first:
        trial_api.rows.things = first
        trial_api.sync("things")
    older, newer = ({"id": 1, "name": day, "updated_at": f"2026-01-0{day}T00:00:00Z"} for day in "12")
    for rows in ([newer, older], [older, newer]):
        trial_api.rows.things = [*first, [dict(row, note=len(first)) for row in rows]]
        trial_api.sync("things", full_refresh=True)
        columns, found = store.table(NAME, "things")
        named = [dict(zip(columns, row, strict=True)) for row in found]
        assert [row["name"] for row in named if row["id"] == 1] == ["2"]
