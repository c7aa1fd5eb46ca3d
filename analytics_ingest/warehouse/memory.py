"""What becomes of memory that a load no longer needs."""

from __future__ import annotations

import pyarrow as pa


def release_arrow_memory() -> None:
    """Has Arrow give back what the tables of a package took: some 30 MB, which the destination takes next."""
    pa.default_memory_pool().release_unused()
