"""Pages through a list by windows of time in a POST's JSON body, for searches that give all matches at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dlt.sources.helpers.rest_client.paginators import BasePaginator

if TYPE_CHECKING:
    import requests

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
SHORTEST_WINDOW = timedelta(minutes=1)
"""A window that is shorter is not halved."""


class TimeWindowPaginator(BasePaginator):
    """Pages that are windows of time, which are sent in the JSON body, see ``apis.paginators.time_windows``.

    Both ends of a window are included, so a window ends a millisecond before the next one starts.
    """

    def __init__(self, *, window: tuple[str, str], changed: tuple[str, str], days: int, earliest: str) -> None:
        """Sets no window yet.

        Args:
            window: The fields with the start and the end of a window of the whole list.
            changed: The same of a list that the API filters by the time of a row's last change.
            days: The length of a window of the whole list.
            earliest: The day, ISO 8601, that the last window of the whole list reaches.
        """
        super().__init__()
        self._whole = window
        self._filtered = changed
        self._days = days
        self._earliest = datetime.fromisoformat(earliest).replace(tzinfo=UTC)
        self._names = window
        # the next window is the last element
        self._windows: list[tuple[datetime | None, datetime | None]] = []
        self._now = datetime.now(UTC)

    def init_request(self, request: requests.Request) -> None:
        """Sets the first window: all that the request filters by time, or the newest of the whole list."""
        self._now = datetime.now(UTC)
        since = (request.json or {}).get(self._filtered[0])
        if since:
            self._names = self._filtered
            self._windows = [(datetime.fromisoformat(since), None)]
        else:
            self._windows = self._windows_of_all()
        self._set_window(request)

    def update_state(self, response: requests.Response, data: list[Any] | None = None) -> None:
        """Takes the window that came off the list."""
        del response, data
        self._windows.pop()
        self._has_next_page = bool(self._windows)

    def update_request(self, request: requests.Request) -> None:
        """Sets the next window."""
        self._set_window(request)

    def halve(self, request: requests.Request) -> bool:
        """Replaces the window of a request by its newer half; the older half follows. False if it is too short."""
        start, end = self._windows[-1]
        first, last = start or EPOCH, end or self._now
        middle = (first + (last - first) / 2).replace(microsecond=0)
        if last - first < SHORTEST_WINDOW:
            return False
        self._windows[-1:] = [(start, middle), (middle, end)]
        self._set_window(request)
        return True

    def _windows_of_all(self) -> list[tuple[datetime | None, datetime | None]]:
        """The windows of the whole list, the newest last; they start at midnight, UTC."""
        today = self._now.replace(hour=0, minute=0, second=0, microsecond=0)
        starts = []
        start = today - timedelta(days=self._days)
        while start > self._earliest:
            starts.append(start)
            start -= timedelta(days=self._days)
        starts.reverse()
        return list(zip([None, *starts], [*starts, None], strict=True))

    def _set_window(self, request: requests.Request) -> None:
        start, end = self._windows[-1]
        fields = {name: value for name, value in (request.json or {}).items() if name not in self._names}
        if start:
            fields[self._names[0]] = _as_sent(start)
        if end:
            fields[self._names[1]] = _as_sent(end - MILLISECOND)
        request.json = fields


def _as_sent(moment: datetime) -> str:
    """A time in ISO 8601 with Z, with milliseconds if it has any."""
    plain = moment.astimezone(UTC).replace(tzinfo=None)
    return f"{plain.isoformat(timespec='milliseconds' if plain.microsecond else 'seconds')}Z"
