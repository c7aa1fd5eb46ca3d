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


MARK = "_mark"
"""Key in a feed's row under which its ``Mark`` stands."""
MARK_COLUMNS = ("updated_at", "_dlt_load_id")


@dataclass(frozen=True)
class Mark:
    """By which a parent that changed is told from one that did not.

    Attributes:
        updated_at: The parent's own; ``None`` if it has none.
        load_id: dlt's name of the load that wrote the parent's row: the epoch seconds of its beginning.
        settled: Whether its children change no more.
    """

    updated_at: Any
    load_id: float
    settled: bool

    def with_(self, other: Mark) -> Mark:
        """The mark of a pair: changed when either did, settled when both are."""
        known = self.updated_at is not None and other.updated_at is not None
        return Mark(
            max(self.updated_at, other.updated_at) if known else None,
            max(self.load_id, other.load_id),
            self.settled and other.settled,
        )


class Feed(Protocol):
    """What every kind of feed offers."""

    @property
    def settles(self) -> bool:
        """Whether parents can be settled, so that their children change no more."""

    @property
    def resources(self) -> tuple[str, ...]:
        """Names of the resources whose tables are read."""

    @property
    def params(self) -> tuple[str, ...]:
        """Names of the values in each row of the feed."""

    def rows(self, read: ReadTable) -> Iterator[dict[str, Any]]:
        """One row per request with its ``MARK``, duplicates possible, in no order."""


class From:
    """Rows of one resource's table: ``From("gates", gate_id="id")`` gives ``gate_id`` from column ``id``."""

    def __init__(
        self,
        resource: str,
        /,
        *,
        derive: Callable[[Row], Row] | None = None,
        derived: tuple[str, ...] = (),
        settled: tuple[str, frozenset[str]] | None = None,
        **columns: str,
    ) -> None:
        """Declares a feed from one table.

        Args:
            resource: The parent.
            derive: Computes the values named in ``derived`` from a row of the feed.
            derived: Names that ``derive`` adds.
            settled: A column of the parent and its values that mean that the children change no more: once
                asked since, such a parent is not asked again.
            columns: Names in the feed's row, and the column that each comes from.
        """
        self.resources = (resource,)
        self.params = (*columns, *derived)
        self._columns = columns
        self._derive = derive
        self._settled = settled

    @property
    def settles(self) -> bool:
        """See ``Feed.settles``."""
        return self._settled is not None

    def rows(self, read: ReadTable) -> Iterator[dict[str, Any]]:
        """See ``Feed.rows``."""
        settled = (self._settled[0],) if self._settled else ()
        for values in read(self.resources[0], (*self._columns.values(), *MARK_COLUMNS, *settled)):
            row: dict[str, Any] = dict(zip(self._columns, values, strict=False))
            if self._derive:
                row.update(self._derive(row))
            updated_at, load_id, *state = values[len(self._columns) :]
            done = self._settled is not None and state[0] in self._settled[1]
            row[MARK] = Mark(updated_at, float(load_id or 0), done)
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

    @property
    def settles(self) -> bool:
        """See ``Feed.settles``."""
        return any(feed.settles for feed in self.feeds)

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

    @property
    def settles(self) -> bool:
        """See ``Feed.settles``."""
        return self.left.settles and self.right.settles

    def rows(self, read: ReadTable) -> Iterator[dict[str, Any]]:
        """See ``Feed.rows``."""
        partners: dict[Any, list[dict[str, Any]]] = {}
        for row in self.right.rows(read):
            partners.setdefault(row.pop(self.on), []).append(row)
        for row in self.left.rows(read):
            for partner in partners.get(row.pop(self.on), ()):
                yield row | partner | {MARK: row[MARK].with_(partner[MARK])}
