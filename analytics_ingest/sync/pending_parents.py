"""The rows that a parent's table will hold once it is loaded, so that its children need not wait for the load."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.parents import LOAD_ID
from analytics_ingest.extract.deletions import has_collapsed
from analytics_ingest.extract.rows import DELETED_AT, ROW_HASH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from analytics_ingest.config.api_settings import Settings
    from analytics_ingest.extract.endpoint_reader import EndpointReader
    from analytics_ingest.warehouse.table_queries import DatasetTables

KINDS: dict[str, type] = {"bigint": int, "text": str, "timestamp": datetime, "bool": bool}
"""Types of columns whose values come back from the destination as they are in the rows that were read."""


class PendingParentRows:
    """The rows of a parent that is read and not loaded yet: those in its table, with the changes that were read.

    Where the destination could store another value than the one read, the table's future content is unknown, and
    children wait.
    """

    def __init__(self, reader: EndpointReader, settings: Settings) -> None:
        """Queries nothing yet.

        Args:
            reader: The parent's reader.
            settings: The API's settings.
        """
        self._reader = reader
        self.name = reader.endpoint.name
        self._key = reader.endpoint.primary_key
        self._columns = reader.stored.columns
        self._gone = frozenset(reader.find_deleted_hashes())
        self._share = settings.min_rows_share

    def is_known(self, tables: DatasetTables) -> bool:
        """Whether the table's future content is fully known, and no check of it would block its children."""
        reader = self._reader
        if (
            not (reader.is_read and reader.is_complete and self._key)
            or reader.stats.doubt
            or reader.parent_rows.rows is None
        ):
            return False
        if self._columns and ROW_HASH not in self._columns:
            return False
        names = {name for row in reader.parent_rows.rows.values() for name in row if name != ROW_HASH}
        if not all(self._is_plain(name) for name in names):
            return False
        now = sum(1 for _ in self.rows(tables, ()))
        return not has_collapsed(reader.deletions.before, now, share=self._share)

    def rows(self, tables: DatasetTables, wanted: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """The rows, as ``parents.ReadTable`` gives them."""
        kept = self._reader.parent_rows.rows or {}
        present = [name for name in wanted if name in self._columns]
        live = DELETED_AT if DELETED_AT in self._columns else None
        if self._columns:
            for values in tables.read(self.name, [*present, *self._key, ROW_HASH], where_null=live):
                if values[-1] in self._gone or values[len(present) : -1] in kept:
                    continue
                row = dict(zip(present, values, strict=False))
                # a column that no row ever filled does not exist
                yield tuple(row.get(name) for name in wanted)
        load_id = str(time.time())
        for new in kept.values():
            yield tuple(load_id if name == LOAD_ID else new.get(name) for name in wanted)

    def _is_plain(self, name: str) -> bool:
        """Whether the values of a column come back from the destination as they are."""
        kept = self._reader.parent_rows.rows or {}
        values = [row[name] for row in kept.values() if row.get(name) is not None]
        kinds = {type(value) for value in values}
        if not values:
            return True
        # a value of another type than the column's is converted as it is loaded
        return kinds <= {KINDS.get(self._reader.columns.types.of(name) or "")} and not self._reader.columns.need_changes
