"""The stored cursor is the warehouse's: nothing that happens to a machine's folders or processes moves or loses it."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from analytics_ingest.extract.sync_options import SyncOptions
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sync.api_sync import ApiSync
from analytics_ingest_tests.conftest import expected_keys, live_keys, stored_cursor, sync
from analytics_ingest_tests.sync.test_sync_options import filtering
from analytics_ingest_tests.waiting import eventually

API = "experimentation"
NEWER = datetime(2026, 3, 1, tzinfo=UTC)
SYNC = (
    "import logging; from analytics_ingest.sync.api_sync import ApiSync; "
    "from analytics_ingest_tests.sync.test_sync_options import filtering; "
    "list(ApiSync(filtering(), log=logging.getLogger()).run())"
)


def run() -> datetime | None:
    """A sync of an API that is asked for what was updated since the cursor; the cursor after it."""
    results = list(ApiSync(filtering(), options=SyncOptions(), log=logging.getLogger("test")).run())
    return next(result.cursor for result in results if result.endpoint.name == "gates")


def empty_working_folder(tmp_path: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(tmp_path / "dlt")


def other_working_folder(tmp_path: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "elsewhere"))


def renamed_dagster_home(tmp_path: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster_home").rename(tmp_path / "renamed")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "renamed"))


def killed_process(tmp_path: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.options.faults = [Fault(api=API, path="^/v1/tags$", kind="delay", seconds=60)]
    before = server.requests.count(API, "tags")
    process = subprocess.Popen([sys.executable, "-c", SYNC], env=dict(os.environ))
    try:
        eventually(lambda: server.requests.count(API, "tags") > before, 60)
    finally:
        process.kill()
        process.wait()
    server.options.faults.clear()


def failed_load(tmp_path: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import duckdb

    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute(f"ALTER TABLE {API}.gates ALTER name SET NOT NULL")
    gates = server.world.collection(API, "gates")
    names = [gate["name"] for gate in gates]
    for gate in gates:
        gate["name"] = None
    assert "NOT NULL constraint failed" in sync(API, "gates")["gates"].reason
    for gate, name in zip(gates, names, strict=True):
        gate["name"] = name


def failed_read(tmp_path: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.options.faults = [Fault(api=API, path="^/v1/gates$", status=403, skip=1)]
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__GATES__LIMIT", "2")
    run()
    monkeypatch.delenv("SOURCES__EXPERIMENTATION__GATES__LIMIT")
    server.options.faults.clear()


def still_there(tmp_path: Path, server: SandboxServer, event: Callable[[], None], cursor: str, at: datetime) -> str:
    """After an event the cursor is as before, and the next sync asks from there and moves it to ``at``."""
    server.world.collection(API, "gates")[0]["updated_at"] = at.isoformat()
    event()
    assert stored_cursor(API, "gates") == cursor
    server.requests.reset()
    moved = run()

    asked = parse_qs(next(record.query for record in server.requests if record.endpoint == "gates"))
    since = datetime.fromisoformat(asked["updated_since"][0])
    assert since == datetime.fromisoformat(cursor) - timedelta(hours=1)
    assert moved == at
    assert live_keys(tmp_path, API, "gates") == expected_keys(server.world, API, "gates")
    return at.isoformat()


def test_cursor_is_still_there_and_has_not_moved_whatever_happens_to_folders(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    cursor = stored_cursor(API, "gates")
    assert cursor is not None
    cursor = still_there(tmp_path, shared_sandbox, lambda: None, cursor, NEWER)
    events = (empty_working_folder, other_working_folder, renamed_dagster_home, failed_read)
    for days, event in enumerate(events, start=1):
        happen = partial(event, tmp_path, shared_sandbox, monkeypatch)
        cursor = still_there(tmp_path, shared_sandbox, happen, cursor, NEWER + timedelta(days=days))
    assert stored_cursor(API, "gates") == cursor


@pytest.mark.extended
@pytest.mark.parametrize("event", [failed_load, killed_process])
def test_cursor_is_still_there_and_has_not_moved_after_a_sync_that_did_not_end(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, event: Callable[..., None]
) -> None:
    # of more rows that cannot be loaded more parts are tried
    del shared_sandbox.world.collection(API, "gates")[2:]
    run()
    cursor = stored_cursor(API, "gates")
    assert cursor is not None
    moved = still_there(tmp_path, shared_sandbox, partial(event, tmp_path, shared_sandbox, monkeypatch), cursor, NEWER)
    assert stored_cursor(API, "gates") == moved
