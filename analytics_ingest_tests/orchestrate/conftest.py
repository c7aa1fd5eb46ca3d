"""Dagster instances, with their real parts running where a test needs them, and a chat's webhook."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance

from analytics_ingest_tests.orchestrate.chat_webhook import ChatWebhook
from analytics_ingest_tests.orchestrate.instance import RunningDagster


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an instance that has its tables and no run yet: making them costs more than most tests."""
    home = tmp_path_factory.mktemp("instance")
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        with DagsterInstance.get() as made:
            assert made.get_runs() == []
    return home


@pytest.fixture
def instance(storage: Path, tmp_path: Path) -> Iterator[DagsterInstance]:
    """The test's Dagster instance, in this process."""
    with instance_in(tmp_path / "dagster_home", storage) as found:
        yield found


@contextmanager
def instance_in(home: Path, storage: Path) -> Iterator[DagsterInstance]:
    """An instance in a folder, for a fixture that several tests share; ``storage`` is the fixture."""
    shutil.copytree(storage, home, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        with DagsterInstance.get() as found:
            yield found


@pytest.fixture
def start_dagster(tmp_path: Path) -> Iterator[Callable[..., RunningDagster]]:
    """Starts webservers, with a daemon if wanted, on the test's instance; the settings are those of that moment."""
    running: list[RunningDagster] = []

    def start(**options: Any) -> RunningDagster:
        running.append(RunningDagster(tmp_path / "dagster_home", **options))
        return running[-1]

    yield start
    for each in running:
        each.stop()


@pytest.fixture
def webhook() -> Iterator[ChatWebhook]:
    hook = ChatWebhook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()
