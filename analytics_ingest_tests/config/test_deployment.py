"""Settings that hold for all APIs."""

from __future__ import annotations

import pytest
from dagster import DefaultScheduleStatus, DefaultSensorStatus

from analytics_ingest.config.deployment import DeploymentSettings, load_deployment_setting, load_deployment_settings
from analytics_ingest.errors import ConfigurationError
from analytics_ingest.orchestrate.default_status import schedule_status, sensor_status


def test_nothing_runs_by_itself_unless_a_setting_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = load_deployment_settings()
    assert (schedule_status(stopped), sensor_status(stopped)) == (
        DefaultScheduleStatus.STOPPED,
        DefaultSensorStatus.STOPPED,
    )
    assert stopped.timezone == "UTC"
    monkeypatch.setenv("ANALYTICS_INGEST_AUTOMATION", "Running")
    monkeypatch.setenv("ANALYTICS_INGEST_TIMEZONE", "Europe/Berlin")
    running = load_deployment_settings()
    assert (schedule_status(running), sensor_status(running)) == (
        DefaultScheduleStatus.RUNNING,
        DefaultSensorStatus.RUNNING,
    )
    assert running.timezone == "Europe/Berlin"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ANALYTICS_INGEST_AUTOMATION", "on", "ANALYTICS_INGEST_AUTOMATION is 'on': it must be 'running' or 'stopped'"),
        ("ANALYTICS_INGEST_TIMEZONE", "Mars/Olympus", "ANALYTICS_INGEST_TIMEZONE is 'Mars/Olympus', which is no time"),
        ("ANALYTICS_INGEST_TIMEZONE", "../etc", "ANALYTICS_INGEST_TIMEZONE is '../etc', which is no time zone"),
        (
            "ANALYTICS_INGEST_EXECUTOR",
            "kubernetes",
            "ANALYTICS_INGEST_EXECUTOR is 'kubernetes': it must be 'per_api', 'in_process', 'multiprocess' or 'celery'",
        ),
    ],
)
def test_deployments_that_make_no_sense(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=message.replace(".", r"\.")):
        load_deployment_settings()


def test_value_that_is_not_valid_only_stops_what_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_TIMEZONE", "Mars/Olympus")
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", " postgres ")
    monkeypatch.setenv("ANALYTICS_INGEST_UI_URL", "no URL")
    monkeypatch.setenv("ANALYTICS_INGEST_EXECUTOR", "  ")

    found = {name: load_deployment_setting(name) for name in DeploymentSettings.model_fields if name != "timezone"}

    assert {name: found[name] for name in ("destination", "ui_url", "executor")} == {
        "destination": "postgres",
        "ui_url": "no URL",
        "executor": "per_api",
    }
    with pytest.raises(ConfigurationError, match=r"^ANALYTICS_INGEST_TIMEZONE is 'Mars/Olympus'"):
        load_deployment_setting("timezone")


def test_deployment_settings_do_not_show_what_is_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEBHOOK_URL", "CELERY_BROKER", "CELERY_BACKEND"):
        monkeypatch.setenv(f"ANALYTICS_INGEST_{name}", "https://host/s3cr3t")

    settings = load_deployment_settings()

    assert settings.webhook_url.get_secret_value() == "https://host/s3cr3t"
    assert "s3cr3t" not in f"{settings!r} {settings} {settings.model_dump()}"
