"""A run whose process is gone is reported as failed, so that its schedule continues; a live one is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter, build_schedule_context

from analytics_ingest.definitions import defs
from analytics_ingest.orchestrate import run_tags as runs
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.waiting import eventually

API = "experimentation"
RUN = """
from dagster import AssetKey, DagsterInstance
from analytics_ingest.definitions import defs
job = defs.resolve_job_def("experimentation_sync")
job.execute_in_process(instance=DagsterInstance.get(), asset_selection=[AssetKey(["experimentation", "tags"])])
"""


@pytest.fixture
def process(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a run of the API in a process of its own, which waits for a response that does not come."""
    started: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(runs, "GRACE", 0.0)

    def start() -> subprocess.Popen[bytes]:
        sandbox.options.faults = [Fault(api=API, path="^/v1/tags$", kind="delay", seconds=120)]
        sandbox.requests.reset()
        started.append(subprocess.Popen([sys.executable, "-c", RUN], env=dict(os.environ)))
        eventually(lambda: sandbox.requests.count(API, "tags"), 90)
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()


def tick(instance: DagsterInstance) -> tuple[int, str]:
    context = build_schedule_context(instance=instance, scheduled_execution_time=datetime.now(UTC))
    data = defs.resolve_schedule_def(f"{API}_sync_schedule").evaluate_tick(context)
    return len(data.run_requests or ()), data.skip_message or ""


@pytest.mark.parametrize("destination", ["duckdb", pytest.param("postgres", marks=pytest.mark.extended)])
def test_a_killed_run_is_failed_and_the_schedule_continues(
    process: Callable[[], subprocess.Popen[bytes]],
    instance: DagsterInstance,
    request: pytest.FixtureRequest,
    destination: str,
) -> None:
    if destination == "postgres":
        request.getfixturevalue("postgres")
    running = process()
    [run] = instance.get_runs()

    # as long as the process lives, it holds the lock
    assert tick(instance) == (0, f"run {run.run_id[:8]} of {API} is still in progress")
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.STARTED
    running.send_signal(signal.SIGKILL)
    running.wait()
    if destination == "duckdb":
        assert_left_alone(instance)

    def requested() -> tuple[int, str] | None:
        found = tick(instance)
        return found if found[0] else None

    # PostgreSQL takes a moment to see that a session has gone
    assert eventually(requested, 20, interval=0.2) == (1, "")
    assert [each.run_id for each in instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.FAILURE]))] == [run.run_id]


def assert_left_alone(instance: DagsterInstance) -> None:
    """A run that has just logged something counts as alive, and so does one that never took its lock here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "GRACE", 3_600.0)
        assert runs.fail_dead_runs(instance, API) == []
        patch.setattr(runs, "GRACE", 0.0)
        # a lock that was last taken before the step started was not this run's: it may be on another machine
        since = time.time() + timedelta(days=1).total_seconds()
        plain = runs._is_abandoned
        patch.setattr(runs, "_is_abandoned", lambda step, _: plain(step, since))
        assert runs.fail_dead_runs(instance, API) == []
