"""Writes the descriptions of an API's tables and columns into the warehouse, as comments."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.column_descriptions import describe_table
from analytics_ingest.extract.dlt_source import REJECTED
from analytics_ingest.warehouse.comments import TableTexts
from analytics_ingest.warehouse.destination_errors import is_transient
from analytics_ingest.warehouse.history_names import SYNCS, VERIFICATIONS, as_of_view, history_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics_ingest.apis.model import Api
    from analytics_ingest.extract.sync_context import SyncContext
    from analytics_ingest.warehouse.cached_tables import CachedTables
    from analytics_ingest.warehouse.warehouse import Warehouse

WRITTEN = "comments"
"""Key in the state of the API with the fingerprint of the texts that were written last."""


class CommentWriter:
    """Writes the comments of one sync, where the destination has them.

    Comments are compared with the texts if the sync has loaded anything, and until all texts of this version of the
    package are written. The fingerprint of the texts is part of dlt's state, which each sync reads anyway. It is stored
    with the next load package; a sync without changes makes no package for it.
    """

    def __init__(self, context: SyncContext, warehouse: Warehouse, tables: CachedTables) -> None:
        """Opens no connection.

        Args:
            context: The sync.
            warehouse: The API's part of the warehouse.
            tables: Its tables.
        """
        self._context = context
        self._warehouse = warehouse
        self._tables = tables
        self._is_new = False

    def begin(self) -> None:
        """Finds out whether the texts differ from those that were written last. Within ``open``."""
        if not self._warehouse.takes_comments:
            return
        api, fingerprint = self._context.api, fingerprint_of(texts_of(self._context.api))
        # the state is parsed at each access
        sources: Any = self._warehouse.pipeline.state.get("sources", {})
        self._is_new = sources.get(api.name, {}).get(WRITTEN) != fingerprint
        if self._is_new:
            # before the first package, which stores it; the ledger knows if the process ends before they are written
            with self._warehouse.pipeline.managed_state() as state:
                stored: dict[str, Any] = state.setdefault("sources", {})
                stored.setdefault(api.name, {})[WRITTEN] = fingerprint

    def finish(self, *, changed: bool) -> None:
        """Writes the comments that differ, within ``open``. A failure is logged as a warning, as all rows are loaded.

        Args:
            changed: Whether this sync, or one that was interrupted, may have changed a table.
        """
        if not self._warehouse.takes_comments or not (changed or self._is_new):
            return
        self._tables.connect()
        api, log = self._context.api, self._context.log
        texts = texts_of(api)
        try:
            foreign = self._warehouse.comments(lambda comments: comments.write(texts))
        except Exception as error:
            if is_transient(error):
                raise
            log.warning(f"{api.name}: the descriptions of its tables cannot be written as comments: {error}")
            return
        if foreign:
            log.warning(
                f"{api.name}: the descriptions of {', '.join(foreign)} are not written as comments, as another user "
                "owns the tables: make the user of the destination their owner, or a member of the role that is"
            )


def texts_of(api: Api) -> dict[str, TableTexts]:
    """By table of an API what people should read about it and its columns, the product's own tables included."""
    texts = {
        SYNCS: TableTexts(table="The ledger: a row for each endpoint and sync, also if it failed or nothing changed."),
        VERIFICATIONS: TableTexts(table="What the last verification of each endpoint against the API has found."),
        REJECTED: TableTexts(table="Rows that cannot be stored, with the endpoint, the reason and the row as JSON."),
    }
    for endpoint in api.endpoints:
        name = endpoint.name
        texts[name] = TableTexts(table=endpoint.description, columns=describe_table(api, endpoint))
        texts[history_table(name)] = TableTexts(
            table=f"The versions of the rows of {name}; the view {as_of_view(name)} has the time in which each holds."
        )
    return texts


def fingerprint_of(texts: Mapping[str, TableTexts]) -> str:
    """A fingerprint of the texts, 16 hexadecimal digits."""
    plain = sorted((name, each.table, sorted(each.columns.items())) for name, each in texts.items())
    return blake2b(repr(plain).encode(), digest_size=8).hexdigest()
