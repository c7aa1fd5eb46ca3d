"""Several processes on one DuckDB file, and processes that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from analytics_ingest.apis import APIS
from analytics_ingest.sandbox.options import Fault
from analytics_ingest_tests.conftest import define_all_segments, expected_keys, live_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from analytics_ingest.sandbox.server import SandboxServer


@pytest.fixture
def upstream(serve: Callable[..., SandboxServer]) -> SandboxServer:
    """A sandbox in which every segment is defined everywhere: other processes wait in earnest after a 404."""
    server = serve()
    define_all_segments(server.world)
    return server


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []

    def launch(selection: str, **environment: str) -> subprocess.Popen[str]:
        command = ["asset", "materialize", "--select", selection, "-m", "analytics_ingest.definitions"]
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", *command],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        return process

    yield launch
    for process in processes:
        process.kill()
        process.wait()


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output[-5000:]
    return output


def assert_exact(tmp_path: Path, server: SandboxServer, api: str) -> None:
    for endpoint in APIS[api].endpoints:
        if endpoint.primary_key:
            found = live_keys(tmp_path, api, endpoint.name)
            assert found == expected_keys(server.world, api, endpoint.name), endpoint.name


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_five_apis_in_five_processes_on_one_file(
    tmp_path: Path, upstream: SandboxServer, start: Callable[..., subprocess.Popen[str]], instance_ready: None
) -> None:
    for process in [start(f"group:{api}") for api in APIS]:
        finish(process)

    for api in APIS:
        assert_exact(tmp_path, upstream, api)


def test_same_api_twice_at_the_same_time_the_second_waits(
    tmp_path: Path, upstream: SandboxServer, start: Callable[..., subprocess.Popen[str]], instance_ready: None
) -> None:
    upstream.options.faults.append(Fault(api="incident_response", kind="delay", seconds=20, times=1))
    first = start("group:incident_response")
    wait_for(lambda: upstream.requests.count("incident_response") > 0)
    second = finish(start("group:incident_response"))
    finish(first)

    assert f"held by process {first.pid} since" in second
    assert_exact(tmp_path, upstream, "incident_response")


def test_same_api_twice_says_who_holds_it_when_the_wait_is_too_long(
    upstream: SandboxServer, start: Callable[..., subprocess.Popen[str]], instance_ready: None
) -> None:
    upstream.options.faults.append(Fault(api="incident_response", kind="delay", seconds=45))
    first = start("group:incident_response")
    wait_for(lambda: upstream.requests.count("incident_response") > 0)
    second = start("group:incident_response", SOURCES__INCIDENT_RESPONSE__LOCK_TIMEOUT="1")
    output, _ = second.communicate(timeout=120)

    assert second.returncode == 1
    assert f"the sync of incident_response is still held by process {first.pid} since" in output, output[-6000:]


@pytest.mark.parametrize("endpoint", ["categories", "stories_comments"])
def test_sync_right_after_one_that_was_killed(
    tmp_path: Path,
    upstream: SandboxServer,
    start: Callable[..., subprocess.Popen[str]],
    instance_ready: None,
    endpoint: str,
) -> None:
    upstream.options.latency = 0.05
    killed = start("group:project_planning")
    wait_for(lambda: upstream.requests.count("project_planning", endpoint) > 0)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    upstream.options.latency = 0
    finish(start("group:project_planning"))

    assert_exact(tmp_path, upstream, "project_planning")


@pytest.fixture
def instance_ready() -> None:
    """The instance's own tables, made by one process, so that the five do not race for it."""
    from dagster import DagsterInstance

    DagsterInstance.get().dispose()
