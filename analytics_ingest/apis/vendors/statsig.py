"""Statsig: the profile of the experimentation API for Statsig's Console API.

Times of records are epoch milliseconds; ``lastModifiedTime`` is null until the first change. The audit log has a date
and a time as text. Some responses lack the ``pagination`` that states whether another page follows.
Facts are from the vendor's specification; where it and its examples differ, both shapes are read.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.experimentation import EXPERIMENTATION
from analytics_ingest.apis.model import Endpoint, RetryPolicy
from analytics_ingest.apis.paginators import SINGLE_PAGE, Paginator, page_number
from analytics_ingest.apis.parents import DateRange, EachDay, FromTable
from analytics_ingest.apis.vendors.overlay import EndpointChanges, overlay
from analytics_ingest.apis.vendors.statsig_columns import BY_ENDPOINT, COMMON_COLUMNS, SHARED
from analytics_ingest.apis.vendors.statsig_results import (
    CHANGED_EXPERIMENT,
    CHANGED_GATE,
    COMPARED_GROUP,
    HOLDOUT,
    MEASURED_RULE,
    MODIFIED,
    NUMBERS,
    STARTED_EXPERIMENT,
    exposures,
    metrics,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN_TIMES = ("last_updated_at", "created_at")
UNDATED: EndpointChanges = {"cursor_path": (), "timestamps": ()}
WHOLE: EndpointChanges = {"paginator": SINGLE_PAGE}
"""Lists without the parameters ``page`` and ``limit``."""
RULES: EndpointChanges = {"doubles": ("pass_percentage",), **WHOLE, **UNDATED}
ROLL_UP: EndpointChanges = {"doubles": ("custom_roll_up_start", "custom_roll_up_end")}


def numbered(*, limit: int | None = 100, total_path: str | None = None) -> Paginator:
    """Pages by number, whose envelope may state whether another one follows.

    ``{"data": [...], "pagination": {"nextPage": null}}`` is the last page.
    """
    return page_number(limit=limit, has_more_path="pagination.nextPage", total_path=total_path)


def dated(entry: Any) -> Iterator[Any]:
    """An entry of the audit log with ``logged_at``, its date and its time as one.

    ``Mon Sep 26 2022`` and ``23:46:14 GMT+0000 (...)`` become ``2022-09-26T23:46:14+00:00``.
    """
    if isinstance(entry, dict):
        text = f"{entry.get('date')} {str(entry.get('time')).partition(' (')[0]}"
        try:
            logged_at = datetime.strptime(text, "%a %b %d %Y %H:%M:%S GMT%z").isoformat()
        except ValueError:
            logged_at = None
        entry = {**entry, "logged_at": logged_at}
    yield entry


def identified(app: Any) -> Iterator[Any]:
    """A target app or a team with its name as its id, if it has no id."""
    yield {**app, "id": app.get("id") or app.get("name")} if isinstance(app, dict) else app


def day_before(time: datetime) -> str:
    """The day before, such as ``2026-01-31``: the time zone of the API's days is not documented."""
    return (time - timedelta(days=1)).date().isoformat()


CONFIG = FromTable("dynamic_configs", dynamic_config_id="id", updated="last_modified_time")

whole = partial(Endpoint, data_selector="data", paginator=SINGLE_PAGE, timestamps=())
"""An endpoint without pages that only Statsig has."""
listed = partial(Endpoint, data_selector="data", paginator=numbered(), timestamps=())
"""An endpoint with pages that only Statsig has."""
result = partial(whole, yield_map=metrics, doubles=NUMBERS, on_404="not defined")
"""An endpoint with results."""
RUNS, AUDIT_LOG = EXPERIMENTATION.probes
PROBES = (
    RUNS,
    replace(
        AUDIT_LOG,
        concerns=(*AUDIT_LOG.concerns, "gates_versions", "gates_overrides", "experiments_overrides"),
        blind="changes that the audit log does not record, results, target apps, teams and users",
    ),
)

STATSIG = overlay(
    replace(EXPERIMENTATION, columns=SHARED),
    columns=BY_ENDPOINT,
    common_columns=COMMON_COLUMNS,
    profile="statsig",
    title="Statsig",
    base_url="https://statsigapi.net/console/v1",
    docs_url="https://docs.statsig.com/console-api/introduction",
    auth={"type": "api_key", "name": "STATSIG-API-KEY", "location": "header"},
    headers={"STATSIG-API-VERSION": "20240601"},
    # a 429 does not state how long the limit lasts: up to 15 minutes
    retry=RetryPolicy(status_codes=(429, 500, 502, 503, 504), max_retries=3, backoff_factor=2, limit_retries=9),
    prefix="/v1",
    every={"paginator": numbered(), "cursor_path": MODIFIED, "timestamps": MODIFIED},
    endpoints={
        "audit_logs": {
            "yield_map": dated,
            "cursor_path": ("logged_at",),
            "timestamps": ("logged_at",),
            "start_param": "startDate",
            "convert": day_before,
        },
        "autotunes": {"doubles": ("exploration_window_rate", "longterm_exploration_allocation")},
        "dynamic_configs_versions": {"parents": CONFIG, "cursor_path": ()},
        "dynamic_configs_rules": {"parents": CONFIG, **RULES},
        # the list has samples of values, so a name occurs more than once
        "events": {"primary_key": (), "cursor_path": (), "timestamps": ("timestamp",)},
        "events_metrics": {"cursor_path": (), **ROLL_UP},
        "experiments": {"timestamps": (*MODIFIED, "start_time", "end_time"), "doubles": ("allocation",)},
        "gates": {"doubles": ("checks_per_hour",)},
        "gates_rules": {"parents": FromTable("gates", gate_id="id", updated="last_modified_time"), **RULES},
        "holdouts": {"doubles": ("pass_percentage",)},
        "ingestion_status": {
            "path": "/ingestion/status?startDate={start_date}&endDate={end_date}",
            "fallback_selector": "$",
            "parents": DateRange("start_date", "end_date"),
            "cursor_path": (),
            "timestamps": ("timestamp", "ds"),
            **WHOLE,
        },
        "ingestion_runs": {
            "paginator": numbered(limit=None),
            "primary_key": ("run_id",),
            "cursor_path": RUN_TIMES,
            "timestamps": RUN_TIMES,
        },
        "metrics": {"params": {"showHiddenMetrics": "true"}, **ROLL_UP},
        "metrics_values": {
            "path": "/metrics/values?date={date}",
            "primary_key": ("date", "metric_name", "metric_type", "unit_type"),
            "parents": EachDay("date"),
            "doubles": ("value", "numerator", "denominator", "input_rows"),
            **UNDATED,
        },
        "segments_ids": {
            "data_selector": "data.ids",
            "paginator": numbered(total_path="data.count"),
            "parents": FromTable(
                "segments", segment_id="id", where=("type", frozenset({"id_list"})), updated="last_modified_time"
            ),
            **UNDATED,
        },
        "tags": UNDATED,
        "target_apps": {"yield_map": identified, **UNDATED},
        "users": {"primary_key": ("email",), **UNDATED},
    },
    added=(
        result(
            "experiments_pulse_results",
            "/experiments/{experiment_id}/pulse_results?control={control_group_id}&test={test_group_id}",
            primary_key=("experiment_id", "control_group_id", "test_group_id", "metric_role", "metric_id"),
            parents=COMPARED_GROUP,
            description="The latest results of each experiment: one row per metric, and group that is not the control.",
        ),
        result(
            "gates_rules_pulse_results",
            "/gates/{gate_id}/rules/{rule_id}/pulse_results",
            primary_key=("gate_id", "rule_id", "metric_id"),
            parents=MEASURED_RULE,
            description="The latest effect of each rule of a gate on metrics: users who pass against those who fail.",
        ),
        result(
            "holdouts_pulse_results",
            "/holdouts/{holdout_id}/pulse_results",
            primary_key=("holdout_id", "metric_id"),
            parents=HOLDOUT,
            description="The latest results of each holdout: one row per metric.",
        ),
        whole(
            "experiments_cumulative_exposures",
            "/experiments/{experiment_id}/cumulative_exposures",
            primary_key=("experiment_id", "group_id", "date"),
            parents=STARTED_EXPERIMENT,
            yield_map=exposures,
            on_404="not defined",
            description="How many units each group of an experiment had been exposed to by each day.",
        ),
        listed(
            "gates_versions",
            "/gates/{gate_id}/versions",
            primary_key=("gate_id", "version"),
            parents=CHANGED_GATE,
            timestamps=MODIFIED,
            doubles=("checks_per_hour",),
            description="All versions of each gate, with their rules.",
        ),
        whole(
            "gates_overrides",
            "/gates/{gate_id}/overrides",
            primary_key=("gate_id",),
            parents=CHANGED_GATE,
            description="The ids that always pass or always fail each gate.",
        ),
        whole(
            "experiments_overrides",
            "/experiments/{experiment_id}/overrides",
            primary_key=("experiment_id",),
            parents=CHANGED_EXPERIMENT,
            description="The gates, segments and ids that are forced into a group of each experiment.",
        ),
        listed(
            "teams",
            "/users/teams",
            yield_map=identified,
            description="The teams of the project, with their members and default metrics.",
        ),
        listed(
            "metric_sources",
            "/metrics/metric_source/list",
            primary_key=("name",),
            description="The tables and queries of your own warehouse that metrics are computed from.",
        ),
    ),
    probes=PROBES,
)
