"""Rootly: the profile of the incident response API for Rootly's JSON:API.

A record's fields are in ``attributes``; they become columns. Times have an offset that changes with daylight saving.
Only incidents can be filtered by the time of their last update.
Facts are from the vendor's specification.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.incident_response import INCIDENT_RESPONSE
from analytics_ingest.apis.model import ChangeProbe, Endpoint, RetryPolicy
from analytics_ingest.apis.paginators import SINGLE_PAGE, page_number
from analytics_ingest.apis.parents import FromTable
from analytics_ingest.apis.vendors.overlay import overlay
from analytics_ingest.apis.vendors.rootly_columns import BY_ENDPOINT, SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = page_number(
    page_param="page[number]",
    limit_param="page[size]",
    limit=50,
    has_more_path="meta.next_page",
    total_path="meta.total_count",
)
UPDATED = ("updated_at",)
TIMES = ("created_at", "updated_at")
COURSE = ("started_at", "mitigated_at", "resolved_at")
"""Times in the course of an incident, which its retrospective repeats; null until the incident has reached them."""
SECRETS = ("authentication_password", "jti")
"""Secret fields: a status page's password in plain text, and the id of a user's session token."""


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


def listed(
    name: str, description: str, *, path: str = "", times: tuple[str, ...] = TIMES, history: bool = False
) -> Endpoint:
    """A list of the account, whose records have the time of their last update."""
    return Endpoint(
        name,
        path or f"/{name}",
        "data",
        PAGES,
        yield_map=flat,
        cursor_path=UPDATED,
        timestamps=times,
        secrets=SECRETS,
        history=history,
        description=description,
    )


def child(name: str, path: str, parents: FromTable, description: str, **more: Any) -> Endpoint:
    """A list under each record of another list."""
    more = {"secrets": SECRETS, **more}
    return Endpoint(name, path, "data", PAGES, yield_map=flat, parents=parents, description=description, **more)


LISTS = (
    listed("authorizations", "Who may do what to which record."),
    listed("users", "People with an account, and how to reach them."),
    listed("incident_types", "Kinds of incidents."),
    listed("teams", "Teams that respond to incidents.", history=True),
    listed("sub_statuses", "Finer stages within the status of an incident."),
    listed("incident_roles", "Roles that people take during an incident.", history=True),
    listed("post_mortems", "Retrospectives that were written after incidents.", times=(*TIMES, *COURSE)),
    listed("status_pages", "Pages that show the public the status of services.", path="/status-pages"),
    listed("severities", "How bad an incident can be.", history=True),
    listed("services", "Services that incidents concern.", history=True),
    listed("incident_permission_sets", "Sets of permissions on incidents."),
    listed("roles", "Roles of users, with their permissions.", history=True),
    listed("workflows", "Automations that run on incidents.", history=True),
    listed("form_sets", "Sets of form fields."),
    listed("form_fields", "Fields of the forms that incidents are filed with.", history=True),
    listed("playbooks", "Playbooks that responders follow."),
    listed("retrospective_processes", "Processes by which retrospectives are held."),
    listed("retrospective_configurations", "For which incidents a retrospective is held."),
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
)
INCIDENT = FromTable("incidents", incident_id="id")
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
        timestamps=("assigned_at",),
    ),
    child(
        "incident_permission_sets_resources",
        "/incident_permission_sets/{incident_permission_set_id}/resources",
        PERMISSION_SET,
        "The resources of each set of permissions.",
    ),
    child(
        "incident_permission_sets_booleans",
        "/incident_permission_sets/{incident_permission_set_id}/booleans",
        PERMISSION_SET,
        "The switches of each set of permissions.",
    ),
    child(
        "workflows_tasks",
        "/workflows/{workflow_id}/workflow_tasks",
        FromTable("workflows", workflow_id="id"),
        "The tasks of each workflow.",
    ),
)

ROOTLY = overlay(
    replace(INCIDENT_RESPONSE, columns=SHARED),
    columns=BY_ENDPOINT,
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
            # new incidents come last, so that rows do not move between pages
            "params": {"sort": "created_at"},
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
            concerns=("incidents", "incidents_events", "incidents_action_items", "incidents_sub_statuses"),
            blind="changes that leave the incident itself unchanged, and all beside incidents",
            params={"sort": "-updated_at"},
        ),
    ),
)
