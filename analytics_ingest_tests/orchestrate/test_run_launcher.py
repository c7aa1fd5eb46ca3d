"""Run monitoring fails a run only if its code location denies it; ``test_topology`` kills one."""

from __future__ import annotations

import json

import pytest
from dagster import DagsterInstance
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.test_utils import create_run_for_test

from analytics_ingest.orchestrate.run_launcher import MonitoredRunLauncher
from analytics_ingest_tests.orchestrate.instance import free_port


@pytest.mark.parametrize("started", [True, False])
def test_run_counts_as_alive_while_its_code_location_does_not_respond(instance: DagsterInstance, started: bool) -> None:
    address = {GRPC_INFO_TAG: json.dumps({"host": "127.0.0.1", "port": free_port()})}
    run = create_run_for_test(instance, job_name="some_sync", tags=address if started else {})
    launcher = MonitoredRunLauncher()
    launcher.register_instance(instance)

    assert launcher.supports_check_run_worker_health
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
