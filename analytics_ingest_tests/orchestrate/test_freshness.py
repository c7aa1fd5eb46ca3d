"""What the freshness sensor asks for, and what it leaves alone, tick by tick on a real instance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dagster import AssetKey, DagsterInstance, DagsterRunStatus, build_sensor_context

from analytics_ingest.apis.registry import APIS
from analytics_ingest.definitions import defs
from analytics_ingest.orchestrate import freshness
from analytics_ingest.orchestrate.freshness import paused_until

if TYPE_CHECKING:
    import pytest

    from analytics_ingest.sandbox.server import SandboxServer

API = "experimentation"
GATES = AssetKey([API, "gates"])


def tick(instance: DagsterInstance) -> set[str]:
    """The assets that a first tick of the sensor asks for."""
    repository = defs.get_repository_def()
    context = build_sensor_context(instance=instance, repository_def=repository, sensor_name="freshness_sensor")
    requests = repository.get_sensor_def("freshness_sensor").evaluate_tick(context).run_requests or []
    for request in requests:
        assert request.tags["analytics_ingest/cause"] == "freshness"
    return {"/".join(key.path) for request in requests for key in request.asset_selection or ()}


def assets(*apis: str) -> set[str]:
    return {f"{api}/{endpoint.name}" for api in apis for endpoint in APIS[api].endpoints}


def configure(monkeypatch: pytest.MonkeyPatch, *apis: str) -> None:
    """Takes the configuration of all other APIs away."""
    for api in APIS:
        if api not in apis:
            monkeypatch.delenv(f"SOURCES__{api.upper()}__API_KEY")


def test_what_was_never_materialised_is_asked_for_where_it_is_configured(
    sandbox: SandboxServer, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tick(instance) == assets(*APIS)
    configure(monkeypatch, API, "incident_response")
    assert tick(instance) == assets(API, "incident_response")
    assert defs.resolve_job_def("incident_response_sync").execute_in_process(instance=instance).success

    assert tick(instance) == assets(API)
    assert sandbox.requests.count(API) == 0


def test_nothing_is_asked_for_while_it_is_being_synced(
    sandbox: SandboxServer, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, API)
    job = defs.resolve_job_def(f"{API}_sync")
    run = instance.create_run_for_job(job, status=DagsterRunStatus.STARTED)
    assert run
    assert tick(instance) == set()


def failed_run(instance: DagsterInstance, *keys: AssetKey) -> None:
    run = instance.create_run_for_job(
        defs.resolve_job_def(f"{API}_sync"),
        status=DagsterRunStatus.STARTED,
        tags={"analytics_ingest/cause": "freshness"},
        asset_selection=frozenset(keys),
    )
    instance.report_run_failed(run)


def test_what_fails_again_and_again_is_asked_for_later_and_later(
    sandbox: SandboxServer, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, API)
    assert paused_until(instance, GATES) is None
    for minutes in (15, 30, 60, 120):
        before = datetime.now(UTC)
        failed_run(instance, GATES)
        until = paused_until(instance, GATES)
        assert until is not None
        pause = timedelta(minutes=minutes)
        assert before + pause <= until <= datetime.now(UTC) + pause
    # its child has no parent's table to be read by
    assert tick(instance) == assets(API) - {f"{API}/gates", f"{API}/gates_rules"}
    monkeypatch.setattr(freshness, "LONGEST_PAUSE", timedelta(0))
    assert tick(instance) == assets(API)


def test_failures_before_the_last_success_do_not_count(sandbox: SandboxServer, instance: DagsterInstance) -> None:
    failed_run(instance, GATES)
    assert paused_until(instance, GATES) is not None
    job = defs.resolve_job_def(f"{API}_sync")
    assert job.execute_in_process(instance=instance, asset_selection=[GATES]).success

    assert paused_until(instance, GATES) is None


def test_every_asset_has_the_policy_and_the_condition() -> None:
    for spec in defs.resolve_all_asset_specs():
        assert spec.freshness_policy is not None
        assert spec.automation_condition is not None
    sensor = defs.get_repository_def().get_sensor_def("freshness_sensor")
    assert sensor.default_status.value == "STOPPED"
