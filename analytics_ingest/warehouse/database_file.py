"""A file to which one process at a time may write: a database, or the catalog of a lake."""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class DatabaseFile:
    """A file that one process at a time may write to.

    Attributes:
        path: The file.
        kind: What it is, for a person.
    """

    path: Path
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"

    def is_there(self) -> bool:
        """Whether there is anything in it: an empty file counts as none."""
        return self.path.exists() and not self._is_empty()

    def remove_if_empty(self) -> None:
        """Removes an empty file, which DuckDB does not open; only for the one process that may write.

        Raises:
            OSError: It cannot be removed.
        """
        if not self._is_empty():
            return
        with self.path.open("r+b") as file:
            try:
                # DuckDB locks a file in this way from the moment that it makes it
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return
            if self._is_empty():
                self.path.resolve().unlink(missing_ok=True)

    def _is_empty(self) -> bool:
        return self.path.is_file() and self.path.stat().st_size == 0
