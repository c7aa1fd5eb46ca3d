"""Lists whose rows move while their pages are read: nothing is lost, nothing is marked as deleted that is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import FakeClock, expected_keys, live_keys, query, sync
from analytics_ingest_tests.fake_server import FakeServer
from analytics_ingest_tests.sync.conftest import PREFIX, Tags
from analytics_ingest_tests.trials import Trial

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


A_DAY, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


@pytest.mark.parametrize("pages", ["one page", "two pages"])
@pytest.mark.parametrize(
    ("first", "second", "stored", "ambiguous"),
    [
        pytest.param(None, None, "second", 1, id="without times"),
        pytest.param(A_DAY, A_DAY, "second", 1, id="with the same time"),
        pytest.param(LATER, A_DAY, "first", 0, id="the first is newer"),
        pytest.param(A_DAY, LATER, "second", 0, id="the second is newer"),
    ],
)
def test_two_rows_of_one_key_with_different_contents(
    tmp_path: Path, trial_api: Trial, pages: str, first: str | None, second: str | None, stored: str, ambiguous: int
) -> None:
    one = [{"id": 1, "name": "first", "updated_at": first}]
    other = [{"id": 1, "name": "second", "updated_at": second}, {"id": 2, "name": "another", "updated_at": A_DAY}]
    trial_api.rows.things = [one, other] if pages == "two pages" else [one + other]
    # two versions of a row in one response are told, whichever is newer: no row moves within a response
    told = ambiguous if pages == "two pages" else 1
    for _ in range(3):
        result = trial_api.sync("things")["things"]

        # the table does not alternate between them
        assert query(tmp_path, "SELECT id, name FROM trials.things ORDER BY id") == [(1, stored), (2, "another")]
        assert result.stats.keys_ambiguous == told
        found = {each.name: each for each in result.checks}["key_unique"]
        assert found.passed is not bool(told)
        assert (f"; {told} keys came twice in a list with different contents: the table has" in found.message) is bool(
            told
        )


def test_row_that_two_parents_have_in_two_versions(tmp_path: Path, trial_api: Trial) -> None:
    things = [{"id": 1, "name": "a thing"}, {"id": 2, "name": "another"}]
    trial_api.rows.things = [things]
    trial_api.rows.parts = {"1": [[{"id": 7, "name": "of 1"}]], "2": [[{"id": 7, "name": "of 2"}]]}
    result = trial_api.sync()["parts"]

    assert result.stats.keys_ambiguous == 0
    assert query(tmp_path, "SELECT thing_id, id, name FROM trials.parts ORDER BY 1") == [(1, 7, "of 1"), (2, 7, "of 2")]
