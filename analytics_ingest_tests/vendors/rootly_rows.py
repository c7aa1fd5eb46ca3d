"""What Rootly's server holds: records with ``attributes``, whose times have the offset of a zone with daylight saving.

Incident ``n`` was last updated six minutes before incident ``n + 1``, and the newest just after clocks were set back:
the latest moment is not the greatest text.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo

from analytics_ingest_tests.vendors.server import Rows, Vendor, numbered

ZONE = ZoneInfo("America/Los_Angeles")
NEWEST = datetime(2025, 11, 2, 9, 5, tzinfo=UTC)
"""When the newest incident was last updated: five minutes after clocks were set back."""
INCIDENTS = 104
TYPES = {"teams": "groups", "post_mortems": "incident_post_mortems", "dashboards_panels": "dashboard_panels"}
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
}
"""Records of the lists that have no parent, without incidents. 100 services are two full pages."""
UNTIMED = {"workflow_groups", "dashboards_panels", "incidents_sub_statuses"}
CHILDREN = {
    "dashboards_panels": ("dashboards", "dashboard_id"),
    "users_notification_rules": ("users", "user_id"),
    "incidents_events": ("incidents", "incident_id"),
    "incidents_action_items": ("incidents", "incident_id"),
    "incidents_sub_statuses": ("incidents", "incident_id"),
    "incident_permission_sets_resources": ("incident_permission_sets", "incident_permission_set_id"),
    "incident_permission_sets_booleans": ("incident_permission_sets", "incident_permission_set_id"),
    "workflows_tasks": ("workflows", "workflow_id"),
}
"""By child its parent, and the column with the parent's id."""
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
    return {"id": uid(name, n), "type": TYPES.get(name, name), "attributes": attributes}


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
        started_at=at(updated - timedelta(hours=2)),
        mitigated_at=at(updated - timedelta(hours=1)) if n % 2 else None,
        resolved_at=at(updated - timedelta(minutes=1)) if n % 2 else None,
        cancelled_at=None,
        created_at=at(updated - timedelta(hours=3)),
        updated_at=at(updated),
    )
    roles = [{"id": uid("incident_roles", 0), "type": "incident_roles"}]
    return made | {"relationships": {"roles": {"data": roles}}}


def listed(name: str, n: int) -> dict[str, Any]:
    """A record of a list without a parent."""
    more: dict[str, Any] = {"name": f"{name} {n}", "position": n}
    if name == "services":
        # named like the record's own field
        more["type"] = "internal" if n % 2 else "external"
    if name == "post_mortems":
        more |= {"title": f"Retrospective {n}", "started_at": at(NEWEST), "mitigated_at": None, "resolved_at": None}
    made = record(name, n, **more)
    if name == "users":
        emails = [{"id": uid("email_addresses", n), "type": "user_email_addresses"}]
        made["relationships"] = {"email_addresses": {"data": emails}}
    return made


def child(name: str, parent: str, n: int) -> dict[str, Any]:
    """A record of a child, which names its parent unless it is ``SILENT``."""
    more: dict[str, Any] = {"name": f"{name} {n}", "position": n}
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


def add_incident_children(vendor: Vendor, n: int) -> None:
    """What there is under an incident: one has more than one page of events, one of action items."""
    add_children(vendor, "incidents_events", uid("incidents", n), 120 if n == 0 else n % 3)
    add_children(vendor, "incidents_action_items", uid("incidents", n), 51 if n == 1 else n % 2)
    add_children(vendor, "incidents_sub_statuses", uid("incidents", n), n % 4)


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
    """What the table holds of a record."""
    made = {name: value for name, value in row.items() if name != "attributes"}
    made |= {"attribute_type" if name == "type" else name: value for name, value in row["attributes"].items()}
    if name == "users_notification_rules":
        made["user_id"] = str(made["user_id"])
    return [made]
