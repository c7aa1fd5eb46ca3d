"""Seeded random values for rows: identifiers, moments, names, texts."""

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

_LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

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


class Draw:
    """A source of values for one API, at a moment `now`.

    All it gives depends on its seed and the calls so far. `since` is the moment before the last change of
    `now`: what changes then gets a time in between.
    """

    def __init__(self, seed: str, *, now: datetime) -> None:
        self.rng = random.Random(seed)
        self.now = now
        self.since = now - timedelta(days=1)
        self._serial = 1000

    def turn(self, now: datetime, *, seed: str) -> None:
        """Go on to a later moment with a new seed; serial numbers go on."""
        self.since, self.now = self.now, now
        self.rng.seed(seed)

    def serial(self) -> int:
        """Give the next whole number, never the same one twice."""
        self._serial += self.rng.randint(1, 9)
        return self._serial

    def uuid(self) -> str:
        """Give a random UUID of version 4."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def code(self, length: int = 22) -> str:
        """Give a random identifier of letters and digits."""
        return "".join(self.rng.choices(_LETTERS, k=length))

    def chance(self, share: float) -> bool:
        """Give `True` for this share of the calls."""
        return self.rng.random() < share

    def maybe(self, value: T, share: float = 0.7) -> T | None:
        """Give the value for this share of the calls, else `None`."""
        return value if self.chance(share) else None

    def pick(self, values: Sequence[T]) -> T:
        """Give one of the values."""
        return self.rng.choice(values)

    def some(self, values: Sequence[T], least: int, most: int) -> list[T]:
        """Give between `least` and `most` different ones of the values, in their order."""
        number = min(len(values), self.rng.randint(least, most))
        return [values[place] for place in sorted(self.rng.sample(range(len(values)), number))]

    def whole(self, least: int, most: int) -> int:
        """Give a whole number between both, inclusive."""
        return self.rng.randint(least, most)

    def number(self, least: float, most: float, digits: int = 2) -> float:
        """Give a rounded number between both."""
        return round(self.rng.uniform(least, most), digits)

    def between(self, first: datetime, last: datetime) -> datetime:
        """Give a moment between both, of whole seconds or of milliseconds."""
        moment = first + (last - first) * self.rng.random()
        cut = 0 if self.chance(0.5) else moment.microsecond // 1000 * 1000
        return max(first, moment.replace(microsecond=cut))

    def past(self, days: float = 400) -> datetime:
        """Give a moment in the last so many days."""
        return self.between(self.now - timedelta(days=days), self.now)

    def span(self, days: float = 400) -> Row:
        """Give `created_at` and a later `updated_at`, both in the last so many days."""
        created = self.past(days)
        return {"created_at": iso(created), "updated_at": iso(self.between(created, self.now))}

    def fresh(self) -> Row:
        """Give `created_at` and `updated_at` of a row that came since the last moment."""
        created = self.between(self.since, self.now)
        return {"created_at": iso(created), "updated_at": iso(self.between(created, self.now))}

    def touch(self, row: Row, **changes: Any) -> None:
        """Set fields of a row and a new `updated_at` since the last moment."""
        row.update(changes)
        row["updated_at"] = iso(self.between(self.since, self.now))

    def name(self) -> str:
        """Give a person's name."""
        return f"{self.pick(FIRST_NAMES)} {self.pick(LAST_NAMES)}"

    def person(self, number: int) -> Row:
        """Give `name` and `email` of a person; each number has an address of its own."""
        first = FIRST_NAMES[number % len(FIRST_NAMES)]
        last = LAST_NAMES[(number // len(FIRST_NAMES) + number * 7) % len(LAST_NAMES)]
        return {"name": f"{first} {last}", "email": f"person{number}@shop.example"}

    def title(self) -> str:
        """Give the title of a piece of work."""
        return f"{self.pick(OPENINGS)} {self.pick(AREAS)} ({self.pick(THEMES)})"

    def remark(self) -> str:
        """Give a sentence or two that a colleague might write."""
        return " ".join(self.some(REMARKS, 1, 2))


def iso(moment: datetime) -> str:
    """Give a moment as ISO-8601 in UTC with `Z`, with milliseconds only if it has any."""
    text = moment.astimezone(UTC).replace(tzinfo=None)
    return text.isoformat(timespec="milliseconds" if text.microsecond else "seconds") + "Z"


def scaled(number: float, scale: float, least: int = 1) -> int:
    """Give a number of rows at a scale, at least `least`."""
    return max(least, round(number * scale))


def ids(rows: Iterable[Row]) -> list[Any]:
    """Give the rows' ids."""
    return [row["id"] for row in rows]
