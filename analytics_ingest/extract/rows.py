"""From what the API sends to a row of the table: path parameters, UTC timestamps, a hash of the content."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson
from dlt.common.normalizers.naming.snake_case import NamingConvention

from analytics_ingest.extract.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from analytics_ingest.apis import Endpoint

ROW_HASH = "_row_hash"
"""Column with a 64-bit hash of the row's content, by which an unchanged row is told from a changed one."""
DELETED_AT = "_deleted_at"
"""Column with the time of the sync that found the row gone upstream; null while it is there."""
EPOCH_TEXT = re.compile(r"-?[0-9]{9,19}(\.[0-9]+)?")
MILLISECONDS = 100_000_000_000
"""Epoch numbers above this are milliseconds: as seconds they would be later than the year 5000."""
MICROSECONDS = 100_000_000_000_000
"""Epoch numbers above this are microseconds: as milliseconds they would be later than the year 5000."""
NANOSECONDS = 100_000_000_000_000_000
"""Epoch numbers above this are nanoseconds, for the same reason."""
DIGITS = re.compile(
    r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:[01][0-9]|2[0-3])(?:[0-5][0-9]){2}"
)
"""A date and a time without anything between: ``20260131123000``. Nothing else has these 14 digits nowadays: as epoch
milliseconds they are later than the year 2600.
"""
ISO_TIME = re.compile(
    r"(?P<date>[0-9]{4}-?[0-9]{2}-?[0-9]{2})[tT ]"
    r"(?P<time>[0-9]{2}(?::?[0-9]{2}){1,2})(?:[.,](?P<fraction>[0-9]+))?"
    r"\s*(?P<zone>[zZ]|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMING = NamingConvention()


def column_name(field: str) -> str:
    """The column that dlt makes of a field: ``lastModifiedTime`` is ``last_modified_time``."""
    return NAMING.normalize_identifier(field)


class RowRejectedError(ValueError):
    """A row that cannot be kept in the table: its key is not complete."""


def to_utc(value: Any) -> Any:
    """``value`` as a UTC timestamp: ISO 8601 with any offset (none: UTC), epoch seconds to nanoseconds.

    What is none of these, or outside the years that Python knows, comes back as it was.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    if not isinstance(value, str) and not abs(value) < 2**63:
        return value
    text = str(value).strip()
    if DIGITS.fullmatch(digits := text.removesuffix(".0")):
        return _from_digits(digits, value)
    if not isinstance(value, str):
        return _from_epoch(value, value)
    if EPOCH_TEXT.fullmatch(text):
        return _from_epoch(float(text) if "." in text else int(text), value)
    return _from_iso(text, value)


def _from_digits(text: str, value: Any) -> Any:
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        # 30 February
        return value


def _from_iso(text: str, value: Any) -> Any:
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        return _from_rare_iso(text, value)
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return value


def _from_rare_iso(text: str, value: Any) -> Any:
    """A time in the forms that Python does not read: 24:00, a leap second."""
    match = ISO_TIME.fullmatch(text)
    if not match:
        return value
    time = match["time"].replace(":", "").ljust(6, "0")
    fraction = (match["fraction"] or "0")[:6].ljust(6, "0")
    extra = timedelta()
    if time == "240000" and not int(fraction):
        time, extra = "000000", timedelta(days=1)
    elif time[4:] == "60":
        # the clocks that matter show it as the first second of the next minute
        time, fraction, extra = f"{time[:4]}59", "000000", timedelta(seconds=1)
    zone = (match["zone"] or "Z").upper()
    try:
        moment = datetime.fromisoformat(f"{match['date'].replace('-', '')}T{time}.{fraction}{zone}")
        return (moment + extra).astimezone(UTC)
    except (ValueError, OverflowError):
        return value


def _from_epoch(number: float, value: Any) -> Any:
    size = abs(number)
    if not size < 2**63:
        return value
    scale = 1
    for least, units in ((NANOSECONDS, 10**9), (MICROSECONDS, 10**6), (MILLISECONDS, 10**3)):
        if size >= least:
            scale = units
            break
    try:
        # whole microseconds, as a float of nanoseconds has not enough digits
        return EPOCH + timedelta(
            microseconds=number * 10**6 // scale if isinstance(number, int) else number * 1e6 / scale
        )
    except (OverflowError, OSError, ValueError):
        return value


def content_hash(row: Mapping[str, Any]) -> int:
    """A signed 64-bit hash of the row's content, the same for the same content in any order of fields."""
    text = orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z)
    return int.from_bytes(blake2b(text, digest_size=8).digest(), signed=True)


class RowFinisher:
    """Turns what an endpoint sends into rows of its table."""

    def __init__(self, endpoint: Endpoint, *, exclude: Sequence[tuple[str, ...]] = ()) -> None:
        """Prepares the finishing of an endpoint's rows.

        Args:
            endpoint: The endpoint.
            exclude: Paths of fields that are taken out of each row.
        """
        self._key = endpoint.primary_key
        self._rows = endpoint.rows
        self._names: dict[str, str] = {}
        self._exclude = exclude
        self._timestamps = [tuple(path.split(".")) for path in endpoint.timestamps]
        self._cursors = [tuple(path.split(".")) for path in endpoint.cursor_path]
        self._times = self._cursors or [("updated_at",)]

    def rows(self, sent: Any) -> Iterator[Any]:
        """The rows that an element of a page comes to, with their fields named as columns are."""
        for row in self._rows(sent) if self._rows else (sent,):
            yield self._renamed(row) if isinstance(row, dict) else row

    def _renamed(self, row: Mapping[str, Any]) -> dict[str, Any]:
        names = self._names
        for name in row.keys() - names.keys():
            names[name] = column_name(name)
        return {names[name]: value for name, value in row.items()}

    def finish(self, sent: Any, params: Mapping[str, Any]) -> dict[str, Any]:
        """The row with the path parameters of its request, unless it has these fields, and its hash.

        Args:
            sent: What ``rows`` gave. A bare value becomes the last column of the key.
            params: The feed's row for this request.

        Raises:
            RowRejectedError: A column of the key has no value.
        """
        # a copy, also for a row of its own: finishing adds to it
        row: dict[str, Any] = dict(sent) if isinstance(sent, dict) else {self._key[-1] if self._key else "value": sent}
        for name, value in params.items():
            # of the same id the parent's is taken: what is 7 here may be "7" there
            if row.get(name) is None or str(row[name]) == str(value):
                row[name] = value
        row = self.without_excluded(row)
        for path in self._timestamps:
            _normalise(row, path)
        if lacking := [name for name in self._key if row.get(name) is None]:
            raise RowRejectedError(f"no value for {', '.join(lacking)}")
        if nested := [name for name in self._key if isinstance(row[name], dict | list)]:
            raise RowRejectedError(f"no plain value for {', '.join(nested)}")
        row[ROW_HASH] = content_hash(row)
        return row

    def without_excluded(self, row: Any) -> Any:
        """A row, or what came in place of one, without the fields that no table may hold."""
        for path in self._exclude:
            row = _without(row, path)
        return row

    def key(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values of the finished row's key; empty for a snapshot."""
        return tuple(row[name] for name in self._key)

    def is_older(self, row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """Whether ``row`` was updated before ``other``, so far as both say when."""
        mine, others = _first_time(row, self._times), _first_time(other, self._times)
        return mine is not None and others is not None and mine < others

    def cursor(self, row: Mapping[str, Any]) -> datetime | None:
        """The finished row's cursor value; ``None`` if it has none that is a time."""
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


class KeyTypes:
    """Keeps text out of key columns of whole numbers: dlt would put it beside the column, which then has no value."""

    def __init__(self, endpoint: Endpoint, columns: Mapping[str, str]) -> None:
        """Prepares the check.

        Args:
            endpoint: The endpoint.
            columns: The table's columns and their types, so far as there is a table.
        """
        self._names = endpoint.primary_key
        self._whole = {name: columns[name] == "bigint" for name in self._names if name in columns}

    def check(self, row: Mapping[str, Any]) -> None:
        """Lets a row pass, or not; without a table the first row decides.

        Raises:
            RowRejectedError: Text stands where whole numbers stood before.
        """
        for name in self._names:
            value = row[name]
            whole = isinstance(value, int) or (isinstance(value, str) and value.isdecimal())
            if self._whole.setdefault(name, isinstance(value, int)) and not whole:
                raise RowRejectedError(f"{name} is {value!r}, in the other rows it is a whole number")


def excluded_fields(endpoint: Endpoint, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Paths of the fields of an endpoint that ``names`` keep out: ``email``, ``users.email``, ``attributes.email``.

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
    """``value`` without the field at ``path``, in each element where a list is on the way."""
    if isinstance(value, list):
        return [_without(element, path) for element in value]
    name, *rest = path
    if not isinstance(value, dict) or name not in value:
        return value
    if not rest:
        return {key: kept for key, kept in value.items() if key != name}
    return {**value, name: _without(value[name], tuple(rest))}


def _normalise(row: dict[str, Any], path: tuple[str, ...]) -> None:
    for name in path[:-1]:
        inner = row.get(name)
        if not isinstance(inner, dict):
            return
        row[name] = dict(inner)
        row = row[name]
    if row.get(path[-1]) is not None:
        row[path[-1]] = to_utc(row[path[-1]])
