"""Keys, paths and methods that the sandbox refuses, and how values in a path are decoded."""

import pytest
import requests

from analytics_ingest.sandbox.routes import APIS, ROUTES
from analytics_ingest_tests.sandbox.reader import BEARER

FIRST = {
    "experimentation": "/v1/gates",
    "incident_response": "/incidents",
    "project_planning": "/v1/epics",
    "continuous_integration": "/v2/pipeline",
    "feature_management": "/v2/workspaces",
}


@pytest.mark.parametrize("api", APIS)
class TestEveryApi:
    def test_a_wrong_key_is_refused_and_repeated(self, reader, api):
        answer = reader.get(api, FIRST[api], key="wr0ng-key")
        assert answer.status_code == 401
        assert "wr0ng-key" in answer.json()["error"]

    def test_no_key_is_refused(self, shared_sandbox, api):
        answer = requests.get(shared_sandbox.base_url(api).rstrip("/") + FIRST[api], timeout=5)
        assert answer.status_code == 401

    def test_the_key_must_come_in_its_own_header(self, shared_sandbox, api):
        key = shared_sandbox.options.api_keys[api]
        headers = {"api_key": key} if api in BEARER else {"Authorization": f"Bearer {key}"}
        answer = requests.get(shared_sandbox.base_url(api).rstrip("/") + FIRST[api], headers=headers, timeout=5)
        assert answer.status_code == 401

    def test_another_apis_key_is_refused(self, shared_sandbox, reader, api):
        other = next(key for of, key in shared_sandbox.options.api_keys.items() if of != api)
        assert reader.get(api, FIRST[api], key=other).status_code == 401

    def test_a_changed_key_counts_from_the_next_request(self, shared_sandbox, reader, api):
        old = shared_sandbox.options.api_keys[api]
        shared_sandbox.options.api_keys[api] = "rotated"
        assert reader.get(api, FIRST[api], key=old).status_code == 401
        assert reader.get(api, FIRST[api]).status_code == 200

    def test_the_key_is_checked_before_anything_else(self, reader, api):
        assert reader.get(api, "/no/such/path", key="wrong").status_code == 401

    def test_an_unknown_path_is_not_found(self, shared_sandbox, reader, api):
        answer = reader.get(api, "/no/such/path")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/json"
        assert shared_sandbox.requests[-1].endpoint is None

    def test_other_methods_are_not_allowed(self, shared_sandbox, api):
        key = shared_sandbox.options.api_keys[api]
        headers = {"Authorization": f"Bearer {key}"} if api in BEARER else {"api_key": key}
        url = shared_sandbox.base_url(api).rstrip("/") + FIRST[api]
        answer = requests.post(url, headers=headers, timeout=5)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize("each", [each for each in ROUTES if ROUTES[each].columns], ids="/".join)
def test_a_child_of_an_unknown_parent_is_not_found(reader, each):
    route = ROUTES[each]
    path = "/" + "/".join("unknown" if part is None else part for part in route.parts)
    assert reader.get(route.api, path).status_code == 404


def test_a_trailing_slash_is_another_path(reader):
    assert reader.get("experimentation", "/v1/gates/").status_code == 404


def test_the_base_path_alone_is_not_found(shared_sandbox):
    headers = {"api_key": shared_sandbox.options.api_keys["experimentation"]}
    assert requests.get(f"{shared_sandbox.url}/experimentation", headers=headers, timeout=5).status_code == 404


def test_a_path_outside_the_version_of_incident_response_is_not_found(shared_sandbox):
    headers = {"Authorization": f"Bearer {shared_sandbox.options.api_keys['incident_response']}"}
    answer = requests.get(f"{shared_sandbox.url}/incident_response/v2/incidents", headers=headers, timeout=5)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("encoded", "name"),
    [
        ("checkout%2Fstarted", "checkout/started"),
        ("search%3Fq", "search?q"),
        ("page%23view", "page#view"),
        ("add%20to%20cart", "add to cart"),
        ("Gr%C3%B6%C3%9Fe%20gew%C3%A4hlt%20%C3%BC", "Größe gewählt ü"),
        ("discount_50%25_applied", "discount_50%_applied"),
        ("cart%2Bwishlist", "cart+wishlist"),
        ("cart+wishlist", "cart+wishlist"),
        ("a%2Fb%3Fc%23d%20e", "a/b?c#d e"),
    ],
)
def test_path_values_are_decoded_one_segment_at_a_time(shared_sandbox, reader, encoded, name):
    answer = reader.get("experimentation", f"/v1/events/{encoded}/metrics", limit=100)
    assert answer.status_code == 200
    assert answer.json()["data"] == shared_sandbox.world.collection("experimentation", "events_metrics")[name,]
    assert shared_sandbox.requests[-1].path == f"/experimentation/v1/events/{encoded}/metrics"


def test_a_raw_separator_is_another_path(reader):
    assert reader.get("experimentation", "/v1/events/checkout/started/metrics").status_code == 404
