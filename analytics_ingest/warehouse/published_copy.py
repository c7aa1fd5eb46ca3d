"""A copy of a DuckDB file for readers, which is whole at any moment."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

HEADERS = 3 * 4096
"""Bytes of the three headers of a DuckDB file, two of which change in turn with each checkpoint (DuckDB's
documentation of its storage format). The first one has a number that no other file has."""
CHUNK = 1 << 20
"""Bytes that are copied at once."""


@dataclass(frozen=True, kw_only=True)
class PublishedCopy:
    """A file that is replaced by a copy of another one.

    Attributes:
        path: The copy.
        source: The DuckDB file that it is a copy of.
    """

    path: Path
    source: Path

    def is_current(self) -> bool:
        """Whether the copy is there, and the source has not changed since.

        Must not be called while this process has a connection to the source, whose lock it would release.

        Raises:
            OSError: One of the files cannot be read.
        """
        return self.path.exists() and not log_size(self.source) and _headers(self.path) == _headers(self.source)

    def replace(self, source: BinaryIO) -> int:
        """Replaces the copy at once: who has it open goes on to read the former one.

        Args:
            source: The source, opened by the only process that may write to it, after a checkpoint.

        Returns:
            Bytes copied.

        Raises:
            OSError: The copy cannot be written. The former one is as it was.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(f".{self.path.name}.new")
        try:
            # of a process that was killed
            new.unlink(missing_ok=True)
            with new.open("xb") as target:
                # a reader that may write would keep out all others; not every file system has permissions
                with suppress(OSError):
                    os.fchmod(target.fileno(), self._mode(source) & 0o555)
                shutil.copyfileobj(source, target, CHUNK)
                target.flush()
                os.fsync(target.fileno())
                size = target.tell()
            # of a process that wrote to the former copy all the same: DuckDB would apply it to the new one
            _log(self.path).unlink(missing_ok=True)
            new.replace(self.path)
        finally:
            new.unlink(missing_ok=True)
        return size

    def _mode(self, source: BinaryIO) -> int:
        """The permissions of the former copy; without one those of the source."""
        former = self.path.stat() if self.path.exists() else os.fstat(source.fileno())
        return former.st_mode


def log_size(file: Path) -> int:
    """Bytes in the write-ahead log of a DuckDB file, which DuckDB moves to the file as it closes it."""
    log = _log(file)
    return log.stat().st_size if log.exists() else 0


def _log(file: Path) -> Path:
    return file.with_name(f"{file.name}.wal")


def _headers(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(HEADERS)
