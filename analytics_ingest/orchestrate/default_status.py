"""The default status of schedules and sensors: running or stopped until a user turns them on or off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import DefaultScheduleStatus, DefaultSensorStatus

if TYPE_CHECKING:
    from analytics_ingest.config.deployment import DeploymentSettings


def schedule_status(deployment: DeploymentSettings) -> DefaultScheduleStatus:
    """The default status of a schedule."""
    return DefaultScheduleStatus.RUNNING if deployment.running else DefaultScheduleStatus.STOPPED


def sensor_status(deployment: DeploymentSettings) -> DefaultSensorStatus:
    """The default status of a sensor."""
    return DefaultSensorStatus.RUNNING if deployment.running else DefaultSensorStatus.STOPPED
