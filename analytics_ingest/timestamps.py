"""Parses the forms in which APIs write times into UTC timestamps."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

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
"""A date and a time in digits alone: ``20260131123000``. As epoch milliseconds these 14 digits would be later than the
year 2600.
"""
ISO_TIME = re.compile(
    r"(?P<date>[0-9]{4}-?[0-9]{2}-?[0-9]{2})[tT ]"
    r"(?P<time>[0-9]{2}(?::?[0-9]{2}){1,2})(?:[.,](?P<fraction>[0-9]+))?"
    r"\s*(?P<zone>[zZ]|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_utc(value: Any) -> Any:
    """``value`` as a UTC timestamp.

    Takes ISO 8601 with any offset (UTC if it has none), and epoch seconds, milliseconds, microseconds or nanoseconds.
    Any other value, and a time outside the years that Python supports, is returned unchanged.
    """
    if not isinstance(value, str) and not _may_be_epoch(value):
        return value
    text = str(value).strip()
    if text[4:5] == "-":
        # nearly all times: a text of digits alone has no hyphen there
        return _from_iso(text, value)
    if DIGITS.fullmatch(digits := text.removesuffix(".0")):
        return _from_digits(digits, value)
    if not isinstance(value, str):
        return _from_epoch(value, value)
    if EPOCH_TEXT.fullmatch(text):
        return _from_epoch(float(text) if "." in text else int(text), value)
    return _from_iso(text, value)


def iso_to_utc(text: str) -> datetime | str:
    """A date and a time in ISO 8601 as a UTC timestamp (UTC if it has no offset); any other text unchanged."""
    if text[4:5] != "-" or text[10:11] not in ("T", "t", " "):
        return text
    timestamp: datetime | str = _from_iso(text, text)
    return timestamp


def _may_be_epoch(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63


def _from_digits(text: str, value: Any) -> Any:
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        # for example 30 February
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
    """A time in a form that Python does not parse: 24:00, a leap second."""
    match = ISO_TIME.fullmatch(text)
    if not match:
        return value
    time = match["time"].replace(":", "").ljust(6, "0")
    fraction = (match["fraction"] or "0")[:6].ljust(6, "0")
    extra = timedelta()
    if time == "240000" and not int(fraction):
        time, extra = "000000", timedelta(days=1)
    elif time[4:] == "60":
        # POSIX time counts a leap second as the first second of the next minute
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
    size, units = abs(number), 1
    for minimum, units_per_second in ((NANOSECONDS, 10**9), (MICROSECONDS, 10**6), (MILLISECONDS, 10**3)):
        if size >= minimum:
            units = units_per_second
            break
    try:
        # whole microseconds: a float of nanoseconds has too few digits
        return EPOCH + timedelta(
            microseconds=number * 10**6 // units if isinstance(number, int) else number * 1e6 / units
        )
    except (OverflowError, OSError, ValueError):
        return value
