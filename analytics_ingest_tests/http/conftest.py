"""Servers that send bytes as a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from analytics_ingest_tests.raw_server import RawServer, Serve


@pytest.fixture
def raw_server() -> Iterator[Callable[..., RawServer]]:
    """Starts servers of bytes: ``raw_server(serve, **options)``."""
    started: list[RawServer] = []

    def start(serve: Serve, **options: Any) -> RawServer:
        started.append(RawServer(serve, **options))
        return started[-1]

    yield start
    for server in started:
        server.stop()
