"""Which days a sync covers, and from when on parents count as settled."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from analytics_ingest.config.api_settings import Settings
from analytics_ingest.extract.date_window import build_date_window
from analytics_ingest.extract.sync_options import SyncOptions

NOW = datetime(2026, 3, 10, 23, 59, tzinfo=UTC)


def settings(**more):
    return Settings(**{"base_url": "http://127.0.0.1:1", "api_key": "k", **more})


def moment(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "mode", "first", "days"),
    [
        ({}, SyncOptions(), False, ("2026-03-04", "2026-03-10")),
        ({"window_days": 1}, SyncOptions(), False, ("2026-03-10", "2026-03-10")),
        ({"start_date": "2026-01-05"}, SyncOptions(), False, ("2026-03-04", "2026-03-10")),
        ({"start_date": "2026-01-05"}, SyncOptions(), True, ("2026-01-05", "2026-03-10")),
        ({"start_date": "2026-01-05"}, SyncOptions(full_refresh=True), False, ("2026-01-05", "2026-03-10")),
        ({"start_date": "2026-03-09"}, SyncOptions(), True, ("2026-03-04", "2026-03-10")),
        (
            {},
            SyncOptions(updated_from=moment("2026-02-01T10:00"), updated_to=moment("2026-02-03")),
            False,
            ("2026-02-01", "2026-02-03"),
        ),
        ({}, SyncOptions(updated_from=moment("2026-03-01")), False, ("2026-03-01", "2026-03-10")),
        ({}, SyncOptions(updated_to=moment("2026-03-05")), False, ("2026-03-04", "2026-03-05")),
        ({}, SyncOptions(updated_to=moment("2026-04-01")), False, ("2026-03-04", "2026-03-10")),
    ],
)
def test_the_days_of_a_scope(given, mode, first, days):
    scope = build_date_window(settings(**given), mode, now=NOW, first=first)
    assert (scope.first_day.isoformat(), scope.last_day.isoformat()) == days
    assert scope.today == date(2026, 3, 10)


def test_a_window_that_ended_before_it_began_has_no_day():
    scope = build_date_window(settings(), SyncOptions(updated_to=moment("2026-02-01")), now=NOW)
    assert scope.days() == []


def test_parents_settle_after_the_window_and_never_in_a_full_refresh():
    assert build_date_window(settings(), now=NOW).settled_before == moment("2026-03-04")
    assert build_date_window(settings(), SyncOptions(full_refresh=True), now=NOW).settled_before is None


def test_settings_that_parent_sources_take_their_values_from_are_options():
    window = build_date_window(settings(org_slugs="gh/acme, gh/other"), now=NOW)
    assert window.options == {
        "org_slugs": ("gh/acme", "gh/other"),
        "search_query": ("is:unstarted", "is:started", "is:done"),
    }
