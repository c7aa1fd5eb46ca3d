"""Generated rows over a real server: whatever an API sends, the run ends, nothing is lost and nothing is merged."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dagster import AssetKey
from hypothesis import HealthCheck, Phase, given, settings

from analytics_ingest.diagnostics.verify import verify_api
from analytics_ingest.extract.sync_options import INCREMENTAL
from analytics_ingest.orchestrate.asset_checks import evaluations
from analytics_ingest.orchestrate.metadata import result_metadata
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.environment import use_folder
from analytics_ingest_tests.fuzz.oracle import Table, check_values, rows_of
from analytics_ingest_tests.fuzz.strategies import Trials, trials
from analytics_ingest_tests.trials import API, KEY, NAME, OTHERS, Rows, Trial, trial

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "8"))
"""Draws: by default as many as fit into a minute, always the same ones."""
FIRST = 2
"""How many of them are run without the extended tests."""
MAX_ANSWER = 2_000_000
"""Bytes that an answer may have."""
LOG = logging.getLogger("fuzz")


class Warehouse:
    """The DuckDB file of one draw."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "warehouse.duckdb"

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()

    def tables(self) -> DatasetTables:
        """All tables, as they are now."""
        found: dict[str, Table] = {}
        if not self.file.exists():
            return DatasetTables(found)
        with duckdb.connect(str(self.file), read_only=True) as connection:
            there = "SELECT table_name FROM information_schema.tables WHERE table_schema = ?"
            for (name,) in connection.execute(there, [NAME]).fetchall():
                table = connection.sql(f'SELECT * FROM {NAME}."{name}"')
                rows = [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]
                found[name] = Table(table.columns, [row for row in rows if row.get("_deleted_at") is None])
        return DatasetTables(found)


@dataclass(frozen=True)
class DatasetTables:
    """The rows of all tables that are not marked as deleted."""

    found: dict[str, Table]

    def table(self, name: str) -> Table:
        """One table; none has no rows."""
        return self.found.get(name, Table((), ()))

    def rejected(self, endpoint: str) -> list[Any]:
        rows = self.table("_rejected_rows").rows
        assert all(row["reason"] for row in rows)
        return [json.loads(row["row"])["sent"] for row in rows if row["endpoint"] == endpoint]


class Logged(logging.Handler):
    """What was logged, as text."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def logged() -> Iterator[Logged]:
    handler = Logged()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield handler
    finally:
        root.removeHandler(handler)


def check(rows: Rows, results: dict[str, EndpointResult], warehouse: Warehouse) -> None:
    """Checks what the warehouse holds after a sync."""
    held = warehouse.tables()
    others = held.table("others")
    assert results["others"].status == "complete"
    assert sorted((row["id"], row["name"]) for row in others.rows) == [(row["id"], row["name"]) for row in OTHERS]
    assert [row["updated_at"] is not None for row in others.rows] == [True] * len(OTHERS)
    for name in ("things", "states"):
        sent = list(rows_of(getattr(rows, name)))
        rejected = [row["marker"] for row in held.rejected(name)]
        table = held.table(name)
        assert [column for column in table.columns if "__" in column] == []
        if results[name].status == "failed":
            assert "none of which can be stored" in results[name].reason
            assert {row["marker"] for row in sent} <= set(rejected)
            continue
        assert results[name].status == "complete", results[name].reason
        check_values(sent, table, rejected, keyed=name == "things")
        if not (results[name].stats.rows_rejected or results[name].stats.rows_withheld):
            # and nothing else is there
            markers = {row["marker"] for row in sent}
            assert {row["marker"] for row in table.rows} <= markers
    if results["parts"].status == "skipped":
        assert results["things"].status == "failed" or results["things"].stats.rows_withheld
        return
    rejected = [row["marker"] for row in held.rejected("parts")]
    table = held.table("parts")
    asked = {str(row["id"]) for row in held.table("things").rows}
    for key, pages in rows.parts.items():
        if key not in asked or (not set(key.split("/")).isdisjoint({"", ".", ".."}) and key in ("", ".", "..")):
            continue
        sent = list(rows_of(pages))
        if sent and all(row["marker"] in rejected for row in sent):
            continue
        mine = [row for row in table.rows if str(row["thing_id"]) == key]
        check_values(sent, Table(table.columns, mine), rejected, keyed=True)


def keys(warehouse: Warehouse) -> set[str]:
    """The keys of the parents that are there, as texts."""
    return {str(row["id"]) for row in warehouse.tables().table("things").rows}


def loaded(results: dict[str, EndpointResult]) -> dict[str, int]:
    return {name: result.stats.rows_loaded for name, result in results.items() if result.stats}


def shown(results: dict[str, EndpointResult]) -> str:
    """All that Dagster is given of the results."""
    given = [
        (
            result_metadata(API, each, INCREMENTAL),
            evaluations(API, each.endpoint, each.checks, key=AssetKey([API.name, each.endpoint.name])),
            each.reason,
        )
        for each in results.values()
    ]
    return repr(given)


def run_draw(draw: Trials, upstream: Trial, warehouse: Warehouse) -> None:
    """One draw: a sync, the same again, a sync of what has changed, the same again, and the proof."""
    warehouse.clear()
    with logged() as lines:
        if draw.oversized:
            # every answer but one is larger than the bound: nothing of them is loaded, or believed
            upstream.rows = replace(draw.first, wrap={"padding": "x" * (MAX_ANSWER + 1)})
            results = upstream.sync(log=LOG)
            assert {name: result.status for name, result in results.items()} == {
                "things": "failed",
                "states": "failed",
                "others": "complete",
                "parts": "skipped",
            }
            assert "MAX_ANSWER_BYTES" in results["things"].reason
        for rows in (draw.first, draw.second):
            upstream.rows = rows
            before = keys(warehouse)
            results = upstream.sync(log=LOG)
            check(rows, results, warehouse)
            if (things := results["things"].stats) and things.rows_rejected:
                # a list of which a row was rejected does not tell which rows are gone
                assert before <= keys(warehouse)
            if results["parts"].status == "skipped":
                # their parents have collapsed: that the same comes again proves it, and the children are read
                check(rows, upstream.sync(log=LOG), warehouse)
            again = upstream.sync(log=LOG)
            assert set(loaded(again).values()) <= {0}, (loaded(again), loaded(results))
            check(rows, again, warehouse)
            for secret in (KEY, KEY[:-1], KEY[1:]):
                assert secret not in shown(results) + shown(again)
        # where a row is rejected nothing of its list is marked as deleted, and its children stay too
        whole = all(result.stats and not result.stats.rows_rejected for result in again.values())
        for each in verify_api(API, log=LOG):
            extra = each.extra.count if whole else 0
            assert (each.missing.count, each.doubled, extra) == (0, 0, 0), (
                each.endpoint.name,
                each.missing,
                each.extra,
            )
    assert [line for line in lines.lines if KEY in line] == []
    assert [line for line in lines.lines if "unexpected error" in line or "Traceback" in line] == []


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if "FUZZ_SHRINK" in os.environ else [])],
    suppress_health_check=list(HealthCheck),
)
@given(draw=trials())
def _property(draw: Trials, upstream: Trial, warehouse: Warehouse, numbers: range, seen: dict[str, int]) -> None:
    # one that fails is run once more
    if seen.setdefault(repr(draw), len(seen)) in numbers:
        run_draw(draw, upstream, warehouse)


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param(range(FIRST), id="the first"),
        pytest.param(range(FIRST, EXAMPLES), id="the others", marks=pytest.mark.extended),
    ],
)
def test_generated_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: range) -> None:
    warehouse = Warehouse(tmp_path / "draw")
    use_folder(monkeypatch, warehouse.folder)
    seen: dict[str, int] = {}
    with trial(monkeypatch, MAX_ANSWER_BYTES=str(MAX_ANSWER)) as upstream:
        _property(upstream=upstream, warehouse=warehouse, numbers=numbers, seen=seen)
    assert len(seen) > numbers.start
