"""What a run of the comparison does of one endpoint, and what its table is known to be afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from analytics_ingest.http.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.diagnostics.row_comparison import UpstreamRows
    from analytics_ingest.extract.list_reader import ListReader
    from analytics_ingest.extract.partitions import Partition
    from analytics_ingest.warehouse.sync_ledger import LastSync
    from analytics_ingest.warehouse.verification_table import RowDifference, Verification

ROTATION = timedelta(days=7)
"""How often a table is compared, if the budget permits."""
SLACK = timedelta(hours=12)
"""How much earlier: the job does not start at the same second each day."""
MAX_DIFFERENCES = 1_000
"""Rows that differ of which an endpoint keeps a record."""


@dataclass
class EndpointComparison:
    """What a run does of one endpoint.

    Attributes:
        endpoint: The endpoint.
        before: How its table compared before.
        last: Its last syncs.
        partitions: All its lists, by path.
        again: Paths of lists with rows that differed before.
        reason: Why it cannot be compared; empty if it can.
        unread: Why a list of it could not be read, while others were; empty if all were.
        reader: Reads its lists.
        meter: Counts its requests.
        upstream: The rows of its lists that were read.
        unproven: Paths of lists that did not give all their rows: what they lack is no evidence.
        not_found: Lists that answered 404.
        lists: Lists that were read.
        path: The path up to which its pass has come; ``None`` if this run did not go on with it.
        ended: Whether its pass has come to its end.
        found: The rows that differ.
        confirmed: The identities of those that this run saw twice.
        is_as_left: Whether the table is as the last sync left it, as far as is known.
        parents_are_as_left: Whether the tables of its parents are.
    """

    endpoint: Endpoint
    before: Verification
    last: LastSync
    partitions: Sequence[Partition] = ()
    again: set[str] = field(default_factory=set)
    reason: str = ""
    unread: str = ""
    reader: ListReader | None = None
    meter: Meter = field(default_factory=Meter)
    upstream: UpstreamRows | None = None
    unproven: set[str] = field(default_factory=set)
    not_found: int = 0
    lists: int = 0
    path: str | None = None
    ended: bool = False
    found: Sequence[RowDifference] = ()
    confirmed: Collection[tuple[Any, ...]] = ()
    is_as_left: bool = True
    parents_are_as_left: bool = True

    @property
    def is_read(self) -> bool:
        """Whether any of its lists was read."""
        return self.upstream is not None

    @property
    def has_other_lists(self) -> bool:
        """Whether lists count without one that cannot be read: a snapshot's are compared together."""
        return bool(self.endpoint.primary_key) and len(self.partitions) > 1

    @property
    def known(self) -> set[tuple[Any, ...]]:
        """The identities of the rows that differed before."""
        return {each.identity for each in self.before.rows}

    @property
    def order(self) -> tuple[bool, bool, datetime]:
        """The place among the tables that are due; one that could not be read last time holds up no others."""
        before = self.before
        first = datetime.min.replace(tzinfo=UTC)
        return before.reason is not None, before.pass_started_at is None, before.compared_at or first

    def is_due(self, now: datetime, *, too_large: str) -> bool:
        """Whether a pass is to be begun or gone on with.

        Args:
            now: The time, UTC.
            too_large: The reason of an endpoint with a list that needs more requests than the budget has.
        """
        before = self.before
        if self.reason:
            return False
        if before.reason == too_large and before.tried_at and now - before.tried_at < ROTATION - SLACK:
            return False
        in_pass = before.pass_started_at is not None
        return in_pass or before.compared_at is None or now - before.compared_at >= ROTATION - SLACK

    def give_up(self, reason: str) -> None:
        """Records that nothing that was read of it counts."""
        self.reason = reason
        self.upstream = self.path = None
        self.ended = False

    def verification(self, now: datetime) -> Verification:
        """How the table compares with the API after the run.

        Args:
            now: When the run started, UTC.
        """
        before = self.before
        unread = before.pass_reason or self.unread or None
        found = replace(before, tried_at=now, reason=self.reason or unread)
        if self.upstream is None:
            return found
        found = found.with_rows(self._differences())
        if self.path is not None:
            requests = (before.pass_requests or 0) + self.meter.requests
            started = before.pass_started_at or now
            if self.ended:
                found = replace(found, pass_started_at=None, pass_path=None, pass_requests=None, pass_reason=None)
            elif self.lists:
                found = replace(
                    found, pass_started_at=started, pass_path=self.path, pass_requests=requests, pass_reason=unread
                )
            # a pass without one of the lists does not count as a comparison: the next run starts a new pass
            if self.ended and not unread:
                found = replace(found, compared_before=before.compared_at, compared_at=started, requests=requests)
        if not found.differences and found.compared_at:
            found = replace(found, verified_at=found.compared_at)
        return found

    def _differences(self) -> list[RowDifference]:
        """The differences that are left: those of lists that were not read stay."""
        before = {each.identity: each for each in self.before.rows}
        unread = {each.path for each in self.partitions} - (self.upstream.paths if self.upstream else set())
        left = {identity: each for identity, each in before.items() if each.path in unread}
        for each in self.found:
            former = before.get(each.identity)
            if former is None:
                left[each.identity] = replace(each, counts=each.identity in self.confirmed)
                continue
            synced = self.last.started_at is not None and self.last.started_at > former.seen_at
            left[each.identity] = replace(former, counts=former.counts or synced or not self.is_as_left)
        return sorted(left.values(), key=lambda each: (not each.counts, each.kind, each.key))[:MAX_DIFFERENCES]
