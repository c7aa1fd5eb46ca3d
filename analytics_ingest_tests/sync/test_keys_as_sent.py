"""Keys are compared as they were sent: what one column cannot tell apart is rejected by name, and nothing is merged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from analytics_ingest.sync.verify import verify_api
from analytics_ingest_tests.conftest import query
from analytics_ingest_tests.trials import API, LOG, NAME, Rows

if TYPE_CHECKING:
    from pathlib import Path

    from analytics_ingest_tests.trials import Trial

KEYS: dict[str, tuple[list[Any], list[str], list[Any]]] = {
    # the keys as sent, those that are stored, as text, and those that are rejected
    "a number and a text that only looks like it": ([7, "007"], ["7", "007"], []),
    "forms of one number": ([7, "007", "+7", "7.0", " 7", "7 "], ["7", "007", "+7", "7.0", " 7", "7 "], []),
    "a number and the same as text": ([7, "7"], ["7"], ["7"]),
    "the same as text first": (["7", 7], ["7"], [7]),
    "texts among numbers": ([1, 2, "x", 3], ["1", "2", "x", "3"], []),
    "truth and 1": ([1, True, "true", 0, False, 0.0], ["1", "true", "0", "false"], ["true", 0.0]),
    "fractions": ([1.5, "1.5", 2, 2.0, 1e16], ["1.5", "2", "1e+16"], ["1.5", 2.0]),
    "large numbers": (
        [2**53, 2**53 + 1, 2**63 - 1, -(2**63)],
        [str(2**53), str(2**53 + 1), str(2**63 - 1), str(-(2**63))],
        [],
    ),
    "numbers that Python hashes alike": (
        [3, 2**63 - 1, 0, 2**61 - 1, -1, -2],
        ["3", str(2**63 - 1), "0", str(2**61 - 1), "-1", "-2"],
        [],
    ),
    "numbers beyond 64 bits": ([2**63, 2**70, 2**70 + 1, 5], [str(2**63), str(2**70), str(2**70 + 1), "5"], []),
    "minus": ([-7, "-7x", "-07"], ["-7", "-7x", "-07"], []),
    "cases": (["a", "A", "ä", "a\u0308", "ß", "SS"], ["a", "A", "ä", "a\u0308", "ß", "SS"], []),
    "times": (["2026-01-01", "2026-01-01T00:00:00Z"], ["2026-01-01", "2026-01-01T00:00:00Z"], []),
    "blanks": (["", " ", "\t", "\n"], ["", " ", "\t", "\n"], []),
    "no keys": ([None, [7], {"id": 7}, 7], ["7"], [None, [7], {"id": 7}]),
}


def stored_keys(tmp_path: Path, table: str = "things") -> list[str]:
    return sorted(str(key) for (key,) in query(tmp_path, f"SELECT id FROM {NAME}.{table} WHERE _deleted_at IS NULL"))


def rejected_keys(tmp_path: Path) -> list[Any]:
    tables = query(tmp_path, "SELECT 1 FROM information_schema.tables WHERE table_name = '_rejected_rows'")
    rows = query(tmp_path, f"SELECT row, reason FROM {NAME}._rejected_rows") if tables else []
    assert all(reason for _, reason in rows)
    return sorted((json.loads(row)["sent"]["id"] for row, _ in rows), key=repr)


@pytest.mark.parametrize("pages", ["one page", "a page each"])
@pytest.mark.parametrize("kind", KEYS)
def test_keys_as_sent(trial_api: Trial, tmp_path: Path, kind: str, pages: str) -> None:
    keys, stored, rejected = KEYS[kind]
    rows = [{"id": key, "name": f"row {place}"} for place, key in enumerate(keys)]
    trial_api.rows = Rows(things=[rows] if pages == "one page" else [[row] for row in rows])
    result = trial_api.sync("things")["things"]
    assert stored_keys(tmp_path) == sorted(stored)
    assert rejected_keys(tmp_path) == sorted(rejected, key=repr)
    assert result.reading.rows_rejected == len(rejected)
    assert (result.status, result.table_rows) == ("complete", len(stored))
    # no key is taken for another one, which would be a sign that rows move between pages
    assert (result.reading.lists_unsettled, result.reading.pages) == (0, len(trial_api.rows.things))
    again = trial_api.sync("things")["things"]
    assert (again.reading.rows_loaded, stored_keys(tmp_path)) == (0, sorted(stored))
    verified = {each.endpoint.name: each for each in verify_api(API, selected={"things"}, log=LOG)}
    assert (verified["things"].outcome, verified["things"].rejected) == ("same", len(rejected))


@pytest.mark.parametrize("first", [[1, 2], ["1", "2"]])
@pytest.mark.parametrize("second", [[1, 2], ["1", "2"]])
def test_keys_that_are_sent_in_another_type_later_are_the_same_rows(
    trial_api: Trial, tmp_path: Path, first: list[Any], second: list[Any]
) -> None:
    for keys in (first, second, second):
        trial_api.rows = Rows(things=[[{"id": key} for key in keys]], parts={"1": [[{"id": 5}]]})
        results = trial_api.sync()
        assert stored_keys(tmp_path) == ["1", "2"]
        assert query(tmp_path, f"SELECT count(*) FROM {NAME}.parts") == [(1,)]
        assert {result.status for result in results.values()} == {"complete"}
    assert [result.reading.rows_loaded for result in results.values()] == [0, 0, 0, 0]
    assert {each.outcome for each in verify_api(API, log=LOG)} == {"same"}


def test_children_of_every_kind_of_key(trial_api: Trial, tmp_path: Path) -> None:
    keys = [7, "007", "a/b", "ä b", "x?y#z", "%41", 2**70, 1.5, True]
    names = ["7", "007", "a/b", "ä b", "x?y#z", "%41", str(2**70), "1.5", "true"]
    parts = {name: [[{"id": 1, "of": name}, {"id": "1x", "of": name}]] for name in names}
    trial_api.rows = Rows(things=[[{"id": key} for key in keys]], parts=parts)
    results = trial_api.sync()
    assert {result.status for result in results.values()} == {"complete"}
    found = query(tmp_path, f"SELECT thing_id, id, of FROM {NAME}.parts")
    assert sorted(found) == sorted((name, key, name) for name in names for key in ("1", "1x"))
    assert [result.reading.rows_loaded for result in trial_api.sync().values()] == [0, 0, 0, 0]
    assert {each.outcome for each in verify_api(API, log=LOG)} == {"same"}
