"""When each API is synced, and what of that can be set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.config.schedule import load_schedule_settings, longest_interval
from analytics_ingest.errors import ConfigurationError
from analytics_ingest.orchestrate.freshness import freshness_policy
from analytics_ingest_tests.environment import configure_api

API = APIS["experimentation"]
PREFIX = "SOURCES__EXPERIMENTATION"


@pytest.mark.parametrize(
    ("cron", "interval"),
    [
        ("5 * * * *", timedelta(hours=1)),
        ("*/15 * * * *", timedelta(minutes=15)),
        ("10,40 * * * *", timedelta(minutes=30)),
        ("0 9 * * 1-5", timedelta(days=3)),
        ("*/5 8-18 * * *", timedelta(hours=13, minutes=5)),
        ("0 1 * * 0", timedelta(days=7)),
        ("0 0 1 * *", timedelta(days=28)),
    ],
)
def test_the_longest_time_between_two_syncs(cron: str, interval: timedelta) -> None:
    assert longest_interval(cron) == interval


@pytest.mark.parametrize("api", APIS.values(), ids=APIS)
def test_a_table_is_late_after_two_missed_syncs_and_stale_after_four(api) -> None:
    interval = longest_interval(api.cron)
    policy: Any = freshness_policy(load_schedule_settings(api))

    assert policy.warn_window.to_timedelta() == 2 * interval
    assert policy.fail_window.to_timedelta() == 4 * interval


def test_no_two_apis_are_synced_or_refreshed_at_the_same_minute() -> None:
    hourly = [minute for api in APIS.values() for minute in api.cron.split()[0].split(",") if minute.isdigit()]
    assert len(hourly) == len(set(hourly))
    assert len({api.full_refresh_cron for api in APIS.values()}) == len(APIS)


@pytest.mark.parametrize(
    ("settings", "windows"),
    [
        ({"CRON": "0 */6 * * *"}, (12, 24)),
        ({"WARN_AFTER": "7200", "FAIL_AFTER": "10800"}, (2, 3)),
        ({"WARN_AFTER": "36000"}, (10, 10)),
        ({"FAIL_AFTER": "7200"}, (2, 2)),
    ],
)
def test_settings_override_the_windows(
    monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, str], windows: tuple[int, int]
) -> None:
    configure_api(monkeypatch, "experimentation", **settings)

    assert load_schedule_settings(API).windows == tuple(timedelta(hours=each) for each in windows)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CRON", "every hour", f"{PREFIX}__CRON is 'every hour', which is no cron expression: write minute, hour"),
        ("FULL_REFRESH_CRON", "61 * * * *", f"{PREFIX}__FULL_REFRESH_CRON is '61 * * * *', which is no cron"),
        ("WARN_AFTER", "10", f"{PREFIX}__WARN_AFTER must be greater than or equal to 60"),
        ("WARN_AFTER", "36000000", None),
        ("OWNERS", "team:data, me", f"{PREFIX}__OWNERS names 'me', which is no owner: write a mail address"),
        ("FAIL_AFTER", "60", f"{PREFIX}__WARN_AFTER is longer than {PREFIX}__FAIL_AFTER"),
    ],
)
def test_settings_that_make_no_sense(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str | None
) -> None:
    monkeypatch.setenv(f"{PREFIX}__{name}", value)
    if message is None:
        load_schedule_settings(API)
        return
    with pytest.raises(ConfigurationError) as error:
        load_schedule_settings(API)
    assert message in str(error.value)


def test_declared_docs_are_overridden_by_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    api = replace(API, docs_url="https://docs.example.com")
    assert load_schedule_settings(api).docs_url == "https://docs.example.com"
    monkeypatch.setenv(f"{PREFIX}__DOCS_URL", "https://wiki.example.com/api")
    assert load_schedule_settings(api).docs_url == "https://wiki.example.com/api"
