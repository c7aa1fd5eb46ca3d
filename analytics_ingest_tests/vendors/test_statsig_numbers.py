"""Statsig's numbers, which come whole or with a fraction in one field: their columns are ``double`` from the start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analytics_ingest.extract.column_types import ColumnTypes
from analytics_ingest_tests.conftest import query
from analytics_ingest_tests.environment import WAREHOUSE
from analytics_ingest_tests.stores import Store
from analytics_ingest_tests.vendors.conftest import Synced, first_sync
from analytics_ingest_tests.vendors.statsig import Statsig

ENDPOINTS = ("experiments", "gates", "gates_rules", "dynamic_configs", "dynamic_configs_rules", "holdouts")
COLUMNS = (
    *(("experiments", "allocation"), ("gates_rules", "pass_percentage"), ("dynamic_configs_rules", "pass_percentage")),
    *(("holdouts", "pass_percentage"), ("metrics_values", "value"), ("metrics_values", "numerator")),
    ("metrics_values", "input_rows"),
)

first = first_sync(Statsig, *ENDPOINTS, "metrics_values")


def column_type(folder: Path, table: str, column: str) -> str:
    ((found,),) = query(folder, f"SELECT DISTINCT typeof({column}) FROM experimentation.{table}")
    return str(found)


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_numbers_are_double(synced: Synced[Statsig], tmp_path: Path, table: str, column: str) -> None:
    assert column_type(tmp_path, table, column) == "DOUBLE"
    assert synced.results[table].widened == []


def test_whole_numbers_alone_make_no_bigint_and_a_fraction_later_widens_nothing(
    vendor_server: Callable[..., Statsig], tmp_path: Path
) -> None:
    statsig = vendor_server(Statsig())
    for row in statsig.rows("holdouts"):
        row["passPercentage"] = 5
    statsig.sync("holdouts")
    assert column_type(tmp_path, "holdouts", "pass_percentage") == "DOUBLE"

    statsig.rows("holdouts")[2]["passPercentage"] = 2.5
    result = statsig.sync("holdouts")["holdouts"]

    assert (result.stats.rows_loaded, result.widened) == (1, [])
    found = query(tmp_path, "SELECT DISTINCT pass_percentage FROM experimentation.holdouts ORDER BY 1")
    assert found == [(2.5,), (5.0,)]


@pytest.mark.parametrize("changes", [False, True])
def test_a_bigint_column_of_an_earlier_version_is_widened_without_a_reload(
    synced: Synced[Statsig], tmp_path: Path, changes: bool
) -> None:
    statsig = synced.vendor
    column = query(tmp_path, "SELECT metric_name, input_rows FROM experimentation.metrics_values ORDER BY ALL")
    with duckdb.connect(str(tmp_path / WAREHOUSE)) as connection:
        connection.execute("ALTER TABLE experimentation.metrics_values ALTER input_rows TYPE BIGINT")
    if changes:
        statsig.rows("metrics_values", str(statsig.today))[0]["inputRows"] = 0.25
    result = statsig.sync("metrics_values")["metrics_values"]

    assert (result.status, result.stats.rows_loaded, result.rows_deleted) == ("complete", int(changes), 0)
    assert column_type(tmp_path, "metrics_values", "input_rows") == "DOUBLE"
    found = query(tmp_path, "SELECT metric_name, input_rows FROM experimentation.metrics_values ORDER BY ALL")
    assert len(set(found) ^ set(column)) == int(changes)


def test_a_history_of_an_earlier_version_is_widened_without_a_version(
    store: Store, vendor_server: Callable[..., Statsig], monkeypatch: pytest.MonkeyPatch
) -> None:
    def former(columns: Mapping[str, str], **options: Any) -> ColumnTypes:
        return ColumnTypes(columns, **{**options, "doubles": ()})

    def types() -> set[tuple[str, str]]:
        with store.reading() as run:
            _, found = run(
                "SELECT table_name, data_type FROM information_schema.columns "
                "WHERE table_schema = 'experimentation' AND column_name = 'pass_percentage'"
            )
        return {(name, kind.upper().removesuffix(" PRECISION")) for name, kind in found}

    tables = ("_history_holdouts", "holdouts", "holdouts_as_of")
    statsig = vendor_server(Statsig())
    for row in statsig.rows("holdouts"):
        row["passPercentage"] = 5
    with monkeypatch.context() as patch:
        patch.setattr("analytics_ingest.extract.rows.ColumnTypes", former)
        statsig.sync("holdouts")
    assert types() >= {(name, "BIGINT") for name in tables}

    statsig.sync("holdouts")
    assert ("holdouts", "DOUBLE") in types()
    # the history follows with its next version
    statsig.rows("holdouts")[0]["passPercentage"] = 2.5
    statsig.sync("holdouts")
    assert types() >= {(name, "DOUBLE") for name in tables}
    versions = "SELECT _operation, pass_percentage, count(*) FROM experimentation._history_holdouts GROUP BY 1, 2"
    with store.reading() as run:
        _, found = run(f"{versions} ORDER BY 1")
    assert [tuple(version) for version in found] == [("baseline", 5, 7), ("update", 2.5, 1)]
