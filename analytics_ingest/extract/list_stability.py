"""Whether the rows of one list stood still while its pages were read one after the other."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable

    from analytics_ingest.http.paginator import GuardedPaginator


class ListConsistency:
    """The readings of one list, twice at most.

    A row that is inserted, deleted or sorted elsewhere between two requests shifts the others: one comes twice, or
    one not at all. The first shows as a key on two pages, the second as a total that sinks or is not reached.
    """

    def __init__(self) -> None:
        self._again = False
        # digests of keys, as a list may have millions: of all readings, and of this one
        self._seen: set[int] = set()
        self._now = self._seen
        self._moved = 0

    def note(self, keys: Collection[Hashable], *, last: bool) -> None:
        """Takes note of the keys of a page's rows.

        Args:
            keys: Each once.
            last: Whether no page follows. A list of one page needs no memory.
        """
        if last and not self._seen:
            return
        for digest in map(_digest, keys):
            self._moved += digest in self._now
            self._now.add(digest)
            self._seen.add(digest)

    def should_reread(self, paginator: GuardedPaginator) -> bool:
        """Whether the list is to be read once more, after a first reading that ended and left a doubt."""
        if self._again or paginator.problem or not (self.short(paginator) or self.moved(paginator)):
            return False
        self._again, self._now, self._moved = True, set(), 0
        return True

    def moved(self, paginator: GuardedPaginator) -> bool:
        """Whether rows moved during the reading that ended with this page: then some may be missing."""
        return self._moved > 0 or paginator.sunk

    def short(self, paginator: GuardedPaginator) -> int:
        """Rows that the envelope stated and that came in none of the readings, once this one is over."""
        came = max(paginator.rows - self._moved, len(self._seen))
        return max(0, (paginator.total or 0) - came)


def _digest(key: Hashable) -> int:
    """A 64-bit digest of a key; Python's own ``hash`` is the same for 3 and 9223372036854775807."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest())
