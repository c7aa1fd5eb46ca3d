"""CircleCI takes ``branches`` off its list of projects: stored values stay, and nothing is loaded for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import duckdb
import pytest

from analytics_ingest.warehouse.table_queries import DatasetTables
from analytics_ingest_tests.former_warehouse import former_warehouse
from analytics_ingest_tests.stores import DESTINATIONS, Store, on_duckdb
from analytics_ingest_tests.vendors.circleci_before import Before

API = "continuous_integration"
SENT: tuple[Any, ...] = ("unless shallow", "always", "null", "never")
"""What becomes of the field: as today with ``shallow=true``, without it, and after the change."""


everywhere = pytest.mark.parametrize("store", DESTINATIONS, indirect=True)


def before(vendor_server: Callable[..., Before], store: Store) -> Before:
    """The upstream of a warehouse that an earlier version has made."""
    vendor = vendor_server(Before())
    former_warehouse("circleci").restore(store)
    return vendor


def projects(store: Store) -> dict[str, dict[str, Any]]:
    columns, rows = store.table(API, "projects")
    named = [dict(zip(columns, row, strict=True)) for row in rows]
    assert len(named) == len({row["vcs_url"] for row in named})
    return {row["vcs_url"]: row for row in named}


def branches(store: Store, table: dict[str, dict[str, Any]] | None = None) -> dict[str, Any]:
    found = {url: row["branches"] for url, row in (table or projects(store)).items()}
    return {url: json.loads(value) if isinstance(value, str) else value for url, value in found.items()}


def sync(vendor: Before, **mode: Any) -> tuple[Any, int]:
    result = vendor.sync("projects", **mode)["projects"]
    assert result.status == "complete"
    assert [each for each in result.checks if not each.passed] == []
    return result.stats, result.rows_deleted


def expected(vendor: Before) -> dict[str, Any]:
    return {row["vcs_url"]: row["branches"] for row in vendor.rows("projects")}


@everywhere
@pytest.mark.parametrize(
    "sent",
    [pytest.param("always", marks=pytest.mark.extended), "null", pytest.param("never", marks=pytest.mark.extended)],
)
def test_nothing_is_loaded_of_an_earlier_versions_table(
    vendor_server: Callable[..., Before], store: Store, sent: Any
) -> None:
    vendor = before(vendor_server, store)
    vendor.branches = sent
    was = projects(store)
    stored = branches(store, was)

    assert stored == expected(vendor)
    for _ in range(2):
        stats, deleted = sync(vendor)
        assert (stats.rows_read, stats.rows_loaded, deleted) == (len(was), 0, 0)
        now = projects(store)
        assert branches(store, now) == stored
        for url, row in now.items():
            assert {**row, "_row_hash": 0} == {**was[url], "_row_hash": 0}
    assert [url for url in was if was[url]["_row_hash"] == now[url]["_row_hash"]] == []


@everywhere
def test_other_changes_carry_the_stored_values(vendor_server: Callable[..., Before], store: Store) -> None:
    vendor = before(vendor_server, store)
    stored = branches(store)
    shop, *others = vendor.rows("projects")

    for number, sent in enumerate(SENT):
        vendor.branches = sent
        shop["branches"] = {"main": number}
        shop["default_branch"] = f"trunk-{number}"
        stats, deleted = sync(vendor)
        assert (stats.rows_loaded, deleted) == (1, 0)
        now = projects(store)
        assert branches(store, now) == stored
        assert now[shop["vcs_url"]]["default_branch"] == f"trunk-{number}"
    assert len(others) == len(stored) - 1


@on_duckdb
@pytest.mark.extended
def test_a_full_refresh_keeps_stored_values(vendor_server: Callable[..., Before], store: Store) -> None:
    vendor = before(vendor_server, store)
    stored = branches(store)

    for sent in ("null", "never", "always", "unless shallow"):
        vendor.branches = sent
        stats, deleted = sync(vendor, full_refresh=True)
        assert (stats.rows_loaded, deleted, branches(store)) == (len(stored), 0, stored)
    assert sync(vendor)[0].rows_loaded == 0


@on_duckdb
@pytest.mark.extended
def test_a_project_that_comes_back_has_its_values(vendor_server: Callable[..., Before], store: Store) -> None:
    vendor = before(vendor_server, store)
    stored = branches(store)
    shop = vendor.rows("projects").pop(0)
    assert sync(vendor)[1] == 1

    vendor.rows("projects").append(shop)
    stats, deleted = sync(vendor)
    assert (stats.rows_loaded, deleted, branches(store)) == (1, 0, stored)
    assert {row["_deleted_at"] for row in projects(store).values()} == {None}


@on_duckdb
def test_excluded_columns_are_not_carried(
    vendor_server: Callable[..., Before], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = before(vendor_server, store)
    monkeypatch.setenv("SOURCES__CONTINUOUS_INTEGRATION__EXCLUDE_COLUMNS", "projects.branches")
    vendor.rows("projects")[0]["default_branch"] = "trunk"

    assert sync(vendor)[0].rows_loaded == 1
    assert branches(store)[vendor.rows("projects")[0]["vcs_url"]] is None


@on_duckdb
@pytest.mark.extended
def test_a_new_table_has_no_such_column(vendor_server: Callable[..., Before], store: Store) -> None:
    vendor = vendor_server(Before())

    assert sync(vendor)[0].rows_loaded == len(vendor.rows("projects"))
    for sent in ("always", "null", "never", "unless shallow"):
        vendor.branches = sent
        vendor.rows("projects")[0]["default_branch"] = f"trunk-{sent}"
        assert sync(vendor)[0].rows_loaded == 1
        assert "branches" not in store.table(API, "projects")[0]
    assert [each.query for each in vendor.asked] == [{"shallow": "true"}] * 5


@on_duckdb
def test_a_sync_that_ends_before_the_hashes_are_rewritten_loses_nothing(
    vendor_server: Callable[..., Before], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = before(vendor_server, store)
    stored = branches(store)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DatasetTables, "rewrite", killed)
        with pytest.raises(KeyboardInterrupt):
            vendor.sync("projects")
    assert branches(store) == stored
    stats, deleted = sync(vendor)
    assert (stats.rows_loaded, deleted, branches(store)) == (0, 0, stored)


def test_more_rows_than_one_statement_takes_are_rewritten() -> None:
    from types import SimpleNamespace

    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (h BIGINT, p VARCHAR, q VARCHAR)")
        connection.execute("INSERT INTO t SELECT range, 'old', 'kept' FROM range(-1300, 1300)")
        sql = SimpleNamespace(
            begin_transaction=connection.cursor,
            execute_sql=lambda query, *values: connection.execute(query.replace("%s", "?"), values),
            make_qualified_table_name=str,
            escape_column_name=str,
        )
        tables = DatasetTables(SimpleNamespace(sql_client=sql))  # type: ignore[arg-type]
        tables.rewrite(
            "t", {n: {"h": n + 10_000} | ({"p": f"new-{n}"} if n % 2 else {}) for n in range(-1250, 1250)}, key="h"
        )
        found = connection.execute("SELECT h, p, q FROM t ORDER BY h").fetchall()
    same = [(n, "old", "kept") for n in (*range(-1300, -1250), *range(1250, 1300))]
    assert found == same + [(n + 10_000, f"new-{n}" if n % 2 else "old", "kept") for n in range(-1250, 1250)]
