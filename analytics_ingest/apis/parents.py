"""Parents: which rows of which tables an endpoint is requested for, or which constants and days.

A source of parents gives one row per request to make: the path parameters, and whatever else the child's rows carry
from their parent. It reads all rows of the parents' tables, so a cursor on a parent hides no child.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

Row = Mapping[str, Any]
ReadTable = Callable[[str, Sequence[str]], Iterable[tuple[Any, ...]]]
"""Reads columns of a resource's table: ``read(resource, columns)`` gives tuples in the columns' order."""
MARK = "_mark"
"""Key in a row under which its ``ParentVersion`` stands."""
NAMING = "_naming"
"""Key in a row under which its ``PartitionName`` stands, if its parent has one."""
LOAD_ID = "_dlt_load_id"


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


@dataclass(frozen=True)
class ParentVersion:
    """By which a parent that changed is told from one that did not.

    Attributes:
        updated_at: The parent's own; ``None`` if it has none.
        load_id: dlt's name of the load that wrote the parent's row: the epoch seconds of its beginning.
        settled: Whether its children change no more, so far as the parent tells.
    """

    updated_at: Any
    load_id: float
    settled: bool

    def merged_with(self, other: ParentVersion) -> ParentVersion:
        """The mark of a pair: changed when either did, settled when both are."""
        known = self.updated_at is not None and other.updated_at is not None
        return ParentVersion(
            max(self.updated_at, other.updated_at) if known else None,
            max(self.load_id, other.load_id),
            self.settled and other.settled,
        )


def as_time(value: Any) -> Any:
    """A time off a column of times, which is one of texts or of JSON if anything else has come; else ``None``."""
    if not isinstance(value, str):
        return value if isinstance(value, datetime) else None
    try:
        # DuckDB gives JSON as text
        moment = datetime.fromisoformat(value.strip('"'))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


UNMARKED = ParentVersion(None, 0.0, settled=False)
"""The version of what has none: constants and days."""


class ParentSource(ABC):
    """Where the values in an endpoint's path come from."""

    @property
    def open_ended(self) -> bool:
        """Whether there are rows to request that this sync's window leaves out, and that stay as they are."""
        return False

    @property
    def settles(self) -> bool:
        """Whether parents can be settled, so that their children change no more."""
        return False

    @property
    def resources(self) -> tuple[str, ...]:
        """Names of the resources whose tables are read."""
        return ()

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the settings whose values it takes from ``DateWindow.options``."""
        return ()

    @property
    @abstractmethod
    def params(self) -> tuple[str, ...]:
        """Names of the values in each row."""

    def columns_of(self, resource: str) -> Mapping[str, str]:
        """The params whose value is that of a column of this resource, as it is; by param the column."""
        del resource
        return {}

    @abstractmethod
    def rows(self, read: ReadTable, window: DateWindow) -> Iterator[dict[str, Any]]:
        """One row per request with its ``MARK``, duplicates possible, in no order."""


class FromTable(ParentSource):
    """Rows of one resource's table: ``FromTable("gates", gate_id="id")`` gives ``gate_id`` from column ``id``."""

    def __init__(
        self,
        resource: str,
        /,
        *,
        derive: Callable[[Row], Row] | None = None,
        derived: tuple[str, ...] = (),
        settled: tuple[str, frozenset[str]] | None = None,
        settled_after: str | None = None,
        where: tuple[str, frozenset[str]] | None = None,
        updated: str | None = "updated_at",
        **columns: str,
    ) -> None:
        """Declares a feed from one table.

        Args:
            resource: The parent.
            derive: Computes the values named in ``derived`` from a row of the feed.
            derived: Names that ``derive`` adds.
            settled: A column of the parent and its values that mean that the children change no more: once
                asked since, such a parent is not asked again.
            settled_after: A column of the parent with the time after which, by the setting ``WINDOW_DAYS``, the
                children change no more.
            where: A column of the parent and its values of which one must be there.
            updated: The column that moves when the parent changes, and whenever its children do; ``None`` if there is
                none: then it is asked also where only those that changed are.
            columns: Names in the feed's row, and the column that each comes from; names that begin with an underscore
                are for ``derive`` alone.
        """
        self._resource = resource
        self._params = (*(name for name in columns if not name.startswith("_")), *derived)
        self._columns = columns
        self._derive = derive
        self._settled = settled
        self._settled_after = settled_after
        self._where = where
        self._updated = updated

    @property
    def resources(self) -> tuple[str, ...]:
        """See ``ParentSource.resources``."""
        return (self._resource,)

    @property
    def params(self) -> tuple[str, ...]:
        """See ``ParentSource.params``."""
        return self._params

    def columns_of(self, resource: str) -> Mapping[str, str]:
        """See ``ParentSource.columns_of``."""
        given = self._columns if resource == self._resource else {}
        return {name: column for name, column in given.items() if name in self.params}

    @property
    def settles(self) -> bool:
        """See ``ParentSource.settles``."""
        return self._settled is not None or self._settled_after is not None

    def rows(self, read: ReadTable, window: DateWindow) -> Iterator[dict[str, Any]]:
        """See ``ParentSource.rows``."""
        asked = [pair[0] for pair in (self._settled, self._where) if pair]
        asked += [name for name in (self._updated, self._settled_after) if name]
        names = (LOAD_ID, *asked)
        for values in read(self._resource, (*self._columns.values(), *names)):
            row: dict[str, Any] = dict(zip(self._columns, values, strict=False))
            told = dict(zip(names, values[len(self._columns) :], strict=True))
            if self._where and told[self._where[0]] not in self._where[1]:
                continue
            if self._derive:
                row = {name: value for name, value in {**row, **self._derive(row)}.items() if name in self.params}
            updated_at = as_time(told[self._updated]) if self._updated else None
            row[MARK] = ParentVersion(updated_at, float(told[LOAD_ID] or 0), self._is_settled(told, window))
            yield row

    def _is_settled(self, told: Row, window: DateWindow) -> bool:
        if self._settled and told[self._settled[0]] not in self._settled[1]:
            return False
        return self.settles and (self._settled_after is None or window.is_before(as_time(told[self._settled_after])))


@dataclass(frozen=True)
class UnionOf(ParentSource):
    """The rows of several feeds that give the same names."""

    feeds: tuple[FromTable, ...]

    @property
    def resources(self) -> tuple[str, ...]:
        """See ``ParentSource.resources``."""
        return tuple(name for feed in self.feeds for name in feed.resources)

    @property
    def params(self) -> tuple[str, ...]:
        """See ``ParentSource.params``."""
        return self.feeds[0].params

    @property
    def settles(self) -> bool:
        """See ``ParentSource.settles``."""
        return any(feed.settles for feed in self.feeds)

    def columns_of(self, resource: str) -> Mapping[str, str]:
        """See ``ParentSource.columns_of``."""
        return {name: column for feed in self.feeds for name, column in feed.columns_of(resource).items()}

    def rows(self, read: ReadTable, window: DateWindow) -> Iterator[dict[str, Any]]:
        """See ``ParentSource.rows``."""
        for feed in self.feeds:
            yield from feed.rows(read, window)


@dataclass(frozen=True)
class JoinOf(ParentSource):
    """Every pair of a row of ``left`` and one of ``right`` whose value ``on`` is the same; ``on`` is dropped."""

    left: FromTable
    right: FromTable
    on: str

    @property
    def resources(self) -> tuple[str, ...]:
        """See ``ParentSource.resources``."""
        return (*self.left.resources, *self.right.resources)

    @property
    def params(self) -> tuple[str, ...]:
        """See ``ParentSource.params``."""
        return tuple(name for name in (*self.left.params, *self.right.params) if name != self.on)

    @property
    def settles(self) -> bool:
        """See ``ParentSource.settles``."""
        return self.left.settles and self.right.settles

    def columns_of(self, resource: str) -> Mapping[str, str]:
        """See ``ParentSource.columns_of``."""
        return {**self.left.columns_of(resource), **self.right.columns_of(resource)}

    def rows(self, read: ReadTable, window: DateWindow) -> Iterator[dict[str, Any]]:
        """See ``ParentSource.rows``."""
        partners: dict[Any, list[dict[str, Any]]] = {}
        for row in self.right.rows(read, window):
            partners.setdefault(row.pop(self.on), []).append(row)
        for row in self.left.rows(read, window):
            for partner in partners.get(row.pop(self.on), ()):
                yield row | partner | {MARK: row[MARK].merged_with(partner[MARK])}


@dataclass(frozen=True)
class PartitionName:
    """How the name of a parent in the path relates to the name that the API gives it.

    Attributes:
        former: The path parameters under which earlier syncs requested this parent, if they differ.
        named_by: By path parameter the field of the answer with the API's name; empty if that is known.
        late: Whether to request it after all others, and only if no answer had its name.
    """

    former: Row = field(default_factory=dict)
    named_by: Mapping[str, str] = field(default_factory=dict)
    late: bool = False


@dataclass(frozen=True, kw_only=True)
class FromRenamed(ParentSource):
    """The rows of a feed under the names that the API itself gives to its parents, as a table holds them.

    Some parents are known under a provisional name at first, with an identifier in it. The API's name for the
    identifier comes from ``table``, also from its rows that are marked as deleted. The table is read if it is there:
    without it the feed gives the parents that need no name from it.

    Attributes:
        feed: The parents.
        param: The path parameter that is a name.
        identify: The identifier in a provisional name; ``None`` for any other name.
        table: The resource whose table tells names.
        identifier: Its column with the identifier.
        name: Its column with the API's name.
        asks: Whether parents without a known name are requested under their provisional one: for the endpoint that
            fills the table. Others leave them out.
    """

    feed: FromTable | UnionOf
    param: str
    identify: Callable[[Any], str | None]
    table: str
    identifier: str = "id"
    name: str
    asks: bool = False

    @property
    def resources(self) -> tuple[str, ...]:
        """See ``ParentSource.resources``."""
        return self.feed.resources

    @property
    def params(self) -> tuple[str, ...]:
        """See ``ParentSource.params``."""
        return self.feed.params

    @property
    def settles(self) -> bool:
        """See ``ParentSource.settles``."""
        return self.feed.settles

    def columns_of(self, resource: str) -> Mapping[str, str]:
        """See ``ParentSource.columns_of``."""
        return self.feed.columns_of(resource)

    def names(self, read: ReadTable) -> dict[str, str]:
        """The API's names that the table tells, by identifier."""
        found = read(self.table, (self.identifier, self.name))
        return {str(identifier): str(name) for identifier, name in found if identifier and name}

    def current(self, value: Any, names: Mapping[str, str]) -> Any:
        """The API's name for a parent, if it is known; else the name as it is."""
        return names.get(self.identify(value) or "", value)

    def rows(self, read: ReadTable, window: DateWindow) -> Iterator[dict[str, Any]]:
        """See ``ParentSource.rows``."""
        names = self.names(read)
        known = frozenset(names.values())
        for row in self.feed.rows(read, window):
            value = row[self.param]
            current = self.current(value, names)
            if current != value:
                row[NAMING] = PartitionName(former={**_values(row), self.param: value})
                row[self.param] = current
            elif self.identify(value) and value not in known:
                row[NAMING] = PartitionName(named_by={self.param: self.name})
                row[self.param] = value if self.asks else None
            elif self.asks and value not in known:
                row[NAMING] = PartitionName(late=True)
            yield row


def _values(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in (MARK, NAMING)}


@dataclass(frozen=True, kw_only=True)
class Constants(ParentSource):
    """One row for each of some values: ``Constants(name="status", given=("OPEN", "CLOSED"))``.

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

    @property
    def resources(self) -> tuple[str, ...]:
        """See ``ParentSource.resources``."""
        return self.otherwise.resources if self.otherwise else ()

    @property
    def settings(self) -> tuple[str, ...]:
        """See ``ParentSource.settings``."""
        return (self.setting,) if self.setting else ()

    @property
    def params(self) -> tuple[str, ...]:
        """See ``ParentSource.params``."""
        return (self.name,)

    def columns_of(self, resource: str) -> Mapping[str, str]:
        """See ``ParentSource.columns_of``."""
        return self.otherwise.columns_of(resource) if self.otherwise else {}

    def rows(self, read: ReadTable, window: DateWindow) -> Iterator[dict[str, Any]]:
        """See ``ParentSource.rows``."""
        values = window.options.get(self.setting) or self.given
        if self.otherwise and not values:
            yield from self.otherwise.rows(read, window)
        for value in values:
            yield {self.name: value, MARK: UNMARKED}


@dataclass(frozen=True)
class EachDay(ParentSource):
    """One row for each day of the scope, as ``2026-01-31``; rows of other days stay as they are."""

    name: str

    @property
    def open_ended(self) -> bool:
        """See ``ParentSource.open_ended``."""
        return True

    @property
    def params(self) -> tuple[str, ...]:
        """See ``ParentSource.params``."""
        return (self.name,)

    def rows(self, _read: ReadTable, window: DateWindow) -> Iterator[dict[str, Any]]:
        """See ``ParentSource.rows``."""
        for day in window.days():
            yield {self.name: day.isoformat(), MARK: UNMARKED}


@dataclass(frozen=True)
class DateRange(ParentSource):
    """One row with the first of the recent days and today, as ``2026-01-31``."""

    first: str
    last: str

    @property
    def params(self) -> tuple[str, ...]:
        """See ``ParentSource.params``."""
        return (self.first, self.last)

    def rows(self, _read: ReadTable, window: DateWindow) -> Iterator[dict[str, Any]]:
        """See ``ParentSource.rows``."""
        yield {self.first: window.recent_day.isoformat(), self.last: window.today.isoformat(), MARK: UNMARKED}
