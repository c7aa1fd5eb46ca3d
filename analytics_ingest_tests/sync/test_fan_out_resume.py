"""A fan-out keeps its place: killed, it goes on; told so, it asks only for what changed."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from analytics_ingest.apis.parents import FromTable
from analytics_ingest.apis.registry import APIS
from analytics_ingest.errors import AuthenticationError
from analytics_ingest.extract import endpoint_reader as reader
from analytics_ingest.extract.sync_options import SyncOptions
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sandbox.world import World
from analytics_ingest.sync.api_sync import ApiSync
from analytics_ingest.sync.loader import Loader
from analytics_ingest_tests.conftest import SCALE, expected_keys, live_keys, packages, sync
from analytics_ingest_tests.waiting import eventually

Filled = Callable[..., SandboxServer]


API = "experimentation"
CODE = (
    "import logging; from analytics_ingest.apis.registry import APIS; "
    "from analytics_ingest.sync.api_sync import ApiSync; "
)


def asked(server: SandboxServer, endpoint: str) -> list[str]:
    """Paths that were asked for, once for each first page."""
    return [r.path for r in server.requests if r.endpoint == endpoint and "page=1" in r.query.split("&")]


def rules_path(gate: str) -> str:
    return f"/{API}/v1/gates/{gate}/rules"


def many_gates(count: int) -> World:
    """A world with ``count`` gates of one rule each."""
    world = World(scale=SCALE)
    gates, rules = world.collection(API, "gates"), world.collection(API, "gates_rules")
    pattern = dict(gates[0])
    gates.clear()
    rules.clear()
    for number in range(count):
        gate = f"gate_{number:04}"
        gates.append({**pattern, "id": gate})
        rules[gate,] = [{"id": "group", "rules": [{"id": f"rule_of_{gate}", "name": "everyone"}]}]
    return world


@pytest.mark.extended
def test_sweep_that_was_killed_goes_on_from_its_last_checkpoint(
    tmp_path: Path, start_sandbox: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_sandbox(many_gates(150))
    # one after the other, so that those before the checkpoint are the first ones
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__MAX_IN_FLIGHT", "1")
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__FAN_OUT_CHUNK", "50")
    # what has come by then is loaded, and nothing more comes
    server.options.faults = [Fault(api=API, path="/rules$", kind="delay", seconds=100, skip=120)]
    code = f"list(ApiSync(APIS['{API}'], selected={{'gates', 'gates_rules'}}, log=logging.getLogger()).run())"
    process = subprocess.Popen([sys.executable, "-c", CODE + code], env=dict(os.environ))
    try:
        eventually(lambda: gates_with_rules(tmp_path) or process.poll() is not None, 100)
    finally:
        process.kill()
        process.wait()
    server.options.faults = []
    done_before = set(asked(server, "gates_rules"))
    loaded_before = gates_with_rules(tmp_path)
    assert 50 <= len(loaded_before) <= 120
    server.requests.reset()
    result = sync(API, "gates", "gates_rules")["gates_rules"]

    again = asked(server, "gates_rules")
    assert result.status == "complete"
    assert not {rules_path(gate) for gate in loaded_before} & set(again)
    assert len(again) == len(set(again)) == 150 - len(loaded_before)
    assert set(again) | done_before == {rules_path(f"gate_{number:04}") for number in range(150)}
    assert live_keys(tmp_path, API, "gates_rules") == expected_keys(server.world, API, "gates_rules")
    server.requests.reset()
    sync(API, "gates", "gates_rules")
    assert len(asked(server, "gates_rules")) == 150


def gates_with_rules(tmp_path: Path) -> set[str]:
    """Gates whose rules are in the warehouse: none as long as there is no such table, or a process has the file."""
    try:
        return {gate for gate, _ in live_keys(tmp_path, API, "gates_rules")}
    except duckdb.Error:
        return set()


@pytest.fixture
def stopped(
    tmp_path: Path,
    shared_sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> SandboxServer:
    """A server, and a warehouse that a sync of it has left in the middle of a sweep."""
    # one after the other, so that those before the checkpoint are not those after it
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__MAX_IN_FLIGHT", "1")
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__FAN_OUT_CHUNK", "1")
    kept = tmp_path_factory.getbasetemp() / "stopped.duckdb"
    if not kept.exists():
        stop_after_first_chunk(
            ApiSync(APIS[API], selected={"gates", "gates_rules"}, log=logging.getLogger("test")), monkeypatch
        )
        shutil.copy(tmp_path / "warehouse.duckdb", kept)
        shutil.rmtree(tmp_path / "dlt")
        shared_sandbox.requests.reset()
    shutil.copy(kept, tmp_path / "warehouse.duckdb")
    return shared_sandbox


def stop_after_first_chunk(syncing: ApiSync, monkeypatch: pytest.MonkeyPatch) -> None:
    extract = Loader.extract
    packages = []

    def limited(*arguments):
        packages.append(arguments)
        if len(packages) > 2:
            raise KeyboardInterrupt
        return extract(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Loader, "extract", limited)
        with pytest.raises(KeyboardInterrupt):
            list(syncing.run())


def test_sweep_that_was_stopped_goes_on_from_its_last_checkpoint(
    tmp_path: Path, stopped: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded_before = {key[0] for key in live_keys(tmp_path, API, "gates_rules")}
    gates = {gate["id"] for gate in stopped.world.expected(API, "gates")}
    assert set() < loaded_before < gates
    result = sync(API, "gates", "gates_rules")["gates_rules"]

    assert result.status == "complete"
    assert sorted(asked(stopped, "gates_rules")) == sorted(rules_path(gate) for gate in gates - loaded_before)
    assert live_keys(tmp_path, API, "gates_rules") == expected_keys(stopped.world, API, "gates_rules")
    stopped.requests.reset()
    sync(API, "gates_rules")
    assert len(asked(stopped, "gates_rules")) == len(gates)


def test_sweep_of_another_mode_begins_anew(stopped: SandboxServer) -> None:
    refresh = ApiSync(
        APIS[API], selected={"gates_rules"}, options=SyncOptions(full_refresh=True), log=logging.getLogger("test")
    )
    list(refresh.run())

    assert len(asked(stopped, "gates_rules")) == len(stopped.world.expected(API, "gates"))


def test_sweep_that_is_too_old_begins_anew(stopped: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__RESUME_WITHIN", "0.001")
    sync(API, "gates_rules")

    assert len(asked(stopped, "gates_rules")) == len(stopped.world.expected(API, "gates"))


@pytest.mark.parametrize(("age", "noted"), [pytest.param(60.0, False, marks=pytest.mark.extended), (0.0, True)])
def test_place_alone_is_worth_a_package_only_if_it_is_old(
    tmp_path: Path, filled: Filled, monkeypatch: pytest.MonkeyPatch, age: float, noted: bool
) -> None:
    sandbox = filled(API, "gates", "gates_rules")
    before = packages(tmp_path, API)
    monkeypatch.setattr(reader, "CHECKPOINT_SECONDS", age)
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__FAN_OUT_CHUNK", "1")
    # nothing has changed; one parent after the other, and the last but one is refused
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__MAX_IN_FLIGHT", "1")
    gates = sorted(gate["id"] for gate in sandbox.world.expected(API, "gates"))
    sandbox.options.faults.append(Fault(api=API, path=f"/v1/gates/{gates[-2]}/rules$", status=401))
    with pytest.raises(AuthenticationError):
        sync(API, "gates", "gates_rules")
    assert (packages(tmp_path, API) > before) is noted

    sandbox.options.faults.clear()
    sandbox.requests.reset()
    sync(API, "gates_rules")
    assert (len(asked(sandbox, "gates_rules")) < len(gates)) is noted


def test_changed_asks_only_for_parents_that_changed_or_are_new(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__FAN_OUT", "changed")
    gates, rules = shared_sandbox.world.collection(API, "gates"), shared_sandbox.world.collection(API, "gates_rules")
    sync(API, "gates", "gates_rules")
    shared_sandbox.requests.reset()
    sync(API, "gates", "gates_rules")
    assert asked(shared_sandbox, "gates_rules") == []

    gates[1]["updated_at"] = "2026-01-15T11:00:00Z"
    gates.append({**gates[0], "id": "new", "updated_at": "2020-01-01T00:00:00Z"})
    rules["new",] = [{"id": "g", "rules": [{"id": "r1", "name": "first"}]}]
    shared_sandbox.requests.reset()
    sync(API, "gates", "gates_rules")

    assert sorted(asked(shared_sandbox, "gates_rules")) == sorted([rules_path(gates[1]["id"]), rules_path("new")])
    assert live_keys(tmp_path, API, "gates_rules") == expected_keys(shared_sandbox.world, API, "gates_rules")
    shared_sandbox.requests.reset()
    sync(API, "gates", "gates_rules")
    assert asked(shared_sandbox, "gates_rules") == []


def test_changed_asks_parents_without_updated_at_every_time(
    shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__FAN_OUT", "changed")
    gate = shared_sandbox.world.collection(API, "gates")[2]
    gate["updated_at"] = None
    sync(API, "gates", "gates_rules")
    shared_sandbox.requests.reset()
    sync(API, "gates", "gates_rules")

    assert asked(shared_sandbox, "gates_rules") == [rules_path(gate["id"])]


def test_parent_that_failed_is_asked_first_next_time(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__MAX_IN_FLIGHT", "1")
    gate = sorted(row["id"] for row in shared_sandbox.world.expected(API, "gates"))[3]
    fault = Fault(api=API, path=f"/v1/gates/{gate}/rules$", status=500)
    shared_sandbox.options.faults.append(fault)
    assert sync(API, "gates", "gates_rules")["gates_rules"].status == "failed"
    shared_sandbox.options.faults.remove(fault)
    shared_sandbox.requests.reset()
    result = sync(API, "gates", "gates_rules")["gates_rules"]

    assert result.status == "complete"
    assert asked(shared_sandbox, "gates_rules")[0] == rules_path(gate)
    assert len(asked(shared_sandbox, "gates_rules")) == len(shared_sandbox.world.expected(API, "gates"))
    assert live_keys(tmp_path, API, "gates_rules") == expected_keys(shared_sandbox.world, API, "gates_rules")


def test_changed_asks_the_parent_that_failed_and_no_other(
    shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__FAN_OUT", "changed")
    gate = shared_sandbox.world.expected(API, "gates")[3]["id"]
    fault = Fault(api=API, path=f"/v1/gates/{gate}/rules$", status=403)
    shared_sandbox.options.faults.append(fault)
    assert sync(API, "gates", "gates_rules")["gates_rules"].status == "failed"
    shared_sandbox.options.faults.remove(fault)
    for expected in ([rules_path(gate)], []):
        shared_sandbox.requests.reset()
        assert sync(API, "gates", "gates_rules")["gates_rules"].status == "complete"
        assert asked(shared_sandbox, "gates_rules") == expected


def test_settled_parents_are_asked_once(shared_sandbox: SandboxServer) -> None:
    gates = shared_sandbox.world.collection(API, "gates")
    for number, gate in enumerate(gates):
        gate["status"] = "archived" if number < 4 else "live"
    settled = FromTable("gates", gate_id="id", settled=("status", frozenset({"archived"})))
    endpoints = tuple(
        replace(endpoint, parents=settled) if endpoint.name == "gates_rules" else endpoint
        for endpoint in APIS[API].endpoints
        if endpoint.name in ("gates", "gates_rules")
    )
    api = replace(APIS[API], endpoints=endpoints, probes=())
    for expected in (gates, gates[4:]):
        shared_sandbox.requests.reset()
        list(ApiSync(api, log=logging.getLogger("test")).run())
        assert sorted(asked(shared_sandbox, "gates_rules")) == sorted(rules_path(gate["id"]) for gate in expected)
    gates[0]["status"] = "live"
    gates[1]["name"] = "renamed"
    shared_sandbox.requests.reset()
    list(ApiSync(api, log=logging.getLogger("test")).run())
    expected_paths = [rules_path(gate["id"]) for gate in (gates[0], gates[1], *gates[4:])]
    assert sorted(asked(shared_sandbox, "gates_rules")) == sorted(expected_paths)


@pytest.mark.parametrize("fan_out", ["all", pytest.param("changed", marks=pytest.mark.extended)])
def test_rows_of_a_parent_that_is_gone_are_marked_though_no_parent_is_asked(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, fan_out: str
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__FAN_OUT", fan_out)
    rules = shared_sandbox.world.expected(API, "gates_rules")
    sync(API, "gates", "gates_rules")
    gone = shared_sandbox.world.collection(API, "gates").pop(2)["id"]
    lost = sum(row["gate_id"] == gone for row in rules)
    assert lost > 0
    result = sync(API, "gates", "gates_rules")["gates_rules"]

    assert result.rows_deleted == lost
    assert [check.name for check in result.checks if not check.passed] == []
    left = [row["gate_id"] for row in rules if row["gate_id"] != gone]
    assert sorted(gate for gate, _ in live_keys(tmp_path, API, "gates_rules")) == sorted(left)


@pytest.mark.extended
def test_parents_of_rows_that_are_not_finished_are_asked_until_they_are(shared_sandbox: SandboxServer) -> None:
    gates, rules = shared_sandbox.world.collection(API, "gates"), shared_sandbox.world.collection(API, "gates_rules")
    for gate in gates:
        gate["status"] = "archived"
        rules[gate["id"],] = [{"id": "g", "rules": [{"id": "r1", "state": "done"}]}]
    open_gate = gates[3]["id"]
    rules[open_gate,] = [{"id": "g", "rules": [{"id": "r1", "state": "done"}, {"id": "r2", "state": "runs"}]}]
    settled = FromTable("gates", gate_id="id", settled=("status", frozenset({"archived"})))
    gates_rules = replace(
        APIS[API].by_name["gates_rules"], parents=settled, final_when=("state", frozenset({"done", "failed"}))
    )
    api = replace(APIS[API], endpoints=(APIS[API].by_name["gates"], gates_rules), probes=())

    def asked_for() -> list[str]:
        shared_sandbox.requests.reset()
        list(ApiSync(api, log=logging.getLogger("test")).run())
        return sorted(asked(shared_sandbox, "gates_rules"))

    assert asked_for() == sorted(rules_path(gate["id"]) for gate in gates)
    assert asked_for() == asked_for() == [rules_path(open_gate)]
    rules[open_gate,][0]["rules"][1]["state"] = "failed"
    assert asked_for() == [rules_path(open_gate)]
    assert asked_for() == []
