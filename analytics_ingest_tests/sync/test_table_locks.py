"""Locks of other sessions on tables in PostgreSQL: the sync waits for them, for a while, and names the session."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from analytics_ingest.warehouse.exceptions import LockTimeoutError
from analytics_ingest_tests.conftest import ROOT, sync
from analytics_ingest_tests.fake_server import FakeServer
from analytics_ingest_tests.sync.conftest import Tags
from analytics_ingest_tests.waiting import meanwhile

API = "experimentation"
PREFIX = "SOURCES__EXPERIMENTATION"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
LOCKS = {
    "a reader, and a new column": f"SELECT count(*) FROM {API}.tags",
    "a writer, and a new column": f"UPDATE {API}.tags SET name = 'theirs' WHERE id = 'tag-01'",
    "rows for update, and rows that changed": f"SELECT * FROM {API}.tags FOR UPDATE",
    "the table, and rows that are gone": f"LOCK TABLE {API}.tags IN SHARE MODE",
    "all of the table": f"LOCK TABLE {API}.tags IN ACCESS EXCLUSIVE MODE",
    "dlt's state": f"LOCK TABLE {API}._dlt_pipeline_state IN ACCESS EXCLUSIVE MODE",
    "dlt's loads": f"LOCK TABLE {API}._dlt_loads IN ACCESS EXCLUSIVE MODE",
}


def change(tags: Tags, lock: str) -> None:
    for row in tags.rows:
        row["name"], row["updated_at"] = "second", "2026-02-01T00:00:00Z"
        if "new column" in lock:
            row["colour"] = "green"
    if "gone" in lock:
        del tags.rows[7]


@pytest.fixture
def locking(tags_server: FakeServer, tags: Tags, postgres: Callable[[], Any]) -> Any:
    """A session in a transaction, on a warehouse with forty tags."""
    sync(API, "tags")
    session = postgres()
    session.autocommit = False
    session.cursor().execute("SET application_name = 'a notebook'")
    session.commit()
    return session


@pytest.mark.parametrize("lock", LOCKS)
def test_sync_waits_for_a_lock_on_a_table(
    lock: str,
    tags: Tags,
    locking: Any,
    postgres: Callable[[], Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="test")
    monkeypatch.setenv(f"{PREFIX}__LOCK_TIMEOUT", "60")
    change(tags, lock)
    locking.cursor().execute(LOCKS[lock])
    released = threading.Event()

    class Release(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "locked by" in record.getMessage() and not released.is_set():
                released.set()
                locking.rollback()

    handler = Release()
    logging.getLogger("test").addHandler(handler)
    try:
        assert sync(API, "tags")["tags"].status == "complete"
    finally:
        logging.getLogger("test").removeHandler(handler)

    waits = [each for each in caplog.messages if "locked by" in each]
    assert len(waits) == 1
    found = postgres().cursor()
    found.execute(f"SELECT name, _deleted_at IS NULL, count(*) FROM {API}.tags GROUP BY 1, 2 ORDER BY 2 DESC")
    gone = [("second", True, 39), ("first", False, 1)]
    assert found.fetchall() == (gone if "gone" in lock else [("second", True, 40)])
    assert re.search(
        rf"locked by process {locking.info.backend_pid} \(application a notebook, user \w+, from [\d.:]+\S*\), "
        r"idle in transaction since [-\d]+ [:\d]+ UTC$",
        waits[0],
    )


@pytest.mark.parametrize("lock", ["a reader, and a new column", "rows for update, and rows that changed"])
def test_lock_that_stays_is_an_error_that_names_it_and_other_readers_go_on(
    lock: str, tags: Tags, locking: Any, postgres: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}__LOCK_TIMEOUT", "5")
    change(tags, lock)
    locking.cursor().execute(LOCKS[lock])
    stats = postgres().cursor()
    slowest = 0.0

    def read() -> None:
        nonlocal slowest
        began = time.monotonic()
        stats.execute(f"SELECT count(*) FROM {API}.tags")
        slowest = max(slowest, time.monotonic() - began)

    with meanwhile(read, every=0.1), pytest.raises(LockTimeoutError) as error:
        sync(API, "tags")
    locking.rollback()

    assert str(error.value).startswith(
        f"{API}.tags has been locked for 5 s by process {locking.info.backend_pid} (application a notebook, "
    )
    assert slowest < 4
    stats.execute(WAITING)
    assert stats.fetchall() == [(0,)]
    assert sync(API, "tags")["tags"].status == "complete"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signal_ends_the_wait_and_leaves_nobody_waiting(
    number: int, tags: Tags, locking: Any, postgres: Callable[[], Any]
) -> None:
    change(tags, "new column")
    locking.cursor().execute(LOCKS["a reader, and a new column"])
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "--select", f'key:"{API}/tags"']
    process = subprocess.Popen(
        [*command, "-m", "analytics_ingest.definitions"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        assert any("locked by process" in line for line in process.stderr)
        began = time.monotonic()
        process.send_signal(number)
        process.stderr.read()
        process.wait(30)
        assert time.monotonic() - began < 12
    finally:
        process.kill()
        process.wait()
    time.sleep(2.5)
    found = postgres().cursor()
    found.execute(WAITING)
    assert found.fetchall() == [(0,)]
    locking.rollback()


def test_options_of_the_connection_string_stay(
    locking: Any, monkeypatch: pytest.MonkeyPatch, postgres: Callable[[], Any]
) -> None:
    from analytics_ingest.warehouse.warehouse import Warehouse

    shown = "SELECT current_setting('lock_timeout'), current_setting('statement_timeout')"
    credentials = os.environ["DESTINATION__POSTGRES__CREDENTIALS"]
    for query, expected in (
        ("", ("2s", "0")),
        ("?options=-cstatement_timeout%3D50s", ("2s", "50s")),
        ("?options=-clock_timeout%3D7s", ("7s", "0")),
    ):
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", credentials + query)
        warehouse = Warehouse(API, log=logging.getLogger("test"), lock_timeout=5)
        with warehouse.sync(), warehouse.open(), warehouse.pipeline.sql_client() as client:
            assert client.execute_sql(shown) == [expected]
