"""The schedules: a sync of each API at its cadence, a weekly full refresh, and a daily verification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagster import RunRequest, RunsFilter, ScheduleDefinition, ScheduleEvaluationContext, SkipReason

from analytics_ingest.config.accounts import check_graph_settings
from analytics_ingest.config.api import load_setting, not_configured
from analytics_ingest.config.lookup import found_settings
from analytics_ingest.config.problems import account_problems
from analytics_ingest.config.unknown_settings import unknown_shared_settings
from analytics_ingest.errors import ConfigurationError
from analytics_ingest.orchestrate.default_status import schedule_status
from analytics_ingest.orchestrate.run_tags import (
    ACTIVE_STATUSES,
    CAUSE_TAG,
    VERIFY_TAG,
    fail_dead_runs,
    runs_in_progress,
)

if TYPE_CHECKING:
    from analytics_ingest.apis.model import Api
    from analytics_ingest.config.deployment import DeploymentSettings
    from analytics_ingest.config.schedule import ScheduleSettings


def unreadable(api: Api) -> str:
    """Why the API cannot be read at all (a setting is missing or wrong); empty if it can."""
    try:
        check_graph_settings(api)
    except ConfigurationError as error:
        return str(error)
    if reason := not_configured(api):
        # a name that is misspelt may be why
        found = found_settings()
        return "; ".join([*account_problems(api, found), *unknown_shared_settings(found)]) or reason
    return ""


def build_schedules(
    api: Api, schedule_settings: ScheduleSettings, deployment: DeploymentSettings
) -> list[ScheduleDefinition]:
    """``<api>_sync_schedule``, ``<api>_full_refresh_schedule`` and ``<api>_verify_schedule``."""

    def sync(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        if reason := unreadable(api):
            return SkipReason(reason)
        fail_dead_runs(context.instance, api.name)
        if in_progress := runs_in_progress(context.instance, api.name):
            return SkipReason(f"run {in_progress[0].run_id[:8]} of {api.name} is still in progress")
        return RunRequest(tags={CAUSE_TAG: "schedule"})

    def full_refresh(_: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        # also while a sync is in progress: the refresh waits for it, at the latest at the API's lock
        if reason := unreadable(api):
            return SkipReason(reason)
        return RunRequest(tags={CAUSE_TAG: "schedule"})

    def verify(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        if reason := unreadable(api):
            return SkipReason(reason)
        if not load_setting(api, "verify_requests"):
            return SkipReason("VERIFY_REQUESTS is 0")
        filters = RunsFilter(statuses=ACTIVE_STATUSES, tags={VERIFY_TAG: api.name})
        if in_progress := context.instance.get_runs(filters, limit=1):
            return SkipReason(f"run {in_progress[0].run_id[:8]} still compares {api.name}")
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
            description=f"{api.title}: loads the rows that changed. Skipped while a run of this API is in progress.",
            **common,
        ),
        ScheduleDefinition(
            name=f"{api.name}_full_refresh_schedule",
            job_name=f"{api.name}_full_refresh",
            cron_schedule=schedule_settings.full_refresh_cron,
            execution_fn=full_refresh,
            description=f"{api.title}: loads all rows again, which repairs what cursors and hashes cannot detect.",
            **common,
        ),
        ScheduleDefinition(
            name=f"{api.name}_verify_schedule",
            job_name=f"{api.name}_verify",
            cron_schedule=schedule_settings.verify_cron,
            execution_fn=verify,
            description=f"{api.title}: compares tables with the API, so that each is compared once a week if the "
            "budget VERIFY_REQUESTS permits.",
            **common,
        ),
    ]
