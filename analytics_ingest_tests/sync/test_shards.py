"""A fan-out split over processes: the same rows from the same requests, whatever becomes of a process."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from analytics_ingest.apis import APIS
from analytics_ingest.extract.errors import ConfigurationError
from analytics_ingest.extract.mode import Mode
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sync import sync as sync_module
from analytics_ingest.sync.shard import Shard, shards_of
from analytics_ingest.sync.workers import read_shards
from analytics_ingest_tests.conftest import expected_keys, live_keys, query, sandbox_in, sync
from analytics_ingest_tests.contract import CHECKS, Pass, Passes, as_columns
from analytics_ingest_tests.stores import duckdb_store, postgres_store
from analytics_ingest_tests.sync.test_sweeps import asked, many_gates, rules_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from analytics_ingest.sandbox.server import SandboxServer
    from analytics_ingest_tests.stores import Store

API = "experimentation"
PREFIX = "SOURCES__EXPERIMENTATION__"


@pytest.fixture(autouse=True)
def split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes for the rules of gates, however few there are."""
    monkeypatch.setattr(sync_module, "WORTH_A_SHARD", 1)
    monkeypatch.setenv(PREFIX + "GATES_RULES__SHARDS", "2")


def wait_until_asked(server: SandboxServer, count: int) -> None:
    """Waits for so many requests for the rules of gates, a minute at most."""
    until = time.monotonic() + 60
    while server.requests.count(API, "gates_rules") < count and time.monotonic() < until:
        time.sleep(0.01)


@pytest.mark.parametrize("destination", [duckdb_store, postgres_store])
def test_the_contract_holds_for_an_endpoint_read_in_shards(
    tmp_path: Path, destination: Callable[[Path], AbstractContextManager[Store]]
) -> None:
    api, name = APIS[API], "gates_rules"
    with destination(tmp_path) as store, sandbox_in(tmp_path, store) as server:

        def one_pass() -> Pass:
            server.requests.reset()
            results = sync(API, "gates", name)
            requests = {name: server.requests.count(API, name)}
            return Pass(
                results,
                requests,
                {name: store.table(API, name)},
                {name: as_columns(server.world.expected(API, name))},
            )

        first, unchanged = one_pass(), one_pass()
        counts = server.world.advance(48).of(API, name)
        passes = Passes(api, first, unchanged, one_pass())
        columns, rows = store.table(API, "_dlt_pipeline_state")

    assert counts.added + counts.changed
    assert counts.removed
    for check in CHECKS:
        check(passes, name)
    pipelines = {row[columns.index("pipeline_name")] for row in rows}
    assert pipelines == {API, f"{API}__gates_rules_1_of_2", f"{API}__gates_rules_2_of_2"}


def test_children_of_what_is_read_in_shards_are_read_after_it(
    tmp_path: Path, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__CONTINUOUS_INTEGRATION__PIPELINE_WORKFLOWS__SHARDS", "2")
    names = ("pipelines", "pipeline_workflows", "workflow_jobs")
    results = sync("continuous_integration", *names)

    assert {results[name].status for name in names} == {"complete"}
    for name in names:
        expected = expected_keys(sandbox.world, "continuous_integration", name)
        assert live_keys(tmp_path, "continuous_integration", name) == expected


def test_a_parent_that_no_shard_could_read_fails_the_endpoint_and_no_other_row_is_missing(
    tmp_path: Path, sandbox: SandboxServer
) -> None:
    gate = sandbox.world.expected(API, "gates")[3]["id"]
    fault = Fault(api=API, path=f"/v1/gates/{gate}/rules$", status=400)
    sandbox.options.faults.append(fault)
    result = sync(API, "gates", "gates_rules")["gates_rules"]

    assert (result.status, fault.hits) == ("failed", 2)
    assert result.reason.startswith(f"/v1/gates/{gate}/rules answered 400")
    assert "more like it" not in result.reason
    there = [key for key in expected_keys(sandbox.world, API, "gates_rules") if key[0] != gate]
    assert live_keys(tmp_path, API, "gates_rules") == there

    sandbox.options.faults.clear()
    assert sync(API, "gates", "gates_rules")["gates_rules"].status == "complete"
    assert live_keys(tmp_path, API, "gates_rules") == expected_keys(sandbox.world, API, "gates_rules")


def test_a_process_that_is_killed_costs_requests_and_no_row(
    tmp_path: Path,
    serve: Callable[..., SandboxServer],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = serve(many_gates(120), latency=0.1)
    # two lists at once in each process: three seconds, of which the first one is killed in
    monkeypatch.setenv(PREFIX + "MAX_IN_FLIGHT", "4")

    def kill() -> None:
        wait_until_asked(server, 1)
        if said := re.search(r"shard 1 of 2 is read by process (\d+)", caplog.text):
            os.kill(int(said[1]), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with caplog.at_level(logging.INFO, logger="test"):
        result = sync(API, "gates", "gates_rules")["gates_rules"]
    killer.join()

    assert "shard 1 of 2 was killed (signal 9)" in caplog.text
    assert "shard 2 of 2 is done" in caplog.text
    assert result.status == "complete"
    assert live_keys(tmp_path, API, "gates_rules") == expected_keys(server.world, API, "gates_rules")
    times = Counter(asked(server, "gates_rules"))
    first, second = shards_of("gates_rules", 2)
    paths = [f"/v1/gates/gate_{number:04}/rules" for number in range(120)]
    assert {times[f"/{API}{path}"] for path in paths if second.has(path)} == {1}
    assert {times[f"/{API}{path}"] for path in paths if first.has(path)} <= {1, 2}


def test_a_refused_key_fails_the_api(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    sync(API, "gates")
    monkeypatch.setenv(PREFIX + "API_KEY", "not-the-key")
    with pytest.raises(Exception, match="refused the key") as error:
        sync(API, "gates_rules")

    assert "not-the-key" not in str(error.value)
    assert sandbox.requests.count(API, "gates_rules") == 3


def test_few_parents_are_not_worth_a_process(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sync_module, "WORTH_A_SHARD", 100)
    with caplog.at_level(logging.INFO, logger="test"):
        assert sync(API, "gates", "gates_rules")["gates_rules"].status == "complete"

    assert "processes" not in caplog.text


def test_rows_of_a_parent_that_is_gone_are_marked(
    tmp_path: Path, sandbox: SandboxServer, capfd: pytest.CaptureFixture[str]
) -> None:
    sync(API, "gates", "gates_rules")
    gate = sandbox.world.collection(API, "gates").pop(2)["id"]
    result = sync(API, "gates", "gates_rules")["gates_rules"]

    gone = query(tmp_path, f"SELECT gate_id FROM {API}.gates_rules WHERE _deleted_at IS NOT NULL")
    assert set(gone) == {(gate,)}
    assert result.rows_deleted == len(gone)
    # what the processes print is in the run's log: their progress, and no last words of the interpreter
    printed = capfd.readouterr().err
    assert sorted(re.findall(r"parents, .* done \(shard ([12]) of 2\)", printed)) == ["1", "1", "2", "2"]
    assert "Error" not in printed


def test_an_interrupted_run_ends_its_processes(serve: Callable[..., SandboxServer]) -> None:
    server = serve(many_gates(120), latency=0.1)
    sync(API, "gates")
    log = logging.getLogger("interrupted")

    def interrupt(_: logging.LogRecord) -> bool:
        wait_until_asked(server, 4)
        raise KeyboardInterrupt

    log.addFilter(interrupt)
    log.setLevel(logging.INFO)
    with pytest.raises(KeyboardInterrupt):
        read_shards(API, "gates_rules", 2, mode=Mode(), log=log)

    assert 4 <= server.requests.count(API, "gates_rules") < 120


def test_processes_do_not_outlive_the_one_that_has_started_them(serve: Callable[..., SandboxServer]) -> None:
    server = serve(many_gates(120), latency=0.1)
    sync(API, "gates")
    code = (
        "import logging; from analytics_ingest.extract.mode import Mode;"
        "from analytics_ingest.sync.workers import read_shards;"
        f"read_shards('{API}', 'gates_rules', 2, mode=Mode(), log=logging.getLogger())"
    )
    environment = {**os.environ, PREFIX + "MAX_IN_FLIGHT": "2"}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE)
    wait_until_asked(server, 4)
    process.kill()
    # all of them have its end of the pipe
    process.communicate(timeout=20)

    assert 4 <= server.requests.count(API, "gates_rules") < 120


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("gates_rules", "two", "must be a whole number above zero, not 'two'"),
        ("gates_rules", "0", "must be a whole number above zero, not '0'"),
        ("gates", "2", "is 2, but gates has no parents: take the setting away"),
    ],
)
def test_a_number_of_shards_that_cannot_be(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"{PREFIX}{name.upper()}__SHARDS", value)
    with pytest.raises(ConfigurationError) as error:
        sync(API, "gates", "gates_rules")

    assert str(error.value) == f"{PREFIX}{name.upper()}__SHARDS {said}"
    assert list(sandbox.requests) == []


def test_every_parent_is_in_one_shard_and_stays_there() -> None:
    shards = shards_of("gates_rules", 3)
    paths = [rules_path(f"gate_{number}") for number in range(900)]
    counts = [sum(shard.has(path) for path in paths) for shard in shards]

    assert all(sum(shard.has(path) for shard in shards) == 1 for path in paths)
    assert sum(counts) == 900
    assert min(counts) > 200
    # a value of crc32 that anybody may look up: another one would have each shard ask for others' parents
    assert [shard.number for shard in shards if shard.has("/v1/gates/a/rules")] == [1]


def test_shards_have_names_of_their_own() -> None:
    names = {shard.name for of in (2, 3) for shard in shards_of("gates_rules", of)}

    assert names == {f"gates_rules_{n}" for n in ("1_of_2", "2_of_2", "1_of_3", "2_of_3", "3_of_3")}
    assert str(Shard(endpoint="gates_rules", number=2, of=3)) == "shard 2 of 3"
