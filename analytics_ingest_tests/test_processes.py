"""Several processes on one DuckDB file, and processes that are killed."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from analytics_ingest.apis.registry import APIS
from analytics_ingest.definitions import defs
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import define_all_segments, expected_keys, live_keys, sync
from analytics_ingest_tests.waiting import eventually

API = "incident_response"
STORIES = (
    *("categories", "epics", "groups", "iterations"),
    *("epics_stories", "groups_stories", "iterations_stories", "stories_comments"),
)
"""Endpoints of project_planning: lists, their children, and children of these."""
SYNC = """
import sys
from analytics_ingest_tests.conftest import sync
print({result.status for result in sync(*sys.argv[1:]).values()})
"""


@pytest.fixture
def sandbox_without_404(start_sandbox: Callable[..., SandboxServer]) -> SandboxServer:
    """A sandbox in which every segment is defined everywhere: other processes wait in earnest after a 404."""
    server = start_sandbox()
    define_all_segments(server.world)
    return server


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a sync in a process of its own: ``start(api, *endpoints)``."""
    processes: list[subprocess.Popen[str]] = []

    def launch(*what: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SYNC, *what], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        processes.append(process)
        return process

    yield launch
    for process in processes:
        process.kill()
        process.wait()


def finish(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output[-5000:]
    assert output == "{'complete'}\n"


def assert_exact(tmp_path: Path, server: SandboxServer, api: str, *names: str) -> None:
    for endpoint in APIS[api].endpoints:
        if endpoint.primary_key and (not names or endpoint.name in names):
            found = live_keys(tmp_path, api, endpoint.name)
            assert found == expected_keys(server.world, api, endpoint.name), endpoint.name


@pytest.mark.parametrize(
    "apis",
    [
        {"incident_response": (), "experimentation": ("gates", "gates_rules")},
        pytest.param(dict.fromkeys(APIS, ()), marks=pytest.mark.extended),
    ],
    ids=["two", "five"],
)
def test_apis_each_in_a_process_of_its_own_on_one_file(
    tmp_path: Path,
    sandbox_without_404: SandboxServer,
    start: Callable[..., subprocess.Popen[str]],
    apis: dict[str, tuple[str, ...]],
) -> None:
    *others, last = apis
    processes = [start(api, *apis[api]) for api in others]
    eventually(lambda: all(sandbox_without_404.requests.count(api) for api in others), 120)
    # the last one in this process
    assert {result.status for result in sync(last, *apis[last]).values()} == {"complete"}
    for process in processes:
        finish(process)

    for api, names in apis.items():
        assert_exact(tmp_path, sandbox_without_404, api, *names)


def test_same_api_twice_at_the_same_time_the_second_waits(
    tmp_path: Path,
    sandbox_without_404: SandboxServer,
    start: Callable[..., subprocess.Popen[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="test")
    sandbox_without_404.options.faults.append(Fault(api=API, kind="delay", seconds=5, times=1))
    first = start(API)
    eventually(lambda: sandbox_without_404.requests.count(API) > 0, 120)
    second = sync(API)
    finish(first)

    assert {result.status for result in second.values()} == {"complete"}
    assert f"held by process {first.pid} since" in caplog.text
    assert_exact(tmp_path, sandbox_without_404, API)


def test_same_api_twice_says_who_holds_it_when_the_wait_is_too_long(
    sandbox_without_404: SandboxServer, start: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox_without_404.options.faults.append(Fault(api=API, kind="delay", seconds=120))
    first = start(API)
    eventually(lambda: sandbox_without_404.requests.count(API) > 0, 120)
    monkeypatch.setenv("SOURCES__INCIDENT_RESPONSE__LOCK_TIMEOUT", "1")
    with DagsterInstance.get() as instance:
        run = defs.resolve_job_def(f"{API}_sync").execute_in_process(instance=instance, raise_on_error=False)

    assert not run.success
    (failed,) = run.filter_events(lambda event: event.is_step_failure)
    said = str(failed.step_failure_data.user_failure_data)
    assert f"the sync of incident_response is still held by process {first.pid} since" in said


@pytest.mark.parametrize("endpoint", [pytest.param("categories", marks=pytest.mark.extended), "stories_comments"])
def test_sync_right_after_one_that_was_killed(
    tmp_path: Path, sandbox_without_404: SandboxServer, start: Callable[..., subprocess.Popen[str]], endpoint: str
) -> None:
    sandbox_without_404.options.latency = 0.05
    killed = start("project_planning", *STORIES)
    eventually(lambda: sandbox_without_404.requests.count("project_planning", endpoint) > 0, 120)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    sandbox_without_404.options.latency = 0
    sync("project_planning", *STORIES)

    assert_exact(tmp_path, sandbox_without_404, "project_planning", *STORIES)
