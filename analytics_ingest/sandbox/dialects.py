"""The forms in which the same rows may be served: timestamps, project slugs, bare values."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analytics_ingest.sandbox.options import Options, Timestamps

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_WEST = timezone(timedelta(hours=-7))
_BARE = {"segments_ids": "id", "segments_keys": "key"}
_PREFIX = "gh/"

Convert = Callable[[Any], Any]


def _offset(text: str) -> str:
    moment = datetime.fromisoformat(text).astimezone(_WEST)
    return moment.isoformat(timespec="milliseconds" if "." in text else "seconds")


def _epoch_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _epoch_s(text: str) -> float | int:
    milliseconds = _epoch_ms(text)
    return milliseconds / 1000 if milliseconds % 1000 else milliseconds // 1000


_FORMS: dict[Timestamps, Callable[[str], str | float]] = {
    "offset": _offset,
    "epoch_ms": _epoch_ms,
    "epoch_s": _epoch_s,
}


def _everywhere(convert: Callable[[str], Any]) -> Convert:
    """Apply a conversion of texts to every value in nested objects and lists."""

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
    """Give a copy of a row whose project slugs, at any depth, lack the leading `gh/`."""
    return _everywhere(lambda text: text.removeprefix(_PREFIX))(row)


def conversion(endpoint: str, options: Options) -> Convert | None:
    """Give the function that brings a row into the options' form, `None` if it is served as it is stored."""
    if options.bare_values and endpoint in _BARE:
        field = _BARE[endpoint]
        return lambda row: row[field]
    steps: list[Convert] = []
    if not options.slug_prefix:
        steps.append(without_prefix)
    form = _FORMS.get(options.timestamps)
    if form is not None:
        steps.append(_everywhere(lambda text: form(text) if _TIMESTAMP.fullmatch(text) else text))
    if not steps:
        return None

    def convert(row: Any) -> Any:
        for step in steps:
            row = step(row)
        return row

    return convert
