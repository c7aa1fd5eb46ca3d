"""The published copy: whole at any moment, replaced after each sync, and no obstacle to one."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pytest

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.warehouse.exceptions import WarehouseError
from analytics_ingest.warehouse.warehouse import Warehouse
from analytics_ingest_tests.conftest import ROOT, sync
from analytics_ingest_tests.environment import WAREHOUSE
from analytics_ingest_tests.stores import Store
from analytics_ingest_tests.trials import Rows, Trial
from analytics_ingest_tests.waiting import eventually

API = "experimentation"
PUBLISH = "ANALYTICS_INGEST_PUBLISH"
THINGS = 12
PARTS = 3


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the copy, which is set."""
    path = tmp_path / "readers" / "copy.duckdb"
    monkeypatch.setenv(PUBLISH, str(path))
    return path


@pytest.fixture
def published_reader(tmp_path: Path, published: Path) -> Iterator[Callable[[], Callable[[], list[Any]]]]:
    """Starts a process that reads the copy over and over; what that gives are the lines it has written."""
    output = tmp_path / "read.jsonl"
    started: list[subprocess.Popen[str]] = []

    def lines() -> list[Any]:
        text = output.read_text() if output.exists() else ""
        # the last one may not be complete
        return [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]

    def start() -> Callable[[], list[Any]]:
        module = "analytics_ingest_tests.warehouse.published_reader"
        command = [sys.executable, "-m", module, str(published), str(output)]
        started.append(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, text=True))
        eventually(lines, 30)
        return lines

    yield start
    for process in started:
        process.communicate(timeout=30)
        assert process.returncode == 0


def rows(version: int) -> Rows:
    """Things and their parts, all of a version."""
    things = [{"id": f"{number:03}", "version": version} for number in range(THINGS)]
    parts = [{"id": f"{number}", "version": version} for number in range(PARTS)]
    return Rows(things=[things], parts={str(thing["id"]): [parts] for thing in things})


def count(path: Path, table: str) -> int:
    with duckdb.connect(str(path), read_only=True) as connection:
        found: int = connection.sql(f"SELECT count(*) FROM {table}").fetchall()[0][0]
    return found


def execute(path: Path, sql: str) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute(sql)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.extended
def test_reader_is_never_refused_and_sees_whole_syncs_only(
    trial_api: Trial,
    published: Path,
    published_reader: Callable[[], Callable[[], list[Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # several packages in a sync
    monkeypatch.setenv("SOURCES__TRIALS__FAN_OUT_CHUNK", "6")
    trial_api.rows = rows(0)
    trial_api.sync()
    read = published_reader()
    loaded, copies = [], [published.stat().st_ino]
    for version in (1, 1, 2, 3, 3, 3, 4, 5, 5, 6):
        trial_api.rows = rows(version)
        stats = trial_api.sync()["parts"].stats
        assert stats
        loaded.append(stats.rows_loaded)
        copies.append(published.stat().st_ino)
        # the first of them may have begun before
        before = len(read())
        eventually(lambda before=before: len(read()) > before + 1, 30)  # type: ignore[misc]

    everything = THINGS * PARTS
    assert loaded == [everything, 0, everything, everything, 0, 0, everything, everything, 0, everything]
    # also after a sync without changes, which is in the ledger
    assert all(before != now for before, now in pairwise(copies))
    assert [line for line in read() if line[:2] != [THINGS, everything] or len(line[2]) != 1] == []
    assert list(dict.fromkeys(version for _, _, [version] in read())) == list(range(7))


def test_copy_is_replaced_if_the_warehouse_has_changed(
    tmp_path: Path, shared_sandbox: SandboxServer, published: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="test")
    sync(API, "gates")
    assert count(published, f"{API}.gates") == 6
    [line] = [line for line in caplog.messages if "published" in line]
    assert re.fullmatch(rf"{API}: published {published}: \d+\.\d MB in \d+\.\d s", line)
    first = published.stat()
    sync(API, "gates")
    # the ledger has changed
    assert published.stat() != first
    assert count(published, f"{API}._syncs") == count(tmp_path / WAREHOUSE, f"{API}._syncs") == 2
    assert len([line for line in caplog.messages if "published" in line]) == 2

    execute(tmp_path / WAREHOUSE, "CREATE TABLE mine AS SELECT 1 AS a")
    sync(API, "gates")
    assert count(published, "mine") == 1
    published.unlink()
    sync(API, "gates")
    assert count(published, "mine") == 1
    assert warnings(caplog) == []


def test_first_copy_comes_with_the_first_sync_after_it_is_set(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(API, "gates")
    assert not list(tmp_path.glob("**/copy*"))
    # below the project, whatever the working directory is
    monkeypatch.setenv(PUBLISH, "copy.duckdb")
    result = sync(API, "gates")["gates"]

    assert result.stats
    assert result.stats.rows_loaded == 0
    assert count(tmp_path / "dagster_home" / "copy.duckdb", f"{API}.gates") == 6


def test_copy_is_for_reading_and_has_no_log_of_another_file(
    tmp_path: Path, shared_sandbox: SandboxServer, published: Path
) -> None:
    (tmp_path / WAREHOUSE).touch(0o640)
    sync(API, "gates")
    assert stat.S_IMODE(published.stat().st_mode) == stat.S_IMODE((tmp_path / WAREHOUSE).stat().st_mode) & 0o555
    # what a writer and a killed sync leave behind
    log, left = published.with_name("copy.duckdb.wal"), published.with_name(".copy.duckdb.new")
    write = f"""
import duckdb, os
connection = duckdb.connect({str(published)!r})
connection.execute("SET wal_autocheckpoint = '1GB'")
connection.execute("DELETE FROM {API}.gates")
os._exit(0)
"""
    published.chmod(0o644)
    subprocess.run([sys.executable, "-c", write], check=True)
    assert log.stat().st_size > 0
    left.touch(0o400)
    sync(API, "tags")

    assert sorted(path.name for path in published.parent.iterdir()) == ["copy.duckdb"]
    assert (count(published, f"{API}.gates"), count(published, f"{API}.tags")) == (6, 100)


def test_link_stays_and_what_it_leads_to_is_replaced(
    tmp_path: Path, shared_sandbox: SandboxServer, published: Path
) -> None:
    published.parent.mkdir()
    (tmp_path / "elsewhere").mkdir()
    published.symlink_to(tmp_path / "elsewhere" / "real.duckdb")
    sync(API, "gates")

    assert published.is_symlink()
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["real.duckdb"]
    assert count(published, f"{API}.gates") == 6


def test_failure_costs_nothing_and_the_next_sync_tries_again(
    tmp_path: Path, shared_sandbox: SandboxServer, published: Path, caplog: pytest.LogCaptureFixture
) -> None:
    published.parent.write_text("a file")
    result = sync(API, "gates")["gates"]
    assert (result.status, result.table_rows) == ("complete", 6)
    [warning] = warnings(caplog)
    assert re.fullmatch(
        rf"{API}: {PUBLISH}: {published} is not replaced: \[Errno \d+\] [\w ]+: '{published.parent}'\. "
        "Its rows are those of an earlier sync; the next sync replaces it",
        warning,
    )
    published.parent.unlink()
    again = sync(API, "gates")["gates"]
    assert again.stats
    assert again.stats.rows_loaded == 0
    assert count(published, f"{API}.gates") == 6


def test_copy_that_finds_no_room_leaves_the_former_one(
    shared_sandbox: SandboxServer, published: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(API, "gates")
    before = published.read_bytes()

    def fail(source: BinaryIO, target: BinaryIO, length: int) -> None:
        target.write(source.read(length))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", fail)
        assert sync(API, "tags")["tags"].status == "complete"
    assert len(warnings(caplog)) == 1
    assert "No space left on device" in warnings(caplog)[0]
    assert published.read_bytes() == before
    assert [path.name for path in published.parent.iterdir()] == ["copy.duckdb"]
    sync(API, "tags")
    assert count(published, f"{API}.tags") == 100


def test_copy_is_not_taken_while_another_sync_writes(
    shared_sandbox: SandboxServer,
    published: Path,
    holder: Callable[[str, str], subprocess.Popen[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    sync(API, "gates")
    published.unlink()
    process = holder("write", "incident_response")
    warehouse = Warehouse(API, log=logging.getLogger("test"), lock_timeout=0.1)
    with warehouse.sync():
        warehouse.publish()
    assert not published.exists()
    assert f"warehouse.duckdb is still held by process {process.pid} since " in warnings(caplog)[0]


def test_publishing_keeps_foreign_writers_out_until_the_copy_is_complete(
    tmp_path: Path, shared_sandbox: SandboxServer, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(API, "gates")
    published.unlink()
    refused = []
    copy = shutil.copyfileobj

    def write_meanwhile(source: BinaryIO, target: BinaryIO, length: int) -> None:
        copy(source, target, length)
        code = f"import duckdb; duckdb.connect({str(tmp_path / WAREHOUSE)!r})"
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        refused.append("Could not set lock on file" in ended.stderr)

    monkeypatch.setattr(shutil, "copyfileobj", write_meanwhile)
    sync(API, "gates")
    assert refused == [True]
    assert published.exists()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (WAREHOUSE, "is {path}: it must be the path of a file other than the warehouse's"),
        ("dagster_home", "is {path}: it must be the path of a file other than the warehouse's"),
        (f"{API}.copy", f"the DuckDB file {{path}} has the name of the dataset {API}, "),
    ],
)
def test_path_that_cannot_be_a_copy_is_refused(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, path: str, reason: str
) -> None:
    monkeypatch.setenv(PUBLISH, str(tmp_path / path))
    with pytest.raises(WarehouseError) as error:
        sync(API, "gates")
    assert reason.format(path=tmp_path / path) in str(error.value)
    assert PUBLISH in str(error.value)
    assert shared_sandbox.requests.count() == 0


@pytest.mark.extended
@pytest.mark.parametrize("store", ["postgres", "ducklake"], indirect=True)
def test_other_destinations_have_no_copy(store: Store, shared_sandbox: SandboxServer, published: Path) -> None:
    with pytest.raises(WarehouseError) as error:
        sync(API, "gates")
    assert str(error.value) == (
        f"{PUBLISH} is set, which needs the destination duckdb: remove it, as readers do not stop the syncs into the "
        f"destination {store.settings['ANALYTICS_INGEST_DESTINATION']}"
    )
    assert shared_sandbox.requests.count() == 0
