"""The status of schedules and sensors that nobody has turned on or off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import DefaultScheduleStatus, DefaultSensorStatus

if TYPE_CHECKING:
    from analytics_ingest.config.deployment import DeploymentSettings


def schedule_status(deployment: DeploymentSettings) -> DefaultScheduleStatus:
    """The status of a schedule that nobody has touched."""
    return DefaultScheduleStatus.RUNNING if deployment.running else DefaultScheduleStatus.STOPPED


def sensor_status(deployment: DeploymentSettings) -> DefaultSensorStatus:
    """The status of a sensor that nobody has touched."""
    return DefaultSensorStatus.RUNNING if deployment.running else DefaultSensorStatus.STOPPED
