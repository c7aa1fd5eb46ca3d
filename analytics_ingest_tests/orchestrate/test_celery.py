"""Runs whose steps two Celery workers execute, with PostgreSQL as the warehouse and as Dagster's storage."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance

from analytics_ingest.apis.registry import APIS
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import ROOT, expected_keys
from analytics_ingest_tests.environment import set_environment
from analytics_ingest_tests.orchestrate.rabbitmq import ADDRESS, virtual_host
from analytics_ingest_tests.stores import Store, postgres_database, postgres_store
from analytics_ingest_tests.waiting import eventually

pytestmark = pytest.mark.extended


@pytest.fixture
def broker() -> Iterator[str]:
    """The URL of a virtual host of the test's own on RabbitMQ."""
    with virtual_host() as name:
        yield f"amqp://guest:guest@{ADDRESS}/{name}"


@pytest.fixture
def deployment(broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The settings of a deployment, as every part of it has them; its warehouse."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(ROOT / "dagster.production.yaml", home / "dagster.yaml")
    with postgres_store(tmp_path) as store, postgres_database() as (storage, _):
        variables = {
            **store.settings,
            "DAGSTER_HOME": str(home),
            "DAGSTER_POSTGRES_URL": storage.replace("postgresql:", "postgresql+psycopg2:"),
            "DAGSTER_COMPUTE_LOGS": str(home / "logs"),
            "ANALYTICS_INGEST_EXECUTOR": "celery",
            "ANALYTICS_INGEST_CELERY_BROKER": broker,
        }
        set_environment(monkeypatch, variables)
        yield store


@contextmanager
def worker(folder: Path, name: str) -> Iterator[subprocess.Popen[Any]]:
    """A worker as if on a machine of its own: with a working folder that no other has."""
    command = [sys.executable, "-m", "celery", "--app", "analytics_ingest.celery_app", "worker", "--concurrency", "1"]
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--hostname", f"{name}@%h"],
            env={**os.environ, "DLT_DATA_DIR": str(folder / name)},
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            kill(process)


def kill(process: subprocess.Popen[Any]) -> None:
    """Ends a worker and what it has started, without a word."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def all_sync(folder: Path) -> subprocess.Popen[Any]:
    return subprocess.Popen(
        [sys.executable, "-m", "dagster", "job", "execute", "-m", "analytics_ingest.definitions", "-j", "all_sync"],
        cwd=ROOT,
        stdout=(folder / "run.log").open("w"),
        stderr=subprocess.STDOUT,
    )


def assert_exact(store: Store, sandbox: SandboxServer) -> None:
    for api in APIS.values():
        for endpoint in api.endpoints:
            columns, rows = store.table(api.name, endpoint.name)
            key = [columns.index(name) for name in endpoint.primary_key]
            found = sorted(tuple(row[place] for place in key) for row in rows)
            assert found == expected_keys(sandbox.world, api.name, endpoint.name), f"{api.name}/{endpoint.name}"


def said(folder: Path) -> str:
    return "".join((folder / f"{name}.log").read_text()[-3000:] for name in ("run", "one", "two"))


def test_five_apis_by_two_workers_of_which_one_is_killed_half_way(
    deployment: Store, start_sandbox: Callable[..., SandboxServer], tmp_path: Path
) -> None:
    # slow enough that the worker dies in the middle of its steps
    sandbox = start_sandbox(latency=0.02)
    with worker(tmp_path, "one") as one, worker(tmp_path, "two"):
        run = all_sync(tmp_path)
        eventually(lambda: sandbox.requests.count() >= 150 or run.poll() is not None, 120, state=lambda: said(tmp_path))
        assert run.poll() is None, said(tmp_path)
        kill(one)
        before = sandbox.requests.count()
        assert run.wait(300) == 0, said(tmp_path)
    with DagsterInstance.get() as instance:
        [record] = instance.get_run_records()
        steps = [
            (entry.dagster_event.step_key, entry.dagster_event.event_type_value)
            for entry in instance.all_logs(record.dagster_run.run_id)
            if entry.dagster_event and entry.dagster_event.event_type_value in ("STEP_START", "STEP_SUCCESS")
        ]

    assert record.dagster_run.is_success
    assert {key for key, _ in steps} == set(APIS)
    # the step of the worker that died was begun once more by the other one
    assert len([each for each in steps if each[1] == "STEP_START"]) == len(APIS) + 1
    assert len([each for each in steps if each[1] == "STEP_SUCCESS"]) == len(APIS)
    assert sandbox.requests.count() > before
    assert_exact(deployment, sandbox)
