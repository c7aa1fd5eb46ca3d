"""Detects whether a list changed while it was being paginated."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from analytics_ingest.extract.rows import ROW_HASH

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable

    from analytics_ingest.http.paginator import GuardedPaginator


class ListStability:
    """The readings of one list, twice at most.

    A row that is inserted, deleted or sorted elsewhere between two requests shifts the others: one comes twice, or
    one not at all. The first shows as a key on two pages, the second as a total that sinks or is not reached.
    """

    def __init__(self) -> None:
        """Starts the first reading."""
        self._is_reread = False
        # digests of keys, as a list may have millions: of all readings, and of this one
        self._seen: set[int] = set()
        self._seen_now = self._seen
        self._moved = 0
        # of the keys that came on several pages of the first reading: their digests, and the rows of the second one
        self._repeated: set[int] = set()
        self._chosen: dict[int, dict[str, Any]] = {}

    def add_page(self, keys: Collection[Hashable], *, is_last: bool) -> None:
        """Records the keys of a page's rows.

        Args:
            keys: Each once.
            is_last: Whether no page follows. A list of one page needs no memory.
        """
        if is_last and not self._seen:
            return
        for digest in map(_digest, keys):
            if digest in self._seen_now:
                self._moved += 1
                self._repeated.add(digest)
            self._seen_now.add(digest)
            self._seen.add(digest)

    def choose_rows(
        self, by_key: dict[Any, dict[str, Any]], is_older: Callable[[dict[str, Any], dict[str, Any]], bool]
    ) -> dict[Hashable, bool]:
        """Puts the newest row of a key that came on several pages in place of the one on this page.

        Only at the second reading: at the first one, such a row usually came twice because it moved.

        Args:
            by_key: The rows of a page by key, which are changed in place.
            is_older: Whether the first of two rows was updated before the second.

        Returns:
            The keys whose rows on this page and on an earlier one differ, each with whether one of the two is newer.
        """
        differing: dict[Hashable, bool] = {}
        if not self._is_reread or not self._repeated:
            return differing
        for key, row in by_key.items():
            digest = _digest(key)
            if digest not in self._repeated:
                continue
            before = self._chosen.get(digest)
            if before is not None and before[ROW_HASH] != row[ROW_HASH]:
                is_former = is_older(row, before)
                differing[key] = is_former or is_older(before, row)
                by_key[key] = before if is_former else row
            self._chosen[digest] = by_key[key]
        return differing

    def should_reread(self, paginator: GuardedPaginator) -> bool:
        """Whether to read the list once more, after a first reading that ended and left a doubt."""
        if self._is_reread or paginator.error or not (self.short(paginator) or self.moved(paginator)):
            return False
        self._is_reread, self._seen_now, self._moved = True, set(), 0
        return True

    def moved(self, paginator: GuardedPaginator) -> bool:
        """Whether rows moved during the reading that ended with this page: then some may be missing."""
        return self._moved > 0 or paginator.total_decreased

    def short(self, paginator: GuardedPaginator) -> int:
        """Rows that the envelope stated and that came in none of the readings, at the end of this one."""
        came = max(paginator.rows - self._moved, len(self._seen))
        return max(0, (paginator.total or 0) - came)


def _digest(key: Hashable) -> int:
    """A 64-bit digest of a key; Python's own ``hash`` is the same for 3 and 9223372036854775807."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest())
