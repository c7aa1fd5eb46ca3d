"""A client of the sandbox."""

from __future__ import annotations

import pytest

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.sandbox.reader import Reader


@pytest.fixture
def reader(shared_sandbox: SandboxServer) -> Reader:
    """Reads whole endpoints of ``shared_sandbox``."""
    return Reader(shared_sandbox)
