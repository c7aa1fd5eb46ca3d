"""The feature management API: workspaces, environments, feature flags, segments and their keys.

Lists are at ``objects`` or ``data``, or are the whole body, and page by offset, with 50 rows a page. A segment's name
is unique only within its workspace. Its keys are requested for each environment of the workspace, where a 404 means
that the segment is not defined in the environment.
"""

from functools import partial

from analytics_ingest.apis.model import Api, ChangeProbe, Endpoint, RetryPolicy
from analytics_ingest.apis.paginators import offset
from analytics_ingest.apis.parents import FromTable, JoinOf

PAGES = offset(offset_param="offset", limit=50)
UPDATED = ("updated_at",)
WORKSPACE = FromTable("workspaces", workspace_id="id")

endpoint = partial(Endpoint, data_selector="$", paginator=PAGES)
"""An endpoint with the defaults of this API."""
with_cursor = partial(endpoint, cursor_path=UPDATED)
"""An endpoint whose rows have the time of their last change."""

FEATURE_MANAGEMENT = Api(
    name="feature_management",
    title="Feature management",
    auth={"type": "bearer"},
    retry=RetryPolicy(max_retries=3, backoff_factor=2),
    cron="50 * * * *",
    full_refresh_cron="0 5 * * 0",
    probes=(
        ChangeProbe(
            endpoint="change_requests",
            concerns=(
                *("change_requests", "workspaces", "environments", "segments", "segments_keys", "feature_flags"),
                *("flag_sets", "rollout_statuses", "traffic_types"),
            ),
            blind="edits that need no approval, and users and groups",
        ),
    ),
    endpoints=(
        with_cursor(
            "change_requests",
            "/v2/changeRequests",
            data_selector="data",
            description="Changes to flags and segments that wait for, or went through, approval.",
        ),
        with_cursor(
            "workspaces",
            "/v2/workspaces",
            data_selector="objects",
            description="Workspaces: the projects that flags, segments and environments belong to.",
        ),
        with_cursor(
            "flag_sets",
            "/v3/flag-sets",
            data_selector="data",
            description="Named sets of flags that are delivered together.",
        ),
        with_cursor(
            "users",
            "/v2/users",
            data_selector="data",
            description="People with access, their status and groups.",
        ),
        endpoint(
            "segments",
            "/v2/segments/ws/{workspace_id}",
            data_selector="objects",
            primary_key=("workspace_id", "name"),
            parents=WORKSPACE,
            timestamps_as_sent=("creation_time",),
            history=True,
            description="The segments of each workspace: named lists of keys that flags can target.",
        ),
        endpoint(
            "environments",
            "/v2/environments/ws/{workspace_id}",
            parents=WORKSPACE,
            timestamps_as_sent=("creation_time",),
            history=True,
            description="The environments of each workspace, such as staging and production.",
        ),
        endpoint(
            "segments_keys",
            "/v2/segments/{environment_id}/{segment_name}/keys",
            primary_key=("environment_id", "segment_name", "key"),
            parents=JoinOf(
                FromTable("environments", environment_id="id", workspace_id="workspace_id"),
                FromTable("segments", segment_name="name", workspace_id="workspace_id"),
                on="workspace_id",
            ),
            on_404="not defined",
            retry_status_codes=(404,),
            description="The keys in each segment, per environment of the segment's workspace.",
        ),
        with_cursor(
            "rollout_statuses",
            "/v2/rolloutStatuses",
            description="The stages that a flag's roll-out can be in.",
        ),
        endpoint(
            "traffic_types",
            "/v2/trafficTypes/ws/{workspace_id}",
            parents=WORKSPACE,
            description="The kinds of keys, such as user or account, that each workspace's flags decide on.",
        ),
        with_cursor(
            "groups",
            "/v2/groups",
            data_selector="objects",
            description="Groups of users that permissions are given to.",
        ),
        endpoint(
            "feature_flags",
            "/v2/splits/ws/{workspace_id}",
            data_selector="objects",
            parents=WORKSPACE,
            timestamps_as_sent=("rollout_status_timestamp", "last_traffic_received_at"),
            history=True,
            description="The feature flags of each workspace, with owner, traffic type and roll-out status.",
        ),
    ),
)
