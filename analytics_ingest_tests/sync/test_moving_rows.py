"""Lists whose rows move while their pages are read: nothing is lost, nothing is marked as deleted that is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import FakeClock, expected_keys, live_keys, query, sync
from analytics_ingest_tests.fake_server import FakeServer
from analytics_ingest_tests.sync.conftest import PREFIX, Tags

API = "experimentation"


@pytest.mark.parametrize("totals", [True, pytest.param(False, marks=pytest.mark.extended)])
def test_row_that_is_updated_while_the_list_is_read(
    tmp_path: Path, tags_server: FakeServer, tags: Tags, totals: bool
) -> None:
    tags.totals = totals
    sync(API, "tags")

    def update() -> None:
        row = tags.rows.pop(25)
        tags.rows.insert(0, {**row, "updated_at": "2026-02-01T00:00:00Z", "name": "updated"})

    tags.then = update
    tags_server.asked.clear()
    result = sync(API, "tags")["tags"]

    assert result.status == "complete"
    assert (result.stats.rows_loaded, result.rows_deleted, result.stats.doubt) == (1, 0, "")
    assert [asked.query["page"] for asked in tags_server.asked] == ["1", "2", "3", "4", "5"] * 2
    names = dict(query(tmp_path, f"SELECT id, name FROM {API}.tags WHERE _deleted_at IS NULL"))
    assert names == {row["id"]: row["name"] for row in tags.rows}


def test_row_that_is_deleted_while_the_list_is_read(tmp_path: Path, tags_server: FakeServer, tags: Tags) -> None:
    sync(API, "tags")
    there = live_keys(tmp_path, API, "tags")
    tags.then = lambda: tags.rows.__delitem__(3)
    tags_server.asked.clear()
    result = sync(API, "tags")["tags"]

    # of 39 rows the last page is not full: it ends the read
    assert [asked.query["page"] for asked in tags_server.asked] == ["1", "2", "3", "4"] * 2
    assert result.rows_deleted == 0
    assert live_keys(tmp_path, API, "tags") == there
    assert sync(API, "tags")["tags"].rows_deleted == 1
    assert live_keys(tmp_path, API, "tags") == [key for key in there if key != ("tag-03",)]


def test_row_that_is_added_while_the_list_is_read(tmp_path: Path, tags_server: FakeServer, tags: Tags) -> None:
    tags.then = lambda: tags.rows.insert(0, {"id": "new", "updated_at": "2026-02-01T00:00:00Z", "name": "new"})
    result = sync(API, "tags")["tags"]

    assert result.table_rows == 41
    assert [asked.query["page"] for asked in tags_server.asked] == ["1", "2", "3", "4", "5"] * 2
    assert live_keys(tmp_path, API, "tags") == sorted((row["id"],) for row in tags.rows)


def test_order_that_never_rests(
    tmp_path: Path,
    start_sandbox: Callable[..., SandboxServer],
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(f"{PREFIX}__TAGS__LIMIT", "20")
    server = start_sandbox(order="restless")
    server.options.order = "stable"
    sync(API, "tags")
    server.options.order = "restless"
    server.requests.reset()
    result = sync(API, "tags")["tags"]

    assert result.status == "complete"
    assert result.rows_deleted == 0
    assert result.stats.lists_unsettled == 1
    assert server.requests.count(API, "tags") == 2 * (100 / 20 + 1)
    assert "experimentation/tags: " in caplog.text
    assert "rows moved between the pages of 1 lists while they were read, also when read again" in caplog.text
    assert live_keys(tmp_path, API, "tags") == expected_keys(server.world, API, "tags")


def test_rows_of_an_order_that_never_rests_come_in_the_end(
    tmp_path: Path, start_sandbox: Callable[..., SandboxServer], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}__TAGS__LIMIT", "20")
    server = start_sandbox(order="restless")
    first = sync(API, "tags")["tags"]
    assert first.table_rows is not None
    assert first.stats.rows_short == 100 - first.table_rows > 0

    expected = expected_keys(server.world, API, "tags")
    for _ in range(20):
        assert sync(API, "tags")["tags"].status == "complete"
        if live_keys(tmp_path, API, "tags") == expected:
            break
    # and they stay
    assert sync(API, "tags")["tags"].status == "complete"
    assert live_keys(tmp_path, API, "tags") == expected
