"""The schedules: a sync of each API by its cadence, and a full refresh once a week."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagster import RunRequest, ScheduleDefinition, ScheduleEvaluationContext, SkipReason

from analytics_ingest.config.api import missing_settings
from analytics_ingest.config.schedule import check_graph_settings
from analytics_ingest.errors import ConfigurationError
from analytics_ingest.orchestrate.default_status import schedule_status
from analytics_ingest.orchestrate.run_tags import CAUSE_TAG, fail_dead_runs, runs_under_way

if TYPE_CHECKING:
    from analytics_ingest.apis.model import Api
    from analytics_ingest.config.deployment import DeploymentSettings
    from analytics_ingest.config.schedule import ScheduleSettings


def not_configured(api: Api) -> str:
    """Why the API cannot be read at all: a setting is missing, or one of those that shape the graph is wrong."""
    try:
        check_graph_settings(api)
    except ConfigurationError as error:
        return str(error)
    if missing := missing_settings(api):
        return f"{api.name} is not configured: set {' and '.join(missing)}"
    return ""


def build_schedules(
    api: Api, schedule_settings: ScheduleSettings, deployment: DeploymentSettings
) -> list[ScheduleDefinition]:
    """``<api>_sync_schedule`` and ``<api>_full_refresh_schedule``."""

    def sync(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        if reason := not_configured(api):
            return SkipReason(reason)
        fail_dead_runs(context.instance, api.name)
        if under_way := runs_under_way(context.instance, api.name):
            return SkipReason(f"run {under_way[0].run_id[:8]} of {api.name} is still under way")
        return RunRequest(tags={CAUSE_TAG: "schedule"})

    def full_refresh(_: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        # also while a sync is under way: the refresh waits for it, at the latest at the API's lock
        if reason := not_configured(api):
            return SkipReason(reason)
        return RunRequest(tags={CAUSE_TAG: "schedule"})

    common: dict[str, Any] = {
        "execution_timezone": deployment.timezone,
        "default_status": schedule_status(deployment),
    }
    return [
        ScheduleDefinition(
            name=f"{api.name}_sync_schedule",
            job_name=f"{api.name}_sync",
            cron_schedule=schedule_settings.cron,
            execution_fn=sync,
            description=f"{api.title}: reads what changed. Skipped while a run of this API is under way.",
            **common,
        ),
        ScheduleDefinition(
            name=f"{api.name}_full_refresh_schedule",
            job_name=f"{api.name}_full_refresh",
            cron_schedule=schedule_settings.full_refresh_cron,
            execution_fn=full_refresh,
            description=f"{api.title}: loads every row again, which heals what a cursor or a hash cannot see.",
            **common,
        ),
    ]
