"""The permissions of what a sync creates: of the warehouse's file, its log and its locks, and of the published copy."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.warehouse.database_file import DatabaseFile
from analytics_ingest.warehouse.private_files import private_files
from analytics_ingest.warehouse.warehouse import Warehouse
from analytics_ingest_tests.conftest import sync

API = "experimentation"


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """The usual mask, under which files are created for everybody."""
    former = os.umask(0o022)
    yield
    assert os.umask(former) == 0o022


def modes(folder: Path) -> dict[str, str]:
    """The permissions of a folder and all that is in it."""
    return {
        str(path.relative_to(folder.parent)): oct(stat.S_IMODE(path.stat().st_mode))
        for path in sorted((folder, *folder.rglob("*")))
    }


@pytest.fixture
def log_mode(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Permissions of DuckDB's log after each load."""
    found: list[str] = []
    load = Warehouse.load

    def observed(self: Warehouse) -> None:
        load(self)
        file = self._file
        assert isinstance(file, DatabaseFile)
        log = file.path.with_name(f"{file.path.name}.wal")
        found.append(oct(stat.S_IMODE(log.stat().st_mode)))

    monkeypatch.setattr(Warehouse, "load", observed)
    return found


def test_a_new_warehouse_is_for_its_user_alone(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, log_mode: list[str]
) -> None:
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(tmp_path / "data" / "warehouse.duckdb"))
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "working"))
    monkeypatch.setenv("ANALYTICS_INGEST_PUBLISH", str(tmp_path / "readers" / "copy.duckdb"))
    sync(API, "gates")

    found = modes(tmp_path / "data") | modes(tmp_path / "readers")
    locks = "data/.warehouse.duckdb.locks"
    assert {name: mode for name, mode in found.items() if not name.startswith(f"{locks}/")} == {
        "data": "0o700",
        locks: "0o700",
        "data/warehouse.duckdb": "0o600",
        "readers": "0o700",
        "readers/copy.duckdb": "0o400",
    }
    assert set(log_mode) == {"0o600"}
    # packages with rows
    assert {mode[-2:] for mode in modes(tmp_path / "working").values()} == {"00"}


def test_a_warehouse_that_is_open_to_others_stays_so(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, log_mode: list[str]
) -> None:
    file, copy = tmp_path / "warehouse.duckdb", tmp_path / "copy.duckdb"
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(file))
    monkeypatch.setenv("ANALYTICS_INGEST_PUBLISH", str(copy))
    sync(API, "gates")
    file.chmod(0o640)
    copy.chmod(0o644)
    log_mode.clear()
    sync(API, "tags")

    assert oct(stat.S_IMODE(file.stat().st_mode)) == "0o640"
    assert set(log_mode) == {"0o640"}
    # the copy is for others than those who may read the warehouse
    assert oct(stat.S_IMODE(copy.stat().st_mode)) == "0o444"


@pytest.mark.parametrize(
    ("mode", "created"),
    [(0o600, ("0o600", "0o700")), (0o640, ("0o640", "0o750")), (0o644, ("0o644", "0o755")), (None, ("0o600", "0o700"))],
)
def test_what_is_created_beside_a_file_has_its_permissions(
    tmp_path: Path, mode: int | None, created: tuple[str, str]
) -> None:
    file, beside, folder = tmp_path / "file", tmp_path / "beside", tmp_path / "folder"
    if mode is not None:
        file.touch()
        file.chmod(mode)
    with private_files(file):
        beside.touch()
        folder.mkdir()
    assert (oct(stat.S_IMODE(beside.stat().st_mode)), oct(stat.S_IMODE(folder.stat().st_mode))) == created


def test_several_syncs_of_a_process_restore_the_mask_together(tmp_path: Path) -> None:
    first, second = private_files(None), private_files(None)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    (tmp_path / "between").touch()
    second.__exit__(None, None, None)
    (tmp_path / "after").touch()

    assert [oct(stat.S_IMODE((tmp_path / name).stat().st_mode)) for name in ("between", "after")] == ["0o600", "0o644"]
