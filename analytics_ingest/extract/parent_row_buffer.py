"""What children's feeds need of a parent's rows that are read and not loaded yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytics_ingest.extract.rows import ROW_HASH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_BUFFERED_ROWS = 50_000
"""Rows of one parent that are kept; of more, the children wait for the load."""


class ParentRowBuffer:
    """The rows of one parent, with the columns that feeds need.

    Attributes:
        rows: By their key; ``None`` if nothing is kept: there are no children, too many rows, or two of one key.
    """

    def __init__(self, key: Sequence[str], columns: Sequence[str]) -> None:
        """Keeps nothing yet.

        Args:
            key: The parent's primary key.
            columns: The columns that the feeds of its children need; none, if it has none.
        """
        self._key = key
        self._columns = (ROW_HASH, *columns)
        self.rows: dict[tuple[Any, ...], dict[str, Any]] | None = {} if key and columns else None

    def note(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keeps what is needed of rows that are to be loaded."""
        if self.rows is None:
            return
        for row in rows:
            key = tuple(row[name] for name in self._key)
            kept = {name: row[name] for name in self._columns if name in row}
            if len(self.rows) == MAX_BUFFERED_ROWS or self.rows.setdefault(key, kept)[ROW_HASH] != row[ROW_HASH]:
                self.rows = None
                return
