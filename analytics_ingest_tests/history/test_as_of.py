"""Thirty syncs of a configuration that is edited in between, some of them killed: the views give what was true when."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from analytics_ingest_tests.history.configuration import (
    API,
    ENDPOINTS,
    KEYS,
    UNVERSIONED,
    Configuration,
    Key,
    Row,
    Rows,
    history,
    key_of,
    present,
    rows,
    run,
    sent,
    serving_into,
)
from analytics_ingest_tests.history.killed_sync import (
    BEFORE_LEDGER,
    BEFORE_MARKS,
    BEFORE_VERSIONS,
    BETWEEN_VERSIONS,
    IN_LOAD,
    Place,
    run_killed,
)
from analytics_ingest_tests.stores import DESTINATIONS, Store

pytestmark = pytest.mark.extended
SEED = 19
SYNCS = 30
EDITS = 200
KILLS = (IN_LOAD, BEFORE_MARKS, BEFORE_VERSIONS, BETWEEN_VERSIONS, BEFORE_LEDGER)
NEW_COLUMN, WIDENED = 10, 20
"""The syncs before which gates get another field, and a share becomes a text."""


class Script:
    """Edits of a configuration, drawn from a seed.

    Attributes:
        made: How many edits of each kind were made.
    """

    def __init__(self, upstream: Configuration, seed: int) -> None:
        self.made: Counter[str] = Counter()
        self._upstream = upstream
        self._random = Random(seed)
        self._deleted: dict[str, Rows] = {name: {} for name in ENDPOINTS}
        self._former: list[tuple[str, Key, str, Any]] = []
        self._number = 0
        self._sync = 0
        for number in range(12):
            self._add("gates", f"gate {number}")
            for rule in range(self._random.randint(1, 3)):
                self._add("gates_rules", f"gate {number}", f"rule {rule}")
        for number in range(11):
            self._add("segments", f"segment {number}")

    def edit(self, sync: int, count: int, endpoints: tuple[str, ...]) -> None:
        """Makes edits before a sync."""
        self._sync = sync
        if sync == NEW_COLUMN:
            self._upstream.put("gates", *self._pick("gates"), owner={"id": 0})
        if sync == WIDENED:
            self._upstream.put("gates", *self._pick("gates"), share="0.5 %")
        while count:
            endpoint = self._random.choice(endpoints)
            kinds = ("change", "silent change", "delete", "restore", "flip back", "add", "measure")
            kind = self._random.choices(kinds, (8, 3, 3, 3, 4, 2, 2))[0]
            if getattr(self, f"_{kind.replace(' ', '_')}")(endpoint):
                self.made[kind] += 1
                count -= 1

    def edit_all(self, sync: int) -> None:
        """Changes rows of each endpoint and deletes one, so that a sync comes to every place where it may be killed."""
        self._sync = sync
        for endpoint in ENDPOINTS:
            while not self._change(endpoint):
                pass
            self.made["change"] += 1
        while not self._delete("segments"):
            self._add("segments")
        self.made["delete"] += 1

    def _add(self, endpoint: str, *key: Any) -> bool:
        if not key:
            self._number += 1
            name = f"added {self._number}"
            key = (self._pick("gates")[0], name) if endpoint == "gates_rules" else (name,)
        values: dict[str, dict[str, Any]] = {
            "gates": {"name": "new", "is_enabled": True, "share": 0, "tags": ["a", {"b": None}], UNVERSIONED: 1},
            "gates_rules": {"name": "new", "conditions": {"b": [1], "a": "it's 100 %"}, "weight": 0.5},
            "segments": {"name": "new", "count": 2**53 + 1},
        }
        self._upstream.put(endpoint, *key, **values[endpoint], **self._time(endpoint))
        return True

    def _change(self, endpoint: str, *, silent: bool = False) -> bool:
        key, random = self._pick(endpoint), self._random
        row = self._upstream.held[endpoint][key]
        choices = {
            "gates": ["name", "is_enabled", "share", "tags", *(["owner"] if self._sync >= NEW_COLUMN else [])],
            "gates_rules": ["name", "conditions", "weight"],
            "segments": ["name", "count"],
        }
        name = random.choice(choices[endpoint])
        number = random.randint(1, 9)
        value = {
            "name": random.choice([f"é '{number}' %s", f'"{number}"', "", None]),
            "is_enabled": not row.get("is_enabled"),
            "share": f"{number} %" if self._sync >= WIDENED and random.random() < 0.5 else number,
            "tags": random.choice([[], [number], {"deep": {"number": number}}, None]),
            "owner": {"id": number},
            "conditions": {"a": number, "b": [number]},
            "weight": number / 8,
            "count": -number,
        }[name]
        if row.get(name) == value:
            return False
        self._former.append((endpoint, key, name, row.get(name)))
        self._upstream.put(endpoint, *key, **{name: value}, **({} if silent else self._time(endpoint)))
        return True

    def _silent_change(self, endpoint: str) -> bool:
        return self._change(endpoint, silent=True)

    def _measure(self, endpoint: str) -> bool:
        self._upstream.put("gates", *self._pick("gates"), **{UNVERSIONED: self._random.randint(1, 1_000)})
        return True

    def _delete(self, endpoint: str) -> bool:
        if len(self._upstream.held[endpoint]) < 9:
            return False
        for key, row in self._upstream.drop(endpoint, *self._pick(endpoint)).items():
            self._deleted["gates_rules" if len(key) > 1 else endpoint][key] = row
        return True

    def _restore(self, endpoint: str) -> bool:
        there = self._upstream.held["gates"]
        found = [key for key in self._deleted[endpoint] if endpoint != "gates_rules" or (key[0],) in there]
        if not found:
            return False
        key = self._random.choice(found)
        # as it was, or with a new time
        values = self._deleted[endpoint].pop(key) | self._random.choice([{}, self._time(endpoint)])
        self._upstream.put(endpoint, *key, **values)
        return True

    def _flip_back(self, endpoint: str) -> bool:
        left = [each for each in self._former if each[0] == endpoint and each[1] in self._upstream.held[endpoint]]
        if not left:
            return False
        _, key, name, value = chosen = self._random.choice(left[-5:])
        self._former.remove(chosen)
        if self._upstream.held[endpoint][key].get(name) == value:
            return False
        self._upstream.put(endpoint, *key, **{name: value}, **self._random.choice([{}, self._time(endpoint)]))
        return True

    def _time(self, endpoint: str) -> Row:
        """The vendor's time of a change: mostly right, sometimes of a clock that is behind or ahead."""
        if endpoint != "gates":
            return {}
        hours = self._random.choices((0, -24, 1), (8, 1, 1))[0]
        return {"updated_at": (datetime.now(UTC) + timedelta(hours=hours)).isoformat()}

    def _pick(self, endpoint: str) -> Key:
        return self._random.choice(list(self._upstream.held[endpoint]))


@dataclass
class Played:
    """What the script has left.

    Attributes:
        store: The destination, whose upstream is still served.
        held: By sync what the upstream held then.
        killed: The syncs that were killed.
        alone: The sync of one child.
        made: How many edits of each kind were made.
        quiet: The versions by endpoint after the script; and those after a sync without changes and a full refresh.
    """

    store: Store
    held: list[dict[str, Rows]] = field(default_factory=list)
    killed: dict[int, Place] = field(default_factory=dict)
    alone: int = 0
    made: Counter[str] = field(default_factory=Counter)
    quiet: list[dict[str, list[Row]]] = field(default_factory=list)


def play(upstream: Configuration, store: Store, seed: int) -> Played:
    """Plays the script."""
    random, script, played = Random(seed), Script(upstream, seed), Played(store)
    *kills, refresh = random.sample(range(3, SYNCS - 1, 2), 6)
    played.killed = dict(zip(kills, random.sample(KILLS, len(KILLS)), strict=True))
    # after a complete sync, as the child's parents are those of the table
    played.alone = random.choice([each for each in range(2, SYNCS - 1, 2) if each - 1 not in kills])
    for number in range(SYNCS):
        if number:
            script.edit(number, EDITS // (SYNCS - 3), ("gates_rules",) if number == played.alone else ENDPOINTS)
        if number in played.killed:
            script.edit_all(number)
            run_killed(played.killed[number], run_id=str(number))
        else:
            selected = ("gates_rules",) if number == played.alone else ENDPOINTS
            results = run(*selected, full_refresh=number == refresh, run_id=str(number))
            assert {name: result.reason for name, result in results.items()} == dict.fromkeys(selected, "")
        played.held.append(upstream.snapshot())
    played.made = script.made
    played.quiet.append(versions(store))
    run()
    upstream.put("gates", *next(iter(upstream.held["gates"])), **{UNVERSIONED: 1_001})
    run(full_refresh=True)
    played.quiet.append(versions(store))
    return played


def versions(store: Store) -> dict[str, list[Row]]:
    return {name: history(store, name) for name in ENDPOINTS}


@pytest.fixture(scope="module", params=DESTINATIONS)
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("played")
    with serving_into(request.param, folder) as (store, upstream):
        yield play(upstream, store, SEED)


def stored(endpoint: str, row: Row) -> Row:
    """A row as the table has it, but for the columns that have no versions."""
    times = {name: datetime.fromisoformat(row[name]) for name in ("updated_at",) if row.get(name)}
    found = {**row, **times}
    if endpoint == "gates":
        del found[UNVERSIONED]
        # the column is text by now
        found["share"] = str(found["share"])
    return {name: value for name, value in found.items() if value is not None}


def shown(row: Row) -> Row:
    """The same of a row of a table or a view."""
    return {name: value for name, value in sent(row).items() if name != UNVERSIONED and value is not None}


def test_the_script_has_all_that_it_should(played: Played) -> None:
    assert sum(played.made.values()) >= EDITS
    assert min(played.made.values()) > 5
    assert len(played.made) == 7
    assert len(played.held) == SYNCS
    seen = {row["_operation"] for name in ENDPOINTS for row in played.quiet[0][name]}
    assert seen == {"baseline", "insert", "update", "delete", "restore"}


def test_the_ledger_has_every_sync(played: Played) -> None:
    ledger = rows(played.store, f"SELECT run_id, endpoint, status FROM {API}._syncs WHERE length(run_id) < 3")
    expected = {
        (str(number), name, "interrupted" if number in played.killed else "complete")
        for number in range(SYNCS)
        for name in (("gates_rules",) if number == played.alone else ENDPOINTS)
    }
    assert sorted(tuple(row.values()) for row in ledger) == sorted(expected)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_the_view_gives_what_the_upstream_held_at_every_complete_sync(played: Played, endpoint: str) -> None:
    found: dict[int, Rows] = defaultdict(dict)
    for row in rows(
        played.store,
        f"SELECT s.run_id AS _run_id, v.* FROM {API}._syncs s JOIN {API}.{endpoint}_as_of v "
        "ON v._valid_from <= s.started_at AND (v._valid_to IS NULL OR s.started_at < v._valid_to) "
        f"WHERE s.endpoint = '{endpoint}' AND s.status = 'complete' AND length(s.run_id) < 3",
    ):
        of = found[int(row["_run_id"])]
        assert key_of(endpoint, row) not in of
        of[key_of(endpoint, row)] = shown(row)
    complete = [number for number in range(SYNCS) if number not in played.killed]
    if endpoint != "gates_rules":
        complete.remove(played.alone)
    assert sorted(found) == complete
    for number in complete:
        held = {key: stored(endpoint, row) for key, row in played.held[number][endpoint].items()}
        assert (number, found[number]) == (number, held)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_no_two_versions_of_a_key_overlap(played: Played, endpoint: str) -> None:
    order = ", ".join((*KEYS[endpoint], "_valid_from"))
    found = rows(played.store, f"SELECT * FROM {API}.{endpoint}_as_of ORDER BY {order}")
    assert all(row["_valid_to"] is None or row["_valid_from"] < row["_valid_to"] for row in found)
    for former, row in pairwise(found):
        if key_of(endpoint, former) == key_of(endpoint, row):
            assert former["_valid_to"] <= row["_valid_from"]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_the_last_version_equals_the_table(played: Played, endpoint: str) -> None:
    last = rows(played.store, f"SELECT * FROM {API}.{endpoint}_as_of WHERE _valid_to IS NULL")
    table = {key: shown(row) for key, row in present(played.store, endpoint).items()}
    assert {key_of(endpoint, row): shown(row) for row in last} == table
    assert len(last) == len(table)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_each_version_differs_from_the_one_before(played: Played, endpoint: str) -> None:
    found = played.quiet[0][endpoint]
    for former, row in pairwise(found):
        if key_of(endpoint, former) != key_of(endpoint, row):
            assert row["_operation"] in ("baseline", "insert")
            continue
        assert former["_seen_at"] < row["_seen_at"]
        assert (former["_operation"] == "delete") is (row["_operation"] == "restore")
        assert (row["_operation"] == "update") is (row["_operation"] not in ("delete", "restore"))
        if row["_operation"] == "update":
            assert shown(former) != shown(row)


def test_a_sync_without_changes_and_a_full_refresh_add_no_version(played: Played) -> None:
    before, after = played.quiet
    assert after == before
