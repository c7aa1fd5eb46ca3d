"""The registry against the specification, and the rules for declarations."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from analytics_ingest.apis.model import Api, ChangeProbe, Endpoint, RetryPolicy
from analytics_ingest.apis.paginators import SINGLE_PAGE, Paginator
from analytics_ingest.apis.parents import FromTable
from analytics_ingest.apis.registry import APIS, PROFILES

SPECIFICATION = """
# name path selector paginator limit key cursor parents
[experimentation]
audit_logs /v1/audit_logs data page_number 100 id updated_at -
autotunes /v1/autotunes data page_number 100 id updated_at -
dynamic_configs /v1/dynamic_configs data page_number 100 id updated_at -
dynamic_configs_versions /v1/dynamic_configs/{dynamic_config_id}/versions data page_number 100 id,version - dynamic_configs
dynamic_configs_rules /v1/dynamic_configs/{dynamic_config_id}/rules data[*].rules[*] page_number 100 dynamic_config_id,id - dynamic_configs
events /v1/events data page_number 100 name updated_at -
events_metrics /v1/events/{event_name}/metrics data page_number 100 event_name,id - events
experiments /v1/experiments data page_number 100 id updated_at -
gates /v1/gates data page_number 100 id updated_at -
gates_rules /v1/gates/{gate_id}/rules data[*].rules[*] page_number 100 gate_id,id - gates
holdouts /v1/holdouts data page_number 100 id updated_at -
ingestion_status /v1/ingestion/status data single_page - - - -
ingestion_runs /v1/ingestion/runs data page_number 100 id updated_at -
layers /v1/layers data page_number 100 id updated_at -
metrics /v1/metrics/list data page_number 100 id updated_at -
metrics_values /v1/metrics/values data page_number 100 id updated_at -
segments /v1/segments data page_number 100 id updated_at -
segments_ids /v1/segments/{segment_id}/id_list data page_number 100 segment_id,id - segments
tags /v1/tags data page_number 100 id updated_at -
target_apps /v1/target_app data page_number 100 id updated_at -
users /v1/users data page_number 100 id updated_at -
[incident_response]
dashboards /dashboards data page_number 50 id updated_at -
incidents /incidents data page_number 50 id updated_at -
[project_planning]
categories /v1/categories data single_page - id updated_at -
categories_milestones /v1/categories/{category_id}/milestones data single_page - category_id,id - categories
categories_objectives /v1/categories/{category_id}/objectives data single_page - category_id,id - categories
custom_fields /v1/custom-fields data single_page - id updated_at -
epic_workflow /v1/epic-workflow data single_page - id - -
epics /v1/epics data single_page - id updated_at -
epics_comments /v1/epics/{epic_id}/comments data single_page - id - epics
epics_stories /v1/epics/{epic_id}/stories data single_page - id - epics
files /v1/files data single_page - id updated_at -
groups /v1/groups data single_page - id updated_at -
groups_stories /v1/groups/{group_id}/stories data single_page - id - groups
iterations /v1/iterations data single_page - id updated_at -
iterations_stories /v1/iterations/{iteration_id}/stories data single_page - id - iterations
labels /v1/labels data single_page - id updated_at -
member /v1/member data single_page - id - -
members /v1/members data single_page - id updated_at -
milestones /v1/milestones data single_page - id updated_at -
milestones_epics /v1/milestones/{milestone_id}/epics data single_page - milestone_id,id - milestones
objectives /v1/objectives data single_page - id updated_at -
objectives_epics /v1/objectives/{objective_id}/epics data single_page - objective_id,id - objectives
workflows /v1/workflows data single_page - id updated_at -
stories_comments /v1/stories/{story_id}/comments data single_page - id - epics_stories,groups_stories,iterations_stories
story_history /v1/stories/{story_id}/history data single_page - story_id,id - epics_stories,groups_stories,iterations_stories
search_epics /v1/search/epics data cursor 1 id updated_at -
[continuous_integration]
context /v2/context items cursor - id updated_at -
self_ids /v2/me $ cursor - id - -
self_collaborations /v2/me/collaborations $ cursor - id - -
me /v1.1/me $ cursor - analytics_id - -
projects /v1.1/projects $ cursor - vcs_url - -
pipelines /v2/pipeline items cursor - id updated_at -
pipeline_workflows /v2/pipeline/{pipeline_id}/workflow items cursor - id - pipelines
specific_project /v2/project/{org_id}/{project_id} $ cursor - id - projects
jobs /v2/project/{org_id}/{project_id}/job/{job_number} $ cursor - project_slug,number - workflow_jobs
workflow /v2/workflow/{workflow_id} $ cursor - id - pipeline_workflows
insights_metrics /v2/insights/pages/{org_id}/{project_id}/summary $ cursor - org_id,project_id - projects
insights_branches /v2/insights/{org_id}/{project_id}/branches $ cursor - org_id,project_id - projects
workflow_jobs /v2/workflow/{workflow_id}/job items cursor - id - pipeline_workflows
[feature_management]
change_requests /v2/changeRequests data offset 50 id updated_at -
workspaces /v2/workspaces objects offset 50 id updated_at -
flag_sets /v3/flag-sets data offset 50 id updated_at -
users /v2/users data offset 50 id updated_at -
segments /v2/segments/ws/{workspace_id} objects offset 50 workspace_id,name - workspaces
segments_keys /v2/segments/{environment_id}/{segment_name}/keys $ offset 50 environment_id,segment_name,key - environments,segments
rollout_statuses /v2/rolloutStatuses $ offset 50 id updated_at -
environments /v2/environments/ws/{workspace_id} $ offset 50 id - workspaces
traffic_types /v2/trafficTypes/ws/{workspace_id} $ offset 50 id - workspaces
groups /v2/groups objects offset 50 id updated_at -
feature_flags /v2/splits/ws/{workspace_id} objects offset 50 id - workspaces
"""  # noqa: E501 - a table

PAGING = {
    "experimentation": {"base_page": 1, "page_param": "page", "total_path": None},
    "incident_response": {"base_page": 1, "page_param": "page[number]", "total_path": None},
    "continuous_integration": {"cursor_param": "page-token", "cursor_path": "next_page_token"},
    "feature_management": {
        "limit": 50,
        "offset_param": "offset",
        "limit_param": "limit",
        "total_path": None,
    },
}
ENDPOINTS = [(api, endpoint) for api in APIS.values() for endpoint in api.endpoints]
IDS = [f"{api.name}/{endpoint.name}" for api, endpoint in ENDPOINTS]


def specified():
    lines = {}
    for line in SPECIFICATION.strip().splitlines():
        if line.startswith("["):
            api = line.strip("[]")
        elif not line.startswith("#"):
            name, *rest = line.split()
            lines[api, name] = rest
    return lines


def declared(endpoint):
    limit = endpoint.paginator.limit
    return [
        endpoint.path,
        endpoint.data_selector,
        endpoint.paginator.config["type"],
        "-" if limit is None else str(limit),
        ",".join(endpoint.primary_key) or "-",
        endpoint.cursor_path[0] if endpoint.cursor_path else "-",
        ",".join(endpoint.upstream) or "-",
    ]


def an_endpoint(name, path="/rows", **more):
    return Endpoint(name, path, "data", SINGLE_PAGE, description="Rows.", **more)


def an_api(*endpoints, probes=()):
    return Api(
        name="shop",
        title="Shop",
        auth={"type": "bearer"},
        retry=RetryPolicy(),
        endpoints=endpoints,
        cron="0 * * * *",
        full_refresh_cron="0 0 * * 0",
        probes=probes,
    )


def test_the_registry_is_the_specification():
    assert {(api.name, endpoint.name): declared(endpoint) for api, endpoint in ENDPOINTS} == specified()
    assert len(ENDPOINTS) == 71


@pytest.mark.parametrize("endpoint", [endpoint for _, endpoint in ENDPOINTS], ids=IDS)
def test_every_endpoint_states_paginator_and_selector(endpoint):
    assert endpoint.paginator.config["type"] in {"page_number", "offset", "cursor", "single_page"}
    assert endpoint.data_selector


@pytest.mark.parametrize("profile", ["none", *(name for profiles in PROFILES.values() for name in profiles)])
def test_every_description_is_one_sentence(profile):
    sentence = re.compile(r"[A-Z](?!.*[.!?] [A-Z])[^\n]*[^.\n]\.")
    apis = APIS.values() if profile == "none" else [found[profile] for found in PROFILES.values() if profile in found]
    endpoints = [(api.name, each) for api in apis for each in api.endpoints]
    assert endpoints
    assert [f"{api}/{each.name}" for api, each in endpoints if not sentence.fullmatch(each.description)] == []


@pytest.mark.parametrize("api", PAGING)
def test_pages_are_requested_by_the_parameters_of_the_api(api):
    configs = [dict(each.paginator.config) for each in APIS[api].endpoints]
    paged = [config for config in configs if config.pop("type") != "single_page"]
    assert paged == [PAGING[api]] * (len(configs) - (api == "experimentation"))


def test_the_page_size_goes_into_the_parameter_that_the_api_has():
    names = {(api.name, endpoint.paginator.limit_param) for api, endpoint in ENDPOINTS if endpoint.paginator.limit}
    assert names == {
        ("experimentation", "limit"),
        ("incident_response", "page[size]"),
        ("project_planning", "limit"),
        ("feature_management", "limit"),
    }


def test_incident_response_finds_its_cursor_under_attributes_too():
    for endpoint in APIS["incident_response"].endpoints:
        assert endpoint.cursor_path == ("updated_at", "attributes.updated_at")
        assert set(endpoint.timestamps) >= {"attributes.created_at", "attributes.updated_at"}


def test_only_the_keyless_endpoint_is_replaced():
    replaced = [(api.name, each.name) for api, each in ENDPOINTS if each.write_disposition == "replace"]
    assert replaced == [("experimentation", "ingestion_status")]


def test_only_segments_keys_retries_404_and_takes_it_for_not_defined():
    odd = [
        (each.name, each.retry_status_codes, each.on_404)
        for _, each in ENDPOINTS
        if each.retry_status_codes or each.on_404 != "parent gone"
    ]
    assert odd == [("segments_keys", (404,), "not defined")]


@pytest.mark.parametrize(
    ("api", "codes", "waits"),
    [
        ("experimentation", (429, 500, 502, 503, 504), [2, 4, 8]),
        ("incident_response", (429,), [5, 5]),
        ("project_planning", (429,), [2, 4, 8]),
        ("continuous_integration", (429,), [2, 4, 8]),
        ("feature_management", (429,), [2, 4, 8]),
    ],
)
def test_the_retry_policy_of_each_api(api, codes, waits):
    retry = APIS[api].retry
    assert retry.status_codes == codes
    assert [retry.backoff_seconds(attempt) for attempt in range(1, 1 + retry.max_retries)] == waits


def test_the_auth_of_each_api():
    key = {"type": "api_key", "name": "api_key", "location": "header"}
    assert {name: dict(api.auth) for name, api in APIS.items()} == {
        "experimentation": key,
        "incident_response": {"type": "bearer"},
        "project_planning": key,
        "continuous_integration": key,
        "feature_management": {"type": "bearer"},
    }


def test_children_are_a_level_after_the_last_of_their_parents():
    levels = APIS["feature_management"].levels()
    assert [[each.name for each in level] for level in levels] == [
        ["change_requests", "workspaces", "flag_sets", "users", "rollout_statuses", "groups"],
        ["segments", "environments", "traffic_types", "feature_flags"],
        ["segments_keys"],
    ]


def test_a_selection_keeps_the_order_of_levels_and_leaves_out_empty_ones():
    levels = APIS["continuous_integration"].levels({"jobs", "pipelines", "workflow"})
    assert [[each.name for each in level] for level in levels] == [["pipelines"], ["workflow"], ["jobs"]]


def test_an_endpoint_declared_twice_is_refused():
    with pytest.raises(ValueError, match="shop/orders: declared twice"):
        an_api(an_endpoint("orders"), an_endpoint("orders"))


def test_a_child_declared_before_its_parent_is_refused():
    items = an_endpoint("items", "/orders/{order_id}/items", parents=FromTable("orders", order_id="id"))
    with pytest.raises(ValueError, match=r"shop/items: .* before its parents \['orders'\]"):
        an_api(items, an_endpoint("orders"))


@pytest.mark.parametrize("parents", [None, FromTable("orders", order="id")])
def test_a_placeholder_that_no_parent_fills_is_refused(parents):
    items = an_endpoint("items", "/orders/{order_id}/items", parents=parents)
    with pytest.raises(ValueError, match=r"shop/items: the path needs \('order_id',\)"):
        an_api(an_endpoint("orders"), items)


def test_a_probe_of_an_endpoint_that_does_not_exist_is_refused():
    probe = ChangeProbe(endpoint="rows", concerns=("rows", "walls"), blind="nothing")
    with pytest.raises(ValueError, match=r"^shop: the probe of rows names \['walls'\], which is not declared$"):
        an_api(an_endpoint("rows"), probes=(probe,))


@pytest.mark.parametrize("api", APIS.values(), ids=APIS)
def test_a_probe_requests_a_list_without_parents_with_two_requests_at_most(api):
    assert 1 <= len(api.probes) <= 2
    for probe in api.probes:
        assert api.by_name[probe.endpoint].parents is None
        assert probe.endpoint in probe.concerns
        assert probe.blind


@pytest.mark.parametrize(
    "auth",
    [
        {},
        {"type": "http_basic", "username": "user"},
        {"type": "oauth2_client_credentials"},
        {"type": "api_key", "name": "key", "location": "query"},
    ],
)
def test_auth_that_cannot_work_is_refused_as_it_is_declared(auth: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="its auth is not supported: use a bearer token, or an API key in a header"):
        replace(APIS["experimentation"], auth=auth)


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({"config": {"type": "header_link"}}, "paginator 'header_link' is not supported"),
        ({"config": {"type": "json_link", "next_url_path": "next"}}, "paginator 'json_link' is not supported"),
        ({"config": {}}, "paginator None is not supported"),
        ({"config": {"type": "cursor", "cursor_body_path": "next"}}, "paginator 'cursor' has no cursor_body_path"),
        ({"config": {"type": "single_page"}, "cursor_is_link": True}, "paginator 'single_page' has no cursor"),
    ],
)
def test_paginator_that_cannot_work_is_refused_as_it_is_declared(declared: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}"):
        Paginator(**declared)
