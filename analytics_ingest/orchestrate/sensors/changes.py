"""The change sensors: one per API; each polls one or two lists and requests a run if one has changed."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from dagster import (
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
from analytics_ingest.orchestrate.run_tags import CAUSE_TAG, RETRY_TAGS, backoff, fail_dead_runs, runs_in_progress
from analytics_ingest.orchestrate.schedules import unreadable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from dagster import AssetKey, DagsterInstance

    from analytics_ingest.config.deployment import DeploymentSettings
    from analytics_ingest.config.schedule import ScheduleSettings
    from analytics_ingest.orchestrate.account_assets import AccountAssets

CHANGE_TAG = "analytics_ingest/change"
"""Tag of a run: a hash of the change that launched it, and the attempt; the run's key has the same value."""
FIRST_BACKOFF, LONGEST_BACKOFF = 60.0, 3_600.0
"""Seconds of a sensor's back-off after a failure; each failure in a row doubles it."""


@dataclass(kw_only=True)
class ChangeSensorState:
    """The state of a change sensor. The attributes' names are keys in stored cursors, so they must not change.

    Attributes:
        seen: Fingerprints whose change was synced, by probed endpoint.
        asked: Fingerprints of the change for which a run was requested; empty if none was.
        key: That run's key.
        attempt: The number of the next run for a change, from 1; each failed run adds one.
        failures: Polls in a row that failed.
        rests_until: End of the back-off, epoch seconds.
    """

    seen: dict[str, str] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    key: str = ""
    attempt: int = 1
    failures: int = 0
    rests_until: float = 0.0

    def record_run(self, instance: DagsterInstance) -> None:
        """Records the outcome of the requested run, if it was launched."""
        if not self.asked:
            return
        runs = instance.get_runs(RunsFilter(tags={CHANGE_TAG: self.key}), limit=1)
        if not runs:
            # the request did not become a run: it is made again, with the same key
            self.asked = {}
        elif runs[0].status == DagsterRunStatus.SUCCESS:
            self.seen |= self.asked
            self.asked, self.attempt = {}, 1
        else:
            self.rests_until = time.time() + backoff_after(self.attempt)
            self.asked, self.attempt = {}, self.attempt + 1


def backoff_after(failures: int) -> float:
    """Seconds of the back-off after so many failures in a row."""
    return backoff(failures, first=FIRST_BACKOFF, longest=LONGEST_BACKOFF)


def build_change_sensor(
    account: AccountAssets, schedule_settings: ScheduleSettings, deployment: DeploymentSettings
) -> SensorDefinition:
    """``<account>_change_sensor``: polls lists, and requests a run of the assets whose list has changed.

    The changes that a probe cannot detect (``ChangeProbe.blind``) are in the sensor's description. The key of a run is
    made of change and attempt: a change is synced once, and again only if its run failed. While a run of the API is in
    progress the lists are not polled. A poll that fails is a skip with the reason, followed by a back-off.
    """
    api = account.api

    def evaluate(context: SensorEvaluationContext) -> SensorResult:
        state = ChangeSensorState(**json.loads(context.cursor)) if context.cursor else ChangeSensorState()
        reason, requests = _evaluate(account, context, state)
        return SensorResult(
            run_requests=requests,
            skip_reason=SkipReason(reason) if reason else None,
            cursor=json.dumps(asdict(state)),
        )

    probes = "; ".join(f"{each.endpoint} (not detected: {each.blind})" for each in api.probes)
    return SensorDefinition(
        name=f"{api.name}_change_sensor",
        job_name=f"{api.name}_sync",
        evaluation_fn=evaluate,
        minimum_interval_seconds=int(schedule_settings.change_interval),
        default_status=sensor_status(deployment),
        description=f"{api.title}: syncs the assets concerned when the first page of a list, or its total, has "
        f"changed: {probes}. The schedules sync the other changes.",
    )


def _back_off(state: ChangeSensorState, reason: str) -> str:
    """Starts the back-off after a poll that failed; gives the reason for the skip."""
    state.failures += 1
    seconds = backoff_after(state.failures)
    state.rests_until = time.time() + seconds
    return f"{reason}. Polls again in {seconds:.0f} s"


def _unchanged(state: ChangeSensorState, found: Mapping[str, str]) -> str:
    state.failures = 0
    return f"no change at {', '.join(found)}"


def _selection(account: AccountAssets, instance: DagsterInstance, concerned: Collection[str]) -> list[AssetKey] | None:
    """The assets to sync; ``None`` for all of the API, if a parent of theirs has no table yet."""
    by_name = account.api.by_name
    parents = [account.key(name) for each in concerned for name in by_name[each].after if name not in concerned]
    records = instance.get_asset_records(parents) if parents else ()
    materialised = {each.asset_entry.asset_key for each in records if each.asset_entry.last_materialization_record}
    return [account.key(name) for name in concerned] if materialised.issuperset(parents) else None


def _evaluate(
    account: AccountAssets, context: SensorEvaluationContext, state: ChangeSensorState
) -> tuple[str, list[RunRequest]]:
    api = account.api
    if reason := unreadable(api):
        return reason, []
    fail_dead_runs(context.instance, api.name)
    if in_progress := runs_in_progress(context.instance, api.name):
        return f"run {in_progress[0].run_id[:8]} of {api.name} is still in progress", []
    state.record_run(context.instance)
    if (seconds := state.rests_until - time.time()) > 0:
        return f"backs off for another {seconds:.0f} s after a failure", []
    # here, as in the sync of the assets: definitions load without an HTTP client
    from analytics_ingest.diagnostics.change_probe import fingerprint_lists  # noqa: PLC0415

    try:
        seen = fingerprint_lists(api, log=context.log)
    except IngestError as error:
        return _back_off(state, str(error)), []
    changed = {name: value for name, value in seen.fingerprints.items() if state.seen.get(name) != value}
    failed = ". ".join(seen.failures.values())
    if not changed:
        return (_back_off(state, failed) if failed else _unchanged(state, seen.fingerprints)), []
    if failed:
        context.log.warning(failed)
    state.failures = 0
    concerned = dict.fromkeys(name for probe in api.probes if probe.endpoint in changed for name in probe.concerns)
    state.asked = changed
    state.key = f"{api.name}-{content_hash(changed):x}-{state.attempt}"
    request = RunRequest(
        run_key=state.key,
        asset_selection=_selection(account, context.instance, concerned),
        tags={CAUSE_TAG: "change", CHANGE_TAG: state.key, **RETRY_TAGS},
    )
    return "", [request]
