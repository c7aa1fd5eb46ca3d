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
    columns={
        "type": "Kind of record, the same in all rows of a table.",
        "description": "What it is for, in the words of its authors; null or empty if they wrote nothing.",
        "creation_time": "When it was created, UTC.",
        "tags": "JSON list of its tags, each with its name.",
        "traffic_type": "JSON object with id and name of the kind of keys that it is for, as in traffic_types.",
    },
    endpoints=(
        with_cursor(
            "change_requests",
            "/v2/changeRequests",
            data_selector="data",
            description="Changes to flags and segments that wait for, or went through, approval.",
            common_columns=("created_at",),
            columns={
                "title": "Headline, as its author wrote it.",
                "comment": "What its author wrote about the change; null if nothing.",
                "status": "Stage: REQUESTED, APPROVED, PUBLISHED, REJECTED or WITHDRAWN.",
                "operation_type": "Requested operation, such as CREATE, UPDATE, KILL or ARCHIVE.",
                "approvers": "JSON list of the requested approvers.",
                "split": "JSON object with the name of the flag to change; null if it changes no flag.",
                "organization_id": "Identifier of the organisation; null if the API does not give it.",
            },
        ),
        with_cursor(
            "workspaces",
            "/v2/workspaces",
            data_selector="objects",
            description="Workspaces: the projects that flags, segments and environments belong to.",
            common_columns=("name", "created_at", "type"),
            columns={"requires_title_and_comments": "Whether each change in it needs a title and a comment."},
        ),
        with_cursor(
            "flag_sets",
            "/v3/flag-sets",
            data_selector="data",
            description="Named sets of flags that are delivered together.",
            common_columns=("name", "created_at", "description"),
            columns={"workspace": "JSON object with the id in workspaces of its workspace."},
        ),
        with_cursor(
            "users",
            "/v2/users",
            data_selector="data",
            description="People with access, their status and groups.",
            common_columns=("name", "created_at", "type"),
            columns={
                "status": "Access of the user: ACTIVE, PENDING or DEACTIVATED.",
                "email": "Email address.",
                "_2fa": "Whether the user signs in with a second factor.",
                "groups": "JSON list of the user's groups, each with its id in groups.",
            },
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
            common_columns=("description", "tags", "traffic_type"),
            columns={
                "name": "Name of the segment, unique only within its workspace; the two are the key.",
                "status": "Stage, such as active or archived.",
            },
        ),
        endpoint(
            "environments",
            "/v2/environments/ws/{workspace_id}",
            parents=WORKSPACE,
            timestamps_as_sent=("creation_time",),
            history=True,
            description="The environments of each workspace, such as staging and production.",
            common_columns=("name", "type"),
            columns={
                "production": "Whether customers are served from it.",
                "org_id": "Identifier of the organisation; null if the API does not give it.",
                "change_permissions": "JSON object with who may change flags in it, and whether that needs approval.",
            },
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
            columns={"key": "Member of the segment in this environment, such as a customer."},
        ),
        with_cursor(
            "rollout_statuses",
            "/v2/rolloutStatuses",
            description="The stages that a flag's roll-out can be in.",
            common_columns=("created_at", "description"),
            columns={"name": "Name of the stage, such as Ramping or 100% released."},
        ),
        endpoint(
            "traffic_types",
            "/v2/trafficTypes/ws/{workspace_id}",
            parents=WORKSPACE,
            description="The kinds of keys, such as user or account, that each workspace's flags decide on.",
            common_columns=("created_at", "updated_at"),
            columns={
                "name": "Kind of the keys, such as user, account or anonymous.",
                "display_attribute_id": "Attribute of a key that is shown in place of it, such as name.",
            },
        ),
        with_cursor(
            "groups",
            "/v2/groups",
            data_selector="objects",
            description="Groups of users that permissions are given to.",
            common_columns=("name", "created_at", "type", "description"),
        ),
        endpoint(
            "feature_flags",
            "/v2/splits/ws/{workspace_id}",
            data_selector="objects",
            parents=WORKSPACE,
            timestamps_as_sent=("rollout_status_timestamp", "last_traffic_received_at"),
            history=True,
            description="The feature flags of each workspace, with owner, traffic type and roll-out status.",
            common_columns=("created_at", "updated_at", "description", "tags", "traffic_type"),
            columns={
                "name": "Name of the flag in code, unique only within its workspace.",
                "owners": "JSON list of the users and groups who own it, each with type and id.",
                "rollout_status": "JSON object with id and name of the stage, as in rollout_statuses.",
                "rollout_status_timestamp": "When it reached this stage, UTC; null if it is unknown.",
                "last_traffic_received_at": "When it was last evaluated, UTC; null if never or unknown.",
            },
        ),
    ),
)
