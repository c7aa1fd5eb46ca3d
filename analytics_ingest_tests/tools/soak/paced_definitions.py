"""The code location of a soak: the product's definitions with a clock that can be set, and with shorter waits.

Each process of the soak that loads definitions loads this module, so the processes of runs have the clock, too.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from analytics_ingest.diagnostics import endpoint_comparison, verification
from analytics_ingest.extract import endpoint_reader
from analytics_ingest.orchestrate import freshness, run_tags
from analytics_ingest.orchestrate.sensors import changes
from analytics_ingest.sync import api_sync, reader_factory

CLOCK, PACE = "SOAK_CLOCK", "SOAK_PACE"
"""Environment variables: the file with the seconds by which the clock is wrong, and the factor of all waits."""


class ShiftedClock:
    """Stands for ``datetime`` in a module that reads the clock: ``now`` is wrong by the seconds in a file."""

    @staticmethod
    def now(tz: tzinfo | None = None) -> datetime:
        """The time as the wrong clock has it."""
        seconds = 0.0
        with suppress(OSError, ValueError):
            seconds = float(Path(os.environ[CLOCK]).read_text())
        return datetime.now(tz) + timedelta(seconds=seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(datetime, name)


def set_pace(pace: float) -> None:
    """Shortens the waits that would outlast the soak: each is multiplied with ``pace``."""
    run_tags.GRACE *= pace
    run_tags.POLL_SECONDS *= pace
    changes.FIRST_BACKOFF *= pace
    freshness.FIRST_BACKOFF *= pace
    # a week: each table would be compared once
    endpoint_comparison.ROTATION = timedelta(minutes=4) * pace
    endpoint_comparison.SLACK = timedelta(0)


for module in (api_sync, endpoint_reader, reader_factory, verification):
    vars(module)["datetime"] = ShiftedClock()
set_pace(float(os.environ.get(PACE, "1")))

from analytics_ingest.definitions import defs  # noqa: E402

for sensor in defs.sensors or ():
    if sensor.name == "failure_sensor":
        sensor._min_interval = max(5, int(60 * float(os.environ.get(PACE, "1"))))

__all__ = ["defs"]
