"""Split: what the public connectors get wrong, each by name, and its limit on requests."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from analytics_ingest.apis.model import Api
from analytics_ingest.apis.registry import APIS
from analytics_ingest.extract.sync_options import SyncOptions
from analytics_ingest.sync.api_sync import ApiSync
from analytics_ingest_tests.conftest import FakeClock, live_keys, query
from analytics_ingest_tests.environment import WAREHOUSE, configure_api
from analytics_ingest_tests.fake_server import Asked, Response
from analytics_ingest_tests.vendors.conftest import Later, Synced, first_sync, later_sync
from analytics_ingest_tests.vendors.server import Limit, Route
from analytics_ingest_tests.vendors.split import SDK_KEY, STATUSES, Split, change_request

LOG = logging.getLogger("test")
API = "feature_management"


def split_with_a_segment_of_one_workspace() -> Split:
    vendor = Split()
    vendor.rows("segments", "ws-1").append({"name": "only in ws-1", "creationTime": 1})
    for stage in ("staging", "production"):
        vendor.define("ws-1", stage, "only in ws-1")
    return vendor


def change(split: Split) -> None:
    split.rows("change_requests")[0]["status"] = "PUBLISHED"
    keys = split.rows("segments_keys", "ws-0-staging", "segment 0/a")
    del keys[3]
    keys.append({"key": "one more"})


first = first_sync(split_with_a_segment_of_one_workspace)
later = later_sync(change, "change_requests", "workspaces", "environments", "segment_definitions", "segments_keys")


@pytest.fixture
def split(synced: Synced[Split]) -> Split:
    """The server after a first sync of everything."""
    return synced.vendor


def queries(split: Split, path: str) -> list[dict[str, str]]:
    return [asked.query for asked in split.asked if asked.path.endswith(path)]


def test_marker_lists_are_paged_by_marker_as_page_1_repeats_with_offset(synced: Synced[Split], tmp_path: Path) -> None:
    split = synced.vendor
    assert synced.results["change_requests"].status == "complete"
    assert live_keys(tmp_path, "feature_management", "change_requests") == sorted((f"cr-{n}",) for n in range(700))
    requested = [each.get("after") for each in queries(split, "/v2/changeRequests") if each["status"] == "REQUESTED"]
    # 230 and the sixth part of the 470 others
    assert requested == [None, "m100", "m200", "m300"]
    assert not any("offset" in each for each in queries(split, "/v2/changeRequests"))


def test_change_requests_of_every_status_are_read(split: Split, tmp_path: Path) -> None:
    found = dict(query(tmp_path, "SELECT status, count(*) FROM feature_management.change_requests GROUP BY 1"))
    assert found == Counter(change_request(n)["status"] for n in range(700))
    assert found.keys() == set(STATUSES)


def test_a_change_request_that_moves_on_keeps_one_row(later: Later) -> None:
    result = later.results["change_requests"]

    assert (result.stats.rows_loaded, result.rows_deleted) == (1, 0)
    found = query(later.folder, "SELECT status, _deleted_at FROM feature_management.change_requests WHERE id = 'cr-0'")
    assert found == [("PUBLISHED", None)]


def test_users_who_are_pending_are_read_too(split: Split, tmp_path: Path) -> None:
    found = query(tmp_path, "SELECT status, count(*) FROM feature_management.users GROUP BY 1")
    assert dict(found) == {"ACTIVE": 270, "DEACTIVATED": 90, "PENDING": 90}


def test_a_segment_of_more_than_50_keys_is_read_to_its_end(split: Split, tmp_path: Path) -> None:
    counted = "SELECT count(*) FROM feature_management.segments_keys WHERE environment_id = 'ws-0-staging' AND "
    assert query(tmp_path, f"{counted} segment_name = 'segment 0/a'") == [(250,)]
    asked = queries(split, "/ws-0-staging/segment%200%2Fa/keys")
    assert [(each.get("offset"), each["limit"]) for each in asked] == [("0", "100"), ("100", "100"), ("200", "100")]


def test_keys_are_told_apart_by_value_and_not_by_clock(later: Later) -> None:
    result = later.results["segments_keys"]

    assert (result.stats.rows_loaded, result.rows_deleted) == (1, 1)
    gone = query(later.folder, "SELECT key FROM feature_management.segments_keys WHERE _deleted_at IS NOT NULL")
    assert gone == [("staging-key-3",)]


def test_segments_are_asked_for_within_their_workspace_only(split: Split) -> None:
    asked = {asked.path.split("/")[5] for asked in split.asked if "only%20in%20ws-1" in asked.path}
    assert asked == {"ws-1-staging", "ws-1-production"}


def test_keys_are_requested_of_segments_that_are_defined_in_an_environment_alone(synced: Synced[Split]) -> None:
    """One request for each, two more for 250 keys, and one more for 100, a full page."""
    split, result = synced.vendor, synced.results["segments_keys"]

    # of the segments 0 to 52 and twice 0 to 7, every second is defined in staging and every fifth in production
    defined = (27 + 11) + 2 * (4 + 2) + 2
    assert len(split.store["segments_keys"]) == defined == 52
    assert (result.status, result.stats.parents, result.stats.parents_missing) == ("complete", defined, 0)
    assert result.stats.meter.retries == 0
    assert split.requests["segments_keys"] == defined + 6 * 2 + 2 == 66
    assert split.requests["segment_definitions"] == 7
    assert (synced.slept, sum(split.requests.values())) == ([], 169)


def test_a_segment_that_leaves_an_environment_between_the_two_lists_costs_one_request(split: Split) -> None:
    del split.store["segments_keys"]["ws-0-staging", "segment 2/a"]
    split.asked.clear()
    result = split.sync("segments_keys")["segments_keys"]

    assert (result.status, result.stats.parents_missing, result.stats.meter.retries) == ("complete", 1, 0)
    assert result.rows_deleted == 3


def test_keys_of_a_segment_that_left_an_environment_are_marked(split: Split, tmp_path: Path) -> None:
    definitions = split.rows("segment_definitions", "ws-0", "ws-0-staging")
    definitions[:] = [each for each in definitions if each["name"] != "segment 2/a"]
    split.requests.clear()
    results = split.sync("segment_definitions", "segments_keys")

    assert (results["segment_definitions"].rows_deleted, results["segments_keys"].rows_deleted) == (1, 3)
    gone = "SELECT DISTINCT segment_name FROM feature_management.segments_keys WHERE _deleted_at IS NOT NULL"
    assert query(tmp_path, gone) == [("segment 2/a",)]


def test_keys_of_sdks_are_not_loaded(split: Split, tmp_path: Path) -> None:
    names = query(tmp_path, "SELECT table_name, column_name FROM information_schema.columns")
    assert ("environments", "production") in names
    assert ("environments", "api_tokens") not in names
    assert SDK_KEY.encode() not in (tmp_path / WAREHOUSE).read_bytes()


def test_flag_sets_are_read_under_either_name_of_their_list(split: Split, tmp_path: Path) -> None:
    split.faults["flag_sets"] = [Response(body={"objects": [{"id": "old", "name": "set"}], "nextMarker": None})]
    split.sync("workspaces", "flag_sets")

    assert ("old",) in live_keys(tmp_path, "feature_management", "flag_sets")


def test_definitions_tell_when_a_flag_changed_in_an_environment(split: Split, tmp_path: Path) -> None:
    found = query(
        tmp_path,
        "SELECT count(*), count(DISTINCT environment_id), max(epoch_ms(last_update_time)) "
        "FROM feature_management.feature_flag_definitions",
    )
    assert found == [(6 * 43, 6, 1_760_000_000_000 + 5000 * 42)]


def test_epoch_milliseconds_are_times(split: Split, tmp_path: Path) -> None:
    found = query(
        tmp_path,
        "SELECT typeof(creation_time), epoch_ms(creation_time), epoch_ms(rollout_status_timestamp) "
        "FROM feature_management.feature_flags WHERE id = 'ws-0-flag-1'",
    )
    assert found == [("TIMESTAMP WITH TIME ZONE", 1_760_000_001_000, 1_760_000_002_000)]


def test_the_limit_is_ridden_out_by_the_longer_of_its_two_resets(
    vendor_server: Callable[..., Split], clock: FakeClock
) -> None:
    split = vendor_server(Split())
    split.limit = Limit(requests=20, seconds=10, now=clock.now)
    wanted = ("workspaces", "environments", "segment_definitions", "segments_keys", "users")
    results = split.sync(*wanted)

    assert {name: result.status for name, result in results.items()} == dict.fromkeys(wanted, "complete")
    assert split.limit.refused > 2
    # the address's reset says 1 s, the organisation's 10
    assert {round(seconds) for seconds in clock.slept} == {10}


def former(api: Api) -> Api:
    """The API before segments were listed by environment: keys were requested for each pair of the two."""
    pairs = APIS["feature_management"].by_name["segments_keys"].parents
    endpoints = [
        replace(each, parents=pairs) if each.name == "segments_keys" else replace(each, secrets=())
        for each in api.endpoints
        if each.name != "segment_definitions"
    ]
    probes = [replace(each, concerns=("change_requests",)) for each in api.probes]
    return replace(api, endpoints=tuple(endpoints), probes=tuple(probes))


def test_warehouse_of_an_earlier_version_goes_on(vendor_server: Callable[..., Split], tmp_path: Path) -> None:
    split = vendor_server(Split())
    names = {"workspaces", "environments", "segments", "segments_keys"}
    run = ApiSync(former(split.api), selected=names, options=SyncOptions(), log=LOG).run()
    before = {result.endpoint.name: result for result in run}
    assert (before["segments_keys"].stats.parents, before["segments_keys"].stats.parents_missing) == (138, 88)
    assert query(tmp_path, "SELECT count(api_tokens) FROM feature_management.environments") == [(6,)]
    split.requests.clear()
    after = split.sync(*names, "segment_definitions")

    assert {name: result.status for name, result in after.items()} == dict.fromkeys(after, "complete")
    keys = after["segments_keys"]
    assert (keys.stats.rows_loaded, keys.rows_deleted, keys.table_rows) == (0, 0, before["segments_keys"].table_rows)
    assert (split.requests["segments_keys"], keys.stats.parents_missing) == (64, 0)
    # of rows, not of the file: the pages of what was replaced are in it until DuckDB reuses them
    assert after["environments"].stats.rows_loaded == 6
    assert query(tmp_path, "SELECT count(api_tokens), count(*) FROM feature_management.environments") == [(0, 6)]


def test_rule_based_segments_are_read_whether_their_lists_page_or_not(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # one list after the other, so that the responses below are those of one list
    configure_api(monkeypatch, "feature_management", max_in_flight=1)
    table = "feature_management.rule_based_segment_definitions"
    counted = f"SELECT count(*) FROM {table} WHERE environment_id = 'ws-0-staging'"
    # more than a page: the server looks at neither offset nor limit, and its second answer repeats the first
    assert query(tmp_path, counted) == [(54,)]
    asked = queries(split, "/v2/rule-based-segments/ws/ws-0/environments/ws-0-staging")
    assert [(each["offset"], each["limit"]) for each in asked] == [("0", "50"), ("54", "50")]
    rows = [{"name": f"rules {n}"} for n in range(70)]
    split.faults["rule_based_segments"] = [
        Response(body={"objects": rows[:50], "offset": 0, "limit": 50, "totalCount": 70}),
        Response(body={"objects": rows[50:], "offset": 50, "limit": 50, "totalCount": 70}),
        *[Response(body=[])] * 2,
    ]
    result = split.sync("rule_based_segments")["rule_based_segments"]

    assert (result.status, result.stats.rows_read, result.stats.meter.requests) == ("complete", 70, 4)


def test_rules_of_a_segment_are_one_value(split: Split, tmp_path: Path) -> None:
    found = query(
        tmp_path,
        "SELECT excluded_keys, rules -> '$[0].condition.matchers[0].strings' "
        "FROM feature_management.rule_based_segment_definitions "
        "WHERE environment_id = 'ws-1-staging' AND name = 'rules 5'",
    )
    assert found == [('["key-7"]', '["gold","tier 5"]')]


class MovingSplit(Split):
    """Moves a row to ``MOVES_TO`` once the list of that status was read, just before that of its own is."""

    MOVES_TO = "APPROVED"
    moving = ""

    def answer(self, route: Route, parts: tuple[str, ...], asked: Asked) -> Response:
        row = next((each for each in self.rows(route.endpoint) if each["id"] == self.moving), None)
        if row and asked.query.get("status") == row["status"]:
            row["status"], self.moving = self.MOVES_TO, ""
        return super().answer(route, parts, asked)


def test_change_request_that_moves_to_a_status_that_was_read_is_not_marked(
    vendor_server: Callable[..., MovingSplit], tmp_path: Path
) -> None:
    # lists are read one after the other, by status
    split = vendor_server(MovingSplit(), MAX_IN_FLIGHT="1")
    split.sync("change_requests")
    moving = next(row for row in split.rows("change_requests") if row["status"] == "REQUESTED")
    split.moving = moving["id"]
    split.asked.clear()
    moved = split.sync("change_requests")["change_requests"]

    assert (moved.status, moved.rows_deleted, moved.stats.rows_loaded) == ("complete", 0, 1)
    assert moved.stats.parents == moved.stats.parents_done == len(STATUSES)
    found = query(tmp_path, f"SELECT status, _deleted_at FROM {API}.change_requests WHERE id = '{moving['id']}'")
    assert found == [("APPROVED", None)]
    first_pages = Counter(each.query["status"] for each in split.asked if "after" not in each.query)
    assert first_pages == dict.fromkeys(STATUSES, 2)
    split.asked.clear()
    again = split.sync("change_requests")["change_requests"]

    # while nothing is missing, each list is read once
    assert (again.rows_deleted, again.stats.rows_loaded) == (0, 0)
    first_pages = Counter(each.query["status"] for each in split.asked if "after" not in each.query)
    assert first_pages == dict.fromkeys(STATUSES, 1)


def test_change_request_that_is_gone_from_every_status_is_marked_in_the_same_sync(
    vendor_server: Callable[..., Split], tmp_path: Path
) -> None:
    split = vendor_server(Split())
    split.sync("change_requests")
    gone = split.rows("change_requests").pop()
    result = split.sync("change_requests")["change_requests"]

    assert (result.status, result.rows_deleted, result.stats.rows_loaded) == ("complete", 1, 0)
    found = query(tmp_path, f"SELECT id FROM {API}.change_requests WHERE _deleted_at IS NOT NULL")
    assert found == [(gone["id"],)]
