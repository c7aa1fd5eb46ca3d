"""The type of each column, and the type that it is widened to when a value does not fit.

One field is one column. A column holds one of six types. When a value of another kind comes, the column is widened to
the next type that holds every value. Only the set of kinds counts, so that any order of rows gives the same type.
``docs/types.md`` has the table.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from enum import IntFlag
from typing import TYPE_CHECKING, Any

import orjson

from analytics_ingest.json_text import json_text
from analytics_ingest.timestamps import iso_to_utc

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence


MAX_INTEGER = 2**63 - 1
"""The largest whole number of a ``bigint`` column, on every destination."""
MAX_DIGITS = 20
"""Maximum characters of a whole number of 64 bits, with its sign."""
MAX_EXACT = 2**53
"""The largest whole number below which a double holds every whole number."""
WHOLE_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)")
"""Text that is a whole number in canonical form: ``7``, but neither ``007`` nor ``+7``."""
MAX_SHOWN = 40
"""Characters of a value that the report of a widened column shows."""


class Kind(IntFlag):
    """Kinds of values. The kinds seen in a column determine its type."""

    WHOLE = 1
    """A whole number within 2^53."""
    LARGE = 2
    """A whole number within 64 bits that a double cannot hold exactly."""
    HUGE = 4
    """A whole number beyond 64 bits."""
    DOUBLE = 8
    BOOL = 16
    TEXT = 32
    TIME = 64
    JSON = 128
    """An object or a list."""


NONE = Kind(0)
NATIVE: Mapping[str, Kind] = {
    "bigint": Kind.WHOLE | Kind.LARGE,
    "double": Kind.DOUBLE,
    "bool": Kind.BOOL,
    "text": Kind.TEXT,
    "timestamp": Kind.TIME,
    "json": Kind.JSON,
}
"""By type, in dlt's terms, the kinds of values that the column holds without conversion."""
STORED: Mapping[str, Kind] = {**NATIVE, "bigint": Kind.WHOLE}
"""Kinds of values that a stored column is assumed to hold, by its type. Only the warehouse knows whether a column holds
numbers beyond 2^53; it is queried before the column becomes ``double``.
"""
KINDS: Mapping[type, Kind] = {
    float: Kind.DOUBLE,
    bool: Kind.BOOL,
    str: Kind.TEXT,
    datetime: Kind.TIME,
    dict: Kind.JSON,
    list: Kind.JSON,
}


def kind_of(value: Any) -> Kind:
    """The kind of a value that is not null."""
    if type(value) is int:
        if -MAX_EXACT <= value <= MAX_EXACT:
            return Kind.WHOLE
        return Kind.LARGE if -MAX_INTEGER - 1 <= value <= MAX_INTEGER else Kind.HUGE
    return KINDS.get(type(value), Kind.JSON)


def column_type(kinds: Kind) -> str:
    """The type of a column with values of these kinds, in dlt's terms.

    Whole numbers are ``bigint``; with fractions among them ``double``, if all lie within 2^53. Any other mixture is
    ``text``, and ``json`` as soon as an object or a list is among it.
    """
    if kinds & Kind.JSON:
        return "json"
    if not kinds & ~(Kind.WHOLE | Kind.LARGE):
        return "bigint"
    if not kinds & ~(Kind.WHOLE | Kind.DOUBLE):
        return "double"
    return {Kind.BOOL: "bool", Kind.TIME: "timestamp"}.get(kinds, "text")


def key_type(kinds: Kind) -> str:
    """The type of a column of a key: ``bigint``, ``timestamp`` or ``text``."""
    found = column_type(kinds)
    return found if found in ("bigint", "timestamp") else "text"


def number_text(value: float) -> str:
    """A number as text, in the same form on every destination: ``3``, ``0.375``, ``1e+16``.

    A whole number within 2^53 has no fraction, also if it came as ``3.0``. It is a JSON number too.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT:
        return str(int(value))
    return repr(value)


def as_text(value: Any) -> str:
    """A value in a column of texts: numbers and truth values as JSON writes them, times as ISO 8601 in UTC."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(value)
    return value.isoformat() if isinstance(value, datetime) else as_json(value)


def as_json(value: Any) -> str:
    """A value in a column of JSON, as JSON text: texts and times are JSON strings."""
    if type(value) is int or type(value) is float:
        return number_text(value)
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # nested deeper than orjson writes, or with a number beyond 64 bits
        return json_text(value)


def _as_bigint(value: Any) -> int:
    return int(value)


def _as_timestamp(value: Any) -> Any:
    return iso_to_utc(value) if isinstance(value, str) else value


CONVERSIONS: Mapping[str, Callable[[Any], Any]] = {
    "bigint": _as_bigint,
    "double": float,
    "bool": bool,
    "text": as_text,
    "timestamp": _as_timestamp,
    "json": as_json,
}
"""By type the conversion of a value that such a column can hold."""


@dataclass(frozen=True, kw_only=True)
class Widened:
    """A column that was widened, as a value came that did not fit.

    Attributes:
        column: The column.
        former: Its type before, in dlt's terms.
        type: Its type now.
        key: The key of the row with the value, by column; empty for a snapshot's.
        value: The value as text, shortened.
    """

    column: str
    former: str
    type: str
    key: Mapping[str, Any]
    value: str

    def __str__(self) -> str:
        """The report, for a person."""
        row = ", ".join(f"{name} {as_text(value)[:MAX_SHOWN]}" for name, value in self.key.items())
        return f"{self.column} is {self.type}, was {self.former}: the row {row or 'of the snapshot'} has {self.value}"


class ColumnTypes:
    """Tracks the types of one table's columns: the stored types, widened by the rows that are read.

    Several threads may call ``add_row`` at once; the rest is for one thread.

    Attributes:
        stored: The types of the columns that the table has, in dlt's terms.
        widened: The columns widened since the sync started, in order.
    """

    def __init__(
        self,
        stored: Mapping[str, str],
        *,
        times: Collection[str] = (),
        doubles: Collection[str] = (),
        key: Sequence[str] = (),
        params: Collection[str] = (),
    ) -> None:
        """Starts from the types of the stored columns.

        Args:
            stored: The types of its columns, in dlt's terms; empty if there is no table.
            times: Columns that are declared to hold times.
            doubles: Columns that are declared to hold numbers with and without a fraction.
            key: The columns of its key.
            params: Its other columns with path parameters.
        """
        self.stored = dict(stored)
        self.widened: list[Widened] = []
        self._doubles = frozenset(doubles)
        self._key = tuple(key)
        self._keyed = frozenset((*key, *params))
        # timestamp columns that an earlier version made of values alone, without a declaration
        self._found = frozenset(name for name, kind in stored.items() if kind == "timestamp" and name not in times)
        self._kinds: dict[str, Kind] = {}
        self._fits: dict[type, set[str]] = defaultdict(set)
        self._large: set[str] = set()
        # columns whose values are converted one by one, whatever their kinds are
        self._converted: set[str] = set(self._found)
        self._lock = threading.Lock()
        for name, kind in stored.items():
            self._start_column(name, kind)

    def _start_column(self, name: str, stored: str) -> None:
        kinds = STORED.get(stored)
        if kinds is None:
            # a type that no sync makes: widened as soon as a value comes
            return
        if name in self._doubles and stored == "bigint":
            # widened before the next rows are loaded
            kinds |= Kind.DOUBLE
        self._kinds[name] = kinds
        for python, kind in ((int, Kind.WHOLE), *KINDS.items()):
            if kind & kinds:
                self._fits[python].add(name)

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Adds the values of a normalised row."""
        fits, large = self._fits, self._large
        for name, value in row.items():
            if value is None:
                continue
            python = type(value)
            if name in fits[python] and (
                python is not int or -MAX_EXACT <= value <= MAX_EXACT or (name in large and abs(value) <= MAX_INTEGER)
            ):
                continue
            self._add_value(row, name, value)

    def _add_value(self, row: Mapping[str, Any], name: str, value: Any) -> None:
        if isinstance(value, str):
            if name in self._found and self._is_time(name, value):
                return
            if name in self._keyed and self.stored.get(name) == "bigint" and is_whole(value):
                # the API sends its numbers as texts now: the keys are the same
                self._converted.add(name)
                return
        kind = kind_of(value)
        with self._lock:
            before = self._kinds.get(name, NONE)
            now = before | kind
            if kind & NATIVE["bigint"] and name in self._doubles:
                now |= Kind.DOUBLE
            self._kinds[name] = now
            if before and now != before:
                self._record_widening(row, name, value, before, now)
        if kind is not Kind.HUGE:
            self._fits[type(value)].add(name)
        if kind is Kind.LARGE:
            self._large.add(name)

    def _record_widening(self, row: Mapping[str, Any], name: str, value: Any, before: Kind, now: Kind) -> None:
        former, then = self._type(name, before), self._type(name, now)
        if former != then:
            key = {each: row[each] for each in self._key if row.get(each) is not None}
            shown = as_text(value) if not isinstance(value, dict | list) else as_json(value)
            shown = shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}..."
            self.widened.append(Widened(column=name, former=former, type=then, key=key, value=shown))

    def _is_time(self, name: str, value: str) -> bool:
        return self._kinds.get(name) == Kind.TIME and isinstance(iso_to_utc(value), datetime)

    def _type(self, name: str, kinds: Kind) -> str:
        return key_type(kinds) if name in self._keyed else column_type(kinds)

    def of(self, name: str) -> str | None:
        """The type that a column needs; ``None`` if no value came and there is no table."""
        kinds = self._kinds.get(name)
        return self._type(name, kinds) if kinds else self.stored.get(name)

    def now(self) -> dict[str, str]:
        """The type of each column that has one, by all values that came so far."""
        with self._lock:
            names = [*self.stored, *(name for name in self._kinds if name not in self.stored)]
        return {name: found for name in names if (found := self.of(name))}

    def fit_natively(self, name: str, kind: str) -> bool:
        """Whether a column of this type holds every value that came so far without conversion."""
        return kind != "json" and not self._kinds.get(name, NONE) & ~NATIVE[kind] and name not in self._converted

    def holds_large(self, name: str) -> None:
        """Records that a stored column holds whole numbers beyond 2^53."""
        with self._lock:
            self._kinds[name] = self._kinds.get(name, NONE) | Kind.LARGE
        self._large.add(name)

    def store(self, types: Mapping[str, str]) -> None:
        """Records that columns of the table have these types now."""
        for name, kind in types.items():
            if name not in self._kinds or self.of(name) != kind:
                with self._lock:
                    self._kinds[name] = self._kinds.get(name, NONE) | STORED.get(kind, Kind.TEXT)
            self.stored[name] = kind

    def rename(self, names: Mapping[str, str]) -> None:
        """Records that columns of the table have other names now."""
        for was, now in names.items():
            kind = self.stored.pop(was)
            self._kinds.pop(was, None)
            self.store({now: kind})

    def drop(self, names: Collection[str]) -> None:
        """Records that columns of the table were dropped."""
        for name in names:
            self.stored.pop(name, None)
            self._kinds.pop(name, None)


def is_whole(value: str) -> bool:
    """Whether a text is a whole number of 64 bits in canonical form."""
    return (
        len(value) <= MAX_DIGITS
        and bool(WHOLE_NUMBER.fullmatch(value))
        and value != "-0"
        and abs(int(value)) <= MAX_INTEGER
    )
