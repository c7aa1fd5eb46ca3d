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

LATER = NEWEST + timedelta(minutes=10)
POLICIES = ("escalation_policies", "escalation_policies_levels", "escalation_policies_paths")
SELECTIONS = "incidents_form_field_selections"

first = first_sync(Rootly, "alerts", "alert_events", "shifts", "oncalls", "incidents", SELECTIONS, *POLICIES)


@pytest.fixture
def rootly(synced: Synced[Rootly]) -> Rootly:
    """The server after a first sync of what the tests here are about; what that asked for is forgotten."""
    synced.vendor.asked.clear()
    return synced.vendor


def policy(n: int) -> str:
    return uid("escalation_policies", n)


def asked_policies(rootly: Rootly, kind: str) -> set[str]:
    return {asked.path.split("/")[3] for asked in rootly.asked if asked.path.endswith(kind)}


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


def test_alerts_that_changed_and_events_that_are_new_cost_a_request_each(rootly: Rootly, tmp_path: Path) -> None:
    edit(rootly, "alerts", 7, status="resolved", ended_at=at(LATER), updated_at=at(LATER))
    rootly.rows("alert_events").append(alert_event(COUNTS["alert_events"], created=LATER))
    results = rootly.sync("alerts", "alert_events")

    # an hour before the newest one
    since = "2025-11-02T08:05:00+00:00"
    assert rootly.queries("/alerts") == [{SINCE: since, "page[size]": "50"}]
    assert rootly.queries("/alert_events") == [{"sort": "created_at", CREATED_SINCE: since, "page[size]": "50"}]
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
    rootly = vendor_server(Alarming())
    result = rootly.sync("alerts")["alerts"]

    # the total of the last page has it, the pages have not
    assert len(rootly.queries("/alerts")) == 2 * 3
    assert (result.status, result.stats.doubt) == ("complete", "")
    assert query(tmp_path, "SELECT count(DISTINCT id) FROM incident_response.alerts") == [(COUNTS["alerts"] + 1,)]


def test_a_source_that_stands_twice_has_two_columns(synced: Synced[Rootly], tmp_path: Path) -> None:
    held = query(tmp_path, "SELECT source, attribute_source, count(*) FROM incident_response.alerts GROUP BY ALL")
    assert held == [("datadog", "datadog", COUNTS["alerts"])]


def test_levels_and_paths_are_requested_for_policies_that_changed(rootly: Rootly, tmp_path: Path) -> None:
    edit(rootly, "escalation_policies", 3, repeat_count=2, updated_at=at(LATER))
    for n in (3, 4):
        edit(rootly, "escalation_policies_levels", f"{policy(n)}/1", policy(n), delay=60)
    results = rootly.sync(*POLICIES)

    assert asked_policies(rootly, "/escalation_levels") == asked_policies(rootly, "/escalation_paths") == {policy(3)}
    assert [results[name].stats.rows_loaded for name in POLICIES] == [1, 1, 0]
    changed = "SELECT escalation_policy_id FROM incident_response.escalation_policies_levels WHERE delay = 60"
    assert query(tmp_path, changed) == [(policy(3),)]

    rootly.asked.clear()
    rootly.sync(*POLICIES, full_refresh=True)
    assert len(asked_policies(rootly, "/escalation_levels")) == COUNTS["escalation_policies"]
    assert sorted(query(tmp_path, changed)) == sorted([(policy(3),), (policy(4),)])


def test_policies_that_changed_lately_are_requested_for_window_days(
    rootly: Rootly, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_api(monkeypatch, "incident_response", WINDOW_DAYS="36500")
    rootly.sync(*POLICIES)
    assert len(asked_policies(rootly, "/escalation_levels")) == COUNTS["escalation_policies"]


def test_levels_and_paths_of_a_policy_that_is_gone_are_marked(rootly: Rootly, tmp_path: Path) -> None:
    remove(rootly, "escalation_policies", 2)
    results = rootly.sync(*POLICIES)

    assert [results[name].rows_deleted for name in POLICIES] == [1, 2, 2]
    assert asked_policies(rootly, "/escalation_levels") == set()
    levels = "SELECT count(*) FROM incident_response.escalation_policies_levels_as_of WHERE _valid_to IS NULL"
    assert query(tmp_path, levels) == [(1 + 3 + 4,)]


def test_form_fields_are_requested_for_incidents_that_are_not_over_or_changed(rootly: Rootly, tmp_path: Path) -> None:
    # incidents with an even number have started, those with an odd one are resolved
    edit(rootly, "incidents", 5, title="edited", updated_at=at(LATER))
    for n in (4, 5, 9):
        edit(rootly, SELECTIONS, f"{uid('incidents', n)}/0", uid("incidents", n), value="edited")
    results = rootly.sync("incidents", SELECTIONS)

    asked = {asked.path.split("/")[3] for asked in rootly.asked if asked.path.endswith("/form_field_selections")}
    assert asked == {uid("incidents", n) for n in (5, *range(0, INCIDENTS, 2))}
    assert results[SELECTIONS].stats.rows_loaded == 2
    edited = f"SELECT incident_id FROM incident_response.{SELECTIONS} WHERE value = 'edited' ORDER BY 1"
    assert query(tmp_path, edited) == sorted([(uid("incidents", 4),), (uid("incidents", 5),)])

    rootly.sync("incidents", SELECTIONS, full_refresh=True)
    assert query(tmp_path, edited) == sorted((uid("incidents", n),) for n in (4, 5, 9))


def test_shifts_are_requested_by_day_and_are_in_each_of_their_days(synced: Synced[Rootly], tmp_path: Path) -> None:
    rootly, days = synced.vendor, [str(day) for day in recent_days()]
    pages = [each for each in rootly.queries("/shifts") if each["page[number]"] == "1"]
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
    assert len(rootly.expected("shifts")) == 2 * len(days)


def test_a_shift_that_is_handed_over_or_gone(rootly: Rootly, tmp_path: Path) -> None:
    edit(rootly, "shifts", 3, user_id=350)
    rootly.rows("shifts").remove(found(rootly, "shifts", 5))
    result = rootly.sync("shifts")["shifts"]

    assert (result.stats.rows_loaded, result.rows_deleted) == (2, 2)
    handed = "SELECT count(*) FROM incident_response.shifts WHERE user_id = 350 AND _deleted_at IS NULL"
    assert query(tmp_path, handed) == [(2,)]


def test_who_is_on_call_now_is_a_snapshot(rootly: Rootly, tmp_path: Path) -> None:
    assert rootly.sync("oncalls")["oncalls"].stats.rows_loaded == 0
    edit(rootly, "oncalls", 0, user_id=350)
    rootly.rows("oncalls").pop()
    assert rootly.sync("oncalls")["oncalls"].stats.rows_loaded == 2

    assert rootly.queries("/oncalls") == [{}, {}]
    held = query(tmp_path, "SELECT user_id, typeof(starts_at) FROM incident_response.oncalls ORDER BY 1")
    assert held == [(345, "TIMESTAMP WITH TIME ZONE"), (350, "TIMESTAMP WITH TIME ZONE")]
