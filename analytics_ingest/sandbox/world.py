"""The data of the five APIs: generated from a seed, and changed as time advances."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from analytics_ingest.sandbox.data import (
    continuous_integration_data,
    experimentation_data,
    feature_management_data,
    incident_response_data,
    project_planning_data,
)
from analytics_ingest.sandbox.expected_rows import KEYS, expected_rows
from analytics_ingest.sandbox.incident_story import add_incident_story
from analytics_ingest.sandbox.random_values import RandomValues
from analytics_ingest.sandbox.routes import ROUTES

if TYPE_CHECKING:
    from analytics_ingest.sandbox.expected_rows import Rows, Store
    from analytics_ingest.sandbox.incident_story import IncidentStory

GENERATORS = {
    "experimentation": experimentation_data,
    "incident_response": incident_response_data,
    "project_planning": project_planning_data,
    "continuous_integration": continuous_integration_data,
    "feature_management": feature_management_data,
}
DEFAULT_NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
Snapshot = dict[tuple[str, str], Counter[tuple[Any, bytes]]]
"""By (API, endpoint) the number of rows with a key and a content."""


@dataclass(frozen=True)
class Counts:
    """The number of rows of an endpoint that a complete sync finds added, changed and removed."""

    added: int = 0
    changed: int = 0
    removed: int = 0

    @property
    def total(self) -> int:
        """The sum of the three."""
        return self.added + self.changed + self.removed


@dataclass(frozen=True)
class Changes:
    """The changes of an advance by (API, endpoint); endpoints without any are left out."""

    endpoints: dict[tuple[str, str], Counts] = field(default_factory=dict)

    def of(self, api: str, endpoint: str | None = None) -> Counts:
        """The changes of one endpoint, or of a whole API."""
        chosen = [each for key, each in self.endpoints.items() if key[0] == api and endpoint in (None, key[1])]
        return Counts(
            sum(each.added for each in chosen),
            sum(each.changed for each in chosen),
            sum(each.removed for each in chosen),
        )

    def as_dict(self) -> dict[str, dict[str, dict[str, int]]]:
        """The changes by API and endpoint as plain values."""
        plain: dict[str, dict[str, dict[str, int]]] = {}
        for (api, endpoint), counts in self.endpoints.items():
            plain.setdefault(api, {})[endpoint] = {
                "added": counts.added,
                "changed": counts.changed,
                "removed": counts.removed,
            }
        return plain


class World:
    """Rows of all endpoints that refer to each other; the same for the same seed, scale, time and advances.

    Attributes:
        seed: The seed of the random values.
        scale: Amount of data: 1 is about 20,000 rows. Smaller scales have every hard case too.
        now: The current time in the data: no row was created or changed later.
        store: The rows that are served.
        story: What led to an incident in the last advance; ``None`` before the first.
    """

    def __init__(self, seed: int = 7, scale: float = 1.0, now: datetime | None = None) -> None:
        self.seed = seed
        self.scale = scale
        self.now = (now or DEFAULT_NOW).replace(microsecond=0)
        self._random = {api: RandomValues(f"{seed} {api}", now=self.now) for api in GENERATORS}
        self.store: Store = {api: module.build(self._random[api], scale) for api, module in GENERATORS.items()}
        self.story: IncidentStory | None = None

    def collection(self, api: str, endpoint: str) -> Any:
        """The rows of an endpoint that are served, which can be edited in place.

        A list for a top-level endpoint. For a child a dictionary from the tuple of path values, as text, to
        the list of rows, or to the one row of endpoints that give an object.

        Raises:
            KeyError: There is no such endpoint.
        """
        return self.store[api][endpoint]

    def expected(self, api: str, endpoint: str, *, slug_prefix: bool = True) -> Rows:
        """Copies of the rows that the table of an endpoint must have after a complete sync (``expected_rows``)."""
        return expected_rows(self.store, api, endpoint, slug_prefix=slug_prefix)

    def rows(self, api: str | None = None) -> int:
        """The number of expected rows, of one API or of all."""
        return sum(len(self.expected(*each)) for each in ROUTES if api in (None, each[0]))

    def advance(self, hours: float = 24, *, seed: int | None = None) -> Changes:
        """Advances the time: some rows of every API are added, changed and removed. Gives the changes.

        A deployment, a feature flag and an incident among them tell a story (``story``).

        Args:
            hours: Hours to advance by.
            seed: The seed of the changes; by default the world's own, with the time.
        """
        before = self._snapshot()
        self.now += timedelta(hours=hours)
        for api, module in GENERATORS.items():
            rng = self._random[api]
            rng.advance(self.now, seed=f"{self.seed if seed is None else seed} {api} {self.now.isoformat()}")
            module.advance(self.store[api], rng, self.scale)
        self.story = add_incident_story(self.store, self._random)
        after = self._snapshot()
        found = {each: _difference(before[each], after[each]) for each in ROUTES}
        return Changes({each: counts for each, counts in found.items() if counts.total})

    def _snapshot(self) -> Snapshot:
        """Every row as text under its key, as rows are edited in place."""
        return {
            each: Counter((tuple(row[name] for name in KEYS[each]), orjson.dumps(row)) for row in self.expected(*each))
            for each in ROUTES
        }


def _difference(before: Counter[tuple[Any, bytes]], after: Counter[tuple[Any, bytes]]) -> Counts:
    """The changes between two snapshots of an endpoint; without a key, a changed row is one removed and one added."""
    gone, come = before - after, after - before
    old, new = {key for key, _ in gone}, {key for key, _ in come}
    changed = {key for key in old & new if key}
    return Counts(
        added=sum(number for (key, _), number in come.items() if key not in changed),
        changed=len(changed),
        removed=sum(number for (key, _), number in gone.items() if key not in changed),
    )
