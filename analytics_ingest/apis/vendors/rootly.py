"""Rootly: the profile of the incident response API for Rootly's JSON:API.

A record's fields are in ``attributes``; they become columns. Times have an offset that changes with daylight saving.
Incidents and alerts can be filtered by the time of their last update, the feed of alert events by that of creation.
Facts are from the vendor's specification.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.incident_response import INCIDENT_RESPONSE
from analytics_ingest.apis.model import ChangeProbe, Endpoint, RetryPolicy
from analytics_ingest.apis.paginators import SINGLE_PAGE, cursor, page_number
from analytics_ingest.apis.parents import EachDay, FromTable
from analytics_ingest.apis.vendors.overlay import overlay
from analytics_ingest.apis.vendors.rootly_columns import BY_ENDPOINT, COMMON_COLUMNS, SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = page_number(
    page_param="page[number]",
    limit_param="page[size]",
    limit=50,
    has_more_path="meta.next_page",
    total_path="meta.total_count",
)
FEED = cursor(cursor_param="page[after]", cursor_path="meta.next_cursor", limit_param="page[size]", limit=50)
"""Pages by cursor, for lists that grow all the time, so that rows would move between numbered pages."""
SHIFTS = replace(PAGES, limit=1000)
OLDEST_FIRST = {"sort": "created_at"}
"""New rows come last, so that rows do not move between pages. Only lists whose specification has ``sort`` accept it."""
UPDATED = ("updated_at",)
TIMES = ("created_at", "updated_at")
COURSE = ("started_at", "mitigated_at", "resolved_at")
"""Times in the course of an incident, which its retrospective repeats; null until the incident has reached them."""
SECRETS = (
    *("authentication_password", "jti", "password"),
    *("zoom_meeting_h323_password", "zoom_meeting_password", "zoom_meeting_pstn_password", "zoom_meeting_start_url"),
)
"""Secret fields: passwords of status pages and meetings, the address with which one becomes a meeting's host, and the
id of a user's session token."""
ENDED = frozenset({"resolved", "closed", "cancelled", "completed"})
"""Statuses of an incident or a maintenance that is over."""


def flat(record: Any) -> Iterator[Any]:
    """A record with the fields of its ``attributes`` beside its own.

    An attribute with the name of a field gets a prefix::

        {"id": "7", "type": "incidents", "attributes": {"title": "Down", "type": "api"}}
        {"id": "7", "type": "incidents", "title": "Down", "attribute_type": "api"}
    """
    attributes = record.get("attributes") if isinstance(record, dict) else None
    if not isinstance(attributes, dict):
        yield record
        return
    own = {name: value for name, value in record.items() if name != "attributes"}
    yield own | {f"attribute_{name}" if name in own else name: value for name, value in attributes.items()}


def listed(name: str, description: str, *, path: str = "", **more: Any) -> Endpoint:
    """A list of the account, whose records have the time of their last update."""
    fields = {"paginator": PAGES, "cursor_path": UPDATED, "timestamps": TIMES, **more}
    return Endpoint(
        name, path or f"/{name}", "data", yield_map=flat, secrets=SECRETS, description=description, **fields
    )


ordered = partial(listed, params=OLDEST_FIRST)
"""A list that can be sorted."""


def child(name: str, path: str, parents: FromTable, description: str, **more: Any) -> Endpoint:
    """A list under each record of another list."""
    more = {"secrets": SECRETS, **more}
    return Endpoint(name, path, "data", PAGES, yield_map=flat, parents=parents, description=description, **more)


LISTS = (
    ordered("authorizations", "Who may do what to which record."),
    ordered("users", "People with an account, and how to reach them."),
    ordered("incident_types", "Kinds of incidents."),
    ordered("teams", "Teams that respond to incidents.", history=True),
    listed("sub_statuses", "Finer stages within the status of an incident."),
    ordered("incident_roles", "Roles that people take during an incident.", history=True),
    ordered("post_mortems", "Retrospectives that were written after incidents.", timestamps=(*TIMES, *COURSE)),
    ordered("status_pages", "Pages that show the public the status of services.", path="/status-pages"),
    ordered("severities", "How bad an incident can be.", history=True),
    ordered("services", "Services that incidents concern.", history=True),
    ordered("incident_permission_sets", "Sets of permissions on incidents."),
    ordered("roles", "Roles of users, with their permissions.", history=True),
    ordered("workflows", "Automations that run on incidents.", history=True),
    listed("form_sets", "Sets of form fields."),
    listed("form_fields", "Fields of the forms that incidents are filed with.", history=True),
    listed("playbooks", "Playbooks that responders follow."),
    listed("retrospective_processes", "Processes by which retrospectives are held."),
    listed("retrospective_configurations", "For which incidents a retrospective is held."),
    ordered("environments", "Environments that incidents concern."),
    ordered("functionalities", "Functionalities that incidents concern.", history=True),
    listed("causes", "Causes of incidents to choose from."),
    listed("schedules", "Schedules by which people are on call.", history=True),
    listed("escalation_policies", "Who is notified of an alert, and who next.", history=True),
    listed(
        "alerts",
        "Alerts of monitoring tools and people, with their state and whom they concern.",
        paginator=FEED,
        timestamps=(*TIMES, "started_at", "ended_at"),
        start_param="filter[updated_at][gte]",
    ),
    ordered(
        "alert_events",
        "What happened to each alert: who was notified, who acknowledged.",
        paginator=FEED,
        cursor_path=("created_at",),
        start_param="filter[created_at][gte]",
    ),
)
OTHERS = (
    Endpoint(
        "workflow_groups",
        "/workflow_groups",
        "data",
        PAGES,
        yield_map=flat,
        timestamps=(),
        secrets=SECRETS,
        description="Groups that order workflows.",
    ),
    Endpoint(
        "ip_ranges",
        "/ip_ranges",
        "data",
        SINGLE_PAGE,
        yield_map=flat,
        primary_key=(),
        timestamps=(),
        secrets=SECRETS,
        description="Addresses that the vendor calls from; a snapshot without history.",
    ),
    Endpoint(
        "oncalls",
        "/oncalls",
        "data",
        SINGLE_PAGE,
        yield_map=flat,
        primary_key=(),
        timestamps=("starts_at", "ends_at"),
        secrets=SECRETS,
        description="Who is on call now, at each level of each escalation policy; a snapshot without history.",
    ),
    Endpoint(
        "shifts",
        "/shifts?from={date}T00:00:00Z&to={date}T23:59:59Z",
        "data",
        SHIFTS,
        yield_map=flat,
        # a shift is in the list of each day that it extends over
        primary_key=("date", "id"),
        parents=EachDay("date"),
        timestamps=("starts_at", "ends_at"),
        secrets=SECRETS,
        description="Who is on call by which schedule, on each of the recent days.",
    ),
)
INCIDENT = FromTable("incidents", incident_id="id")
RUNNING_INCIDENT = FromTable("incidents", incident_id="id", settled=("status", ENDED))
"""Incidents that are not over, and those that have changed."""
CHANGED_POLICY = FromTable("escalation_policies", escalation_policy_id="id", settled_after="updated_at")
"""Escalation policies that have changed, for as many days as ``WINDOW_DAYS``. Whether a change of its levels and paths
changes a policy is not documented."""
PERMISSION_SET = FromTable("incident_permission_sets", incident_permission_set_id="id")
CHILDREN = (
    child(
        "dashboards_panels",
        "/dashboards/{dashboard_id}/panels",
        FromTable("dashboards", dashboard_id="id"),
        "The panels of each dashboard.",
        timestamps=(),
    ),
    child(
        "users_notification_rules",
        "/users/{user_id}/notification_rules",
        FromTable("users", user_id="id"),
        "How each user wants to be notified.",
        params=OLDEST_FIRST,
    ),
    child(
        "incidents_events",
        "/incidents/{incident_id}/events",
        INCIDENT,
        "What happened in the course of each incident.",
        timestamps=(*TIMES, "occurred_at"),
    ),
    child(
        "incidents_action_items",
        "/incidents/{incident_id}/action_items",
        INCIDENT,
        "What is to be done about each incident.",
    ),
    child(
        "incidents_sub_statuses",
        "/incidents/{incident_id}/sub_statuses",
        INCIDENT,
        "The sub-statuses that each incident went through.",
        params=OLDEST_FIRST,
        timestamps=("assigned_at",),
    ),
    child(
        "incidents_form_field_selections",
        "/incidents/{incident_id}/form_field_selections",
        RUNNING_INCIDENT,
        "The values of form fields of each incident.",
        timestamps=(),
    ),
    child(
        "escalation_policies_levels",
        "/escalation_policies/{escalation_policy_id}/escalation_levels",
        CHANGED_POLICY,
        "The levels of each escalation policy, with whom each notifies.",
        history=True,
    ),
    child(
        "escalation_policies_paths",
        "/escalation_policies/{escalation_policy_id}/escalation_paths",
        CHANGED_POLICY,
        "The paths of each escalation policy, with the conditions of each.",
        history=True,
    ),
    child(
        "incident_permission_sets_resources",
        "/incident_permission_sets/{incident_permission_set_id}/resources",
        PERMISSION_SET,
        "The resources of each set of permissions.",
        params=OLDEST_FIRST,
    ),
    child(
        "incident_permission_sets_booleans",
        "/incident_permission_sets/{incident_permission_set_id}/booleans",
        PERMISSION_SET,
        "The switches of each set of permissions.",
        params=OLDEST_FIRST,
    ),
    child(
        "workflows_tasks",
        "/workflows/{workflow_id}/workflow_tasks",
        FromTable("workflows", workflow_id="id"),
        "The tasks of each workflow.",
        # headers of HTTP requests: they have tokens
        secrets=(*SECRETS, "headers"),
    ),
)

ROOTLY = overlay(
    replace(INCIDENT_RESPONSE, columns=SHARED),
    columns=BY_ENDPOINT,
    common_columns=COMMON_COLUMNS,
    profile="rootly",
    title="Rootly",
    base_url="https://api.rootly.com/v1",
    docs_url="https://docs.rootly.com/api-reference/overview",
    headers={"Accept": "application/vnd.api+json"},
    requests_per_minute=3000,
    retry=RetryPolicy(max_retries=2, backoff_factor=5, constant=True, limit_retries=13),
    every={"paginator": PAGES, "yield_map": flat, "cursor_path": UPDATED, "timestamps": TIMES, "secrets": SECRETS},
    endpoints={
        "incidents": {
            "params": OLDEST_FIRST,
            "start_param": "filter[updated_at][gte]",
            "timestamps": (
                *TIMES,
                *COURSE,
                "in_triage_at",
                "detected_at",
                "acknowledged_at",
                "closed_at",
                "cancelled_at",
            ),
            "timestamps_as_sent": ("scheduled_for", "scheduled_until"),
        },
    },
    added=(*LISTS, *OTHERS, *CHILDREN),
    probes=(
        ChangeProbe(
            endpoint="incidents",
            concerns=(
                *("incidents", "incidents_events", "incidents_action_items", "incidents_sub_statuses"),
                "incidents_form_field_selections",
            ),
            blind="changes that leave the incident itself unchanged, and all beside incidents",
            params={"sort": "-updated_at"},
        ),
    ),
)
