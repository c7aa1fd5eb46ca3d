"""Settings that hold for all APIs."""

from __future__ import annotations

import pytest
from dagster import DefaultScheduleStatus, DefaultSensorStatus

from analytics_ingest.config.deployment import Deployment
from analytics_ingest.errors import ConfigurationError
from analytics_ingest.orchestrate.default_status import schedule_status, sensor_status


def test_nothing_runs_by_itself_unless_a_setting_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = Deployment()
    assert (schedule_status(stopped), sensor_status(stopped)) == (
        DefaultScheduleStatus.STOPPED,
        DefaultSensorStatus.STOPPED,
    )
    assert stopped.timezone == "UTC"
    monkeypatch.setenv("ANALYTICS_INGEST_AUTOMATION", "Running")
    monkeypatch.setenv("ANALYTICS_INGEST_TIMEZONE", "Europe/Berlin")
    running = Deployment()
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
    ],
)
def test_deployments_that_make_no_sense(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=message.replace(".", r"\.")):
        Deployment()
