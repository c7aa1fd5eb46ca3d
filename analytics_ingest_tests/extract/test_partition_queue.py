"""Which partition of an endpoint is read next, and when the others are given up."""

from __future__ import annotations

import pytest

from analytics_ingest.apis.parents import PartitionName
from analytics_ingest.errors import FailureKind
from analytics_ingest.extract.partition_queue import (
    MAX_FAILURES_IN_A_ROW,
    PROBATION_PARTITIONS,
    PartitionQueue,
    QueueState,
)
from analytics_ingest.extract.partitions import Partition

OTHER_KINDS = [kind for kind in FailureKind if kind is not FailureKind.FORBIDDEN]


def partitions(count: int, *, late: bool = False) -> list[Partition]:
    return [Partition(path=f"/{late}/{n}", params={}, naming=PartitionName(late=late)) for n in range(count)]


def take(queue: PartitionQueue, count: int) -> list[Partition]:
    taken = [queue.next() for _ in range(count)]
    assert None not in taken
    return [each for each in taken if each]


def test_every_partition_comes_once_and_in_order() -> None:
    every = partitions(3)
    queue = PartitionQueue(every)

    assert take(queue, 3) == every
    assert queue.next() is None
    assert queue.is_exhausted
    assert queue.expected == 3


def test_late_partitions_are_held_until_every_other_one_has_ended() -> None:
    early, late = partitions(2), partitions(2, late=True)
    queue = PartitionQueue([*early, *late])

    assert take(queue, 2) == early
    for each in early:
        assert queue.next() is None
        queue.list_ended(each, None)
    assert take(queue, 2) == late
    assert queue.is_exhausted


@pytest.mark.parametrize("failure", [None, *OTHER_KINDS])
def test_one_end_otherwise_than_by_403_opens_the_queue(failure: FailureKind | None) -> None:
    queue = PartitionQueue(partitions(PROBATION_PARTITIONS + 1))
    started = take(queue, PROBATION_PARTITIONS)
    assert (queue.next(), queue.state) == (None, QueueState.PROBATION)

    assert queue.list_ended(started[0], FailureKind.FORBIDDEN)
    assert queue.next() is None
    assert queue.list_ended(started[1], failure)
    assert queue.state is QueueState.OPEN
    take(queue, 1)


def test_403_of_all_on_probation_stops_the_queue() -> None:
    queue = PartitionQueue(partitions(100))
    *others, last = take(queue, PROBATION_PARTITIONS)

    assert all(queue.list_ended(each, FailureKind.FORBIDDEN) for each in others)
    assert not queue.list_ended(last, FailureKind.FORBIDDEN)
    assert (queue.next(), queue.state, queue.is_exhausted) == (None, QueueState.STOPPED, True)
    assert queue.expected == PROBATION_PARTITIONS


def test_failures_in_a_row_stop_the_queue_and_one_success_starts_the_count_anew() -> None:
    queue = PartitionQueue(partitions(100))
    for n in range(2 * MAX_FAILURES_IN_A_ROW):
        (each,) = take(queue, 1)
        goes_on = queue.list_ended(each, None if n == MAX_FAILURES_IN_A_ROW - 1 else FailureKind.SERVER_ERROR)
        assert goes_on is (n < 2 * MAX_FAILURES_IN_A_ROW - 1)
    assert queue.state is QueueState.STOPPED


def test_nothing_is_given_up_when_the_last_partition_fails() -> None:
    queue = PartitionQueue(partitions(MAX_FAILURES_IN_A_ROW))
    for _ in range(MAX_FAILURES_IN_A_ROW):
        (each,) = take(queue, 1)
        assert queue.list_ended(each, FailureKind.SERVER_ERROR)
    assert queue.state is QueueState.OPEN


def test_a_stopped_queue_expects_those_that_were_started() -> None:
    queue = PartitionQueue(partitions(4))
    take(queue, 2)
    queue.stop()

    assert (queue.next(), queue.expected, queue.is_exhausted) == (None, 2, True)
