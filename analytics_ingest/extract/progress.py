"""Lines of progress in the log while an endpoint is read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

    from analytics_ingest.extract.stats import ReadStats


class Progress:
    """Tells how far the reading of one endpoint has come, now and then."""

    def __init__(self, name: str, log: logging.Logger, *, interval: float, counts_parents: bool) -> None:
        """Prepares to tell.

        Args:
            name: The endpoint's name for people.
            log: Gets the lines.
            interval: Seconds between two of them, at least.
            counts_parents: Whether the number of parents means anything.
        """
        self._name = name
        self._log = log
        self._interval = interval
        self._counts_parents = counts_parents
        self._told = time.monotonic()

    def log_if_due(self, stats: ReadStats) -> None:
        """A line, if it is time for one."""
        now = time.monotonic()
        if now - self._told >= self._interval:
            self._told = now
            self._log.info(self._line(stats))

    def end(self, stats: ReadStats, *, complete: bool) -> None:
        """The last line."""
        self._log.info(f"{self._line(stats)}, done" if complete else self._line(stats))

    def _line(self, stats: ReadStats) -> str:
        parents = f"{stats.parents_done} of {stats.parents} parents, " if self._counts_parents else ""
        return f"{self._name}: {parents}{stats.pages} pages, {stats.rows_read} rows"
