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
        kind: What it is, in a message: ``the DuckDB file``.
    """

    path: Path
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"

    def is_there(self) -> bool:
        """Whether the file exists and has content."""
        return self.path.exists() and not self._is_empty()

    def remove_if_empty(self) -> None:
        """Removes an empty file, which DuckDB does not open. Only the process that may write calls this.

        Raises:
            OSError: It cannot be removed.
        """
        if not self._is_empty():
            return
        with self.path.open("r+b") as file:
            try:
                # DuckDB locks a file in the same way from the moment that it creates it
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return
            if self._is_empty():
                self.path.resolve().unlink(missing_ok=True)

    def _is_empty(self) -> bool:
        return self.path.is_file() and self.path.stat().st_size == 0
