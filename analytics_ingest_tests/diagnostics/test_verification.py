"""Comparing tables with the API some lists at a time: what is found, what is no alarm, what is repaired."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.diagnostics import verification
from analytics_ingest.diagnostics.row_repair import repair, rows_to_repair
from analytics_ingest.diagnostics.verification import RequestBudget, VerifiedEndpoint, verify_some
from analytics_ingest.extract.column_types import as_text
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sync import api_sync
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest.warehouse.verification_table import Verification
from analytics_ingest_tests.conftest import query, sync
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.stores import Store

LOG = logging.getLogger("test")
BUDGET = 120
FAULTS = 20
API = "experimentation"
OWN = ("_row_hash", "_dlt_id", "_dlt_load_id")


def verify(api: str = API, requests: int | None = None, **options: Any) -> dict[str, VerifiedEndpoint]:
    """Compares some lists of an API; gives what was found by endpoint."""
    return {each.endpoint.name: each for each in verify_some(APIS[api], requests=requests, log=LOG, **options)}


def age(folder: Path, api: str = API, *, days: int = 7) -> None:
    """Makes all comparisons older, so that those of a week are due again."""
    times = ("verified_at", "compared_at", "compared_before", "pass_started_at", "tried_at")
    change(
        folder,
        f"UPDATE {api}._verifications SET {', '.join(f'{name} = {name} - INTERVAL {days} DAYS' for name in times)}",
    )


def counting(found: dict[str, VerifiedEndpoint]) -> set[tuple[str, str, tuple[str, ...]]]:
    """Endpoint, kind and key of the rows that count as different."""
    return {(name, row.kind, row.key) for name, each in found.items() for row in each.verification.counting}


def pending(found: dict[str, VerifiedEndpoint]) -> set[tuple[str, str, tuple[str, ...]]]:
    """Endpoint, kind and key of the rows that were seen to differ once."""
    return {(name, r.kind, r.key) for name, each in found.items() for r in each.verification.rows if not r.counts}


def repaired(api: str = API) -> dict[str, EndpointResult]:
    """The results of a repair of all that was found, by endpoint."""
    found = rows_to_repair(APIS[api], log=LOG)
    return {result.endpoint.name: result for result in repair(APIS[api], found, log=LOG)}


def change(folder: Path, *statements: str) -> None:
    """Changes tables behind the sync's back."""
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        for statement in statements:
            connection.execute(statement)


class Planted(NamedTuple):
    """A fault in a table."""

    api: str
    endpoint: str
    kind: str
    key: tuple[str, ...]


class Planter:
    """Plants faults in tables, each in another row, so that none hides another."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, seed: int) -> None:
        self._connection = connection
        self._random = random.Random(seed)
        self._touched: set[str] = set()

    def plant(self) -> Planted | None:
        """Plants a fault of any kind in a table of any API; ``None`` if the draw does not suit."""
        api = self._random.choice(list(APIS))
        endpoint = self._random.choice(APIS[api].endpoints)
        kind = self._random.choice(("removed", "added", "doubled", "stale", "marked", "unmarked"))
        key, table = endpoint.primary_key, f'{api}."{endpoint.name}"'
        if not key:
            return None
        names = list(dict.fromkeys((*key, *endpoint.path_params)))
        is_marked = "IS NOT NULL" if kind == "unmarked" else "IS NULL"
        shown = ", ".join(f'"{name}"' for name in names)
        rows = self._connection.execute(
            f"SELECT {shown}, rowid FROM {table} WHERE _deleted_at {is_marked} ORDER BY ALL"
        ).fetchall()
        if not rows:
            return None
        *values, place = self._random.choice(rows)
        if self._touched & {as_text(value) for value in values}:
            return None
        own = next((name for name in key if name not in endpoint.path_params), None)
        row = dict(zip(names, values, strict=True))
        if kind == "added":
            if own is None:
                return None
            was = row[own]
            row[own] = was + 1_000_000_000 if isinstance(was, int) else f"{was}-added"
            new = str(row[own]) if isinstance(was, int) else f"'{row[own]}'"
            self._connection.execute(
                f'INSERT INTO {table} SELECT * REPLACE ({new} AS "{own}") FROM {table} WHERE rowid = {place}'
            )
        elif kind == "doubled":
            self._connection.execute(f"INSERT INTO {table} SELECT * FROM {table} WHERE rowid = {place}")
        else:
            act = {
                "removed": f"DELETE FROM {table}",
                "stale": f"UPDATE {table} SET _row_hash = _row_hash // 3 + 7",
                "marked": f"UPDATE {table} SET _deleted_at = now()",
                "unmarked": f"UPDATE {table} SET _deleted_at = NULL",
            }[kind]
            self._connection.execute(f"{act} WHERE rowid = {place}")
        self._touched |= {as_text(value) for value in (*values, *row.values())}
        seen_as = {"removed": "missing", "marked": "missing", "added": "extra", "unmarked": "extra", "stale": "changed"}
        return Planted(api, endpoint.name, seen_as.get(kind, kind), tuple(as_text(row[name]) for name in key))


def live_rows(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of all tables that are not marked as deleted, without what a load adds to them."""
    found = {}
    for api in APIS.values():
        for endpoint in api.endpoints:
            left_out = ", ".join((*OWN[1:], *(["_deleted_at"] if endpoint.primary_key else [])))
            where = "WHERE _deleted_at IS NULL" if endpoint.primary_key else ""
            name = f'{api.name}."{endpoint.name}"'
            found[name] = query(folder, f"SELECT * EXCLUDE ({left_out}) FROM {name} {where} ORDER BY ALL")
    return found


@pytest.mark.extended
def test_planted_faults_are_found_in_one_rotation_and_repaired(tmp_path: Path, sandbox: SandboxServer) -> None:
    for api in APIS:
        sync(api)
    # so that some rows are marked as deleted
    sandbox.world.advance(24)
    for api in APIS:
        sync(api)
    before = live_rows(tmp_path)
    planted: set[Planted] = set()
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        planter = Planter(connection, seed=20261129)
        while len(planted) < FAULTS:
            if fault := planter.plant():
                planted.add(fault)
    assert {each.kind for each in planted} == {"missing", "extra", "doubled", "changed"}
    assert len({each.api for each in planted}) >= 4

    found: set[Planted] = set()
    for api in APIS:
        verified: dict[str, Verification] = {}
        while not verified or any(each.compared_at is None for each in verified.values()):
            sent = len(sandbox.requests)
            verified |= {name: each.verification for name, each in verify(api, BUDGET).items()}
            assert len(sandbox.requests) - sent <= BUDGET
            assert {each.reason for each in verified.values()} == {None}
        assert verified.keys() == APIS[api].by_name.keys()
        found |= {Planted(api, name, row.kind, row.key) for name, v in verified.items() for row in v.counting}
    assert found == planted

    for api in APIS:
        assert {result.status for result in repaired(api).values()} <= {"complete"}
        again = verify(api, only_again=True)
        assert counting(again) | pending(again) == set()
        assert {name: each.verification.verified_at is not None for name, each in again.items()} == dict.fromkeys(
            again, True
        )
    assert live_rows(tmp_path) == before


@pytest.mark.extended
@pytest.mark.parametrize("api", ["experimentation", "feature_management"])
def test_thirty_rounds_against_a_moving_server_give_no_alarm(
    tmp_path: Path, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, api: str
) -> None:
    sync(api)
    drawn, moves = random.Random(7), 0
    take = RequestBudget.take

    def moving(self: RequestBudget) -> bool:
        nonlocal moves
        if self.sent % 9 == 5:
            moves += 1
            sandbox.world.advance(2)
        return take(self)

    monkeypatch.setattr(RequestBudget, "take", moving)
    seen = set()
    for _ in range(30):
        sandbox.world.advance(drawn.choice((1, 12, 24)))
        if drawn.random() < 0.7:
            sync(api)
        found = verify(api, 40)
        age(tmp_path, api, days=1)
        assert counting(found) == set()
        seen |= pending(found)
    assert moves > 30
    # it differed, of course
    assert len(seen) > 5
    monkeypatch.undo()


RULES = f"{API}.gates_rules"


def rules_of(server: SandboxServer) -> tuple[str, list[dict[str, Any]]]:
    """A gate whose rules fit on one page, and its rules."""
    return next(
        (gate, rules)
        for (gate,), elements in server.world.collection(API, "gates_rules").items()
        if len(elements) < 50 and len(rules := [rule for each in elements for rule in each["rules"]]) > 1
    )


def edit_rule(server: SandboxServer, name: str = "edited") -> tuple[str, str]:
    """Changes a rule upstream, without its gate; gives the rule's key."""
    gate, rules = rules_of(server)
    rules[0]["name"] = name
    return gate, rules[0]["id"]


def test_a_row_counts_once_a_sync_lies_between_two_looks(
    tmp_path: Path, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_api(monkeypatch, API, fan_out="changed")
    for _ in range(2):
        sync(API)
    assert pending(verify()) == set()
    key = edit_rule(sandbox)
    difference = {("gates_rules", "changed", key)}
    age(tmp_path)
    found = verify()
    assert (counting(found), pending(found)) == (set(), difference)
    verified_at = found["gates_rules"].verification.verified_at
    # it is seen again, but no sync could have removed it
    found = verify(only_again=True)
    assert (counting(found), pending(found)) == (set(), difference)
    assert found["gates_rules"].requests == 1

    # with FAN_OUT=changed a sync does not see it, as the gate has not changed
    assert sync(API)["gates_rules"].status == "complete"
    assert counting(verify(only_again=True)) == difference
    checks = {check.name: check for check in sync(API)["gates_rules"].checks}
    assert not checks["same_as_upstream"].passed
    assert checks["same_as_upstream"].message.startswith(
        f"1 row differs from the API: changed gate_id={key[0]}, id={key[1]}; "
        "analytics-ingest repair experimentation reads their lists again; last found equal to the API "
    )

    sandbox.requests.reset()
    result = repaired()["gates_rules"]
    assert (result.status, result.stats and result.stats.rows_loaded) == ("complete", 1)
    assert sandbox.requests.counts() == {API: {"gates_rules": 1}}
    assert {check.passed for check in result.checks} == {True}
    found = verify(only_again=True)
    assert (counting(found), pending(found)) == (set(), set())
    now = found["gates_rules"].verification.verified_at
    assert verified_at
    assert now
    assert now > verified_at
    [(stored,)] = query(
        tmp_path,
        f"SELECT verified_at FROM {API}._syncs WHERE endpoint = 'gates_rules' AND status = 'complete' "
        "ORDER BY started_at DESC LIMIT 1",
    )
    assert stored == now
    assert sync(API)["gates_rules"].verified_at == now


def test_a_difference_that_a_sync_removes_is_forgotten(filled: Callable[..., SandboxServer]) -> None:
    sandbox = filled(API)
    edit_rule(sandbox)
    assert len(pending(verify())) == 1
    sync(API)
    found = verify(only_again=True)
    assert (counting(found), pending(found)) == (set(), set())
    assert found["gates_rules"].verification.verified_at


def test_a_table_that_something_else_changes_needs_no_sync_between_the_looks(
    tmp_path: Path, filled: Callable[..., SandboxServer]
) -> None:
    sandbox = filled(API)
    gate, rules = rules_of(sandbox)
    change(tmp_path, f"DELETE FROM {RULES} WHERE gate_id = '{gate}' AND id = '{rules[0]['id']}'")
    sandbox.requests.reset()
    found = verify()
    assert counting(found) == {("gates_rules", "missing", (gate, rules[0]["id"]))}
    # only the list of its gate is looked at twice
    asked = Counter(each.path for each in sandbox.requests if each.endpoint == "gates_rules" and "page=1" in each.query)
    assert {path for path, times in asked.items() if times > 1} == {f"/experimentation/v1/gates/{gate}/rules"}


def test_a_difference_of_the_first_look_alone_does_not_count(
    tmp_path: Path, filled: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = filled(API)
    gate, rules = rules_of(sandbox)
    change(tmp_path, f"DELETE FROM {RULES} WHERE gate_id = '{gate}' AND id = '{rules[-1]['id']}'")
    take, numbers = RequestBudget.take, count()

    def moving(self: RequestBudget) -> bool:
        edit_rule(sandbox, f"edited {next(numbers)}")
        return take(self)

    monkeypatch.setattr(RequestBudget, "take", moving)
    assert counting(verify()) == {("gates_rules", "missing", (gate, rules[-1]["id"]))}


def test_snapshot_is_compared_as_a_whole(tmp_path: Path, filled: Callable[..., SandboxServer]) -> None:
    sandbox = filled(API)
    change(tmp_path, f"DELETE FROM {API}.ingestion_status WHERE rowid = 0")
    assert counting(verify()) == {("ingestion_status", "changed", ())}
    result = repaired()["ingestion_status"]
    assert result.stats
    assert result.stats.rows_loaded == len(sandbox.world.expected(API, "ingestion_status"))
    assert counting(verify(only_again=True)) == set()


def test_budget_is_kept_and_the_next_run_goes_on(tmp_path: Path, filled: Callable[..., SandboxServer]) -> None:
    sandbox = filled(API)
    parents = len(sandbox.world.collection(API, "gates"))
    sandbox.requests.reset()
    found = verify(requests=2, selected={"gates_rules"})
    assert len(sandbox.requests) == 2
    [first] = found.values()
    assert (first.lists, first.verification.compared_at, first.verification.pass_requests) == (2, None, 2)
    assert first.verification.pass_started_at
    found = verify(selected={"gates_rules"})
    [second] = found.values()
    assert second.lists == parents - 2
    assert second.verification.compared_at == first.verification.pass_started_at == second.verification.verified_at
    assert second.verification.requests == len(sandbox.requests)
    assert second.verification.pass_path is None
    # and nothing is due for a week
    assert verify(selected={"gates_rules"}) == {}
    age(tmp_path)
    assert verify(selected={"gates_rules"})["gates_rules"].lists == parents


def test_list_that_needs_more_than_the_budget_holds_up_no_other(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_api(monkeypatch, API, verify_requests=30, audit_logs__limit=1)
    sync(API)
    assert len(sandbox.world.collection(API, "audit_logs")) > 30
    compared: set[str] = set()
    reasons: dict[str, str | None] = {}
    for _ in range(6):
        for name, each in verify(requests=30).items():
            reasons[name] = each.verification.reason
            compared |= {name} if each.verification.compared_at else set()
    assert reasons.pop("audit_logs") == "one of its lists takes more than VERIFY_REQUESTS=30 permits"
    assert set(reasons.values()) == {None}
    assert compared == APIS[API].by_name.keys() - {"audit_logs"}
    checks = {check.name: check for check in sync(API, "audit_logs")["audit_logs"].checks}
    assert checks["same_as_upstream"].passed
    assert checks["same_as_upstream"].message == (
        "not compared with the API yet; one of its lists takes more than VERIFY_REQUESTS=30 permits"
    )


def test_list_that_fails_ends_its_endpoint_alone(filled: Callable[..., SandboxServer]) -> None:
    sandbox = filled(API)
    sandbox.options.faults = [Fault(api=API, path="/v1/gates$", status=403)]
    found = verify()
    assert "/v1/gates answered 403" in (found["gates"].verification.reason or "")
    assert found["gates"].verification.compared_at is None
    assert [name for name, each in found.items() if not each.verification.verified_at] == ["gates"]
    sandbox.options.faults = []
    assert {name: each.verification.reason for name, each in verify().items()} == {"gates": None}


def test_lists_beside_one_that_fails_are_compared(tmp_path: Path, sandbox: SandboxServer) -> None:
    sync(API, "gates", "gates_rules")
    gates = sorted(row["id"] for row in sandbox.world.collection(API, "gates"))
    [(last,)] = query(tmp_path, f"SELECT max(gate_id) FROM {RULES}")
    removed = query(tmp_path, f"SELECT id FROM {RULES} WHERE gate_id = '{last}'")
    change(tmp_path, f"DELETE FROM {RULES} WHERE gate_id = '{last}'")
    sandbox.options.faults = [Fault(api=API, path=f"/v1/gates/{gates[0]}/rules$", status=403)]
    # four requests a run: the run that comes to the end of the pass is not the one that meets the list that fails
    found = verify(requests=4, selected=["gates_rules"])
    assert found["gates_rules"].verification.pass_path
    while found["gates_rules"].verification.pass_path:
        found = verify(requests=4, selected=["gates_rules"])

    assert gates[0] < last
    ended = found["gates_rules"].verification
    assert f"/v1/gates/{gates[0]}/rules answered 403" in (ended.reason or "")
    assert (ended.compared_at, ended.verified_at) == (None, None)
    assert counting(found) | pending(found) == {("gates_rules", "missing", (last, rule)) for (rule,) in removed}
    sandbox.options.faults = []
    repaired()
    ended = verify(selected=["gates_rules"])["gates_rules"].verification
    assert (ended.reason, ended.rows) == (None, [])
    assert ended.verified_at


def test_endpoint_without_a_complete_sync_waits_for_one(
    tmp_path: Path, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(API, "gates", "tags")
    found = verify()
    assert {name for name, each in found.items() if not each.verification.reason} == {"gates", "tags"}
    assert found["gates_rules"].verification.reason == "it has no table yet: materialise it first"
    configure_api(monkeypatch, API, exclude_columns="gates.name", skip_endpoints="holdouts")
    age(tmp_path)
    found = verify()
    assert "holdouts" not in found
    assert found["gates"].verification.reason == (
        "its declaration or EXCLUDE_COLUMNS has changed since its last complete sync"
    )


def test_every_destination(store: Store, sandbox: SandboxServer) -> None:
    names = ("gates", "gates_rules", "ingestion_status")
    for _ in range(2):
        sync(API, *names)
    with store.writing() as execute:
        execute(f"DELETE FROM {RULES} WHERE id = (SELECT min(id) FROM {RULES})", [])
        execute(f"UPDATE {API}.gates SET _deleted_at = now() WHERE id = (SELECT min(id) FROM {API}.gates)", [])
        execute(f"UPDATE {API}.gates SET _row_hash = 7 WHERE id = (SELECT max(id) FROM {API}.gates)", [])
    found = verify(selected=names)
    assert sorted((name, kind) for name, kind, _ in counting(found)) == [
        ("gates", "changed"),
        ("gates", "missing"),
        ("gates_rules", "missing"),
    ]
    assert {result.status for result in repaired().values()} == {"complete"}
    # the rules of the gate that is there again differ no more either
    found = verify(only_again=True)
    assert counting(found) | pending(found) == set()
    for name in ("gates", "gates_rules"):
        columns, rows = store.table(API, name)
        live = [row for row in rows if row[columns.index("_deleted_at")] is None]
        assert len(live) == len(sandbox.world.expected(API, name))


def test_clock_that_was_set_back_raises_no_alarm(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class HourBehind:
        @staticmethod
        def now(tz: tzinfo) -> datetime:
            return datetime.now(tz) - timedelta(hours=1)

    sync(API, "tags")
    for module in (api_sync, verification):
        monkeypatch.setattr(module, "datetime", HourBehind)
    tags = shared_sandbox.world.collection(API, "tags")
    tags[0]["name"] = "renamed"
    sync(API, "tags")
    tags[1]["name"] = "renamed after the sync"
    verify(selected=["tags"])
    found = verify(selected=["tags"])

    assert counting(found) == set()
    assert pending(found) == {("tags", "changed", (tags[1]["id"],))}
