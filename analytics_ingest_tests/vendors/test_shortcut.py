"""Shortcut: what the public connectors get wrong, each by name, and its limit on requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from analytics_ingest_tests.conftest import FakeClock, query
from analytics_ingest_tests.fake_server import Response
from analytics_ingest_tests.vendors import shortcut_rows as rows_of
from analytics_ingest_tests.vendors.conftest import Later, Synced, first_sync, later_sync
from analytics_ingest_tests.vendors.server import Limit, Vendor
from analytics_ingest_tests.vendors.shortcut import EPICS, Shortcut

API = "project_planning"
LIVE = "_deleted_at IS NULL"
WRONG = Response(body={"message": "Something went wrong."})


def shortcut_with_few_stories() -> Shortcut:
    """With fewer stories, each of which costs two requests."""
    vendor = Shortcut()
    del vendor.rows("stories")[40:]
    return vendor


def change(shortcut: Shortcut) -> None:
    deepest = shortcut.rows("epics_comments", "1001")[0]["comments"][0]["comments"][0]["comments"][0]
    deepest["text"] = "changed my mind"
    del shortcut.rows("epics_comments", "1002")[0]["comments"][0]["comments"][0]
    # the same moment in the other format is no change
    shortcut.rows("story_history", "5002")[0]["changed_at"] = "2026-03-02T09:20:00.000Z"
    # without it, the history is not requested again
    shortcut.rows("stories")[2]["updated_at"] = rows_of.moment(9000)


first = first_sync(shortcut_with_few_stories)
later = later_sync(change, "epics", "epics_comments", "stories", "story_history")


@pytest.fixture
def shortcut(synced: Synced[Shortcut]) -> Vendor:
    """The server after a first sync of everything."""
    return synced.vendor


def queries(shortcut: Vendor, path: str) -> list[dict[str, str]]:
    return [asked.query for asked in shortcut.asked if asked.path == f"/api/v3{path}"]


def table(tmp_path: Path, columns: str, endpoint: str, where: str = LIVE) -> list[tuple[object, ...]]:
    return sorted(query(tmp_path, f"SELECT {columns} FROM {API}.{endpoint} WHERE {where}"))


def test_bare_arrays_come_whole_with_one_request_each_and_no_parameter(synced: Synced[Shortcut]) -> None:
    shortcut, results = synced.vendor, synced.results
    assert {result.status for result in results.values()} == {"complete"}
    whole = [name for name in results if name in Shortcut.UNPAGED]
    assert len(whole) == 24
    assert {name: shortcut.requests[name] for name in whole} == {name: results[name].stats.parents for name in whole}
    plain = [asked for asked in shortcut.asked if not asked.path.endswith(("/epics", "/stories"))]
    assert [asked.query for asked in plain if asked.query] == []


def test_an_error_object_in_place_of_an_array_is_no_row_and_not_zero_rows(
    synced: Synced[Shortcut], clock: FakeClock
) -> None:
    shortcut, before = synced.vendor, synced.results
    first = [each.name for each in shortcut.api.endpoints if each.parents is None]
    shortcut.faults = {name: [WRONG] * 4 for name in first}
    after = shortcut.sync()

    assert {name: after[name].reason.split(": ")[0] for name in first} == {
        name: f"{shortcut.api.by_name[name].path} the body is not a record (it has no id)" for name in first
    }
    assert {name for name, result in after.items() if result.status == "complete"} == {"search_epics"}
    assert {name: after[name].rows_live for name in first} == {name: before[name].rows_live for name in first}
    assert [after[name].rows_deleted for name in first] == [0] * 15
    # three tries more for each; pauses of several lists overlap, so the clock does not wait for each of them
    meters = [after[name].stats.meter for name in first]
    assert [(each.retries, each.wait_seconds) for each in meters] == [(3, 2 + 4 + 8)] * 15


@pytest.mark.extended
def test_an_error_object_for_a_parent_is_no_row_and_not_zero_rows(synced: Synced[Shortcut]) -> None:
    shortcut, before = synced.vendor, synced.results
    children = [each.name for each in shortcut.api.endpoints if each.parents is not None]
    of_changed = ("epics_health", "stories_comments", "story_history")
    shortcut.faults = {name: [WRONG] * 1000 for name in children}
    after = shortcut.sync(*children)

    # of parents that did not change, the children are not requested
    assert {name: after[name].status for name in children} == dict.fromkeys(children, "failed") | dict.fromkeys(
        of_changed, "complete"
    )
    assert [after[name].stats.meter.requests for name in of_changed] == [0, 0, 0]
    read = [name for name in children if after[name].status == "failed"]
    assert [(after[name].stats.rows_read, after[name].rows_deleted) for name in read] == [(0, 0)] * 9
    assert {name: after[name].rows_live for name in children} == {name: before[name].rows_live for name in children}
    assert "the body is not a record (it has no id)" in after["groups_stories"].reason
    assert "the body has no 'data'" in after["search_epics"].reason


@pytest.mark.parametrize("limit", [None, pytest.param("5000", marks=pytest.mark.extended)])
def test_a_group_of_2300_stories_comes_whole_though_the_page_is_capped(
    shortcut: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None
) -> None:
    setting = "SOURCES__PROJECT_PLANNING__GROUPS_STORIES__LIMIT"
    monkeypatch.delenv(setting) if limit is None else monkeypatch.setenv(setting, limit)
    large = rows_of.group(9)
    shortcut.rows("groups").append(large)
    shortcut.rows("stories").extend(
        rows_of.story(n, epic_id=None, group_id=large["id"], iteration_id=None) for n in range(1000, 3300)
    )
    result = shortcut.sync("groups", "groups_stories")["groups_stories"]

    assert result.status == "complete"
    found = table(tmp_path, "id", "groups_stories", f"group_id = '{large['id']}'")
    assert found == [(id_,) for id_ in range(6000, 8300)]
    asked = [(each["offset"], each["limit"]) for each in queries(shortcut, f"/groups/{large['id']}/stories")]
    assert asked == [(offset, limit or "1000") for offset in ("0", "1000", "2000", "2300")]


def test_replies_to_any_depth_are_rows_that_tell_their_comment_and_epic(shortcut: Vendor, tmp_path: Path) -> None:
    assert table(tmp_path, "id, parent_comment_id, text", "epics_comments", "epic_id = 1001") == [
        (10010, None, "Comment 10010"),
        (10011, 10010, "Comment 10011"),
        (10012, 10011, "Comment 10012"),
        (10013, 10012, "Comment 10013"),
        (10014, 10011, "Comment 10014"),
        (10015, None, "Comment 10015"),
    ]
    # 16 epics have comments, six each
    assert query(tmp_path, f"SELECT count(*), count(DISTINCT epic_id) FROM {API}.epics_comments") == [(96, 16)]
    columns = {name for name, *_ in query(tmp_path, f"DESCRIBE {API}.epics_comments")}
    assert not [name for name in columns if name.startswith("comments")]


def test_of_comments_one_that_changes_is_loaded_alone_and_one_that_goes_takes_its_replies_with_it(later: Later) -> None:
    result = later.results["epics_comments"]

    # not the changed one's parents
    assert (result.stats.rows_loaded, result.rows_deleted) == (1, 2)
    changed = table(later.folder, "id, parent_comment_id", "epics_comments", "text = 'changed my mind'")
    assert changed == [(10013, 10012)]
    assert table(later.folder, "id", "epics_comments", "_deleted_at IS NOT NULL") == [(10022,), (10023,)]


@pytest.mark.parametrize(
    ("name", "unknown", "newest"),
    [
        ("epics", [1003, 1010, 1017], 1023),
        ("labels", [601, 604], 1003),
        ("members", [rows_of.uuid("member", 2), rows_of.uuid("member", 6)], 1007),
        # the last of them is without
        ("files", [700, 705, 710], 1009),
    ],
)
def test_rows_without_updated_at_are_kept_and_the_cursor_is_that_of_the_others(
    synced: Synced[Shortcut], tmp_path: Path, name: str, unknown: list[object], newest: int
) -> None:
    shortcut, result = synced.vendor, synced.results[name]

    assert (result.status, result.stats.rows_rejected, result.rows_live) == ("complete", 0, len(shortcut.rows(name)))
    assert table(tmp_path, "id", name, "updated_at IS NULL") == [(id_,) for id_ in unknown]
    created = [] if name == "files" else unknown
    assert table(tmp_path, "id", name, "created_at IS NULL") == [(id_,) for id_ in created]
    assert result.cursor == datetime.fromisoformat(rows_of.moment(newest))


def test_stories_and_comments_without_updated_at_are_kept(shortcut: Vendor, tmp_path: Path) -> None:
    unknown = [n for n in range(40) if n % 7 == 4]
    for name, left_out in (("epics_stories", (11, 39)), ("groups_stories", (11,))):
        expected = [(5000 + n,) for n in unknown if n not in left_out]
        assert table(tmp_path, "id", name, "updated_at IS NULL") == expected
    assert table(tmp_path, "id, updated_at IS NULL", "stories_comments", "story_id = 5032") == [
        (50320, False),
        (50321, True),
        (50322, False),
    ]
    assert query(tmp_path, f"SELECT count(*) FROM {API}.story_history WHERE story_id = 5032") == [(3,)]


def test_milestones_and_objectives_under_several_categories_are_a_row_for_each_pair(
    shortcut: Vendor, tmp_path: Path
) -> None:
    pairs = [(100, 200), (100, 201), (100, 203), (101, 201), (101, 202), (101, 203), (102, 203), (102, 205)]
    assert table(tmp_path, "category_id, id", "categories_milestones") == pairs
    assert table(tmp_path, "category_id, id", "categories_objectives") == pairs


def test_epics_under_several_objectives_are_a_row_for_each_pair(shortcut: Vendor, tmp_path: Path) -> None:
    under: tuple[list[int], ...] = ([], [200], [201, 202], [203, 200, 205])
    pairs = sorted((objective, 1000 + n) for n in range(24) for objective in under[n % 4])
    assert len(pairs) == 36
    assert table(tmp_path, "objective_id, id", "objectives_epics") == pairs
    # an epic's own milestone_id names the first of them only
    assert table(tmp_path, "milestone_id, id", "milestones_epics") == pairs
    assert table(tmp_path, "milestone_id", "epics", "id = 1003") == [(203,)]


def test_a_story_in_epic_group_and_iteration_has_its_comments_and_history_asked_once(
    shortcut: Vendor, tmp_path: Path
) -> None:
    for name in ("epics_stories", "groups_stories", "iterations_stories"):
        assert table(tmp_path, "id", name, "id = 5000") == [(5000,)]
    for path in ("comments", "history"):
        asked = Counter(each.path.split("/")[4] for each in shortcut.asked if each.path.endswith(f"/{path}"))
        # epics have comments too; 5011 and 5031 are in no epic, group or iteration
        stories = {id_: count for id_, count in asked.items() if id_ >= "5000"}
        assert stories == {str(id_): 1 for id_ in range(5000, 5040)}
    assert table(tmp_path, "id", "stories_comments", "story_id = 5000") == [(50000,)]


def test_a_story_in_a_group_only_has_its_comments_and_history(shortcut: Vendor, tmp_path: Path) -> None:
    assert table(tmp_path, "epic_id, iteration_id", "groups_stories", "id = 5023") == [(None, None)]
    assert table(tmp_path, "id", "stories_comments", "story_id = 5023") == [(50230,), (50231,), (50232,)]
    assert table(tmp_path, "id", "story_history", "story_id = 5023") == [
        (rows_of.uuid("history", 50230 + k),) for k in range(3)
    ]


def test_changed_at_of_history_is_a_time_in_either_format_and_story_id_is_told(
    shortcut: Vendor, later: Later, tmp_path: Path
) -> None:
    sent = [row["changed_at"] for row in shortcut.rows("story_history", "5002")]
    assert sent == ["2026-03-02T09:20:00Z", "2026-03-02T09:21:00.250Z", "2026-03-02T09:22:00Z"]
    epoch = 1_772_443_200_000
    assert table(tmp_path, "epoch_ms(changed_at), typeof(changed_at)", "story_history", "story_id = 5002") == [
        (epoch, "TIMESTAMP WITH TIME ZONE"),
        (epoch + 60_250, "TIMESTAMP WITH TIME ZONE"),
        (epoch + 120_000, "TIMESTAMP WITH TIME ZONE"),
    ]
    assert table(tmp_path, "id", "story_history", "story_id IS DISTINCT FROM primary_id") == []
    assert later.results["story_history"].stats.rows_loaded == 0


def test_epic_workflow_and_member_are_one_row_each(shortcut: Vendor, tmp_path: Path) -> None:
    found = table(tmp_path, "id, default_epic_state_id, json_array_length(epic_states)", "epic_workflow")
    assert found == [(400, 401, 3)]
    assert table(tmp_path, "id, name", "member") == [(rows_of.uuid("member", 0), "Member 0")]


def test_epics_are_asked_with_their_descriptions(shortcut: Vendor, tmp_path: Path) -> None:
    assert queries(shortcut, "/epics") == [{"includes_description": "true"}]
    described = [(1000 + n, f"What epic {n} is for") for n in range(24)]
    assert table(tmp_path, "id, description", "epics") == described


def test_ids_are_text_where_they_are_uuids_and_numbers_elsewhere(shortcut: Vendor, tmp_path: Path) -> None:
    uuids = {"custom_fields", "epics_health", "groups", "member", "members", "story_history"}
    for name in shortcut.api.by_name:
        kind = "VARCHAR" if name in uuids else "BIGINT"
        assert query(tmp_path, f"SELECT DISTINCT typeof(id) FROM {API}.{name}") == [(kind,)], name


def test_a_429_without_a_header_is_ridden_out_by_waits_that_double(
    vendor_server: Callable[..., Vendor], clock: FakeClock
) -> None:
    shortcut = vendor_server(Shortcut())
    shortcut.limit = Limit(requests=20, seconds=60, now=clock.now)
    wanted = ("labels", "groups", "groups_stories", "epics", "epics_comments", "search_epics")
    results = shortcut.sync(*wanted)

    assert {name: result.status for name, result in results.items()} == dict.fromkeys(wanted, "complete")
    answered = shortcut.requests.total() - shortcut.limit.refused
    pages = [results[name].stats.pages for name in ("groups_stories", "search_epics")]
    # two minutes' worth, and some
    assert answered == 3 + sum(pages) + EPICS
    assert 40 < answered <= 60
    # 62 s are longer than what is left of the minute, 30 s are not
    assert clock.slept == [2, 4, 8, 16, 32] * 2
