"""Syncs against a server that limits its rate, in real time: no endpoint fails, the rows are exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import expected_keys, live_keys, sync

API = "experimentation"
NAMES = (
    *("segments", "segments_ids", "gates", "gates_rules", "events", "events_metrics"),
    *("dynamic_configs", "dynamic_configs_versions", "dynamic_configs_rules", "tags", "audit_logs"),
)
"""Lists that need more requests than the limit allows at once."""


def assert_exact(tmp_path: Path, server: SandboxServer) -> int:
    """Syncs, and gives the number of requests."""
    results = sync(API, *NAMES)
    assert {result.status for result in results.values()} == {"complete"}
    for name in NAMES:
        assert live_keys(tmp_path, API, name) == expected_keys(server.world, API, name)
    return sum(result.stats.meter.requests for result in results.values() if result.stats)


@pytest.mark.extended
def test_limit_that_the_server_does_not_state_is_kept_by_a_setting(
    tmp_path: Path, start_sandbox: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_sandbox(rate_limit=30, rate_window=2.0, rate_headers="none")
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__MAX_IN_FLIGHT", "32")
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__REQUESTS_PER_MINUTE", "900")

    assert assert_exact(tmp_path, server) == server.requests.count(API) > 30


def test_limit_that_the_server_states_is_waited_out(
    tmp_path: Path, start_sandbox: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_sandbox(rate_limit=30, rate_window=2.0, rate_headers="retry-after")
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__MAX_IN_FLIGHT", "32")

    refused = assert_exact(tmp_path, server) - server.requests.count(API, status=200)
    # a window that is over is found out by those on their way, then by one probe at a time
    assert refused == server.requests.count(API, status=429) > 0
