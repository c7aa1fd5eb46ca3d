"""Finds stored rows that are gone upstream, and decides whether there is enough evidence to mark them as deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

MIN_ROWS = 10
"""Rows below which a table is too small to collapse."""


def has_collapsed(before: int, now: int, *, share: float) -> bool:
    """Whether fewer than ``share`` of the rows are left of a table that is not too small to tell.

    Args:
        before: Rows before the sync, without those marked as deleted.
        now: Rows after it.
        share: The setting ``MIN_ROWS_SHARE``.
    """
    return before >= MIN_ROWS and now < share * before


class Deletions:
    """Finds the stored rows that are gone upstream, list by list.

    Nothing of a list is marked as deleted if one of its rows was rejected, if it moved while it was read, or if fewer
    rows came than the API states. Once the table would collapse by the marks, no more are made, except of rows whose
    parent is gone.

    Attributes:
        before: Rows to compare with, see ``has_collapsed``.
        unproven: Paths of lists that are no evidence, as a row in them was rejected.
        collapsed: Whether the table would collapse, so that marks are withheld.
        remaining: Rows that the table would have, without those marked; ``None`` before the first ``take``.
    """

    def __init__(self, *, stored: int, before: int, share: float) -> None:
        """Has no evidence yet.

        Args:
            stored: Rows in the table before the sync, without those marked as deleted.
            before: Rows to compare with: ``stored``, unless an earlier sync found the table collapsed.
            share: The setting ``MIN_ROWS_SHARE``.
        """
        self._stored = stored
        self._share = share
        self._proven: set[str] = set()
        self._gone = 0
        self.before = before
        self.unproven: set[str] = set()
        self.collapsed = False
        self.remaining: int | None = None

    def reject(self, path: str) -> None:
        """Records that a row of the list at ``path`` was rejected."""
        self.unproven.add(path)
        self._proven.discard(path)

    def prove(self, path: str) -> None:
        """Records that the list at ``path`` was read completely."""
        if path not in self.unproven:
            self._proven.add(path)

    def find(self, unseen: Iterable[tuple[int, str]], there: Collection[str] | None) -> list[int]:
        """Hashes of the rows that are gone, by the lists read since the last ``take``.

        Args:
            unseen: Hashes of stored rows that have not come, each with the path of its parent.
            there: Paths of all parents, once every one was read; a row of another parent is gone with it.
        """
        if there is None and not self._proven:
            return []
        return [value for value, path in unseen if self._is_gone(path, there)]

    def _is_gone(self, path: str, there: Collection[str] | None) -> bool:
        return path in self._proven or (there is not None and path not in there)

    def take(self, unseen: Iterable[tuple[int, str]], there: Collection[str] | None, *, added: int) -> list[int]:
        """Hashes of the rows to mark: what ``find`` gives, or none if the table would collapse.

        Args:
            unseen: See ``find``.
            there: See ``find``.
            added: Rows that the sync has added so far; one that changed counts, as its old content is gone.
        """
        if there is None and not self._proven:
            return []
        gone = {value: path for value, path in unseen if self._is_gone(path, there)}
        self._proven = set()
        # the parent's own list was proven: what hangs on it is no collapse
        with_parent = [value for value, path in gone.items() if there is not None and path not in there]
        self._stored -= len(with_parent)
        self.before -= len(with_parent)
        self._gone += len(gone) - len(with_parent)
        self.compare(self._stored + added - self._gone)
        return with_parent if self.collapsed else list(gone)

    def compare(self, remaining: int) -> None:
        """Records how many rows the table would have."""
        self.remaining = remaining
        self.collapsed = self.collapsed or has_collapsed(self.before, remaining, share=self._share)
