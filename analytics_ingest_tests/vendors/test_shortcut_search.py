"""Shortcut's search: its links are never followed, its queries come from a setting, and it ends at 1,000 matches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analytics_ingest_tests.conftest import query
from analytics_ingest_tests.fake_server import FakeServer, Response
from analytics_ingest_tests.vendors import shortcut_rows as rows_of
from analytics_ingest_tests.vendors.conftest import Synced, first_sync
from analytics_ingest_tests.vendors.server import Vendor
from analytics_ingest_tests.vendors.shortcut import QUERIES, Shortcut

LIMIT = "SOURCES__PROJECT_PLANNING__SEARCH_EPICS__LIMIT"
QUERY = "SOURCES__PROJECT_PLANNING__SEARCH_QUERY"
LABELLED = 'label:"Label 1 & more, 100%"'


first = first_sync(Shortcut, "search_epics")


@pytest.fixture
def fresh_shortcut(vendor_server: Callable[..., Shortcut]) -> Shortcut:
    return vendor_server(Shortcut())


@pytest.fixture
def other_host() -> Iterator[FakeServer]:
    """Another host, which would answer."""
    server = FakeServer(lambda _: Response(body={"data": [{"id": 1}], "next": None, "total": 1}))
    yield server
    server.stop()


def found(tmp_path: Path, where: str = "_deleted_at IS NULL") -> list[tuple[object, ...]]:
    return sorted(query(tmp_path, f"SELECT query, id FROM project_planning.search_epics WHERE {where}"))


def asked(shortcut: Vendor, text: str) -> list[dict[str, str]]:
    """The parameters of the requests for a query, of a token only where it leads to."""
    every = [each.query for each in shortcut.asked if each.query["query"] == text]
    return [{**each, "next": each["next"].partition("~")[2]} if "next" in each else each for each in every]


def done(shortcut: Vendor, count: int) -> None:
    """Puts so many epics that are done in place of those that are."""
    others = [row for row in shortcut.rows("epics") if row["state"] != "done"]
    shortcut.rows("epics")[:] = [
        *others,
        *(rows_of.epic(n, state="done", objective_ids=[]) for n in range(100, 100 + count)),
    ]


def test_the_token_of_the_next_page_is_sent_with_the_same_parameters(
    fresh_shortcut: Shortcut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(LIMIT)
    done(fresh_shortcut, 608)
    result = fresh_shortcut.sync("search_epics")["search_epics"]

    assert (result.status, result.stats.rows_short, result.stats.meter.requests) == ("complete", 0, 5)
    common = {"query": "is:done", "page_size": "250", "detail": "full"}
    assert asked(fresh_shortcut, "is:done") == [common, {**common, "next": "250"}, {**common, "next": "500"}]
    assert {each.path for each in fresh_shortcut.asked} == {"/api/v3/search/epics"}
    assert found(tmp_path, "query = 'is:done'") == [("is:done", 1100 + n) for n in range(608)]


def test_a_link_to_another_host_gets_no_request_there(
    fresh_shortcut: Shortcut, other_host: FakeServer, tmp_path: Path
) -> None:
    fresh_shortcut.link_base = other_host.url
    result = fresh_shortcut.sync("search_epics")["search_epics"]

    assert other_host.asked == []
    # eight matches each, three a page
    assert (result.status, result.stats.pages, fresh_shortcut.requests["search_epics"]) == ("complete", 9, 9)
    assert found(tmp_path) == sorted((QUERIES[n % 3], 1000 + n) for n in range(24))


def test_three_queries_are_asked_unless_the_setting_says_otherwise(synced: Synced[Shortcut], tmp_path: Path) -> None:
    assert {each.query["query"] for each in synced.vendor.asked} == {"is:unstarted", "is:started", "is:done"}
    assert found(tmp_path) == sorted((QUERIES[n % 3], 1000 + n) for n in range(24))
    described = query(tmp_path, "SELECT description FROM project_planning.search_epics WHERE id = 1007")
    assert described == [("What epic 7 is for",)]


@pytest.mark.parametrize(
    ("setting", "texts"),
    [
        ("is:done, is:started", ("is:done", "is:started")),
        ('["is:done", "label:\\"Label 1 & more, 100%\\""]', ("is:done", LABELLED)),
    ],
)
def test_the_setting_replaces_the_queries_and_what_they_found(
    synced: Synced[Shortcut], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, texts: tuple[str, str]
) -> None:
    shortcut = synced.vendor
    shortcut.asked.clear()
    monkeypatch.setenv(QUERY, setting)
    result = shortcut.sync("search_epics")["search_epics"]

    assert {each.query["query"] for each in shortcut.asked} == set(texts)
    # every third epic is done, and every third has that label
    assert found(tmp_path) == sorted(
        [(texts[0], 1000 + n) for n in range(2, 24, 3)] + [(texts[1], 1000 + n) for n in range(1, 24, 3)]
    )
    assert result.rows_deleted == 8


def test_an_epic_that_moves_on_to_another_query_keeps_one_row(synced: Synced[Shortcut], tmp_path: Path) -> None:
    shortcut = synced.vendor
    shortcut.rows("epics")[0]["state"] = "in progress"
    result = shortcut.sync("search_epics")["search_epics"]

    assert (result.stats.rows_loaded, result.rows_deleted) == (1, 0)
    assert found(tmp_path, "id = 1000 AND _deleted_at IS NULL") == [("is:started", 1000)]


def test_of_more_than_1000_matches_the_rest_is_missed_and_none_is_marked_as_deleted(
    fresh_shortcut: Shortcut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(LIMIT)
    done(fresh_shortcut, 1100)
    with caplog.at_level(logging.WARNING, "test"):
        result = fresh_shortcut.sync("search_epics")["search_epics"]

    assert (result.status, result.stats.rows_short) == ("complete", 100)
    # read twice, to be sure
    assert [each.get("next") for each in asked(fresh_shortcut, "is:done")] == [None, "250", "500", "750"] * 2
    assert "project_planning/search_epics: 100 rows fewer came than the API states" in caplog.text
    assert [each.name for each in result.checks if not each.passed] == ["rows_as_stated"]
    assert found(tmp_path, "query = 'is:done'") == [("is:done", 1100 + n) for n in range(1000)]

    # one within reach goes, and the next after these comes within reach; of another search one goes too
    gone = [row for row in fresh_shortcut.rows("epics") if row["id"] in (1107, 1000)]
    for row in gone:
        fresh_shortcut.rows("epics").remove(row)
    result = fresh_shortcut.sync("search_epics")["search_epics"]

    assert (result.stats.rows_short, result.stats.rows_loaded, result.rows_deleted) == (99, 1, 1)
    assert found(tmp_path, "query = 'is:done' AND _deleted_at IS NULL") == [("is:done", 1100 + n) for n in range(1001)]
    assert found(tmp_path, "_deleted_at IS NOT NULL") == [("is:unstarted", 1000)]
