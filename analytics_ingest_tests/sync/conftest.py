"""A list that a test can change while it is read, and warehouses that are filled already."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from analytics_ingest_tests.conftest import sync
from analytics_ingest_tests.fake_server import KEY, Asked, Response, Upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from analytics_ingest.sandbox.server import SandboxServer
    from analytics_ingest_tests.conftest import FakeClock

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
        self.refused: set[int] = set()

    def __call__(self, asked: Asked) -> Response:
        number = int(asked.query["page"])
        if number in self.refused:
            return Response(status=400, body={"error": "refused"})
        page = self.rows[10 * (number - 1) : 10 * number]
        body: dict[str, Any] = {"data": page}
        if self.totals:
            body["pagination"] = {"totalItems": len(self.rows)}
        answer = Response(body=body)
        assert answer.content
        if self.then:
            change, self.then = self.then, None
            change()
        return answer


@pytest.fixture
def tags() -> Tags:
    return Tags()


@pytest.fixture
def upstream(tags: Tags, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    server = Upstream(tags)
    monkeypatch.setenv(f"{PREFIX}__BASE_URL", server.url)
    monkeypatch.setenv(f"{PREFIX}__API_KEY", KEY)
    monkeypatch.setenv(f"{PREFIX}__TAGS__LIMIT", "10")
    yield server
    server.stop()


@pytest.fixture
def filled(
    tmp_path: Path, restored: SandboxServer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., SandboxServer]:
    """``filled(api, *endpoints)``: the warehouse is as after a first sync of them, which is made once and kept."""

    def fill(api: str, *endpoints: str) -> SandboxServer:
        kept = tmp_path_factory.getbasetemp() / ".".join(("filled", api, *endpoints))
        if not kept.exists():
            sync(api, *endpoints)
            shutil.copy(tmp_path / "warehouse.duckdb", kept)
            shutil.rmtree(tmp_path / "dlt")
            restored.requests.reset()
        shutil.copy(kept, tmp_path / "warehouse.duckdb")
        return restored

    return fill
