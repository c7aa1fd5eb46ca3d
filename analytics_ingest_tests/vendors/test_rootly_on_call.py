"""Rootly: alerts and their events, schedules, shifts, escalation policies, and the form fields of incidents."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from analytics_ingest_tests.conftest import query
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.fake_server import Asked, Response
from analytics_ingest_tests.vendors.conftest import Synced, first_sync
from analytics_ingest_tests.vendors.rootly import CREATED_SINCE, SINCE, Rootly
from analytics_ingest_tests.vendors.rootly_rows import (
    COUNTS,
    INCIDENTS,
    NEWEST,
    alert,
    alert_event,
    at,
    edit,
    found,
    recent_days,
    remove,
    uid,
)
from analytics_ingest_tests.vendors.server import Route

pytestmark = pytest.mark.extended
LATER = NEWEST + timedelta(minutes=10)
POLICIES = ("escalation_policies", "escalation_policies_levels", "escalation_policies_paths")
SELECTIONS = "incidents_form_field_selections"

first = first_sync(Rootly, "alerts", "alert_events", "shifts", "oncalls", "incidents", SELECTIONS, *POLICIES)


@pytest.fixture
def on_call_server(synced: Synced[Rootly]) -> Rootly:
    """The server after a first sync of what the tests here are about; what that asked for is forgotten."""
    synced.vendor.asked.clear()
    return synced.vendor


def policy(n: int) -> str:
    return uid("escalation_policies", n)


def asked_policies(on_call_server: Rootly, kind: str) -> set[str]:
    return {asked.path.split("/")[3] for asked in on_call_server.asked if asked.path.endswith(kind)}


def test_alerts_are_paged_by_cursor(synced: Synced[Rootly]) -> None:
    newest_first = [uid("alerts", n) for n in range(COUNTS["alerts"] - 1, -1, -1)]
    assert synced.vendor.queries("/alerts") == [
        {"page[size]": "50"},
        {"page[size]": "50", "page[after]": f"None/{newest_first[49]}"},
        {"page[size]": "50", "page[after]": f"None/{newest_first[99]}"},
    ]
    assert synced.vendor.queries("/alert_events") == [
        {"sort": "created_at", "page[size]": "50"},
        {"sort": "created_at", "page[size]": "50", "page[after]": f"created_at/{uid('alert_events', 49)}"},
        {"sort": "created_at", "page[size]": "50", "page[after]": f"created_at/{uid('alert_events', 99)}"},
    ]


def test_alerts_that_changed_and_events_that_are_new_cost_a_request_each(
    on_call_server: Rootly, tmp_path: Path
) -> None:
    edit(on_call_server, "alerts", 7, status="resolved", ended_at=at(LATER), updated_at=at(LATER))
    on_call_server.rows("alert_events").append(alert_event(COUNTS["alert_events"], created=LATER))
    results = on_call_server.sync("alerts", "alert_events")

    # an hour before the newest one
    since = "2025-11-02T08:05:00+00:00"
    assert on_call_server.queries("/alerts") == [{SINCE: since, "page[size]": "50"}]
    assert on_call_server.queries("/alert_events") == [{"sort": "created_at", CREATED_SINCE: since, "page[size]": "50"}]
    assert {name: result.stats.rows_loaded for name, result in results.items()} == {"alerts": 1, "alert_events": 1}
    held = query(tmp_path, "SELECT status, epoch_ms(ended_at) FROM incident_response.alerts WHERE short_id = 'a7'")
    assert held == [("resolved", round(LATER.timestamp() * 1000))]
    joined = (
        "SELECT count(*) FROM incident_response.alert_events e JOIN incident_response.alerts a ON a.id = e.alert_id"
    )
    assert query(tmp_path, joined) == [(COUNTS["alert_events"] + 1,)]


class Alarming(Rootly):
    """While the first page of alerts is under way an alert comes, which the pages after it do not have."""

    def answer(self, route: Route, parts: tuple[str, ...], asked: Asked) -> Response:
        given = super().answer(route, parts, asked)
        given = replace(given, body=copy.deepcopy(given.body))
        if len(self.rows("alerts")) == COUNTS["alerts"]:
            self.rows("alerts").append(alert(COUNTS["alerts"], updated=LATER))
        return given


def test_alerts_are_read_once_more_if_one_comes_meanwhile(vendor_server: Callable[..., Rootly], tmp_path: Path) -> None:
    on_call_server = vendor_server(Alarming())
    result = on_call_server.sync("alerts")["alerts"]

    # the total of the last page has it, the pages have not
    assert len(on_call_server.queries("/alerts")) == 2 * 3
    assert (result.status, result.stats.doubt) == ("complete", "")
    assert query(tmp_path, "SELECT count(DISTINCT id) FROM incident_response.alerts") == [(COUNTS["alerts"] + 1,)]


def test_a_source_that_stands_twice_has_two_columns(synced: Synced[Rootly], tmp_path: Path) -> None:
    held = query(tmp_path, "SELECT source, attribute_source, count(*) FROM incident_response.alerts GROUP BY ALL")
    assert held == [("datadog", "datadog", COUNTS["alerts"])]


def test_levels_and_paths_are_requested_for_policies_that_changed(on_call_server: Rootly, tmp_path: Path) -> None:
    edit(on_call_server, "escalation_policies", 3, repeat_count=2, updated_at=at(LATER))
    for n in (3, 4):
        edit(on_call_server, "escalation_policies_levels", f"{policy(n)}/1", policy(n), delay=60)
    results = on_call_server.sync(*POLICIES)

    assert (
        asked_policies(on_call_server, "/escalation_levels")
        == asked_policies(on_call_server, "/escalation_paths")
        == {policy(3)}
    )
    assert [results[name].stats.rows_loaded for name in POLICIES] == [1, 1, 0]
    changed = "SELECT escalation_policy_id FROM incident_response.escalation_policies_levels WHERE delay = 60"
    assert query(tmp_path, changed) == [(policy(3),)]

    on_call_server.asked.clear()
    on_call_server.sync(*POLICIES, full_refresh=True)
    assert len(asked_policies(on_call_server, "/escalation_levels")) == COUNTS["escalation_policies"]
    assert sorted(query(tmp_path, changed)) == sorted([(policy(3),), (policy(4),)])


def test_policies_that_changed_lately_are_requested_for_window_days(
    on_call_server: Rootly, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_api(monkeypatch, "incident_response", WINDOW_DAYS="36500")
    on_call_server.sync(*POLICIES)
    assert len(asked_policies(on_call_server, "/escalation_levels")) == COUNTS["escalation_policies"]


def test_levels_and_paths_of_a_policy_that_is_gone_are_marked(on_call_server: Rootly, tmp_path: Path) -> None:
    remove(on_call_server, "escalation_policies", 2)
    results = on_call_server.sync(*POLICIES)

    assert [results[name].rows_deleted for name in POLICIES] == [1, 2, 2]
    assert asked_policies(on_call_server, "/escalation_levels") == set()
    levels = "SELECT count(*) FROM incident_response.escalation_policies_levels_as_of WHERE _valid_to IS NULL"
    assert query(tmp_path, levels) == [(1 + 3 + 4,)]


def test_form_fields_are_requested_for_incidents_that_are_not_over_or_changed(
    on_call_server: Rootly, tmp_path: Path
) -> None:
    # incidents with an even number have started, those with an odd one are resolved
    edit(on_call_server, "incidents", 5, title="edited", updated_at=at(LATER))
    for n in (4, 5, 9):
        edit(on_call_server, SELECTIONS, f"{uid('incidents', n)}/0", uid("incidents", n), value="edited")
    results = on_call_server.sync("incidents", SELECTIONS)

    asked = {
        asked.path.split("/")[3] for asked in on_call_server.asked if asked.path.endswith("/form_field_selections")
    }
    assert asked == {uid("incidents", n) for n in (5, *range(0, INCIDENTS, 2))}
    assert results[SELECTIONS].stats.rows_loaded == 2
    edited = f"SELECT incident_id FROM incident_response.{SELECTIONS} WHERE value = 'edited' ORDER BY 1"
    assert query(tmp_path, edited) == sorted([(uid("incidents", 4),), (uid("incidents", 5),)])

    on_call_server.sync("incidents", SELECTIONS, full_refresh=True)
    assert query(tmp_path, edited) == sorted((uid("incidents", n),) for n in (4, 5, 9))


def test_shifts_are_requested_by_day_and_are_in_each_of_their_days(synced: Synced[Rootly], tmp_path: Path) -> None:
    on_call_server, days = synced.vendor, [str(day) for day in recent_days()]
    pages = [each for each in on_call_server.queries("/shifts") if each["page[number]"] == "1"]
    assert sorted((each["from"], each["to"]) for each in pages) == [
        (f"{day}T00:00:00Z", f"{day}T23:59:59Z") for day in days
    ]
    # from 6:00 UTC on for 36 hours
    held = query(
        tmp_path,
        "SELECT date::varchar, epoch(ends_at) - epoch(starts_at) FROM incident_response.shifts "
        f"WHERE id = '{uid('shifts', 2)}' ORDER BY 1",
    )
    assert held == [(day, 36 * 3600) for day in days[1:3]]
    assert len(on_call_server.expected("shifts")) == 2 * len(days)


def test_a_shift_that_is_handed_over_or_gone(on_call_server: Rootly, tmp_path: Path) -> None:
    edit(on_call_server, "shifts", 3, user_id=350)
    on_call_server.rows("shifts").remove(found(on_call_server, "shifts", 5))
    result = on_call_server.sync("shifts")["shifts"]

    assert (result.stats.rows_loaded, result.rows_deleted) == (2, 2)
    handed = "SELECT count(*) FROM incident_response.shifts WHERE user_id = 350 AND _deleted_at IS NULL"
    assert query(tmp_path, handed) == [(2,)]


def test_who_is_on_call_now_is_a_snapshot(on_call_server: Rootly, tmp_path: Path) -> None:
    assert on_call_server.sync("oncalls")["oncalls"].stats.rows_loaded == 0
    edit(on_call_server, "oncalls", 0, user_id=350)
    on_call_server.rows("oncalls").pop()
    assert on_call_server.sync("oncalls")["oncalls"].stats.rows_loaded == 2

    assert on_call_server.queries("/oncalls") == [{}, {}]
    held = query(tmp_path, "SELECT user_id, typeof(starts_at) FROM incident_response.oncalls ORDER BY 1")
    assert held == [(345, "TIMESTAMP WITH TIME ZONE"), (350, "TIMESTAMP WITH TIME ZONE")]
