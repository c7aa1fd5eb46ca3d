"""Feeds: which rows of which tables a child endpoint is asked for.

A feed gives one row per request to make: the path parameters, and whatever else the child's rows carry from
their parent. It is read from the parents' tables, all rows of them, so a cursor on a parent hides no child.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Row = Mapping[str, Any]
ReadTable = Callable[[str, Sequence[str]], Iterable[tuple[Any, ...]]]
"""Reads columns of a resource's table: ``read(resource, columns)`` gives tuples in the columns' order."""


class Feed(Protocol):
    """What every kind of feed offers."""

    @property
    def resources(self) -> tuple[str, ...]:
        """Names of the resources whose tables are read."""

    @property
    def params(self) -> tuple[str, ...]:
        """Names of the values in each row of the feed."""

    def rows(self, read: ReadTable) -> Iterator[dict[str, Any]]:
        """One row per request, duplicates possible, in no order."""


class From:
    """Rows of one resource's table: ``From("gates", gate_id="id")`` gives ``gate_id`` from column ``id``."""

    def __init__(
        self,
        resource: str,
        /,
        *,
        derive: Callable[[Row], Row] | None = None,
        derived: tuple[str, ...] = (),
        **columns: str,
    ) -> None:
        """Declares a feed from one table.

        Args:
            resource: The parent.
            derive: Computes the values named in ``derived`` from a row of the feed.
            derived: Names that ``derive`` adds.
            columns: Names in the feed's row, and the column that each comes from.
        """
        self.resources = (resource,)
        self.params = (*columns, *derived)
        self._columns = columns
        self._derive = derive

    def rows(self, read: ReadTable) -> Iterator[dict[str, Any]]:
        """See ``Feed.rows``."""
        for values in read(self.resources[0], tuple(self._columns.values())):
            row = dict(zip(self._columns, values, strict=True))
            if self._derive:
                row.update(self._derive(row))
            yield row


@dataclass(frozen=True)
class Union:
    """The rows of several feeds that give the same names."""

    feeds: tuple[From, ...]

    @property
    def resources(self) -> tuple[str, ...]:
        """See ``Feed.resources``."""
        return tuple(name for feed in self.feeds for name in feed.resources)

    @property
    def params(self) -> tuple[str, ...]:
        """See ``Feed.params``."""
        return self.feeds[0].params

    def rows(self, read: ReadTable) -> Iterator[dict[str, Any]]:
        """See ``Feed.rows``."""
        for feed in self.feeds:
            yield from feed.rows(read)


@dataclass(frozen=True)
class Join:
    """Every pair of a row of ``left`` and one of ``right`` whose value ``on`` is the same; ``on`` is dropped."""

    left: From
    right: From
    on: str

    @property
    def resources(self) -> tuple[str, ...]:
        """See ``Feed.resources``."""
        return (*self.left.resources, *self.right.resources)

    @property
    def params(self) -> tuple[str, ...]:
        """See ``Feed.params``."""
        return tuple(name for name in (*self.left.params, *self.right.params) if name != self.on)

    def rows(self, read: ReadTable) -> Iterator[dict[str, Any]]:
        """See ``Feed.rows``."""
        partners: dict[Any, list[dict[str, Any]]] = {}
        for row in self.right.rows(read):
            partners.setdefault(row.pop(self.on), []).append(row)
        for row in self.left.rows(read):
            for partner in partners.get(row.pop(self.on), ()):
                yield row | partner
