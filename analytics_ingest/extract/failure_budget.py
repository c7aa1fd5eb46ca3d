"""When parents that fail, one after the other, are enough to leave the others unasked."""

from __future__ import annotations

from analytics_ingest.errors import FailureKind

PROBATION = 5
"""Parents asked first: if each of them answers 403, the endpoint is not for this account."""
OUTAGE = 20
"""Parents in a row that fail, each after its retries, before the rest is left for the next sync."""


class FailureBudget:
    """Counts the failures of one endpoint's parents."""

    def __init__(self, parents: int) -> None:
        self._parents = parents
        self._forbidden = 0
        self._in_a_row = 0

    def answered(self) -> None:
        """A parent was read, or is gone."""
        self._in_a_row = 0

    def is_exhausted(self, kind: FailureKind, *, done: int) -> bool:
        """Whether to give up, now that one more of the ``done`` parents has failed with ``kind``."""
        self._in_a_row += 1
        self._forbidden += kind is FailureKind.FORBIDDEN
        forbidden = self._forbidden == done and self._forbidden >= min(PROBATION, self._parents)
        return done < self._parents and (forbidden or self._in_a_row >= OUTAGE)
