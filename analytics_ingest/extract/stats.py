"""What reading an endpoint gives and costs, and what the warehouse held of it before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.parents import ParentVersion, PartitionName
from analytics_ingest.extract.former_rows import FormerRows
from analytics_ingest.http.session import Meter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from analytics_ingest.apis.model import Api
    from analytics_ingest.errors import FailureKind


CURSOR = "cursor"
"""Key in the resource's state: the highest cursor value seen, ISO 8601 in UTC."""
PROFILE = "profile"
"""Key in the resource's state: the profile that the rest of the state is of; absent for none."""
COLLAPSED = "collapsed"
"""Key in the resource's state: rows left when the table was about to lose too many of them; absent otherwise."""
UNPROVEN = "unproven_since"
"""Key in the resource's state: the first sync, ISO 8601 in UTC, since which rejected rows keep deletions from being
marked; absent otherwise."""
UNDEFINED = "undefined"
"""Key in the resource's state: paths of the parents for which the child was not defined last time; absent for none."""
FIELDS = "fields"
"""Key in the resource's state: columns of fields that no plain rule gives, see ``ColumnNames``; absent for none."""
NO_MARK = ParentVersion(None, 0.0, settled=False)
NO_NAMING = PartitionName()


def is_of(api: Api, state: Mapping[str, Any]) -> bool:
    """Whether a resource's state is of the API as it is declared now: what another upstream said is of no use."""
    return not state or state.get(PROFILE, "") == api.profile


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the destination can hold.

    Attributes:
        max_name_length: Characters of a column's name; ``None`` for any number.
        takes_nul: Whether texts may hold the character NUL.
    """

    max_name_length: int | None = None
    takes_nul: bool = True


NO_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One request to make: for a child one row of its feed.

    Attributes:
        path: The endpoint's path with the values in it, percent-encoded.
        params: The path parameters, and what else the child's rows carry from the parent.
        mark: By which a change of the parent is told.
        naming: How its name in the path relates to the API's.
        former: The path under which earlier syncs requested it; empty if that is the same.
    """

    path: str
    params: Mapping[str, Any]
    mark: ParentVersion = NO_MARK
    naming: PartitionName = NO_NAMING
    former: str = ""


@dataclass(frozen=True)
class ReadFailure:
    """One request, with its retries, that did not give what was requested."""

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
        lists_unsettled: Lists, one for each parent, whose rows moved between pages also at the second reading.
        rows_loaded: Rows among them that are new or changed.
        pages: Pages read.
        parents: Parents to ask, and of these asked (``parents_done``) and answered by 404 (``parents_missing``).
        highest: The highest cursor value that came, no later than the start of the sync.
        rows_rejected: Rows that cannot be stored.
        rejected_reason: Why the first of them was rejected.
        unproven_since: The first sync, UTC, since which rejected rows keep deletions from being marked; ``None``
            while every deletion is marked.
        rows_withheld: Rows that did not come any more and are not marked as deleted, as they are too many at once.
        given_up: Whether parents were left unasked, as every one before them had failed.
        failures: What could not be read. Empty: the endpoint was read completely.
        seconds: From the first request to the last answer.
    """

    meter: Meter = field(default_factory=Meter)
    rows_read: int = 0
    rows_short: int = 0
    lists_unsettled: int = 0
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
    failures: list[ReadFailure] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def doubt(self) -> str:
        """Why rows may be missing though every request was answered; empty if nothing speaks for it."""
        doubts = [f"{self.rows_short} rows fewer came than the API states"] if self.rows_short else []
        if self.lists_unsettled:
            doubts.append(f"rows moved between the pages of {self.lists_unsettled} lists while they were read")
        return f"{' and '.join(doubts)}, also when read again; there no row is marked as deleted" if doubts else ""


@dataclass(frozen=True, kw_only=True)
class TableSnapshot:
    """What the warehouse holds of an endpoint before it is read.

    Attributes:
        hashes: Content hashes of the rows in the table that are not marked as deleted, each with the path of the
            parent it came from; rows read that have one of these are not loaded again. What reads the endpoint
            takes note here of those that have come.
        rows: The hashes of a snapshot's rows, one for each row.
        columns: The table's columns and their types in dlt's terms; empty if there is no table yet.
        cursor: The highest cursor value seen by earlier syncs.
        former: Rows that the table holds in a former form.
        limits: What the destination can hold.
    """

    hashes: dict[int, str] = field(default_factory=dict)
    rows: Sequence[int] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    cursor: datetime | None = None
    former: FormerRows = field(default_factory=FormerRows)
    limits: Limits = NO_LIMITS
