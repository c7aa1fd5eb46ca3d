"""docs/operations.md: what it says to do with a warehouse keeps its rows, and the next sync goes on from there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import ROOT, expected_keys, live_keys, query, sync
from analytics_ingest_tests.environment import WAREHOUSE

PAGE = (ROOT / "docs" / "operations.md").read_text()
API = "experimentation"
TABLES = ("gates", "gates_rules")


def section(heading: str) -> str:
    return PAGE.partition(f"\n### {heading}\n")[2].partition("\n## ")[0].partition("\n### ")[0]


def test_a_copied_duckdb_file_has_all_rows_views_and_comments(
    tmp_path: Path, filled: Callable[..., SandboxServer]
) -> None:
    filled(API, *TABLES)
    things = "SELECT view_name FROM duckdb_views() WHERE schema_name = 'experimentation' ORDER BY ALL"
    views = query(tmp_path, things)
    (tmp_path / "data").mkdir()
    shutil.move(tmp_path / WAREHOUSE, tmp_path / "data" / "analytics_ingest.duckdb")
    (block,) = re.findall(r"```console\n(.*?)```", section("After a full disk"), flags=re.DOTALL)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    commands = re.sub(r"^\$ ", "", block, flags=re.MULTILINE)
    subprocess.run(["bash", "-ec", commands], cwd=tmp_path, env={**os.environ, "PATH": path}, check=True)
    shutil.move(tmp_path / "data" / "analytics_ingest.duckdb", tmp_path / WAREHOUSE)

    assert query(tmp_path, things) == views
    assert [result.stats.rows_loaded for result in sync(API, *TABLES).values() if result.stats] == [0, 0]


def test_a_dropped_table_is_made_again_and_its_versions_stay(
    tmp_path: Path, filled: Callable[..., SandboxServer]
) -> None:
    server = filled(API, *TABLES)
    versions = query(tmp_path, f"SELECT * FROM {API}._history_gates ORDER BY ALL")
    (drop,) = re.findall(r"`(DROP TABLE .+?)`", section("Rebuild a table"))
    with duckdb.connect(str(tmp_path / WAREHOUSE)) as connection:
        connection.execute(drop)
    sync(API, *TABLES)

    assert live_keys(tmp_path, API, "gates") == expected_keys(server.world, API, "gates")
    assert query(tmp_path, f"SELECT count(*) FROM {API}.gates_present") == [(len(versions),)]
    assert query(tmp_path, f"SELECT * FROM {API}._history_gates ORDER BY ALL") == versions


def test_rows_that_were_deleted_or_marked_by_hand_come_back(
    tmp_path: Path, filled: Callable[..., SandboxServer]
) -> None:
    server = filled(API, *TABLES)
    with duckdb.connect(str(tmp_path / WAREHOUSE)) as connection:
        connection.execute(
            f"DELETE FROM {API}.gates_rules WHERE gate_id = (SELECT min(gate_id) FROM {API}.gates_rules)"
        )
        connection.execute(f"UPDATE {API}.gates SET _deleted_at = now()")
    sync(API, *TABLES)

    for table in TABLES:
        assert live_keys(tmp_path, API, table) == expected_keys(server.world, API, table)
