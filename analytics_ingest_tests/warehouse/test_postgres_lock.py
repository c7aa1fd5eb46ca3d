"""Syncs of one API on several machines, into one PostgreSQL database: one at a time."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError
from analytics_ingest.warehouse.warehouse import Warehouse

API = "experimentation"
LOG = logging.getLogger("test")


def warehouse(api: str = API, lock_timeout: float = 5) -> Warehouse:
    return Warehouse(api, log=LOG, lock_timeout=lock_timeout)


@pytest.fixture
def elsewhere(
    postgres: Callable[[], Any],
    holder: Callable[..., subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> subprocess.Popen[str]:
    """A sync as if on another machine: without a folder that this one has."""
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "elsewhere"))
    process = holder("sync", API)
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "here"))
    return process


def test_sync_of_the_same_api_elsewhere_is_waited_for_and_named(elsewhere: subprocess.Popen[str]) -> None:
    opened = warehouse(lock_timeout=0.3)
    who = rf"analytics_ingest {API}: process {elsewhere.pid} on \S+ since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    with (
        pytest.raises(LockTimeoutError, match=rf"^the sync of {API} is still held by {who} after 0.3 s: "),
        opened.sync(),
    ):
        pytest.fail("two syncs of one API")


def test_sync_of_another_api_is_not_kept_out(elsewhere: subprocess.Popen[str]) -> None:
    other = warehouse("incident_response", lock_timeout=0.3)
    with other.sync(), other.open() as tables:
        assert tables.columns(["incidents"]) == {}


def test_sync_that_was_killed_elsewhere_holds_nothing(
    elsewhere: subprocess.Popen[str], caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere.kill()
    elsewhere.wait()
    again = warehouse()
    with again.sync(), again.open() as tables:
        assert tables.columns(["gates"]) == {}


def test_lock_that_went_with_its_connection_ends_the_sync(postgres: Callable[[], Any]) -> None:
    ending = postgres().cursor()
    opened = warehouse()
    with opened.sync():
        with opened.open() as tables:
            assert tables.columns(["gates"]) == {}
        ending.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE application_name LIKE %s AND datname = current_database()",
            [f"analytics_ingest {API}: %"],
        )
        assert ending.fetchall() == [(1,)]
        with pytest.raises(WarehouseError, match=f"^{API}: the destination postgres failed: "), opened.open():
            pytest.fail("nothing keeps others out")
