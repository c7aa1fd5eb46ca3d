"""The upstream of the soak: sandboxes whose rows change all the time, and what they have served so far."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import requests

from analytics_ingest.apis.registry import APIS
from analytics_ingest.sandbox.expected_rows import KEYS, PARTITIONS, listed_partitions
from analytics_ingest.sandbox.routes import ROUTES
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sandbox.world import Changes, World

SCALE = 0.05
GROWING = (
    ("continuous_integration", "pipelines"),
    ("experimentation", "audit_logs"),
    ("experimentation", "gates"),
    ("experimentation", "ingestion_runs"),
    ("feature_management", "change_requests"),
    ("incident_response", "incidents"),
)
"""Lists that each advance makes longer. The oldest rows are removed again: a sync costs the same in each hour."""
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Account:
    """An account of an API: its name, the API, and which of the sandboxes serves it."""

    name: str
    api: str
    sandbox: int = 0


ACCOUNTS = (
    *(Account(name, name) for name in APIS),
    Account("experimentation_eu", "experimentation", 1),
    Account("feature_management_eu", "feature_management", 1),
)
"""The accounts of the soak: each API, and a second account of two of them."""


class RecordedWorld(World):
    """A world that keeps what it has served: every key, and every content of a row with a history.

    Attributes:
        keys: By (API, endpoint) the keys that any row has had.
        contents: By (API, endpoint) and key every content that the row has had, for endpoints with a history.
        written: By (API, endpoint) the rows that were there at first, or were added or changed since.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed, scale=SCALE, now=datetime.now(UTC))
        self._longest = {each: len(self.store[each[0]][each[1]]) + 10 for each in GROWING}
        self.keys: dict[tuple[str, str], set[Key]] = defaultdict(set)
        self.contents: dict[tuple[str, str], dict[Key, dict[bytes, dict[str, Any]]]] = {
            (api, endpoint.name): defaultdict(dict)
            for api, declared in APIS.items()
            for endpoint in declared.endpoints
            if endpoint.history
        }
        self.written = Counter({each: len(self.expected(*each)) for each in ROUTES})
        self._record()

    def advance(self, hours: float = 24, *, seed: int | None = None) -> Changes:
        """Advances the time, and removes the oldest rows of lists that have become too long, with their children."""
        changes = super().advance(hours, seed=seed)
        for (api, endpoint), longest in self._longest.items():
            rows = self.store[api][endpoint]
            del rows[: max(0, len(rows) - longest)]
        self._remove_unlisted()
        for each, counts in changes.endpoints.items():
            self.written[each] += counts.added + counts.changed
        self._record()
        return changes

    def _remove_unlisted(self) -> None:
        """Removes partitions whose parent is no longer listed: they would be served without being recorded."""
        for api, endpoint in PARTITIONS:
            stored = self.store[api][endpoint]
            listed = {path for path, _ in listed_partitions(self.store, api, endpoint)}
            for path in stored.keys() - listed:
                del stored[path]

    def _record(self) -> None:
        for each in ROUTES:
            contents = self.contents.get(each)
            for row in self.expected(*each):
                key = tuple(row[name] for name in KEYS[each])
                self.keys[each].add(key)
                if contents is not None:
                    contents[key].setdefault(orjson.dumps(row, option=orjson.OPT_SORT_KEYS), row)


@dataclass
class Upstream:
    """The sandboxes behind the accounts.

    Attributes:
        servers: The sandboxes.
        advances: How often their time was advanced.
        changed: Rows that were added, changed and removed by that.
    """

    servers: Sequence[SandboxServer]
    advances: int = 0
    changed: Counter[str] = field(default_factory=Counter)

    def server(self, account: Account) -> SandboxServer:
        """The sandbox that serves an account."""
        return self.servers[account.sandbox]

    def world(self, account: Account) -> RecordedWorld:
        """The rows that are served to an account."""
        world = self.server(account).world
        assert isinstance(world, RecordedWorld)
        return world

    def environment(self, accounts: Sequence[Account]) -> dict[str, str]:
        """The settings that configure the accounts."""
        settings = {"ANALYTICS_INGEST_APIS": ",".join(dict.fromkeys(each.api for each in accounts))}
        for account in accounts:
            server = self.server(account)
            values = {
                "PROFILE": "none",
                "BASE_URL": server.base_url(account.api),
                "API_KEY": server.options.api_keys[account.api],
            }
            if account.name != account.api:
                values["API"] = account.api
            settings |= {f"SOURCES__{account.name.upper()}__{name}": value for name, value in values.items()}
        return settings

    def advance(self, seconds: float) -> None:
        """Advances the time of all sandboxes, as fast as it really went by; rows change."""
        for server in self.servers:
            # over HTTP, so that no response is made while rows change
            answer = requests.post(f"{server.url}/_sandbox/advance", json={"hours": seconds / 3600}, timeout=60)
            answer.raise_for_status()
            for endpoints in answer.json()["changes"].values():
                for counts in endpoints.values():
                    self.changed.update(counts)
        self.advances += 1

    def shift_clock(self, seconds: float) -> None:
        """Sets the clock of all sandboxes forward or back: the times of rows that change from now on jump."""
        for server in self.servers:
            server.world.now += timedelta(seconds=seconds)

    @property
    def requests(self) -> int:
        """Requests that reached an API."""
        return sum(len(server.requests) for server in self.servers)


@contextmanager
def changing_upstream(seed: int) -> Iterator[Upstream]:
    """Two sandboxes with different rows, until the block ends."""
    servers = [SandboxServer(RecordedWorld(seed * 2 + number)) for number in range(2)]
    try:
        for server in servers:
            server.start()
        yield Upstream(servers)
    finally:
        for server in servers:
            server.stop()
