"""Logs lines of progress while an endpoint is read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

    from analytics_ingest.extract.stats import ReadStats


class Progress:
    """Logs how far the reading of one endpoint has come, at intervals."""

    def __init__(self, name: str, log: logging.Logger, *, interval: float, counts_parents: bool) -> None:
        """Logs nothing yet.

        Args:
            name: The endpoint's name for people.
            log: Gets the lines.
            interval: Seconds between two lines, at least.
            counts_parents: Whether the lines have the number of parents.
        """
        self._name = name
        self._log = log
        self._interval = interval
        self._counts_parents = counts_parents
        self._logged = time.monotonic()
        self._has_logged = False

    def log_if_due(self, stats: ReadStats) -> None:
        """Logs a line, if the interval since the last one has passed."""
        now = time.monotonic()
        if now - self._logged >= self._interval:
            self._logged, self._has_logged = now, True
            self._log.info(self._line(stats))

    def end(self, stats: ReadStats, *, complete: bool) -> None:
        """Logs the last line, if there was one before."""
        if self._has_logged:
            self._log.info(f"{self._line(stats)}, done" if complete else self._line(stats))

    def _line(self, stats: ReadStats) -> str:
        parents = f"{stats.parents_done} of {stats.parents} parents, " if self._counts_parents else ""
        return f"{self._name}: {parents}{stats.pages} pages, {stats.rows_read} rows"
