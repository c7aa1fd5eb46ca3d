"""An API whose rows a test says: a parent, its children, a snapshot, and an endpoint that is always the same."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

import pytest

from analytics_ingest.apis.model import Api, Endpoint, RetryPolicy
from analytics_ingest.apis.paginators import cursor
from analytics_ingest.apis.parents import FromTable
from analytics_ingest.extract.sync_options import SyncOptions
from analytics_ingest.json_text import json_text
from analytics_ingest.sync.api_sync import ApiSync
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.fake_server import Asked, FakeServer, Response

NAME = "trials"
KEY = "k3y-0f-the-tr1als-with-40-characters-1234"
LOG = logging.getLogger("test")
PAGES = cursor(cursor_param="page", cursor_path="next")
OTHERS = [{"id": number, "name": f"other {number}", "updated_at": "2026-01-01T00:00:00Z"} for number in range(3)]
"""The rows of the endpoint that is always the same."""
API = Api(
    name=NAME,
    title="Trials",
    auth={"type": "bearer"},
    retry=RetryPolicy(max_retries=0),
    cron="0 * * * *",
    full_refresh_cron="0 3 * * 0",
    endpoints=(
        Endpoint(
            "things",
            "/things",
            "data",
            PAGES,
            description="Things.",
            timestamps=("updated_at", "seen_at"),
            timestamps_as_sent=("due_on", "ends_at", "starts_at"),
        ),
        Endpoint("states", "/states", "data", PAGES, description="A snapshot.", primary_key=(), timestamps=()),
        Endpoint(
            "others",
            "/others",
            "data",
            PAGES,
            description="Always the same.",
            common_columns=("name", "updated_at"),
        ),
        Endpoint(
            "parts",
            "/things/{thing_id}/parts",
            "data",
            PAGES,
            description="Parts of things.",
            primary_key=("thing_id", "id"),
            parents=FromTable("things", thing_id="id"),
            timestamps=(),
        ),
    ),
)


@dataclass
class Rows:
    """What the API sends: by endpoint a list of pages, each a list of rows.

    Attributes:
        things: The parents.
        states: The snapshot.
        parts: By the parent's key, as text, its children.
        wrap: What makes a body of a page's rows and the place of the next page.
        headers: Headers of every answer.
    """

    things: Sequence[Sequence[Any]] = field(default_factory=list)
    states: Sequence[Sequence[Any]] = field(default_factory=list)
    parts: Mapping[str, Sequence[Sequence[Any]]] = field(default_factory=dict)
    wrap: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self, asked: Asked) -> Response:
        segments = [unquote(segment) for segment in asked.path.strip("/").split("/")]
        if segments[-1] == "parts":
            pages = self.parts.get(segments[1], [])
        else:
            pages = {"things": self.things, "states": self.states, "others": [OTHERS]}[segments[-1]]
        number = int(asked.query.get("page", 0))
        rows = pages[number] if number < len(pages) else []
        following = str(number + 1) if number + 1 < len(pages) else None
        body = {"data": rows, "next": following}
        if self.wrap and segments[-1] != "others":
            body = {**body, **self.wrap}
        # a lone surrogate is sent as its escape, as servers do
        return Response(body=dumped(body), headers=dict(self.headers))


@dataclass
class NumberedRows(Rows):
    """What an API of numbered endpoints sends: by number the pages of its things, and the children of these."""

    lists: Sequence[Sequence[Sequence[Any]]] = field(default_factory=list)
    children: Sequence[Mapping[str, Sequence[Sequence[Any]]]] = field(default_factory=list)

    def answer(self, asked: Asked) -> Response:
        path, _, number = asked.path.rpartition("/")
        of = int(number)
        rows = Rows(parts=self.children[of]) if path.endswith("/parts") else Rows(things=self.lists[of])
        return rows.answer(replace(asked, path=path))


def numbered(name: str, number: int) -> Endpoint:
    """An endpoint of the API with a path and a table of its own; a child's parents have the same number."""
    plain = API.by_name[name]
    parents = FromTable(f"things_{number}", thing_id="id") if plain.parents else None
    return replace(plain, name=f"{name}_{number}", path=f"{plain.path}/{number}", parents=parents)


def run(api: Api) -> dict[str, EndpointResult]:
    """Syncs an API; the results by endpoint."""
    return {result.endpoint.name: result for result in ApiSync(api, log=LOG).run()}


def dumped(value: Any) -> bytes:
    """JSON as a server sends it, also what the standard library does not nest or write."""
    try:
        return json.dumps(value).encode()
    except RecursionError:
        return json_text(value).encode()


class Trial:
    """The API's server, with the rows that it sends now."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.server = FakeServer(self._answer)

    def _answer(self, asked: Asked) -> Response:
        return self.rows.answer(asked)

    def sync(self, *endpoints: str, full_refresh: bool = False, log: logging.Logger = LOG) -> dict[str, EndpointResult]:
        """Syncs the API, or some of its endpoints; the results by endpoint."""
        run = ApiSync(
            API, selected=set(endpoints) or None, options=SyncOptions(full_refresh=full_refresh), log=log
        ).run()
        return {result.endpoint.name: result for result in run}


@contextmanager
def trial(patch: pytest.MonkeyPatch, **settings: str) -> Iterator[Trial]:
    """A server, configured as the upstream of the API."""
    found = Trial()
    configure_api(patch, NAME, **{"BASE_URL": found.server.url, "API_KEY": KEY, **settings})
    try:
        yield found
    finally:
        found.server.stop()
