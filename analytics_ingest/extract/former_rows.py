"""Recognises rows that an earlier version stored in a former form, to rewrite them in place and not load them again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analytics_ingest.extract.rows import ROW_HASH, content_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Key = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FormerRow:
    """What the table holds of a row that a row of today does not have.

    Attributes:
        row_hash: The stored content hash; ``None`` if the row is marked as deleted.
        retired: The stored values of columns that are no longer read, without nulls.
        params: The stored path parameters, where they are no longer what the API's name for the parent is.
    """

    row_hash: int | None
    retired: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)


class FormerRows:
    """The stored rows of one endpoint in a former form, by key."""

    def __init__(
        self,
        retired: Sequence[str] = (),
        rows: Mapping[Key, FormerRow] | None = None,
        moved: Mapping[int, dict[str, Any]] | None = None,
    ) -> None:
        """Keeps the rows.

        Args:
            retired: Columns of the table that are no longer read.
            rows: The rows, by ``former_key``.
            moved: Columns to rewrite in rows that are marked as deleted, by their hash: their parent's new name.
        """
        self.moved = moved or {}
        self._retired = retired
        self._rows = rows or {}

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    def recognised(self, key: Sequence[Any], row: Mapping[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """The stored hash and the columns to rewrite in place, if the stored row differs from ``row`` in its form only.

        Args:
            key: The row's key.
            row: The row as it would be loaded, with its hash.
        """
        former = self._rows.get(former_key(key))
        if former is None or former.row_hash is None:
            return None
        now = {**row, **former.params, **former.retired}
        del now[ROW_HASH]
        empty = {name: None for name in self._retired if name not in former.retired}
        # a retired column that is null may have been sent as null, or not at all
        if former.row_hash not in {content_hash(now), content_hash(now | empty)}:
            return None
        return former.row_hash, {ROW_HASH: row[ROW_HASH]} | {name: row[name] for name in former.params}

    def retired(self, key: Sequence[Any]) -> Mapping[str, Any]:
        """The stored values of retired columns of the row with this key; empty if there are none."""
        former = self._rows.get(former_key(key))
        return former.retired if former else {}


def former_key(values: Sequence[Any]) -> Key:
    """A key as text: what JSON sends as 1 may be '1' in the table."""
    return tuple(map(str, values))


def stored_value(value: Any, kind: str) -> Any:
    """A value as the API sent it, from a column of this type: some destinations give JSON back as text."""
    return json.loads(value) if kind == "json" and isinstance(value, str) else value
