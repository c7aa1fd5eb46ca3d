"""Rootly: what the public connectors get wrong about its lists and records, each by name."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.sync.api_sync import ApiSync
from analytics_ingest_tests.conftest import query
from analytics_ingest_tests.environment import WAREHOUSE
from analytics_ingest_tests.fake_server import Asked, Response
from analytics_ingest_tests.vendors.conftest import Synced, first_sync
from analytics_ingest_tests.vendors.rootly import CREATED_SINCE, PAGES, SINCE, SORTABLE, Rootly
from analytics_ingest_tests.vendors.rootly_rows import (
    CHILDREN,
    COUNTS,
    HIDDEN,
    INCIDENTS,
    NEWEST,
    SECRET,
    edit,
    found,
    listed,
    remove,
    uid,
)
from analytics_ingest_tests.vendors.server import Route

ENDPOINTS = {
    *("dashboards", "incidents", "authorizations", "dashboards_panels", "users", "incident_types", "teams"),
    *("sub_statuses", "incident_roles", "post_mortems", "status_pages", "severities", "services", "roles"),
    *("incident_permission_sets", "workflows", "form_sets", "form_fields", "playbooks", "retrospective_processes"),
    *("ip_ranges", "users_notification_rules", "incidents_sub_statuses", "incident_permission_sets_resources"),
    *("incident_permission_sets_booleans", "incidents_events", "incidents_action_items", "workflow_groups"),
    *("workflows_tasks", "retrospective_configurations", "environments", "functionalities", "causes"),
    *("alerts", "alert_events", "schedules", "shifts", "oncalls", "incidents_form_field_selections"),
    *("escalation_policies", "escalation_policies_levels", "escalation_policies_paths"),
}


def rootly_with_few_incidents() -> Rootly:
    """With fewer incidents, each of which costs three requests."""
    vendor = Rootly()
    for n in range(12, INCIDENTS):
        remove(vendor, "incidents", n)
    return vendor


first = first_sync(rootly_with_few_incidents)


@pytest.fixture
def record_server(synced: Synced[Rootly]) -> Rootly:
    """The server after a first sync of everything."""
    return synced.vendor


def columns_of(tmp_path: Path, table: str) -> dict[str, str]:
    return {name: kind for name, kind, *_ in query(tmp_path, f"DESCRIBE incident_response.{table}")}


def test_all_endpoints_are_there_and_synced(synced: Synced[Rootly], tmp_path: Path) -> None:
    record_server, results = synced.vendor, synced.results
    assert results.keys() == record_server.api.by_name.keys() == ENDPOINTS
    assert APIS["incident_response"].by_name.keys() == {"dashboards", "incidents"}
    assert {result.status for result in results.values()} == {"complete"}
    held = {name: query(tmp_path, f'SELECT count(*) FROM incident_response."{name}"')[0][0] for name in ENDPOINTS}
    assert held == {name: len(record_server.expected(name)) for name in ENDPOINTS}
    assert {asked.headers["Accept"] for asked in record_server.asked} == {"application/vnd.api+json"}


@pytest.mark.extended
def test_lists_are_sent_the_filter_that_they_have_and_a_full_refresh_sends_none(record_server: Rootly) -> None:
    filters = {SINCE, CREATED_SINCE}
    assert [asked for asked in record_server.asked if filters & asked.query.keys()] == []
    record_server.asked.clear()
    record_server.sync()
    filtered = {
        asked.path: filters & asked.query.keys() for asked in record_server.asked if filters & asked.query.keys()
    }
    assert filtered == {"/v1/incidents": {SINCE}, "/v1/alerts": {SINCE}, "/v1/alert_events": {CREATED_SINCE}}
    record_server.asked.clear()
    record_server.sync(full_refresh=True)

    assert {name for asked in record_server.asked for name in asked.query} == PAGES | {
        "page[after]",
        "sort",
        "from",
        "to",
    }
    assert record_server.queries("/incidents") == [{"sort": "created_at", "page[number]": "1", "page[size]": "50"}]


def test_lists_are_sorted_where_the_vendor_can(record_server: Rootly) -> None:
    paths = {"/v1/incidents", "/v1/alert_events", "/v1/status-pages"}
    paths |= {f"/v1/{name}" for name in SORTABLE - {"status_pages"}}
    assert {
        asked.path for asked in record_server.asked if "sort" in asked.query and asked.path.count("/") == 2
    } == paths
    children = {asked.path.rpartition("/")[2] for asked in record_server.asked if "sort" in asked.query} - {
        path.rpartition("/")[2] for path in paths
    }
    assert children == {"notification_rules", "resources", "booleans", "sub_statuses"}
    assert {asked.query["sort"] for asked in record_server.asked if "sort" in asked.query} == {"created_at"}


class Growing(Rootly):
    """While the first page of a list is under way a record is added."""

    def answer(self, route: Route, parts: tuple[str, ...], asked: Asked) -> Response:
        given = super().answer(route, parts, asked)
        given = replace(given, body=copy.deepcopy(given.body))
        rows = self.rows(route.endpoint)
        if len(rows) == COUNTS[route.endpoint]:
            rows.append(listed(route.endpoint, len(rows)))
        return given


@pytest.mark.parametrize("name", ["authorizations", "services", "teams", "alert_events"])
def test_rows_do_not_move_between_pages_while_a_list_grows(
    vendor_server: Callable[..., Rootly], tmp_path: Path, name: str
) -> None:
    record_server = vendor_server(Growing())
    result = record_server.sync(name)[name]

    # it is read twice if a row is on two pages
    assert len(record_server.queries(f"/{name}")) == -(-(COUNTS[name] + 1) // 50)
    assert (result.status, result.stats.rows_read, result.stats.doubt) == ("complete", COUNTS[name] + 1, "")
    assert query(tmp_path, f"SELECT count(DISTINCT id) FROM incident_response.{name}") == [(COUNTS[name] + 1,)]


def test_no_table_has_a_secret(record_server: Rootly, tmp_path: Path) -> None:
    held = (
        found(record_server, "incidents", 1),
        found(record_server, "alerts", 1),
        found(record_server, "status_pages", 1),
    )
    tasks = record_server.rows("workflows_tasks", uid("workflows", 2))[0]
    assert [str(row).count(SECRET) for row in (*held, tasks)] == [4, 2, 1, 1]
    tables = [name for (name,) in query(tmp_path, "SELECT table_name FROM information_schema.tables")]
    assert {*ENDPOINTS} <= {*tables}
    with duckdb.connect(str(tmp_path / WAREHOUSE)) as connection:
        schemas = connection.execute("SELECT table_schema, table_name FROM information_schema.tables").fetchall()
        texts = [str(connection.execute(f'SELECT * FROM "{schema}"."{name}"').fetchall()) for schema, name in schemas]
    assert [text for text in texts if SECRET in text] == []
    params = query(tmp_path, "SELECT DISTINCT task_params FROM incident_response.workflows_tasks")
    assert params == [('{"task_type":"http_client","url":"https://example.com"}',)]
    columns = columns_of(tmp_path, "incidents")
    assert {"zoom_meeting_id", "zoom_meeting_join_url"} <= columns.keys()
    assert not HIDDEN & columns.keys()


def test_secrets_that_an_earlier_version_loaded_go_with_a_full_refresh(
    vendor_server: Callable[..., Rootly], tmp_path: Path
) -> None:
    record_server = vendor_server(rootly_with_few_incidents())
    before = replace(
        record_server.api, endpoints=tuple(replace(each, secrets=("jti",)) for each in record_server.api.endpoints)
    )
    log = logging.getLogger("test")
    list(ApiSync(before, selected={"incidents", "workflows", "workflows_tasks"}, log=log).run())
    counts = {
        name: f"SELECT count(*) FROM incident_response.{name} WHERE {column} LIKE '%{SECRET}%'"
        for name, column in (("incidents", "zoom_meeting_password"), ("workflows_tasks", "task_params::varchar"))
    }
    held = {name: query(tmp_path, count)[0][0] for name, count in counts.items()}
    assert held == {"incidents": 12, "workflows_tasks": 0 + 1 + 2 + 3}

    record_server.sync(*counts)
    # the filter leaves out incidents that were not updated
    assert {name: query(tmp_path, count)[0][0] for name, count in counts.items()} == {
        "incidents": 1,
        "workflows_tasks": 0,
    }
    record_server.sync(*counts, full_refresh=True)
    assert query(tmp_path, counts["incidents"]) == [(0,)]


def test_what_is_nested_in_attributes_becomes_columns(record_server: Rootly, tmp_path: Path) -> None:
    rows = query(
        tmp_path,
        "SELECT sequential_id, title, status, private, summary, severity->>'$.data.attributes.name', labels "
        f"FROM incident_response.incidents WHERE id IN ('{uid('incidents', 6)}', '{uid('incidents', 7)}') ORDER BY 1",
    )
    labels = '{"platform":"web"}'
    assert rows == [
        (7, "Incident 6", "started", False, "What happened in 6", "SEV2", labels),
        (8, "Incident 7", "resolved", False, None, "SEV3", labels),
    ]
    assert "attributes" not in columns_of(tmp_path, "incidents")


def test_an_attribute_named_like_a_field_of_the_record_is_kept_beside_it(record_server: Rootly, tmp_path: Path) -> None:
    held = query(tmp_path, "SELECT type, attribute_type, count(*) FROM incident_response.services GROUP BY ALL")
    assert sorted(held) == [("services", "external", 50), ("services", "internal", 50)]


def test_relationships_stay_as_json(record_server: Rootly, tmp_path: Path) -> None:
    assert columns_of(tmp_path, "users")["relationships"] == "JSON"
    ((held,),) = query(tmp_path, "SELECT relationships FROM incident_response.users WHERE id = '344'")
    assert json.loads(held) == listed("users", 0)["relationships"]


def test_children_carry_the_id_of_their_parent_whether_they_name_it_or_not(
    record_server: Rootly, tmp_path: Path
) -> None:
    assert "incident_id" not in record_server.rows("incidents_events", uid("incidents", 2))[0]["attributes"]
    assert "incident_id" not in record_server.rows("incidents_action_items", uid("incidents", 3))[0]["attributes"]
    assert record_server.rows("users_notification_rules", "345")[0]["attributes"]["user_id"] == 345
    for name, (_, column) in CHILDREN.items():
        held = query(tmp_path, f"SELECT id, {column} FROM incident_response.{name} ORDER BY id")
        parents = {row["id"]: parent for (parent,), rows in record_server.store[name].items() for row in rows}
        assert held == sorted(parents.items()), name
        assert columns_of(tmp_path, name)[column] == "VARCHAR", name


def test_a_next_page_of_null_ends_a_list_without_a_further_request(synced: Synced[Rootly]) -> None:
    record_server = synced.vendor
    read = ("services", "authorizations", "incidents", "incidents_events")
    # the last page of services is full
    assert record_server.queries("/services") == [
        {"sort": "created_at", "page[number]": number, "page[size]": "50"} for number in ("1", "2")
    ]
    assert record_server.pages("/authorizations") == ["1", "2", "3"]
    assert record_server.pages(f"/incidents/{uid('incidents', 0)}/events") == ["1", "2", "3"]
    # an incident without events
    assert record_server.pages(f"/incidents/{uid('incidents', 3)}/events") == ["1"]
    assert {name: synced.results[name].stats.rows_read for name in read} == {
        name: len(record_server.expected(name)) for name in read
    }


def test_a_list_without_meta_and_links_is_read_to_its_end(record_server: Rootly, tmp_path: Path) -> None:
    assert record_server.queries("/retrospective_configurations") == [
        {"page[number]": number, "page[size]": "2"} for number in ("1", "2", "3")
    ]
    held = query(tmp_path, "SELECT id FROM incident_response.retrospective_configurations ORDER BY id")
    assert held == sorted((uid("retrospective_configurations", n),) for n in range(4))


def test_addresses_are_one_object_and_a_snapshot(record_server: Rootly, tmp_path: Path) -> None:
    record_server.rows("ip_ranges")[0]["attributes"]["integrations_ipv4"] = ["192.0.2.9"]
    result = record_server.sync("ip_ranges")["ip_ranges"]

    assert record_server.queries("/ip_ranges") == [{}, {}]
    assert result.stats.rows_loaded == 1
    held = query(tmp_path, "SELECT id, integrations_ipv4, webhooks_ipv6 FROM incident_response.ip_ranges")
    assert held == [(uid("ip_ranges", 0), '["192.0.2.9"]', '["2001:db8::1"]')]


def test_records_without_timestamps_are_told_apart_by_content(record_server: Rootly, tmp_path: Path) -> None:
    wanted = ("workflow_groups", "dashboards", "dashboards_panels")
    edit(record_server, "workflow_groups", 2, name="another name")
    panel = uid("dashboards", 1)
    edit(record_server, "dashboards_panels", f"{panel}/1", panel, name="another name")
    results = record_server.sync(*wanted)

    for name in ("workflow_groups", "dashboards_panels"):
        assert (results[name].stats.rows_loaded, results[name].cursor) == (1, None)
        assert not {"created_at", "updated_at"} & columns_of(tmp_path, name).keys()
        changed = f"SELECT count(*) FROM incident_response.{name} WHERE name = 'another name'"
        assert query(tmp_path, changed) == [(1,)]


def test_the_sub_statuses_of_an_incident_have_the_time_of_their_assignment_alone(
    record_server: Rootly, tmp_path: Path
) -> None:
    types = columns_of(tmp_path, "incidents_sub_statuses")
    assert types["assigned_at"] == "TIMESTAMP WITH TIME ZONE"
    assert not {"created_at", "updated_at"} & types.keys()
    own = f"WHERE incident_id = '{uid('incidents', 3)}' ORDER BY position"
    held = query(tmp_path, f"SELECT epoch_ms(assigned_at) FROM incident_response.incidents_sub_statuses {own}")
    assert held == [(round((NEWEST - timedelta(days=n)).timestamp() * 1000),) for n in range(3)]


def test_status_pages_are_at_a_path_with_a_hyphen(record_server: Rootly, tmp_path: Path) -> None:
    assert [asked.path for asked in record_server.asked if "pages" in asked.path] == ["/v1/status-pages"] * 2
    assert query(tmp_path, "SELECT count(*) FROM incident_response.status_pages") == [(3,)]


def test_ids_that_are_numbers_stay_text_beside_uuids(record_server: Rootly, tmp_path: Path) -> None:
    ids = sorted(["344", "345", *(uid("roles", n) for n in range(2, 6))])
    held = query(tmp_path, "SELECT id, typeof(id) FROM incident_response.roles ORDER BY id")
    assert held == [(each, "VARCHAR") for each in ids]
    joined = query(
        tmp_path,
        "SELECT u.id, count(*) FROM incident_response.users u "
        "JOIN incident_response.users_notification_rules r ON r.user_id = u.id GROUP BY 1 ORDER BY 1",
    )
    assert joined == [(uid("users", n), n % 4) for n in range(9) if n % 4]
