"""Keys are compared as they were sent: what one column cannot tell apart is rejected by name, and nothing is merged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from analytics_ingest.diagnostics.verify import VerifyResult, verify_api
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.conftest import query, sandbox_in
from analytics_ingest_tests.trials import API, LOG, NAME, NumberedRows, Rows, Trial, numbered, run, trial

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
    "long numbers and the same as text": (
        [10**44, str(10**44), str(10**45), 10**45, -(10**40), str(-(10**40)), 10**39, f"0{10**39}"],
        [str(10**44), str(10**45), str(-(10**40)), str(10**39), f"0{10**39}"],
        [str(10**44), str(10**45), str(-(10**40))],
    ),
    "minus": ([-7, "-7x", "-07"], ["-7", "-7x", "-07"], []),
    "cases": (["a", "A", "ä", "a\u0308", "ß", "SS"], ["a", "A", "ä", "a\u0308", "ß", "SS"], []),
    "times": (["2026-01-01", "2026-01-01T00:00:00Z"], ["2026-01-01", "2026-01-01T00:00:00Z"], []),
    "blanks": (["", " ", "\t", "\n"], ["", " ", "\t", "\n"], []),
    "no keys": ([None, [7], {"id": 7}, 7], ["7"], [None, [7], {"id": 7}]),
}


def stored_keys(folder: Path, table: str) -> list[str]:
    return sorted(str(key) for (key,) in query(folder, f"SELECT id FROM {NAME}.{table} WHERE _deleted_at IS NULL"))


@dataclass
class Twice:
    """Two syncs of an API with a list for each case, and a verification after them."""

    syncs: list[dict[str, EndpointResult]] = field(default_factory=list)
    stored: list[dict[str, list[str]]] = field(default_factory=list)
    rejected: dict[str, list[Any]] = field(default_factory=dict)
    verified: dict[str, VerifyResult] = field(default_factory=dict)


@pytest.fixture(scope="module")
def syncs_of_keys(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Twice]:
    """The syncs of all kinds of keys on pages of one kind, made when they are first asked for."""
    return cache(lambda pages: sync_twice(tmp_path_factory.mktemp("keys"), pages))


def sync_twice(folder: Path, pages: str) -> Twice:
    api = replace(API, endpoints=tuple(numbered("things", number) for number in range(len(KEYS))))
    found = Twice()
    with sandbox_in(folder), pytest.MonkeyPatch.context() as patch, trial(patch) as upstream:
        upstream.rows = NumberedRows(lists=[pages_of(kind, pages) for kind in KEYS])
        for _ in range(2):
            found.syncs.append(run(api))
            found.stored.append({name: stored_keys(folder, name) for name in api.by_name})
            if len(found.syncs) == 1:
                for name, sent, reason in query(folder, f"SELECT endpoint, row, reason FROM {NAME}._rejected_rows"):
                    assert reason
                    found.rejected.setdefault(name, []).append(json.loads(sent)["sent"]["id"])
        found.verified |= {each.endpoint.name: each for each in verify_api(api, log=LOG)}
    return found


def pages_of(kind: str, pages: str) -> list[list[Any]]:
    rows = [{"id": key, "name": f"row {place}"} for place, key in enumerate(KEYS[kind][0])]
    return [rows] if pages == "one page" else [[row] for row in rows]


@pytest.mark.parametrize("pages", [pytest.param("one page", marks=pytest.mark.extended), "a page each"])
@pytest.mark.parametrize("kind", KEYS)
def test_keys_as_sent(syncs_of_keys: Callable[[str], Twice], kind: str, pages: str) -> None:
    _, stored, rejected = KEYS[kind]
    name, found = f"things_{list(KEYS).index(kind)}", syncs_of_keys(pages)
    result, again = (results[name] for results in found.syncs)
    assert found.stored[0][name] == found.stored[1][name] == sorted(stored)
    assert sorted(found.rejected.get(name, []), key=repr) == sorted(rejected, key=repr)
    assert result.stats.rows_rejected == len(rejected)
    assert (result.status, result.table_rows) == ("complete", len(stored))
    # no key is taken for another one, which would be a sign that rows move between pages
    assert (result.stats.lists_unsettled, result.stats.pages) == (0, len(pages_of(kind, pages)))
    assert again.stats.rows_loaded == 0
    assert (found.verified[name].outcome, found.verified[name].rejected) == ("same", len(rejected))


@pytest.mark.parametrize(
    "types",
    [
        pytest.param([([1, 2], ["1", "2"]), (["1", "2"], [1, 2])], id="another type"),
        pytest.param([([1, 2], [1, 2]), (["1", "2"], ["1", "2"])], id="the same type", marks=pytest.mark.extended),
    ],
)
def test_keys_that_are_sent_in_another_type_later_are_the_same_rows(
    trial_api: Trial, tmp_path: Path, types: list[tuple[list[Any], list[Any]]]
) -> None:
    orders = [(first, second, second) for first, second in types]
    api = replace(API, endpoints=tuple(numbered(name, of) for of in range(len(orders)) for name in ("things", "parts")))
    parts = [{"1": [[{"id": 5}]]} for _ in orders]
    for sync in range(3):
        trial_api.rows = NumberedRows(
            lists=[[[{"id": key} for key in order[sync]]] for order in orders], children=parts
        )
        results = run(api)
        assert {result.status for result in results.values()} == {"complete"}
        for number, order in enumerate(orders):
            assert stored_keys(tmp_path, f"things_{number}") == ["1", "2"], order
            assert query(tmp_path, f"SELECT count(*) FROM {NAME}.parts_{number}") == [(1,)], order
    assert {name: result.stats and result.stats.rows_loaded for name, result in results.items()} == dict.fromkeys(
        api.by_name, 0
    )
    assert {each.outcome for each in verify_api(api, log=LOG)} == {"same"}


def test_children_of_every_kind_of_key(trial_api: Trial, tmp_path: Path) -> None:
    keys = [7, "007", "a/b", "ä b", "x?y#z", "%41", 2**70, 1.5, True]
    names = ["7", "007", "a/b", "ä b", "x?y#z", "%41", str(2**70), "1.5", "true"]
    parts = {name: [[{"id": 1, "of": name}, {"id": "1x", "of": name}]] for name in names}
    trial_api.rows = Rows(things=[[{"id": key} for key in keys]], parts=parts)
    results = trial_api.sync()
    assert {result.status for result in results.values()} == {"complete"}
    found = query(tmp_path, f"SELECT thing_id, id, of FROM {NAME}.parts")
    assert sorted(found) == sorted((name, key, name) for name in names for key in ("1", "1x"))
    assert [result.stats.rows_loaded for result in trial_api.sync().values()] == [0, 0, 0, 0]
    assert {each.outcome for each in verify_api(API, log=LOG)} == {"same"}
