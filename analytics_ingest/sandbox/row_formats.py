"""The formats in which the same rows can be served: timestamps, project slugs, bare values."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analytics_ingest.sandbox.options import Options, Timestamps

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
OFFSET = timezone(timedelta(hours=-7))
"""The time zone of timestamps in the format ``offset``."""
BARE_FIELDS = {"segments_ids": "id", "segments_keys": "key"}
"""By endpoint the field that stands for the whole row with the option ``bare_values``."""
SLUG_PREFIX = "gh/"

Convert = Callable[[Any], Any]


def _with_offset(text: str) -> str:
    moment = datetime.fromisoformat(text).astimezone(OFFSET)
    return moment.isoformat(timespec="milliseconds" if "." in text else "seconds")


def _epoch_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _epoch_s(text: str) -> float | int:
    milliseconds = _epoch_ms(text)
    return milliseconds / 1000 if milliseconds % 1000 else milliseconds // 1000


TIMESTAMP_FORMATS: dict[Timestamps, Callable[[str], str | float]] = {
    "offset": _with_offset,
    "epoch_ms": _epoch_ms,
    "epoch_s": _epoch_s,
}


def _for_all_texts(convert: Callable[[str], Any]) -> Convert:
    """A function that converts every text in nested objects and lists."""

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return convert(value)
        if isinstance(value, dict):
            return {key: walk(each) for key, each in value.items()}
        if isinstance(value, list):
            return [walk(each) for each in value]
        return value

    return walk


def without_prefix(row: Any) -> Any:
    """A copy of a row whose project slugs, at any depth, lack the leading ``gh/``."""
    return _for_all_texts(lambda text: text.removeprefix(SLUG_PREFIX))(row)


def conversion(endpoint: str, options: Options) -> Convert | None:
    """The function that converts a row into the format of the options; ``None`` if it is served as stored."""
    if options.bare_values and endpoint in BARE_FIELDS:
        field = BARE_FIELDS[endpoint]
        return lambda row: row[field]
    steps: list[Convert] = []
    if not options.slug_prefix:
        steps.append(without_prefix)
    to_format = TIMESTAMP_FORMATS.get(options.timestamps)
    if to_format is not None:
        steps.append(_for_all_texts(lambda text: to_format(text) if TIMESTAMP.fullmatch(text) else text))
    if not steps:
        return None

    def convert(row: Any) -> Any:
        for step in steps:
            row = step(row)
        return row

    return convert
