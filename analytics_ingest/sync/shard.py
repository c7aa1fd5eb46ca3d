"""A part of a fan-out's parents, which a process of its own asks, and what it tells of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from zlib import crc32

from analytics_ingest.extract.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from analytics_ingest.extract.reader import EndpointReader
    from analytics_ingest.extract.sweep import Sweep

WORTH_A_SHARD = 100
"""Parents to ask, at least, for each shard: to start its process takes as long as some hundred requests."""
SUMS = ("rows_read", "rows_short", "lists_unsettled", "rows_loaded", "pages", "parents_missing", "rows_rejected")
"""What of a reading is the sum of its shards'."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of ``of`` parts of an endpoint's parents, numbered from 1. A parent is always in the same one."""

    endpoint: str
    number: int
    of: int

    @property
    def name(self) -> str:
        """By which its pipeline and its lock are told from others'."""
        return f"{self.endpoint}_{self.number}_of_{self.of}"

    def __str__(self) -> str:
        """For people."""
        return f"shard {self.number} of {self.of}"

    def has(self, path: str) -> bool:
        """Whether the parent with this path is in it."""
        return crc32(path.encode()) % self.of == self.number - 1


def shards_of(endpoint: str, of: int) -> list[Shard]:
    """All shards of an endpoint."""
    return [Shard(endpoint=endpoint, number=number, of=of) for number in range(1, of + 1)]


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """What a shard has read and loaded.

    Attributes:
        read: Paths of its parents that need not be asked any more in this sync.
        reading: What came, and what it cost.
        deleted: Rows found gone upstream.
    """

    read: frozenset[str]
    reading: Reading
    deleted: int


def report_of(reader: EndpointReader, paths: Collection[str], *, deleted: int) -> ShardReport:
    """The report about a reader that has ended.

    Args:
        reader: The reader.
        paths: Of all parents of the shard, whether this sync has asked them or they were not due.
        deleted: Rows found gone upstream.
    """
    reading = reader.reading
    failed = {failure.path for failure in reading.failures}
    # after an outage it is not known whose lists were broken off
    read = frozenset() if reading.given_up else frozenset(paths) - failed
    return ShardReport(read=read, reading=reading, deleted=deleted)


def with_reports(sweep: Sweep, reports: Sequence[ShardReport]) -> tuple[Sweep, Reading]:
    """The sweep with the parents in front that shards have read, and the reading that begins with theirs.

    What a shard could not read is asked again, and fails again if it has to: there is one place that tells of it.
    """
    read = frozenset[str]().union(*(report.read for report in reports))
    theirs = [parent for parent in sweep.parents if parent.path in read]
    rest = [parent for parent in sweep.parents if parent.path not in read]
    longest = max((report.reading.seconds for report in reports), default=0.0)
    reading = Reading(parents=len(sweep.parents), parents_done=len(theirs), seconds=longest)
    for each in (report.reading for report in reports):
        for name in SUMS:
            setattr(reading, name, getattr(reading, name) + getattr(each, name))
        reading.highest = max(filter(None, (reading.highest, each.highest)), default=None)
        reading.meter.add(
            requests=each.meter.requests, retries=each.meter.retries, wait_seconds=each.meter.wait_seconds
        )
    return replace(sweep, parents=[*theirs, *rest], failed=sweep.failed - read), reading
