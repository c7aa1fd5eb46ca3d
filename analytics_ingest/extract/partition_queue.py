"""Which partition of an endpoint is read next, and when to give up on the others."""

from __future__ import annotations

import threading
from enum import Enum
from typing import TYPE_CHECKING

from analytics_ingest.errors import FailureKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics_ingest.extract.partitions import Partition

PROBATION_PARTITIONS = 5
"""Partitions read first: if each of them answers 403, the endpoint is not for this account."""
MAX_FAILURES_IN_A_ROW = 20
"""Partitions that fail one after the other, each after its retries, before the others are left for the next sync."""


class QueueState(Enum):
    """What a queue gives."""

    PROBATION = "probation"
    """The first few partitions, as the account may not be allowed to read any."""
    OPEN = "open"
    """Every partition: one has ended otherwise than by 403."""
    STOPPED = "stopped"
    """None any more: the others are left for the next sync."""


class FailureBudget:
    """Counts the failures of one endpoint's partitions."""

    def __init__(self, partitions: int) -> None:
        """Starts with no failure.

        Args:
            partitions: All partitions to read.
        """
        self._partitions = partitions
        self._ended = 0
        self._forbidden = 0
        self._in_a_row = 0

    def record(self, kind: FailureKind | None) -> None:
        """Counts the end of one partition; ``kind``: why it failed, ``None`` if it did not."""
        self._ended += 1
        self._in_a_row = 0 if kind is None else self._in_a_row + 1
        self._forbidden += kind is FailureKind.FORBIDDEN

    @property
    def is_exhausted(self) -> bool:
        """Whether to give up on the partitions that are left."""
        probation = min(PROBATION_PARTITIONS, self._partitions)
        all_forbidden = self._forbidden == self._ended and self._forbidden >= probation
        return self._ended < self._partitions and (all_forbidden or self._in_a_row >= MAX_FAILURES_IN_A_ROW)


class PartitionQueue:
    """Hands out the partitions of one endpoint to the threads that read them. Every method may be called by any thread.

    Some partitions are late: they are known under a provisional name, or are read again. They come last, once all
    others have ended: whether one is requested depends on the responses to the others.
    """

    def __init__(self, partitions: Sequence[Partition]) -> None:
        """Takes the partitions.

        Args:
            partitions: All partitions to read, in order; late ones last.
        """
        self._partitions = partitions
        self._not_late = sum(not each.late for each in partitions)
        self._started = 0
        self._ended_not_late = 0
        self._budget = FailureBudget(len(partitions))
        self._state = QueueState.PROBATION
        self._lock = threading.Lock()

    @property
    def state(self) -> QueueState:
        """What the queue gives now."""
        return self._state

    @property
    def expected(self) -> int:
        """Partitions that are read in all: those started, once the queue is stopped."""
        return self._started if self._state is QueueState.STOPPED else len(self._partitions)

    @property
    def is_exhausted(self) -> bool:
        """Whether ``next`` never gives a partition again."""
        return self._state is QueueState.STOPPED or self._started == len(self._partitions)

    @property
    def has_late(self) -> bool:
        """Whether some partitions are read only once others have ended."""
        return self._not_late < len(self._partitions)

    def next(self) -> Partition | None:
        """The partition to read next; ``None`` if there is none, or none until others have ended."""
        with self._lock:
            on_probation = self._state is QueueState.PROBATION and self._started >= PROBATION_PARTITIONS
            waits_for_others = self._started >= self._not_late > self._ended_not_late
            if self.is_exhausted or on_probation or waits_for_others:
                return None
            self._started += 1
            return self._partitions[self._started - 1]

    def list_ended(self, partition: Partition, failure: FailureKind | None) -> bool:
        """Records the end of a partition's list. False if too many failed, so that the queue gives none any more.

        Args:
            partition: The partition.
            failure: Why its list could not be read; ``None`` if it was, or is gone.
        """
        with self._lock:
            self._ended_not_late += not partition.late
            self._budget.record(failure)
            if failure is not None and self._budget.is_exhausted:
                self._state = QueueState.STOPPED
                return False
            if self._state is QueueState.PROBATION and failure is not FailureKind.FORBIDDEN:
                self._state = QueueState.OPEN
            return True

    def stop(self) -> None:
        """Gives no partition any more."""
        with self._lock:
            self._state = QueueState.STOPPED
