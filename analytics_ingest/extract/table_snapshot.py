"""What the warehouse holds of an endpoint before a sync reads it, and what its destination can hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analytics_ingest.extract.former_rows import FormerRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


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
class TableSnapshot:
    """What the warehouse holds of an endpoint before a sync reads it.

    Attributes:
        hashes: By content hash of each row that is not marked as deleted, the path of its partition. A row that comes
            with one of these hashes is not loaded again. The row filter marks those that came (``row_filter.SEEN``).
        rows: The hashes of the rows of an endpoint without a primary key, one for each row.
        columns: The table's columns and their types in dlt's terms; empty if there is no table yet.
        cursor: The highest cursor value of earlier syncs, UTC.
        former: Rows that the table holds in a former form.
        limits: What the destination can hold.
    """

    hashes: dict[int, str] = field(default_factory=dict)
    rows: Sequence[int] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    cursor: datetime | None = None
    former: FormerRows = field(default_factory=FormerRows)
    limits: Limits = NO_LIMITS
