"""Rootly: what the public connectors get wrong about its incidents, each by name, and its limit on requests."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from analytics_ingest.diagnostics.change_probe import fingerprint_lists
from analytics_ingest_tests.conftest import FakeClock, query, stored_cursor
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.fake_server import Asked, Response
from analytics_ingest_tests.vendors.conftest import Synced, first_sync
from analytics_ingest_tests.vendors.rootly import SINCE, Rootly, selected
from analytics_ingest_tests.vendors.rootly_rows import INCIDENTS, NEWEST, at, child, edit, found, incident, remove, uid
from analytics_ingest_tests.vendors.server import Limit, Route

LATER = NEWEST + timedelta(minutes=10)


first = first_sync(Rootly, "incidents", "incidents_events")


@pytest.fixture
def rootly(synced: Synced[Rootly]) -> Rootly:
    """The server after a first sync of incidents and their events."""
    return synced.vendor


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def test_times_are_utc_on_both_sides_of_the_end_of_daylight_saving(rootly: Rootly, tmp_path: Path) -> None:
    before, after = found(rootly, "incidents", 102), found(rootly, "incidents", 103)
    assert before["attributes"]["updated_at"] == "2025-11-02T01:59:00.000-07:00"
    assert after["attributes"]["updated_at"] == "2025-11-02T01:05:00.000-08:00"
    held = query(
        tmp_path,
        "SELECT epoch_ms(updated_at), epoch_ms(started_at), epoch_ms(resolved_at) "
        "FROM incident_response.incidents WHERE sequential_id IN (103, 104) ORDER BY sequential_id",
    )
    updated = [datetime(2025, 11, 2, 8, 59, tzinfo=UTC), datetime(2025, 11, 2, 9, 5, tzinfo=UTC)]
    resolved = [None, ms(updated[1] - timedelta(minutes=1))]
    assert held == [(ms(updated[n]), ms(updated[n] - timedelta(hours=2)), resolved[n]) for n in (0, 1)]
    # a time that no incident has come to yet has no column
    times = {
        name
        for name, kind, *_ in query(tmp_path, "DESCRIBE incident_response.incidents")
        if kind == "TIMESTAMP WITH TIME ZONE" and not name.startswith("_")
    }
    assert times == {"started_at", "mitigated_at", "resolved_at", "created_at", "updated_at"}


def test_the_cursor_is_the_latest_moment_and_not_the_greatest_text(synced: Synced[Rootly]) -> None:
    rootly, result = synced.vendor, synced.results["incidents"]
    texts = {row["attributes"]["updated_at"]: row["id"] for row in rootly.rows("incidents")}
    assert texts[max(texts)] == uid("incidents", 102)
    assert stored_cursor("incident_response", "incidents") == "2025-11-02T09:05:00+00:00"
    assert result.cursor == datetime(2025, 11, 2, 9, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("settings", "since", "count"),
    [({}, "2025-11-02T08:05:00+00:00", 11), ({"LOOKBACK": "600"}, "2025-11-02T08:55:00+00:00", 2)],
)
def test_incidents_are_asked_for_from_the_look_back_on(
    rootly: Rootly, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], since: str, count: int
) -> None:
    configure_api(monkeypatch, "incident_response", **settings)
    assert [each.get(SINCE) for each in rootly.queries("/incidents")] == [None] * 3
    rootly.asked.clear()
    result = rootly.sync("incidents")["incidents"]

    assert rootly.queries("/incidents") == [
        {"sort": "created_at", SINCE: since, "page[number]": "1", "page[size]": "50"}
    ]
    # as text every one of them would be earlier
    assert (result.stats.rows_read, result.stats.rows_loaded) == (count, 0)


def test_an_incident_that_is_gone_is_marked_by_the_full_refresh_and_not_before(rootly: Rootly, tmp_path: Path) -> None:
    remove(rootly, "incidents", 32)
    marked = "SELECT id FROM incident_response.{} WHERE _deleted_at IS NOT NULL"

    filtered = rootly.sync("incidents", "incidents_events")
    assert filtered["incidents"].rows_deleted == 0
    assert query(tmp_path, marked.format("incidents")) == []
    # its children answer 404 by now
    events = filtered["incidents_events"]
    assert (events.status, events.stats.parents_missing, events.rows_deleted) == ("complete", 1, 32 % 3)

    full = rootly.sync("incidents", "incidents_events", full_refresh=True)
    assert full["incidents"].rows_deleted == 1
    assert query(tmp_path, marked.format("incidents")) == [(uid("incidents", 32),)]
    assert (full["incidents_events"].stats.parents, full["incidents_events"].stats.parents_missing) == (103, 0)


def test_children_of_incidents_that_the_filter_leaves_out_are_asked_for(rootly: Rootly, tmp_path: Path) -> None:
    old = uid("incidents", 40)
    rootly.rows("incidents_events", old).append(child("incidents_events", old, 7))
    results = rootly.sync("incidents", "incidents_events")

    assert results["incidents"].stats.rows_read == 11
    events = results["incidents_events"].stats
    assert (events.parents, events.rows_loaded) == (INCIDENTS, 1)
    held = query(tmp_path, f"SELECT event FROM incident_response.incidents_events WHERE incident_id = '{old}'")
    assert sorted(held) == [("event 0",), ("event 7",)]


class Busy(Rootly):
    """While its first page is under way an incident is filed, and an old one edited."""

    def answer(self, route: Route, parts: tuple[str, ...], asked: Asked) -> Response:
        given = super().answer(route, parts, asked)
        given = replace(given, body=copy.deepcopy(given.body))
        if route.endpoint == "incidents" and len(self.rows("incidents")) == INCIDENTS:
            self.rows("incidents").append(incident(INCIDENTS, updated=LATER))
            edit(self, "incidents", 3, title="edited", updated_at=at(LATER))
        return given


def test_incidents_keep_their_pages_while_new_ones_come_and_old_ones_change(
    vendor_server: Callable[..., Rootly], tmp_path: Path
) -> None:
    rootly = vendor_server(Busy())
    result = rootly.sync("incidents")["incidents"]

    # read twice if a row were on two pages
    assert [(each["sort"], each["page[number]"]) for each in rootly.queries("/incidents")] == [
        ("created_at", number) for number in ("1", "2", "3")
    ]
    assert (result.stats.rows_read, result.stats.doubt) == (INCIDENTS + 1, "")
    assert query(tmp_path, "SELECT count(DISTINCT id) FROM incident_response.incidents") == [(INCIDENTS + 1,)]
    again = rootly.sync("incidents")["incidents"]
    assert again.stats.rows_loaded == 1
    assert query(tmp_path, "SELECT sequential_id FROM incident_response.incidents WHERE title = 'edited'") == [(4,)]


def test_a_look_for_changes_sees_an_edit_that_the_first_page_does_not_hold(
    vendor_server: Callable[..., Rootly],
) -> None:
    rootly = vendor_server(Rootly())
    log = logging.getLogger("test")
    first = fingerprint_lists(rootly.api, log=log)
    assert fingerprint_lists(rootly.api, log=log) == first
    edit(rootly, "incidents", 51, title="edited", updated_at=at(LATER))
    seen = fingerprint_lists(rootly.api, log=log)

    by_creation = selected("incidents", rootly.rows("incidents"), {"sort": "created_at"})[:50]
    assert uid("incidents", 51) not in {row["id"] for row in by_creation}
    assert seen.fingerprints.keys() == first.fingerprints.keys() == {"incidents"}
    assert (seen.failures, first.failures) == ({}, {})
    assert seen != first
    asked = {"sort": "-updated_at", "page[number]": "1", "page[size]": "50"}
    assert [each.query for each in rootly.asked] == [asked] * 3


def test_the_limit_is_ridden_out_until_the_time_of_its_reset(
    vendor_server: Callable[..., Rootly], clock: FakeClock
) -> None:
    rootly = vendor_server(Rootly())
    clock.moment += 17.25
    rootly.limit = Limit(requests=50, seconds=60, now=clock.now)
    wanted = ("incidents", "incidents_action_items", "users", "users_notification_rules", "services")
    results = rootly.sync(*wanted)

    assert {name: result.status for name, result in results.items()} == dict.fromkeys(wanted, "complete")
    answered = rootly.requests.total() - rootly.limit.refused
    # in each window 50; the first began 17.25 s before the sync
    assert clock.slept == [42.75, *[60.0] * (answered // 50 - 1)]
    assert answered % 50
    assert len(clock.slept) >= 2


def test_a_limit_that_is_reset_in_an_hour_ends_the_sync_and_the_next_one_reads_the_rest(
    vendor_server: Callable[..., Rootly], clock: FakeClock, tmp_path: Path
) -> None:
    rootly = vendor_server(Rootly(), MAX_IN_FLIGHT="4")
    clock.moment -= clock.moment % 3600 - 17
    rootly.limit = Limit(requests=60, seconds=3600, now=clock.now)
    wanted = ("incidents", "incidents_events")
    first = rootly.sync(*wanted)

    assert (first["incidents"].status, first["incidents_events"].status) == ("complete", "failed")
    assert re.search(
        r"answered 429 and requested a pause of 3583 s, longer than SOURCES__INCIDENT_RESPONSE__MAX_WAIT \(900 s\) "
        r"allows: raise it, or lower SOURCES__INCIDENT_RESPONSE__REQUESTS_PER_MINUTE",
        str(first["incidents_events"].reason),
    )
    # requests that were in flight at that time; none is sent after it
    assert 1 <= rootly.limit.refused <= 4
    assert len(rootly.asked) == 60 + rootly.limit.refused
    assert clock.slept == []

    rows = "SELECT count(*) FROM incident_response.incidents_events"
    count = len(rootly.expected("incidents_events"))
    assert query(tmp_path, rows)[0][0] < count
    asked = [asked.path for asked in rootly.asked if asked.path.endswith("/events")]
    clock.moment += 3600
    rootly.asked.clear()
    second = rootly.sync(*wanted)
    assert {result.status for result in second.values()} == {"complete"}
    assert query(tmp_path, rows) == [(count,)]
    # those that were read are not requested again
    assert not {*asked[:40]} & {asked.path for asked in rootly.asked}


def test_a_limit_that_is_reset_in_an_hour_is_waited_for_if_a_setting_permits(
    vendor_server: Callable[..., Rootly], clock: FakeClock
) -> None:
    rootly = vendor_server(Rootly(), MAX_WAIT="3600")
    clock.moment -= clock.moment % 3600 - 17
    rootly.limit = Limit(requests=60, seconds=3600, now=clock.now)
    results = rootly.sync("incidents", "incidents_events")

    assert {result.status for result in results.values()} == {"complete"}
    assert clock.slept == [3583.0]
