"""What the vendors' local servers share: rows that a test changes, strict routes, the vendor's limit on requests.

A vendor's server is written from what is known of the vendor's API, not from the profile that reads it: a request
with a parameter that the vendor does not have is answered 400 and noted in ``complaints``.
"""

from __future__ import annotations

import copy
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self
from urllib.parse import unquote

import pytest

from analytics_ingest.apis.model import Api
from analytics_ingest.apis.registry import PROFILES
from analytics_ingest.sync.api_sync import ApiSync
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.fake_server import Asked, FakeServer, Response

Rows = list[dict[str, Any]]
ALONE = ()
"""The parent of the rows of a list that has none."""


@dataclass(frozen=True)
class Route:
    """One endpoint of a vendor: the path's pattern, with a group for each part that varies, and its parameters."""

    endpoint: str
    pattern: str
    params: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    method: str = "GET"


@dataclass
class Limit:
    """So many requests in a window of so many seconds, by a clock that a test may fake."""

    requests: int
    seconds: float
    now: Callable[[], float] = time.time
    refused: int = 0
    _window: float = 0.0
    _left: int = 0

    def take(self) -> bool:
        """Whether one more request is permitted."""
        window = self.now() // self.seconds
        if window != self._window:
            self._window, self._left = window, self.requests
        self._left -= 1
        self.refused += self._left < 0
        return self._left >= 0

    @property
    def resets_in(self) -> float:
        """Seconds until the window is over."""
        return self.seconds - self.now() % self.seconds

    @property
    def left(self) -> int:
        return max(0, self._left)


@dataclass
class Vendor:
    """One vendor's API.

    Attributes:
        store: The rows as the vendor sends them: by endpoint, and there by the values of the path's varying parts.
        requests: Requests so far, by endpoint.
        asked: The requests so far.
        complaints: What was asked that the vendor does not know.
        limit: The limit on requests; none unless a test sets one.
        faults: Answers in place of the vendor's, by endpoint: each is given once.
    """

    profile: ClassVar[str]
    prefix: ClassVar[str] = ""
    ROUTES: ClassVar[tuple[Route, ...]]
    PARAMS: ClassVar[dict[str, tuple[str, ...]]] = {}
    """By endpoint the names of the columns that the values of the path's varying parts end up in."""
    UNPAGED: ClassVar[frozenset[str]] = frozenset()
    """Endpoints that the vendor gives whole."""
    LIMITS: ClassVar[dict[str, int]] = {}
    """Rows a page, where the server holds too few for more than one page of the declared size."""
    KEY = "the-key-of-the-vendor's-tests"

    store: dict[str, dict[tuple[str, ...], Rows]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    limit: Limit | None = None
    faults: dict[str, list[Response]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._upstream: FakeServer | None = None
        self.fill()

    # What a vendor says for itself.

    def fill(self) -> None:
        """Puts the first rows into the store."""
        raise NotImplementedError

    def advance(self) -> None:
        """Changes rows as time does: some are new, some other, some gone."""
        raise NotImplementedError

    def authorised(self, asked: Asked) -> bool:
        """Whether the key is where the vendor wants it."""
        raise NotImplementedError

    def error(self, status: int) -> Response:
        """What the vendor answers where something is wrong; 429 with its headers."""
        raise NotImplementedError

    def answer(self, route: Route, parts: tuple[str, ...], asked: Asked) -> Response:
        """What the vendor answers to a request that is permitted and well formed."""
        raise NotImplementedError

    def sent(self, endpoint: str, row: dict[str, Any]) -> Rows:
        """What the table holds of a row: the row; other fields, or more rows, where the vendor nests."""
        return [row]

    def headers(self) -> dict[str, str]:
        """The headers of each answer."""
        return {}

    # What all have in common.

    @property
    def api(self) -> Api:
        """The API with the profile that is tested."""
        return next(found[self.profile] for found in PROFILES.values() if self.profile in found)

    @property
    def url(self) -> str:
        assert self._upstream
        return self._upstream.url + self.prefix

    @property
    def asked(self) -> list[Asked]:
        assert self._upstream
        return self._upstream.asked

    def __enter__(self) -> Self:
        self._upstream = FakeServer(self.reply)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._upstream
        self._upstream.stop()

    def configure(self, patch: pytest.MonkeyPatch, **settings: str) -> None:
        """Makes this server the upstream of its API; the vendor's rate, which is real time, is not kept."""
        more = {"PROFILE": self.profile, "BASE_URL": self.url, "API_KEY": self.KEY, "REQUESTS_PER_MINUTE": "1000000"}
        more |= {f"{endpoint}__LIMIT": str(limit) for endpoint, limit in self.LIMITS.items()}
        configure_api(patch, self.api.name, **(more | settings))

    def sync(self, *endpoints: str, **options: Any) -> dict[str, EndpointResult]:
        """Syncs the API, or some of its endpoints."""
        from analytics_ingest.extract.sync_options import parse_sync_options

        parsed = parse_sync_options(self.api, **options)
        run = ApiSync(self.api, selected=set(endpoints) or None, options=parsed, log=logging.getLogger("test")).run()
        return {result.endpoint.name: result for result in run}

    def rows(self, endpoint: str, *parent: str) -> Rows:
        """The rows of an endpoint, of one parent; a test may change them."""
        return self.store.setdefault(endpoint, {}).setdefault(parent, [])

    def expected(self, endpoint: str) -> Rows:
        """The rows that the table holds after a sync, by the vendor's names or the columns'."""
        params = self.PARAMS.get(endpoint, ())
        found: Rows = []
        for parent, rows in copy.deepcopy(self.store.get(endpoint, {})).items():
            given = dict(zip(params, parent, strict=False))
            found += [given | each for row in rows for each in self.sent(endpoint, row)]
        return found

    def reply(self, asked: Asked) -> Response:
        """The answer to a request."""
        with self._lock:
            found = self._reply(asked)
        return Response(
            status=found.status,
            body=found.body,
            headers={**self.headers(), **found.headers},
            content_type=found.content_type,
            fault=found.fault,
        )

    def _reply(self, asked: Asked) -> Response:
        path = asked.path.removeprefix(self.prefix)
        for route in self.ROUTES:
            if asked.method == route.method and (match := re.fullmatch(route.pattern, path)):
                break
        else:
            self.complaints.append(f"no such path: {asked.method} {asked.path}")
            return self.error(404)
        self.requests[route.endpoint] += 1
        if not self.authorised(asked):
            return self.error(401)
        if self.limit and not self.limit.take():
            return self.error(429)
        if waiting := self.faults.get(route.endpoint):
            return waiting.pop(0)
        unknown, lacking = asked.query.keys() - route.params - route.required, route.required - asked.query.keys()
        if unknown or lacking or not path.startswith("/") or not asked.path.startswith(self.prefix):
            self.complaints.append(f"{asked.path}: unknown {sorted(unknown)}, lacking {sorted(lacking)}")
            return self.error(400)
        return self.answer(route, tuple(unquote(part) for part in match.groups()), asked)


def cut(rows: Rows, *, start: int, limit: int) -> Rows:
    """One page."""
    return rows[start : start + limit]


def numbered(count: int, row: Callable[[int], dict[str, Any]]) -> Rows:
    """``count`` rows, made from their numbers."""
    return [row(number) for number in range(count)]


def each_parent(rows: Rows, key: str = "id") -> Iterator[str]:
    """The values of a parent's rows that stand in its children's paths."""
    for row in rows:
        yield str(row[key])
