"""The schedules, tick by tick, on a real instance."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, DagsterRunStatus, build_schedule_context

from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.config.deployment import load_deployment_settings
from analytics_ingest.config.schedule import load_schedule_settings
from analytics_ingest.definitions import defs
from analytics_ingest.orchestrate.schedules import build_schedules
from analytics_ingest.sandbox.server import SandboxServer

NOON = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
every_api = pytest.mark.parametrize("api", APIS)


def schedule(name: str) -> Any:
    return next(each for each in defs.schedules or () if each.name == name)


def tick(instance: DagsterInstance, name: str) -> Any:
    repository = defs.get_repository_def()
    context = build_schedule_context(instance=instance, scheduled_execution_time=NOON, repository_def=repository)
    return repository.get_schedule_def(name).evaluate_tick(context)


@every_api
def test_a_tick_asks_for_a_run(instance: DagsterInstance, sandbox: SandboxServer, api: str) -> None:
    for name in (f"{api}_sync_schedule", f"{api}_full_refresh_schedule"):
        (request,) = tick(instance, name).run_requests
        assert request.tags["analytics_ingest/cause"] == "schedule"
        assert request.run_config in ({}, {"ops": {api: {"config": {"full_refresh": True}}}})
    assert sandbox.requests.count() == 0


@every_api
def test_an_api_that_is_not_configured_is_skipped_with_the_reason(instance: DagsterInstance, api: str) -> None:
    for name in (f"{api}_sync_schedule", f"{api}_full_refresh_schedule"):
        done = tick(instance, name)
        assert done.run_requests == []
        section, (vendor,) = f"SOURCES__{api.upper()}", PROFILES[api]
        settings = f"{section}__PROFILE to {vendor} (or {section}__BASE_URL) and {section}__API_KEY"
        assert done.skip_message == f"{api} is not configured: set {settings}"


def under_way(instance: DagsterInstance, job: str, status: DagsterRunStatus, *assets: str) -> str:
    definition = defs.resolve_job_def(job)
    run = instance.create_run_for_job(
        definition,
        status=status,
        tags=definition.run_tags,
        asset_selection=frozenset(AssetKey(each.split("/")) for each in assets) or None,
    )
    return run.run_id


@pytest.mark.parametrize(
    ("job", "assets", "status"),
    [
        pytest.param("experimentation_sync", (), DagsterRunStatus.STARTING, marks=pytest.mark.extended),
        ("experimentation_sync", (), DagsterRunStatus.STARTED),
        pytest.param("experimentation_sync", (), DagsterRunStatus.CANCELING, marks=pytest.mark.extended),
        ("experimentation_full_refresh", (), DagsterRunStatus.STARTED),
        ("all_sync", (), DagsterRunStatus.STARTED),
        ("__ASSET_JOB", ("experimentation/gates",), DagsterRunStatus.STARTED),
    ],
)
def test_a_sync_is_skipped_while_one_is_under_way_and_a_full_refresh_is_queued(
    instance: DagsterInstance, sandbox: SandboxServer, job: str, assets: tuple[str, ...], status: DagsterRunStatus
) -> None:
    run_id = under_way(instance, job, status, *assets)

    skipped = tick(instance, "experimentation_sync_schedule")
    assert skipped.run_requests == []
    assert skipped.skip_message == f"run {run_id[:8]} of experimentation is still in progress"
    assert len(tick(instance, "experimentation_full_refresh_schedule").run_requests) == 1
    others = 0 if job == "all_sync" else 1
    assert len(tick(instance, "incident_response_sync_schedule").run_requests) == others


def test_a_run_that_has_ended_is_no_reason(instance: DagsterInstance, sandbox: SandboxServer) -> None:
    for status in (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED):
        under_way(instance, "experimentation_sync", status)

    assert len(tick(instance, "experimentation_sync_schedule").run_requests) == 1


def test_a_verification_waits_for_no_sync_and_is_skipped_without_a_budget(
    instance: DagsterInstance, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "experimentation_verify_schedule"
    under_way(instance, "experimentation_sync", DagsterRunStatus.STARTED)
    assert len(tick(instance, name).run_requests) == 1
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__VERIFY_REQUESTS", "0")
    assert tick(instance, name).skip_message == "VERIFY_REQUESTS is 0"
    monkeypatch.delenv("SOURCES__EXPERIMENTATION__API_KEY")
    assert "experimentation is not configured" in (tick(instance, name).skip_message or "")


def test_cron_time_zone_and_status_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__INCIDENT_RESPONSE__CRON", "7 * * * *")
    monkeypatch.setenv("SOURCES__INCIDENT_RESPONSE__FULL_REFRESH_CRON", "0 3 1 * *")
    monkeypatch.setenv("ANALYTICS_INGEST_TIMEZONE", "America/New_York")
    monkeypatch.setenv("ANALYTICS_INGEST_AUTOMATION", "running")
    api = APIS["incident_response"]
    monkeypatch.setenv("SOURCES__INCIDENT_RESPONSE__VERIFY_CRON", "9 2 * * 1")
    built = build_schedules(api, load_schedule_settings(api), load_deployment_settings())

    assert [each.cron_schedule for each in built] == ["7 * * * *", "0 3 1 * *", "9 2 * * 1"]
    assert {each.execution_timezone for each in built} == {"America/New_York"}
    assert {each.default_status.value for each in built} == {"RUNNING"}


def test_every_api_has_its_schedules_stopped() -> None:
    names = {f"{api}_{kind}_schedule" for api in APIS for kind in ("sync", "full_refresh", "verify")}
    assert {each.name for each in defs.schedules or ()} == names
    assert {each.default_status.value for each in defs.schedules or ()} == {"STOPPED"}
    assert schedule("experimentation_sync_schedule").job_name == "experimentation_sync"
