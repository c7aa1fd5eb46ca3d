"""The settings of an API: their defaults, what is refused, and that no message shows a key."""

from __future__ import annotations

import re

import pytest

from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.config import api as settings_module
from analytics_ingest.config.accounts import load_accounts
from analytics_ingest.config.api import (
    choose_profile,
    load_settings,
    missing_settings,
    not_configured,
    page_limit,
    retired_settings,
    unprotected_key,
)
from analytics_ingest.config.api_settings import Settings
from analytics_ingest.config.schedule import ScheduleSettings, load_schedule_settings
from analytics_ingest.errors import ConfigurationError, NotConfiguredError
from analytics_ingest_tests.environment import configure_api, set_environment

API = APIS["experimentation"]
PREFIX = "SOURCES__EXPERIMENTATION__"
URL = PREFIX + "BASE_URL"
KEY = PREFIX + "API_KEY"
SECRET = "s3cr3t-k3y"
NUMBERS = {
    name
    for name, field in (Settings.model_fields | ScheduleSettings.model_fields).items()
    if re.search(r"\b(int|float)\b", str(field.annotation))
}
"""Settings of an API whose values are numbers."""


@pytest.fixture
def configure(monkeypatch):
    """Sets the API's URL and key, and more by the names of the settings."""

    def set_all(**more):
        configure_api(monkeypatch, "experimentation", **{"base_url": "http://127.0.0.1:1", "api_key": SECRET, **more})

    return set_all


def test_defaults_hold_where_nothing_is_set(configure):
    configure()
    settings = load_settings(API)
    assert settings.api_key.get_secret_value() == SECRET
    assert settings.model_dump(exclude={"base_url", "api_key"}) == {
        "profile": "none",
        "max_in_flight": 16,
        "requests_per_minute": None,
        "connect_timeout": 10,
        "read_timeout": 60,
        "answer_timeout": 300,
        "max_answer_bytes": 64 * 1024**2,
        "max_bytes_in_flight": 32 * 1024**2,
        "max_wait": 900,
        "max_pages": 100_000,
        "max_columns": 1_000,
        "max_package_bytes": 33_554_432,
        "fan_out_chunk": 1000,
        "fan_out": "all",
        "resume_within": 86_400,
        "start_date": None,
        "window_days": 7,
        "org_slugs": (),
        "search_query": ("is:unstarted", "is:started", "is:done"),
        "auth_header": "authorization",
        "lookback": 3_600,
        "exclude_columns": (),
        "mark_deleted": True,
        "history": True,
        "history_retention": None,
        "ledger_retention": 90,
        "verify_requests": 500,
        "min_rows_share": 0.5,
        "sample_rows": 0,
        "lock_timeout": 3_600,
        "progress_interval": 5,
        "skip_endpoints": (),
    }


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, [URL, KEY]),
        ({URL: "http://127.0.0.1:1"}, [KEY]),
        ({KEY: SECRET}, [URL]),
        ({URL: "  ", KEY: SECRET}, [URL]),
        ({URL: "http://127.0.0.1:1", KEY: ""}, [KEY]),
        ({URL: "http://127.0.0.1:1", KEY: SECRET}, []),
    ],
)
def test_what_is_missing_or_blank_is_named(monkeypatch, given, missing):
    set_environment(monkeypatch, given)
    assert missing_settings(API) == missing
    if not missing:
        assert not_configured(API) == ""
        return
    named = {URL: f"SOURCES__EXPERIMENTATION__PROFILE to statsig (or {URL})", KEY: KEY}
    reason = f"experimentation is not configured: set {' and '.join(named[each] for each in missing)}"
    assert not_configured(API) == reason
    with pytest.raises(NotConfiguredError) as error:
        load_settings(API)
    assert str(error.value) == f"{reason}; or write them below [sources.experimentation] in .dlt/secrets.toml"


@pytest.mark.parametrize("key", ["12345", "007", "1e5", "true", "2026-01-01", '{"a": 1}', "a b=c#d"])
def test_a_key_that_looks_like_something_else_stays_text(configure, key):
    configure(api_key=key)
    assert load_settings(API).api_key.get_secret_value() == key


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("max_in_flight", "many", " must be a valid integer, unable to parse string as an integer"),
        ("max_in_flight", "0", " must be greater than 0"),
        ("requests_per_minute", "-1", " must be greater than 0"),
        ("max_wait", "0", " must be greater than 0"),
        ("base_url", "somewhere", " must be a valid URL, relative URL without a base"),
        ("base_url", "ftp://127.0.0.1", ": URL scheme should be 'http' or 'https'"),
        ("fan_out", "some", " must be 'all' or 'changed'"),
        ("start_date", "soon", " is no date or time: write 2026-01-31 or 2026-01-31T12:00:00Z"),
        ("skip_endpoints", "[1, 2]", " must be a valid string"),
    ],
)
def test_a_value_that_is_not_valid_is_named_as_its_variable(configure, name, value, reason):
    configure(**{name: value})
    with pytest.raises(ConfigurationError) as error:
        load_settings(API)
    assert str(error.value) == f"{PREFIX}{name.upper()}{reason}"


@pytest.mark.parametrize("value", ["1e999", "inf", "-inf", "nan", "Infinity"])
def test_no_number_is_infinite_or_undefined(configure, value):
    assert {"lookback", "read_timeout", "min_rows_share", "max_pages", "warn_after", "change_interval"} <= NUMBERS
    for name in NUMBERS:
        configure(**{name: value})
        with pytest.raises(ConfigurationError, match=f"{PREFIX}{name.upper()} must be "):
            load_settings(API) if name in Settings.model_fields else load_schedule_settings(API)
        configure(**{name: ""})


@pytest.mark.parametrize(
    "name",
    ["connect_timeout", "read_timeout", "answer_timeout", "max_wait", "resume_within", "lookback", "lock_timeout"],
)
def test_a_time_is_no_longer_than_the_system_can_wait(configure, name):
    configure(**{name: "6e9"})
    assert getattr(load_settings(API), name) == 6e9
    configure(**{name: "7e9"})
    with pytest.raises(ConfigurationError, match=f"{PREFIX}{name.upper()} must be less than or equal to 6307200000"):
        load_settings(API)


def test_all_values_that_are_not_valid_are_named_at_once(configure):
    configure(max_pages="x", read_timeout="y")
    with pytest.raises(ConfigurationError) as error:
        load_settings(API)
    assert f"{PREFIX}MAX_PAGES must be " in str(error.value)
    assert f"; {PREFIX}READ_TIMEOUT must be " in f"; {error.value}"


@pytest.mark.parametrize("name", ["base_url", "max_in_flight", "max_wait", "mark_deleted", "fan_out", "start_date"])
def test_a_key_pasted_into_another_setting_is_not_shown(configure, name):
    configure(**{name: SECRET})
    with pytest.raises(ConfigurationError) as error:
        load_settings(API)
    assert f"{PREFIX}{name.upper()}" in str(error.value)
    assert SECRET not in str(error.value)


def test_settings_do_not_show_the_key(configure):
    configure()
    settings = load_settings(API)
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()}"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("gates", ("gates",)),
        ("gates, users", ("gates", "users")),
        ("gates,users,", ("gates", "users")),
        ('["gates", "users"]', ("gates", "users")),
        ("[]", ()),
        ("  ", ()),
    ],
)
def test_a_list_is_given_as_text(configure, text, names):
    configure(skip_endpoints=text)
    assert load_settings(API).skip_endpoints == names


def test_a_list_that_is_not_json_is_named(configure):
    configure(skip_endpoints='["gates"')
    with pytest.raises(ConfigurationError, match=f"{PREFIX}SKIP_ENDPOINTS is no list"):
        load_settings(API)


def test_endpoints_to_skip_that_the_api_does_not_have_are_named(configure):
    configure(skip_endpoints="gates,doors,walls")
    with pytest.raises(ConfigurationError) as error:
        load_settings(API)
    assert str(error.value) == f"{PREFIX}SKIP_ENDPOINTS names doors, walls, which experimentation does not have"
    configure(skip_endpoints="gate, user")
    with pytest.raises(ConfigurationError, match=r"names gate, user, which .* not have: did you mean gates, users\?$"):
        load_settings(API)


@pytest.mark.parametrize(
    ("api", "endpoint", "limit"),
    [
        ("experimentation", "gates", 100),
        ("experimentation", "ingestion_status", None),
        ("incident_response", "incidents", 50),
        ("project_planning", "search_epics", 1),
        ("continuous_integration", "context", None),
        ("feature_management", "users", 50),
    ],
)
def test_the_page_size_is_the_declared_one_unless_set(monkeypatch, api, endpoint, limit):
    declared = APIS[api].by_name[endpoint]
    assert page_limit(APIS[api], declared) == limit
    monkeypatch.setenv(f"SOURCES__{api}__{endpoint}__LIMIT".upper(), "25")
    assert page_limit(APIS[api], declared) == (limit and 25)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("0", "be greater than 0"),
        ("-5", "be greater than 0"),
        ("all", "be a valid integer, unable to parse string as an integer"),
        ("2.5", "be a valid integer, unable to parse string as an integer"),
    ],
)
def test_a_page_size_that_is_no_whole_number_above_zero_is_refused(monkeypatch, value, reason):
    monkeypatch.setenv(PREFIX + "GATES__LIMIT", value)
    with pytest.raises(ConfigurationError) as error:
        page_limit(API, API.by_name["gates"])
    assert str(error.value) == f"{PREFIX}GATES__LIMIT must {reason}"


def test_without_a_profile_each_api_is_as_the_registry_has_it(monkeypatch):
    monkeypatch.setenv(PREFIX + "PROFILE", "none")
    monkeypatch.setenv("SOURCES__INCIDENT_RESPONSE__PROFILE", "  ")
    assert load_accounts() == dict(APIS)


def test_a_profile_and_a_key_are_enough(monkeypatch):
    monkeypatch.setenv("SOURCES__FEATURE_MANAGEMENT__PROFILE", "split")
    api = choose_profile(APIS["feature_management"])
    assert (api.name, api.profile) == ("feature_management", "split")
    assert missing_settings(api) == ["SOURCES__FEATURE_MANAGEMENT__API_KEY"]
    monkeypatch.setenv("SOURCES__FEATURE_MANAGEMENT__API_KEY", SECRET)
    settings = load_settings(api)
    assert (str(settings.base_url), settings.requests_per_minute) == ("https://api.split.io/internal/api", 110)


def test_settings_win_over_what_a_profile_says(monkeypatch):
    api = PROFILES["feature_management"]["split"]
    url = "http://127.0.0.1:1/api"
    configure_api(monkeypatch, "feature_management", base_url=url, api_key=SECRET, requests_per_minute=7)
    settings = load_settings(api)
    assert (str(settings.base_url), settings.requests_per_minute) == ("http://127.0.0.1:1/api", 7)


@pytest.mark.parametrize("name", ["split", "Statsig", "neutral"])
def test_a_profile_that_the_api_does_not_have_is_refused(monkeypatch, name):
    monkeypatch.setenv(PREFIX + "PROFILE", name)
    for configured in (choose_profile, load_settings):
        with pytest.raises(ConfigurationError) as error:
            configured(API)
        assert str(error.value) == f"{PREFIX}PROFILE is '{name}': it must be statsig or none"


def test_a_profile_that_the_api_does_not_have_leaves_the_other_apis_as_they_are(monkeypatch):
    monkeypatch.setenv(PREFIX + "PROFILE", "split")
    monkeypatch.setenv("SOURCES__FEATURE_MANAGEMENT__PROFILE", "split")
    split = PROFILES["feature_management"]["split"]
    assert load_accounts() == {**APIS, "feature_management": split}


@pytest.mark.parametrize(
    ("value", "expected"),
    [("is:done", ("is:done",)), ('["is:done, late", "id:1"]', ("is:done, late", "id:1")), ("a, b", ("a", "b"))],
)
def test_a_list_may_be_written_in_two_ways(monkeypatch, value, expected):
    configure_api(monkeypatch, "project_planning", profile="shortcut", api_key=SECRET, search_query=value)
    assert load_settings(choose_profile(APIS["project_planning"])).search_query == expected


@pytest.mark.parametrize(
    ("profile", "given", "expected"),
    [
        ("split", "https://proxy.example/internal/api/v2", "https://proxy.example/internal/api"),
        ("split", "https://proxy.example/internal/api/v3/", "https://proxy.example/internal/api"),
        ("split", "https://proxy.example/internal/api", "https://proxy.example/internal/api"),
        ("none", "https://proxy.example/api/v2", "https://proxy.example/api/v2"),
    ],
)
def test_a_base_url_may_end_in_a_version_that_the_paths_begin_with(monkeypatch, profile, given, expected):
    configure_api(monkeypatch, "feature_management", base_url=given, api_key=SECRET, profile=profile)
    assert str(load_settings(choose_profile(APIS["feature_management"])).base_url) == expected


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("https://user:pa55word@api.example/v1", "user or password"),
        ("https://user@api.example", "user or password"),
        ("https://api.example/?api_key=pa55word", "query"),
        ("https://api.example/v1?", "query"),
        ("https://api.example/#pa55word", "fragment"),
    ],
)
def test_a_base_url_that_holds_more_than_a_place_is_refused(configure, url, part):
    configure(base_url=url)
    with pytest.raises(ConfigurationError) as error:
        load_settings(API)
    assert str(error.value) == (f"{URL} holds a {part}: write only scheme, host and path; the key goes into API_KEY")


@pytest.mark.parametrize("text", ["users, gates, ", " users ,,gates", '["users", "gates"]', ",users,gates,"])
def test_a_list_has_no_empty_names(configure, text):
    configure(skip_endpoints=text)
    assert load_settings(API).skip_endpoints == ("users", "gates")


@pytest.mark.parametrize("text", ["[users, groups]", "[", '["users"', "[" * 100_000])
def test_a_list_that_cannot_be_read_is_named(configure, text):
    configure(skip_endpoints=text)
    with pytest.raises(ConfigurationError) as error:
        load_settings(API)
    assert str(error.value) == ('SOURCES__EXPERIMENTATION__SKIP_ENDPOINTS is no list: write a, b or ["a", "b"]')


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://api.example", True),
        ("http://10.0.0.1:8080", True),
        ("http://127.example", True),
        ("http://[2001:db8::1]", True),
        ("https://api.example", False),
        ("http://localhost:8700", False),
        ("http://LOCALHOST", False),
        ("http://127.0.0.1:8700", False),
        ("http://127.9.9.9", False),
        ("http://[::1]:8700", False),
    ],
)
def test_a_key_that_is_sent_in_the_clear_to_another_machine_is_warned_of(configure, url, warned):
    configure(base_url=url)
    warning = unprotected_key(API, load_settings(API))
    assert bool(warning) is warned
    assert not warned or f"write https:// in {URL}" in warning


def test_retired_settings_are_named_where_they_are_set(monkeypatch):
    assert retired_settings(API) == ""
    monkeypatch.setenv(PREFIX + "GATES_RULES__SHARDS", "2")
    assert retired_settings(API) == f"{PREFIX}GATES_RULES__SHARDS has no effect any more and can be removed"
    monkeypatch.setenv(PREFIX + "GATES__SHARDS", "two")
    assert retired_settings(API) == (
        f"{PREFIX}GATES__SHARDS, {PREFIX}GATES_RULES__SHARDS have no effect any more and can be removed"
    )
    assert retired_settings(APIS["incident_response"]) == ""


def test_a_retired_setting_of_a_whole_api_is_named_once(monkeypatch):
    monkeypatch.setattr(settings_module, "RETIRED", ("<endpoint>.shards", "chunk"))
    monkeypatch.setenv(PREFIX + "CHUNK", "0")
    assert retired_settings(API) == f"{PREFIX}CHUNK has no effect any more and can be removed"
