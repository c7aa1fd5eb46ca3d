"""Damage in dlt's working folder, file by file: the next sync does not see it."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.warehouse.destination import pipelines_folder
from analytics_ingest_tests.conftest import live_keys, sync

API = "experimentation"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garble(path: Path) -> None:
    path.write_bytes(b"\xff\x00garbage" * 10)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    (path / "folder").mkdir(parents=True)


def replace_by_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("a file")


def replace_by_broken_link(path: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to(path.parent / "nowhere")


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.extended)], ids=["one each", "every"])
def test_damaged_working_folder_is_replaced(tmp_path: Path, shared_sandbox: SandboxServer, *, every: bool) -> None:
    assert sync(API, "tags")["tags"].status == "complete"
    keys = live_keys(tmp_path, API, "tags")
    folder = pipelines_folder() / API
    # the files that dlt reads as it begins are enough: a sync takes a second
    files = [
        path for path in sorted(folder.rglob("*")) if path.is_file() and "load" not in path.relative_to(folder).parts
    ]
    assert {path.name for path in files} >= {"state.json", f"{API}.schema.json"}
    kinds = (cut, empty, garble, replace_by_folder)
    each = itertools.product(files, kinds) if every else zip(files, itertools.cycle(kinds), strict=False)
    damages: list[tuple[Path, Callable[[Path], None]]] = [
        *each,
        *((folder / name, replace_by_file) for name in ("schemas", "normalize", "load", ".")),
        (folder, replace_by_broken_link),
    ]
    seen = []
    for path, damage in damages:
        if path.exists():
            damage(path.resolve())
            seen.append(path.name)
        result = sync(API, "tags")["tags"]
        assert (result.status, result.stats and result.stats.rows_loaded) == ("complete", 0), (path, damage)
    assert len(seen) > (8 if every else 4)
    assert live_keys(tmp_path, API, "tags") == keys
