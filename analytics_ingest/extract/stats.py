"""What reading an endpoint gives and costs, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analytics_ingest.http.meter import Meter

if TYPE_CHECKING:
    from datetime import datetime

    from analytics_ingest.errors import FailureKind


@dataclass(frozen=True)
class ReadFailure:
    """One request that failed after its retries."""

    path: str
    reason: str
    kind: FailureKind


@dataclass
class ReadStats:
    """What reading an endpoint gave and cost.

    Attributes:
        meter: Requests, retries, seconds waited.
        rows_read: Rows that came.
        rows_short: Rows that envelopes stated and that did not come.
        keys_ambiguous: Keys that came twice in a list with different contents, neither of which is newer.
        lists_unsettled: Lists whose rows moved between pages, also at the second reading.
        rows_loaded: Rows among those read that are new or changed.
        pages: Pages read.
        parents: Partitions to read, one for each parent.
        parents_done: Partitions that were read, or failed.
        parents_missing: Partitions that answered 404.
        highest: The highest cursor value that came, UTC, no later than the start of the sync.
        rows_rejected: Rows that cannot be stored.
        rejected_reason: Why the first of them was rejected.
        unproven_since: The first sync, UTC, since which rejected rows keep deletions from being marked; ``None``
            while every deletion is marked.
        rows_withheld: Rows that no longer came and are not marked as deleted, as they are too many at once.
        given_up: Whether partitions were left unread, as every one before them had failed.
        withdrawn: How the API answered for an endpoint that it withdraws, and what is known of that; empty if it
            serves the endpoint.
        failures: What could not be read. Empty: the endpoint was read completely.
        seconds: From the first request to the last response.
        ended: When the last response came, UTC; ``None`` while lists are still read.
    """

    meter: Meter = field(default_factory=Meter)
    rows_read: int = 0
    rows_short: int = 0
    lists_unsettled: int = 0
    keys_ambiguous: int = 0
    rows_loaded: int = 0
    pages: int = 0
    parents: int = 0
    parents_done: int = 0
    parents_missing: int = 0
    highest: datetime | None = None
    rows_rejected: int = 0
    rejected_reason: str = ""
    unproven_since: datetime | None = None
    rows_withheld: int = 0
    given_up: bool = False
    withdrawn: str = ""
    failures: list[ReadFailure] = field(default_factory=list)
    seconds: float = 0.0
    ended: datetime | None = None

    @property
    def doubt(self) -> str:
        """Why rows may be missing although every request was answered; empty if there is no sign of it."""
        doubts = [f"{self.rows_short} rows fewer came than the API states"] if self.rows_short else []
        if self.lists_unsettled:
            doubts.append(f"rows moved between the pages of {self.lists_unsettled} lists while they were read")
        return f"{' and '.join(doubts)}, also when read again; there no row is marked as deleted" if doubts else ""
