"""Seeded random values for rows: identifiers, times, names, texts."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Row = dict[str, Any]
Rows = list[Row]

T = TypeVar("T")

LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

# fmt: off
FIRST_NAMES = (
    "Amara", "Anouk", "Bruno", "Carla", "Chen", "Daan", "Elif", "Emeka", "Farah", "Goran", "Hana",
    "Ines", "Ivo", "Jakob", "Jamila", "Jonas", "Kaito", "Kwame", "Leïla", "Lena", "Liam", "Lucía",
    "Mateo", "Mei", "Milan", "Nadia", "Nils", "Noor", "Oskar", "Priya", "Rafael", "Renée", "Samir",
    "Søren", "Tariq", "Theo", "Uma", "Yara", "Zoë", "Zuri",
)
LAST_NAMES = (
    "Abara", "Almeida", "Bakker", "Bauer", "Castillo", "Dubois", "Eriksen", "Farouk", "Fischer",
    "García", "Haddad", "Hoffmann", "Ivanov", "Jansen", "Kaya", "Kim", "Kowalski", "Lindqvist",
    "Müller", "Nakamura", "Nowak", "Okafor", "Olsen", "Park", "Petrov", "Quinn", "Rossi", "Sato",
    "Schmidt", "Silva", "Tanaka", "Usman", "Vargas", "Weber", "Yilmaz", "Zhang",
)
# fmt: on
AREAS = (
    "cart",
    "checkout",
    "search",
    "catalogue",
    "payments",
    "shipping",
    "returns",
    "account",
    "loyalty",
    "reviews",
)
THEMES = (
    "speed",
    "redesign",
    "mobile",
    "fraud",
    "stock",
    "pricing",
    "email",
    "tax",
    "vouchers",
    "accessibility",
)
OPENINGS = (
    "Customers see a stale price in",
    "Cut the loading time of",
    "Show delivery dates in",
    "Stop duplicate orders from",
    "Translate the texts of",
    "Measure drop-off in",
    "Retry failed calls from",
    "Simplify the form in",
    "Roll out the new layout of",
    "Fix rounding of taxes in",
)
REMARKS = (
    "Reproduced on staging with two browsers.",
    "Agreed with the team; goes out with the next release.",
    "The numbers look right after the fix.",
    "Needs a decision on guest accounts first.",
    "Support reports fewer complaints since Monday.",
    "Rolled back, the error rate doubled.",
    "Waiting for the payment provider's answer.",
    "Tested with 1,000 orders, no difference found.",
)


class RandomValues:
    """A generator of values for one API, which depend on its seed and on the calls so far.

    Attributes:
        now: The current time in the data.
        since: The time before the last advance: rows that are added or changed get a time between both.
    """

    def __init__(self, seed: str, *, now: datetime) -> None:
        self._random = random.Random(seed)
        self.now = now
        self.since = now - timedelta(days=1)
        self._serial = 1000

    def advance(self, now: datetime, *, seed: str) -> None:
        """Advances the time, with a new seed; serial numbers continue."""
        self.since, self.now = self.now, now
        self._random.seed(seed)

    def serial(self) -> int:
        """The next serial number: a whole number that was not given before."""
        self._serial += self._random.randint(1, 9)
        return self._serial

    def uuid(self) -> str:
        """A random UUID of version 4."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def code(self, length: int = 22) -> str:
        """A random identifier of letters and digits."""
        return "".join(self._random.choices(LETTERS, k=length))

    def chance(self, share: float) -> bool:
        """``True`` for this share of the calls."""
        return self._random.random() < share

    def maybe(self, value: T, share: float = 0.7) -> T | None:
        """The value for this share of the calls, else ``None``."""
        return value if self.chance(share) else None

    def choice(self, values: Sequence[T]) -> T:
        """One of the values."""
        return self._random.choice(values)

    def sample(self, values: Sequence[T], least: int, most: int) -> list[T]:
        """Between ``least`` and ``most`` different ones of the values, in their order."""
        number = min(len(values), self._random.randint(least, most))
        return [values[index] for index in sorted(self._random.sample(range(len(values)), number))]

    def integer(self, least: int, most: int) -> int:
        """A whole number between both, inclusive."""
        return self._random.randint(least, most)

    def decimal(self, least: float, most: float, digits: int = 2) -> float:
        """A number between both, rounded to so many digits."""
        return round(self._random.uniform(least, most), digits)

    def between(self, first: datetime, last: datetime) -> datetime:
        """A time between both, in whole seconds or in milliseconds."""
        moment = first + (last - first) * self._random.random()
        cut = 0 if self.chance(0.5) else moment.microsecond // 1000 * 1000
        return max(first, moment.replace(microsecond=cut))

    def past(self, days: float = 400) -> datetime:
        """A time in the last so many days."""
        return self.between(self.now - timedelta(days=days), self.now)

    def span(self, days: float = 400) -> Row:
        """``created_at`` and a later ``updated_at``, both in the last so many days."""
        created = self.past(days)
        return {"created_at": iso(created), "updated_at": iso(self.between(created, self.now))}

    def fresh(self) -> Row:
        """``created_at`` and ``updated_at`` of a row that was added by the last advance."""
        created = self.between(self.since, self.now)
        return {"created_at": iso(created), "updated_at": iso(self.between(created, self.now))}

    def touch(self, row: Row, **changes: Any) -> None:
        """Sets fields of a row, and an ``updated_at`` within the last advance."""
        row.update(changes)
        row["updated_at"] = iso(self.between(self.since, self.now))

    def person(self, number: int) -> Row:
        """``name`` and ``email`` of a person; each number has an address of its own."""
        first = FIRST_NAMES[number % len(FIRST_NAMES)]
        last = LAST_NAMES[(number // len(FIRST_NAMES) + number * 7) % len(LAST_NAMES)]
        return {"name": f"{first} {last}", "email": f"person{number}@shop.example"}

    def title(self) -> str:
        """The title of a piece of work."""
        return f"{self.choice(OPENINGS)} {self.choice(AREAS)} ({self.choice(THEMES)})"

    def remark(self) -> str:
        """A comment of a sentence or two."""
        return " ".join(self.sample(REMARKS, 1, 2))


def iso(moment: datetime) -> str:
    """A time as ISO-8601 in UTC with ``Z``, with milliseconds only if it has any."""
    text = moment.astimezone(UTC).replace(tzinfo=None)
    return text.isoformat(timespec="milliseconds" if text.microsecond else "seconds") + "Z"


def scaled(number: float, scale: float, least: int = 1) -> int:
    """The number of rows at a scale, at least ``least``."""
    return max(least, round(number * scale))


def ids(rows: Iterable[Row]) -> list[Any]:
    """The rows' ids."""
    return [row["id"] for row in rows]
