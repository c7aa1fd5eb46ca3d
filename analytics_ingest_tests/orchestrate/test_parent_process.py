"""The processes of steps end with that of their run, which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.waiting import eventually

APIS = {"experimentation": "/v1/tags$", "project_planning": "/v1/categories$"}
"""The APIs of the run, and a list of each that is not answered."""
ASSETS = ["experimentation/tags", "project_planning/categories"]
RUN = f"""
from dagster import AssetKey, DagsterInstance, execute_job, reconstructable
from analytics_ingest.cli.demo import all_sync
assets = [AssetKey(each.split("/")) for each in {ASSETS}]
execute_job(reconstructable(all_sync), instance=DagsterInstance.get(), asset_selection=assets)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the processes of a session are found in /proc")
def test_steps_end_with_a_run_that_is_killed(start_sandbox: Callable[..., SandboxServer]) -> None:
    sandbox = start_sandbox(faults=[Fault(api=api, path=path, kind="delay", seconds=120) for api, path in APIS.items()])
    run = subprocess.Popen([sys.executable, "-c", RUN], env=dict(os.environ), start_new_session=True)
    try:
        eventually(lambda: all(sandbox.requests.count(api) for api in APIS), 120)
        # each step in a process of its own, beside the one that they are forked from
        assert len(processes_of(run.pid)) >= 1 + 1 + len(APIS)
        run.kill()
        run.wait()
        eventually(lambda: not processes_of(run.pid), 20, state=lambda: str(processes_of(run.pid)))
    finally:
        if processes_of(run.pid):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def processes_of(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, own, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(own) == session and state != "Z":
            found.append(int(folder.name))
    return found
