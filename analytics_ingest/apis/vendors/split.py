"""Split, now Harness FME: the profile of the feature management API for Split's Admin API.

There are three envelopes: lists by offset with a total (``objects``), lists by marker (``data``), and bare arrays. A
list by marker responds to any offset with its first page. Times are epoch milliseconds.
Facts are from the vendor's documentation and its Python client.
"""

from dataclasses import replace
from functools import partial

from analytics_ingest.apis.feature_management import FEATURE_MANAGEMENT, WORKSPACE
from analytics_ingest.apis.model import ChangeProbe, Endpoint, RetryPolicy
from analytics_ingest.apis.paginators import SINGLE_PAGE, Paginator, cursor, offset
from analytics_ingest.apis.parents import Constants, FromTable
from analytics_ingest.apis.vendors.overlay import overlay
from analytics_ingest.apis.vendors.split_columns import BY_ENDPOINT, COMMON_COLUMNS, SHARED

STATUSES = ("REQUESTED", "SCHEDULE_REQUESTED", "APPROVED", "REJECTED", "WITHDRAWN", "PUBLISHED")
"""Statuses of a change request. Without the parameter, the API lists change requests with the status REQUESTED only."""
USER_STATUSES = ("ACTIVE", "DEACTIVATED", "PENDING")
"""Statuses of a user. Without the parameter, the API leaves out pending users."""
OBJECTS = offset(limit=50)
CREATED = ("creation_time",)
ENVIRONMENT = FromTable("environments", environment_id="id", workspace_id="workspace_id")
IN_ENVIRONMENT = ("environment_id", "name")


def marked(limit: int) -> Paginator:
    """Pages by marker: ``{"data": [...], "nextMarker": "b2"}`` is followed by ``?after=b2``. ``offset`` is ignored."""
    return cursor(cursor_param="after", cursor_path="nextMarker", limit=limit)


segments = partial(
    # the documentation has an envelope, the vendor's client expects an array, whether it pages or not
    Endpoint,
    data_selector="objects",
    fallback_selector="$",
    timestamps=CREATED,
    history=True,
)
"""An endpoint of rule-based or large segments."""

SPLIT = overlay(
    replace(FEATURE_MANAGEMENT, columns=SHARED),
    columns=BY_ENDPOINT,
    common_columns=COMMON_COLUMNS,
    profile="split",
    title="Split",
    base_url="https://api.split.io/internal/api",
    versions=("/v2", "/v3"),
    docs_url="https://docs.split.io/reference",
    # the vendor's client sends tokens of Harness accounts as x-api-key, its documentation all keys as bearer tokens
    auth_headers={
        "authorization": {"type": "bearer"},
        "x-api-key": {"type": "api_key", "name": "x-api-key", "location": "header"},
    },
    # the limit is about 20 requests in 10 seconds, per organisation and per IP address
    requests_per_minute=110,
    retry=RetryPolicy(max_retries=3, backoff_factor=2, limit_retries=6),
    every={"cursor_path": (), "timestamps": ()},
    endpoints={
        "change_requests": {
            "path": "/v2/changeRequests?status={status}",
            "paginator": marked(100),
            "parents": Constants(name="status", values=STATUSES),
        },
        "workspaces": {"paginator": OBJECTS},
        "flag_sets": {
            "path": "/v3/flag-sets?workspace_id={workspace_id}",
            "fallback_selector": "objects",
            "paginator": marked(50),
            "parents": WORKSPACE,
            "timestamps": ("created_at",),
        },
        "users": {
            "path": "/v2/users?status={status}",
            "paginator": marked(200),
            "parents": Constants(name="status", values=USER_STATUSES),
        },
        "segments": {"paginator": OBJECTS, "timestamps": CREATED},
        "environments": {
            "paginator": SINGLE_PAGE,
            "timestamps": CREATED,
            # SDK keys: other clients of the vendor take the id of such a token for the key itself
            "secrets": ("api_tokens", "apiTokens"),
        },
        "segments_keys": {
            "data_selector": "keys",
            "paginator": offset(limit=100, total_path="count"),
            "parents": FromTable("segment_definitions", environment_id="environment_id", segment_name="name"),
            # a 404 means that the segment has left this environment since the list was read: a retry cannot change that
            "retry_status_codes": (),
        },
        "rollout_statuses": {
            "path": "/v2/rolloutStatuses?wsId={workspace_id}",
            "paginator": SINGLE_PAGE,
            "parents": WORKSPACE,
        },
        "traffic_types": {"paginator": SINGLE_PAGE},
        "groups": {"paginator": offset(limit=200)},
        "feature_flags": {"paginator": OBJECTS, "timestamps": (*CREATED, "rollout_status_timestamp")},
    },
    added=(
        Endpoint(
            "feature_flag_definitions",
            "/v2/splits/ws/{workspace_id}/environments/{environment_id}",
            "objects",
            offset(limit=20),
            primary_key=IN_ENVIRONMENT,
            parents=ENVIRONMENT,
            timestamps=("creation_time", "last_update_time"),
            timestamps_as_sent=("last_traffic_received_at",),
            unversioned=("last_traffic_received_at",),
            history=True,
            description="Each flag's definition in each environment: treatments, rules, traffic, killed or not.",
        ),
        Endpoint(
            "segment_definitions",
            "/v2/segments/ws/{workspace_id}/environments/{environment_id}",
            "objects",
            OBJECTS,
            primary_key=IN_ENVIRONMENT,
            parents=ENVIRONMENT,
            timestamps=CREATED,
            history=True,
            description="The segments that are defined in each environment.",
        ),
        segments(
            "rule_based_segments",
            "/v2/rule-based-segments/ws/{workspace_id}",
            paginator=OBJECTS,
            primary_key=("workspace_id", "name"),
            parents=WORKSPACE,
            description="The segments of each workspace that rules define, in place of lists of keys.",
        ),
        segments(
            "rule_based_segment_definitions",
            "/v2/rule-based-segments/ws/{workspace_id}/environments/{environment_id}",
            paginator=OBJECTS,
            primary_key=IN_ENVIRONMENT,
            parents=ENVIRONMENT,
            description="The rules of each rule-based segment in each environment, and what they exclude.",
        ),
        segments(
            "large_segments",
            "/v2/large-segments/ws/{workspace_id}",
            paginator=SINGLE_PAGE,
            primary_key=("workspace_id", "name"),
            parents=WORKSPACE,
            description="The segments of each workspace whose keys are uploaded as files, and cannot be read.",
        ),
        segments(
            "large_segment_definitions",
            "/v2/large-segments/ws/{workspace_id}/environments/{environment_id}",
            paginator=SINGLE_PAGE,
            primary_key=IN_ENVIRONMENT,
            parents=ENVIRONMENT,
            description="The large segments that are defined in each environment.",
        ),
        Endpoint(
            "attributes",
            "/v2/schema/ws/{workspace_id}/trafficTypes/{traffic_type_id}",
            "$",
            SINGLE_PAGE,
            primary_key=("traffic_type_id", "id"),
            parents=FromTable("traffic_types", traffic_type_id="id", workspace_id="workspace_id"),
            timestamps=(),
            description="The attributes of each traffic type that rules can use, with their types.",
        ),
    ),
    probes=(
        ChangeProbe(
            endpoint="change_requests",
            concerns=(
                *("change_requests", "workspaces", "environments", "segments", "segments_keys", "feature_flags"),
                *("feature_flag_definitions", "segment_definitions"),
                *("rule_based_segments", "rule_based_segment_definitions"),
                *("large_segments", "large_segment_definitions"),
                *("flag_sets", "rollout_statuses", "traffic_types"),
            ),
            blind="edits that need no approval, and users and groups",
        ),
    ),
)
