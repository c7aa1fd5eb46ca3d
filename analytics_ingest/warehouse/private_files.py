"""Creates the files of a warehouse for the user of this process alone, unless its file is open to others already."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OTHERS = 0o077
"""The permissions of all users but the owner."""
_LOCK = threading.Lock()
_MASKS: list[int] = []
"""Those of the syncs that run in this process, whose threads share one mask."""
_BEFORE = [0]


@contextmanager
def private_files(file: Path | None) -> Iterator[None]:
    """Has this process create files and folders without permissions for other users.

    DuckDB writes rows into its log and its temporary files too, and dlt into its working folder. A database file that
    exists keeps its permissions, and what is created beside it gets no more than those: so ``chmod 640`` of the file
    holds for its log as well.

    Args:
        file: The database file, if there is one.
    """
    mask = _mask(file)
    with _LOCK:
        if not _MASKS:
            _BEFORE[0] = os.umask(mask)
        _MASKS.append(mask)
        _apply()
    try:
        yield
    finally:
        with _LOCK:
            _MASKS.remove(mask)
            _apply()


def _apply() -> None:
    os.umask(reduce(or_, _MASKS, _BEFORE[0]))


def _mask(file: Path | None) -> int:
    """The permissions to withhold."""
    try:
        mode = file.stat().st_mode if file else 0
    except OSError:
        return OTHERS
    # a folder whose files may be read must be entered
    enter = (mode & 0o044) >> 2
    return OTHERS & ~(mode | enter)
