"""The experimentation API: feature gates, experiments, dynamic configs, metrics and what they are made of.

Every list sits at ``data`` and pages by number from 1, 100 rows a page. Rules sit in lists within the elements
of ``data``. Ids of rules are unique only within their gate or config, and a config's versions all carry the
config's id.
"""

from analytics_ingest.apis.feeds import FromTable
from analytics_ingest.apis.model import Api, Endpoint, RetryPolicy
from analytics_ingest.apis.paginators import SINGLE_PAGE, page_number
from analytics_ingest.apis.probe import ChangeProbe

PAGES = page_number(page_param="page", limit_param="limit", limit=100)
UPDATED = ("updated_at",)

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
        Endpoint(
            "audit_logs",
            "/v1/audit_logs",
            "data",
            PAGES,
            cursor_path=UPDATED,
            description="Every change made in the console: who did what to which gate, config or experiment.",
        ),
        Endpoint(
            "autotunes",
            "/v1/autotunes",
            "data",
            PAGES,
            cursor_path=UPDATED,
            description="Autotunes: tests that shift traffic to the winning variant by themselves.",
        ),
        Endpoint(
            "dynamic_configs",
            "/v1/dynamic_configs",
            "data",
            PAGES,
            cursor_path=UPDATED,
            description="Dynamic configs: values that clients read at run time, targeted by rules.",
        ),
        Endpoint(
            "dynamic_configs_versions",
            "/v1/dynamic_configs/{dynamic_config_id}/versions",
            "data",
            PAGES,
            primary_key=("id", "version"),
            parents=FromTable("dynamic_configs", dynamic_config_id="id"),
            description="Every version of each dynamic config; all versions of a config share its id.",
        ),
        Endpoint(
            "dynamic_configs_rules",
            "/v1/dynamic_configs/{dynamic_config_id}/rules",
            "data[*].rules[*]",
            PAGES,
            primary_key=("dynamic_config_id", "id"),
            parents=FromTable("dynamic_configs", dynamic_config_id="id"),
            description="The targeting rules of each dynamic config.",
        ),
        Endpoint(
            "events",
            "/v1/events",
            "data",
            PAGES,
            primary_key=("name",),
            cursor_path=UPDATED,
            description="Events that clients log, one row per event name.",
        ),
        Endpoint(
            "events_metrics",
            "/v1/events/{event_name}/metrics",
            "data",
            PAGES,
            primary_key=("event_name", "id"),
            parents=FromTable("events", event_name="name"),
            description="The metrics that are computed from each event.",
        ),
        Endpoint(
            "experiments",
            "/v1/experiments",
            "data",
            PAGES,
            cursor_path=UPDATED,
            timestamps_as_sent=("start_time", "end_time", "decision_time"),
            description="Experiments with their hypothesis, groups, allocation and status.",
        ),
        Endpoint(
            "gates",
            "/v1/gates",
            "data",
            PAGES,
            cursor_path=UPDATED,
            description="Feature gates: switches that are on or off for a user, decided by rules.",
        ),
        Endpoint(
            "gates_rules",
            "/v1/gates/{gate_id}/rules",
            "data[*].rules[*]",
            PAGES,
            primary_key=("gate_id", "id"),
            parents=FromTable("gates", gate_id="id"),
            description="The targeting rules of each gate.",
        ),
        Endpoint(
            "holdouts",
            "/v1/holdouts",
            "data",
            PAGES,
            cursor_path=UPDATED,
            description="Holdouts: groups of users kept out of experiments to measure their joint effect.",
        ),
        Endpoint(
            "ingestion_status",
            "/v1/ingestion/status",
            "data",
            SINGLE_PAGE,
            primary_key=(),
            timestamps_as_sent=("timestamp",),
            description="How far the ingestion of each data source has come; a snapshot without history.",
        ),
        Endpoint(
            "ingestion_runs",
            "/v1/ingestion/runs",
            "data",
            PAGES,
            cursor_path=UPDATED,
            description="Runs of the data ingestion with their state and their times.",
        ),
        Endpoint(
            "layers",
            "/v1/layers",
            "data",
            PAGES,
            cursor_path=UPDATED,
            description="Layers: sets of experiments that never share a user.",
        ),
        Endpoint(
            "metrics",
            "/v1/metrics/list",
            "data",
            PAGES,
            cursor_path=UPDATED,
            description="Definitions of the metrics by which experiments are judged.",
        ),
        Endpoint(
            "metrics_values",
            "/v1/metrics/values",
            "data",
            PAGES,
            cursor_path=UPDATED,
            description="Computed values of the metrics.",
        ),
        Endpoint(
            "segments",
            "/v1/segments",
            "data",
            PAGES,
            cursor_path=UPDATED,
            description="Segments: named groups of users that rules can refer to.",
        ),
        Endpoint(
            "segments_ids",
            "/v1/segments/{segment_id}/id_list",
            "data",
            PAGES,
            primary_key=("segment_id", "id"),
            parents=FromTable("segments", segment_id="id"),
            description="The ids that belong to each segment that is kept as a list.",
        ),
        Endpoint(
            "tags",
            "/v1/tags",
            "data",
            PAGES,
            cursor_path=UPDATED,
            description="Tags that order gates, configs, experiments and metrics.",
        ),
        Endpoint(
            "target_apps",
            "/v1/target_app",
            "data",
            PAGES,
            cursor_path=UPDATED,
            description="The applications that gates and configs are delivered to.",
        ),
        Endpoint(
            "users",
            "/v1/users",
            "data",
            PAGES,
            cursor_path=UPDATED,
            description="People with access to the console, and their role.",
        ),
    ),
)
