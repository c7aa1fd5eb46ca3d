"""The run launcher of a deployment: Dagster's default one, which also knows whether the process of a run is gone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dagster import DefaultRunLauncher

# not public, like all that a run launcher needs
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.types import GetCurrentRunsResult
from dagster._serdes import deserialize_value

if TYPE_CHECKING:
    from dagster import DagsterRun


class MonitoredRunLauncher(DefaultRunLauncher):
    """Starts runs in the code location, and lets Dagster's run monitoring fail those that it no longer executes.

    The processes of runs end with the code location: a container that is killed, a machine that restarts. Dagster's
    default run launcher does not notice that, so such a run is in progress until ``max_runtime_seconds`` are over.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Dagster's run monitoring calls ``check_run_worker_health``."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the code location that started a run still executes it; one that does not respond may do so."""
        # not at the top: other processes that open the instance need no gRPC
        from dagster._grpc.client import DagsterGrpcClient  # noqa: PLC0415

        if GRPC_INFO_TAG not in run.tags:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "it is not known which code location started it")
        client = DagsterGrpcClient(**json.loads(run.tags[GRPC_INFO_TAG]))
        try:
            found = deserialize_value(client.get_current_runs(), GetCurrentRunsResult)
        except DagsterUserCodeUnreachableError:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "the code location does not respond")
        if run.run_id in found.current_runs:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.NOT_FOUND, "the code location does not execute it: the process of the run has ended"
        )
