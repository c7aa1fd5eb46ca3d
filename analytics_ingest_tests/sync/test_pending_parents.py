"""Children begin as soon as their parents are read, where it is certain what will be loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analytics_ingest.extract import parent_row_buffer as kept
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import expected_keys, live_keys, packages, sync

API = "experimentation"


def assert_exact(folder: Path, sandbox: SandboxServer) -> None:
    for name in ("gates", "gates_rules"):
        assert live_keys(folder, API, name) == expected_keys(sandbox.world, API, name)


def asked(sandbox: SandboxServer) -> set[str]:
    return {record.path.split("/")[-2] for record in sandbox.requests if record.endpoint == "gates_rules"}


def test_parents_and_children_come_in_one_package(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    sync(API, "gates", "gates_rules")

    assert packages(tmp_path, API) == 1
    assert_exact(tmp_path, shared_sandbox)


def test_a_parent_that_is_new_changed_or_gone_counts_before_it_is_loaded(
    tmp_path: Path, filled: Callable[..., SandboxServer]
) -> None:
    sandbox = filled(API, "gates", "gates_rules")
    gates, rules = sandbox.world.collection(API, "gates"), sandbox.world.collection(API, "gates_rules")
    gone = gates.pop(0)["id"]
    gates[0] |= {"name": "another", "updated_at": "2026-01-15T11:00:00Z"}
    gates.append({**gates[0], "id": "new"})
    rules["new",] = [{"id": "g", "rules": [{"id": "r1", "name": "first"}]}]
    sandbox.requests.reset()
    sync(API, "gates", "gates_rules")

    assert packages(tmp_path, API) == 2
    assert asked(sandbox) == {gate["id"] for gate in gates}
    assert gone not in {key[0] for key in live_keys(tmp_path, API, "gates_rules")}
    assert_exact(tmp_path, sandbox)


def test_children_wait_where_the_destination_may_make_something_else_of_a_value(
    tmp_path: Path, shared_sandbox: SandboxServer
) -> None:
    gates, rules = shared_sandbox.world.collection(API, "gates"), shared_sandbox.world.collection(API, "gates_rules")
    gates.append({**gates[0], "id": 7})
    rules["7",] = [{"id": "g", "rules": [{"id": "r1", "name": "first"}]}]
    sync(API, "gates", "gates_rules")

    assert packages(tmp_path, API) == 2
    assert asked(shared_sandbox) == {str(gate["id"]) for gate in gates}
    assert ("7", "r1") in {tuple(map(str, key)) for key in live_keys(tmp_path, API, "gates_rules")}


@pytest.mark.parametrize("most", [pytest.param(0, marks=pytest.mark.extended), 2])
def test_children_of_too_many_parents_wait(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(kept, "MAX_BUFFERED_ROWS", most)
    sync(API, "gates", "gates_rules")

    assert packages(tmp_path, API) == 2
    assert_exact(tmp_path, shared_sandbox)


def test_no_child_is_asked_of_parents_that_were_not_read_completely(shared_sandbox: SandboxServer) -> None:
    shared_sandbox.options.page_cap = 2
    shared_sandbox.options.faults.append(Fault(api=API, path="/v1/gates$", status=500, skip=1))
    results = sync(API, "gates", "gates_rules")

    assert (results["gates"].status, results["gates_rules"].status) == ("failed", "skipped")
    assert asked(shared_sandbox) == set()
