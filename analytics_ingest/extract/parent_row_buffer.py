"""Buffers the rows of a parent that are read and not loaded yet, so that its children can be read meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytics_ingest.extract.rows import ROW_HASH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_BUFFERED_ROWS = 50_000
"""Maximum rows of one parent to buffer; above this, its children wait until it is loaded."""


class ParentRowBuffer:
    """The rows of one parent, with the columns that the partitions of its children need.

    Attributes:
        rows: By their key; ``None`` if nothing is buffered: there are no children, too many rows, or two versions of
            one row.
    """

    def __init__(self, key: Sequence[str], columns: Sequence[str]) -> None:
        """Buffers nothing yet.

        Args:
            key: The parent's primary key.
            columns: The columns that the partitions of its children need; none if it has no children.
        """
        self._key = key
        self._columns = (ROW_HASH, *columns)
        self.rows: dict[tuple[Any, ...], dict[str, Any]] | None = {} if key and columns else None

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Adds rows that are to be loaded."""
        if self.rows is None:
            return
        for row in rows:
            key = tuple(row[name] for name in self._key)
            kept = {name: row[name] for name in self._columns if name in row}
            if len(self.rows) == MAX_BUFFERED_ROWS or self.rows.setdefault(key, kept)[ROW_HASH] != row[ROW_HASH]:
                self.rows = None
                return
