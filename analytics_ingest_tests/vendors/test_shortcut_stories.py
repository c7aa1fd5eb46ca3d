"""Shortcut's stories: all of them come, changed ones at one request, with comments and history of those alone."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from analytics_ingest.apis.project_planning import STORIES as BY_EPIC_GROUP_OR_ITERATION
from analytics_ingest.diagnostics.change_probe import fingerprint_lists
from analytics_ingest.diagnostics.verify import verify_api
from analytics_ingest.extract.sync_options import SyncOptions
from analytics_ingest.sync import api_sync
from analytics_ingest.sync.api_sync import ApiSync
from analytics_ingest_tests.conftest import FakeClock, query
from analytics_ingest_tests.fake_server import Asked, Response
from analytics_ingest_tests.vendors import shortcut_rows as rows_of
from analytics_ingest_tests.vendors.conftest import Synced, first_sync
from analytics_ingest_tests.vendors.server import Vendor
from analytics_ingest_tests.vendors.shortcut import STORIES, Shortcut

API = "project_planning"
LIVE = "_deleted_at IS NULL"
LOG = logging.getLogger("test")
OF_STORIES = ("stories", "stories_comments", "story_history")
OLD_LISTS = ("epics_stories", "groups_stories", "iterations_stories")
NEWEST = rows_of.moment(1000 + STORIES - 1)
HOUR_BEFORE_NEWEST = rows_of.moment(1000 + STORIES - 1 - 60)

first = first_sync(Shortcut, *OF_STORIES)


@pytest.fixture
def stories_server(synced: Synced[Shortcut]) -> Shortcut:
    """The server after a first sync of stories, comments and history; what that asked is forgotten."""
    synced.vendor.requests.clear()
    synced.vendor.asked.clear()
    return synced.vendor


def windows() -> int:
    """The requests for all stories: one for each 90 days since 2014."""
    days = (datetime.now(UTC) - datetime(2014, 1, 1, tzinfo=UTC)).days
    return -(-days // 90)


def searches(shortcut: Vendor) -> list[Any]:
    """The bodies of the searches of stories."""
    return [asked.json for asked in shortcut.asked if asked.path.endswith("/stories/search")]


def table(tmp_path: Path, columns: str, endpoint: str, where: str = LIVE) -> list[tuple[object, ...]]:
    return sorted(query(tmp_path, f"SELECT {columns} FROM {API}.{endpoint} WHERE {where}"))


def requests(shortcut: Vendor) -> dict[str, int]:
    """The requests of the last sync for stories, comments and history."""
    found = {name: shortcut.requests[name] for name in OF_STORIES}
    shortcut.requests.clear()
    return found


def edit(shortcut: Vendor, number: int, minute: int = 9000, **fields: Any) -> None:
    """Changes a story, by its place among all."""
    shortcut.rows("stories")[number].update(fields, updated_at=rows_of.moment(minute))


def test_every_story_comes_with_description_whether_archived_or_in_nothing_else(
    stories_server: Shortcut, tmp_path: Path
) -> None:
    everything = [(row["id"], row["description"], row["archived"]) for row in stories_server.rows("stories")]
    assert table(tmp_path, "id, description, archived", "stories") == everything
    assert sum(archived for *_, archived in everything) == 7
    in_nothing = "epic_id IS NULL AND group_id IS NULL AND iteration_id IS NULL"
    assert table(tmp_path, "id", "stories", in_nothing) == [(5011,), (5031,), (5071,)]
    for name, count in (("stories_comments", 3), ("story_history", 3)):
        assert query(tmp_path, f"SELECT count(*) FROM {API}.{name} WHERE story_id = 5011") == [(count,)]


def test_first_sync_reads_windows_of_90_days_the_newest_first(synced: Synced[Shortcut]) -> None:
    found = searches(synced.vendor)

    assert len(found) == windows() == synced.vendor.requests["stories"]
    assert [each.keys() for each in found] == [
        {"includes_description", "created_at_start"},
        *[{"includes_description", "created_at_start", "created_at_end"}] * (windows() - 2),
        {"includes_description", "created_at_end"},
    ]
    assert {each["includes_description"] for each in found} == {True}
    starts = [datetime.fromisoformat(each["created_at_start"]) for each in found[:-1]]
    ends = [datetime.fromisoformat(each["created_at_end"]) for each in found[1:]]
    assert {(newer - older).days for newer, older in pairwise(starts)} == {90}
    # none comes twice, none is left out: times of stories have no more than milliseconds
    assert {(start - end).total_seconds() for start, end in zip(starts, ends, strict=True)} == {0.001}
    results = synced.results["stories"]
    assert (results.status, results.stats.rows_loaded, results.stats.pages) == ("complete", STORIES, windows())
    assert results.cursor == datetime.fromisoformat(NEWEST)


def test_later_sync_asks_for_what_was_updated_since_an_hour_before_the_newest(
    stories_server: Shortcut, tmp_path: Path
) -> None:
    edit(stories_server, 3, name="another name", archived=True)
    stories_server.add_story(STORIES)
    edit(stories_server, STORIES, 9001)
    results = stories_server.sync(*OF_STORIES)

    assert searches(stories_server) == [{"includes_description": True, "updated_at_start": HOUR_BEFORE_NEWEST}]
    assert results["stories"].stats.rows_loaded == 2
    assert results["stories"].cursor == datetime.fromisoformat(rows_of.moment(9001))
    assert requests(stories_server) == {"stories": 1, "stories_comments": 2, "story_history": 2}
    assert table(tmp_path, "name, archived", "stories", "id = 5003") == [("another name", True)]
    assert table(tmp_path, "id", "stories_comments", "story_id = 5080") == [(50800,), (50801,), (50802,)]


def test_lookback_is_a_setting(stories_server: Shortcut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__PROJECT_PLANNING__LOOKBACK", "60")
    stories_server.sync("stories")

    assert [each["updated_at_start"] for each in searches(stories_server)] == [rows_of.moment(1000 + STORIES - 2)]


def test_a_comment_shows_as_its_story_changes(stories_server: Shortcut, tmp_path: Path) -> None:
    comments = stories_server.rows("stories_comments", "5002")
    comments[0]["text"] = "edited"
    del comments[1]
    stories_server.rows("stories_comments", "5005")[0]["text"] = "edited, which its story does not show"
    edit(stories_server, 2)
    results = stories_server.sync(*OF_STORIES)

    assert requests(stories_server) == {"stories": 1, "stories_comments": 1, "story_history": 1}
    assert (results["stories_comments"].stats.rows_loaded, results["stories_comments"].rows_deleted) == (1, 1)
    assert table(tmp_path, "id, text", "stories_comments", f"story_id = 5002 AND {LIVE}") == [
        (50020, "edited"),
        (50022, "On it, 2"),
    ]
    stories_server.sync(*OF_STORIES, full_refresh=True)
    assert table(tmp_path, "text", "stories_comments", "id = 50050") == [("edited, which its story does not show",)]


@pytest.mark.extended
@pytest.mark.parametrize("fan_out", ["all", "changed"])
def test_of_2000_stories_with_20_changed_a_sync_costs_41_requests(
    vendor_server: Callable[..., Vendor], tmp_path: Path, fan_out: str
) -> None:
    vendor = Shortcut()
    for number in range(STORIES, 2000):
        vendor.add_story(number)
    stories_server = vendor_server(vendor, FAN_OUT=fan_out)
    stories_server.sync(*OF_STORIES)
    assert requests(stories_server) == {"stories": windows(), "stories_comments": 2000, "story_history": 2000}

    stories_server.sync(*OF_STORIES)
    assert requests(stories_server) == {"stories": 1, "stories_comments": 0, "story_history": 0}

    for number in range(0, 2000, 100):
        edit(stories_server, number, name="another name")
    results = stories_server.sync(*OF_STORIES)
    assert {name: results[name].status for name in OF_STORIES} == dict.fromkeys(OF_STORIES, "complete")
    assert requests(stories_server) == {"stories": 1, "stories_comments": 20, "story_history": 20}
    assert table(tmp_path, "count(*)", "stories", f"name = 'another name' AND {LIVE}") == [(20,)]


def test_full_refresh_asks_for_everything_and_the_sync_after_it_for_what_changed(stories_server: Shortcut) -> None:
    stories_server.sync(*OF_STORIES, full_refresh=True)
    assert requests(stories_server) == {"stories": windows(), "stories_comments": STORIES, "story_history": STORIES}

    stories_server.sync(*OF_STORIES)
    assert requests(stories_server) == {"stories": 1, "stories_comments": 0, "story_history": 0}


def test_a_deleted_story_is_marked_by_a_full_refresh_with_its_comments_and_history(
    stories_server: Shortcut, tmp_path: Path
) -> None:
    del stories_server.rows("stories")[8]
    result = stories_server.sync(*OF_STORIES)["stories"]
    assert (result.status, result.rows_deleted) == ("complete", 0)
    assert table(tmp_path, "count(*)", "stories") == [(STORIES,)]

    results = stories_server.sync(*OF_STORIES, full_refresh=True)
    assert [results[name].rows_deleted for name in OF_STORIES] == [1, 3, 3]
    for name, column in (("stories", "id"), ("stories_comments", "story_id"), ("story_history", "story_id")):
        assert query(tmp_path, f"SELECT DISTINCT {column} FROM {API}.{name} WHERE NOT {LIVE}") == [(5008,)]


@pytest.fixture
def a_day_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the sync after the first one start a day later."""

    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(days=1)

    monkeypatch.setattr(api_sync, "datetime", Tomorrow)


@pytest.mark.usefixtures("a_day_later")
def test_once_a_day_all_stories_are_read_and_only_what_differs_is_loaded(
    stories_server: Shortcut, tmp_path: Path
) -> None:
    del stories_server.rows("stories")[8]
    # the first: without a new updated_at; the last: without any
    stories_server.rows("stories")[3]["name"] = "another name"
    edit(stories_server, 9, name="another name")
    stories_server.add_story(81 + 4)
    results = stories_server.sync(*OF_STORIES)

    assert [(each.status, each.rows_deleted) for each in results.values()] == [
        ("complete", 1),
        ("complete", 3),
        ("complete", 3),
    ]
    assert results["stories"].stats.rows_loaded == 3
    assert requests(stories_server) == {"stories": windows(), "stories_comments": 3, "story_history": 3}
    assert table(tmp_path, "id", "stories", f"name = 'another name' AND {LIVE}") == [(5003,), (5010,)]
    assert table(tmp_path, "id", "stories", "NOT (_deleted_at IS NULL)") == [(5008,)]
    stories_server.asked.clear()
    stories_server.sync(*OF_STORIES)
    assert requests(stories_server) == {"stories": 1, "stories_comments": 0, "story_history": 0}


@pytest.mark.usefixtures("a_day_later")
def test_a_whole_read_that_fails_is_tried_again_and_marks_nothing(stories_server: Shortcut, tmp_path: Path) -> None:
    del stories_server.rows("stories")[8]
    stories_server.faults = {"stories": [Response(status=400, body={"message": "no"})]}
    failed = stories_server.sync("stories")["stories"]
    assert (failed.status, failed.rows_deleted) == ("failed", 0)
    stories_server.requests.clear()

    again = stories_server.sync("stories")["stories"]
    assert (again.status, again.rows_deleted, stories_server.requests["stories"]) == ("complete", 1, windows())


def test_a_child_that_failed_is_asked_again_though_its_story_did_not_change(stories_server: Shortcut) -> None:
    edit(stories_server, 2)
    edit(stories_server, 5)
    stories_server.faults = {"story_history": [Response(status=403, body={"message": "no"})]}
    failed = stories_server.sync(*OF_STORIES)["story_history"]
    assert failed.status == "failed"
    assert requests(stories_server) == {"stories": 1, "stories_comments": 2, "story_history": 2}

    assert stories_server.sync(*OF_STORIES)["story_history"].status == "complete"
    assert requests(stories_server) == {"stories": 1, "stories_comments": 0, "story_history": 1}


def test_stories_without_updated_at_come_with_all_stories_and_are_not_lost(
    stories_server: Shortcut, tmp_path: Path
) -> None:
    unknown = [(5000 + n,) for n in range(STORIES) if n % 7 == 4]
    assert table(tmp_path, "id", "stories", "updated_at IS NULL") == unknown
    stories_server.sync(*OF_STORIES)

    assert table(tmp_path, "id", "stories", f"updated_at IS NULL AND {LIVE}") == unknown


def test_a_response_that_is_too_large_is_asked_for_in_halves(
    stories_server: Shortcut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(STORIES):
        edit(stories_server, number, 9000 + number, name="another name")
    monkeypatch.setenv("SOURCES__PROJECT_PLANNING__MAX_ANSWER_BYTES", "10000")
    result = stories_server.sync("stories")["stories"]

    assert (result.status, result.stats.rows_read, result.stats.rows_loaded) == ("complete", STORIES, STORIES)
    asked = searches(stories_server)
    assert asked[0] == {"includes_description": True, "updated_at_start": HOUR_BEFORE_NEWEST}
    assert len(asked) > result.stats.pages > 3
    assert table(tmp_path, "count(*)", "stories", f"name = 'another name' AND {LIVE}") == [(STORIES,)]


def test_a_response_that_cannot_be_halved_fails_with_the_setting(
    stories_server: Shortcut, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(STORIES):
        edit(stories_server, number)
    monkeypatch.setenv("SOURCES__PROJECT_PLANNING__MAX_ANSWER_BYTES", "10000")
    result = stories_server.sync("stories")["stories"]

    assert result.status == "failed"
    assert "SOURCES__PROJECT_PLANNING__MAX_ANSWER_BYTES allows (10,000 bytes)" in result.reason


def test_a_search_is_retried_with_the_same_body(stories_server: Shortcut, clock: FakeClock) -> None:
    stories_server.faults = {
        "stories": [Response(status=503, body=""), Response(status=429, body={"message": "later"})]
    }
    clock.slept.clear()
    result = stories_server.sync("stories")["stories"]

    assert (result.status, result.stats.meter.retries, clock.slept) == ("complete", 2, [2, 4])
    assert searches(stories_server) == [{"includes_description": True, "updated_at_start": HOUR_BEFORE_NEWEST}] * 3
    assert {(asked.method, asked.headers["Shortcut-Token"]) for asked in stories_server.asked} == {
        ("POST", stories_server.KEY)
    }


def test_a_redirect_of_the_search_is_not_followed(stories_server: Shortcut) -> None:
    stories_server.faults = {"stories": [Response(status=307, body="", headers={"Location": "/api/v3/stories"})]}
    result = stories_server.sync("stories")["stories"]

    assert result.status == "failed"
    assert "answered 307, a redirect to /api/v3/stories on the same host" in result.reason
    assert [(asked.method, asked.path) for asked in stories_server.asked] == [("POST", "/api/v3/stories/search")]


def test_a_window_of_a_run_asks_from_its_start(stories_server: Shortcut) -> None:
    result = stories_server.sync(
        "stories", updated_from="2026-03-01T17:00:00+00:00", updated_to="2026-03-01T17:09:00+00:00"
    )["stories"]

    assert searches(stories_server) == [{"includes_description": True, "updated_at_start": "2026-03-01T17:00:00Z"}]
    # the minutes 1020 to 1029 after the start of the month, without a story that has no such time
    assert result.stats.rows_loaded == 9


def test_old_lists_stay_and_a_setting_leaves_them_out(
    vendor_server: Callable[..., Vendor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stories_server = vendor_server(Shortcut())
    parents = ("epics", "groups", "iterations")
    results = stories_server.sync(*parents, *OLD_LISTS, *OF_STORIES)
    assert {result.status for result in results.values()} == {"complete"}
    before = {name: table(tmp_path, "*", name) for name in OLD_LISTS}
    assert [len(rows) for rows in before.values()] == [60, 64, 27]

    monkeypatch.setenv("SOURCES__PROJECT_PLANNING__SKIP_ENDPOINTS", ",".join(OLD_LISTS))
    stories_server.requests.clear()
    edit(stories_server, 11, name="another name")
    results = stories_server.sync(*parents, *OLD_LISTS, *OF_STORIES)
    assert {name: results[name].reason for name in OLD_LISTS} == dict.fromkeys(OLD_LISTS, "left out by SKIP_ENDPOINTS")
    assert {name: results[name].status for name in OF_STORIES} == dict.fromkeys(OF_STORIES, "complete")
    assert [stories_server.requests[name] for name in OLD_LISTS] == [0, 0, 0]
    assert requests(stories_server) == {"stories": 1, "stories_comments": 1, "story_history": 1}
    assert {name: table(tmp_path, "*", name) for name in OLD_LISTS} == before


def test_a_warehouse_from_before_there_were_stories_is_kept(
    vendor_server: Callable[..., Vendor], tmp_path: Path
) -> None:
    """Comments and history were read for stories of epics, groups and iterations: their rows stay as they are."""
    stories_server = vendor_server(Shortcut())
    now = stories_server.api
    former = replace(
        now,
        probes=(),
        endpoints=tuple(
            replace(each, parents=BY_EPIC_GROUP_OR_ITERATION) if each.name in OF_STORIES[1:] else each
            for each in now.endpoints
            if each.name not in ("stories", "projects", "epics_health")
        ),
    )
    list(ApiSync(former, selected=None, options=SyncOptions(), log=LOG).run())
    columns = "story_id, id, _row_hash, _dlt_id, _dlt_load_id"
    before = {name: table(tmp_path, columns, name) for name in OF_STORIES[1:]}
    stories_server.requests.clear()

    results = stories_server.sync()
    assert {result.status for result in results.values()} == {"complete"}
    # once, as the sync before did
    assert requests(stories_server) == {"stories": windows(), "stories_comments": STORIES, "story_history": STORIES}
    # 5031 has no comment
    for name, added in (("stories_comments", {5011, 5071}), ("story_history", {5011, 5031, 5071})):
        after = table(tmp_path, columns, name)
        assert set(before[name]) <= set(after)
        assert {row[0] for row in set(after) - set(before[name])} == added
        assert results[name].rows_deleted == 0
    stories_server.sync()
    assert requests(stories_server) == {"stories": 1, "stories_comments": 0, "story_history": 0}


def test_probe_asks_for_stories_updated_since_yesterday(stories_server: Shortcut) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    before = fingerprint_lists(stories_server.api, log=LOG)
    yesterday = f"{datetime.fromtimestamp(today.timestamp() - 86_400, tz=UTC):%Y-%m-%dT%H:%M:%SZ}"

    assert before.failures == {}
    assert searches(stories_server) == [{"includes_description": True, "updated_at_start": yesterday}]
    stories_server.rows("stories")[3].update(name="another name", updated_at=f"{today:%Y-%m-%dT%H:%M:%SZ}")
    after = fingerprint_lists(stories_server.api, log=LOG)
    assert {name for name in after.fingerprints if after.fingerprints[name] != before.fingerprints[name]} == {"stories"}
    assert fingerprint_lists(stories_server.api, log=LOG) == after


def test_verify_reads_all_stories_and_finds_one_that_is_gone(stories_server: Shortcut) -> None:
    del stories_server.rows("stories")[8]
    found = {each.endpoint.name: each for each in verify_api(stories_server.api, selected={"stories"}, log=LOG)}[
        "stories"
    ]

    assert (found.upstream, found.table) == (STORIES - 1, STORIES)
    assert len(searches(stories_server)) == windows()


def test_health_of_epics_is_asked_for_changed_epics_only(vendor_server: Callable[..., Vendor], tmp_path: Path) -> None:
    stories_server = vendor_server(Shortcut())
    stories_server.sync("epics", "epics_health")
    epics = stories_server.rows("epics")
    assert stories_server.requests["epics_health"] == len(epics) == 24
    # a report without an id says that there is none
    per_epic = Counter({1000 + n: n % 4 for n in range(24) if n % 4})
    assert table(tmp_path, "epic_id, count(*)", "epics_health", f"{LIVE} GROUP BY epic_id") == sorted(per_epic.items())

    stories_server.requests.clear()
    epics[5]["updated_at"] = rows_of.moment(9000)
    stories_server.rows("epics_health", "1005").insert(0, rows_of.health(50, 1005, id_=rows_of.uuid("health", 999)))
    result = stories_server.sync("epics", "epics_health")["epics_health"]
    assert (stories_server.requests["epics_health"], result.stats.rows_loaded) == (1, 1)


def test_no_request_of_a_sync_changes_anything(vendor_server: Callable[..., Vendor]) -> None:
    stories_server = vendor_server(Shortcut())
    stories_server.sync()

    def is_read(asked: Asked) -> bool:
        return asked.method == "GET" or (asked.method, asked.path) == ("POST", "/api/v3/stories/search")

    assert [asked for asked in stories_server.asked if not is_read(asked)] == []
