"""The failure sensor: what failed since it last looked, in one message, to a webhook or to the log."""

from __future__ import annotations

import json
import logging
import re
import threading
from contextlib import contextmanager, suppress
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

from analytics_ingest.apis.registry import APIS
from analytics_ingest.config.deployment import environment_variable, load_deployment_setting
from analytics_ingest.orchestrate.default_status import sensor_status
from analytics_ingest.orchestrate.run_tags import look_for_dead_runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dagster import DagsterInstance, DagsterRun

    from analytics_ingest.config.deployment import DeploymentSettings

LOG = logging.getLogger(__name__)
SENSOR = "failure_sensor"
WEBHOOK = environment_variable("webhook_url")
MAX_RUNS_PER_MESSAGE = 50
"""Failed runs whose events are read for one message, the newest ones; of earlier ones the message has the number."""
MAX_BYTES = 8_000
"""Bytes of a message as sent: Teams accepts 28 kB and Mattermost 16,383 characters, and a chat should stay readable."""
MAX_RUN_BYTES = 1_000
"""Bytes of a run in a message; the whole of its reason is behind the link."""
MAX_NAMES = 10
"""APIs or endpoints of a run that a message names."""
TOO_LARGE = (400, 413)
"""Status codes by which receivers refuse a message for its size."""
TEAMS_ERROR = re.compile(rb"delivery failed with error.*HTTP error ([45][0-9]{2})", re.DOTALL)
"""Teams answers 200 and has the status in the body (https://github.com/MicrosoftDocs/msteams-docs/issues/1810)."""


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


def build_failure_sensor(deployment: DeploymentSettings) -> SensorDefinition:
    """``failure_sensor``: gathers the runs that failed since its last look into one message.

    The message goes to ``ANALYTICS_INGEST_WEBHOOK_URL`` as ``{"text": ...}``, which Slack, Mattermost and Teams take,
    or into the log where none is set. A webhook that is out of reach is tried again at the next look, with the runs
    that have failed by then: one message, which shows the newest. One that refuses a message for its size gets a
    shorter one; if it refuses that too, the message goes to the log and is not sent again.
    """

    def evaluate(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        _fail_dead_runs(context.instance)
        if not context.cursor:
            return SensorResult(cursor=datetime.now(UTC).isoformat(), skip_reason=SkipReason("looks from now on"))
        since = datetime.fromisoformat(context.cursor)
        failed = RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=since)
        # newest first: after an outage of the webhook they are the ones that matter
        records = context.instance.get_run_records(failed, limit=MAX_RUNS_PER_MESSAGE, order_by="update_timestamp")
        if not records:
            return SkipReason("no run has failed since the last look")
        total = context.instance.get_runs_count(failed) if len(records) == MAX_RUNS_PER_MESSAGE else len(records)
        failures = [_failed_run(context.instance, record.dagster_run) for record in records]
        if url := load_deployment_setting("webhook_url").get_secret_value():
            told = _tell(url, failures, total)
        else:
            # the terminal of `dagster dev`; and the tick, for who looks there
            told = message(failures, total)
            LOG.error(_whole(failures, total))
        return SensorResult(
            cursor=records[0].update_timestamp.replace(tzinfo=UTC).isoformat(),
            skip_reason=SkipReason(told),
        )

    return SensorDefinition(
        name=SENSOR,
        evaluation_fn=evaluate,
        minimum_interval_seconds=60,
        default_status=sensor_status(deployment),
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


def _fail_dead_runs(instance: DagsterInstance) -> None:
    for name in APIS:
        try:
            look_for_dead_runs(instance, name)
        except Exception as error:  # noqa: BLE001 - one run's events must not keep the others from being reported
            LOG.warning("%s: runs whose process is gone cannot be found (%s)", name, type(error).__name__)


def message(failed: Sequence[FailedRun], total: int | None = None, *, most: int = MAX_BYTES) -> str:
    """One message for all of them: API, endpoints, reason, and a link where ``ANALYTICS_INGEST_UI_URL`` is set.

    A reason holds text of an upstream, and a name may be of another code location: both are escaped, and the reason
    stands in a fence that it cannot close. The runs are in the order in which they failed.

    Args:
        failed: The runs, newest first.
        total: How many runs failed, if more than those.
        most: Bytes of the message as sent. Of the runs that do not fit, the earliest ones, the message has the number.
    """
    total = max(total or 0, len(failed))
    title = f"{total} {'run' if total == 1 else 'runs'} of analytics_ingest failed"
    room = most - _size(title) - 100
    shown: list[str] = []
    for run in failed:
        part = _part(run, most=MAX_RUN_BYTES if shown else min(MAX_RUN_BYTES, room))
        if shown and _size(part) > room:
            break
        shown.append(part)
        # with the blank line before it
        room -= _size(part) + 2
    earlier = total - len(shown)
    note = [f"the {earlier} earlier ones are not shown: see the runs in the Dagster UI"] if earlier else []
    return "\n\n".join([title, *note, *reversed(shown)])


def _whole(failed: Sequence[FailedRun], total: int) -> str:
    """The message for the log, which has room for each run."""
    return message(failed, total, most=(len(failed) + 1) * MAX_RUN_BYTES)


def _part(run: FailedRun, *, most: int) -> str:
    ui = load_deployment_setting("ui_url").rstrip("/")
    link = f"{ui}/runs/{run.run_id}" if ui else f"run {run.run_id}"
    room = most - _size(link) - 60
    title = _fit(_names(run.apis) or run.job, room // 8)
    missing = _fit(_names(run.endpoints) or "none", room * 3 // 8)
    reason = _fit(run.reason, room - _size(title) - _size(missing))
    return f"{title}: not materialised: {missing}\n```\n{reason}\n```\n{link}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _fit(text: str, most: int) -> str:
    """``text`` escaped, and cut to so many bytes as sent: a character takes up to twelve there."""
    shown, keep = escaped(text), len(text)
    while keep and (size := _size(shown)) > most:
        keep = max(0, min(keep - 1, keep * most // size))
        shown = f"{escaped(text[:keep])} ..."
    return shown


def escaped(text: str) -> str:
    """Foreign text for a chat, within a fence: no mention, no link, no markup, and no end of the fence.

    Slack takes the three entities for ``&``, ``<`` and ``>`` (https://api.slack.com/reference/surfaces/formatting).
    """
    # what cannot be printed includes a terminal's codes, changes of the direction of text, and half characters
    text = "".join(character if character.isprintable() or character == "\n" else " " for character in text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("`", "'")
    # a character of no width keeps a mention, or a link where fences have no effect (Teams' cards), from being one
    return text.replace("@", "@\u200b").replace("](", "]\u200b(")


def _size(text: str) -> int:
    return len(json.dumps(text))


def _tell(url: str, failed: Sequence[FailedRun], total: int) -> str:
    """Sends the message, a shorter one if it is refused for its size; gives what the tick says.

    Raises:
        RuntimeError: The webhook is out of reach, or does not take messages.
    """
    runs = f"{total} failed {'run' if total == 1 else 'runs'}"
    for most in (MAX_BYTES, MAX_BYTES // 4, MAX_BYTES // 16):
        status = _send(url, message(failed, total, most=most))
        if 200 <= status < 300:
            return f"told of {runs}"
        if status not in TOO_LARGE:
            raise RuntimeError(f"the webhook ({WEBHOOK}) answered {status}{_advice(status)}")
    LOG.error(_whole(failed, total))
    return f"the webhook ({WEBHOOK}) refused a short message too ({status}): {runs}, reported in the log"


def _advice(status: int) -> str:
    if status < 400:
        return ", a redirect, which is not followed: check its address"
    if status == 429 or status >= 500:
        return ": the next look sends the message again"
    return ": check its address"


def _send(url: str, text: str) -> int:
    """Sends a message; gives the receiver's status code.

    Raises:
        RuntimeError: The webhook is out of reach.
    """
    import requests  # noqa: PLC0415 - definitions load without an HTTP client

    try:
        with (
            _path_unlogged(),
            requests.post(url, json={"text": text}, timeout=20, allow_redirects=False, stream=True) as answer,
        ):
            if answer.status_code == 200:
                # what is sent is sent, whatever becomes of the body
                with suppress(OSError, ValueError):
                    if error := TEAMS_ERROR.search(next(answer.iter_content(1_000), b"")):
                        return int(error[1])
            return answer.status_code
    except Exception as error:  # noqa: BLE001 - requests lets errors of urllib3 and of codecs through
        # the URL holds a secret, and the messages hold the URL
        raise RuntimeError(f"the webhook ({WEBHOOK}) cannot be reached: {type(error).__name__}") from None


@contextmanager
def _path_unlogged() -> Iterator[None]:
    """Keeps urllib3 from logging the URL's path, at debug level; other threads log as ever."""
    thread = threading.get_ident()

    def foreign(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger = logging.getLogger("urllib3.connectionpool")
    logger.addFilter(foreign)
    try:
        yield
    finally:
        logger.removeFilter(foreign)
