"""Releases memory that a load no longer needs."""

from __future__ import annotations

import pyarrow as pa


def release_arrow_memory() -> None:
    """Has Arrow return the memory of a package's tables, some 30 MB, before the destination takes memory."""
    pa.default_memory_pool().release_unused()
