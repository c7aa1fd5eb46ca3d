"""Runs of an API: their tags, those in progress, those whose process is gone, and the back-off after failed ones."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dagster import DagsterEventType, DagsterRunStatus, RunsFilter

from analytics_ingest.config.accounts import find_account
from analytics_ingest.config.deployment import load_deployment_setting
from analytics_ingest.orchestrate.account_assets import account_of

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

API_TAG = "analytics_ingest/api"
"""Tag of a run: the API that it syncs."""
ALL_TAG = "analytics_ingest/all"
"""Tag of a run of ``all_sync``, which syncs every account."""
VERIFY_TAG = "analytics_ingest/verifies"
"""Tag of a run: the API that it compares with its tables. It keeps no sync from starting."""
CAUSE_TAG = "analytics_ingest/cause"
"""Tag of a run: what launched it (``schedule``, ``change``, ``freshness``)."""
RETRY_TAGS = {"dagster/retry_strategy": "FROM_ASSET_FAILURE"}
"""Tags of a run: a retry materialises only the assets that the run did not materialise."""
ALL_SYNC = "all_sync"
GRACE = 120.0
"""Seconds without an event after which a run may be dead: a sync logs its progress every few seconds."""
POLL_SECONDS = 60.0
LAST_POLL: dict[str, float] = {}
"""When ``poll_dead_runs`` last called ``fail_dead_runs``, by API, in seconds of this process's clock."""
STEP_EVENTS = {
    DagsterEventType.STEP_START,
    DagsterEventType.STEP_SUCCESS,
    DagsterEventType.STEP_FAILURE,
    DagsterEventType.STEP_UP_FOR_RETRY,
}
LOG = logging.getLogger(__name__)
ACTIVE_STATUSES = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def backoff(failures: int, *, first: float, longest: float) -> float:
    """Seconds of the back-off after so many failures in a row (from 1): ``first``, doubled by each failure."""
    return min(first * 2.0 ** min(failures - 1, 50), longest)


def run_targets_api(run: DagsterRun, api: str) -> bool:
    """Whether a run syncs endpoints of the API, also if a user launched it."""
    if run.asset_selection:
        return any(account_of(key) == api for key in run.asset_selection)
    if run.asset_check_selection:
        # a run of checks alone reads no API
        return False
    return run.tags.get(API_TAG) == api or ALL_TAG in run.tags or run.job_name.startswith("__ASSET_JOB")


def disable_retry(instance: DagsterInstance, run: DagsterRun, api: str) -> None:
    """Disables retries of a run that failed for a permanent reason, unless it also covers other APIs."""
    others = ALL_TAG in run.tags or any(account_of(key) != api for key in run.asset_selection or ())
    if not others:
        instance.add_run_tags(run.run_id, {"dagster/retry_on_asset_or_op_failure": "false"})


def fail_dead_runs(instance: DagsterInstance, api: str) -> list[str]:
    """Reports the API's runs whose process is gone as failed, so that they are in progress no longer; gives their ids.

    A run is dead if its step for the API has started and not ended, nothing was logged for ``GRACE`` seconds, and the
    API's lock was taken after the step started and is free. A run on another machine, whose lock files are not visible
    here, is left alone.
    """
    failed = []
    for run in runs_in_progress(instance, api):
        if run.status in (DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING) and _is_dead(instance, run):
            instance.report_run_failed(
                run,
                f"the process of this run is gone: the lock of {api} is free, and nothing was logged for minutes",
            )
            failed.append(run.run_id)
    return failed


def poll_dead_runs(instance: DagsterInstance, api: str) -> None:
    """Calls ``fail_dead_runs``, at most once in ``POLL_SECONDS``."""
    if time.monotonic() - LAST_POLL.get(api, float("-inf")) >= POLL_SECONDS:
        LAST_POLL[api] = time.monotonic()
        fail_dead_runs(instance, api)


def _is_dead(instance: DagsterInstance, run: DagsterRun) -> bool:
    last = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    if not last or time.time() - last[0].event_log_entry.timestamp < GRACE:
        return False
    started: dict[str, float] = {}
    for entry in instance.all_logs(run.run_id, of_type=STEP_EVENTS):
        event = entry.dagster_event
        if event is None or event.step_key is None:
            continue
        if event.event_type == DagsterEventType.STEP_START:
            started[event.step_key] = entry.timestamp
        else:
            started.pop(event.step_key, None)
    # only steps that sync an API, and that have started, can be known to be dead
    return bool(started) and all(_is_abandoned(step, since) for step, since in started.items())


def _is_abandoned(step: str, since: float) -> bool:
    if find_account(step) is None:
        return False
    # a step may run on another machine, whose lock files are not seen here
    elsewhere = load_deployment_setting("executor") == "celery"
    # here, as in the sync of the assets: definitions load without dlt's destinations
    from analytics_ingest.warehouse.destination import configured_destination  # noqa: PLC0415
    from analytics_ingest.warehouse.exceptions import WarehouseError  # noqa: PLC0415
    from analytics_ingest.warehouse.warehouse import Warehouse  # noqa: PLC0415

    try:
        if elsewhere and not configured_destination().locks_all_machines:
            return False
        warehouse = Warehouse(step, log=LOG, lock_timeout=1)
        return warehouse.was_abandoned(since=datetime.fromtimestamp(since, tz=UTC))
    except (WarehouseError, OSError):
        return False


def runs_in_progress(instance: DagsterInstance, api: str) -> list[DagsterRun]:
    """The API's runs that are queued, starting, running or being cancelled."""
    return [run for run in instance.get_runs(RunsFilter(statuses=ACTIVE_STATUSES)) if run_targets_api(run, api)]
