"""Which of the rows that come are loaded."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from analytics_ingest.apis import Endpoint
    from analytics_ingest.extract.mode import Mode
    from analytics_ingest.extract.settings import Settings


class Wanted:
    """Decides by a row's cursor value, and by whether the table holds it as it is.

    Attributes:
        since: From when on the API is asked for rows, UTC; ``None`` if it cannot filter, or is to give all.
    """

    def __init__(self, endpoint: Endpoint, mode: Mode, settings: Settings, *, cursor: datetime | None) -> None:
        """Prepares the decision.

        Args:
            endpoint: The endpoint.
            mode: What the sync is asked to do.
            settings: The API's settings.
            cursor: The highest cursor value seen by earlier syncs.
        """
        self._endpoint = endpoint
        self._mode = mode
        self.since: datetime | None = None
        if endpoint.start_param and not mode.full_refresh:
            lookback = timedelta(seconds=settings.lookback)
            self.since = mode.updated_from if mode.windowed else (cursor - lookback if cursor else None)
        # what comes though it is older than asked for is compared by content, as all the rest: it may be late
        self._oldest = settings.start_date

    @property
    def everything(self) -> bool:
        """Whether all that there is upstream comes, so that what does not come is gone."""
        return self.since is None and not self._mode.windowed

    def holds(self, cursor: datetime | None, *, stored: bool) -> bool:
        """Whether a row is loaded."""
        if not self._endpoint.primary_key:
            return True
        if self._mode.windowed and self._endpoint.cursor_path:
            return self._mode.holds(cursor)
        if cursor is not None and self._oldest is not None and cursor < self._oldest:
            return False
        return self._mode.full_refresh or not stored
