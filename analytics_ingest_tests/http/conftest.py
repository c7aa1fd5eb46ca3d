"""Servers that answer as a test says, and sessions that ask them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from analytics_ingest.sandbox.options import Options
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sandbox.world import World
from analytics_ingest_tests.conftest import SCALE
from analytics_ingest_tests.fake_server import Asked, Client, Response, Upstream, script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from analytics_ingest_tests.conftest import FakeClock


@pytest.fixture
def upstream() -> Iterator[Callable[..., Upstream]]:
    """Starts servers: ``upstream(answer, ...)`` answers these in turn, ``upstream(function)`` as it says."""
    started: list[Upstream] = []

    def start(*answers: Response | Callable[[Asked], Response]) -> Upstream:
        scripted = all(isinstance(each, Response) for each in answers)
        server = Upstream(script(*answers) if scripted else answers[0])
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def client(clock: FakeClock) -> Iterator[Callable[..., Client]]:
    """Makes sessions: ``client(api, url, **settings)``; their clock never waits unless another is given."""
    made: list[Client] = []

    def make(api: str, url: str, **settings: Any) -> Client:
        made.append(Client(api, url, **{"clock": clock, **settings}))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="session")
def running() -> Iterator[SandboxServer]:
    """The server behind ``shared``."""
    with SandboxServer(World(scale=SCALE)) as server:
        yield server


@pytest.fixture
def shared(running: SandboxServer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> SandboxServer:
    """A sandbox as it comes, as ``sandbox`` is, for tests that leave its rows alone: it is started once."""
    running.requests.reset()
    running.options.update(Options().simple())
    running.options.faults = []
    for name, value in running.environment().items():
        monkeypatch.setenv(name, value)
    return running
