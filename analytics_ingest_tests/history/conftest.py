"""An upstream of configuration with rows in each endpoint."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from analytics_ingest_tests.history.configuration import Configuration, fill, serving


@pytest.fixture
def configuration(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configuration]:
    with serving(monkeypatch) as found:
        fill(found)
        yield found
