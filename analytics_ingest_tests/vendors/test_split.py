"""Split: what the public connectors get wrong, each by name, and its limit on requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from analytics_ingest_tests.conftest import FakeClock, live_keys, query
from analytics_ingest_tests.fake_server import Response
from analytics_ingest_tests.vendors.conftest import Later, Synced, first_sync, later_sync
from analytics_ingest_tests.vendors.server import Limit
from analytics_ingest_tests.vendors.split import STATUSES, Split, change_request


def split_with_a_segment_of_one_workspace() -> Split:
    vendor = Split()
    vendor.rows("segments", "ws-1").append({"name": "only in ws-1", "creationTime": 1})
    return vendor


def change(split: Split) -> None:
    split.rows("change_requests")[0]["status"] = "PUBLISHED"
    keys = split.rows("segments_keys", "ws-0-staging", "segment 0/a")
    del keys[3]
    keys.append({"key": "one more"})


first = first_sync(split_with_a_segment_of_one_workspace)
later = later_sync(change, "change_requests", "workspaces", "environments", "segments", "segments_keys")


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


def test_a_segment_that_is_not_defined_in_an_environment_costs_one_request(synced: Synced[Split]) -> None:
    result = synced.results["segments_keys"]

    defined = len(synced.vendor.store["segments_keys"])
    assert (result.status, result.stats.parents_missing) == ("complete", 2 * (53 + 9 + 8) - defined)
    assert result.stats.meter.retries == 0
    assert synced.slept == []


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
    wanted = ("workspaces", "environments", "segments", "segments_keys", "users")
    results = split.sync(*wanted)

    assert {name: result.status for name, result in results.items()} == dict.fromkeys(wanted, "complete")
    assert split.limit.refused > 5
    # the address's reset says 1 s, the organisation's 10
    assert {round(seconds) for seconds in clock.slept} == {10}
