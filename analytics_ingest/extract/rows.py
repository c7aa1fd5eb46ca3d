"""From what the API sends to a row of the table: path parameters, UTC timestamps, a hash of the content."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson
from dlt.common.normalizers.naming.snake_case import NamingConvention
from dlt.common.time import ensure_datetime_in_tz

from analytics_ingest.extract.errors import ConfigurationError, ReadError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from analytics_ingest.apis import Endpoint

ROW_HASH = "_row_hash"
"""Column with a 64-bit hash of the row's content, by which an unchanged row is told from a changed one."""
DELETED_AT = "_deleted_at"
"""Column with the time of the sync that found the row gone upstream; null while it is there."""
RESERVED = frozenset({ROW_HASH, DELETED_AT})
"""Columns of the product; those that begin with ``DLT_PREFIX`` are dlt's."""
DLT_PREFIX = "_dlt_"
RENAMED = "sent"
"""What stands before the name of a field that would fill one of these columns: ``sent_row_hash``."""
UNNAMED = "unnamed"
"""Column of a field whose name is empty or blank."""
WHOLE_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)")
"""Text that is a whole number in its only form: ``7``, but neither ``007`` nor ``+7``."""
MAX_INTEGER = 2**63 - 1
"""The largest whole number that a column takes: 64 bits, signed, on every destination."""
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


NO_COLUMNS: Mapping[str, str] = MappingProxyType({})
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMING = NamingConvention()


def column_name(field: str) -> str:
    """The column that dlt makes of a field: ``lastModifiedTime`` is ``last_modified_time``.

    A blank name gives ``unnamed``. A field with the name of a column of the product or of dlt gets another name:
    ``_row_hash`` gives ``sent_row_hash``.
    """
    name = NAMING.normalize_identifier(field) if field.strip() else UNNAMED
    return f"{RENAMED}{name}" if is_reserved(name) else name


def is_reserved(column: str) -> bool:
    """Whether a column belongs to the product or to dlt, so that no field of an upstream may fill it."""
    return column in RESERVED or column.startswith(DLT_PREFIX)


class RowRejectedError(ValueError):
    """A row that cannot be stored; the message gives the reason."""


def to_utc(value: Any) -> Any:
    """``value`` as a UTC timestamp: ISO 8601 with any offset (none: UTC), epoch seconds to nanoseconds.

    What is none of these, or outside the years that Python knows, comes back as it was.
    """
    if not isinstance(value, str) and not _may_be_epoch(value):
        return value
    text = str(value).strip()
    if text[4:5] == "-":
        # nearly all of them: digits alone have none there
        return _from_iso(text, value)
    if DIGITS.fullmatch(digits := text.removesuffix(".0")):
        return _from_digits(digits, value)
    if not isinstance(value, str):
        return _from_epoch(value, value)
    if EPOCH_TEXT.fullmatch(text):
        return _from_epoch(float(text) if "." in text else int(text), value)
    return _from_iso(text, value)


def _may_be_epoch(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63


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
    if not _may_be_epoch(number):
        return value
    size, scale = abs(number), 1
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
    """A signed 64-bit hash of the row's content, the same for the same content in any order of fields.

    Raises:
        TypeError: The row is nested deeper than orjson writes (254 levels).
    """
    text = orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z)
    return int.from_bytes(blake2b(text, digest_size=8).digest(), signed=True)


def sent_hash(sent: Any) -> int:
    """A hash like ``content_hash``, of a row as it came, or of what came in place of one."""
    try:
        return content_hash({"sent": sent})
    except TypeError:
        return content_hash({"sent": json_text(sent)})


def json_text(value: Any) -> str:
    """``value`` as JSON text with sorted keys, however deep it is nested: no call for each level, unlike orjson's."""
    parts: list[str] = []
    # what is still to be written, the next one last; text that stands between values is marked as such
    left: list[tuple[bool, Any]] = [(False, value)]
    while left:
        written, item = left.pop()
        if written:
            parts.append(item)
        elif isinstance(item, dict):
            left.append((True, "}"))
            for number, name in reversed(list(enumerate(sorted(item)))):
                left += [(False, item[name]), (True, f"{',' if number else ''}{_scalar_text(name)}:")]
            left.append((True, "{"))
        elif isinstance(item, list):
            left.append((True, "]"))
            for number, element in reversed(list(enumerate(item))):
                left += [(False, element), (True, "," if number else "")]
            left.append((True, "["))
        else:
            parts.append(_scalar_text(item))
    return "".join(parts)


def _scalar_text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()


def _storable(value: Any) -> Any:
    """``value`` as a JSON column takes it: as JSON text if it is nested deeper than orjson writes."""
    if isinstance(value, dict | list):
        try:
            orjson.dumps(value, option=orjson.OPT_UTC_Z)
        except TypeError:
            return json_text(value)
    return value


class RowFinisher:
    """Turns what an endpoint sends into rows of its table. Its rules hold for a sync and for ``verify`` alike.

    Attributes:
        columns: Names of the columns that the table has, or needs for the rows that came.
        renamed: Fields with the name of a column of the product, of dlt or of the path; the column that each goes to.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        exclude: Sequence[tuple[str, ...]] = (),
        columns: Mapping[str, str] = NO_COLUMNS,
        max_columns: int | None = None,
    ) -> None:
        """Prepares the finishing of an endpoint's rows.

        Args:
            endpoint: The endpoint.
            exclude: Paths of fields that are taken out of each row.
            columns: The table's columns and their types in dlt's terms; empty if there is no table yet.
            max_columns: Columns that the table may have; any number by default.
        """
        self._endpoint = endpoint
        self._key = endpoint.primary_key
        self._retired = endpoint.retired
        self._rows = endpoint.rows
        self._names: dict[str, str] = {}
        self._exclude = exclude
        self._secrets = frozenset(endpoint.secrets)
        self._excluded = {path[0] for path in exclude if len(path) == 1}
        self._timestamps = [tuple(path.split(".")) for path in endpoint.timestamps]
        self._cursors = [tuple(path.split(".")) for path in endpoint.cursor_path]
        self._times = self._cursors or [("updated_at",)]
        self._max_columns = max_columns
        # whether a key column holds whole numbers; without a table the first row decides
        self._whole = {name: columns[name] == "bigint" for name in self._key if name in columns}
        # the type of each column in which a whole number has come, by the table or by the first of them
        self._kinds = dict(columns)
        self.columns = set(columns)
        self.renamed: dict[str, str] = {}

    def rows(self, sent: Any) -> Iterator[Any]:
        """The rows that an element of a page comes to, with their fields named as columns are.

        Raises:
            ReadError: The rows have more columns than a table may have.
        """
        for row in self._rows(sent) if self._rows else (sent,):
            yield self._renamed(row) if isinstance(row, dict) else row

    def _renamed(self, row: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return {self._names[name]: value for name, value in row.items()}
        except KeyError:
            self._name(row.keys() - self._names.keys())
        return {self._names[name]: value for name, value in row.items()}

    def _name(self, fields: Collection[str]) -> None:
        """Gives fields that come for the first time their columns."""
        named = {field: column_name(field) for field in fields}
        columns = self.columns | (set(named.values()) - self._excluded)
        if self._max_columns is not None and len(columns) > max(self._max_columns, len(self.columns)):
            shown = ", ".join(repr(name[:40]) for name in sorted(columns - self.columns)[:3])
            raise ReadError(
                f"its rows have {len(columns)} fields, and a table may have {self._max_columns} columns (MAX_COLUMNS): "
                f"raise it, or leave fields out by EXCLUDE_COLUMNS; new are {shown}",
                status=200,
            )
        self.columns = columns
        self.renamed |= {field: name for field, name in named.items() if is_reserved(name.removeprefix(RENAMED))}
        self._names |= named

    def finish(self, sent: Any, params: Mapping[str, Any]) -> dict[str, Any]:
        """The row with the path parameters of its request and its hash.

        A field with the name of a parameter and another value goes to a column of another name. A whole number beyond
        64 bits becomes text, a value nested too deep becomes JSON text.

        Args:
            sent: What ``rows`` gave. A bare value becomes the last column of the key.
            params: The feed's row for this request.

        Raises:
            RowRejectedError: The row cannot be stored.
        """
        # a copy, also for a row of its own: finishing adds to it
        row: dict[str, Any] = dict(sent) if isinstance(sent, dict) else {self._key[-1] if self._key else "value": sent}
        if self._exclude or self._secrets:
            # before a field can be renamed
            row = self.without_excluded(row)
        for name, value in params.items():
            if name not in self._excluded:
                self._put(row, name, value)
        for name in self._retired:
            row.pop(name, None)
        for path in self._timestamps:
            _normalise(row, path)
        self._fit_integers(row)
        self._check_key(row)
        try:
            row[ROW_HASH] = content_hash(row)
        except TypeError:
            # nested deeper than orjson writes
            row = {name: _storable(value) for name, value in row.items()}
            row[ROW_HASH] = content_hash(row)
        return row

    def _put(self, row: dict[str, Any], name: str, value: Any) -> None:
        """Puts a path parameter into its column; a field of the row with another value goes to a column of its own."""
        own = row.get(name)
        if own is not None:
            if value is None:
                return
            # the parent's spelling is taken: what is 7 here may be "7" there
            if str(own) != str(value):
                column = f"{RENAMED}_{name}"
                while column in row:
                    column += "_"
                row[column] = own
                self.columns.add(column)
                self.renamed[name] = column
        row[name] = value

    def _fit_integers(self, row: dict[str, Any]) -> None:
        """Makes text of whole numbers beyond 64 bits.

        Raises:
            RowRejectedError: The column holds whole numbers.
        """
        kinds = self._kinds
        for name, value in row.items():
            if type(value) is not int:
                continue
            if -MAX_INTEGER <= value <= MAX_INTEGER:
                if name not in kinds:
                    kinds[name] = "bigint"
            elif kinds.setdefault(name, "text") == "bigint":
                raise RowRejectedError(f"{name} is {value}, more than the 64 bits of the column's whole numbers")
            else:
                row[name] = str(value)

    def _check_key(self, row: Mapping[str, Any]) -> None:
        """Checks that a row has the whole key, of the types that the table's columns have.

        Raises:
            RowRejectedError: It has not: dlt would put a value of another type beside the column, which then has none.
        """
        for name in self._key:
            value = row.get(name)
            if value is None or isinstance(value, (dict, list)):
                raise self._key_problem(row)
        whole = self._whole
        for name in self._key:
            value = row[name]
            if name not in whole:
                whole[name] = type(value) is int
            if whole[name] and not _is_whole(value):
                raise RowRejectedError(f"{name} is {str(value)[:100]!r}, in the other rows it is a whole number")

    def _key_problem(self, row: Mapping[str, Any]) -> RowRejectedError:
        """Which columns of the key have no plain value."""
        if lacking := [name for name in self._key if row.get(name) is None]:
            return RowRejectedError(f"no value for {', '.join(lacking)}")
        nested = [name for name in self._key if isinstance(row[name], (dict, list))]
        return RowRejectedError(f"no plain value for {', '.join(nested)}")

    def without_excluded(self, row: Any) -> Any:
        """A row, or what came in place of one, without the fields that no table may hold.

        Raises:
            RowRejectedError: It is nested so deep that there is no telling what is in it.
        """
        for path in self._exclude:
            row = _without(row, path)
        if self._secrets:
            try:
                row = _without_fields(row, self._secrets)
            except RecursionError:
                raise RowRejectedError("nested too deep to leave out its secrets") from None
        return row

    def kept_aside(self, row: Any) -> Any:
        """What of a rejected row may be kept."""
        try:
            return self.without_excluded(row)
        except RowRejectedError:
            return None

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


def _is_whole(value: Any) -> bool:
    """Whether a key's value can stand in a column of whole numbers without becoming another one."""
    if isinstance(value, str):
        return bool(WHOLE_NUMBER.fullmatch(value)) and value != "-0" and abs(int(value)) <= MAX_INTEGER
    return type(value) is int


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


def _without_fields(value: Any, names: frozenset[str]) -> Any:
    """``value`` without the fields of these names, at any depth."""
    if isinstance(value, list):
        return [_without_fields(element, names) for element in value]
    if isinstance(value, dict):
        return {name: _without_fields(inner, names) for name, inner in value.items() if name not in names}
    return value


def _normalise(row: dict[str, Any], path: tuple[str, ...]) -> None:
    """Turns the time at ``path`` into a UTC timestamp.

    Raises:
        RowRejectedError: It is a column's, and lies outside the years 1 to 9999 in UTC.
    """
    for name in path[:-1]:
        inner = row.get(name)
        if not isinstance(inner, dict):
            return
        row[name] = dict(inner)
        row = row[name]
    value = row.get(path[-1])
    if value is None:
        return
    row[path[-1]] = value = to_utc(value)
    if isinstance(value, str) and len(path) == 1:
        try:
            # dlt parses text in a timestamp column itself
            ensure_datetime_in_tz(value)
        except OverflowError:
            raise RowRejectedError(f"{path[0]} is {value[:40]!r}, which no timestamp can hold") from None
        except (ValueError, TypeError):
            return
