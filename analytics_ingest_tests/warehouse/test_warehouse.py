"""The warehouse: which file it is, who else may hold it, and what survives a lost folder or a failed load."""

from __future__ import annotations

import logging
import os
import re
import shutil
from datetime import datetime

import duckdb
import pytest

from analytics_ingest.warehouse import locks
from analytics_ingest.warehouse.destinations.duckdb import DEFAULT_FILE
from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError
from analytics_ingest.warehouse.warehouse import Warehouse
from analytics_ingest_tests.conftest import expected_keys, live_keys, query, sync
from analytics_ingest_tests.environment import set_environment
from analytics_ingest_tests.stores import duckdb_store, lake_store

API = "experimentation"
CREDENTIALS = "DESTINATION__DUCKDB__CREDENTIALS"
LOG = logging.getLogger("test")


def warehouse(api=API, lock_timeout=0.3):
    return Warehouse(api, log=LOG, lock_timeout=lock_timeout)


@pytest.fixture
def file(tmp_path):
    """A warehouse without tables."""
    path = tmp_path / "warehouse.duckdb"
    duckdb.connect(str(path)).close()
    return path


@pytest.mark.parametrize("kind", ["duckdb", "reader"])
def test_a_file_that_a_foreign_process_holds_is_an_error_that_names_both(file, holder, kind):
    process = holder(kind, file)
    opened = warehouse()
    with pytest.raises(WarehouseError) as error, opened.sync(), opened.open():
        pytest.fail("two processes have it open")
    assert re.fullmatch(
        rf"the DuckDB file {file} has been held by process {process.pid} \(\S*python\S*\) for 0\.3 s, which a process "
        "that only reads does too: close it there, or raise SOURCES__EXPERIMENTATION__LOCK_TIMEOUT. Processes that "
        r"read a published copy \(ANALYTICS_INGEST_PUBLISH\) hold up no sync",
        str(error.value),
    )


def test_a_sync_waits_for_the_file_as_lock_timeout_says(file, sandbox, holder, monkeypatch):
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__LOCK_TIMEOUT", "0.1")
    process = holder("reader", file)
    with pytest.raises(WarehouseError, match=rf"held by process {process.pid} \(.+\) for 0\.1 s"):
        sync(API, "gates")
    assert sandbox.requests.count() == 0


@pytest.mark.parametrize("kind", ["duckdb", "reader"])
def test_a_sync_waits_for_a_foreign_process_and_says_so(file, sandbox, holder, kind, monkeypatch, caplog):
    monkeypatch.setattr(locks, "REPORT_SECONDS", 1e-9)
    caplog.set_level(logging.INFO, logger="test")
    process = holder(kind, file)
    ended: list[int] = []

    def end(record):
        # the second line says that it goes on
        if record.getMessage().startswith("still waiting") and not ended:
            process.stdin.close()
            ended.append(process.wait(10))
        return True

    LOG.addFilter(end)
    try:
        result = sync(API, "gates")["gates"]
    finally:
        LOG.removeFilter(end)
    assert (result.status, result.table_rows, ended) == ("complete", 6, [0])
    what = f"the DuckDB file {file}"
    holding = rf"held by process {process.pid} \(\S*python\S*\)"
    waits = [line for line in caplog.messages if what in line]
    assert re.fullmatch(rf"waiting up to 3600 s for {what}, {holding}", waits[0])
    assert re.fullmatch(rf"still waiting for {what}, {holding}, after \d+ s", waits[1])
    assert waits[2:] == [f"got {what}"]


def test_a_second_sync_of_the_same_api_is_kept_out_and_one_of_another_is_not(holder):
    process = holder("sync", API)
    with (
        pytest.raises(LockTimeoutError, match=f"^the sync of {API} is still held by process {process.pid} since "),
        warehouse().sync(),
    ):
        pytest.fail("two syncs of one API")
    other = warehouse("incident_response")
    with other.sync(), other.open() as tables:
        assert tables.columns(["incidents"]) == {}


def test_two_apis_do_not_write_to_the_file_at_once_and_one_that_was_killed_holds_nothing(holder):
    process = holder("write", "incident_response")
    opened = warehouse()
    with (
        pytest.raises(
            LockTimeoutError,
            match=rf"^the DuckDB file warehouse\.duckdb is still held by process {process.pid} since ",
        ),
        opened.sync(),
        opened.open(),
    ):
        pytest.fail("two writers")
    process.kill()
    process.wait(10)
    for again in (warehouse("incident_response"), warehouse()):
        with again.sync(), again.open() as tables:
            assert tables.columns(["incidents", "gates"]) == {}


@pytest.mark.parametrize(
    "name",
    [
        "experimentation.duckdb",
        "experimentation",
        "Experimentation.duckdb",
        "experimentation.v2.duckdb",
    ],
)
def test_a_file_with_the_name_of_the_dataset_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setenv(CREDENTIALS, str(tmp_path / name))
    with pytest.raises(WarehouseError) as error:
        warehouse()
    assert str(error.value).startswith(f"the DuckDB file {tmp_path / name} has the name of the dataset {API}, ")


def test_a_file_with_the_name_of_another_dataset_serves(tmp_path, sandbox, monkeypatch):
    monkeypatch.setenv(CREDENTIALS, str(tmp_path / "experimentation.duckdb"))
    result = sync("incident_response", "dashboards")["dashboards"]
    assert (result.status, result.table_rows) == ("complete", 5)


def test_a_warehouse_in_memory_is_refused(monkeypatch):
    monkeypatch.setenv(CREDENTIALS, ":memory:")
    with pytest.raises(WarehouseError) as error:
        warehouse()
    assert str(error.value) == f"{CREDENTIALS} is :memory:: it must be the path of a file"


def count_gates(file):
    with duckdb.connect(str(file), read_only=True) as connection:
        return connection.sql("SELECT count(*) FROM experimentation.gates").fetchall()[0][0]


def test_without_a_setting_the_file_is_in_the_project_whatever_the_working_directory_is(
    tmp_path, sandbox, monkeypatch, caplog
):
    monkeypatch.delenv(CREDENTIALS)
    file = tmp_path / "dagster_home" / DEFAULT_FILE
    loaded = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        result = sync(API, "gates")["gates"]
        loaded.append((result.stats.rows_loaded, result.location))
        assert list((tmp_path / name).iterdir()) == []
    assert loaded == [(6, str(file)), (0, str(file))]
    assert count_gates(file) == 6
    assert not (tmp_path / "warehouse.duckdb").exists()
    assert [line for line in caplog.messages if "is used" in line] == []


def test_a_file_below_the_working_directory_stays_the_warehouse_until_it_is_moved(
    tmp_path, sandbox, monkeypatch, caplog
):
    here, home = tmp_path / "here", tmp_path / "dagster_home"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv(CREDENTIALS, str(here / DEFAULT_FILE))
    assert sync(API, "gates")["gates"].stats.rows_loaded == 6
    monkeypatch.delenv(CREDENTIALS)
    result = sync(API, "gates")["gates"]
    assert (result.stats.rows_loaded, result.location) == (0, str(here / DEFAULT_FILE))
    warning = f"{API}: {here / DEFAULT_FILE} is used because {home / DEFAULT_FILE} does not exist"
    assert [line.partition(",")[0] for line in caplog.messages] == [warning]
    caplog.clear()
    (here / "data").rename(home / "data")
    result = sync(API, "gates")["gates"]
    assert (result.stats.rows_loaded, result.location) == (0, str(home / DEFAULT_FILE))
    assert caplog.messages == []


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.extended
def test_without_a_setting_the_lake_is_in_the_project(tmp_path, sandbox, monkeypatch, caplog, old):
    here, home = tmp_path / "here", tmp_path / "dagster_home"
    here.mkdir()
    monkeypatch.chdir(here)
    with lake_store(tmp_path):
        monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", "ducklake")
        if old:
            monkeypatch.setenv("DAGSTER_HOME", str(here))
            sync(API, "tags")
            monkeypatch.setenv("DAGSTER_HOME", str(home))
        result = sync(API, "tags")["tags"]
    folder = here if old else home
    assert (result.stats.rows_loaded, result.location) == (0 if old else 100, str(folder / "data" / "lake.sqlite"))
    assert len(list((folder / "data" / "lake").rglob("*.parquet"))) > 0
    assert any("lake.sqlite is used because" in line for line in caplog.messages) == old


def test_the_place_of_a_server_has_no_secret(postgres):
    credentials = os.environ["DESTINATION__POSTGRES__CREDENTIALS"]
    place = warehouse().location
    assert place == "postgres://" + credentials.partition("@")[2].replace(":5432", "")


def test_the_folder_of_the_file_is_made(tmp_path, monkeypatch):
    file = tmp_path / "not" / "there" / "w.duckdb"
    monkeypatch.setenv(CREDENTIALS, str(file))
    opened = warehouse()
    with opened.sync(), opened.open():
        assert file.is_file()


def test_the_state_comes_from_the_warehouse_when_the_working_folder_is_lost(tmp_path, sandbox):
    rows = sandbox.world.collection(API, "gates")
    first = sync(API, "gates")["gates"]
    newest = max((row for row in rows if row["updated_at"]), key=lambda row: datetime.fromisoformat(row["updated_at"]))
    rows.remove(newest)
    shutil.rmtree(tmp_path / "dlt")
    again = sync(API, "gates")["gates"]
    assert again.stats.highest
    assert first.cursor
    assert again.stats.highest < first.cursor
    assert again.cursor == first.cursor
    assert (again.stats.rows_loaded, again.rows_deleted) == (0, 1)
    assert live_keys(tmp_path, API, "gates") == expected_keys(sandbox.world, API, "gates")


def test_a_row_that_cannot_be_loaded_is_rejected_and_leaves_what_was_there(tmp_path, sandbox):
    sync(API, "gates", "tags")
    before = {name: query(tmp_path, f"SELECT * FROM {API}.{name} ORDER BY id") for name in ("gates", "tags")}
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute(f"ALTER TABLE {API}.gates ALTER name SET NOT NULL")
    gates = sandbox.world.collection(API, "gates")
    gates[0]["description"] = "changed"
    gates[1]["name"] = None
    refused = sync(API, "gates")["gates"]
    assert (refused.status, refused.stats.rows_loaded, refused.stats.rows_rejected) == ("complete", 1, 1)
    [(reason,)] = query(tmp_path, f"SELECT reason FROM {API}._rejected_rows")
    assert reason.startswith("the destination does not take it: ")
    assert "NOT NULL" in reason
    stored = query(tmp_path, f"SELECT * FROM {API}.gates ORDER BY id")
    assert len(set(stored) - set(before["gates"])) == 1
    gates[1]["name"] = "named again"
    result = sync(API, "gates", "tags")
    assert {name: each.status for name, each in result.items()} == {"gates": "complete", "tags": "complete"}
    assert result["gates"].stats.rows_loaded == 1
    names = dict(query(tmp_path, f"SELECT id, name FROM {API}.gates"))
    assert names == {row["id"]: row["name"] for row in gates}
    assert query(tmp_path, f"SELECT * FROM {API}.tags ORDER BY id") == before["tags"]


@pytest.mark.parametrize(
    ("configured", "memory", "threads"),
    [
        (None, "244.1 MiB", 1),
        ('{"memory_limit": "1GB"}', "953.6 MiB", 1),
        ('{"memory_limit": "1GB", "threads": 3}', "953.6 MiB", 3),
    ],
)
@pytest.mark.parametrize("destination", [duckdb_store, pytest.param(lake_store, marks=pytest.mark.extended)])
def test_duckdb_keeps_within_bounds_or_within_what_is_configured(
    tmp_path, monkeypatch, destination, configured, memory, threads
):
    with destination(tmp_path) as store:
        set_environment(monkeypatch, store.settings)
        if configured:
            kind = store.settings.get("ANALYTICS_INGEST_DESTINATION", "duckdb")
            monkeypatch.setenv(f"DESTINATION__{kind.upper()}__CREDENTIALS__GLOBAL_CONFIG", configured)
        opened = warehouse()
        with opened.sync(), opened.open(), opened.pipeline.sql_client() as client:
            found = client.execute_sql("SELECT current_setting('memory_limit'), current_setting('threads')")
    assert found == [(memory, threads)]
