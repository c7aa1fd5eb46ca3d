"""A Dagster instance with its real parts running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from dagster import DagsterInstance

from analytics_ingest_tests.orchestrate.instance import RunningDagster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    """The test's Dagster instance, in this process."""
    with DagsterInstance.get() as found:
        yield found


@pytest.fixture
def start_dagster(tmp_path: Path) -> Iterator[Callable[..., RunningDagster]]:
    """Starts webservers, with a daemon if asked for, on the test's instance; the settings are those of that moment."""
    running: list[RunningDagster] = []

    def start(**options: Any) -> RunningDagster:
        running.append(RunningDagster(tmp_path / "dagster_home", **options))
        return running[-1]

    yield start
    for each in running:
        each.stop()
