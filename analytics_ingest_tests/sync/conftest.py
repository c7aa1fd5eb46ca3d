"""A list that a test can change while it is read, and warehouses that are filled already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from analytics_ingest_tests.conftest import FakeClock
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.fake_server import KEY, Asked, FakeServer, Response

PREFIX = "SOURCES__EXPERIMENTATION"


class Tags:
    """Forty tags, newest first, in pages of ten, of which those in ``refused`` are answered by 400.

    ``then`` changes the tags once the first page has been sent.
    """

    def __init__(self) -> None:
        self.rows = [
            {"id": f"tag-{number:02}", "updated_at": f"2026-01-{28 - number // 2:02}T00:00:00Z", "name": "first"}
            for number in range(40)
        ]
        self.then: Callable[[], None] | None = None
        self.totals = True
        self.headers: dict[str, str] = {}
        self.envelope: dict[str, Any] = {}
        self.refused: set[int] = set()

    def __call__(self, asked: Asked) -> Response:
        number = int(asked.query["page"])
        if number in self.refused:
            return Response(status=400, body={"error": "refused"})
        page = self.rows[10 * (number - 1) : 10 * number]
        body: dict[str, Any] = {"data": page}
        if self.totals:
            body["pagination"] = {"totalItems": len(self.rows)}
        answer = Response(body=body | self.envelope, headers=self.headers)
        assert answer.content
        if self.then:
            change, self.then = self.then, None
            change()
        return answer


@pytest.fixture
def tags() -> Tags:
    return Tags()


@pytest.fixture
def tags_server(tags: Tags, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    server = FakeServer(tags)
    configure_api(monkeypatch, "experimentation", base_url=server.url, api_key=KEY, tags__limit=10)
    yield server
    server.stop()
