"""Settings that hold for all APIs, from the environment; they shape the graph and are read when definitions load."""

from __future__ import annotations

import os
from zoneinfo import ZoneInfo

from analytics_ingest.errors import ConfigurationError

AUTOMATION = "ANALYTICS_INGEST_AUTOMATION"
TIMEZONE = "ANALYTICS_INGEST_TIMEZONE"


class Deployment:
    """What holds for all APIs, from the environment.

    Attributes:
        timezone: The time zone of cron expressions, ``ANALYTICS_INGEST_TIMEZONE``; UTC unless set.
        running: Whether schedules and sensors run without a click, ``ANALYTICS_INGEST_AUTOMATION``.
    """

    def __init__(self) -> None:
        """Reads the environment.

        Raises:
            ConfigurationError: A value is not valid.
        """
        self.timezone = os.environ.get(TIMEZONE, "").strip() or "UTC"
        try:
            ZoneInfo(self.timezone)
        except (ValueError, OSError, KeyError):
            raise ConfigurationError(
                f"{TIMEZONE} is {self.timezone!r}, which is no time zone: write Europe/Berlin, or UTC"
            ) from None
        automation = os.environ.get(AUTOMATION, "").strip().lower() or "stopped"
        if automation not in ("running", "stopped"):
            raise ConfigurationError(f"{AUTOMATION} is {automation!r}: it must be 'running' or 'stopped'")
        self.running = automation == "running"
