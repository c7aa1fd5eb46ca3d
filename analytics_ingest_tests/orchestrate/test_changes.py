"""The change sensors, tick by tick, against the sandbox: which runs they request, and when."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from dagster import AssetMaterialization, DagsterInstance, DagsterRunStatus, RunRequest, build_sensor_context
from dagster._core.definitions.sensor_definition import SensorExecutionData

from analytics_ingest.apis.registry import APIS
from analytics_ingest.definitions import defs
from analytics_ingest.orchestrate.sensors import changes
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer

API = "incident_response"
every_api = pytest.mark.parametrize("api", APIS)


class Time:
    """Epoch seconds that a test advances."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock_of_sensors(monkeypatch: pytest.MonkeyPatch) -> Time:
    fake = Time()
    monkeypatch.setattr(changes, "time", fake)
    return fake


class Sensor:
    """One API's sensor on an instance; its cursor is stored as the daemon stores it."""

    def __init__(self, api: str, instance: DagsterInstance) -> None:
        self.api = api
        self.instance = instance
        self.cursor: str | None = None

    def materialise(self, *endpoints: str) -> None:
        """Records that endpoints have tables; all by default."""
        for name in endpoints or APIS[self.api].by_name:
            self.instance.report_runless_asset_event(AssetMaterialization([self.api, name]))

    def tick(self) -> SensorExecutionData:
        repository = defs.get_repository_def()
        context = build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            repository_def=repository,
            sensor_name=f"{self.api}_change_sensor",
        )
        done = repository.get_sensor_def(f"{self.api}_change_sensor").evaluate_tick(context)
        self.cursor = done.cursor
        return done

    def requested(self) -> RunRequest:
        requests = self.tick().run_requests
        assert requests is not None
        (request,) = requests
        return request

    def skipped(self) -> str:
        done = self.tick()
        assert not done.run_requests
        assert done.skip_message is not None
        return done.skip_message

    def end(self, request: RunRequest, status: DagsterRunStatus) -> None:
        """Adds a run of that request that has ended with ``status``."""
        self.instance.create_run_for_job(
            defs.resolve_job_def(f"{self.api}_sync"),
            status=status,
            tags={**request.tags, "dagster/run_key": request.run_key or ""},
            asset_selection=frozenset(request.asset_selection or ()),
        )


@pytest.fixture
def sensor(instance: DagsterInstance, sandbox: SandboxServer, clock_of_sensors: Time) -> Sensor:
    return Sensor(API, instance)


# one that has two probes shows what the others have
@pytest.mark.parametrize(
    "api",
    [each if each == "experimentation" else pytest.param(each, marks=pytest.mark.extended) for each in APIS],
)
def test_one_change_is_synced_once(
    instance: DagsterInstance, sandbox: SandboxServer, clock_of_sensors: Time, api: str
) -> None:
    sensor = Sensor(api, instance)
    sensor.materialise()
    probes = APIS[api].probes
    first = sensor.requested()
    assert Counter(r.endpoint for r in sandbox.requests) == Counter(probe.endpoint for probe in probes)
    assert 1 <= len(sandbox.requests) <= 2
    assert {key.path[-1] for key in first.asset_selection or ()} == {name for p in probes for name in p.concerns}
    sensor.end(first, DagsterRunStatus.SUCCESS)
    quiet = sensor.skipped()
    assert quiet == f"no change at {', '.join(probe.endpoint for probe in probes)}"
    assert sensor.skipped() == quiet

    for probe in probes:
        sandbox.world.collection(api, probe.endpoint)[0]["note"] = "changed"
        request = sensor.requested()
        assert [key.path for key in request.asset_selection or ()] == [[api, name] for name in probe.concerns]
        assert request.tags["analytics_ingest/cause"] == "change"
        sensor.end(request, DagsterRunStatus.SUCCESS)
        assert sensor.skipped() == quiet


def test_the_whole_api_is_synced_while_a_parent_has_no_table(
    instance: DagsterInstance, sandbox: SandboxServer, clock_of_sensors: Time
) -> None:
    sensor = Sensor("project_planning", instance)
    concerned = {name for probe in APIS[sensor.api].probes for name in probe.concerns}
    sensor.materialise(*concerned)
    first = sensor.requested()

    # a first sync that was killed, or that has not started: its schedule may come later
    assert first.asset_selection is None
    sensor.end(first, DagsterRunStatus.SUCCESS)
    sensor.materialise()
    for probe in APIS[sensor.api].probes:
        sandbox.world.collection(sensor.api, probe.endpoint)[0]["note"] = "changed"
    assert {key.path[-1] for key in sensor.requested().asset_selection or ()} == concerned


def test_row_that_is_added_or_removed_shows_in_the_total(sensor: Sensor, sandbox: SandboxServer) -> None:
    incidents = sandbox.world.collection(API, "incidents")
    incidents += [{**incidents[0], "id": f"more-{number}"} for number in range(200)]
    sensor.end(sensor.requested(), DagsterRunStatus.SUCCESS)
    assert sensor.skipped() == "no change at incidents"
    incidents.pop()
    sensor.end(sensor.requested(), DagsterRunStatus.SUCCESS)
    assert sensor.skipped() == "no change at incidents"


def test_order_of_rows_is_no_change(sensor: Sensor, sandbox: SandboxServer) -> None:
    sensor.end(sensor.requested(), DagsterRunStatus.SUCCESS)
    del sandbox.world.collection(API, "incidents")[40:]
    sensor.end(sensor.requested(), DagsterRunStatus.SUCCESS)
    sandbox.world.collection(API, "incidents").reverse()

    assert sensor.skipped() == "no change at incidents"


def test_run_that_fails_does_not_swallow_the_change(
    sensor: Sensor, sandbox: SandboxServer, clock_of_sensors: Time
) -> None:
    first = sensor.requested()
    sensor.end(first, DagsterRunStatus.FAILURE)
    assert sensor.skipped() == "backs off for another 60 s after a failure"
    clock_of_sensors.now += 61
    second = sensor.requested()
    assert second.run_key == f"{(first.run_key or '').removesuffix('-1')}-2"
    sensor.end(second, DagsterRunStatus.CANCELED)
    assert sensor.skipped() == "backs off for another 120 s after a failure"
    clock_of_sensors.now += 121
    third = sensor.requested()
    sensor.end(third, DagsterRunStatus.SUCCESS)

    assert sensor.skipped() == "no change at incidents"
    assert len({first.run_key, second.run_key, third.run_key}) == 3


def test_request_that_never_became_a_run_is_made_again_under_its_key(sensor: Sensor) -> None:
    assert sensor.requested().run_key == sensor.requested().run_key


def test_lists_are_not_polled_while_a_run_is_in_progress(
    instance: DagsterInstance, sensor: Sensor, sandbox: SandboxServer
) -> None:
    job = defs.resolve_job_def("all_sync")
    run = instance.create_run_for_job(job, status=DagsterRunStatus.STARTED, tags=job.run_tags)

    assert sensor.skipped() == f"run {run.run_id[:8]} of {API} is still in progress"
    assert len(sandbox.requests) == 0


def test_polls_that_fail_back_off_and_count_nothing_as_seen(
    sensor: Sensor, sandbox: SandboxServer, clock_of_sensors: Time
) -> None:
    sensor.end(sensor.requested(), DagsterRunStatus.SUCCESS)
    assert sensor.skipped() == "no change at incidents"
    seen = json.loads(sensor.cursor or "")["seen"]
    sandbox.world.collection(API, "incidents")[0]["note"] = "changed"
    sandbox.options.faults.append(Fault(api=API, status=503))
    sandbox.requests.reset()
    reason = sensor.skipped()
    assert reason.startswith("incident_response: /incidents answered 503: ")
    assert reason.endswith("Polls again in 60 s")
    assert sensor.skipped() == "backs off for another 60 s after a failure"
    assert len(sandbox.requests) == 1
    clock_of_sensors.now += 61
    assert sensor.skipped().endswith("Polls again in 120 s")
    assert json.loads(sensor.cursor or "")["seen"] == seen
    sandbox.options.faults.clear()
    clock_of_sensors.now += 121

    assert sensor.requested().run_key


def test_wrong_key_is_reported_and_not_shown(
    sensor: Sensor, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__INCIDENT_RESPONSE__API_KEY", "a-wrong-k3y")
    reason = sensor.skipped()

    assert "incident_response refused the key (401 Unauthorized): check SOURCES__INCIDENT_RESPONSE__API_KEY" in reason
    assert "a-wrong-k3y" not in reason + (sensor.cursor or "")


def test_api_that_is_not_configured_is_skipped(instance: DagsterInstance) -> None:
    assert Sensor(API, instance).skipped().startswith("incident_response is not configured: set SOURCES__")


@every_api
def test_description_has_the_changes_that_are_not_detected(api: str) -> None:
    sensor = defs.get_repository_def().get_sensor_def(f"{api}_change_sensor")
    for probe in APIS[api].probes:
        assert f"{probe.endpoint} (not detected: {probe.blind})" in (sensor.description or "")
    assert sensor.default_status.value == "STOPPED"
    assert sensor.minimum_interval_seconds == 60
