"""The deployment of compose.yaml as processes, of which code location, daemon and a worker are killed in turn."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests import contract
from analytics_ingest_tests.conftest import sandbox_in
from analytics_ingest_tests.orchestrate.topology import CODE_LOCATION, DAEMON, PASSWORDS, WEBSERVER, Topology, topology

pytestmark = pytest.mark.extended

API, OTHER = "experimentation", "incident_response"
CONFIGURED = (f"SOURCES__{API.upper()}__", f"SOURCES__{OTHER.upper()}__")
CHILD = r"^/v1/gates/[^/]+/rules"
"""A request of the API in the middle of a sync: the parents have been read."""
ENQUEUED, STEP_START, STEP_SUCCESS = "RunEnqueuedEvent", "ExecutionStepStartEvent", "ExecutionStepSuccessEvent"


@dataclass(kw_only=True)
class Hold(Fault):
    """Holds the first matching request, and every request after it, until it is released."""

    released: threading.Event = field(default_factory=threading.Event)

    def applies(self, api: str, path: str) -> bool:
        """Blocks the server if the request matches; its response is the right one."""
        if super().applies(api, path):
            self.released.wait(600)
        return False


@dataclass
class Services:
    """The services and their upstream."""

    parts: Topology
    upstream: SandboxServer

    def launch(self, api: str) -> str:
        """Launches the sync of an API in the UI."""
        return self.parts.launch(f"{api}_sync")

    def held_run(self) -> tuple[Hold, str]:
        """Launches a sync of the API and waits until it is in progress, with a request of a child that is held."""
        self.upstream.options.faults = [hold := Hold(api=API, path=CHILD, times=1)]
        run_id = self.launch(API)
        self.parts.wait_for(lambda: hold.hits, "request of a child")
        return hold, run_id

    def retry_of(self, run_id: str) -> str:
        """The daemon's retry of a failed run, or a launch in its place.

        Dagster loses a retry if the daemon reads the event of the failure before the status of the run is written
        (dagster-io/dagster#33741).
        """
        parts = self.parts
        will_retry = {"dagster/will_retry": "true"}
        parts.wait_for(lambda: run_id in [run["runId"] for run in parts.runs(tags=will_retry)], "run that is retried")
        try:
            (retry,) = parts.wait_for(lambda: parts.runs(tags={"dagster/parent_run_id": run_id}), "retry", seconds=60)
        except AssertionError:
            return self.launch(API)
        found: str = retry["runId"]
        return found

    def assert_succeeded(self, run_id: str) -> None:
        """Waits for a run, which materialises every asset of its API."""
        run = self.parts.ended(run_id)
        assert run["status"] == "SUCCESS", self.parts.output()

    def assert_exact(self, *apis: str) -> None:
        """Each table has each row of the sandbox once, with its values, and no other row."""
        for api in apis:
            names = [endpoint.name for endpoint in APIS[api].endpoints]
            truth = {name: contract.as_columns(self.upstream.world.expected(api, name)) for name in names}
            found = contract.Pass({}, {}, self.parts.store.tables(api, names), truth)
            passes = contract.Passes(APIS[api], found, found, found)
            for name in names:
                contract.table_holds_exactly_the_rows_upstream(passes, name)
                contract.plain_fields_arrive_as_they_were_sent(passes, name)

    def assert_calm(self) -> None:
        """No run is in progress, and the warehouse has no lock."""
        statuses = ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"]
        assert self.parts.runs(statuses=statuses) == []
        self.parts.wait_for(lambda: not self.parts.locks(), "end of all locks")


@pytest.fixture(scope="module")
def started_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("topology")
    with sandbox_in(folder) as upstream:
        variables = {
            **{name: value for name, value in upstream.environment().items() if name.startswith(CONFIGURED)},
            "ANALYTICS_INGEST_EXECUTOR": "celery",
            # what starts by itself would come between
            "ANALYTICS_INGEST_AUTOMATION": "stopped",
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            # a request is held for as long as it takes
            f"SOURCES__{API.upper()}__READ_TIMEOUT": "900",
            f"SOURCES__{API.upper()}__ANSWER_TIMEOUT": "900",
        }
        with topology(folder, **variables) as parts:
            yield Services(parts, upstream)


@pytest.fixture
def services(started_services: Services) -> Iterator[Services]:
    """All services, running; what a test holds is released."""
    yield started_services
    for fault in started_services.upstream.options.faults:
        if isinstance(fault, Hold):
            fault.released.set()
    started_services.upstream.options.faults = []


def test_syncs_of_two_apis_are_queued_and_executed_by_the_workers(services: Services) -> None:
    runs = [services.launch(API), services.launch(OTHER)]
    for run in runs:
        services.assert_succeeded(run)

    for run, api in zip(runs, (API, OTHER), strict=True):
        events = services.parts.events(run)
        kinds = Counter(event["__typename"] for event in events)
        assert kinds[ENQUEUED] == kinds["RunStartingEvent"] == kinds[STEP_SUCCESS] == 1
        assert sum(f"Executing steps {api} in celery worker" in event["message"] for event in events) == 1
        assert kinds["MaterializationEvent"] == len(APIS[api].endpoints)
    services.assert_exact(API, OTHER)
    services.assert_calm()


def test_run_of_a_code_location_that_dies_is_failed_and_retried(services: Services) -> None:
    services.upstream.world.advance(24)
    hold, run = services.held_run()
    services.parts.kill(CODE_LOCATION)
    services.parts.start(CODE_LOCATION)
    assert services.parts.ended(run)["status"] == "FAILURE"
    retry = services.retry_of(run)
    # the step goes on in its worker: the retry waits for it
    services.parts.wait_for(lambda: services.parts.events(retry, STEP_START), "step of the retry")
    hold.released.set()
    services.assert_succeeded(retry)

    services.assert_exact(API)
    services.assert_calm()


def test_queue_schedules_and_sensors_outlive_daemon_and_code_location(services: Services) -> None:
    services.upstream.world.advance(24)
    services.parts.start_schedule(f"{API}_full_refresh_schedule")
    services.parts.start_sensor("failure_sensor")
    hold, first = services.held_run()
    # one run of an API at a time
    queued = services.launch(API)
    services.parts.kill(DAEMON)
    hold.released.set()
    services.assert_succeeded(first)
    assert [run["runId"] for run in services.parts.runs(statuses=["QUEUED"])] == [queued]
    services.upstream.world.advance(24)
    # as after a restart of the machine: the daemon is there first
    services.parts.kill(CODE_LOCATION)
    services.parts.start(DAEMON)
    services.parts.wait_for(lambda: len(services.parts.events(queued, ENQUEUED)) > 1, "run that is queued again")
    services.parts.start(CODE_LOCATION)
    services.assert_succeeded(queued)

    assert services.parts.running_automation() == {f"{API}_full_refresh_schedule", "failure_sensor"}
    services.assert_exact(API)
    services.assert_calm()


def test_step_of_a_worker_that_dies_is_executed_by_the_other_one(services: Services) -> None:
    services.upstream.world.advance(24)
    hold, run = services.held_run()
    (holder,) = services.parts.lock_holders()
    services.parts.kill(holder)
    services.parts.wait_for(lambda: len(services.parts.events(run, STEP_START)) == 2, "step of the other worker")
    hold.released.set()
    services.assert_succeeded(run)
    services.parts.start(holder)

    assert holder in services.parts.workers
    assert len(services.parts.events(run, STEP_SUCCESS)) == 1
    services.assert_exact(API)
    services.assert_calm()


def test_webserver_and_daemon_have_no_key_and_no_password_of_the_warehouse(services: Services) -> None:
    parts, keys = services.parts, services.upstream.options.api_keys
    passwords = {name: parts.variables[f"{name}_PASSWORD"] for name in PASSWORDS}
    syncing = {keys[API], keys[OTHER], passwords["WAREHOUSE"], passwords["RABBITMQ"]}

    def held(name: str) -> set[str]:
        found = parts.environment(name) + "".join(parts.secrets(name))
        return {each for each in (*keys.values(), *passwords.values()) if each in found}

    for name in (CODE_LOCATION, *parts.workers):
        assert held(name) == syncing | {passwords["DAGSTER"]}
    for name in (WEBSERVER, DAEMON):
        assert held(name) == {passwords["DAGSTER"]}
    printed = parts.printed()
    assert len(printed) >= len(parts.processes)
    assert not [each for each in (*keys.values(), *passwords.values()) if each in "".join(printed)]


def test_nothing_is_left_once_all_services_are_stopped(services: Services) -> None:
    # the last of the module: the services are stopped
    parts = services.parts
    killed = parts.stop()

    assert killed == []
    # what a part has started ends a moment after it
    parts.wait_for(lambda: not parts.leftover(), f"end of {parts.leftover()}")
    parts.wait_for(lambda: not parts.sessions(), "end of all sessions")
