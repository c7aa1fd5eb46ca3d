"""Reading a warehouse that cannot be written, and folders that refuse: no file is made, one line names the setting."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.warehouse.exceptions import WarehouseError
from analytics_ingest.warehouse.warehouse import Warehouse
from analytics_ingest_tests.conftest import ROOT, sync
from analytics_ingest_tests.environment import WAREHOUSE
from analytics_ingest_tests.stores import Store
from analytics_ingest_tests.warehouse.test_destination_errors import refused

API = "experimentation"
LOG = logging.getLogger("test")
READ = f"""
import logging, os
from analytics_ingest.warehouse.warehouse import Warehouse

def read():
    with Warehouse("{API}", log=logging.getLogger(), lock_timeout=5).read() as tables:
        return tables.count("tags")

# first with the rights to import what it needs
read()
os.setgid(65534)
os.setuid(65534)
print(read())
"""


def files(folder: Path) -> dict[Path, int]:
    # SQLite has two files beside a lake's catalog while it is open, and who holds a lock is written beside it
    passing = (".lock", ".holder", ".sqlite-wal", ".sqlite-shm")
    return {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.suffix not in passing
    }


def test_warehouse_is_read_and_cannot_be_written(store: Store, tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    sync(API, "tags")
    before = files(tmp_path)
    with Warehouse(API, log=LOG, lock_timeout=5).read() as tables:
        assert tables.count("tags") == 100
        assert "id" in tables.columns(["tags"])["tags"]

    def write() -> None:
        with Warehouse(API, log=LOG, lock_timeout=5).read() as tables:
            tables._sql.execute_sql(f"DELETE FROM {tables._name('tags')}")

    with pytest.raises(WarehouseError, match="read-only"):
        write()
    assert len(store.table(API, "tags")[1]) == 100
    assert files(tmp_path) == before


def test_without_a_warehouse_there_are_no_tables_and_no_file(store: Store, tmp_path: Path) -> None:
    before = files(tmp_path)
    with Warehouse(API, log=LOG, lock_timeout=5).read() as tables:
        assert tables.columns(["tags"]) == {}
    assert files(tmp_path) == before


@pytest.mark.extended
@pytest.mark.skipif(os.getuid() != 0, reason="another user is needed whose rights can be taken away")
def test_another_user_reads_a_warehouse_that_it_cannot_write(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    sync(API, "tags")
    # a sync creates it for its own user, and so the folder of its locks, which stays so
    (tmp_path / WAREHOUSE).chmod(0o644)
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_mode & 0o055 != 0o055:
            path.chmod(path.stat().st_mode | 0o055)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOME": "/nonexistent"}
    ended = subprocess.run(
        [sys.executable, "-c", READ], check=False, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (ended.stdout, ended.returncode) == ("100\n", 0), ended.stderr
    assert "read without a lock" in ended.stderr


@pytest.mark.parametrize(
    ("setting", "block"),
    [
        ("DLT_DATA_DIR", lambda path: path),
        ("DESTINATION__DUCKDB__CREDENTIALS", lambda path: path / "folder" / "w.duckdb"),
    ],
)
def test_folder_that_cannot_be_made_is_one_line(
    setting: str, block: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a file"
    file.write_text("")
    monkeypatch.setenv(setting, str(block(file)))

    said = refused()
    assert str(file) in said
    assert setting in said
