"""Compares names: whether one is another one misspelt, and which known name is meant."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SHORT, LONG = 4, 12
"""Characters: a name that is shorter than the first has no misspelling, one of the second or more may have two."""


def is_misspelt(name: str, known: str) -> bool:
    """Whether ``name`` differs from ``known`` by one letter, or by two if it is long.

    A letter that is missing, added or replaced counts as one, and two neighbours that are swapped count as one.
    """
    length = min(len(name), len(known))
    allowed = 0 if length < SHORT else 1 if length < LONG else 2
    return name != known and _distance(name, known, limit=allowed) <= allowed


def _distance(one: str, other: str, *, limit: int) -> int:
    """The optimal string alignment distance of two texts; ``limit + 1`` for any larger one."""
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, start=1):
        line = [row] + [limit + 1] * len(other)
        # cells further from the diagonal are above the limit
        for column in range(max(1, row - limit), min(len(other), row + limit) + 1):
            differs = letter != other[column - 1]
            line[column] = min(last[column] + 1, line[column - 1] + 1, last[column - 1] + differs)
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == other[column - 1]:
                line[column] = min(line[column], before[column - 2] + 1)
        if min(line) > limit:
            return limit + 1
        before, last = last, line
    return last[-1]


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like ``name``; empty if none is."""
    return next(iter(get_close_matches(name, list(known), n=1)), "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one as a question; empty if none is near."""
    found = nearest(name, known)
    return f": did you mean {found}?" if found else ""
