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

RULE = {
    "name": "Name, often shared by rules of other gates or configs.",
    "pass_percentage": "Percent of users who pass among those who meet the conditions, 0 to 100.",
    "conditions": "JSON list of the conditions that a user must meet; public means everyone.",
    "environments": "JSON list of the environments where it applies; null if in all of them.",
    "base_id": "Base identifier that the API gives the rule, usually the same as id.",
}
"""Columns of a rule of a gate or a config."""
METRIC = {
    "type": "How it is computed, such as event_count, event_user, sum, mean, ratio or funnel.",
    "directionality": "Which change is good: increase or decrease.",
    "is_permanent": "Whether it is meant to be kept for good.",
    "is_verified": "Whether someone has marked it as trustworthy.",
    "unit_types": "JSON list of the kinds of ids that it is computed for, such as user_id.",
    "lineage": "JSON object with the events and metrics that it is computed from.",
}
"""Columns of a metric, also where it is listed by event."""

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
    columns={
        "description": "What it is for, in the words of its authors; null or empty if they wrote nothing.",
        "id_type": "Kind of id that identifies a user, such as user_id or stable_id.",
        "is_enabled": "Whether it is switched on; its rules count only then.",
        "owner": "JSON object with the id, name and type of the owner.",
        "tags": "JSON list of the names of its tags.",
    },
    endpoints=(
        with_cursor(
            "audit_logs",
            "/v1/audit_logs",
            description="Every change made in the console: who did what to which gate, config or experiment.",
            common_columns=("created_at",),
            columns={
                "name": "What happened, for people, such as Gate updated.",
                "action_type": "What happened, for programs, such as gate_update or experiment_start.",
                "change_log": "What the author of the change wrote about it.",
                "changes": "JSON list of the fields that changed, each with its former and its new value.",
                "updated_by": "Name of the person who made the change.",
                "updated_by_user_id": "The id in users of the person who made the change.",
                "modifier_email": "Email address of the person who made the change; null if it is unknown.",
                "target_app_ids": "JSON list of the ids in target_apps that the change concerns; empty if none.",
                "updated_at": "When the entry was written, UTC; entries never change.",
            },
        ),
        with_cursor(
            "autotunes",
            "/v1/autotunes",
            description="Autotunes: tests that shift traffic to the winning variant by themselves.",
            common_columns=("name", "created_at"),
            columns={
                "variants": "JSON list of the variants, each with its name and the value that clients get.",
                "success_event": "Name in events of the event that counts as a success.",
                "exploration_window": "How long all variants get the same traffic at first, such as 24h.",
                "is_started": "Whether the test has been started.",
                "updated_at": "When it was last changed, UTC; null if the API does not know.",
            },
        ),
        with_cursor(
            "dynamic_configs",
            "/v1/dynamic_configs",
            history=True,
            description="Dynamic configs: values that clients read at run time, targeted by rules.",
            common_columns=("name", "created_at", "description", "is_enabled", "owner"),
            columns={
                "default_value": "JSON value that clients get if no rule applies.",
                "version": "Number of the current version; all of them are in dynamic_configs_versions.",
            },
        ),
        endpoint(
            "dynamic_configs_versions",
            "/v1/dynamic_configs/{dynamic_config_id}/versions",
            primary_key=("id", "version"),
            parents=FromTable("dynamic_configs", dynamic_config_id="id"),
            description="Every version of each dynamic config; all versions of a config share its id.",
            common_columns=("name", "created_at", "updated_at"),
            columns={
                "id": "Identifier of the config, which all of its versions share.",
                "version": "Number of the version within its config, from 1; id and version are the key.",
                "is_enabled": "Whether the config was switched on in this version.",
                "author": "JSON object with the id and name of the person who made the version.",
                "default_value": "JSON value that clients got in this version if no rule applied.",
            },
        ),
        endpoint(
            "dynamic_configs_rules",
            "/v1/dynamic_configs/{dynamic_config_id}/rules",
            data_selector="data[*].rules[*]",
            primary_key=("dynamic_config_id", "id"),
            parents=FromTable("dynamic_configs", dynamic_config_id="id"),
            history=True,
            description="The targeting rules of each dynamic config.",
            columns={
                "id": "Identifier of the rule, unique only within its config, such as everyone.",
                **RULE,
                "return_value": "JSON value that clients get if the rule applies.",
            },
        ),
        with_cursor(
            "events",
            "/v1/events",
            primary_key=("name",),
            description="Events that clients log, one row per event name.",
            common_columns=("created_at", "description", "tags"),
            columns={
                "name": "Name under which clients log the event; it is the key.",
                "daily_count": "How often clients logged the event in a day, at the last count.",
                "is_autocaptured": "Whether the client library logs it by itself, without code of its own.",
            },
        ),
        endpoint(
            "events_metrics",
            "/v1/events/{event_name}/metrics",
            primary_key=("event_name", "id"),
            parents=FromTable("events", event_name="name"),
            description="The metrics that are computed from each event.",
            common_columns=("name", "created_at", "updated_at", "tags"),
            columns={
                "id": "Identifier of the metric in metrics; a metric of several events has a row for each.",
                **METRIC,
            },
        ),
        with_cursor(
            "experiments",
            "/v1/experiments",
            timestamps_as_sent=("start_time", "end_time", "decision_time"),
            history=True,
            description="Experiments with their hypothesis, groups, allocation and status.",
            common_columns=("name", "created_at", "id_type", "owner", "tags"),
            columns={
                "hypothesis": "What the experiment is expected to show.",
                "status": "Stage, such as setup, active, decision_made or abandoned.",
                "allocation": "Percent of the eligible users who take part, 0 to 100.",
                "layer_id": "The id in layers of its layer; null if it is in none.",
                "groups": "JSON list of the groups, each with its share in percent and its parameters.",
                "primary_metrics": "JSON list of the metrics that decide, each with name and type.",
                "secondary_metrics": "JSON list of the metrics that are watched beside, each with name and type.",
                "target_exposures": "How many users it is meant to reach; null if no number is set.",
                "start_time": "When it started, UTC; null before the start.",
                "end_time": "When it ended, UTC; null before the end.",
                "decision_time": "When a group was chosen, UTC; null before a decision.",
            },
        ),
        with_cursor(
            "gates",
            "/v1/gates",
            history=True,
            unversioned=("checks_per_hour",),
            description="Feature gates: switches that are on or off for a user, decided by rules.",
            common_columns=("name", "created_at", "description", "id_type", "is_enabled", "owner", "tags"),
            columns={
                "status": "Stage, such as In Progress, Launched, Disabled or Archived.",
                "type": "How long it is meant to stay, such as PERMANENT or TEMPORARY.",
                "checks_per_hour": "How often clients check the gate in an hour, at the last count.",
                "holdout_ids": "JSON list of the ids in holdouts that apply to the gate; empty if none.",
            },
        ),
        endpoint(
            "gates_rules",
            "/v1/gates/{gate_id}/rules",
            data_selector="data[*].rules[*]",
            primary_key=("gate_id", "id"),
            parents=FromTable("gates", gate_id="id"),
            history=True,
            description="The targeting rules of each gate.",
            columns={
                "id": "Identifier of the rule, unique only within its gate, such as everyone.",
                **RULE,
            },
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
            columns={
                "ds": "Day of the data, YYYY-MM-DD.",
                "ingestion_source": "Warehouse that the data come from, such as bigquery or snowflake.",
                "status": "How far the day has come, such as pending or loaded.",
                "rows": "Number of rows ingested for the day.",
                "timestamp": "When the status was recorded, UTC.",
            },
        ),
        with_cursor(
            "ingestion_runs",
            "/v1/ingestion/runs",
            description="Runs of the data ingestion with their state and their times.",
            common_columns=("created_at",),
            columns={
                "dataset_name": "Data set that the run ingests, such as orders.",
                "status": "Outcome so far: running, success or failed.",
                "row_count": "Number of rows ingested; null if it is unknown.",
                "error": "Message of the failure; null if there was none.",
            },
        ),
        with_cursor(
            "layers",
            "/v1/layers",
            history=True,
            description="Layers: sets of experiments that never share a user.",
            common_columns=("name", "created_at", "description"),
            columns={"is_implicit": "Whether the API made it for a single experiment, not a person."},
        ),
        with_cursor(
            "metrics",
            "/v1/metrics/list",
            description="Definitions of the metrics by which experiments are judged.",
            common_columns=("name", "created_at", "tags"),
            columns={
                "id": "Name and type of the metric, joined by two colons.",
                **METRIC,
            },
        ),
        with_cursor(
            "metrics_values",
            "/v1/metrics/values",
            description="Computed values of the metrics.",
            common_columns=("created_at",),
            columns={
                "id": "Day, metric and kind of id of the value, joined by slashes.",
                "metric_name": "Name of the metric in metrics.",
                "metric_type": "Type of the metric in metrics; with the name it identifies the metric.",
                "unit_type": "Kind of id that the value was computed for, such as user_id.",
                "date": "Day that the value is for, YYYY-MM-DD.",
                "numerator": "Sum or count that is divided, where the metric is a fraction.",
                "denominator": "Sum or count that it is divided by, where the metric is a fraction.",
                "value": "Value of the metric on that day, in the metric's own unit.",
                "updated_at": "When it was last computed, UTC; later than created_at if it was corrected.",
            },
        ),
        with_cursor(
            "segments",
            "/v1/segments",
            history=True,
            description="Segments: named groups of users that rules can refer to.",
            common_columns=("name", "created_at", "description", "is_enabled", "tags"),
            columns={
                "type": "How members are chosen, such as id_list; the ids of lists are in segments_ids.",
                "count": "Number of members, by the API's own count.",
                "creator_id": "The id in users of the person who created it.",
            },
        ),
        endpoint(
            "segments_ids",
            "/v1/segments/{segment_id}/id_list",
            primary_key=("segment_id", "id"),
            parents=FromTable("segments", segment_id="id"),
            description="The ids that belong to each segment that is kept as a list.",
            columns={"id": "Identifier of the member, such as a user; it may be in several segments."},
        ),
        with_cursor(
            "tags",
            "/v1/tags",
            description="Tags that order gates, configs, experiments and metrics.",
            common_columns=("created_at", "description"),
            columns={
                "name": "Name by which gates, experiments and metrics refer to the tag.",
                "is_core": "Whether it marks what matters most to the organisation.",
            },
        ),
        with_cursor(
            "target_apps",
            "/v1/target_app",
            description="The applications that gates and configs are delivered to.",
            common_columns=("name", "created_at"),
            columns={"platform": "Where the application runs, such as web, ios or android."},
        ),
        with_cursor(
            "users",
            "/v1/users",
            description="People with access to the console, and their role.",
            common_columns=("name", "created_at"),
            columns={
                "email": "Email address.",
                "role": "What the person may do, such as Admin, Member or Read only.",
            },
        ),
    ),
)
