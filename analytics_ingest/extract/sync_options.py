"""What a run can request of a sync beyond reading what changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from analytics_ingest.errors import ConfigurationError
from analytics_ingest.timestamps import to_utc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analytics_ingest.apis.model import Api

INCREMENTAL = "incremental"
"""The mode of a sync that loads the rows that are new or have changed."""


@dataclass(frozen=True, kw_only=True)
class EndpointRepair:
    """What a sync reads again of an endpoint whose table differs from the API.

    Attributes:
        paths: The only lists to read; of an endpoint without a key all lists are read.
        keys: The keys, as text, of the rows that differ: what the table has of them does not count as known.
    """

    paths: frozenset[str]
    keys: frozenset[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class SyncOptions:
    """How a sync reads.

    Attributes:
        full_refresh: Loads every row again, whatever the table holds.
        updated_from: Start of a window, UTC, included; open if ``None``. With a window, endpoints with a cursor load
            exactly the rows in it again; no cursor moves and no row is marked as deleted.
        updated_to: End of the window, UTC, included; open if ``None``.
        endpoints: Names of the endpoints to sync, among those selected; empty for all of them.
        repairs: By endpoint what to read again, in place of what changed.
    """

    full_refresh: bool = False
    updated_from: datetime | None = None
    updated_to: datetime | None = None
    endpoints: frozenset[str] = frozenset()
    repairs: Mapping[str, EndpointRepair] = field(default_factory=dict)

    @property
    def windowed(self) -> bool:
        """Whether there is a window."""
        return self.updated_from is not None or self.updated_to is not None

    @property
    def mode(self) -> str:
        """Which rows are loaded, for people: ``incremental``, ``full refresh``, or a window with its times, UTC."""
        if self.full_refresh:
            return "full refresh"
        if not self.windowed:
            return INCREMENTAL
        times = (("from", self.updated_from), ("until", self.updated_to))
        return f"window: rows updated {' '.join(f'{word} {time:%Y-%m-%dT%H:%M:%SZ}' for word, time in times if time)}"

    def holds(self, value: datetime | None) -> bool:
        """Whether a cursor value lies in the window."""
        return (
            value is not None
            and (self.updated_from is None or value >= self.updated_from)
            and (self.updated_to is None or value <= self.updated_to)
        )


def parse_sync_options(
    api: Api,
    *,
    full_refresh: bool = False,
    updated_from: str | None = None,
    updated_to: str | None = None,
    endpoints: Sequence[str] = (),
) -> SyncOptions:
    """Options from a run's config.

    Raises:
        ConfigurationError: A date cannot be parsed, the window ends before it starts, or an endpoint is unknown.
    """
    start, end = _parse_time("updated_from", updated_from), _parse_time("updated_to", updated_to)
    if start and end and start > end:
        raise ConfigurationError(f"updated_from ({updated_from}) is later than updated_to ({updated_to})")
    if full_refresh and (start or end):
        raise ConfigurationError("full_refresh reads everything: leave updated_from and updated_to out")
    if unknown := sorted(set(endpoints) - set(api.by_name)):
        raise ConfigurationError(
            f"{api.name} has no endpoint {', '.join(unknown)}; there are {', '.join(sorted(api.by_name))}"
        )
    return SyncOptions(full_refresh=full_refresh, updated_from=start, updated_to=end, endpoints=frozenset(endpoints))


def _parse_time(name: str, text: str | None) -> datetime | None:
    if not text:
        return None
    moment = to_utc(text)
    if not isinstance(moment, datetime):
        raise ConfigurationError(f"{name} is {text!r}, no date or time: write 2026-01-31 or 2026-01-31T12:00:00Z")
    return moment.astimezone(UTC)
