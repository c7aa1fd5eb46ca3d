"""A vendor's server as the configured upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from analytics_ingest_tests.conftest import FakeClock
    from analytics_ingest_tests.vendors.server import Vendor


@pytest.fixture
def connect(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Vendor]]:
    """Starts vendors' servers and configures them: ``connect(Split(), SETTING="value")``. Complaints fail the test."""
    started: list[Vendor] = []

    def start(vendor: Vendor, **settings: str) -> Vendor:
        started.append(vendor.__enter__())
        vendor.configure(monkeypatch, **settings)
        return vendor

    yield start
    for vendor in started:
        vendor.__exit__()
    assert [complaint for vendor in started for complaint in vendor.complaints] == []
