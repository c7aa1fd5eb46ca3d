"""Servers that answer as a test says, and sessions that ask them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from analytics_ingest_tests.extract.upstream import Answer, Asked, Client, Upstream, script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from analytics_ingest_tests.conftest import FakeClock


@pytest.fixture
def upstream() -> Iterator[Callable[..., Upstream]]:
    """Starts servers: ``upstream(answer, ...)`` answers these in turn, ``upstream(function)`` what it says."""
    started: list[Upstream] = []

    def start(*answers: Answer | Callable[[Asked], Answer]) -> Upstream:
        scripted = all(isinstance(each, Answer) for each in answers)
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
