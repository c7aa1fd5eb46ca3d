"""A destination that fails half-way: nothing is lost, no cursor moves, and the next sync is exact."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dlt
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.warehouse.destination import pipelines_folder
from analytics_ingest.warehouse.exceptions import WarehouseError
from analytics_ingest_tests.conftest import expected_keys, live_keys, query, stored_cursor, sync
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.fake_server import FakeServer
from analytics_ingest_tests.sync.conftest import Tags
from analytics_ingest_tests.waiting import meanwhile

API = "experimentation"
MODULE = ["-m", "analytics_ingest.definitions"]
LOGS = f"SELECT id, left(action, 4) FROM {API}.audit_logs ORDER BY id"


@dataclass
class Full:
    """A warehouse, rows that are to replace those in it, and the size that its file cannot grow beyond."""

    before: list[Any]
    cursor: str | None
    rows: int
    room: int


@pytest.fixture
def full(tmp_path: Path, shared_sandbox: SandboxServer) -> Full:
    logs = shared_sandbox.world.collection(API, "audit_logs")
    for row in logs:
        row["action"] = "old"
    sync(API, "audit_logs", "gates")
    before = query(tmp_path, LOGS)
    assert len(before) == len(logs)
    for number, row in enumerate(logs):
        row["action"] = f"new {number}" * 5_000
        row["updated_at"] = "2026-01-20T00:00:00Z"
    room = (tmp_path / "warehouse.duckdb").stat().st_size + 100_000
    return Full(before, stored_cursor(API, "audit_logs"), len(logs), room)


def test_disk_is_full(tmp_path: Path, shared_sandbox: SandboxServer, full: Full) -> None:
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    # no file can grow beyond this, as on a disk without space
    resource.setrlimit(resource.RLIMIT_FSIZE, (full.room, most[1]))
    try:
        with pytest.raises(WarehouseError) as error:
            sync(API, "audit_logs", "gates")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)

    assert_nothing_is_lost(tmp_path, shared_sandbox, full, str(error.value))


@pytest.mark.extended
def test_disk_is_full_in_a_run(tmp_path: Path, shared_sandbox: SandboxServer, full: Full) -> None:
    selection = f'key:"{API}/audit_logs" or key:"{API}/gates"'
    run = subprocess.run(
        [sys.executable, "-m", "dagster", "asset", "materialize", "--select", selection, *MODULE],
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (full.room, full.room)),
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert run.returncode == 1
    assert_nothing_is_lost(tmp_path, shared_sandbox, full, run.stderr)


def assert_nothing_is_lost(tmp_path: Path, server: SandboxServer, full: Full, said: str) -> None:
    """The error names the disk, the warehouse is as before, and the next sync is exact."""
    file = tmp_path / "warehouse.duckdb"
    assert f"{API}/audit_logs: loading into the DuckDB file {file} failed: " in said, said[-5000:]
    assert f"See that there is room on the disk of the DuckDB file {file}" in said
    assert query(tmp_path, LOGS) == full.before
    assert stored_cursor(API, "audit_logs") == full.cursor
    result = sync(API, "audit_logs", "gates")["audit_logs"]
    assert result.stats.rows_loaded == full.rows
    logs = server.world.collection(API, "audit_logs")
    assert query(tmp_path, LOGS) == sorted((row["id"], "new ") for row in logs)
    assert stored_cursor(API, "audit_logs") == "2026-01-20T00:00:00+00:00"
    assert live_keys(tmp_path, API, "gates") == expected_keys(server.world, API, "gates")


def rename(tags: Tags) -> None:
    for row in tags.rows:
        row["name"], row["updated_at"] = "second", "2026-02-01T00:00:00Z"


@pytest.mark.extended
def test_foreign_process_takes_the_file_while_the_api_is_read(
    tmp_path: Path,
    tags_server: FakeServer,
    tags: Tags,
    holder: Callable[[str, Path], subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure_api(monkeypatch, API, lock_timeout=1)
    sync(API, "tags")
    cursor = stored_cursor(API, "tags")
    rename(tags)
    processes: list[subprocess.Popen[str]] = []
    tags.then = lambda: processes.append(holder("duckdb", tmp_path / "warehouse.duckdb"))
    with pytest.raises(WarehouseError, match=r"warehouse.duckdb has been held by process \d+ \(.+\) for 1 s"):
        sync(API, "tags")
    processes[0].kill()
    processes[0].wait()

    names = f"SELECT DISTINCT name FROM {API}.tags"
    assert query(tmp_path, names) == [("first",)]
    assert stored_cursor(API, "tags") == cursor
    assert sync(API, "tags")["tags"].table_rows == 40
    assert query(tmp_path, names) == [("second",)]
    assert stored_cursor(API, "tags") == "2026-02-01T00:00:00+00:00"


def test_connection_to_the_database_is_lost_while_it_loads(
    tags_server: FakeServer, tags: Tags, postgres: Callable[[], Any]
) -> None:
    sync(API, "tags")
    cursor = stored_cursor(API, "tags")
    rename(tags)
    blocking, ending = postgres(), postgres()
    blocking.autocommit = False
    end_whoever_waits = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    tags.then = lambda: blocking.cursor().execute(f"LOCK TABLE {API}.tags IN SHARE MODE")
    with (
        meanwhile(lambda: ending.cursor().execute(end_whoever_waits), every=0.05),
        pytest.raises(WarehouseError) as error,
    ):
        sync(API, "tags")
    blocking.rollback()

    assert str(error.value).startswith(f"{API}/tags: loading into the destination postgres failed: ")
    lost = ("terminating connection due to administrator command", "server closed the connection unexpectedly")
    assert any(each in str(error.value) for each in lost)
    found = postgres().cursor()
    names = f"SELECT name, count(*) FROM {API}.tags GROUP BY name"
    found.execute(names)
    assert found.fetchall() == [("first", 40)]
    assert stored_cursor(API, "tags") == cursor
    assert sync(API, "tags")["tags"].table_rows == 40
    found.execute(names)
    assert found.fetchall() == [("second", 40)]
    assert stored_cursor(API, "tags") == "2026-02-01T00:00:00+00:00"


@pytest.mark.parametrize("step", ["extract", "normalize"])
def test_disk_of_the_working_folder_is_full(
    tags_server: FakeServer, tags: Tags, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(pipeline: Any, *_: object, **__: object) -> None:
        raise PipelineStepFailed(pipeline, "extract", "1", OSError(28, "No space left on device", "/x/1.parquet"))

    sync(API, "tags")
    rename(tags)
    monkeypatch.setattr(dlt.Pipeline, step, fail)
    with pytest.raises(WarehouseError) as error:
        sync(API, "tags")

    text = str(error.value)
    assert text.startswith(f"the working folder {pipelines_folder()} failed: [Errno 28] No space left on device: ")
    assert "set DLT_DATA_DIR to another folder" in text
    assert "\n" not in text


def test_working_folder_is_taken_away(tags_server: FakeServer, tags: Tags) -> None:
    def replace() -> None:
        shutil.rmtree(pipelines_folder() / API)
        (pipelines_folder() / API).write_text("a file")

    tags.then = replace
    with pytest.raises(WarehouseError, match=r"^the working folder .+ failed: .+ set DLT_DATA_DIR to another folder$"):
        sync(API, "tags")
