"""Feeds that need no table: constants, what a setting gives, days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.feeds import MARK, ParentVersion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from analytics_ingest.apis.feeds import FromTable, ReadTable
    from analytics_ingest.apis.scope import DateWindow

UNMARKED = ParentVersion(None, 0.0, settled=False)


@dataclass(frozen=True, kw_only=True)
class Constants:
    """One row for each of some values: ``Values(name="status", given=("OPEN", "CLOSED"))``.

    Attributes:
        name: The value's name in the feed's rows.
        given: The values.
        setting: Name of a setting whose values come in their place.
        otherwise: Where the values come from if neither gives any.
    """

    name: str
    given: tuple[str, ...] = ()
    setting: str = ""
    otherwise: FromTable | None = None
    settles = False
    open_ended = False

    @property
    def resources(self) -> tuple[str, ...]:
        """See ``ParentSource.resources``."""
        return self.otherwise.resources if self.otherwise else ()

    @property
    def params(self) -> tuple[str, ...]:
        """See ``ParentSource.params``."""
        return (self.name,)

    def columns_of(self, resource: str) -> Mapping[str, str]:
        """See ``ParentSource.columns_of``."""
        return self.otherwise.columns_of(resource) if self.otherwise else {}

    def rows(self, read: ReadTable, scope: DateWindow) -> Iterator[dict[str, Any]]:
        """See ``ParentSource.rows``."""
        values = scope.options.get(self.setting) or self.given
        if self.otherwise and not values:
            yield from self.otherwise.rows(read, scope)
        for value in values:
            yield {self.name: value, MARK: UNMARKED}


@dataclass(frozen=True)
class EachDay:
    """One row for each day of the scope, as ``2026-01-31``; rows of other days stay as they are."""

    name: str
    resources = ()
    settles = False
    open_ended = True

    @property
    def params(self) -> tuple[str, ...]:
        """See ``ParentSource.params``."""
        return (self.name,)

    def columns_of(self, _resource: str) -> Mapping[str, str]:
        """See ``ParentSource.columns_of``."""
        return {}

    def rows(self, _read: ReadTable, scope: DateWindow) -> Iterator[dict[str, Any]]:
        """See ``ParentSource.rows``."""
        for day in scope.days():
            yield {self.name: day.isoformat(), MARK: UNMARKED}


@dataclass(frozen=True)
class DateRange:
    """One row with the first of the recent days and today, as ``2026-01-31``."""

    first: str
    last: str
    resources = ()
    settles = False
    open_ended = False

    @property
    def params(self) -> tuple[str, ...]:
        """See ``ParentSource.params``."""
        return (self.first, self.last)

    def columns_of(self, _resource: str) -> Mapping[str, str]:
        """See ``ParentSource.columns_of``."""
        return {}

    def rows(self, _read: ReadTable, scope: DateWindow) -> Iterator[dict[str, Any]]:
        """See ``ParentSource.rows``."""
        yield {self.first: scope.recent_day.isoformat(), self.last: scope.today.isoformat(), MARK: UNMARKED}
