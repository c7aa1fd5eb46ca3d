from dataclasses import fields

import pytest

from analytics_ingest.sandbox.options import Options
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sandbox.world import World
from analytics_ingest_tests.sandbox.reader import Reader

SMALL = 0.05


@pytest.fixture(scope="session")
def running():
    with SandboxServer(World(scale=SMALL)) as server:
        yield server


@pytest.fixture
def server(running):
    """The shared server, whose rows no test changes, with healthy options and no requests so far."""
    running.requests.reset()
    yield running
    healthy = Options()
    for each in fields(Options):
        setattr(running.options, each.name, getattr(healthy, each.name))


@pytest.fixture
def own_server():
    """A server of one's own, whose rows may be changed."""
    with SandboxServer(World(scale=SMALL)) as server:
        yield server


@pytest.fixture
def reader(server):
    return Reader(server)
