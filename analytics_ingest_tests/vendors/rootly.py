"""Rootly's API as a local server: JSON:API, numbered pages, one list that filters, a limit that resets at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

from analytics_ingest_tests.fake_server import Asked, Response
from analytics_ingest_tests.vendors.rootly_rows import CHILDREN, COUNTS, advance, fill, flat
from analytics_ingest_tests.vendors.server import Route, Rows, Vendor, cut

PAGES = frozenset({"page[number]", "page[size]"})
SINCE = "filter[updated_at][gte]"
SORTS = frozenset({"created_at", "-created_at", "updated_at", "-updated_at"})
MEDIA_TYPE = "application/vnd.api+json"
TITLES = {400: "Bad request", 401: "Unauthorized", 404: "Not found"}


class Rootly(Vendor):
    """An account with 104 incidents. Incidents alone can be filtered by time; an unknown parent answers 404."""

    profile = "rootly"
    prefix = "/v1"
    ROUTES = (
        Route("incidents", r"/incidents", PAGES | {"sort", SINCE}),
        Route("ip_ranges", r"/ip_ranges"),
        *(Route(name, "/status-pages" if name == "status_pages" else f"/{name}", PAGES) for name in COUNTS),
        Route("dashboards_panels", r"/dashboards/([^/]+)/panels", PAGES),
        Route("users_notification_rules", r"/users/([^/]+)/notification_rules", PAGES),
        Route("incidents_events", r"/incidents/([^/]+)/events", PAGES),
        Route("incidents_action_items", r"/incidents/([^/]+)/action_items", PAGES),
        Route("incidents_sub_statuses", r"/incidents/([^/]+)/sub_statuses", PAGES),
        Route("incident_permission_sets_resources", r"/incident_permission_sets/([^/]+)/resources", PAGES),
        Route("incident_permission_sets_booleans", r"/incident_permission_sets/([^/]+)/booleans", PAGES),
        Route("workflows_tasks", r"/workflows/([^/]+)/workflow_tasks", PAGES),
    )
    PARAMS: ClassVar[dict[str, tuple[str, ...]]] = {name: (column,) for name, (_, column) in CHILDREN.items()}
    UNPAGED = frozenset({"ip_ranges"})
    LIMITS: ClassVar[dict[str, int]] = {
        name: 2
        for name in (*COUNTS, *CHILDREN)
        if COUNTS.get(name, 0) < 50 and name not in ("incidents_events", "incidents_action_items")
    }

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
        if name == "ip_ranges":
            return Response(body={"data": rows[0]})
        query = asked.query
        number, size = int(query.get("page[number]", 1)), int(query.get("page[size]", 20))
        try:
            rows = selected(rows, query) if name == "incidents" else rows
            if number < 1 or size < 1:
                raise ValueError("pages are numbered from 1")  # noqa: TRY301
        except ValueError as error:
            self.complaints.append(f"{asked.path}: {error}")
            return self.error(400)
        page = cut(rows, start=(number - 1) * size, limit=size)
        if name == "retrospective_configurations":
            return Response(body={"data": page})
        last = max(1, -(-len(rows) // size))
        following = number + 1 if number < last else None
        meta = {
            "current_page": number,
            "next_page": following,
            "prev_page": number - 1 if number > 1 else None,
            "total_count": len(rows),
            "total_pages": last,
            "next_cursor": f"after-{page[-1]['id']}" if following and name == "incidents" else None,
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
        return Response(body={"data": page, "included": [], "links": links, "meta": meta})


def selected(rows: Rows, query: dict[str, str]) -> Rows:
    """The incidents that are asked for, in the order that is asked for; without one the newest come first.

    Raises:
        ValueError: The order is none that there is, or the time is none, or has no offset.
    """
    sort = query.get("sort", "-created_at")
    if sort not in SORTS:
        raise ValueError(f"sort {sort!r}")
    if since := query.get(SINCE):
        moment = datetime.fromisoformat(since)
        if not moment.tzinfo:
            raise ValueError(f"no offset in {since!r}")
        rows = [row for row in rows if time_of(row, "updated_at") >= moment]
    return sorted(rows, key=lambda row: time_of(row, sort.removeprefix("-")), reverse=sort.startswith("-"))


def time_of(row: dict[str, Any], field: str) -> datetime:
    return datetime.fromisoformat(row["attributes"][field])
