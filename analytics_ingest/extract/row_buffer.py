"""The rows of one endpoint between reading and loading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics_ingest.extract.rows import RowNormalizer

RejectedRow = tuple[str, Any]
"""Why a row cannot be stored, and the row as the API sent it."""


class RowBuffer:
    """Rows that dlt was not given yet, and those of the load under way, which come back if it fails.

    Attributes:
        rows: Rows to load that dlt was not given yet.
        snapshot: All rows of an endpoint without a primary key; they are loaded together, once all have come.
        size: Bytes of the responses whose rows came since the last load, about.
    """

    def __init__(self, normalizer: RowNormalizer) -> None:
        """Holds nothing yet.

        Args:
            normalizer: Gives the key of a row, and which of two rows is older.
        """
        self._normalizer = normalizer
        self.rows: list[dict[str, Any]] = []
        self.snapshot: list[dict[str, Any]] = []
        self.size = 0
        self._rejected: list[RejectedRow] = []
        self._extracted: list[dict[str, Any]] = []
        self._extracted_rejected: list[RejectedRow] = []

    @property
    def is_loading(self) -> bool:
        """Whether dlt was given rows that are not loaded yet."""
        return bool(self._extracted)

    @property
    def has_rejected(self) -> bool:
        """Whether there are rejected rows that dlt was not given yet."""
        return bool(self._rejected)

    def __len__(self) -> int:
        """Rows to load, also those that dlt was given already."""
        return len(self.rows) + len(self._extracted)

    def add(self, rows: Sequence[dict[str, Any]], *, size: int = 0) -> None:
        """Adds rows to load; ``size``: bytes of the response that they came in, about."""
        self.rows += rows
        self.size += size

    def reject(self, rows: Sequence[RejectedRow]) -> None:
        """Adds rows that cannot be stored."""
        self._rejected += rows

    def take_rows(self) -> list[dict[str, Any]]:
        """The rows that dlt was not given yet; they leave the buffer."""
        rows, self.rows = self.rows, []
        return rows

    def extract_rows(self) -> list[dict[str, Any]]:
        """The rows that dlt was not given yet, to give them to dlt: of each key the newest, or the last.

        dlt's own choice, by ``dedup_sort``, is arbitrary among rows without a time, or with the same.
        """
        rows = self._newest(self.take_rows())
        self._extracted += rows
        return rows

    def _newest(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        by_key: dict[tuple[Any, ...], dict[str, Any]] = {}
        for row in rows:
            key = self._normalizer.key(row)
            by_key[key] = self._normalizer.newest(by_key.get(key), row)
        return list(by_key.values())

    def extract_rejected(self) -> list[RejectedRow]:
        """The rejected rows that dlt was not given yet, to give them to dlt."""
        rejected, self._rejected = self._rejected, []
        self._extracted_rejected += rejected
        return rejected

    def mark_loaded(self) -> None:
        """Records that all that dlt was given is loaded."""
        self._extracted, self._extracted_rejected = [], []
        self.size = 0

    def load_failed(self) -> None:
        """Takes back what dlt was given since the last load."""
        self.rows = self._extracted + self.rows
        self._rejected = self._extracted_rejected + self._rejected
        self._extracted, self._extracted_rejected = [], []

    def clear(self) -> None:
        """Discards everything."""
        self.rows, self.snapshot, self._rejected = [], [], []
        self._extracted, self._extracted_rejected = [], []
        self.size = 0
