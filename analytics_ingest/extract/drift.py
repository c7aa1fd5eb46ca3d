"""Detects drift: signs that an API changes an endpoint, or is about to.

The resource's state remembers what the last sync met, so that a sync without changes needs no query.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from analytics_ingest.extract.column_names import DELETED_AT, ROW_HASH

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.http.notices import Notices

ENVELOPE = "envelope"
"""Key in the resource's state of the fields that envelopes had at any sync; absent without an envelope."""
FILLED = "filled"
"""Key in the resource's state of the columns with a value in any row, when all rows were read last."""
OWN_COLUMNS = frozenset({DELETED_AT, ROW_HASH})


class DriftDetector:
    """Detects the drift of one endpoint in one sync.

    Attributes:
        found: A sentence for each sign, once ``finish`` was called; without secrets.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        columns: Collection[str],
        state: Mapping[str, Any],
        *,
        notices: Notices,
        masked: Callable[[str], str],
    ) -> None:
        """Starts with what the last sync met.

        Args:
            endpoint: The endpoint.
            columns: The columns that the table has.
            state: The resource's state, as the last sync left it.
            notices: What the endpoint's responses say beside their rows.
            masked: Masks and shortens text that the API wrote.
        """
        self.found: list[str] = []
        self._notices = notices
        self._masked = masked
        self._known_fields = frozenset(state[ENVELOPE]) if ENVELOPE in state else None
        # the API sends neither our own columns nor those that come from the parent
        self._own = OWN_COLUMNS.union(endpoint.parents.params if endpoint.parents else ())
        self._is_known = FILLED in state
        self._filled_before = frozenset(state.get(FILLED, ())).intersection(columns)
        self._filled = self._own
        self._lock = threading.Lock()

    def add_rows(
        self, rows: Iterable[Mapping[str, Any]], *, new: Iterable[Mapping[str, Any]], columns: Collection[str]
    ) -> None:
        """Notes which columns have values in rows that came; several threads may call it.

        Args:
            rows: The rows of a page.
            new: Those among them that the table does not hold as they are.
            columns: All columns that the rows may have.
        """
        # only a new row can fill a column that was null before, so that unchanged ones need no look at it
        self._look_for(self._filled_before if self._is_known else columns, rows)
        self._look_for(columns, new)

    def _look_for(self, columns: Collection[str], rows: Iterable[Mapping[str, Any]]) -> None:
        # the first row fills most of them
        left = frozenset(columns) - self._filled
        for row in rows:
            if not left:
                return
            if filled := [name for name in left if row.get(name) is not None]:
                left = left.difference(filled)
                with self._lock:
                    self._filled = self._filled.union(filled)

    def finish(self, state: MutableMapping[str, Any], *, reads_all: bool, left_out: Collection[str]) -> None:
        """Compares what came with what the last sync met, and records it in the state.

        Args:
            state: The resource's state, as this sync changes it.
            reads_all: Whether all rows of the endpoint came, and there is one.
            left_out: Columns that are not loaded, whatever comes.
        """
        headers = self._notices.headers or {}
        self.found = [f"the response has the header {name}: {text}" for name, text in headers.items()]
        self.found += [f"the envelope has the new field {self._masked(name)}" for name in self._new_fields()]
        if fields := self._notices.fields | (self._known_fields or frozenset()):
            state[ENVELOPE] = sorted(fields)
        if reads_all:
            lost = sorted(self._filled_before.difference(self._filled, left_out))
            self.found += [f"no row has a value in {self._masked(name)} any more" for name in lost]
            state[FILLED] = sorted(self._filled - self._own)

        else:
            self.record_filled(state)

    def record_filled(self, state: MutableMapping[str, Any]) -> None:
        """Records in the state which columns have values by now, where not all rows came."""
        if self._is_known:
            state[FILLED] = sorted({*state[FILLED], *(self._filled - self._own)})

    def _new_fields(self) -> list[str]:
        return [] if self._known_fields is None else sorted(self._notices.fields - self._known_fields)
