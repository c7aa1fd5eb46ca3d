"""The data of the five APIs: made from a seed, and moved on in time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from analytics_ingest.sandbox import truth
from analytics_ingest.sandbox.data import (
    continuous_integration_data,
    experimentation_data,
    feature_management_data,
    incident_response_data,
    project_planning_data,
)
from analytics_ingest.sandbox.draw import Draw
from analytics_ingest.sandbox.routes import ROUTES

_GENERATORS = {
    "experimentation": experimentation_data,
    "incident_response": incident_response_data,
    "project_planning": project_planning_data,
    "continuous_integration": continuous_integration_data,
    "feature_management": feature_management_data,
}

_NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)

_Snapshot = dict[tuple[str, str], Counter[tuple[Any, bytes]]]


@dataclass(frozen=True)
class Counts:
    """How many rows of an endpoint came, changed and went, as a complete sync sees it."""

    added: int = 0
    changed: int = 0
    removed: int = 0

    @property
    def total(self) -> int:
        """All three together."""
        return self.added + self.changed + self.removed


@dataclass(frozen=True)
class Changes:
    """What an advance changed, by (API, endpoint); endpoints where nothing did are left out."""

    endpoints: dict[tuple[str, str], Counts] = field(default_factory=dict)

    def of(self, api: str, endpoint: str | None = None) -> Counts:
        """Give the changes of one endpoint, or of a whole API."""
        chosen = [counts for (of, name), counts in self.endpoints.items() if of == api and endpoint in (None, name)]
        return Counts(
            sum(each.added for each in chosen),
            sum(each.changed for each in chosen),
            sum(each.removed for each in chosen),
        )

    def as_dict(self) -> dict[str, dict[str, dict[str, int]]]:
        """Give the changes by API and endpoint as plain values."""
        plain: dict[str, dict[str, dict[str, int]]] = {}
        for (api, endpoint), counts in self.endpoints.items():
            plain.setdefault(api, {})[endpoint] = {
                "added": counts.added,
                "changed": counts.changed,
                "removed": counts.removed,
            }
        return plain


class World:
    """Rows of all endpoints that hang together; the same for the same seed, scale, moment and advances.

    `scale` 1 is about 20,000 rows; smaller scales keep every hard case. `now` is the moment that the rows
    know of: no row was made or changed later. `store` holds the live rows that are served (see
    `truth.Store`).
    """

    def __init__(self, seed: int = 7, scale: float = 1.0, now: datetime | None = None) -> None:
        self.seed = seed
        self.scale = scale
        self.now = (now or _NOW).replace(microsecond=0)
        self._draws = {api: Draw(f"{seed} {api}", now=self.now) for api in _GENERATORS}
        self.store: truth.Store = {api: module.build(self._draws[api], scale) for api, module in _GENERATORS.items()}

    def collection(self, api: str, endpoint: str) -> Any:
        """Give the live rows that are served, to be edited in place.

        A list for a top-level endpoint. For a child a dictionary from the tuple of path values, as text, to
        the list of rows, or to the one row of endpoints that give an object. Raises `KeyError` for an
        unknown endpoint.
        """
        return self.store[api][endpoint]

    def expected(self, api: str, endpoint: str, *, slug_prefix: bool = True) -> list[dict[str, Any]]:
        """Give copies of the rows that a complete sync of an endpoint must hold; see `truth.expected`."""
        return truth.expected(self.store, api, endpoint, slug_prefix=slug_prefix)

    def rows(self, api: str | None = None) -> int:
        """Count the rows that a complete sync must hold, of one API or of all."""
        return sum(len(self.expected(*each)) for each in ROUTES if api in (None, each[0]))

    def advance(self, hours: float = 24, *, seed: int | None = None) -> Changes:
        """Let hours pass: some rows change, come and go, in every API. Gives what a complete sync sees of it.

        The changes depend on the world's own seed and moment, unless a seed is given.
        """
        before = self._snapshot()
        self.now += timedelta(hours=hours)
        for api, module in _GENERATORS.items():
            draw = self._draws[api]
            draw.turn(self.now, seed=f"{self.seed if seed is None else seed} {api} {self.now.isoformat()}")
            module.advance(self.store[api], draw, self.scale)
        after = self._snapshot()
        found = {each: _difference(before[each], after[each]) for each in ROUTES}
        return Changes({each: counts for each, counts in found.items() if counts.total})

    def _snapshot(self) -> _Snapshot:
        """Keep every row as text under its key, as rows are edited in place."""
        return {
            each: Counter(
                (tuple(row[name] for name in truth.KEYS[each]), orjson.dumps(row)) for row in self.expected(*each)
            )
            for each in ROUTES
        }


def _difference(before: Counter[tuple[Any, bytes]], after: Counter[tuple[Any, bytes]]) -> Counts:
    """Compare two snapshots of an endpoint; without a key no row changes, it goes and another one comes."""
    gone, come = before - after, after - before
    old, new = {key for key, _ in gone}, {key for key, _ in come}
    changed = {key for key in old & new if key}
    return Counts(
        added=sum(number for (key, _), number in come.items() if key not in changed),
        changed=len(changed),
        removed=sum(number for (key, _), number in gone.items() if key not in changed),
    )
