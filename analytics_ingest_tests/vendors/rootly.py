"""Rootly's API as a local server: JSON:API, numbered pages, one list that filters, a limit that resets at a time."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

from analytics_ingest_tests.fake_server import Asked, Response
from analytics_ingest_tests.vendors.rootly_rows import CHILDREN, COUNTS, advance, fill, flat, recent_days
from analytics_ingest_tests.vendors.server import Route, Rows, Vendor, cut

PAGES = frozenset({"page[number]", "page[size]"})
SINCE = "filter[updated_at][gte]"
CREATED_SINCE = "filter[created_at][gte]"
SORTS = frozenset({"created_at", "-created_at", "updated_at", "-updated_at"})
SORTABLE = {
    *("authorizations", "users", "incident_types", "teams", "incident_roles", "post_mortems", "status_pages"),
    *("severities", "services", "incident_permission_sets", "roles", "workflows", "environments", "functionalities"),
}
"""Lists that have the parameter ``sort``, beside incidents, the feed of alert events and some children."""
SORTED_PAGES = PAGES | {"sort"}
CURSORS = {"incidents", "alerts", "alert_events"}
"""Lists that give a cursor; the feed of alert events has no numbered pages."""
LONGEST = timedelta(days=61)
"""The longest stretch of time whose shifts can be requested: two months."""
MEDIA_TYPE = "application/vnd.api+json"
TITLES = {400: "Bad request", 401: "Unauthorized", 404: "Not found", 422: "Datetime range exceeds 2 months"}


class Rootly(Vendor):
    """An account with 104 incidents and 120 alerts, which can be filtered by time; an unknown parent answers 404.

    A list that is not asked to be sorted comes with the newest first if it can be sorted, or if it is that of alerts.
    """

    profile = "rootly"
    prefix = "/v1"
    ROUTES = (
        Route("incidents", r"/incidents", SORTED_PAGES | {"page[after]", SINCE}),
        Route("alerts", r"/alerts", PAGES | {"page[after]", SINCE, CREATED_SINCE}),
        Route("alert_events", r"/alert_events", frozenset({"page[size]", "page[after]", "sort", CREATED_SINCE})),
        Route("ip_ranges", r"/ip_ranges"),
        # without a range, which shifts come is not documented
        Route("shifts", r"/shifts", PAGES, frozenset({"from", "to"})),
        Route("oncalls", r"/oncalls"),
        *(
            Route(
                name,
                "/status-pages" if name == "status_pages" else f"/{name}",
                SORTED_PAGES if name in SORTABLE else PAGES,
            )
            for name in COUNTS
            if name not in CURSORS
        ),
        Route("dashboards_panels", r"/dashboards/([^/]+)/panels", PAGES),
        Route("users_notification_rules", r"/users/([^/]+)/notification_rules", SORTED_PAGES),
        Route("incidents_events", r"/incidents/([^/]+)/events", PAGES),
        Route("incidents_action_items", r"/incidents/([^/]+)/action_items", PAGES),
        Route("incidents_sub_statuses", r"/incidents/([^/]+)/sub_statuses", SORTED_PAGES),
        Route("incidents_form_field_selections", r"/incidents/([^/]+)/form_field_selections", PAGES),
        Route("escalation_policies_levels", r"/escalation_policies/([^/]+)/escalation_levels", PAGES),
        Route("escalation_policies_paths", r"/escalation_policies/([^/]+)/escalation_paths", PAGES),
        Route("incident_permission_sets_resources", r"/incident_permission_sets/([^/]+)/resources", SORTED_PAGES),
        Route("incident_permission_sets_booleans", r"/incident_permission_sets/([^/]+)/booleans", SORTED_PAGES),
        Route("workflows_tasks", r"/workflows/([^/]+)/workflow_tasks", PAGES),
    )
    PARAMS: ClassVar[dict[str, tuple[str, ...]]] = {name: (column,) for name, (_, column) in CHILDREN.items()}
    UNPAGED = frozenset({"ip_ranges", "oncalls"})
    LIMITS: ClassVar[dict[str, int]] = {
        name: 2
        for name in (*COUNTS, *CHILDREN)
        if COUNTS.get(name, 0) < 50 and name not in ("incidents_events", "incidents_action_items")
    } | {"shifts": 1}

    def queries(self, path: str) -> list[dict[str, str]]:
        """The parameters of each request for a path so far."""
        return [asked.query for asked in self.asked if asked.path == self.prefix + path]

    def pages(self, path: str) -> list[str]:
        """The numbers of the pages that were asked for."""
        return [query["page[number]"] for query in self.queries(path)]

    def fill(self) -> None:
        fill(self)

    def advance(self) -> None:
        advance(self)

    def expected(self, endpoint: str) -> Rows:
        if endpoint != "shifts":
            return super().expected(endpoint)
        days = [(day, datetime.fromisoformat(f"{day}T00:00:00Z")) for day in recent_days()]
        return [
            {"date": day.isoformat()} | each
            for day, start in days
            for row in overlapping(copy.deepcopy(self.rows("shifts")), start, start + timedelta(days=1, seconds=-1))
            for each in self.sent("shifts", row)
        ]

    def sent(self, endpoint: str, row: dict[str, Any]) -> Rows:
        return flat(endpoint, row)

    def authorised(self, asked: Asked) -> bool:
        return asked.headers.get("Authorization") == f"Bearer {self.KEY}"

    def error(self, status: int) -> Response:
        if status == 429:
            return Response(status=429, body={"error": "Rate limit exceeded. Try again later."})
        body = {"errors": [{"title": TITLES[status], "status": str(status)}]}
        return Response(status=status, body=body, content_type=MEDIA_TYPE)

    def headers(self) -> dict[str, str]:
        """``Reset`` is a time, in UTC epoch seconds."""
        if not self.limit:
            return {}
        return {
            "X-RateLimit-Limit": str(self.limit.requests),
            "X-RateLimit-Remaining": str(self.limit.left),
            "X-RateLimit-Used": str(self.limit.requests - self.limit.left),
            "X-RateLimit-Reset": str(round(self.limit.now() + self.limit.resets_in)),
        }

    def answer(self, route: Route, parts: tuple[str, ...], asked: Asked) -> Response:
        return replace(self.envelope(route.endpoint, parts, asked), content_type=f"{MEDIA_TYPE}; charset=utf-8")

    def envelope(self, name: str, parts: tuple[str, ...], asked: Asked) -> Response:
        if name in CHILDREN and parts[0] not in {row["id"] for row in self.rows(CHILDREN[name][0])}:
            return self.error(404)
        rows = self.rows(name, *parts)
        if name in self.UNPAGED:
            return Response(body={"data": rows[0] if name == "ip_ranges" else rows})
        query = asked.query
        number, size = int(query.get("page[number]", 1)), int(query.get("page[size]", 20))
        largest = {"alert_events": 50, "shifts": 1000}.get(name, size)
        try:
            if number < 1 or not 1 <= size <= largest or {"page[number]", "page[after]"} <= query.keys():
                raise ValueError(f"page {number} of {size}, {query.get('page[after]')}")  # noqa: TRY301
            rows = selected(name, rows, query)
            start = (number - 1) * size
            if after := query.get("page[after]"):
                start = place_after(after, rows, query)
        except RangeError:
            return self.error(422)
        except ValueError as error:
            self.complaints.append(f"{asked.path}: {error}")
            return self.error(400)
        page = cut(rows, start=start, limit=size)
        if name == "retrospective_configurations":
            return Response(body={"data": page})
        return Response(
            body={"data": page, "included": [], **self.frame(name, rows, start=start, size=size, asked=asked)}
        )

    def frame(self, name: str, rows: Rows, *, start: int, size: int, asked: Asked) -> dict[str, Any]:
        """What stands around a page: ``links`` and ``meta``."""
        number, last = start // size + 1, max(1, -(-len(rows) // size))
        following = number + 1 if start + size < len(rows) else None
        is_numbered = "page[after]" not in asked.query and name != "alert_events"
        cursor = f"{asked.query.get('sort')}/{rows[start + size - 1]['id']}" if following and name in CURSORS else None
        meta = {
            "current_page": number if is_numbered else None,
            "next_page": following if is_numbered else None,
            "prev_page": number - 1 if is_numbered and number > 1 else None,
            "total_count": len(rows) if name != "alert_events" else None,
            "total_pages": last if name != "alert_events" else None,
            "next_cursor": cursor,
        }
        # as the vendor is called from outside: a link that is followed leads away from here
        here = f"https://api.rootly.com{asked.path}?page%5Bsize%5D={size}&page%5Bnumber%5D="
        links = {
            "self": f"{here}{number}",
            "first": f"{here}1",
            "prev": f"{here}{number - 1}" if number > 1 else None,
            "next": f"{here}{following}" if following else None,
            "last": f"{here}{last}",
        }
        return {"meta": meta} if name == "shifts" else {"links": links, "meta": meta}


class RangeError(ValueError):
    """The stretch of time is too long."""


def selected(name: str, rows: Rows, query: dict[str, str]) -> Rows:
    """The rows that are asked for, in the order that is asked for; without one the newest come first.

    Raises:
        RangeError: The stretch of time is too long.
        ValueError: The order is none that there is, or a time is none, or has no offset.
    """
    for param, field in ((SINCE, "updated_at"), (CREATED_SINCE, "created_at")):
        if since := query.get(param):
            moment = zoned(since)
            rows = [row for row in rows if time_of(row, field) >= moment]
    if name == "shifts":
        start, end = zoned(query["from"]), zoned(query["to"])
        if end - start > LONGEST:
            raise RangeError
        return overlapping(rows, start, end)
    newest_first = name in SORTABLE | CURSORS - {"alert_events"}
    sort = query.get("sort", "-created_at" if newest_first else "created_at")
    if sort not in (("created_at", "-created_at") if name == "alert_events" else SORTS):
        raise ValueError(f"sort {sort!r}")
    if "sort" not in query and not newest_first and name != "alert_events":
        return rows
    field = sort.removeprefix("-")
    if any(field not in row["attributes"] for row in rows):
        return rows
    return sorted(rows, key=lambda row: time_of(row, field), reverse=sort.startswith("-"))


def place_after(cursor: str, rows: Rows, query: dict[str, str]) -> int:
    """Where the page after a cursor starts.

    Raises:
        ValueError: The cursor is none, or one of another order.
    """
    sort, _, last = cursor.partition("/")
    if sort != str(query.get("sort")):
        raise ValueError(f"a cursor of the order {sort}")
    return [row["id"] for row in rows].index(last) + 1


def overlapping(shifts: Rows, start: datetime, end: datetime) -> Rows:
    """The shifts that extend over a stretch of time."""
    return [row for row in shifts if time_of(row, "starts_at") <= end and time_of(row, "ends_at") >= start]


def zoned(text: str) -> datetime:
    """The moment in a parameter.

    Raises:
        ValueError: It has no offset.
    """
    moment = datetime.fromisoformat(text)
    if not moment.tzinfo:
        raise ValueError(f"no offset in {text!r}")
    return moment


def time_of(row: dict[str, Any], field: str) -> datetime:
    return datetime.fromisoformat(row["attributes"][field])
