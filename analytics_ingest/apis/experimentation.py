"""The experimentation API: feature gates, experiments, dynamic configs, metrics and their parts.

Lists are at ``data`` and page by number from 1, with 100 rows a page. Rules are in lists within the elements of
``data``. A rule's id is unique only within its gate or config, and all versions of a config have the config's id.
"""

from functools import partial

from analytics_ingest.apis.model import Api, ChangeProbe, Endpoint, RetryPolicy
from analytics_ingest.apis.paginators import SINGLE_PAGE, page_number
from analytics_ingest.apis.parents import FromTable

PAGES = page_number(page_param="page", limit_param="limit", limit=100)
UPDATED = ("updated_at",)

endpoint = partial(Endpoint, data_selector="data", paginator=PAGES)
"""An endpoint with the defaults of this API."""
with_cursor = partial(endpoint, cursor_path=UPDATED)
"""An endpoint whose rows have the time of their last change."""

EXPERIMENTATION = Api(
    name="experimentation",
    title="Experimentation",
    auth={"type": "api_key", "name": "api_key", "location": "header"},
    retry=RetryPolicy(status_codes=(429, 500, 502, 503, 504), max_retries=3, backoff_factor=2),
    cron="5 * * * *",
    full_refresh_cron="0 1 * * 0",
    probes=(
        ChangeProbe(
            endpoint="ingestion_runs",
            concerns=(
                "ingestion_runs",
                "ingestion_status",
                "events",
                "events_metrics",
                "metrics",
                "metrics_values",
            ),
            blind="values that are corrected without a run",
        ),
        ChangeProbe(
            endpoint="audit_logs",
            concerns=(
                *("audit_logs", "autotunes", "dynamic_configs", "dynamic_configs_versions", "dynamic_configs_rules"),
                *("experiments", "gates", "gates_rules", "holdouts", "layers", "segments", "segments_ids", "tags"),
            ),
            blind="changes that the audit log does not record, and target apps and users",
        ),
    ),
    endpoints=(
        with_cursor(
            "audit_logs",
            "/v1/audit_logs",
            description="Every change made in the console: who did what to which gate, config or experiment.",
        ),
        with_cursor(
            "autotunes",
            "/v1/autotunes",
            description="Autotunes: tests that shift traffic to the winning variant by themselves.",
        ),
        with_cursor(
            "dynamic_configs",
            "/v1/dynamic_configs",
            history=True,
            description="Dynamic configs: values that clients read at run time, targeted by rules.",
        ),
        endpoint(
            "dynamic_configs_versions",
            "/v1/dynamic_configs/{dynamic_config_id}/versions",
            primary_key=("id", "version"),
            parents=FromTable("dynamic_configs", dynamic_config_id="id"),
            description="Every version of each dynamic config; all versions of a config share its id.",
        ),
        endpoint(
            "dynamic_configs_rules",
            "/v1/dynamic_configs/{dynamic_config_id}/rules",
            data_selector="data[*].rules[*]",
            primary_key=("dynamic_config_id", "id"),
            parents=FromTable("dynamic_configs", dynamic_config_id="id"),
            history=True,
            description="The targeting rules of each dynamic config.",
        ),
        with_cursor(
            "events",
            "/v1/events",
            primary_key=("name",),
            description="Events that clients log, one row per event name.",
        ),
        endpoint(
            "events_metrics",
            "/v1/events/{event_name}/metrics",
            primary_key=("event_name", "id"),
            parents=FromTable("events", event_name="name"),
            description="The metrics that are computed from each event.",
        ),
        with_cursor(
            "experiments",
            "/v1/experiments",
            timestamps_as_sent=("start_time", "end_time", "decision_time"),
            history=True,
            description="Experiments with their hypothesis, groups, allocation and status.",
        ),
        with_cursor(
            "gates",
            "/v1/gates",
            history=True,
            unversioned=("checks_per_hour",),
            description="Feature gates: switches that are on or off for a user, decided by rules.",
        ),
        endpoint(
            "gates_rules",
            "/v1/gates/{gate_id}/rules",
            data_selector="data[*].rules[*]",
            primary_key=("gate_id", "id"),
            parents=FromTable("gates", gate_id="id"),
            history=True,
            description="The targeting rules of each gate.",
        ),
        with_cursor(
            "holdouts",
            "/v1/holdouts",
            history=True,
            description="Holdouts: groups of users kept out of experiments to measure their joint effect.",
        ),
        endpoint(
            "ingestion_status",
            "/v1/ingestion/status",
            paginator=SINGLE_PAGE,
            primary_key=(),
            timestamps_as_sent=("timestamp",),
            description="How far the ingestion of each data source has come; a snapshot without history.",
        ),
        with_cursor(
            "ingestion_runs",
            "/v1/ingestion/runs",
            description="Runs of the data ingestion with their state and their times.",
        ),
        with_cursor(
            "layers",
            "/v1/layers",
            history=True,
            description="Layers: sets of experiments that never share a user.",
        ),
        with_cursor(
            "metrics",
            "/v1/metrics/list",
            description="Definitions of the metrics by which experiments are judged.",
        ),
        with_cursor(
            "metrics_values",
            "/v1/metrics/values",
            description="Computed values of the metrics.",
        ),
        with_cursor(
            "segments",
            "/v1/segments",
            history=True,
            description="Segments: named groups of users that rules can refer to.",
        ),
        endpoint(
            "segments_ids",
            "/v1/segments/{segment_id}/id_list",
            primary_key=("segment_id", "id"),
            parents=FromTable("segments", segment_id="id"),
            description="The ids that belong to each segment that is kept as a list.",
        ),
        with_cursor(
            "tags",
            "/v1/tags",
            description="Tags that order gates, configs, experiments and metrics.",
        ),
        with_cursor(
            "target_apps",
            "/v1/target_app",
            description="The applications that gates and configs are delivered to.",
        ),
        with_cursor(
            "users",
            "/v1/users",
            description="People with access to the console, and their role.",
        ),
    ),
)
