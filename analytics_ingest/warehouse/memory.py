"""What becomes of memory that is free again."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import pyarrow as pa

MMAP_THRESHOLD = -3
"""``M_MMAP_THRESHOLD`` of glibc's ``malloc.h``."""
LARGE = 1 << 20
"""Bytes from which a block is the system's again as soon as it is freed."""


def return_large_blocks() -> None:
    """Has glibc give large blocks back to the system when they are freed; without glibc nothing happens.

    It raises the size from which it does so with each that is freed (mallopt(3)). The statements of a load, some
    20 MB, then stay with each of dozens of threads' arenas: 15 MB more for each load into PostgreSQL.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE)


def release_arrow_memory() -> None:
    """Has Arrow give back what the tables of a package took: some 30 MB, which the destination takes next."""
    pa.default_memory_pool().release_unused()
