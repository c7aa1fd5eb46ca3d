"""The assets that the freshness sensor requests, tick by tick on a real instance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from dagster import AssetKey, DagsterInstance, DagsterRunStatus, build_sensor_context

from analytics_ingest.apis.registry import APIS
from analytics_ingest.definitions import defs
from analytics_ingest.orchestrate import freshness
from analytics_ingest.orchestrate.freshness import backoff_until
from analytics_ingest.sandbox.server import SandboxServer

API = "experimentation"
GATES = AssetKey([API, "gates"])


def tick(instance: DagsterInstance) -> set[str]:
    """The assets that a first tick of the sensor requests."""
    repository = defs.get_repository_def()
    context = build_sensor_context(instance=instance, repository_def=repository, sensor_name="freshness_sensor")
    requests = repository.get_sensor_def("freshness_sensor").evaluate_tick(context).run_requests or []
    for request in requests:
        assert request.tags["analytics_ingest/cause"] == "freshness"
    return {"/".join(key.path) for request in requests for key in request.asset_selection or ()}


def assets(*apis: str) -> set[str]:
    return {f"{api}/{endpoint.name}" for api in apis for endpoint in APIS[api].endpoints}


def configure(monkeypatch: pytest.MonkeyPatch, *apis: str) -> None:
    """Removes the configuration of all other APIs."""
    for api in APIS:
        if api not in apis:
            monkeypatch.delenv(f"SOURCES__{api.upper()}__API_KEY")


def test_assets_never_materialised_are_requested_where_their_api_is_configured(
    sandbox: SandboxServer, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tick(instance) == assets(*APIS)
    configure(monkeypatch, API, "incident_response")
    assert tick(instance) == assets(API, "incident_response")
    assert defs.resolve_job_def("incident_response_sync").execute_in_process(instance=instance).success

    assert tick(instance) == assets(API)
    assert sandbox.requests.count(API) == 0


def test_nothing_is_requested_while_it_is_being_synced(
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


def test_each_failure_in_a_row_doubles_the_backoff(
    sandbox: SandboxServer, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, API)
    assert backoff_until(instance, GATES) is None
    for minutes in (15, 30, 60, 120):
        before = datetime.now(UTC)
        failed_run(instance, GATES)
        until = backoff_until(instance, GATES)
        assert until is not None
        backoff = timedelta(minutes=minutes)
        assert before + backoff <= until <= datetime.now(UTC) + backoff
    # the parent of its child has no table
    assert tick(instance) == assets(API) - {f"{API}/gates", f"{API}/gates_rules"}
    monkeypatch.setattr(freshness, "LONGEST_BACKOFF", timedelta(0))
    assert tick(instance) == assets(API)


def test_a_run_that_succeeds_without_the_asset_counts_like_a_failure(
    sandbox: SandboxServer, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, API)
    monkeypatch.setenv(f"SOURCES__{API.upper()}__SKIP_ENDPOINTS", "gates")
    assert f"{API}/gates" in tick(instance)
    job = defs.resolve_job_def(f"{API}_sync")
    before = datetime.now(UTC)
    for minutes in (15, 30):
        tags = {"analytics_ingest/cause": "freshness"}
        assert job.execute_in_process(instance=instance, asset_selection=[GATES], tags=tags).success
        until = backoff_until(instance, GATES)
        assert until is not None
        assert until >= before + timedelta(minutes=minutes)

    assert f"{API}/gates" not in tick(instance)


def test_failures_before_the_last_success_do_not_count(sandbox: SandboxServer, instance: DagsterInstance) -> None:
    failed_run(instance, GATES)
    assert backoff_until(instance, GATES) is not None
    job = defs.resolve_job_def(f"{API}_sync")
    assert job.execute_in_process(instance=instance, asset_selection=[GATES]).success

    assert backoff_until(instance, GATES) is None


def test_every_asset_has_the_policy_and_the_condition() -> None:
    for spec in defs.resolve_all_asset_specs():
        assert spec.freshness_policy is not None
        assert spec.automation_condition is not None
    sensor = defs.get_repository_def().get_sensor_def("freshness_sensor")
    assert sensor.default_status.value == "STOPPED"
