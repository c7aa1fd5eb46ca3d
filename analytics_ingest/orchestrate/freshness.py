"""Freshness: how old each table may be, and the sensor that syncs those that are too old, and no others."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dagster import (
    AssetKey,
    AssetSelection,
    AutomationCondition,
    AutomationConditionSensorDefinition,
    AutomationContext,
    AutomationResult,
    BetaWarning,
    DagsterRunStatus,
    FreshnessPolicy,
    RunsFilter,
)

from analytics_ingest.apis.registry import APIS
from analytics_ingest.config.api import profile_or_neutral
from analytics_ingest.orchestrate.default_status import sensor_status
from analytics_ingest.orchestrate.run_tags import CAUSE_TAG, RETRY_TAGS, backoff, look_for_dead_runs
from analytics_ingest.orchestrate.schedules import not_configured

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from analytics_ingest.config.deployment import DeploymentSettings
    from analytics_ingest.config.schedule import ScheduleSettings

SENSOR = "freshness_sensor"
CAUSE = "freshness"
FIRST_PAUSE = timedelta(minutes=15)
"""After a run that failed an asset is not requested for so long; each failure in a row doubles it."""
LONGEST_PAUSE = timedelta(days=1)
FAILURES_SEEN = 50
"""Failed runs of the sensor that are looked at: more in a row would not make the pause longer."""


class Configured(AutomationCondition[AssetKey]):
    """Whether the asset's API has a base URL and a key."""

    @property
    def name(self) -> str:
        """What the Dagster UI calls the condition."""
        return "API is configured"

    def evaluate(self, context: AutomationContext[AssetKey]) -> AutomationResult[AssetKey]:
        """All of the asset, or nothing."""
        api = APIS[context.key.path[0]]
        look_for_dead_runs(context.asset_graph_view.instance, api.name)
        holds = not not_configured(profile_or_neutral(api))
        return AutomationResult(context, context.candidate_subset if holds else context.get_empty_subset())


class NotFailingAgain(AutomationCondition[AssetKey]):
    """Whether the asset's last runs did not fail, or long enough ago."""

    @property
    def name(self) -> str:
        """What the Dagster UI calls the condition."""
        return "did not fail just now"

    def evaluate(self, context: AutomationContext[AssetKey]) -> AutomationResult[AssetKey]:
        """All of the asset, or nothing."""
        if context.candidate_subset.is_empty:
            return AutomationResult(context, context.get_empty_subset())
        pause = paused_until(context.asset_graph_view.instance, context.key)
        holds = pause is None or context.evaluation_time >= pause
        return AutomationResult(context, context.candidate_subset if holds else context.get_empty_subset())


def paused_until(instance: DagsterInstance, key: AssetKey) -> datetime | None:
    """When the asset may be requested again after its failures since it was last materialised; ``None``: at once."""
    event = instance.get_latest_materialization_event(key)
    since = datetime.fromtimestamp(event.timestamp, tz=UTC) if event else None
    failed = RunsFilter(statuses=[DagsterRunStatus.FAILURE], tags={CAUSE_TAG: CAUSE}, created_after=since)
    ends = [
        record.end_time or record.create_timestamp.timestamp()
        for record in instance.get_run_records(failed, limit=FAILURES_SEEN)
        if key in (record.dagster_run.asset_selection or ())
    ]
    if not ends:
        return None
    pause = backoff(len(ends), first=FIRST_PAUSE.total_seconds(), longest=LONGEST_PAUSE.total_seconds())
    return datetime.fromtimestamp(max(ends) + pause, tz=UTC)


def freshness_policy(schedule_settings: ScheduleSettings) -> FreshnessPolicy:
    """Late after two missed syncs, stale after four, unless a setting says otherwise."""
    warn, fail = schedule_settings.windows
    return FreshnessPolicy.time_window(fail_window=fail, warn_window=warn if warn < fail else None)


def freshness_condition() -> AutomationCondition[AssetKey]:
    """Late, stale or never materialised; and nothing that speaks against a sync just now."""
    too_old = AutomationCondition.freshness_warned() | AutomationCondition.freshness_failed()
    due = too_old | AutomationCondition.missing()
    # a child cannot be read before its parents have tables
    orphaned = AutomationCondition.any_deps_match(
        AutomationCondition.missing() & ~AutomationCondition.will_be_requested()
    )
    return (
        due.with_label("late, stale or never materialised")
        & ~AutomationCondition.in_progress()
        & Configured()
        & NotFailingAgain()
        & ~orphaned.with_label("a parent has no table")
    )


def build_freshness_sensor(deployment: DeploymentSettings) -> AutomationConditionSensorDefinition:
    """The sensor that evaluates the conditions of all assets, in the code location, as some of them are ours."""
    with warnings.catch_warnings():
        # beta in Dagster 1.13, and the only way to conditions of one's own
        warnings.simplefilter("ignore", BetaWarning)
        return AutomationConditionSensorDefinition(
            name=SENSOR,
            target=AssetSelection.all(),
            use_user_code_server=True,
            run_tags={CAUSE_TAG: CAUSE, **RETRY_TAGS},
            default_status=sensor_status(deployment),
            description="Syncs the assets that are late or stale by their freshness policy, or were never "
            "materialised, and no others. After a failed run an asset rests for 15 minutes, then 30, up to a day.",
        )
