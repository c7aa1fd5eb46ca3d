"""Which runs concern an API, and which of them are under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import DagsterRunStatus, RunsFilter

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

API_TAG = "analytics_ingest/api"
"""Tag of a run: the API that it syncs."""
CAUSE_TAG = "analytics_ingest/cause"
"""Tag of a run: what asked for it."""
RETRY_TAGS = {"dagster/retry_strategy": "FROM_ASSET_FAILURE"}
"""Tags of a run: where runs are retried, what was materialised already is not materialised again."""
ALL_SYNC = "all_sync"
UNDER_WAY = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def backoff(failures: int, *, first: float, longest: float) -> float:
    """Seconds to rest after so many failures in a row (from 1): ``first``, then twice as long each time."""
    return min(first * 2.0 ** min(failures - 1, 50), longest)


def concerns(run: DagsterRun, api: str) -> bool:
    """Whether a run syncs (some of) the API, whoever launched it."""
    if run.asset_selection:
        return any(key.path[0] == api for key in run.asset_selection)
    if run.asset_check_selection:
        # checks alone read no API
        return False
    return run.job_name == ALL_SYNC or run.job_name.startswith((f"{api}_", "__ASSET_JOB"))


def spare_retry(instance: DagsterInstance, run: DagsterRun, api: str) -> None:
    """Keeps Dagster from trying a run again that failed of what will not change by itself; not if it has other APIs."""
    others = run.job_name == ALL_SYNC or any(key.path[0] != api for key in run.asset_selection or ())
    if not others:
        instance.add_run_tags(run.run_id, {"dagster/retry_on_asset_or_op_failure": "false"})


def runs_under_way(instance: DagsterInstance, api: str) -> list[DagsterRun]:
    """The API's runs that are queued, starting, running or being cancelled."""
    return [run for run in instance.get_runs(RunsFilter(statuses=UNDER_WAY)) if concerns(run, api)]
