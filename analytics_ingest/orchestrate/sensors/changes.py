"""The change sensors: one per API, a request or two at each look, and a run for the assets concerned."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from dagster import (
    AssetKey,
    DagsterRunStatus,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
)

from analytics_ingest.errors import IngestError
from analytics_ingest.extract.rows import content_hash
from analytics_ingest.orchestrate.default_status import sensor_status
from analytics_ingest.orchestrate.run_tags import CAUSE_TAG, RETRY_TAGS, backoff, fail_dead_runs, runs_under_way
from analytics_ingest.orchestrate.schedules import not_configured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagster import DagsterInstance

    from analytics_ingest.apis.model import Api
    from analytics_ingest.config.deployment import DeploymentSettings
    from analytics_ingest.config.schedule import ScheduleSettings

CHANGE_TAG = "analytics_ingest/change"
"""Tag of a run: the change that asked for it, and the attempt; it is the run's key as well."""
FIRST_PAUSE, LONGEST_PAUSE = 60.0, 3_600.0
"""Seconds for which a sensor rests after a failure; each failure in a row doubles it."""


@dataclass(kw_only=True)
class ChangeSensorState:
    """What a change sensor remembers.

    Attributes:
        seen: Fingerprints whose change was synced, by probed endpoint.
        asked: Fingerprints that the run asked for is to sync; empty if none is.
        key: That run's key.
        attempt: The number of the next run for a change, from 1; higher after runs that failed.
        failures: Looks in a row that failed.
        rests_until: Epoch seconds before which it does not look.
    """

    seen: dict[str, str] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    key: str = ""
    attempt: int = 1
    failures: int = 0
    rests_until: float = 0.0

    def record_run(self, instance: DagsterInstance) -> None:
        """Takes note of how the run that was asked for has ended, if it was launched."""
        if not self.asked:
            return
        runs = instance.get_runs(RunsFilter(tags={CHANGE_TAG: self.key}), limit=1)
        if not runs:
            # the request never became a run: it is made again, under the same key
            self.asked = {}
        elif runs[0].status == DagsterRunStatus.SUCCESS:
            self.seen |= self.asked
            self.asked, self.attempt = {}, 1
        else:
            self.rests_until = time.time() + pause(self.attempt)
            self.asked, self.attempt = {}, self.attempt + 1


def pause(times: int) -> float:
    """Seconds to rest after so many failures in a row."""
    return backoff(times, first=FIRST_PAUSE, longest=LONGEST_PAUSE)


def build_change_sensor(
    api: Api, schedule_settings: ScheduleSettings, deployment: DeploymentSettings
) -> SensorDefinition:
    """``<api>_change_sensor``: compares what its probes see with what was synced last.

    What it cannot see is said by the probes (``ChangeProbe.blind``) and in the sensor's description. A run is asked for
    under a key of change and attempt: a change that was synced is not synced again, one whose run failed is. While a
    run of the API is under way nothing is looked at. A look that fails is a skip with the reason; the next ones come
    later and later, and what counts as seen stays as it was.
    """

    def evaluate(context: SensorEvaluationContext) -> SensorResult:
        cursor = ChangeSensorState(**json.loads(context.cursor)) if context.cursor else ChangeSensorState()
        reason, requests = _evaluate(api, context, cursor)
        return SensorResult(
            run_requests=requests,
            skip_reason=SkipReason(reason) if reason else None,
            cursor=json.dumps(asdict(cursor)),
        )

    looks = "; ".join(f"{each.endpoint} (not seen: {each.blind})" for each in api.probes)
    return SensorDefinition(
        name=f"{api.name}_change_sensor",
        job_name=f"{api.name}_sync",
        evaluation_fn=evaluate,
        minimum_interval_seconds=int(schedule_settings.change_interval),
        default_status=sensor_status(deployment),
        description=f"{api.title}: syncs what is concerned when the first page of a list, or its total, has changed: "
        f"{looks}. The schedules see the rest.",
    )


def _rest(cursor: ChangeSensorState, reason: str) -> str:
    """The reason for a skip after a look that failed; each failure in a row doubles the pause before the next look."""
    cursor.failures += 1
    cursor.rests_until = time.time() + pause(cursor.failures)
    return f"{reason}. Looks again in {pause(cursor.failures):.0f} s"


def _unchanged(cursor: ChangeSensorState, found: Mapping[str, str]) -> str:
    cursor.failures = 0
    return f"no change at {', '.join(found)}"


def _evaluate(api: Api, context: SensorEvaluationContext, cursor: ChangeSensorState) -> tuple[str, list[RunRequest]]:
    if reason := not_configured(api):
        return reason, []
    fail_dead_runs(context.instance, api.name)
    if under_way := runs_under_way(context.instance, api.name):
        return f"run {under_way[0].run_id[:8]} of {api.name} is still under way", []
    cursor.record_run(context.instance)
    if (seconds := cursor.rests_until - time.time()) > 0:
        return f"rests for another {seconds:.0f} s after a failure", []
    # here, as in the sync of the assets: definitions load without an HTTP client
    from analytics_ingest.diagnostics.change_probe import look  # noqa: PLC0415

    try:
        seen = look(api, log=context.log)
    except IngestError as error:
        return _rest(cursor, str(error)), []
    changed = {name: value for name, value in seen.found.items() if cursor.seen.get(name) != value}
    failed = ". ".join(seen.failures.values())
    if not changed:
        return (_rest(cursor, failed) if failed else _unchanged(cursor, seen.found)), []
    if failed:
        context.log.warning(failed)
    cursor.failures = 0
    concerned = dict.fromkeys(name for probe in api.probes if probe.endpoint in changed for name in probe.concerns)
    cursor.asked = changed
    cursor.key = f"{api.name}-{content_hash(changed):x}-{cursor.attempt}"
    request = RunRequest(
        run_key=cursor.key,
        asset_selection=[AssetKey([api.name, name]) for name in concerned],
        tags={CAUSE_TAG: "change", CHANGE_TAG: cursor.key, **RETRY_TAGS},
    )
    return "", [request]
