"""What ``check`` reports of each problem with an API, and the requests that it sends to find out."""

from __future__ import annotations

import logging
import socket
from urllib.parse import parse_qs

import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.diagnostics.connection_check import ConnectionCheckResult, check_api
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import FakeClock
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.fake_server import KEY

API = "experimentation"
SETTINGS = ["settings", "connection", "key"]


def check(api: str = API) -> dict[str, ConnectionCheckResult]:
    found = list(check_api(APIS[api], log=logging.getLogger("test")))
    assert len({each.subject for each in found}) == len(found)
    return {each.subject: each for each in found}


def failures(found: dict[str, ConnectionCheckResult]) -> dict[str, str]:
    return {name: each.message for name, each in found.items() if each.outcome == "failed"}


def not_tried(found: dict[str, ConnectionCheckResult]) -> dict[str, str]:
    return {name: each.message for name, each in found.items() if each.outcome == "not tried"}


@pytest.mark.parametrize("api", list(APIS))
def test_api_that_is_fine_gets_one_request_for_each_endpoint(shared_sandbox: SandboxServer, api: str) -> None:
    found = check(api)

    names = list(APIS[api].by_name)
    assert [each for each in found if each not in SETTINGS] == names
    assert {each.outcome for each in found.values()} == {"fine"}
    assert found["settings"].message == shared_sandbox.base_url(api)
    assert shared_sandbox.requests.counts() == {api: dict.fromkeys(sorted(names), 1)}


def test_one_row_is_requested_where_that_is_enough(shared_sandbox: SandboxServer) -> None:
    for api in APIS:
        check(api)

    limits = {}
    for record in shared_sandbox.requests:
        query = parse_qs(record.query)
        limits[record.api, str(record.endpoint)] = query.get("limit", query.get("page[size]"))
    many = {name: limits.pop((API, name)) for name in ("gates_rules", "dynamic_configs_rules")}
    assert many == {"gates_rules": ["100"], "dynamic_configs_rules": ["100"]}
    declared = {(api.name, each.name): each.paginator.limit for api in APIS.values() for each in api.endpoints}
    assert limits == {each: ["1"] if declared[each] else None for each in limits}


def test_children_are_requested_for_the_first_rows_of_their_parents(shared_sandbox: SandboxServer) -> None:
    check()
    check("feature_management")

    asked = {record.endpoint: record.path for record in shared_sandbox.requests}
    assert asked["gates_rules"].endswith(f"/v1/gates/{shared_sandbox.world.collection(API, 'gates')[0]['id']}/rules")
    workspace = shared_sandbox.world.collection("feature_management", "workspaces")[0]["id"]
    environment = shared_sandbox.world.collection("feature_management", "environments")[workspace,][0]["id"]
    assert f"/v2/segments/{environment}/" in asked["segments_keys"]


def test_api_that_is_not_configured_is_not_tried() -> None:
    found = check()

    assert list(found) == ["settings"]
    assert found["settings"].outcome == "not tried"
    assert found["settings"].message.startswith(
        "experimentation is not configured: set SOURCES__EXPERIMENTATION__PROFILE to statsig (or "
        "SOURCES__EXPERIMENTATION__BASE_URL) and SOURCES__EXPERIMENTATION__API_KEY"
    )


def test_setting_that_is_not_valid(shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__MAX_IN_FLIGHT", "none")
    found = check()

    assert list(failures(found)) == list(found) == ["settings"]
    assert "SOURCES__EXPERIMENTATION__MAX_IN_FLIGHT" in found["settings"].message
    assert shared_sandbox.requests.count() == 0


@pytest.mark.parametrize("api", list(APIS))
def test_wrong_key_is_reported_once_and_not_shown(
    shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, api: str
) -> None:
    monkeypatch.setenv(f"SOURCES__{api.upper()}__API_KEY", "wr0ng/k3y")
    found = check(api)

    assert {name: each.outcome for name, each in found.items()} == {
        "settings": "fine",
        "connection": "fine",
        "key": "failed",
    }
    assert f"check SOURCES__{api.upper()}__API_KEY" in found["key"].message
    assert not any("wr0ng" in each.message for each in found.values())
    assert shared_sandbox.requests.count(api) == 1


def test_port_that_nothing_listens_on_is_reported_once(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configure_api(monkeypatch, API, base_url=f"http://127.0.0.1:{port}", api_key=KEY)
    found = check()

    assert list(found) == ["settings", "connection"]
    assert found["settings"].message == f"http://127.0.0.1:{port}/"
    assert found["connection"].outcome == "failed"
    assert "/v1/audit_logs got no answer" in found["connection"].message
    assert "Is SOURCES__EXPERIMENTATION__BASE_URL right" in found["connection"].message
    assert not any("s3cret" in each.message or "k3y-of" in each.message for each in found.values())
    assert clock.slept == []


def test_connection_that_breaks_later_concerns_its_endpoint_only(shared_sandbox: SandboxServer) -> None:
    shared_sandbox.options.faults = [Fault(api=API, path="^/v1/tags", kind="reset")]

    assert list(failures(check())) == ["tags"]


def test_endpoint_that_the_key_may_not_read(shared_sandbox: SandboxServer) -> None:
    shared_sandbox.options.faults = [Fault(api=API, path="^/v1/gates$", status=403)]
    found = check()

    assert list(failures(found)) == ["gates"]
    assert found["gates"].message.startswith("/v1/gates answered 403: ")
    assert "add gates to SOURCES__EXPERIMENTATION__SKIP_ENDPOINTS" in found["gates"].message
    assert not_tried(found) == {"gates_rules": "not tried: it needs rows of gates, which could not be read"}
    assert shared_sandbox.requests.count(API, "gates") == 1
    assert shared_sandbox.requests.count(API, "gates_rules") == 0
    assert shared_sandbox.requests.count() == 20


@pytest.mark.parametrize(("status", "advice"), [(429, "REQUESTS_PER_MINUTE"), (500, "try again later")])
def test_what_a_sync_would_retry_is_tried_once(
    shared_sandbox: SandboxServer, clock: FakeClock, status: int, advice: str
) -> None:
    shared_sandbox.options.faults = [Fault(api=API, path="audit_logs", status=status, headers={"retry-after": "30"})]
    found = check()

    assert list(failures(found)) == ["audit_logs"]
    assert f"answered {status}" in found["audit_logs"].message
    assert advice in found["audit_logs"].message
    assert found["key"].outcome == "fine"
    assert shared_sandbox.requests.count(API, "audit_logs") == 1
    assert clock.slept == []


def test_rows_that_are_not_where_they_are_declared(shared_sandbox: SandboxServer) -> None:
    shared_sandbox.options.faults = [Fault(api=API, path="tags", status=200, body='{"rows": [{"id": "t1"}]}')]
    found = check()

    assert list(failures(found)) == ["tags"]
    assert "/v1/tags the body has no 'data'" in found["tags"].message
    assert "analytics_ingest/apis/experimentation.py" in found["tags"].message


def test_rows_without_their_key(shared_sandbox: SandboxServer) -> None:
    shared_sandbox.options.faults = [Fault(api=API, path="tags", status=200, body='{"data": [{"name": "t1"}]}')]
    found = check()

    assert list(failures(found)) == ["tags"]
    assert "cannot be stored (no value for id)" in found["tags"].message


def test_website_in_place_of_the_api(shared_sandbox: SandboxServer) -> None:
    shared_sandbox.options.faults = [
        Fault(api="incident_response", status=200, body="<html>Welcome</html>", content_type="text/html")
    ]
    found = check("incident_response")

    assert list(failures(found)) == ["dashboards", "incidents"]
    assert "not JSON" in found["dashboards"].message
    assert "Is SOURCES__INCIDENT_RESPONSE__BASE_URL the API itself?" in found["dashboards"].message
    assert list(not_tried(found)) == ["key"]
    assert shared_sandbox.requests.count() == 2


def test_base_url_with_a_wrong_path(shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__INCIDENT_RESPONSE__BASE_URL", f"{shared_sandbox.url}/incident_response/v9/")
    found = check("incident_response")

    assert list(failures(found)) == ["dashboards", "incidents"]
    assert "answered 404" in found["incidents"].message
    assert "Is SOURCES__INCIDENT_RESPONSE__BASE_URL right" in found["incidents"].message


def test_redirect(shared_sandbox: SandboxServer) -> None:
    fault = Fault(api=API, path="tags", status=302, headers={"location": "https://login.example.com/x"})
    shared_sandbox.options.faults = [fault]
    messages = failures(check())

    assert list(messages) == ["tags"]
    assert messages["tags"].endswith("check SOURCES__EXPERIMENTATION__BASE_URL.")


def test_parents_without_rows_leave_their_children_untried(shared_sandbox: SandboxServer) -> None:
    shared_sandbox.world.collection("feature_management", "workspaces").clear()
    found = check("feature_management")

    assert failures(found) == {}
    assert found["workspaces"].message == "answers without rows"
    assert list(not_tried(found)) == ["segments", "environments", "segments_keys", "traffic_types", "feature_flags"]
    assert not_tried(found)["segments"] == ("not tried: no row on the first page of workspaces has values for its path")
    assert shared_sandbox.requests.count() == 6


def test_child_of_several_parents_needs_one_of_them(shared_sandbox: SandboxServer) -> None:
    shared_sandbox.options.faults = [Fault(api="project_planning", path="epics/[^/]+/stories|groups/", status=403)]
    found = check("project_planning")

    assert list(failures(found)) == ["epics_stories", "groups_stories"]
    assert found["stories_comments"].outcome == found["story_history"].outcome == "fine"


def test_404_is_fine_where_a_child_need_not_be_defined(shared_sandbox: SandboxServer, clock: FakeClock) -> None:
    shared_sandbox.options.faults = [
        Fault(api="feature_management", path="/keys$", status=404),
        Fault(api=API, path="/rules$", status=404),
    ]
    assert failures(check("feature_management")) == {}
    assert list(failures(check())) == ["dynamic_configs_rules", "gates_rules"]
    assert shared_sandbox.requests.count(endpoint="segments_keys") == 1
    assert clock.slept == []


def test_endpoint_that_a_setting_leaves_out(shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__SKIP_ENDPOINTS", "gates")
    found = check()

    assert failures(found) == {}
    assert list(not_tried(found)) == ["gates", "gates_rules"]
    assert found["gates"].message == "left out by SOURCES__EXPERIMENTATION__SKIP_ENDPOINTS"
    assert shared_sandbox.requests.count(API, "gates") == 0


def test_limit_that_is_none_fails_its_endpoint(shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__TAGS__LIMIT", "many")
    found = check()

    assert list(failures(found)) == ["tags"]
    assert "SOURCES__EXPERIMENTATION__TAGS__LIMIT must be" in found["tags"].message


@pytest.mark.parametrize("value", ["4", "many"])
def test_a_retired_setting_is_reported_and_fails_nothing(
    shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__GATES_RULES__SHARDS", value)
    found = list(check_api(APIS[API], log=logging.getLogger("test")))

    assert (found[1].subject, found[1].outcome, found[1].message) == (
        "settings",
        "not tried",
        "warning: SOURCES__EXPERIMENTATION__GATES_RULES__SHARDS has no effect any more and can be removed",
    )
    assert {each.outcome for each in found[2:]} == {"fine"}


def test_row_without_a_value_for_the_path_is_not_requested(shared_sandbox: SandboxServer) -> None:
    shared_sandbox.world.collection(API, "segments")[0]["id"] = ".."
    found = check()

    assert list(not_tried(found)) == ["segments_ids"]
    assert shared_sandbox.requests.count(API, "segments_ids") == 0


def test_a_base_url_with_a_password_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_api(monkeypatch, API, base_url="http://me:s3cret@127.0.0.1:1", api_key=KEY)
    found = check()

    assert {name: each.outcome for name, each in found.items()} == {"settings": "failed"}
    assert "SOURCES__EXPERIMENTATION__BASE_URL" in found["settings"].message
    assert "s3cret" not in found["settings"].message


def test_a_proxy_that_cannot_be_used_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_api(monkeypatch, API, base_url="https://upstream.invalid", api_key=KEY)
    monkeypatch.setenv("HTTPS_PROXY", "http://u:s3cret@127.0.0.1:port")
    found = check()

    assert {name: each.outcome for name, each in found.items()} == {"settings": "failed"}
    assert found["settings"].message.startswith("HTTPS_PROXY is not the URL of a proxy: write http://host:port")
    assert "s3cret" not in found["settings"].message


def test_a_key_that_is_sent_unencrypted_is_reported(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    configure_api(monkeypatch, API, base_url="http://upstream.invalid", api_key=KEY)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    messages = [each.message for each in check_api(APIS["experimentation"], log=logging.getLogger("test"))]

    assert messages[1] == (
        "warning: the key is sent to upstream.invalid unencrypted: write https:// in SOURCES__EXPERIMENTATION__BASE_URL"
    )
    assert "got no answer: " in messages[2]
