"""What must hold of a warehouse after a sync, whatever the API has sent. Knows nothing of how the product does it."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from analytics_ingest_tests.fuzz.strategies import path_text

SURROGATE = re.compile("[\ud800-\udfff]")
TIME_FIELDS = ("updated_at", "created_at", "seen_at", "due_on")
"""Fields that the declaration says are times."""


def readable(text: str) -> str:
    """A text as a lenient reader takes it: pairs of surrogates are one character, lone ones U+FFFD."""
    paired = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return SURROGATE.sub("\ufffd", paired)


def as_read(value: Any) -> Any:
    """A value as any reader of the JSON has it."""
    # without recursion: some are nested 900 levels deep
    if isinstance(value, str):
        return readable(value)
    if not isinstance(value, dict | list):
        return value
    root: list[Any] = [None]
    left: list[tuple[Any, Any, Any]] = [(root, 0, value)]
    while left:
        holder, place, item = left.pop()
        if isinstance(item, dict):
            made: Any = {readable(name): None for name in item}
            left += [(made, readable(name), inner) for name, inner in item.items()]
        elif isinstance(item, list):
            made = [None] * len(item)
            left += [(made, number, inner) for number, inner in enumerate(item)]
        else:
            made = readable(item) if isinstance(item, str) else item
        holder[place] = made
    return root[0]


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; numbers by their value, truth values are no numbers."""
    left = [(one, other)]
    while left:
        a, b = left.pop()
        if isinstance(a, dict) and isinstance(b, dict):
            if a.keys() != b.keys():
                return False
            left += [(a[name], b[name]) for name in a]
        elif isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            left += zip(a, b, strict=True)
        elif isinstance(a, bool) or isinstance(b, bool) or isinstance(a, str) or a is None:
            if type(a) is not type(b) or a != b:
                return False
        elif not is_number(a, b):
            return False
    return True


def is_number(sent: Any, stored: Any) -> bool:
    if isinstance(stored, bool) or not isinstance(stored, int | float) or not isinstance(sent, int | float):
        return False
    if isinstance(sent, float):
        return float(stored) == sent
    return int(stored) == sent if isinstance(stored, int) else stored == sent and abs(sent) <= 2**53


def is_held(sent: Any, stored: Any, *, is_time: bool) -> bool:
    """Whether what is stored tells what was sent."""
    sent = as_read(sent)
    if isinstance(stored, datetime):
        return is_time and is_same_time(sent, stored)
    if isinstance(stored, str):
        # else a column of JSON, which DuckDB gives as text; in it is a text what was one before
        found = parsed(stored)
        return (
            is_in_text(sent, stored, is_time=is_time)
            or same(sent, found)
            or (isinstance(found, str) and is_in_text(sent, found, is_time=is_time))
        )
    return same(sent, stored)


def is_in_text(sent: Any, text: str, *, is_time: bool) -> bool:
    """Whether a text tells what was sent."""
    if sent == text or (is_time and is_time_text(sent, text)):
        return True
    if isinstance(sent, bool):
        return text == ("true" if sent else "false")
    return isinstance(sent, int | float) and is_number_text(sent, text)


def parsed(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return object()


def is_number_text(sent: float, text: str) -> bool:
    try:
        return Decimal(text) == Decimal(sent) if isinstance(sent, int) else float(text) == sent
    except (InvalidOperation, ValueError):
        return False


def is_time_text(sent: Any, text: str) -> bool:
    try:
        return is_same_time(sent, datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return False


def is_same_time(sent: Any, stored: datetime) -> bool:
    """Whether a stored time is one that was sent: as ISO 8601 it is checked, as a number it only has to be near."""
    if isinstance(sent, str):
        try:
            moment = datetime.fromisoformat(sent.strip())
        except ValueError:
            # 24:00, a leap second, digits alone
            return bool(re.match(r"[\d-]{8,}", sent.strip()))
        # compared as they are: some lie outside the years 1 to 9999 in UTC
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) == stored
    if isinstance(sent, bool) or not isinstance(sent, int | float):
        return False
    seconds = (stored.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    scale = next((s for s in (1, 1e3, 1e6, 1e9) if math.isclose(sent / s, seconds, rel_tol=1e-9, abs_tol=1e-3)), None)
    return scale is not None


@dataclass
class Table:
    """A table as it is read."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]


def check_values(sent: Sequence[Mapping[str, Any]], table: Table, rejected: Sequence[str], *, keyed: bool) -> None:
    """Checks that each row is stored or rejected, and each field readable from one column, which no other field has.

    Args:
        sent: The rows that were sent, with a marker each.
        table: The rows that are stored and not marked as deleted.
        rejected: Markers of the rows that were rejected.
        keyed: Whether rows are told apart by a key.
    """
    stored = {row["marker"]: row for row in table.rows if row["marker"] is not None}
    shared = Counter[str | None](key for row in sent if (key := key_text(row)) is not None) if keyed else Counter()
    for row in sent:
        # another row of this key may have taken its place
        gone = row["marker"] not in stored and shared[key_text(row)] < 2
        assert not gone or row["marker"] in rejected, f"{row['marker']} is neither stored nor rejected: {row!r:.300}"
    held = [(row, stored[row["marker"]]) for row in sent if row["marker"] in stored]
    names = {name for row, _ in held for name in row if row[name] is not None}
    # a child's own field of the name of its path parameter is in one of two columns
    names = {name for name in names if plain(name) not in ("thing_id", "sent_thing_id")}
    candidates = {name: columns_of(name, held, table.columns) for name in names}
    assert matched(candidates), f"two fields share a column: {candidates}"


def columns_of(
    name: str, held: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], columns: Sequence[str]
) -> set[str]:
    """The columns from which every value of a field can be read."""
    found, is_time = set(columns), plain(name) in TIME_FIELDS
    for row, there in held:
        if row.get(name) is not None:
            found = {each for each in found if is_held(row[name], there[each], is_time=is_time)}
            assert found, f"no one column holds all values of {name!r}: {row[name]!r:.200} of {row['marker']}"
    return found


def key_text(row: Mapping[str, Any]) -> str | None:
    """A row's key as a column of texts has it; ``None`` if it has none."""
    key = row.get("id")
    return None if key is None or isinstance(key, dict | list) else readable(path_text(key))


def plain(name: str) -> str:
    return re.sub(r"[^a-z]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()).strip("_")


def matched(candidates: Mapping[str, set[str]]) -> bool:
    """Whether each field can have a column of its own."""
    taken: dict[str, str] = {}

    def place(field: str, tried: set[str]) -> bool:
        for column in candidates[field] - tried:
            tried.add(column)
            if column not in taken or place(taken[column], tried):
                taken[column] = field
                return True
        return False

    return all(place(field, set()) for field in candidates)


def rows_of(pages: Sequence[Sequence[Any]]) -> Iterator[Any]:
    for page in pages:
        yield from page
