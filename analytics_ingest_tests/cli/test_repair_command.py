"""The command ``analytics-ingest repair``."""

from __future__ import annotations

import logging
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from analytics_ingest.apis.registry import APIS
from analytics_ingest.cli.app import app
from analytics_ingest.diagnostics.verification import verify_some
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import query, sync

API = "incident_response"


def repair(*arguments: str) -> tuple[int, str]:
    """The exit code and the output of the command."""
    done = CliRunner().invoke(app, ["repair", *arguments], env={"COLUMNS": "200"}, catch_exceptions=False)
    return done.exit_code, done.stdout


@pytest.fixture
def lost(tmp_path: Path, sandbox: SandboxServer) -> list[str]:
    """The ids of three incidents that a table lost and a comparison found to be missing."""
    sync(API)
    ids = sorted(row["id"] for row in sandbox.world.collection(API, "incidents"))[:3]
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute(f"DELETE FROM {API}.incidents WHERE id IN {tuple(ids)}")
    verify_some(APIS[API], requests=None, log=logging.getLogger("test"))
    return ids


def test_rows_that_differ_are_loaded(tmp_path: Path, lost: list[str]) -> None:
    code, output = repair(API)

    assert code == 0
    assert [" ".join(line.split()) for line in output.splitlines()] == [
        "incident_response",
        "✓ incidents 3 rows loaded, 0 marked as deleted",
        "1 repaired, 0 not repaired, 0 not configured",
    ]
    assert query(tmp_path, f"SELECT count(*) FROM {API}.incidents WHERE id IN {tuple(lost)}") == [(3,)]
    assert repair(API)[1].splitlines()[-1] == "0 repaired, 0 not repaired, 0 not configured"


def test_list_that_fails_is_not_repaired(sandbox: SandboxServer, lost: list[str]) -> None:
    sandbox.options.faults = [Fault(api=API, path="incidents", status=403)]
    code, output = repair(API)

    assert code == 1
    assert "answered 403" in output
    assert output.splitlines()[-1] == "0 repaired, 1 not repaired, 0 not configured"
    sandbox.options.faults = []
    assert repair(API)[0] == 0


def test_accounts_without_settings_and_before_any_sync(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCES__PROJECT_PLANNING__API_KEY")
    code, output = repair()
    assert code == 0
    assert output.splitlines()[-1] == "0 repaired, 0 not repaired, 1 not configured"
    assert repair("project_planning")[0] == 1
    assert repair(API, "--endpoint", "nothing")[0] == 2
