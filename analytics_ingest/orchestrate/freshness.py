"""Freshness policies, and the sensor that syncs only assets that are late, stale or never materialised."""

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

from analytics_ingest.config.accounts import find_account, profile_or_neutral
from analytics_ingest.orchestrate.account_assets import ACCOUNT_TAG, prefixed, selection_of
from analytics_ingest.orchestrate.default_status import sensor_status
from analytics_ingest.orchestrate.run_tags import CAUSE_TAG, RETRY_TAGS, backoff, poll_dead_runs
from analytics_ingest.orchestrate.schedules import unreadable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from dagster import DagsterInstance

    from analytics_ingest.config.deployment import DeploymentSettings
    from analytics_ingest.config.schedule import ScheduleSettings
    from analytics_ingest.orchestrate.account_assets import AccountAssets

SENSOR = "freshness_sensor"
CAUSE = "freshness"
FIRST_BACKOFF = timedelta(minutes=15)
"""The back-off of an asset after a failed run; each failure in a row doubles it."""
LONGEST_BACKOFF = timedelta(days=1)
MAX_FAILURES = 50
"""Failed runs of the sensor that are counted: more in a row would not make the back-off longer."""


class Configured(AutomationCondition[AssetKey]):
    """Whether the asset's API has a base URL and a key."""

    @property
    def name(self) -> str:
        """The condition's name in the Dagster UI."""
        return "API is configured"

    def evaluate(self, context: AutomationContext[AssetKey]) -> AutomationResult[AssetKey]:
        """The asset if the condition holds, else an empty subset."""
        api = find_account(context.asset_graph.get(context.key).tags.get(ACCOUNT_TAG, ""))
        if api:
            poll_dead_runs(context.asset_graph_view.instance, api.name)
        holds = api is not None and not unreadable(profile_or_neutral(api))
        return AutomationResult(context, context.candidate_subset if holds else context.get_empty_subset())


class NotFailingAgain(AutomationCondition[AssetKey]):
    """Whether the asset's back-off after failed runs is over, or there is none."""

    @property
    def name(self) -> str:
        """The condition's name in the Dagster UI."""
        return "did not fail just now"

    def evaluate(self, context: AutomationContext[AssetKey]) -> AutomationResult[AssetKey]:
        """The asset if the condition holds, else an empty subset."""
        if context.candidate_subset.is_empty:
            return AutomationResult(context, context.get_empty_subset())
        until = backoff_until(context.asset_graph_view.instance, context.key)
        holds = until is None or context.evaluation_time >= until
        return AutomationResult(context, context.candidate_subset if holds else context.get_empty_subset())


def backoff_until(instance: DagsterInstance, key: AssetKey) -> datetime | None:
    """End of the back-off after the runs that did not materialise the asset since it was last materialised, UTC.

    A run succeeds without it if a setting leaves it out, or if the API has withdrawn it.

    Returns:
        The time; ``None`` if there is no such run.
    """
    event = instance.get_latest_materialization_event(key)
    since = datetime.fromtimestamp(event.timestamp, tz=UTC) if event else None
    ended = [DagsterRunStatus.FAILURE, DagsterRunStatus.SUCCESS]
    without = RunsFilter(statuses=ended, tags={CAUSE_TAG: CAUSE}, created_after=since)
    ends = [
        record.end_time or record.create_timestamp.timestamp()
        for record in instance.get_run_records(without, limit=MAX_FAILURES)
        if key in (record.dagster_run.asset_selection or ())
    ]
    if not ends:
        return None
    seconds = backoff(len(ends), first=FIRST_BACKOFF.total_seconds(), longest=LONGEST_BACKOFF.total_seconds())
    return datetime.fromtimestamp(max(ends) + seconds, tz=UTC)


def freshness_policy(schedule_settings: ScheduleSettings) -> FreshnessPolicy:
    """The policy of an API's assets: late after two missed syncs, stale after four, unless set otherwise."""
    warn, fail = schedule_settings.windows
    return FreshnessPolicy.time_window(fail_window=fail, warn_window=warn if warn < fail else None)


def freshness_condition(*, may_be_missing: Collection[AssetKey] = ()) -> AutomationCondition[AssetKey]:
    """True for an asset that is late, stale or never materialised, and that can be synced now.

    Args:
        may_be_missing: Parents that the asset can be synced without.
    """
    too_old = AutomationCondition.freshness_warned() | AutomationCondition.freshness_failed()
    due = too_old | AutomationCondition.missing()
    # a child cannot be read before its parents have tables
    orphaned = AutomationCondition.any_deps_match(
        AutomationCondition.missing() & ~AutomationCondition.will_be_requested()
    )
    if may_be_missing:
        orphaned = orphaned.ignore(AssetSelection.assets(*may_be_missing))
    return (
        due.with_label("late, stale or never materialised")
        & ~AutomationCondition.in_progress()
        & Configured()
        & NotFailingAgain()
        & ~orphaned.with_label("a parent has no table")
    )


def build_freshness_sensor(
    accounts: Sequence[AccountAssets], deployment: DeploymentSettings, *, name_prefix: str = ""
) -> AutomationConditionSensorDefinition:
    """The sensor that evaluates the conditions of all assets; in the code location, as two conditions are our own."""
    with warnings.catch_warnings():
        # beta in Dagster 1.13, and the only way to use conditions of our own
        warnings.simplefilter("ignore", BetaWarning)
        return AutomationConditionSensorDefinition(
            name=prefixed(name_prefix, SENSOR),
            target=selection_of(accounts),
            use_user_code_server=True,
            run_tags={CAUSE_TAG: CAUSE, **RETRY_TAGS},
            default_status=sensor_status(deployment),
            description="Syncs only the assets that are late or stale by their freshness policy, or were never "
            "materialised. After a failed run an asset is retried after 15 minutes, then 30, up to a day.",
        )
