"""Split: descriptions of columns.

Lists and objects are JSON columns. Facts are from the vendor's Python client and documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SHARED: Mapping[str, str] = {
    "creation_time": "When it was created, UTC.",
    "description": "Longer text about it; null or empty if there is none.",
    "tags": "Tags that people gave it, as objects with a name.",
    "traffic_type": "Kind of keys that it is for, as an object with id and name; id refers to traffic_types.id.",
    "type": "Kind of record, such as workspace, user or group; the same in all rows of a table.",
    "workspace": "Workspace that it belongs to, as an object; its id refers to workspaces.id.",
}
"""Columns that mean the same in all tables that have them."""

# the text of an endpoint: a shared one does not replace that of a path parameter
WORKSPACE_ID = {"workspace_id": "Workspace that it belongs to; refers to workspaces.id."}

IN_ENVIRONMENT = {
    "environment": "Environment of the definition, as an object with id and name.",
    "environment_id": "Environment of the definition; refers to environments.id.",
    "workspace_id": "Workspace of the segment; refers to workspaces.id.",
}

BY_ENDPOINT: Mapping[str, Mapping[str, str]] = {
    "attributes": {
        **WORKSPACE_ID,
        "data_type": "Type of its values, such as STRING, NUMBER, DATETIME or SET.",
        "display_name": "Name that Split shows for it.",
        "id": "Name by which rules and SDKs refer to it, unique in its traffic type.",
        "is_searchable": "Whether keys can be searched by it.",
        "suggested_values": "Values that Split suggests when a rule is written, as a list.",
        "traffic_type_id": "Traffic type that it belongs to; refers to traffic_types.id.",
    },
    "change_requests": {
        "approvers": "People who may approve it, by e-mail address, as a list.",
        "comment": "What the author wrote about the change.",
        "comments": "Comments on it, as objects: text, user, role and time in epoch milliseconds.",
        "id": "Identifier of the change request.",
        "large_segment": "Large segment to change, as an object; null if it is about something else.",
        "operation_type": "What it does to the flag or segment, such as UPDATE or ARCHIVE.",
        "rollout_status": "Roll-out status that it gives the flag, as an object with id and name; may be null.",
        "rule_based_segment": "Rule-based segment as it is to be, as an object; null if it is about something else.",
        "segment": "Segment and keys to change, as an object; null if it is about something else.",
        "split": "Flag's definition in one environment as it is to be, as an object; null if it is about a segment.",
        "status": "One of REQUESTED, SCHEDULE_REQUESTED, APPROVED, REJECTED, WITHDRAWN and PUBLISHED.",
        "title": "Title that the author gave it; may be empty.",
    },
    "environments": {
        **WORKSPACE_ID,
        "api_tokens": "Always null: SDK keys are secrets, and are not loaded.",
        "change_permissions": "Who may edit and approve changes, and whether approval is needed, as an object.",
        "data_export_permissions": "Who may export data, as an object.",
        "environment_type": "Kind of environment, as Split names it.",
        "id": "Identifier of the environment.",
        "org_id": "Organisation that it belongs to.",
        "production": "Whether it is a production environment.",
        "status": "State of the environment, as Split names it.",
        "workspace_ids": "Workspaces that the environment belongs to: a list of workspaces.id.",
    },
    "feature_flag_definitions": {
        "baseline_treatment": "Treatment that others are compared with in metrics.",
        "default_rule": "Treatments where no rule matches, as objects with treatment and size in percent.",
        "default_treatment": "Treatment of keys outside the traffic allocation, and of all keys if the flag is killed.",
        "environment": "Environment of the definition, as an object with id and name.",
        "environment_id": "Environment of the definition; refers to environments.id.",
        "flag_sets": "Flag sets that the flag is in, as objects; id refers to flag_sets.id.",
        "impressions_disabled": "Whether evaluations of the flag are not reported as impressions.",
        "killed": "Whether the flag was killed in the environment, so that all keys get the default treatment.",
        "last_traffic_received_at": "When an SDK last reported an evaluation, UTC; null if none did.",
        "last_update_time": "When the definition was last changed, UTC.",
        "name": "Name of the flag; refers to feature_flags.name in the same workspace.",
        "open_change_request_id": "Change request that waits for approval; refers to change_requests.id; may be null.",
        "rules": "Targeting rules in their order, as objects: a condition, and treatments by percent (buckets).",
        "traffic_allocation": "Percentage of keys to which the rules apply, 0 to 100; others get default_treatment.",
        "treatments": "Treatments, as objects: name, configurations, and keys and segments that get each directly.",
        "workspace_id": "Workspace of the flag; refers to workspaces.id.",
    },
    "feature_flags": {
        **WORKSPACE_ID,
        "id": "Identifier of the flag, the same in all environments.",
        "last_traffic_received_at": "When an SDK last reported an evaluation, UTC; null if none did.",
        "name": "Name of the flag in code, unique in the workspace.",
        "owners": "Users and groups who own the flag, as objects with type and id.",
        "rollout_status": "Stage of its roll-out, as an object; id refers to rollout_statuses.id.",
        "rollout_status_timestamp": "When the roll-out status last changed, UTC.",
    },
    "flag_sets": {
        **WORKSPACE_ID,
        "id": "Identifier of the flag set.",
        "name": "Name by which an SDK asks for the set.",
    },
    "groups": {"id": "Identifier of the group.", "name": "Name of the group."},
    "large_segment_definitions": {
        **IN_ENVIRONMENT,
        "id": "Identifier of the definition.",
        "name": "Name of the segment; refers to large_segments.name in the same workspace.",
    },
    "large_segments": {
        **WORKSPACE_ID,
        "name": "Name of the segment, unique in the workspace.",
    },
    "rollout_statuses": {
        **WORKSPACE_ID,
        "id": "Identifier of the status.",
        "name": "Name of the stage, such as Ramping, Killed or 100% Released.",
    },
    "rule_based_segment_definitions": {
        **IN_ENVIRONMENT,
        "excluded_keys": "Keys that are not in the segment, whatever the rules say, as a list.",
        "excluded_segments": "Segments whose keys are not in the segment, as objects with name and type.",
        "name": "Name of the segment; refers to rule_based_segments.name in the same workspace.",
        "rules": "Rules whose keys are in the segment, as objects with a condition: a combiner and matchers.",
    },
    "rule_based_segments": {
        **WORKSPACE_ID,
        "name": "Name of the segment, unique in the workspace.",
    },
    "segment_definitions": {
        **IN_ENVIRONMENT,
        "name": "Name of the segment; refers to segments.name in the same workspace.",
    },
    "segments": {
        **WORKSPACE_ID,
        "name": "Name of the segment, unique in the workspace.",
    },
    "segments_keys": {
        "environment_id": "Environment in which the key is in the segment; refers to environments.id.",
        "key": "Key that is in the segment, such as a user's identifier.",
        "segment_name": "Segment; with environment_id it refers to segment_definitions.",
    },
    "traffic_types": {
        **WORKSPACE_ID,
        "display_attribute_id": "Attribute that Split shows in place of a key; null if there is none.",
        "id": "Identifier of the traffic type.",
        "name": "Name of the kind of keys, such as user or account.",
    },
    "users": {
        "_2fa": "Whether the user signs in with a second factor.",
        "email": "E-mail address with which the user signs in.",
        "groups": "Groups that the user is in, as objects; id refers to groups.id.",
        "id": "Identifier of the user.",
        "name": "The user's name; may be null for a pending user.",
        "status": "ACTIVE, DEACTIVATED, or PENDING for an invitation that was not accepted yet.",
    },
    "workspaces": {
        "id": "Identifier of the workspace.",
        "requires_title_and_comments": "Whether every change needs a title and a comment.",
    },
}
"""Columns that mean something of their own in a table, by endpoint."""

COMMON_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "attributes": ("description",),
    "change_requests": ("workspace",),
    "environments": ("name",),
    "feature_flags": ("traffic_type",),
    "flag_sets": ("created_at", "type"),
    "groups": ("type",),
    "large_segment_definitions": ("traffic_type",),
    "large_segments": ("description", "tags", "traffic_type"),
    "rule_based_segment_definitions": ("traffic_type",),
    "rule_based_segments": ("description", "tags", "traffic_type"),
    "segment_definitions": ("traffic_type",),
    "segments": ("tags",),
    "traffic_types": ("workspace",),
    "workspaces": ("name", "type"),
}
"""By endpoint the columns of its rows that ``SHARED`` or ``COMMON`` describes."""
