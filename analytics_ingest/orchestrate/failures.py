"""The failure sensor: what failed since it last looked, in one message, to a webhook or to the log."""

from __future__ import annotations

import json
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
MAX_BYTES = 8_000
"""Bytes of a message as it is sent. Teams takes 28 kB, Mattermost 16,383 characters, and nobody reads more."""
MAX_ENDPOINTS = 10
"""Endpoints of a run that a message names."""
TOO_LARGE = (400, 413)
"""Status codes by which receivers refuse a message for its size."""


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
    or into the log where none is set. A webhook that is out of reach is tried again at the next look, with the runs
    that have failed by then. One that refuses a message for its size gets a shorter one; if it refuses that too, the
    message goes to the log and is not sent again.
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
        failures = [_failed_run(context.instance, record.dagster_run) for record in records]
        if url := os.environ.get(WEBHOOK, "").strip():
            told = _tell(url, failures)
        else:
            # the terminal of `dagster dev`; and the tick, for who looks there
            told = message(failures)
            LOG.error(told)
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


def _failed_run(instance: DagsterInstance, run: DagsterRun) -> FailedRun:
    """``failed_run``, or what is known of the run without its events: they may have been deleted."""
    try:
        return failed_run(instance, run)
    except Exception as error:  # noqa: BLE001 - one run's events must not keep the others from being told
        reason = f"the events of this run cannot be read ({type(error).__name__})"
        return FailedRun(run_id=run.run_id, job=run.job_name, apis=(), endpoints=(), reason=reason)


def message(failed: Sequence[FailedRun], *, most: int = MAX_BYTES) -> str:
    """One message for all of them: API, endpoints, reason, and a link where ``ANALYTICS_INGEST_UI_URL`` is set.

    A reason holds text of an upstream: it stands in a fence that it cannot close, with what chats read as a mention, a
    link or markup escaped.

    Args:
        failed: The runs.
        most: Bytes of the message as it is sent; of runs beyond that only the number is told.
    """
    title = f"{len(failed)} {'run' if len(failed) == 1 else 'runs'} of analytics_ingest failed"
    parts = [title]
    room = most - _size(title) - 100
    for place, run in enumerate(failed):
        part = _part(run, most=max(100, min(LONGEST_REASON, room // 2)))
        if place and _size(part) > room:
            parts.append(f"and {len(failed) - place} runs more, see the runs in the Dagster UI")
            break
        parts.append(part)
        room -= _size(part)
    return "\n\n".join(parts)


def _part(run: FailedRun, *, most: int) -> str:
    ui = os.environ.get(UI, "").strip().rstrip("/")
    link = f"{ui}/runs/{run.run_id}" if ui else f"run {run.run_id}"
    reason = run.reason if len(run.reason) <= most else f"{run.reason[:most]} ..."
    while (size := _size(escaped(reason))) > 2 * most:
        # characters of some scripts take six bytes each
        reason = f"{reason[: len(reason) * most // size]} ..."
    shown = ", ".join(run.endpoints[:MAX_ENDPOINTS]) or "none"
    more = f" and {len(run.endpoints) - MAX_ENDPOINTS} more" if len(run.endpoints) > MAX_ENDPOINTS else ""
    title = ", ".join(run.apis) or run.job
    return f"{title}: not materialised: {shown}{more}\n```\n{escaped(reason)}\n```\n{link}"


def escaped(text: str) -> str:
    """Foreign text for a chat, within a fence: no mention, no link, no markup, and no end of the fence.

    Slack takes the three entities for ``&``, ``<`` and ``>`` (https://api.slack.com/reference/surfaces/formatting).
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("`", "'")
    # a character of no width keeps a mention from being one
    return text.replace("@", "@\u200b")


def _size(text: str) -> int:
    return len(json.dumps(text))


def _tell(url: str, failed: Sequence[FailedRun]) -> str:
    """Sends the message, a shorter one if it is refused for its size; gives what the tick says.

    Raises:
        RuntimeError: The webhook is out of reach, or does not take messages.
    """
    for most in (MAX_BYTES, MAX_BYTES // 4, MAX_BYTES // 16):
        status = _send(url, message(failed, most=most))
        if status < 300:
            return f"told of {len(failed)} failed runs"
        if status not in TOO_LARGE:
            moved = ", a redirect, which is not followed" if status < 400 else ""
            raise RuntimeError(f"the webhook ({WEBHOOK}) answered {status}{moved}: check its address")
    LOG.error(message(failed))
    return f"the webhook ({WEBHOOK}) refused a short message too ({status}): {len(failed)} failed runs are in the log"


def _send(url: str, text: str) -> int:
    import requests  # noqa: PLC0415 - definitions load without an HTTP client

    try:
        return requests.post(url, json={"text": text}, timeout=20, allow_redirects=False).status_code
    except requests.RequestException as error:
        # the URL holds a secret, and requests' messages hold the URL
        raise RuntimeError(f"the webhook ({WEBHOOK}) cannot be reached: {type(error).__name__}") from None
