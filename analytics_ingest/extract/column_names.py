"""Names the column of each field: one name per field, never one name for two fields."""

from __future__ import annotations

import re
import threading
from hashlib import blake2b
from typing import TYPE_CHECKING

from dlt.common.normalizers.naming.snake_case import NamingConvention

from analytics_ingest.apis import parents

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

ROW_HASH = "_row_hash"
"""Column with a 64-bit hash of the row's content, which tells a changed row from an unchanged one."""
DELETED_AT = parents.DELETED_AT
OWN = frozenset({ROW_HASH, DELETED_AT})
"""Columns of the product; those that begin with ``DLT_PREFIX`` are dlt's."""
DLT_PREFIX = "_dlt_"
ALIASES = frozenset({"d", "s"})
"""Aliases in dlt's SQL of a merge: DuckDB reads ``d."id"`` as a part of the column ``d``, if that holds JSON, and then
finds no row to replace.
"""
SYSTEM = frozenset({"cmax", "cmin", "ctid", "oid", "rowid", "tableoid", "xmax", "xmin"})
"""Columns that PostgreSQL or DuckDB has in every table."""
LAKE_PREFIX = "_ducklake_internal_"
PLANNED = frozenset({"_changed_at", "_operation", "_seen_at", "_valid_from", "_valid_to"})
"""Columns that the product reserves for tables and views beside an endpoint's."""
SENT = "sent"
"""Prefix of the column of a field that would fill one of these columns: ``sent_row_hash``."""
UNNAMED = "unnamed"
"""Column of a field whose name is empty or blank."""
PLURAL = re.compile(r"([A-Z]{2,})s(?![a-z])")
"""An acronym in the plural, as in ``holdoutIDs``, which dlt would make ``holdout_i_ds``."""
DIGITS = 6
"""Hexadecimal digits of a suffix."""
NAMINGS: dict[int | None, NamingConvention] = {}


def is_own(column: str) -> bool:
    """Whether a column belongs to the product or to dlt, so that no field of an upstream may fill it."""
    return column in OWN or column.startswith(DLT_PREFIX)


def is_reserved(column: str) -> bool:
    """Whether a column of a new table is the product's, dlt's or a destination's, so that no field may fill it."""
    taken = column in ALIASES or column in SYSTEM or column in PLANNED
    return taken or is_own(column) or column.startswith(LAKE_PREFIX)


def column_name(field: str, *, max_length: int | None = None, stored: Collection[str] = ()) -> str:
    """The column of a field if no other field has it: ``lastModifiedTime`` is ``last_modified_time``.

    A blank name gives ``unnamed``. A field with the name of a reserved column gets another name: ``_row_hash`` gives
    ``sent_row_hash``.

    Args:
        field: The name of the field, as sent.
        max_length: Characters that the destination's names may have; any number by default. dlt shortens longer ones.
        stored: The columns of the table. A name that a destination has reserved is kept where the table has it.
    """
    name = former_name(PLURAL.sub(lambda match: f"{match[1].capitalize()}s", field), max_length=max_length)
    if not is_reserved(name) or (name in stored and not is_own(name) and name not in ALIASES):
        return name
    return sent_name(name)


def sent_name(column: str) -> str:
    """The column of a field that cannot have the column ``column``."""
    return f"{SENT}{column}" if column.startswith("_") else f"{SENT}_{column}"


def former_name(field: str, *, max_length: int | None = None) -> str:
    """The column that dlt makes of a field."""
    if max_length not in NAMINGS:
        NAMINGS[max_length] = NamingConvention(max_length or 0)
    return NAMINGS[max_length].normalize_identifier(field) if field.strip() else UNNAMED


class ColumnNames:
    """The columns of the fields of one endpoint's rows; several threads may use it at once.

    The first field that comes has the plain name; if several come in one row, the field that is spelled like its
    column. A later field gets a suffix that depends only on its name. These choices are saved from sync to sync.

    Attributes:
        columns: The column of each field so far.
        decided: By field the column that no plain rule gives: to be saved.
        moved: By column the name that earlier versions of the product gave it.
        apart: Fields that do not have the plain name, and the column that each goes to; for the log.
    """

    def __init__(
        self,
        *,
        stored: Collection[str] = (),
        remembered: Mapping[str, str] | None = None,
        params: Iterable[str] = (),
        max_length: int | None = None,
    ) -> None:
        """Starts from the names that earlier syncs chose.

        Args:
            stored: The columns of the table.
            remembered: ``decided`` of earlier syncs.
            params: Names of the path parameters. A field of a row with such a name goes to a column of another name.
            max_length: Characters that the destination's names may have.
        """
        self._stored = stored
        self._max_length = max_length
        self.columns: dict[str, str] = dict(remembered or {})
        self.decided: dict[str, str] = dict(remembered or {})
        self.moved: dict[str, str] = {}
        self.apart: dict[str, str] = {}
        self._fields: dict[str, str | None] = {column: field for field, column in self.columns.items()}
        for field, column in self.columns.items():
            self._record_former(field, column)
        for name in params:
            self._fields.setdefault(sent_name(name), None)
        self._lock = threading.Lock()

    def name(self, fields: Iterable[str]) -> None:
        """Chooses the columns of fields that come for the first time."""
        with self._lock:
            plain = {field: self._plain(field) for field in fields if field not in self.columns}
            for field in sorted(plain, key=lambda each: (plain[each] != each, each)):
                column = self._free(field, plain[field])
                self._fields[column] = field
                self.columns[field] = column

    def plain(self, field: str) -> set[str]:
        """The names of the field's column in this version of the product and in earlier ones."""
        return {self._plain(field), former_name(field, max_length=self._max_length)}

    def _plain(self, field: str) -> str:
        return column_name(field, max_length=self._max_length, stored=self._stored)

    def _free(self, field: str, plain: str) -> str:
        if plain not in self._fields:
            former = former_name(field, max_length=self._max_length)
            if is_reserved(former) and former != plain:
                self.apart[field] = plain
            self._record_former(field, plain)
            return plain
        column = self._suffixed(plain, field)
        self.apart[field] = self.decided[field] = column
        if owner := self._fields[plain]:
            self.decided[owner] = plain
        return column

    def _record_former(self, field: str, column: str) -> None:
        former = former_name(field, max_length=self._max_length)
        if column != former and column == self._plain(field) and not is_own(former):
            self.moved[column] = former

    def renamed(self, stored: Collection[str]) -> dict[str, str]:
        """By column of a table that an earlier version of the product made, its name now."""
        moved = {was: now for now, was in self.moved.items() if was in stored and now not in stored}
        return {was: now for was, now in moved.items() if was not in self._fields}

    def _suffixed(self, plain: str, field: str) -> str:
        digest, digits = blake2b(field.encode(errors="replace")).hexdigest(), DIGITS
        while True:
            suffix = f"_{digest[:digits]}"
            kept = plain if self._max_length is None else plain[: self._max_length - len(suffix)]
            if (column := f"{kept.rstrip('_')}{suffix}") not in self._fields:
                return column
            digits += 1
