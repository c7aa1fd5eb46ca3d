"""Which of the rows that come are loaded, and which stored rows have come."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from analytics_ingest.extract.rows import ROW_HASH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.config.api import Settings
    from analytics_ingest.extract.list_reader import PageResult
    from analytics_ingest.extract.rows import RowNormalizer
    from analytics_ingest.extract.stats import TableSnapshot
    from analytics_ingest.extract.sync_options import SyncOptions

SEEN = ""
"""In place of the path of a stored row's parent: the row has come again."""


class RowFilter:
    """Decides by a row's cursor value, and by whether the table holds the row as it is.

    Attributes:
        since: From when on rows are requested, UTC; ``None`` if the API cannot filter, or is to give all.
        added: Rows to load whose content the table does not hold.
    """

    def __init__(
        self, endpoint: Endpoint, mode: SyncOptions, settings: Settings, *, stored: TableSnapshot, started: datetime
    ) -> None:
        """Prepares the decision.

        Args:
            endpoint: The endpoint.
            mode: What the sync is asked to do.
            settings: The API's settings.
            stored: What the warehouse holds of the endpoint.
            started: When the sync began, UTC: no cursor goes beyond it.
        """
        self._endpoint = endpoint
        self._mode = mode
        self._stored = stored.hashes
        self._former = stored.former
        self._new: set[int] = set()
        self._started = started
        self.added = 0
        self.since: datetime | None = None
        if endpoint.start_param and not mode.full_refresh:
            lookback = timedelta(seconds=settings.lookback)
            cursor = stored.cursor
            self.since = mode.updated_from if mode.windowed else (cursor - lookback if cursor else None)
        # what comes though it is older than asked for is compared by content, as all the rest: it may be late
        self._oldest = settings.start_date

    @property
    def is_full_read(self) -> bool:
        """True for a full read: rows that are missing from it were deleted upstream."""
        return self.since is None and not self._mode.windowed

    @property
    def params(self) -> dict[str, Any]:
        """Query parameters by which the API filters."""
        if not (self._endpoint.start_param and self.since):
            return {}
        return {self._endpoint.start_param: self._endpoint.convert(self.since)}

    def unseen(self) -> Iterator[tuple[int, str]]:
        """The hashes of stored rows that have not come so far, each with the path of its parent."""
        return ((value, path) for value, path in self._stored.items() if path != SEEN)

    def apply(self, page: PageResult, finisher: RowNormalizer) -> PageResult:
        """The page with the rows alone that are to be loaded, and the highest cursor value of all its rows."""
        rows, page.rows = page.rows, []
        for row in rows:
            value = finisher.cursor(row)
            if value is not None and value <= self._started and (not page.highest or value > page.highest):
                page.highest = value
            hashed = row[ROW_HASH]
            stored = hashed in self._stored
            known = stored or hashed in self._new
            if not known and self._former and (found := self._former.recognised(finisher.key(row), row)):
                former, rewrite = found
                page.rewrites[former] = rewrite
                self._stored[former] = SEEN
                known = True
            if stored:
                # in place: a set of its own would have each of millions of hashes twice
                self._stored[hashed] = SEEN
            else:
                self._new.add(hashed)
            if self.accepts(value, stored=known):
                page.rows.append(self._with_retired(row, finisher) if self._former else row)
                self.added += not known
        return page

    def _with_retired(self, row: dict[str, Any], finisher: RowNormalizer) -> dict[str, Any]:
        """A row to load with the stored values of retired columns, as the stored row is replaced."""
        full: dict[str, Any] = finisher.without_excluded({**row, **self._former.retired(finisher.key(row))})
        return full

    def accepts(self, cursor: datetime | None, *, stored: bool) -> bool:
        """Whether a row is loaded.

        Args:
            cursor: The row's cursor value, UTC.
            stored: Whether the table holds the row as it is, or will.
        """
        if not self._endpoint.primary_key:
            return True
        if self._mode.windowed and self._endpoint.cursor_path:
            return self._mode.holds(cursor)
        if cursor is not None and self._oldest is not None and cursor < self._oldest:
            return False
        return self._mode.full_refresh or not stored
