"""Decides which rows that came are loaded, and records which stored rows came again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from analytics_ingest.extract.rows import ROW_HASH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.extract.list_reader import PageResult
    from analytics_ingest.extract.rows import RowNormalizer
    from analytics_ingest.extract.sync_context import SyncContext
    from analytics_ingest.extract.table_snapshot import TableSnapshot

SEEN = ""
"""In place of the path of a stored row's partition: the row came again."""


class RowFilter:
    """Decides by a row's cursor value, and by whether the table holds the row as it is.

    Attributes:
        since: The time from which rows are requested, UTC; ``None`` if all are.
        added: Rows to load whose content the table does not hold.
    """

    def __init__(
        self, endpoint: Endpoint, context: SyncContext, *, stored: TableSnapshot, reads_whole: bool = False
    ) -> None:
        """Derives from the sync's options and the stored cursor which rows to request.

        Args:
            endpoint: The endpoint.
            context: The sync.
            stored: What the warehouse holds of the endpoint.
            reads_whole: Whether all rows are requested though the API could filter, unless the sync has a window.
        """
        options, settings = context.options, context.settings
        self._endpoint = endpoint
        self._options = options
        self._stored = stored.hashes
        self._former = stored.former
        self._new: set[int] = set()
        self._started = context.started
        self.added = 0
        self.since: datetime | None = None
        if endpoint.start_param and not options.full_refresh and endpoint.name not in options.repairs:
            lookback = timedelta(seconds=settings.lookback)
            cursor = stored.cursor
            if options.windowed:
                self.since = options.updated_from
            elif cursor and not reads_whole:
                self.since = cursor - lookback
        # a row older than requested may be late, and is compared by its content as all others
        self._oldest = settings.start_date

    @property
    def is_full_read(self) -> bool:
        """True for a full read: rows that are missing from it were deleted upstream."""
        return self.since is None and not self._options.windowed

    @property
    def filters(self) -> dict[str, Any]:
        """What has the API filter, by the parameter or the field of the body."""
        if not (self._endpoint.start_param and self.since):
            return {}
        return {self._endpoint.start_param: self._endpoint.convert(self.since)}

    def unseen(self) -> Iterator[tuple[int, str]]:
        """The hashes of stored rows that did not come so far, each with the path of its partition."""
        return ((value, path) for value, path in self._stored.items() if path != SEEN)

    def apply(self, page: PageResult, normalizer: RowNormalizer) -> PageResult:
        """Leaves only the rows to load on the page, and records the highest cursor value of all its rows."""
        rows, page.rows = page.rows, []
        for row in rows:
            value = normalizer.cursor(row)
            if value is not None and value <= self._started and (not page.highest or value > page.highest):
                page.highest = value
            row_hash = row[ROW_HASH]
            stored = row_hash in self._stored
            known = stored or row_hash in self._new
            if not known and self._former and (found := self._former.recognised(normalizer.key(row), row)):
                former, rewrite = found
                page.rewrites[former] = rewrite
                self._stored[former] = SEEN
                known = True
            if stored:
                # in place: a set beside it would hold each of millions of hashes twice
                self._stored[row_hash] = SEEN
            else:
                self._new.add(row_hash)
            # an earlier page had another row of the key, which may have been loaded
            comes_again = bool(page.differing) and normalizer.key(row) in page.differing
            if self.accepts(value, stored=known and not comes_again):
                page.rows.append(self._with_retired(row, normalizer) if self._former else row)
                self.added += not known
        return page

    def _with_retired(self, row: dict[str, Any], normalizer: RowNormalizer) -> dict[str, Any]:
        """A row to load with the stored values of retired columns, as the stored row is replaced."""
        full: dict[str, Any] = normalizer.without_excluded({**row, **self._former.retired(normalizer.key(row))})
        return full

    def accepts(self, cursor: datetime | None, *, stored: bool) -> bool:
        """Whether a row is loaded.

        Args:
            cursor: The row's cursor value, UTC.
            stored: Whether the table holds the row as it is, or will.
        """
        if not self._endpoint.primary_key:
            return True
        if self._options.windowed and self._endpoint.cursor_path:
            return self._options.holds(cursor)
        if cursor is not None and self._oldest is not None and cursor < self._oldest:
            return False
        return self._options.full_refresh or not stored
