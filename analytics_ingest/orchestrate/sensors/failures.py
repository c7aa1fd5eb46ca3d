"""The failure sensor: reports the runs that failed since its last tick in one message, to a webhook or in the log."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dagster import (
    DagsterEventType,
    DagsterRunStatus,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
)

from analytics_ingest.config.deployment import load_deployment_setting
from analytics_ingest.orchestrate.account_assets import prefixed
from analytics_ingest.orchestrate.default_status import sensor_status
from analytics_ingest.orchestrate.plain_failure import PlainFailureError
from analytics_ingest.orchestrate.run_tags import VERIFY_TAG, poll_dead_runs, run_targets_api
from analytics_ingest.orchestrate.sensors.failure_message import MAX_BYTES, FailedRun, log_message, message
from analytics_ingest.orchestrate.sensors.webhook import WEBHOOK, send

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagster import DagsterInstance, DagsterRun, RunRecord

    from analytics_ingest.config.deployment import DeploymentSettings
    from analytics_ingest.orchestrate.account_assets import AccountAssets

LOG = logging.getLogger(__name__)
SENSOR = "failure_sensor"
MAX_RUNS_PER_MESSAGE = 50
"""Failed runs whose events are read for one message, the newest ones; the message has the number of the others."""
MAX_RUNS_PER_TICK = 1_000
"""Failed runs that a tick counts, those of other projects included."""
MAX_IDS = 10
"""Runs that a tick names in the UI."""
LATE_SECONDS = 600.0
"""Seconds after a run's end at which its failure may be stored at the latest."""
TOO_LARGE = (400, 413)
"""Status codes with which webhooks refuse a message for its size."""


@dataclass(frozen=True, kw_only=True)
class FailureSensorState:
    """The state of the failure sensor. The attributes' names are keys in stored cursors, so they must not change.

    A run is known by its id, as the time of its last update moves whenever it gets a tag: Dagster tags a failed run
    when it retries it.

    Attributes:
        first: When the sensor ticked for the first time, epoch seconds.
        latest: When the run ended that ended last among those that were reported, epoch seconds.
        reported: The runs that were reported and ended less than ``LATE_SECONDS`` before ``latest``, with that time.
    """

    first: float
    latest: float
    reported: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_cursor(cls, cursor: str) -> FailureSensorState:
        """The state in a cursor; one of an earlier version is a time only."""
        if cursor.startswith("{"):
            return cls(**json.loads(cursor))
        moment = datetime.fromisoformat(cursor).timestamp()
        return cls(first=moment, latest=moment)

    def to_cursor(self) -> str:
        """The state as a cursor."""
        return json.dumps(asdict(self))

    @property
    def floor(self) -> float:
        """The time before which no run can have ended that was not reported yet, epoch seconds."""
        return max(self.first, self.latest - LATE_SECONDS)

    def is_new(self, record: RunRecord) -> bool:
        """Whether a failed run was not reported yet."""
        return record.dagster_run.run_id not in self.reported and ended_at(record) > self.floor

    def after(self, records: Sequence[RunRecord]) -> FailureSensorState:
        """The state after these runs were reported."""
        ends = self.reported | {record.dagster_run.run_id: ended_at(record) for record in records}
        latest = max(self.latest, *ends.values())
        kept = {run_id: end for run_id, end in ends.items() if end > latest - LATE_SECONDS}
        return replace(self, latest=latest, reported=kept)


def ended_at(record: RunRecord) -> float:
    """When a run ended, epoch seconds."""
    return record.end_time or record.update_timestamp.replace(tzinfo=UTC).timestamp()


def build_failure_sensor(
    accounts: Sequence[AccountAssets], deployment: DeploymentSettings, *, name_prefix: str = ""
) -> SensorDefinition:
    """``failure_sensor``: reports the runs of these accounts that failed since its last tick in one message.

    The message is sent to the webhook in ``ANALYTICS_INGEST_WEBHOOK_URL``, or logged if none is set. If the webhook
    cannot be reached, the next tick sends a message with the runs that have failed by then. If it refuses a message for
    its size, it gets a shorter one; if it refuses that too, the message is logged and not sent again.
    """
    names = [account.name for account in accounts]

    def evaluate(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        _poll_dead_runs(context.instance, names)
        if not context.cursor:
            now = datetime.now(UTC).timestamp()
            return SensorResult(
                cursor=FailureSensorState(first=now, latest=now).to_cursor(),
                skip_reason=SkipReason("failures are reported from now on"),
            )
        state = FailureSensorState.from_cursor(context.cursor)
        failed = RunsFilter(
            statuses=[DagsterRunStatus.FAILURE], updated_after=datetime.fromtimestamp(state.floor, tz=UTC)
        )
        # newest first: after an outage of the webhook they matter most
        records = context.instance.get_run_records(failed, limit=MAX_RUNS_PER_TICK, order_by="update_timestamp")
        records = [record for record in records if state.is_new(record)]
        if not records:
            return SkipReason("no run has failed since the last tick")
        cursor = state.after(records).to_cursor()
        ours = [each.dagster_run for each in records if any(_is_of(each.dagster_run, name) for name in names)]
        if not ours:
            return SensorResult(cursor=cursor, skip_reason=SkipReason("no run of these APIs has failed"))
        total = len(ours)
        runs = [_readable_failed_run(context.instance, run) for run in ours[:MAX_RUNS_PER_MESSAGE]]
        ui_url = load_deployment_setting("ui_url").rstrip("/")
        if url := load_deployment_setting("webhook_url").get_secret_value():
            try:
                report = send_report(url, runs, total, ui_url=ui_url)
            except RuntimeError as error:
                raise PlainFailureError(str(error)) from None
        else:
            # in the terminal of `dg dev`, and in the tick in the UI
            report = message(runs, total, ui_url=ui_url)
            LOG.error(log_message(runs, total, ui_url=ui_url))
        return SensorResult(
            cursor=cursor,
            skip_reason=SkipReason(report),
        )

    return SensorDefinition(
        name=prefixed(name_prefix, SENSOR),
        evaluation_fn=evaluate,
        minimum_interval_seconds=60,
        default_status=sensor_status(deployment),
        description=f"Reports failed runs in one message, to the webhook in {WEBHOOK} if it is set, else in the log.",
    )


def failed_run(instance: DagsterInstance, run: DagsterRun) -> FailedRun:
    """A failed run by its event log."""
    planned: dict[str, None] = {}
    reasons: list[str] = []
    done = set()
    for entry in instance.all_logs(run.run_id):
        event = entry.dagster_event
        if event is None:
            continue
        if event.event_type == DagsterEventType.ASSET_MATERIALIZATION_PLANNED and event.asset_key:
            planned["/".join(event.asset_key.path)] = None
        elif event.event_type == DagsterEventType.ASSET_MATERIALIZATION and event.asset_key:
            done.add("/".join(event.asset_key.path))
        elif event.event_type == DagsterEventType.STEP_FAILURE:
            data = event.step_failure_data
            description = data.user_failure_data.description if data.user_failure_data else None
            reasons.append(description or (data.error.message if data.error else "") or "")
        elif event.event_type == DagsterEventType.RUN_FAILURE and not reasons:
            reasons.append(event.message or "")
    return FailedRun(
        run_id=run.run_id,
        job=run.job_name,
        apis=list(dict.fromkeys(name.rsplit("/", 2)[-2] for name in planned if "/" in name)),
        endpoints=[name for name in planned if name not in done],
        reason="\n".join(reason.strip() for reason in reasons if reason.strip()) or "no reason was recorded",
    )


def _is_of(run: DagsterRun, api: str) -> bool:
    """Whether a run syncs endpoints of the API, or compares its tables with it."""
    return run_targets_api(run, api) or run.tags.get(VERIFY_TAG) == api


def _readable_failed_run(instance: DagsterInstance, run: DagsterRun) -> FailedRun:
    """``failed_run``, or the run's id and job if its events cannot be read: they may have been deleted."""
    try:
        return failed_run(instance, run)
    except Exception as error:  # noqa: BLE001 - the events of one run must not keep the other runs from being reported
        reason = f"the events of this run cannot be read ({type(error).__name__})"
        return FailedRun(run_id=run.run_id, job=run.job_name, apis=(), endpoints=(), reason=reason)


def _poll_dead_runs(instance: DagsterInstance, names: Sequence[str]) -> None:
    for name in names:
        try:
            poll_dead_runs(instance, name)
        except Exception as error:  # noqa: BLE001 - must not keep failed runs from being reported
            LOG.warning("%s: runs whose process is gone cannot be found (%s)", name, type(error).__name__)


def send_report(url: str, failed: Sequence[FailedRun], total: int, *, ui_url: str = "") -> str:
    """Sends the message, and a shorter one if it is refused for its size; gives the outcome in one line.

    Raises:
        RuntimeError: The webhook cannot be reached, or refuses messages.
    """
    runs = f"{total} failed {'run' if total == 1 else 'runs'}"
    for max_bytes in (MAX_BYTES, MAX_BYTES // 4, MAX_BYTES // 16):
        status = send(url, message(failed, total, ui_url=ui_url, max_bytes=max_bytes))
        if 200 <= status < 300:
            # the host alone: the rest of the URL is a secret
            return f"reported {runs} to {urlsplit(url).hostname}: {_ids(failed, total)}"
        if status not in TOO_LARGE:
            raise RuntimeError(f"the webhook ({WEBHOOK}) answered {status}{_advice(status)}")
    LOG.error(log_message(failed, total, ui_url=ui_url))
    return f"the webhook ({WEBHOOK}) refused a short message too ({status}): {runs}, reported in the log"


def _ids(failed: Sequence[FailedRun], total: int) -> str:
    """The ids of the runs as the UI shows them, of the newest ones."""
    shown = failed[:MAX_IDS]
    more = f" and {total - len(shown)} more" if total > len(shown) else ""
    return ", ".join(run.run_id[:8] for run in shown) + more


def _advice(status: int) -> str:
    if status < 400:
        return ", a redirect, which is not followed: check its address"
    if status == 429 or status >= 500:
        return ": the next tick sends the message again"
    return ": check its address"
