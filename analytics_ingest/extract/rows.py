"""Normalises what an API sends into rows of a table: column names, path parameters, UTC timestamps, a content hash."""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson

from analytics_ingest.errors import ConfigurationError, ReadError
from analytics_ingest.extract.column_names import (
    DELETED_AT,
    ROW_HASH,
    ColumnNames,
    column_name,
    sent_name,
)
from analytics_ingest.extract.column_types import WHOLE_NUMBER, ColumnTypes, as_text
from analytics_ingest.json_text import json_text
from analytics_ingest.timestamps import to_utc

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from analytics_ingest.apis.model import Endpoint

__all__ = [
    "DELETED_AT",
    "ROW_HASH",
    "RowNormalizer",
    "RowRejectedError",
    "content_hash",
    "excluded_fields",
    "sent_hash",
]

NO_COLUMNS: Mapping[str, str] = MappingProxyType({})
DATE = len("2026-01-31")
"""Characters of a date without a time."""
PLAIN_TEXT = re.compile(r"-?[0-9][0-9.e+-]*|true|false")
"""Text that a number or a boolean may have as text."""


class RowRejectedError(ValueError):
    """A row that cannot be stored; the message gives the reason."""


def content_hash(row: Mapping[str, Any]) -> int:
    """A signed 64-bit hash of the row's content; the order of its fields does not matter.

    Raises:
        TypeError: The row is nested deeper than orjson writes (254 levels).
    """
    text = orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z)
    return int.from_bytes(blake2b(text, digest_size=8).digest(), signed=True)


def sent_hash(sent: Any) -> int:
    """A hash like ``content_hash``, of a row as the API sent it, or of anything sent in its place."""
    try:
        return content_hash({"sent": sent})
    except TypeError:
        return content_hash({"sent": json_text(sent)})


def _hashable(value: Any) -> Any:
    """``value`` as orjson writes it: as JSON text if it is nested too deep, or holds a number beyond 64 bits."""
    if isinstance(value, dict | list) or type(value) is int:
        try:
            orjson.dumps(value, option=orjson.OPT_UTC_Z)
        except TypeError:
            return json_text(value)
    return value


class RowNormalizer:
    """Turns what an endpoint sends into rows of its table, for a sync and for ``verify`` alike.

    Attributes:
        columns: Names of the columns that the table has, or needs for the rows that came.
        names: Which column each field goes to.
        types: The types of the columns.
        renamed: Fields with the name of a path parameter, and the column that each goes to.
        not_met: Paths of fields to remove that no row had so far.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        exclude: Sequence[tuple[str, ...]] = (),
        columns: Mapping[str, str] = NO_COLUMNS,
        max_columns: int | None = None,
        remembered: Mapping[str, str] = NO_COLUMNS,
        max_name_length: int | None = None,
        takes_nul: bool = True,
    ) -> None:
        """Prepares the normalisation of an endpoint's rows.

        Args:
            endpoint: The endpoint.
            exclude: Paths of fields to remove from each row.
            columns: The table's columns and their types in dlt's terms; empty if there is no table yet.
            max_columns: Columns that the table may have; any number by default.
            remembered: Columns of fields that earlier syncs chose, see ``ColumnNames``.
            max_name_length: Characters that the destination's names may have; any number by default.
            takes_nul: Whether the destination's texts may hold the character NUL.
        """
        self._endpoint = endpoint
        self._key = endpoint.primary_key
        self._retired = endpoint.retired
        self._rows = endpoint.yield_map
        # each with the path that it stands for
        self._exclude = [(path, path) for path in exclude]
        self.not_met = set(exclude)
        self._secrets = frozenset(endpoint.secrets)
        self._excluded = {path[0] for path in exclude if len(path) == 1}
        self._timestamps = [tuple(path.split(".")) for path in endpoint.timestamps]
        # a column that is stored in another type keeps it until a full refresh
        self._as_sent = [name for name in endpoint.timestamps_as_sent if columns.get(name, "timestamp") == "timestamp"]
        self._cursors = [tuple(path.split(".")) for path in endpoint.cursor_path]
        self._times = self._cursors or [("updated_at",)]
        self._max_columns = max_columns
        self._takes_nul = takes_nul
        params = endpoint.parents.params if endpoint.parents else ()
        self.names = ColumnNames(stored=columns, remembered=remembered, params=params, max_length=max_name_length)
        self.types = ColumnTypes(columns, times=endpoint.times, doubles=endpoint.doubles, key=self._key, params=params)
        self._own_key = [name for name in self._key if name not in params]
        self._given_key = [name for name in self._key if name in params]
        # by key column and parent: those with whole numbers, and the type of each other value by its text
        self._plain_numbers: set[tuple[Any, ...]] = set()
        self._forms: dict[tuple[Any, ...], dict[str, type]] = {}
        self.columns = set(columns)
        self.renamed: dict[str, str] = {}
        # columns by field, published once the exclusions of the field are known
        self._column_of: dict[str, str] = {}

    def rows(self, sent: Any) -> Iterator[Any]:
        """The rows of a page's element, with their fields named as columns are.

        Raises:
            ReadError: The rows have more columns than a table may have.
        """
        for row in self._rows(sent) if self._rows else (sent,):
            yield self._renamed(row) if isinstance(row, dict) else row

    def _renamed(self, row: Mapping[str, Any]) -> dict[str, Any]:
        columns = self._column_of
        try:
            return {columns[name]: value for name, value in row.items()}
        except KeyError:
            self._name(row.keys() - columns.keys())
        return {columns[name]: value for name, value in row.items()}

    def _name(self, fields: Collection[str]) -> None:
        """Chooses the columns of fields that come for the first time."""
        self.names.name(fields)
        named = {field: self.names.columns[field] for field in fields}
        # fields with a name of an earlier version first, so that a field excluded by it is excluded in any spelling
        for field in sorted(fields, key=lambda each: -len(self.names.plain(each))):
            column = named[field]
            # also if another version of the product, or a second field, gave the column another name
            known = self.names.plain(field) - {column}
            self._exclude += [((column, *path[1:]), meant) for path, meant in self._exclude if path[0] in known]
        self._excluded = {path[0] for path, _ in self._exclude if len(path) == 1}
        columns = self.columns | (set(named.values()) - self._excluded)
        if self._max_columns is not None and len(columns) > max(self._max_columns, len(self.columns)):
            shown = ", ".join(repr(name[:40]) for name in sorted(columns - self.columns)[:3])
            raise ReadError(
                f"its rows have {len(columns)} fields, and a table may have {self._max_columns} columns (MAX_COLUMNS): "
                f"raise it, or leave fields out by EXCLUDE_COLUMNS; new are {shown}",
                status=200,
            )
        self.columns = columns
        self._column_of |= named

    def normalize(self, sent: Any, params: Mapping[str, Any]) -> dict[str, Any]:
        """The row with the path parameters of its partition and its hash.

        A field with the name of a parameter and another value goes to a column of another name.

        Args:
            sent: A row of ``rows``. A bare value becomes the last column of the key.
            params: The partition's parameters.

        Raises:
            RowRejectedError: The row cannot be stored.
        """
        # a copy, as columns are added to it
        row: dict[str, Any] = dict(sent) if isinstance(sent, dict) else {self._key[-1] if self._key else "value": sent}
        if self._exclude or self._secrets:
            # before a field can be renamed
            row = self.without_excluded(row)
        for name, value in params.items():
            if name in self._excluded:
                self.not_met.discard((name,))
            else:
                self._put(row, name, value)
        for name in self._retired:
            row.pop(name, None)
        for path in self._timestamps:
            _to_utc_at(row, path)
        self._check_key(row)
        hashed = self._hash(row)
        for name in self._as_sent:
            value = row.get(name)
            if value is not None and not (isinstance(value, str) and len(value) == DATE):
                row[name] = to_utc(value)
        for name in self._own_key:
            if isinstance(row[name], bool | float):
                # Python takes 1, 1.0 and True for the same key
                row[name] = as_text(row[name])
        self.types.add_row(row)
        row[ROW_HASH] = hashed
        return row

    def _hash(self, row: Mapping[str, Any]) -> int:
        if moved := self.names.moved:
            # the names that earlier versions of the product hashed, so that an upgrade loads nothing
            former = {name: moved[name] for name in row if name in moved and moved[name] not in row}
            row = {former.get(name, name): value for name, value in row.items()}
        try:
            return content_hash(row)
        except TypeError:
            return content_hash({name: _hashable(value) for name, value in row.items()})

    def _put(self, row: dict[str, Any], name: str, value: Any) -> None:
        """Puts a path parameter into its column; a field of the row with another value goes to another column."""
        own = row.get(name)
        if own is not None:
            if value is None:
                return
            # the parent's spelling wins: 7 in the row may be "7" in the parent
            if str(own) != str(value):
                column = sent_name(name)
                row[column] = own
                self.columns.add(column)
                self.renamed[name] = column
        row[name] = value

    def _check_key(self, row: Mapping[str, Any]) -> None:
        """Checks that a row has the whole key, and that the key differs from all others as its column stores it.

        Raises:
            RowRejectedError: A part of the key is missing, or the column cannot tell it from another key.
        """
        for name in self._key:
            value = row.get(name)
            if value is None or isinstance(value, (dict, list)):
                raise self._key_problem(row)
            if not self._takes_nul and isinstance(value, str) and "\0" in value:
                raise RowRejectedError(f"{name} has the character NUL, which the destination's texts cannot hold")
        window = tuple(row[name] for name in self._given_key)
        for name in self._own_key:
            self._check_form(name, row[name], (name, *window))

    def _check_form(self, name: str, value: Any, place: tuple[Any, ...]) -> None:
        """Rejects "7" after 7 of the same parent, and 7 after "7": one column cannot hold both.

        Whole numbers are not recorded one by one, as nearly all keys are whole numbers; among them a text that is one
        is rejected.
        """
        kind = type(value)
        if kind is int:
            self._plain_numbers.add(place)
            if place not in self._forms:
                return
        elif kind not in (str, float, bool) or (kind is str and not PLAIN_TEXT.fullmatch(value)):
            return
        text = as_text(value)
        if kind is int:
            clash = self._forms[place].get(text, int) is not int
        elif place in self._plain_numbers and WHOLE_NUMBER.fullmatch(text):
            clash = True
        else:
            clash = self._forms.setdefault(place, {}).setdefault(text, kind) is not kind
        if clash:
            raise RowRejectedError(
                f"{name} is {text if kind is not str else repr(text)}, and other rows have it in another type: "
                "a column cannot tell 7 from '7'"
            )

    def _key_problem(self, row: Mapping[str, Any]) -> RowRejectedError:
        """The error that names the columns of the key without a plain value."""
        if lacking := [name for name in self._key if row.get(name) is None]:
            return RowRejectedError(f"no value for {', '.join(lacking)}")
        nested = [name for name in self._key if isinstance(row[name], (dict, list))]
        return RowRejectedError(f"no plain value for {', '.join(nested)}")

    def without_excluded(self, row: Any) -> Any:
        """A row, or anything sent in its place, without excluded and secret fields.

        Raises:
            RowRejectedError: It is nested too deep to find all fields.
        """
        for path, meant in self._exclude:
            if meant in self.not_met and _has(row, path):
                self.not_met.discard(meant)
            row = _without(row, path)
        if self._secrets:
            try:
                row = _without_fields(row, self._secrets)
            except RecursionError:
                raise RowRejectedError("nested too deep to leave out its secrets") from None
        return row

    def rejected_form(self, row: Any) -> Any:
        """A rejected row without excluded and secret fields; ``None`` if they cannot all be found."""
        try:
            return self.without_excluded(row)
        except RowRejectedError:
            return None

    @property
    def left_out(self) -> frozenset[str]:
        """Columns that no row has, whatever the API sends."""
        return self._secrets.union(self._excluded, self._retired)

    def key(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values of a normalised row's key; empty for a snapshot."""
        return tuple(row[name] for name in self._key)

    def is_older(self, row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """Whether ``row`` was updated before ``other``; false if either has no time."""
        mine, others = _first_time(row, self._times), _first_time(other, self._times)
        return mine is not None and others is not None and mine < others

    def newest(self, before: dict[str, Any] | None, row: dict[str, Any]) -> dict[str, Any]:
        """The one of two rows of a key that is stored: the newer, or else the later one, ``row``.

        Args:
            before: The row that came first, if there was one.
            row: The row that came after it.
        """
        return before if before is not None and self.is_older(row, before) else row

    def cursor(self, row: Mapping[str, Any]) -> datetime | None:
        """A normalised row's cursor value, UTC; ``None`` if it has none that is a time."""
        return _first_time(row, self._cursors)


def _first_time(row: Mapping[str, Any], paths: Sequence[tuple[str, ...]]) -> datetime | None:
    """The first of the values at ``paths`` that is a time."""
    for path in paths:
        value: Any = row
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, datetime):
            return value
    return None


def excluded_fields(endpoint: Endpoint, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Paths of the fields of an endpoint that ``names`` exclude: ``email``, ``users.email``, ``attributes.email``.

    Raises:
        ConfigurationError: A column of the key is among them.
    """
    paths = []
    for name in names:
        first, *rest = name.split(".")
        path = tuple(rest) if rest and first == endpoint.name else (first, *rest)
        path = (column_name(path[0]), *path[1:])
        if path[0] in endpoint.primary_key:
            raise ConfigurationError(f"EXCLUDE_COLUMNS names {name}, which is part of the key of {endpoint.name}")
        paths.append(path)
    return paths


def _without(value: Any, path: tuple[str, ...]) -> Any:
    """``value`` without the field at ``path``; lists on the way are searched element by element."""
    if isinstance(value, list):
        return [_without(element, path) for element in value]
    name, *rest = path
    if not isinstance(value, dict) or name not in value:
        return value
    if not rest:
        return {key: kept for key, kept in value.items() if key != name}
    return {**value, name: _without(value[name], tuple(rest))}


def _has(value: Any, path: tuple[str, ...]) -> bool:
    """Whether ``value`` has a field at ``path``; in a list, whether one of its elements has."""
    if isinstance(value, list):
        return any(_has(element, path) for element in value)
    name, *rest = path
    return isinstance(value, dict) and name in value and (not rest or _has(value[name], tuple(rest)))


def _without_fields(value: Any, names: frozenset[str]) -> Any:
    """``value`` without the fields of these names, at any depth."""
    if isinstance(value, list):
        return [_without_fields(element, names) for element in value]
    if isinstance(value, dict):
        return {name: _without_fields(inner, names) for name, inner in value.items() if name not in names}
    return value


def _to_utc_at(row: dict[str, Any], path: tuple[str, ...]) -> None:
    """Turns the time at ``path`` into a UTC timestamp; any other value stays as it is."""
    for name in path[:-1]:
        inner = row.get(name)
        if not isinstance(inner, dict):
            return
        row[name] = dict(inner)
        row = row[name]
    value = row.get(path[-1])
    if value is not None:
        row[path[-1]] = to_utc(value)
