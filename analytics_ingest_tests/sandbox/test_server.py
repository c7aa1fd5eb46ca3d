"""The sandbox as a server: its control paths, its record of requests, how it starts and stops."""

import os
import signal
import socket
import subprocess
import sys

import pytest
import requests

from analytics_ingest.sandbox.routes import APIS
from analytics_ingest.sandbox.server import SandboxServer, stop_signals
from analytics_ingest.sandbox.world import World
from analytics_ingest_tests.sandbox.reader import Reader


def control(server, path, **body):
    url = f"{server.url}{path}"
    answer = requests.post(url, json=body, timeout=5) if body else requests.get(url, timeout=5)
    return answer.status_code, answer.json()


def test_the_root_says_what_this_is(shared_sandbox):
    status, body = control(shared_sandbox, "/")
    assert status == 200
    assert body["base_urls"] == {api: shared_sandbox.base_url(api) for api in APIS}
    assert body["base_urls"]["incident_response"] == f"{shared_sandbox.url}/incident_response/v1/"


def test_health(shared_sandbox):
    assert control(shared_sandbox, "/_sandbox/health") == (200, {"status": "ok"})


def test_requests_are_counted_by_api_and_endpoint(shared_sandbox, reader):
    reader.get("experimentation", "/v1/gates", limit=5)
    reader.get("experimentation", "/v1/gates")
    reader.get("project_planning", "/v1/nothing")
    status, body = control(shared_sandbox, "/_sandbox/requests")
    assert status == 200
    assert body == {
        "total": 3,
        "endpoints": {"experimentation": {"gates": 2}, "project_planning": {"unknown": 1}},
        "max_in_flight": {"experimentation": 1, "project_planning": 1},
    }
    journal = shared_sandbox.requests
    assert (journal.count(), journal.count("experimentation"), len(journal)) == (3, 2, 3)
    assert journal.count("experimentation", "gates", 200) == 2
    first = next(iter(journal))
    assert (first.api, first.method, first.path, first.query, first.status, first.endpoint) == (
        "experimentation",
        "GET",
        "/experimentation/v1/gates",
        "limit=5",
        200,
        "gates",
    )
    shared_sandbox.requests.reset()
    assert shared_sandbox.requests.count() == 0


def test_truth_over_http(shared_sandbox):
    status, rows = control(shared_sandbox, "/_sandbox/expected/project_planning/epics")
    assert (status, rows) == (200, shared_sandbox.world.expected("project_planning", "epics"))
    assert control(shared_sandbox, "/_sandbox/expected/project_planning/nothing")[0] == 404


def test_options_over_http(shared_sandbox):
    status, body = control(shared_sandbox, "/_sandbox/options", latency=0.001, totals="null", page_cap=5)
    assert status == 200
    assert (body["latency"], body["totals"], body["page_cap"]) == (0.001, "null", 5)
    options = shared_sandbox.options
    assert (options.latency, options.totals, options.page_cap) == (0.001, "null", 5)
    assert control(shared_sandbox, "/_sandbox/options") == (200, body)
    assert not any("key" in name for name in body)


@pytest.mark.parametrize(
    "values",
    [
        {"nothing": 1},
        {"api_keys": {}},
        {"latency": -1},
        {"latency": "1"},
        {"totals": "wrong"},
        {"page_cap": 0},
        {"page_cap": True},
        {"slug_prefix": 1},
        {"latency": 0.5, "order": "wrong"},
    ],
)
def test_wrong_options_change_nothing(shared_sandbox, values):
    before = shared_sandbox.options.simple()
    assert control(shared_sandbox, "/_sandbox/options", **values)[0] == 400
    assert shared_sandbox.options.simple() == before


def test_advance_over_http(sandbox):
    twin = World(scale=0.05)
    changes = twin.advance(12)
    status, body = control(sandbox, "/_sandbox/advance", hours=12)
    assert status == 200
    assert body == {"changes": changes.as_dict(), "now": twin.now.isoformat()}
    rows = Reader(sandbox).read("incident_response", "incidents")
    assert rows == twin.expected("incident_response", "incidents")


@pytest.mark.parametrize("body", [{"hours": 0}, {"hours": "1"}, {"hours": 1, "seed": "x"}, {"hours": 1e9}])
def test_wrong_advances_are_refused(shared_sandbox, body):
    now = shared_sandbox.world.now
    assert control(shared_sandbox, "/_sandbox/advance", **body)[0] == 400
    assert shared_sandbox.world.now == now


def test_control_bodies_must_be_objects(shared_sandbox):
    for text in ("[]", "{"):
        assert requests.post(f"{shared_sandbox.url}/_sandbox/options", data=text, timeout=5).status_code == 400


def test_edited_rows_are_served(sandbox):
    rows = sandbox.world.collection("feature_management", "change_requests")
    rows[0]["title"] = "edited"
    del rows[1:]
    assert Reader(sandbox).read("feature_management", "change_requests") == rows


def test_the_environment_configures_all_apis(shared_sandbox):
    environment = shared_sandbox.environment()
    assert len(environment) == 3 * len(APIS)
    url = f"{shared_sandbox.url}/incident_response/v1/"
    assert environment["SOURCES__INCIDENT_RESPONSE__BASE_URL"] == url
    assert environment["SOURCES__INCIDENT_RESPONSE__API_KEY"] == "sandbox-incident_response-key"
    assert environment["SOURCES__INCIDENT_RESPONSE__PROFILE"] == "none"


def test_a_server_stops_and_starts_again_on_its_port():
    server = SandboxServer(World(scale=0.01))
    with server:
        port = server.port
        assert requests.get(f"{server.url}/_sandbox/health", timeout=5).ok
        with pytest.raises(RuntimeError, match="already"):
            server.start()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{server.url}/_sandbox/health", timeout=5)
    server.stop()
    with server:
        assert server.port == port
        assert requests.get(f"{server.url}/_sandbox/health", timeout=5).ok


def test_a_server_stops_while_requests_hang(sandbox):
    sandbox.options.latency = 60
    with pytest.raises(requests.Timeout):
        requests.get(sandbox.base_url("experimentation"), timeout=0.05)
    sandbox.stop()
    with pytest.raises(requests.ConnectionError):
        requests.get(sandbox.url, timeout=5)


def test_a_taken_port_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = SandboxServer(World(scale=0.01), port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            server.start()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_an_event_and_the_handlers_are_put_back(number):
    before = signal.getsignal(number)
    with stop_signals() as stopped:
        assert not stopped.is_set()
        os.kill(os.getpid(), number)
        assert stopped.wait(10)

    assert signal.getsignal(number) == before


def test_the_sandbox_imports_nothing_of_what_it_tests():
    code = (
        "import sys, analytics_ingest.sandbox.server; "
        "print([name for name in sys.modules if name.split('.')[0] in {'dlt', 'dagster', 'dagster_dlt'}"
        " or (name.startswith('analytics_ingest.') and not name.startswith('analytics_ingest.sandbox'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
