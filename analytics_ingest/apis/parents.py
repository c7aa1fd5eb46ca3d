"""Parent sources: where the values in a child's path come from, such as tables, constants or days.

A parent source gives one row per partition: the path parameters, and other values that the child's rows get from their
parent. It reads all rows of the parents' tables, so a cursor on a parent hides no child.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Any

Row = Mapping[str, Any]
ReadTable = Callable[[str, Sequence[str]], Iterable[tuple[Any, ...]]]
"""Reads columns of a resource's table: ``read(resource, columns)`` yields tuples in the order of ``columns``."""
VERSION = "_version"
"""Key in a parent source's row: its ``ParentVersion``."""
NAMING = "_naming"
"""Key in a parent source's row: its ``PartitionName``; absent without one."""
COVERED = "_covered"
"""Key in a parent source's row: whether another resource's lists have the children of this parent, so that they need
not be requested; absent if not."""
LOAD_ID = "_dlt_load_id"
DELETED_AT = "_deleted_at"
"""Column with the time of the sync that found the row gone upstream; null while it is there."""
ALWAYS: tuple[str, frozenset[str]] = ("", frozenset())
"""For ``FromTable.settled``: each parent counts as settled. So its children are requested once, and again when the row
of the parent has changed."""
ENDED = "_ended"
"""Key in a row that ``FromExpanded.expand`` gives: when the partition ended; absent or null while it has not."""


@dataclass(frozen=True, kw_only=True)
class DateWindow:
    """The days and options for an endpoint in a sync; the defaults are those of a sync without settings.

    Attributes:
        first_day: The first day to request, UTC.
        last_day: The last day to request, included, UTC.
        recent_day: The first of the days that every sync requests, UTC.
        today: The day of the sync, UTC.
        settled_before: Rows older than this count as settled, UTC; ``None`` if no row does.
        options: Values of settings, by the settings' names.
        skipped: Names of the endpoints that a setting leaves out.
    """

    first_day: date = date.min
    last_day: date = date.min
    recent_day: date = date.min
    today: date = date.min
    settled_before: datetime | None = None
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    skipped: frozenset[str] = frozenset()

    def days(self) -> Sequence[date]:
        """The days to request, the newest first."""
        count = (self.last_day - self.first_day).days + 1
        return [self.last_day - timedelta(days=back) for back in range(count)]

    def is_before(self, time: Any) -> bool:
        """Whether a time from a table is older than ``settled_before``; UTC if it has no zone."""
        if self.settled_before is None or not isinstance(time, datetime):
            return False
        return (time if time.tzinfo else time.replace(tzinfo=UTC)) < self.settled_before


@dataclass(frozen=True)
class ParentVersion:
    """The version of a parent, by which a sync detects whether the parent changed.

    Attributes:
        updated_at: The time of the parent's last change; ``None`` if it has none.
        load_id: dlt's load id of the parent's row: the epoch seconds at which the load started. Of a partition that has
            ended (see ``FromExpanded``) those at which it became settled.
        settled: Whether the parent's columns state that its children change no more.
    """

    updated_at: Any
    load_id: float
    settled: bool

    def merged_with(self, other: ParentVersion) -> ParentVersion:
        """The version of a pair: changed if either changed, settled if both are."""
        known = self.updated_at is not None and other.updated_at is not None
        return ParentVersion(
            max(self.updated_at, other.updated_at) if known else None,
            max(self.load_id, other.load_id),
            self.settled and other.settled,
        )


def as_time(value: Any) -> Any:
    """The time in a value of a table; ``None`` for any other value.

    A column of times has the type text or JSON if the API ever sent anything else in it.
    """
    if not isinstance(value, str):
        return value if isinstance(value, datetime) else None
    try:
        # DuckDB returns JSON as text
        time = datetime.fromisoformat(value.strip('"'))
    except ValueError:
        return None
    return time if time.tzinfo else None


def as_list(value: Any) -> list[Any]:
    """The list in a value of a table's JSON column; an empty one for any other value."""
    if isinstance(value, str):
        try:
            # DuckDB returns JSON as text
            value = json.loads(value)
        except ValueError:
            return []
    return value if isinstance(value, list) else []


NO_VERSION = ParentVersion(None, 0.0, settled=False)
"""The version of constants and days, which have none."""


class ParentSource(ABC):
    """The source of the values in an endpoint's path."""

    @property
    def open_ended(self) -> bool:
        """Whether there are partitions outside the sync's window; their rows stay unchanged."""
        return False

    @property
    def can_settle(self) -> bool:
        """Whether parents can be settled: their children change no more."""
        return False

    @property
    def moves_rows(self) -> bool:
        """Whether a row moves from one partition's list to another's, as its status does that the lists stand for."""
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
        """The columns of a resource whose values are path parameters unchanged, by parameter."""
        del resource
        return {}

    @abstractmethod
    def rows(self, read: ReadTable, window: DateWindow) -> Iterator[dict[str, Any]]:
        """Yields one row per partition, with its ``VERSION``, in any order; duplicates are possible."""


class FromTable(ParentSource):
    """A parent source that reads the table of one resource.

    ``FromTable("gates", gate_id="id")`` gives a row such as ``{"gate_id": "g1"}`` for each row of the table ``gates``.
    """

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
        """Declares a parent source from one table.

        Args:
            resource: The parent.
            derive: Computes the values named in ``derived`` from a row of the parent source.
            derived: Names that ``derive`` adds.
            settled: A column of the parent and the values of it that mean that the children change no more. Once they
                were requested in that state, they are not requested again. ``ALWAYS`` for any state.
            settled_after: A column of the parent with the time after which the children change no more, by the setting
                ``WINDOW_DAYS``.
            where: A column of the parent and its values; parents with other values are left out.
            updated: The column that changes when the parent changes, and whenever its children do. ``None`` if there is
                none: then the children are requested also by a sync that requests those of changed parents only.
            columns: By name in the parent source's rows the column of the parent. Names that start with an underscore
                are for ``derive`` only.
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
        if resource != self._resource:
            return {}
        return {name: column for name, column in self._columns.items() if name in self.params}

    @property
    def can_settle(self) -> bool:
        """See ``ParentSource.can_settle``."""
        return self._settled is not None or self._settled_after is not None

    def rows(self, read: ReadTable, window: DateWindow) -> Iterator[dict[str, Any]]:
        """See ``ParentSource.rows``."""
        names = [pair[0] for pair in (self._settled, self._where) if pair and pair[0]]
        names += [name for name in (self._updated, self._settled_after) if name]
        names.append(LOAD_ID)
        for values in read(self._resource, (*self._columns.values(), *names)):
            row: dict[str, Any] = dict(zip(self._columns, values, strict=False))
            parent = dict(zip(names, values[len(self._columns) :], strict=True))
            if self._where and parent[self._where[0]] not in self._where[1]:
                continue
            if self._derive:
                row = {name: value for name, value in {**row, **self._derive(row)}.items() if name in self.params}
            updated_at = as_time(parent[self._updated]) if self._updated else None
            row[VERSION] = ParentVersion(updated_at, float(parent[LOAD_ID] or 0), self._is_settled(parent, window))
            yield row

    def _is_settled(self, parent: Row, window: DateWindow) -> bool:
        if self._settled and self._settled != ALWAYS and parent[self._settled[0]] not in self._settled[1]:
            return False
        return self.can_settle and (
            self._settled_after is None or window.is_before(as_time(parent[self._settled_after]))
        )


@dataclass(frozen=True, kw_only=True)
class FromExpanded(ParentSource):
    """Any number of partitions for each row of one resource, such as one for each group of an experiment.

    A partition is requested at each sync, also with ``FAN_OUT=changed``, until ``WINDOW_DAYS`` after it has ended. Then
    it is settled: it is requested once more, and not again until a full refresh, or until its end changes. That its
    parent's row is loaded again does not count, as rows may have columns that change all the time.

    Attributes:
        resource: The parent.
        columns: By path parameter the column of the parent.
        reads: Other columns of the parent that ``expand`` needs.
        expand: Gives the partitions of a row of the parent, by its columns: values by the names in ``added``, and
            ``ENDED``.
        added: Names of the values that ``expand`` gives, beside those of ``columns``.
    """

    resource: str
    columns: Mapping[str, str]
    reads: tuple[str, ...]
    expand: Callable[[Row], Iterable[Row]]
    added: tuple[str, ...] = ()

    @property
    def resources(self) -> tuple[str, ...]:
        """See ``ParentSource.resources``."""
        return (self.resource,)

    @property
    def params(self) -> tuple[str, ...]:
        """See ``ParentSource.params``."""
        return (*self.columns, *self.added)

    @property
    def can_settle(self) -> bool:
        """See ``ParentSource.can_settle``."""
        return True

    def columns_of(self, resource: str) -> Mapping[str, str]:
        """See ``ParentSource.columns_of``."""
        return self.columns if resource == self.resource else {}

    def rows(self, read: ReadTable, window: DateWindow) -> Iterator[dict[str, Any]]:
        """See ``ParentSource.rows``."""
        names = tuple(dict.fromkeys((*self.columns.values(), *self.reads, LOAD_ID)))
        for values in read(self.resource, names):
            parent = dict(zip(names, values, strict=True))
            given = {name: parent[column] for name, column in self.columns.items()}
            for each in self.expand(parent):
                ended = as_time(each.get(ENDED))
                settled = window.is_before(ended)
                since = _settled_since(ended, window) if settled else float(parent[LOAD_ID] or 0)
                yield {
                    **given,
                    **{name: each[name] for name in self.added},
                    VERSION: ParentVersion(None, since, settled),
                }


def _settled_since(ended: datetime, window: DateWindow) -> float:
    """The epoch seconds of the first moment at which a partition that ended then was settled."""
    day = (ended.astimezone(UTC) if ended.tzinfo else ended).date()
    settled_on = day + (window.today - window.recent_day) + timedelta(days=1)
    return datetime(settled_on.year, settled_on.month, settled_on.day, tzinfo=UTC).timestamp()


class FromChanged(FromTable):
    """The parents in the table of one resource whose row changes whenever their children do.

    Their children are requested only after the parent's row was loaded, by whatever ``FAN_OUT``; a full refresh
    requests those of all parents. It takes the arguments of ``FromTable``.
    """

    @property
    def can_settle(self) -> bool:
        """See ``ParentSource.can_settle``."""
        return True

    def _is_settled(self, parent: Row, window: DateWindow) -> bool:
        del parent, window
        return True


@dataclass(frozen=True)
class UnionOf(ParentSource):
    """The rows of several parent sources with the same path parameters."""

    sources: tuple[FromTable, ...]

    @property
    def resources(self) -> tuple[str, ...]:
        """See ``ParentSource.resources``."""
        return tuple(name for source in self.sources for name in source.resources)

    @property
    def params(self) -> tuple[str, ...]:
        """See ``ParentSource.params``."""
        return self.sources[0].params

    @property
    def can_settle(self) -> bool:
        """See ``ParentSource.can_settle``."""
        return any(source.can_settle for source in self.sources)

    def columns_of(self, resource: str) -> Mapping[str, str]:
        """See ``ParentSource.columns_of``."""
        return {name: column for source in self.sources for name, column in source.columns_of(resource).items()}

    def rows(self, read: ReadTable, window: DateWindow) -> Iterator[dict[str, Any]]:
        """See ``ParentSource.rows``."""
        for source in self.sources:
            yield from source.rows(read, window)


@dataclass(frozen=True)
class JoinOf(ParentSource):
    """Each pair of a row of ``left`` and a row of ``right`` with the same value of ``on``, which is then dropped."""

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
    def can_settle(self) -> bool:
        """See ``ParentSource.can_settle``."""
        return self.left.can_settle and self.right.can_settle

    def columns_of(self, resource: str) -> Mapping[str, str]:
        """See ``ParentSource.columns_of``."""
        return {**self.left.columns_of(resource), **self.right.columns_of(resource)}

    def rows(self, read: ReadTable, window: DateWindow) -> Iterator[dict[str, Any]]:
        """See ``ParentSource.rows``."""
        rights: dict[Any, list[dict[str, Any]]] = {}
        for row in self.right.rows(read, window):
            rights.setdefault(row.pop(self.on), []).append(row)
        for left in self.left.rows(read, window):
            for right in rights.get(left.pop(self.on), ()):
                yield left | right | {VERSION: left[VERSION].merged_with(right[VERSION])}


@dataclass(frozen=True)
class PartitionName:
    """How a parent's name in the path relates to the API's own name for it.

    Attributes:
        former: The path parameters under which earlier syncs requested this parent; empty if they are the same.
        named_by: By path parameter the field of the child's rows with the API's name; empty if that name is known.
        late: Whether to request this parent after all others, and only if no row had its name.
    """

    former: Row = field(default_factory=dict)
    named_by: Mapping[str, str] = field(default_factory=dict)
    late: bool = False


@dataclass(frozen=True, kw_only=True)
class FromRenamed(ParentSource):
    """The rows of a parent source under the API's own names for the parents, which a table holds.

    Some parents have a provisional name at first, which contains an identifier. ``table`` maps the identifier to the
    API's name, also in rows that are marked as deleted. Before the table exists, the parents that need no name from it
    are given.

    Attributes:
        source: The parents.
        param: The path parameter that is a name.
        identify: Gives the identifier in a provisional name, or ``None`` for any other name.
        table: The resource whose table holds the API's names.
        identifier: The column of ``table`` with the identifier.
        name: The column of ``table`` with the API's name.
        includes_unnamed: Whether to give parents without a known name under their provisional one, as the endpoint
            that fills ``table`` needs; else they are left out.
        includes_named: Whether to give the parents that only ``table`` holds too, unless they are marked as deleted. So
            a parent that was read once is requested until the API answers 404, whichever list names it.
        group: A column of ``table``, and a setting with the values of it that ``includes_named`` is limited to, if the
            setting has any; ``None`` for no limit.
        covered_by: A resource, and its column with the API's name for the parent, whose lists have all children of each
            parent that it has rows of. Such parents get ``COVERED``, unless the resource is skipped by a setting.
    """

    source: FromTable | UnionOf
    param: str
    identify: Callable[[Any], str | None]
    table: str
    identifier: str = "id"
    name: str
    includes_unnamed: bool = False
    includes_named: bool = False
    group: tuple[str, str] | None = None
    covered_by: tuple[str, str] | None = None

    @property
    def resources(self) -> tuple[str, ...]:
        """See ``ParentSource.resources``."""
        return self.source.resources

    @property
    def lookups(self) -> tuple[str, ...]:
        """Names of the other resources whose tables are read; their rows need not be there."""
        return (self.table, *(self.covered_by or ())[:1])

    @property
    def settings(self) -> tuple[str, ...]:
        """See ``ParentSource.settings``."""
        return (self.group[1],) if self.group else ()

    @property
    def params(self) -> tuple[str, ...]:
        """See ``ParentSource.params``."""
        return self.source.params

    @property
    def can_settle(self) -> bool:
        """See ``ParentSource.can_settle``."""
        return self.source.can_settle

    def columns_of(self, resource: str) -> Mapping[str, str]:
        """See ``ParentSource.columns_of``."""
        return self.source.columns_of(resource)

    def names(self, read: ReadTable) -> dict[str, str]:
        """The API's names in the table, by identifier."""
        found = read(self.table, (self.identifier, self.name))
        return {str(identifier): str(name) for identifier, name in found if identifier and name}

    def current(self, value: Any, names: Mapping[str, str]) -> Any:
        """The API's name for a parent, or the given one if the API's is unknown."""
        return names.get(self.identify(value) or "", value)

    def rows(self, read: ReadTable, window: DateWindow) -> Iterator[dict[str, Any]]:
        """See ``ParentSource.rows``."""
        names = self.names(read)
        known = frozenset(names.values())
        covered = self._covered(read, window)
        for row in chain(self.source.rows(read, window), self._named(read, window)):
            value = row[self.param]
            current = self.current(value, names)
            if current != value:
                row[NAMING] = PartitionName(former={**_values(row), self.param: value})
                row[self.param] = current
            elif self.identify(value) and value not in known:
                row[NAMING] = PartitionName(named_by={self.param: self.name})
                row[self.param] = value if self.includes_unnamed else None
            elif self.includes_unnamed and value not in known:
                row[NAMING] = PartitionName(late=True)
            if row[self.param] in covered:
                row[COVERED] = True
            yield row

    def _named(self, read: ReadTable, window: DateWindow) -> Iterator[dict[str, Any]]:
        """The parents that ``table`` holds."""
        if not self.includes_named:
            return
        column, setting = self.group or (self.name, "")
        wanted = window.options.get(setting)
        for name, group, deleted_at in read(self.table, (self.name, column, DELETED_AT)):
            if name and deleted_at is None and (not wanted or group in wanted):
                yield {self.param: name, VERSION: NO_VERSION}

    def _covered(self, read: ReadTable, window: DateWindow) -> frozenset[Any]:
        """The API's names of the parents whose children another resource's lists have."""
        if self.covered_by is None or self.covered_by[0] in window.skipped:
            return frozenset()
        resource, column = self.covered_by
        return frozenset(name for (name,) in read(resource, (column,)) if name)


def _values(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in (VERSION, NAMING, COVERED)}


@dataclass(frozen=True, kw_only=True)
class Constants(ParentSource):
    """One row for each of several values.

    ``Constants(name="status", values=("OPEN", "CLOSED"))`` gives ``{"status": "OPEN"}`` and ``{"status": "CLOSED"}``.

    Attributes:
        name: The path parameter.
        values: The values.
        setting: The name of a setting whose values replace them.
        fallback: The parent source that is used if there are no values.
    """

    name: str
    values: tuple[str, ...] = ()
    setting: str = ""
    fallback: FromTable | None = None

    @property
    def moves_rows(self) -> bool:
        """See ``ParentSource.moves_rows``; organisations and queries, which a setting gives, do not exchange rows."""
        return len(self.values) > 1 and not self.setting

    @property
    def resources(self) -> tuple[str, ...]:
        """See ``ParentSource.resources``."""
        return self.fallback.resources if self.fallback else ()

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
        return self.fallback.columns_of(resource) if self.fallback else {}

    def rows(self, read: ReadTable, window: DateWindow) -> Iterator[dict[str, Any]]:
        """See ``ParentSource.rows``."""
        values = window.options.get(self.setting) or self.values
        if self.fallback and not values:
            yield from self.fallback.rows(read, window)
        for value in values:
            yield {self.name: value, VERSION: NO_VERSION}


@dataclass(frozen=True)
class EachDay(ParentSource):
    """One row for each day of the window, such as ``{"date": "2026-01-31"}``; rows of other days stay unchanged."""

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
            yield {self.name: day.isoformat(), VERSION: NO_VERSION}


@dataclass(frozen=True)
class DateRange(ParentSource):
    """One row with the first of the recent days and today: ``{"from": "2026-01-25", "to": "2026-01-31"}``."""

    first: str
    last: str

    @property
    def params(self) -> tuple[str, ...]:
        """See ``ParentSource.params``."""
        return (self.first, self.last)

    def rows(self, _read: ReadTable, window: DateWindow) -> Iterator[dict[str, Any]]:
        """See ``ParentSource.rows``."""
        yield {self.first: window.recent_day.isoformat(), self.last: window.today.isoformat(), VERSION: NO_VERSION}
