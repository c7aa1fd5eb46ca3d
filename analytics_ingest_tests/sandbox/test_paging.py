"""The sandbox's pages: their sizes, totals, cursors and order, and the options that falsify them."""

import base64
from datetime import datetime

import pytest

from analytics_ingest.sandbox.options import Options

GATES = ("experimentation", "/v1/gates")
LOGS = ("experimentation", "/v1/audit_logs")
INCIDENTS = ("incident_response", "/incidents")
EPICS = ("project_planning", "/v1/search/epics")
CONTEXTS = ("continuous_integration", "/v2/context")
USERS = ("feature_management", "/v2/users")
GROUPS = ("feature_management", "/v2/groups")
STATUSES = ("feature_management", "/v2/rolloutStatuses")


def rows(server, api, endpoint):
    return server.world.collection(api, endpoint)


def test_pages_of_experimentation(shared_sandbox, reader):
    logs = rows(shared_sandbox, "experimentation", "audit_logs")
    body = reader.get(*LOGS, page=2, limit=100).json()
    assert body["data"] == logs[100:]
    assert body["pagination"] == {"itemsPerPage": 100, "pageNumber": 2, "totalItems": len(logs)}
    assert reader.get(*LOGS).json()["data"] == logs[:10]
    assert reader.get(*LOGS, page=3, limit=100).json()["data"] == []


def test_pages_of_incident_response(shared_sandbox, reader):
    incidents = rows(shared_sandbox, "incident_response", "incidents")
    first = reader.get(*INCIDENTS, **{"page[number]": 1, "page[size]": 50}).json()
    assert first["data"] == incidents[:50]
    assert first["meta"] == {
        "current_page": 1,
        "next_page": 2,
        "total_count": len(incidents),
        "total_pages": 3,
    }
    last = reader.get(*INCIDENTS, **{"page[number]": 3, "page[size]": 50}).json()
    assert (last["data"], last["meta"]["next_page"]) == (incidents[100:], None)


def test_pages_of_feature_management(shared_sandbox, reader):
    users = rows(shared_sandbox, "feature_management", "users")
    body = reader.get(*USERS, offset=5, limit=4).json()
    assert body == {"data": users[5:9], "offset": 5, "limit": 4, "totalCount": len(users)}
    assert reader.get(*USERS, offset=500, limit=4).json()["data"] == []
    groups = reader.get(*GROUPS, offset=0, limit=50).json()
    assert (len(groups["objects"]), groups["totalCount"]) == (50, 50)


def test_bare_arrays_are_paged_too(shared_sandbox, reader):
    statuses = rows(shared_sandbox, "feature_management", "rollout_statuses")
    assert reader.get(*STATUSES, offset=2, limit=3).json() == statuses[2:5]
    assert reader.get(*STATUSES, offset=8, limit=3).json() == []


def test_cursors_of_continuous_integration(shared_sandbox, reader):
    contexts = rows(shared_sandbox, "continuous_integration", "context")
    first = reader.get(*CONTEXTS).json()
    assert first["items"] == contexts[:20]
    last = reader.get(*CONTEXTS, **{"page-token": first["next_page_token"]}).json()
    assert last == {"items": contexts[20:], "next_page_token": None}


def test_cursors_of_the_search(shared_sandbox, reader):
    epics = rows(shared_sandbox, "project_planning", "epics")
    first = reader.get(*EPICS).json()
    assert (first["data"], first["total"]) == (epics[:1], len(epics))
    second = reader.get(*EPICS, next=first["response"]["next"], limit=2).json()
    assert second["data"] == epics[1:3]
    assert reader.get(*EPICS, limit=250).json() == {
        "data": epics,
        "total": len(epics),
        "response": {"next": None},
    }


@pytest.mark.parametrize(
    ("of", "params"),
    [
        (GATES, {"page": 0}),
        (GATES, {"page": -1}),
        (GATES, {"page": "one"}),
        (GATES, {"page": ""}),
        (GATES, {"limit": 0}),
        (GATES, {"limit": 1001}),
        (GATES, {"limit": "1.5"}),
        (GATES, {"limit": "9" * 5000}),
        (INCIDENTS, {"page[number]": 0}),
        (INCIDENTS, {"page[size]": 201}),
        (USERS, {"offset": -1}),
        (USERS, {"offset": "x"}),
        (USERS, {"limit": 201}),
        (STATUSES, {"limit": 0}),
        (EPICS, {"limit": 0}),
        (EPICS, {"limit": 251}),
        (EPICS, {"next": "unknown"}),
        (EPICS, {"next": "ü"}),
        (CONTEXTS, {"page-token": "unknown"}),
        (CONTEXTS, {"page-token": base64.urlsafe_b64encode(b"20|/elsewhere").decode()}),
        (("continuous_integration", "/v1.1/projects"), {"page-token": "unknown"}),
    ],
)
def test_bad_paging_is_refused(reader, of, params):
    answer = reader.get(*of, **params)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"


def test_a_cursor_is_bound_to_its_endpoint(reader):
    token = reader.get(*CONTEXTS).json()["next_page_token"]
    assert reader.get("continuous_integration", "/v2/pipeline", **{"page-token": token}).status_code == 400


def test_single_pages_take_no_notice_of_paging(shared_sandbox, reader):
    answer = reader.get("project_planning", "/v1/epics", page=7, limit=1, offset=3)
    assert answer.json() == {"data": rows(shared_sandbox, "project_planning", "epics")}


def test_a_page_cap_is_stated(shared_sandbox, reader):
    shared_sandbox.options.page_cap = 7
    body = reader.get(*LOGS, page=2, limit=100).json()
    assert body["pagination"]["itemsPerPage"] == 7
    assert body["data"] == rows(shared_sandbox, "experimentation", "audit_logs")[7:14]
    body = reader.get(*GROUPS, offset=3, limit=50).json()
    assert (body["limit"], len(body["objects"])) == (7, 7)
    assert len(reader.get(*CONTEXTS).json()["items"]) == 7


@pytest.mark.parametrize(
    ("totals", "stated"), [("right", 50), ("null", None), ("low", 25), ("high", 60), ("absent", "absent")]
)
def test_totals_as_the_options_say(shared_sandbox, reader, totals, stated):
    shared_sandbox.options.totals = totals
    assert reader.get(*GROUPS, limit=50).json().get("totalCount", "absent") == stated


@pytest.mark.parametrize(("totals", "number", "pages"), [("low", 2, 1), ("high", 14, 2), ("null", None, None)])
def test_totals_of_the_other_envelopes(shared_sandbox, reader, totals, number, pages):
    shared_sandbox.options.totals = totals
    dashboards = reader.get(*INCIDENTS[:1], "/dashboards").json()["meta"]
    assert len(rows(shared_sandbox, "incident_response", "dashboards")) == 5
    assert dashboards["total_count"] == (None if number is None else {"low": 2, "high": 15}[totals])
    assert dashboards["total_pages"] == pages
    assert len(rows(shared_sandbox, "project_planning", "epics")) == 4
    assert reader.get(*EPICS).json()["total"] == number


def test_absent_totals_are_left_out_everywhere(shared_sandbox, reader):
    shared_sandbox.options.totals = "absent"
    assert set(reader.get(*GATES).json()["pagination"]) == {"itemsPerPage", "pageNumber"}
    assert set(reader.get(*INCIDENTS).json()["meta"]) == {"current_page", "next_page"}
    assert set(reader.get(*EPICS).json()) == {"data", "response"}


def test_an_ignored_offset_gives_the_first_page_again(shared_sandbox, reader):
    shared_sandbox.options.ignore_offset = True
    assert reader.get(*STATUSES, offset=6, limit=3).json() == reader.get(*STATUSES, limit=3).json()
    body = reader.get(*GROUPS, offset=40, limit=20).json()
    assert (body["offset"], body["objects"]) == (40, rows(shared_sandbox, "feature_management", "groups")[:20])
    logs = rows(shared_sandbox, "experimentation", "audit_logs")
    assert reader.get(*LOGS, page=5, limit=20).json()["data"] == logs[:20]


@pytest.mark.parametrize(
    ("of", "param", "cursor"),
    [
        (CONTEXTS, "page-token", lambda body: body["next_page_token"]),
        (EPICS, "next", lambda body: body["response"]["next"]),
    ],
)
def test_a_repeated_cursor_never_ends(shared_sandbox, reader, of, param, cursor):
    shared_sandbox.options.repeat_cursor = True
    first = reader.get(*of).json()
    second = reader.get(*of, **{param: cursor(first)}).json()
    assert second == first
    assert cursor(first)


def test_a_shuffled_order_holds_over_the_pages_of_one_read(shared_sandbox, reader):
    shared_sandbox.options.order = "shuffled"
    orders = [
        [row["id"] for page in (1, 2) for row in reader.get(*LOGS, page=page, limit=100).json()["data"]]
        for _ in range(2)
    ]
    stored = [row["id"] for row in rows(shared_sandbox, "experimentation", "audit_logs")]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(stored)
    assert orders[0] != orders[1] != stored


def test_a_restless_order_is_another_one_at_each_request(shared_sandbox, reader):
    shared_sandbox.options.order = "restless"
    pages = [[row["id"] for row in reader.get(*LOGS, page=2, limit=100).json()["data"]] for _ in range(2)]
    assert sorted(pages[0]) != sorted(pages[1])


def test_newest_first(shared_sandbox, reader):
    shared_sandbox.options.order = "updated_desc"
    times = [row["updated_at"] for row in reader.get("experimentation", "/v1/autotunes").json()["data"]]
    assert times[-1] is None
    groups = reader.get(*GROUPS, limit=50).json()["objects"]
    times = [datetime.fromisoformat(row["updated_at"]) for row in groups]
    assert times == sorted(times, reverse=True)


def test_options_start_healthy(shared_sandbox):
    assert shared_sandbox.options.simple() == Options().simple()
