"""A client of the sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from analytics_ingest_tests.sandbox.reader import Reader

if TYPE_CHECKING:
    from analytics_ingest.sandbox.server import SandboxServer


@pytest.fixture
def reader(shared_sandbox: SandboxServer) -> Reader:
    """Reads whole endpoints of ``shared_sandbox``."""
    return Reader(shared_sandbox)
