"""A load package has so many rows, about, in the middle of a list too: memory does not grow with the list."""

from __future__ import annotations

from pathlib import Path

import pytest

from analytics_ingest.sync import load_package as package
from analytics_ingest_tests.conftest import live_keys, packages, stored_cursor, sync
from analytics_ingest_tests.fake_server import FakeServer
from analytics_ingest_tests.sync.conftest import Tags

API = "experimentation"


def test_a_long_list_is_loaded_in_parts(
    tmp_path: Path, tags_server: FakeServer, tags: Tags, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "MAX_PACKAGE_ROWS", 15)
    del tags.rows[35:]
    result = sync(API, "tags")["tags"]

    # two pages of ten, and one with one of five
    assert packages(tmp_path, API) == 2
    assert (result.status, result.table_rows) == ("complete", 35)
    assert live_keys(tmp_path, API, "tags") == sorted((row["id"],) for row in tags.rows)
    assert sync(API, "tags")["tags"].stats.rows_loaded == 0


def test_a_list_that_fails_half_way_leaves_what_came_and_no_cursor(
    tmp_path: Path, tags_server: FakeServer, tags: Tags, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "MAX_PACKAGE_ROWS", 15)
    tags.refused = {4}
    result = sync(API, "tags")["tags"]
    assert (result.status, result.table_rows) == ("failed", 30)
    assert packages(tmp_path, API) == 2
    assert stored_cursor(API, "tags") is None

    tags.refused = set()
    again = sync(API, "tags")["tags"]
    assert (again.status, again.table_rows, again.rows_deleted) == ("complete", 40, 0)
    assert live_keys(tmp_path, API, "tags") == sorted((row["id"],) for row in tags.rows)
    assert stored_cursor(API, "tags") is not None
