"""A record of every request that reached an API."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(kw_only=True)
class Record:
    """One request that reached an API.

    `status` is `None` while there is no answer, and for ever if the connection was closed without one.
    `path` is the raw, percent-encoded path with the base URL's part. `endpoint` is `None` for a path that no
    endpoint has. `at` is `time.monotonic()` in seconds. `in_flight` counts the API's requests under way,
    this one included.
    """

    api: str
    method: str
    path: str
    query: str
    endpoint: str | None
    in_flight: int
    at: float = field(default_factory=time.monotonic)
    status: int | None = None


class Journal:
    """The requests so far, oldest first, over all APIs; iterable, indexable and countable."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.max_in_flight: Counter[str] = Counter()
        self._under_way: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self.records))

    def __getitem__(self, index: int) -> Record:
        return self.records[index]

    def count(self, api: str | None = None, endpoint: str | None = None, status: int | None = None) -> int:
        """Count the requests, of one API, one endpoint or one status where given."""
        return sum(
            api in (None, record.api) and endpoint in (None, record.endpoint) and status in (None, record.status)
            for record in self
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """Give the number of requests by API and endpoint; paths that no endpoint has count as `unknown`."""
        counted: dict[str, dict[str, int]] = {}
        for (api, endpoint), number in sorted(
            Counter((record.api, record.endpoint or "unknown") for record in self).items()
        ):
            counted.setdefault(api, {})[endpoint] = number
        return counted

    def reset(self) -> None:
        """Forget the requests and the peaks of requests in flight."""
        self.records = []
        self.max_in_flight = Counter()

    def begin(self, *, api: str, method: str, path: str, query: str, endpoint: str | None) -> Record:
        """Record a request that has just come."""
        self._under_way[api] += 1
        in_flight = self._under_way[api]
        self.max_in_flight[api] = max(self.max_in_flight[api], in_flight)
        record = Record(api=api, method=method, path=path, query=query, endpoint=endpoint, in_flight=in_flight)
        self.records.append(record)
        return record

    def end(self, record: Record) -> None:
        """Note that a request is no longer under way."""
        self._under_way[record.api] -= 1
