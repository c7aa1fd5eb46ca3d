"""The failure sensor: what failed since it last looked, in one message, to a webhook or to the log."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dagster import (
    DagsterEventType,
    DagsterRunStatus,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
)

from analytics_ingest.apis import APIS
from analytics_ingest.orchestrate.runs import look_for_dead_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagster import DagsterInstance, DagsterRun

    from analytics_ingest.orchestrate.cadence import Deployment

LOG = logging.getLogger(__name__)
SENSOR = "failure_sensor"
WEBHOOK = "ANALYTICS_INGEST_WEBHOOK_URL"
UI = "ANALYTICS_INGEST_UI_URL"
AT_ONCE = 50
"""Failed runs in one message; the rest comes with the next."""
LONGEST_REASON = 600
"""Characters of a run's reason; the whole of it is behind the link."""


@dataclass(frozen=True, kw_only=True)
class FailedRun:
    """A run that failed.

    Attributes:
        run_id: Its id.
        job: The job's name.
        apis: The APIs that it was to sync.
        endpoints: The assets that it was to materialise and did not, as ``<api>/<endpoint>``.
        reason: Why, as the op that failed said it.
    """

    run_id: str
    job: str
    apis: Sequence[str]
    endpoints: Sequence[str]
    reason: str


def build_failure_sensor(deployment: Deployment) -> SensorDefinition:
    """``failure_sensor``: gathers the runs that failed since its last look into one message.

    The message goes to ``ANALYTICS_INGEST_WEBHOOK_URL`` as ``{"text": ...}``, which Slack, Mattermost and Teams take,
    or into the log where none is set. A webhook that does not take it is tried again at the next look, with
    whatever has failed by then.
    """

    def evaluate(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        for name in APIS:
            look_for_dead_runs(context.instance, name)
        if not context.cursor:
            return SensorResult(cursor=datetime.now(UTC).isoformat(), skip_reason=SkipReason("looks from now on"))
        since = datetime.fromisoformat(context.cursor)
        failed = RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=since)
        records = context.instance.get_run_records(failed, limit=AT_ONCE, order_by="update_timestamp", ascending=True)
        if not records:
            return SkipReason("no run has failed since the last look")
        text = message([failed_run(context.instance, record.dagster_run) for record in records])
        if url := os.environ.get(WEBHOOK, "").strip():
            _send(url, text)
            told = f"told of {len(records)} failed runs"
        else:
            # the terminal of `dagster dev`; and the tick, for who looks there
            LOG.error(text)
            told = text
        return SensorResult(
            cursor=records[-1].update_timestamp.replace(tzinfo=UTC).isoformat(),
            skip_reason=SkipReason(told),
        )

    return SensorDefinition(
        name=SENSOR,
        evaluation_fn=evaluate,
        minimum_interval_seconds=60,
        default_status=deployment.sensor_status,
        description=f"Gathers runs that failed into one message, to {WEBHOOK} if it is set, else to the log.",
    )


def failed_run(instance: DagsterInstance, run: DagsterRun) -> FailedRun:
    """What the event log knows of a run that failed."""
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
            said = data.user_failure_data.description if data.user_failure_data else None
            reasons.append(said or (data.error.message if data.error else "") or "")
        elif event.event_type == DagsterEventType.RUN_FAILURE and not reasons:
            reasons.append(event.message or "")
    return FailedRun(
        run_id=run.run_id,
        job=run.job_name,
        apis=list(dict.fromkeys(name.partition("/")[0] for name in planned)),
        endpoints=[name for name in planned if name not in done],
        reason="\n".join(reason.strip() for reason in reasons if reason.strip()) or "no reason was recorded",
    )


def message(failed: Sequence[FailedRun]) -> str:
    """One message for all of them: API, endpoints, reason, and a link where ``ANALYTICS_INGEST_UI_URL`` is set."""
    ui = os.environ.get(UI, "").strip().rstrip("/")
    parts = [f"{len(failed)} {'run' if len(failed) == 1 else 'runs'} of analytics_ingest failed"]
    for run in failed:
        link = f"{ui}/runs/{run.run_id}" if ui else f"run {run.run_id}"
        reason = run.reason if len(run.reason) <= LONGEST_REASON else f"{run.reason[:LONGEST_REASON]} ..."
        endpoints = ", ".join(run.endpoints) or "none"
        parts.append(f"{', '.join(run.apis) or run.job}: not materialised: {endpoints}\n{reason}\n{link}")
    return "\n\n".join(parts)


def _send(url: str, text: str) -> None:
    import requests  # noqa: PLC0415 - definitions load without an HTTP client

    try:
        status = requests.post(url, json={"text": text}, timeout=20).status_code
    except requests.RequestException as error:
        # the URL holds a secret, and requests' messages hold the URL
        raise RuntimeError(f"the webhook ({WEBHOOK}) cannot be reached: {type(error).__name__}") from None
    if status >= 400:
        raise RuntimeError(f"the webhook ({WEBHOOK}) answered {status}: check its address")
