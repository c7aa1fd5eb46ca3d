"""What one sync covers of what no table lists: days, and values that a setting gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class DateWindow:
    """The scope of one endpoint in one sync; by default that of a sync without settings.

    Attributes:
        first_day: The first day to ask for, UTC.
        last_day: The last one, included.
        recent_day: The first of the days that are read at each sync, whatever else is asked for.
        today: The day of the sync.
        settled_before: Rows older than this count as settled, UTC; ``None``: none does.
        options: Values of settings, by the settings' names.
    """

    first_day: date = date.min
    last_day: date = date.min
    recent_day: date = date.min
    today: date = date.min
    settled_before: datetime | None = None
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def days(self) -> Sequence[date]:
        """The days to ask for, the newest first."""
        count = (self.last_day - self.first_day).days + 1
        return [self.last_day - timedelta(days=back) for back in range(count)]

    def is_before(self, moment: Any) -> bool:
        """Whether a time, as a table gives it, is older than ``settled_before``."""
        if self.settled_before is None or not isinstance(moment, datetime):
            return False
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) < self.settled_before
