"""The log of every request that reached an API: path, query, status, and how many were in flight."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(kw_only=True)
class RequestRecord:
    """One request that reached an API.

    Attributes:
        api: The API.
        method: The HTTP method.
        path: The raw, percent-encoded path with the base URL's part.
        query: The raw query string.
        endpoint: The endpoint's name; ``None`` for a path that no endpoint has.
        in_flight: Requests of the API in flight as this one arrived, this one included.
        at: When it arrived, in seconds of ``time.monotonic()``.
        status: The status of the response; ``None`` while there is none, and if the connection was closed without one.
    """

    api: str
    method: str
    path: str
    query: str
    endpoint: str | None
    in_flight: int
    at: float = field(default_factory=time.monotonic)
    status: int | None = None


class RequestLog:
    """The requests to all APIs, oldest first.

    Attributes:
        records: The requests.
        max_in_flight: The most requests that were in flight at once, by API.
    """

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []
        self.max_in_flight: Counter[str] = Counter()
        self._in_flight: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[RequestRecord]:
        return iter(list(self.records))

    def __getitem__(self, index: int) -> RequestRecord:
        return self.records[index]

    def count(self, api: str | None = None, endpoint: str | None = None, status: int | None = None) -> int:
        """The number of requests, of one API, one endpoint or one status where given."""
        return sum(
            api in (None, record.api) and endpoint in (None, record.endpoint) and status in (None, record.status)
            for record in self
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """The number of requests by API and endpoint; paths that no endpoint has count as ``unknown``."""
        counted: dict[str, dict[str, int]] = {}
        for (api, endpoint), number in sorted(
            Counter((record.api, record.endpoint or "unknown") for record in self).items()
        ):
            counted.setdefault(api, {})[endpoint] = number
        return counted

    def reset(self) -> None:
        """Clears the requests and the maxima of requests in flight."""
        self.records = []
        self.max_in_flight = Counter()

    def start(self, *, api: str, method: str, path: str, query: str, endpoint: str | None) -> RequestRecord:
        """Records a request that has arrived."""
        self._in_flight[api] += 1
        in_flight = self._in_flight[api]
        self.max_in_flight[api] = max(self.max_in_flight[api], in_flight)
        record = RequestRecord(api=api, method=method, path=path, query=query, endpoint=endpoint, in_flight=in_flight)
        self.records.append(record)
        return record

    def finish(self, record: RequestRecord) -> None:
        """Counts a request as no longer in flight."""
        self._in_flight[record.api] -= 1
