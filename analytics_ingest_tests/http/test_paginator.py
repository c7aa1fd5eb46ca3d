"""Where paging ends: each page is requested once, no page is requested in vain, and an uncertain end is an error."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.sandbox.options import Options
from analytics_ingest_tests.conftest import expected_keys, live_keys, sync
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.fake_server import KEY, Response, script

EXPERIMENTATION = "experimentation"
INCIDENTS = "incident_response"
PLANNING = "project_planning"
BUILDS = "continuous_integration"
FEATURES = "feature_management"


def queries(server, api, endpoint):
    return [
        dict(parse_qsl(record.query)) for record in server.requests if (record.api, record.endpoint) == (api, endpoint)
    ]


def outcome(result):
    stats = result.stats
    return (result.status, stats.rows_read, stats.pages, stats.meter.requests)


@pytest.fixture
def asked_of(fake_server, clock, monkeypatch):
    """Reads endpoints from a server that replies as given; gives the results and the server."""

    def read(api, reply, *endpoints):
        server = fake_server(reply)
        configure_api(monkeypatch, api, base_url=server.url, api_key=KEY)
        return sync(api, *endpoints), server

    return read


PAGES_OF: dict[str, list[tuple[dict[str, Any], dict[str, tuple[int, int]]]]] = {
    EXPERIMENTATION: [
        (
            {"totals": "right"},
            {
                "audit_logs": (150, 2),  # ends at the total
                "autotunes": (2, 1),
                "tags": (100, 2),  # a full page may not be the last one, whatever the total
                "holdouts": (0, 1),
            },
        ),
        *(
            (
                {"totals": totals},
                {
                    "audit_logs": (150, 3),  # ends at an empty page
                    "autotunes": (2, 2),  # a short page alone is no end
                    "tags": (100, 2),
                    "holdouts": (0, 1),
                },
            )
            for totals in ("absent", "low")
        ),
        (
            {"page_cap": 30},
            {
                "audit_logs": (150, 6),  # five pages as full as the server makes them
                "autotunes": (2, 1),
                "tags": (100, 4),
            },
        ),
        ({"page_cap": 25, "totals": "low"}, {"audit_logs": (150, 7), "tags": (100, 5)}),
    ],
    INCIDENTS: [
        ({}, {"incidents": (120, 3), "dashboards": (5, 1)}),
        ({"page_cap": 20}, {"incidents": (120, 7), "dashboards": (5, 1)}),
    ],
    FEATURES: [
        (
            {},
            {
                "change_requests": (22, 1),
                "groups": (50, 2),
                "rollout_statuses": (8, 2),  # a bare array states no total
            },
        ),
        ({"page_cap": 4}, {"change_requests": (22, 6), "groups": (50, 13), "rollout_statuses": (8, 3)}),
    ],
    BUILDS: [({"page_cap": 7}, {"context": (22, 4), "pipelines": (4, 1), "self_ids": (1, 1), "projects": (2, 1)})],
    PLANNING: [({}, {"search_epics": (4, 4), "epics": (4, 1), "member": (1, 1)})],
}
"""By API what the server is asked to do, and then by endpoint the rows and the pages."""


@pytest.mark.parametrize("api", PAGES_OF)
def test_every_row_is_read_and_no_page_too_many(tmp_path, shared_sandbox, api):
    for options, expected in PAGES_OF[api]:
        shared_sandbox.options.update({**Options().simple(), **options})
        shared_sandbox.requests.reset()
        results = sync(api, *expected)
        found = {name: outcome(result) for name, result in results.items()}
        assert found == {name: ("complete", rows, pages, pages) for name, (rows, pages) in expected.items()}, options
        for name, (rows, pages) in expected.items():
            asked = queries(shared_sandbox, api, name)
            assert len(asked) == pages
            if api == EXPERIMENTATION:
                assert asked == [{"limit": "100", "page": str(1 + page)} for page in range(pages)]
            elif api == INCIDENTS:
                assert asked == [{"page[size]": "50", "page[number]": str(1 + page)} for page in range(pages)]
            elif api == FEATURES:
                step = options.get("page_cap", 50)
                offsets = [str(min(page * step, rows)) for page in range(pages)]
                assert asked == [{"limit": "50", "offset": offset} for offset in offsets]
            assert live_keys(tmp_path, api, name) == expected_keys(shared_sandbox.world, api, name)


def test_a_page_whose_elements_hold_no_rows_is_not_the_end(tmp_path, sandbox):
    lists = sandbox.world.collection(EXPERIMENTATION, "gates_rules")
    elements = max(lists.values(), key=len)
    assert len(elements) == 231
    for element in elements[:100]:
        element["rules"] = []
    result = sync(EXPERIMENTATION, "gates", "gates_rules")["gates_rules"]
    expected = expected_keys(sandbox.world, EXPERIMENTATION, "gates_rules")
    assert live_keys(tmp_path, EXPERIMENTATION, "gates_rules") == expected
    assert (result.status, result.stats.rows_read) == ("complete", len(expected))
    assert [query for query in queries(sandbox, EXPERIMENTATION, "gates_rules") if query["page"] == "3"]


@pytest.mark.parametrize(
    ("api", "endpoint", "rows"), [(EXPERIMENTATION, "users", 12), (FEATURES, "rollout_statuses", 8)]
)
def test_a_short_page_that_comes_again_is_the_end_and_counts_once(tmp_path, shared_sandbox, api, endpoint, rows):
    shared_sandbox.options.update({"ignore_offset": True, "totals": "absent"})
    result = sync(api, endpoint)[endpoint]
    assert outcome(result) == ("complete", rows, 2, 2)
    assert live_keys(tmp_path, api, endpoint) == expected_keys(shared_sandbox.world, api, endpoint)


def test_a_full_bare_array_that_comes_again_is_the_end_and_counts_once(sandbox):
    sandbox.options.ignore_offset = True
    rows = sandbox.world.collection(FEATURES, "rollout_statuses")
    rows[:] = [{**rows[0], "id": f"status-{number}"} for number in range(50)]
    result = sync(FEATURES, "rollout_statuses")["rollout_statuses"]
    assert outcome(result) == ("complete", 50, 2, 2)
    assert result.table_rows == 50


@pytest.mark.parametrize(
    ("api", "endpoint", "options", "rows"),
    [
        (EXPERIMENTATION, "audit_logs", {"ignore_offset": True}, 100),
        pytest.param(FEATURES, "groups", {"ignore_offset": True}, 50, marks=pytest.mark.extended),
        (BUILDS, "context", {"repeat_cursor": True}, 20),
    ],
)
def test_a_full_page_in_an_envelope_that_comes_again_fails(shared_sandbox, api, endpoint, options, rows):
    shared_sandbox.options.update(options)
    result = sync(api, endpoint)[endpoint]
    assert outcome(result) == ("failed", rows, 1, 2)
    assert [failure.reason for failure in result.stats.failures] == [
        "page 2 repeats the page before it: the server ignores the paging parameter"
    ]
    assert result.table_rows == rows


def test_cursors_that_lead_in_a_circle_fail(asked_of):
    def reply(asked):
        page = {None: 1, "b": 2, "c": 3}[asked.query.get("page-token")]
        return Response(body={"items": [{"id": page}], "next_page_token": {1: "b", 2: "c", 3: "b"}[page]})

    results, server = asked_of(BUILDS, reply, "context")
    assert (results["context"].status, len(server.asked)) == ("failed", 3)
    assert results["context"].reason == ("/v2/context page 3 names a page that was read before: paging would not end")


@pytest.mark.parametrize(("most", "status"), [("3", "complete"), ("2", "failed")])
def test_a_list_of_more_than_max_pages_fails(shared_sandbox, monkeypatch, most, status):
    shared_sandbox.options.update({"totals": "absent"})
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__MAX_PAGES", most)
    result = sync(EXPERIMENTATION, "audit_logs")["audit_logs"]
    assert outcome(result) == (status, 150, int(most), 3)
    assert shared_sandbox.requests.count(EXPERIMENTATION, "audit_logs") == 3
    assert result.reason == (
        "" if status == "complete" else "/v1/audit_logs the list has more pages than MAX_PAGES allows (2)"
    )


def test_a_total_counts_where_it_is_a_whole_number_that_is_not_proven_wrong(asked_of):
    expected: dict[str, tuple[dict[str, Any], int]] = {
        "audit_logs": ({"total": 3}, 1),
        "autotunes": ({"totalCount": 3}, 1),
        "dynamic_configs": ({"total_count": 3}, 1),
        "events": ({"meta": {"total_count": 3}}, 1),
        "experiments": ({"pagination": {"totalItems": 3}}, 1),
        "gates": ({"total": None, "pagination": {"totalItems": 3}}, 1),
        "holdouts": ({"total": "3"}, 2),
        "layers": ({"total": True}, 2),
        "segments": ({"total": 0}, 2),
        "tags": ({"total": 2}, 2),
        "users": ({"total": 4}, 2),
        "ingestion_runs": ({"totals": 3}, 2),
        "metrics": ({"total": None}, 2),
    }
    paths = {APIS[EXPERIMENTATION].by_name[name].path: envelope for name, (envelope, _) in expected.items()}
    rows = [{"id": number, "name": number} for number in range(3)]

    def reply(asked):
        return Response(body={"data": rows if asked.query["page"] == "1" else [], **paths[asked.path]})

    results, server = asked_of(EXPERIMENTATION, reply, *expected)
    outcomes = {name: ("complete", 3, requests, requests) for name, (_, requests) in expected.items()}
    # a total that more rows are said to be behind: read once more
    outcomes["users"] = ("complete", 6, 4, 4)
    assert {name: outcome(result) for name, result in results.items()} == outcomes
    assert len(server.asked) == 6 + 7 * 2 + 2


def test_a_setting_raises_the_page_size_of_the_search(tmp_path, shared_sandbox, monkeypatch):
    monkeypatch.setenv("SOURCES__PROJECT_PLANNING__SEARCH_EPICS__LIMIT", "3")
    result = sync(PLANNING, "search_epics")["search_epics"]
    assert outcome(result) == ("complete", 4, 2, 2)
    assert [query["limit"] for query in queries(shared_sandbox, PLANNING, "search_epics")] == ["3", "3"]
    assert live_keys(tmp_path, PLANNING, "search_epics") == expected_keys(shared_sandbox.world, PLANNING, "epics")


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ({"response": {"next": "t2"}}, {"response": {"next": None}}),
        pytest.param({"next": "t2"}, {}, marks=pytest.mark.extended),
        pytest.param({"response": None, "next": "t2"}, {"response": None, "next": None}, marks=pytest.mark.extended),
    ],
)
def test_the_search_goes_on_with_response_next_or_next(asked_of, first, last):
    pages = [Response(body={"data": [{"id": n}], **more}) for n, more in ((1, first), (2, last))]
    results, server = asked_of(PLANNING, script(*pages), "search_epics")
    assert outcome(results["search_epics"]) == ("complete", 2, 2, 2)
    assert [asked.query for asked in server.asked] == [{"limit": "1"}, {"limit": "1", "next": "t2"}]


@pytest.mark.parametrize(
    ("found", "status", "reason"),
    [
        ([], "complete", ""),
        (
            [{"id": 1}],
            "failed",
            "/v1/search/epics no page has 'response.next' or 'next', so whether more pages follow is unknown",
        ),
    ],
)
def test_a_search_that_finds_something_must_name_a_next_page_or_none(asked_of, found, status, reason):
    def reply(asked):
        return Response(body={"data": found, "cursor": "t2"} if "search" in asked.path else {"data": []})

    results, server = asked_of(PLANNING, reply, "search_epics", "labels")
    result = results["search_epics"]
    assert (result.status, result.reason.startswith(reason)) == (status, True)
    assert bool(result.reason) == bool(reason)
    assert len(server.asked) == 2
