"""What Rootly's server holds: records with ``attributes``, whose times have the offset of a zone with daylight saving.

Incident ``n`` was last updated six minutes before incident ``n + 1``, and the newest just after clocks were set back:
the latest moment is not the greatest text.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo

from analytics_ingest_tests.vendors.server import Rows, Vendor, numbered

ZONE = ZoneInfo("America/Los_Angeles")
NEWEST = datetime(2025, 11, 2, 9, 5, tzinfo=UTC)
"""When the newest incident was last updated: five minutes after clocks were set back."""
INCIDENTS = 104
SECRET = "what-no-table-may-have"
"""The value of every secret field."""
HIDDEN = {
    *("zoom_meeting_start_url", "zoom_meeting_password", "zoom_meeting_pstn_password", "zoom_meeting_h323_password"),
    "authentication_password",
}
"""Attributes that are secret."""
TYPES = {
    "teams": "groups",
    "post_mortems": "incident_post_mortems",
    "dashboards_panels": "dashboard_panels",
    "oncalls": "on_call_resources",
    "incidents_form_field_selections": "incident_form_field_selections",
}
"""JSON:API's types where they are not the endpoints' names."""
COUNTS = {
    "dashboards": 5,
    "authorizations": 120,
    "users": 9,
    "incident_types": 3,
    "teams": 53,
    "sub_statuses": 5,
    "incident_roles": 3,
    "post_mortems": 5,
    "status_pages": 3,
    "severities": 4,
    "services": 100,
    "incident_permission_sets": 3,
    "roles": 6,
    "workflows": 4,
    "form_sets": 3,
    "form_fields": 51,
    "playbooks": 3,
    "retrospective_processes": 3,
    "retrospective_configurations": 4,
    "workflow_groups": 3,
    "environments": 3,
    "functionalities": 3,
    "causes": 3,
    "schedules": 3,
    "escalation_policies": 5,
    "alerts": 120,
    "alert_events": 130,
}
"""Records of the lists that have no parent, without incidents. 100 services are two full pages."""
UNTIMED = {
    *("workflow_groups", "dashboards_panels", "incidents_sub_statuses", "incidents_form_field_selections"),
    *("oncalls", "shifts"),
}
UNTYPED = {"escalation_policies_levels", "escalation_policies_paths"}
"""Lists whose records have no ``type`` in the specification."""
CHILDREN = {
    "dashboards_panels": ("dashboards", "dashboard_id"),
    "users_notification_rules": ("users", "user_id"),
    "incidents_events": ("incidents", "incident_id"),
    "incidents_action_items": ("incidents", "incident_id"),
    "incidents_sub_statuses": ("incidents", "incident_id"),
    "incidents_form_field_selections": ("incidents", "incident_id"),
    "escalation_policies_levels": ("escalation_policies", "escalation_policy_id"),
    "escalation_policies_paths": ("escalation_policies", "escalation_policy_id"),
    "incident_permission_sets_resources": ("incident_permission_sets", "incident_permission_set_id"),
    "incident_permission_sets_booleans": ("incident_permission_sets", "incident_permission_set_id"),
    "workflows_tasks": ("workflows", "workflow_id"),
}
"""By child its parent, and the column with the parent's id."""
DAYS = 7
"""Days up to today whose shifts a sync requests."""
SILENT = {"incidents_events", "incidents_action_items"}
"""Children whose records do not name their parent."""


def at(moment: datetime) -> str:
    """A moment as Rootly writes it."""
    return moment.astimezone(ZONE).isoformat(timespec="milliseconds")


def uid(name: str, n: int | str) -> str:
    """The id of a record: a UUID, of most users and some roles a number as text."""
    if (name == "users" and n != 8) or (name == "roles" and n in (0, 1)):
        return str(344 + int(n))
    return str(uuid5(NAMESPACE_URL, f"{name}/{n}"))


def record(name: str, n: int | str, /, **attributes: Any) -> dict[str, Any]:
    """A record as JSON:API has it; with the times that records of its kind have."""
    if name not in UNTIMED:
        age = timedelta(minutes=n) if isinstance(n, int) else timedelta()
        times = {
            "created_at": at(NEWEST - timedelta(days=200) + age),
            "updated_at": at(NEWEST - timedelta(days=9) + age),
        }
        attributes = times | attributes
    typed = {} if name in UNTYPED else {"type": TYPES.get(name, name)}
    return {"id": uid(name, n), **typed, "attributes": attributes}


def incident(n: int, *, updated: datetime | None = None) -> dict[str, Any]:
    """An incident; ``created_at`` and ``updated_at`` grow with ``n``."""
    updated = updated or NEWEST - timedelta(minutes=6 * (INCIDENTS - 1 - n))
    made = record(
        "incidents",
        n,
        sequential_id=n + 1,
        title=f"Incident {n}",
        kind="normal",
        status="resolved" if n % 2 else "started",
        summary=None if n % 3 else f"What happened in {n}",
        private=False,
        severity={"data": record("severities", n % 4, name=f"SEV{n % 4}")},
        services=[{"data": record("services", n % 7, name=f"Service {n % 7}")}],
        labels={"platform": "web"},
        zoom_meeting_id=f"9{n}",
        zoom_meeting_join_url=f"https://zoom.us/j/9{n}",
        zoom_meeting_start_url=f"https://zoom.us/s/9{n}?zak={SECRET}",
        zoom_meeting_password=SECRET,
        zoom_meeting_pstn_password=SECRET,
        zoom_meeting_h323_password=SECRET,
        started_at=at(updated - timedelta(hours=2)),
        mitigated_at=at(updated - timedelta(hours=1)) if n % 2 else None,
        resolved_at=at(updated - timedelta(minutes=1)) if n % 2 else None,
        cancelled_at=None,
        created_at=at(updated - timedelta(hours=3)),
        updated_at=at(updated),
    )
    roles = [{"id": uid("incident_roles", 0), "type": "incident_roles"}]
    return made | {"relationships": {"roles": {"data": roles}}}


def alert(n: int, *, updated: datetime | None = None) -> dict[str, Any]:
    """An alert, which has its source twice; ``created_at`` and ``updated_at`` grow with ``n``."""
    updated = updated or NEWEST - timedelta(minutes=6 * (COUNTS["alerts"] - 1 - n))
    responder = {"id": 344 + n % 9, "name": f"Person {n % 9}", "jti": SECRET}
    made = record(
        "alerts",
        n,
        short_id=f"a{n}",
        source="datadog",
        status=("open", "triggered", "acknowledged", "resolved")[n % 4],
        summary=f"Alert {n}",
        description=None if n % 2 else f"Alert {n} in detail",
        noise=None if n % 3 else "not_noise",
        services=[{"id": uid("services", n % 7), "name": f"Service {n % 7}"}],
        groups=[],
        functionalities=[],
        environments=[],
        service_ids=[uid("services", n % 7)],
        group_ids=[],
        functionality_ids=[uid("functionalities", n % 3)],
        environment_ids=[uid("environments", n % 3)],
        external_id=f"dd-{n}",
        external_url=f"https://monitoring.example/{n}",
        alert_urgency_id=uid("alert_urgencies", 0),
        alert_urgency={"id": uid("alert_urgencies", 0), "name": "High"},
        group_leader_alert_id=None,
        is_group_leader_alert=False,
        labels=[{"key": "region", "value": "eu"}],
        data={"monitor": n},
        notification_target_type="EscalationPolicy",
        notification_target_id=uid("escalation_policies", n % 5),
        deduplication_key=f"key-{n}",
        alert_field_values=[],
        responders=[responder],
        notified_users=[responder],
        alerting_targets=[{"id": uid("escalation_policies", n % 5), "type": "escalation_policy"}],
        url=f"https://rootly.com/account/alerts/a{n}",
        started_at=at(updated - timedelta(hours=3)),
        ended_at=at(updated) if n % 4 == 3 else None,
        created_at=at(updated - timedelta(hours=3)),
        updated_at=at(updated),
    )
    return made | {"source": "datadog"}


def alert_event(n: int, *, created: datetime | None = None) -> dict[str, Any]:
    """An entry of the feed; ``created_at`` grows with ``n``."""
    created = created or NEWEST - timedelta(minutes=6 * (COUNTS["alert_events"] - 1 - n))
    return record(
        "alert_events",
        n,
        alert_id=uid("alerts", n % COUNTS["alerts"]),
        kind="note" if n % 10 == 0 else "notification",
        action="added" if n % 10 == 0 else "called",
        source="web",
        user_id=344 if n % 10 == 0 else None,
        details=f"note {n}" if n % 10 == 0 else None,
        user={"id": 344, "name": "Person 0", "email": "person@example.com"},
        incident=None,
        schedule={"id": uid("schedules", n % 3), "name": f"schedules {n % 3}"},
        escalation_level=1 + n % 2,
        escalation_target_type="User",
        escalation_target={"data": {"id": "344", "type": "users", "attributes": {"jti": SECRET}}},
        slack_channel=None,
        incident_ids=[uid("incidents", n % INCIDENTS)],
        created_at=at(created),
        updated_at=at(created),
    )


def shift(n: int) -> dict[str, Any]:
    """A shift of 36 hours; one starts at 6:00 UTC on each day, from the day before the first one requested."""
    start = datetime.combine(recent_days()[0], time(6), UTC) + timedelta(days=n - 1)
    user = {"user": {"data": {"id": str(344 + n % 3), "type": "users"}}}
    made = record(
        "shifts",
        n,
        schedule_id=uid("schedules", n % 3),
        rotation_id=None if n % 4 == 0 else uid("rotations", n % 2),
        starts_at=at(start),
        ends_at=at(start + timedelta(hours=36)),
        is_override=n % 4 == 0,
        is_shadow=False,
        user_id=344 + n % 3,
    )
    return made | {"relationships": user}


def recent_days() -> list[date]:
    """The days whose shifts a sync requests, UTC."""
    today = datetime.now(UTC).date()
    return [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]


def oncall(n: int) -> dict[str, Any]:
    """Somebody who is on call."""
    return record(
        "oncalls",
        n,
        escalation_policy_id=uid("escalation_policies", n),
        escalation_policy_name=f"escalation_policies {n}",
        escalation_policy_path_id=uid("escalation_policies_paths", f"{uid('escalation_policies', n)}/0"),
        escalation_policy_path_name="default",
        notification_type="audible",
        is_default_path=True,
        escalation_level=1,
        schedule_id=uid("schedules", 0),
        schedule_name="schedules 0",
        user_id=344 + n,
        starts_at=at(NEWEST),
        ends_at=at(NEWEST + timedelta(hours=12)),
    )


DETAILS: dict[str, Callable[[int], dict[str, Any]]] = {
    # named like the record's own field
    "services": lambda n: {"type": "internal" if n % 2 else "external"},
    "post_mortems": lambda n: {
        "title": f"Retrospective {n}",
        "started_at": at(NEWEST),
        "mitigated_at": None,
        "resolved_at": None,
    },
    "status_pages": lambda _: {"authentication_method": "password", "authentication_password": SECRET},
    "environments": lambda n: {
        "slug": f"environment-{n}",
        "color": "#FCF2CF",
        "external_id": None,
        "managed_by": "web",
        "notify_emails": [],
        "slack_channels": [],
        "slack_aliases": [],
        "properties": [],
    },
    "functionalities": lambda n: {
        "slug": f"functionality-{n}",
        "public_description": None,
        "opsgenie_team_id": None,
        "environment_ids": [uid("environments", n)],
        "service_ids": [uid("services", n)],
        "owner_group_ids": [uid("teams", n)],
        "owner_user_ids": [344 + n],
        "escalation_policy_id": uid("escalation_policies", n),
    },
    "causes": lambda n: {"slug": f"cause-{n}", "properties": []},
    "schedules": lambda n: {
        "all_time_coverage": True,
        "slack_user_group": None,
        "slack_channel": {"id": f"C{n}", "name": "on-call"},
        "owner_group_ids": [uid("teams", n)],
        "owner_user_id": 344 + n,
        "sync_linear_enabled": False,
        "include_shadows_in_slack_notifications": False,
        "shift_start_notifications_enabled": True,
        "shift_update_notifications_enabled": False,
        "shift_report_enabled": True,
        "shift_report_day_of_week": "monday",
        "shift_report_time_of_day": "09:00",
        "shift_report_time_zone": "Etc/UTC",
    },
    "escalation_policies": lambda n: {
        "repeat_count": 1,
        "created_by_user_id": 344,
        "last_updated_by_user_id": 345,
        "group_ids": [uid("teams", n)],
        "service_ids": [uid("services", n)],
        "business_hours": {"time_zone": "Etc/UTC", "days": ["M", "T"], "start_time": "09:00", "end_time": "17:00"},
    },
}
"""What the records of a list have beside a name and a position."""
UNPLACED = {"schedules", "escalation_policies"}
"""Lists whose records have no ``position``."""


def listed(name: str, n: int) -> dict[str, Any]:
    """A record of a list without a parent."""
    if name in ("alerts", "alert_events"):
        return alert(n) if name == "alerts" else alert_event(n)
    more: dict[str, Any] = {"name": f"{name} {n}"} if name in UNPLACED else {"name": f"{name} {n}", "position": n}
    more |= DETAILS[name](n) if name in DETAILS else {}
    made = record(name, n, **more)
    if name == "users":
        emails = [{"id": uid("email_addresses", n), "type": "user_email_addresses"}]
        made["relationships"] = {"email_addresses": {"data": emails}}
    return made


def child(name: str, parent: str, n: int) -> dict[str, Any]:
    """A record of a child, which names its parent unless it is ``SILENT``."""
    more: dict[str, Any] = {"name": f"{name} {n}", "position": n}
    if name == "incidents_form_field_selections":
        more = selection(n)
    if name == "escalation_policies_levels":
        more = level(parent, n)
    if name == "escalation_policies_paths":
        more |= path_of_policy(n)
    if name == "workflows_tasks":
        more["task_params"] = {"task_type": "http_client", "url": "https://example.com", "headers": SECRET}
    if name not in SILENT:
        # the id of a user is a number here
        more[CHILDREN[name][1]] = int(parent) if name == "users_notification_rules" else parent
    if name == "incidents_events":
        more |= {"event": f"event {n}", "occurred_at": at(NEWEST - timedelta(hours=n))}
    if name == "incidents_action_items":
        more |= {"summary": f"item {n}", "status": "open", "due_date": None}
    if name == "incidents_sub_statuses":
        more |= {"sub_status_id": uid("sub_statuses", n % 5), "assigned_at": at(NEWEST - timedelta(days=n))}
    return record(name, f"{parent}/{n}", **more)


def selection(n: int) -> dict[str, Any]:
    """What was entered in a form field."""
    kinds = ("catalog_entity", "group", "option", "service", "functionality", "environment", "cause", "incident_type")
    return {
        "form_field_id": uid("form_fields", n),
        "value": f"text {n}",
        "selected_user_ids": [344],
        **{f"selected_{kind}_ids": [uid(kind, n)] for kind in kinds},
    }


def level(policy: str, n: int) -> dict[str, Any]:
    """A level of an escalation policy."""
    return {
        "escalation_policy_path_id": uid("escalation_policies_paths", f"{policy}/0") if n else None,
        "paging_strategy_configuration_strategy": "default",
        "paging_strategy_configuration_schedule_strategy": "on_call_only",
        "delay": 5 * n,
        "position": n + 1,
        "notification_target_params": [{"id": uid("schedules", n % 3), "type": "schedule", "team_members": None}],
    }


def path_of_policy(n: int) -> dict[str, Any]:
    """A path of an escalation policy."""
    return {
        "default": n == 0,
        "notification_type": "audible",
        "path_type": "escalation",
        "after_deferral_behavior": None,
        "after_deferral_path_id": None,
        "match_mode": "match-all-rules",
        "repeat": None,
        "repeat_count": None,
        "initial_delay": 0,
        "rules": [{"rule_type": "working_hour", "within_working_hour": n == 0}],
        "time_restriction_time_zone": None,
        "time_restrictions": [],
    }


def add_children(vendor: Vendor, name: str, parent: str, count: int) -> None:
    """Gives a parent its first ``count`` records of a child."""
    vendor.rows(name, parent).extend(numbered(count, lambda n: child(name, parent, n)))


def fill(vendor: Vendor) -> None:
    """The first records. Incidents are held in no order."""
    for name, count in COUNTS.items():
        vendor.rows(name).extend(numbered(count, partial(listed, name)))
    vendor.rows("incidents").extend(incident(n * 55 % INCIDENTS) for n in range(INCIDENTS))
    addresses = {"integrations_ipv4": ["192.0.2.1", "192.0.2.2"], "webhooks_ipv6": ["2001:db8::1"]}
    vendor.rows("ip_ranges").append({"id": uid("ip_ranges", 0), "type": "ip_ranges", "attributes": addresses})
    for n in range(COUNTS["dashboards"]):
        add_children(vendor, "dashboards_panels", uid("dashboards", n), (5, 2, 0, 1, 3)[n])
    for n in range(COUNTS["users"]):
        add_children(vendor, "users_notification_rules", uid("users", n), n % 4)
    for n in range(INCIDENTS):
        add_incident_children(vendor, n)
    for n in range(COUNTS["incident_permission_sets"]):
        add_children(vendor, "incident_permission_sets_resources", uid("incident_permission_sets", n), n + 1)
        add_children(vendor, "incident_permission_sets_booleans", uid("incident_permission_sets", n), 4 - n)
    for n in range(COUNTS["workflows"]):
        add_children(vendor, "workflows_tasks", uid("workflows", n), n)
    for n in range(COUNTS["escalation_policies"]):
        add_children(vendor, "escalation_policies_levels", uid("escalation_policies", n), n)
        add_children(vendor, "escalation_policies_paths", uid("escalation_policies", n), 4 - n)
    vendor.rows("oncalls").extend(numbered(3, oncall))
    vendor.rows("shifts").extend(numbered(DAYS + 1, shift))


def add_incident_children(vendor: Vendor, n: int) -> None:
    """What there is under an incident: one has more than one page of events, one of action items."""
    add_children(vendor, "incidents_events", uid("incidents", n), 120 if n == 0 else n % 3)
    add_children(vendor, "incidents_action_items", uid("incidents", n), 51 if n == 1 else n % 2)
    add_children(vendor, "incidents_sub_statuses", uid("incidents", n), n % 4)
    add_children(vendor, "incidents_form_field_selections", uid("incidents", n), (n + 1) % 4)


def advance(vendor: Vendor) -> None:
    """Time goes on. No incident goes, as a filtered list does not tell that."""
    later = NEWEST + timedelta(minutes=10)
    edit(vendor, "incidents", 5, title="another title", updated_at=at(later))
    vendor.rows("incidents").insert(0, incident(INCIDENTS, updated=later))
    add_incident_children(vendor, INCIDENTS)

    # children of incidents that are as they were
    old = uid("incidents", 40)
    vendor.rows("incidents_events", old).append(child("incidents_events", old, 7))
    del vendor.rows("incidents_events", uid("incidents", 0))[70]
    vendor.rows("incidents_action_items", uid("incidents", 1))[50]["attributes"]["status"] = "done"
    del vendor.rows("incidents_action_items", uid("incidents", 3))[0]
    add_children(vendor, "incidents_sub_statuses", uid("incidents", 4), 3)

    # an incident that is not over, and one that has changed
    found(vendor, "incidents_form_field_selections", f"{old}/0", old)["attributes"]["value"] = "another text"
    changed = uid("incidents", 5)
    del vendor.rows("incidents_form_field_selections", changed)[1]

    advance_on_call(vendor, later)

    edit(vendor, "users", 1, name="another name", updated_at=at(later))
    remove(vendor, "users", 2)
    vendor.rows("users").append(listed("users", 9))
    add_children(vendor, "users_notification_rules", uid("users", 9), 3)

    remove(vendor, "dashboards", 0)
    vendor.rows("dashboards").append(listed("dashboards", 5))
    add_children(vendor, "dashboards_panels", uid("dashboards", 5), 2)
    vendor.rows("dashboards_panels", uid("dashboards", 4))[2]["attributes"]["name"] = "another name"

    # as it is told by content alone
    edit(vendor, "workflow_groups", 2, name="another name")
    vendor.rows("ip_ranges")[0]["attributes"]["integrations_ipv4"].append("192.0.2.3")
    vendor.rows("retrospective_configurations").append(listed("retrospective_configurations", 4))
    remove(vendor, "services", 3)
    remove(vendor, "roles", 1)
    vendor.rows("incident_permission_sets").append(listed("incident_permission_sets", 3))
    for kind in ("resources", "booleans"):
        add_children(vendor, f"incident_permission_sets_{kind}", uid("incident_permission_sets", 3), 2)
    edit(vendor, "workflows_tasks", f"{uid('workflows', 3)}/2", uid("workflows", 3), name="another name")


def advance_on_call(vendor: Vendor, later: datetime) -> None:
    """Alerts come, people take over. No alert goes, as a filtered list does not tell that."""
    edit(vendor, "alerts", 7, status="resolved", ended_at=at(later), updated_at=at(later))
    vendor.rows("alerts").append(alert(COUNTS["alerts"], updated=later))
    vendor.rows("alert_events").append(alert_event(COUNTS["alert_events"], created=later))
    edit(vendor, "schedules", 1, shift_report_enabled=False, updated_at=at(later))
    edit(vendor, "shifts", 3, user_id=350)
    del vendor.rows("shifts")[5]
    edit(vendor, "oncalls", 0, user_id=350)
    vendor.rows("functionalities").append(listed("functionalities", 3))
    remove(vendor, "causes", 0)
    edit(vendor, "environments", 1, color="#000000")

    # levels and paths of a policy that is as it was are not requested
    policy = uid("escalation_policies", 3)
    edit(vendor, "escalation_policies", 3, repeat_count=2, updated_at=at(later))
    edit(vendor, "escalation_policies_levels", f"{policy}/1", policy, delay=60)
    del vendor.rows("escalation_policies_levels", policy)[2]
    add_children(vendor, "escalation_policies_paths", uid("escalation_policies", 5), 1)
    vendor.rows("escalation_policies").append(listed("escalation_policies", 5))


def found(vendor: Vendor, name: str, n: int | str, *parent: str) -> dict[str, Any]:
    """The record with a number."""
    return next(row for row in vendor.rows(name, *parent) if row["id"] == uid(name, n))


def edit(vendor: Vendor, name: str, n: int | str, /, *parent: str, **attributes: Any) -> None:
    """Changes attributes of a record; its ``updated_at`` moves only if it is among them."""
    found(vendor, name, n, *parent)["attributes"].update(attributes)


def remove(vendor: Vendor, name: str, n: int) -> None:
    """Takes a record away, and what is under it."""
    vendor.rows(name).remove(found(vendor, name, n))
    for each in (each for each, (parent, _) in CHILDREN.items() if parent == name):
        vendor.store[each].pop((uid(name, n),), None)


def flat(name: str, row: dict[str, Any]) -> Rows:
    """What the table holds of a record, apart from secrets within its fields."""
    made = {name: value for name, value in row.items() if name != "attributes"}
    attributes = {name: value for name, value in row["attributes"].items() if name not in HIDDEN}
    made |= {f"attribute_{name}" if name in made else name: value for name, value in attributes.items()}
    if name == "users_notification_rules":
        made["user_id"] = str(made["user_id"])
    return [made]
