"""Accounts: sections of the settings that are another instance of an API."""

from __future__ import annotations

from pathlib import Path

import pytest

from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.config import lookup
from analytics_ingest.config.accounts import choose_accounts, find_accounts, load_accounts
from analytics_ingest.config.api import load_settings
from analytics_ingest.config.lookup import declare_settings
from analytics_ingest.config.problems import shared_problems
from analytics_ingest.errors import ConfigurationError, UnknownAccountError
from analytics_ingest_tests.environment import configure_api

EU = "statsig_eu"


def test_the_apis_are_accounts_without_any_setting() -> None:
    assert find_accounts() == (dict(APIS), {})


def test_an_account_is_its_api_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_api(monkeypatch, EU, api="experimentation", profile="statsig", api_key="eu")
    configure_api(monkeypatch, "experimentation", profile="statsig", api_key="us")
    accounts = load_accounts()
    statsig = PROFILES["experimentation"]["statsig"]

    assert list(accounts) == [*APIS, EU]
    assert (accounts[EU].name, accounts[EU].account_of, accounts[EU].profile) == (EU, "experimentation", "statsig")
    assert accounts[EU].title == f"{statsig.title} ({EU})"
    assert accounts[EU].endpoints == statsig.endpoints
    keys = {name: load_settings(accounts[name]).api_key.get_secret_value() for name in (EU, "experimentation")}
    assert keys == {EU: "eu", "experimentation": "us"}


@pytest.mark.parametrize("file", ["secrets.toml", "config.toml"])
def test_accounts_are_declared_in_files_too(fresh_files: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    (fresh_files / file).write_text(f'[sources.{EU}]\napi = "experimentation"\nmax_pages = 3\n')
    configure_api(monkeypatch, EU, base_url="http://localhost", api_key="k")

    assert load_settings(choose_accounts([EU])[EU]).max_pages == 3


def test_the_environment_wins_over_declared_settings_and_they_over_files(
    fresh_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "DECLARED", {})
    declare_settings(EU, {"api": "experimentation", "base_url": "http://localhost", "api_key": "k", "MAX_PAGES": 2})
    (fresh_files / "secrets.toml").write_text(f"[sources.{EU}]\nmax_pages = 3\nmax_columns = 4\n")
    settings = load_settings(choose_accounts([EU])[EU])
    assert (settings.max_pages, settings.max_columns) == (2, 4)
    configure_api(monkeypatch, EU, max_pages=1)
    assert load_settings(choose_accounts([EU])[EU]).max_pages == 1


@pytest.mark.parametrize(
    ("section", "api", "problem"),
    [
        (EU, "experimentatoin", "SOURCES__STATSIG_EU__API is 'experimentatoin': it must be experimentation or"),
        (EU, "Experimentation", "SOURCES__STATSIG_EU__API is 'Experimentation': it must be experimentation or"),
        (EU, "project-planning", "SOURCES__STATSIG_EU__API is 'project-planning': it must be experimentation or"),
        (EU, "statsig", "SOURCES__STATSIG_EU__API is 'statsig', which is a profile: it must be experimentation"),
        ("eu-west", "experimentation", "[sources.eu-west] cannot be an account: its name must start with a letter"),
        ("2nd", "experimentation", "[sources.2nd] cannot be an account: its name must start with a letter"),
        ("a" * 41, "experimentation", "have at most 40 lower-case letters, digits and single underscores"),
        ("public", "experimentation", "[sources.public] cannot be an account, as the name is in use"),
        ("all", "experimentation", "[sources.all] cannot be an account, as the name is in use"),
        ("pg_one", "experimentation", "[sources.pg_one] cannot be an account, as the name is in use"),
        ("experimentation_checks", "experimentation", "cannot be an account, as the name is in use"),
    ],
)
def test_a_section_that_cannot_be_an_account_is_a_problem_of_that_section_alone(
    fresh_files: Path, monkeypatch: pytest.MonkeyPatch, section: str, api: str, problem: str
) -> None:
    (fresh_files / "config.toml").write_text(f'[sources."{section}"]\napi = "{api}"\n')
    accounts, problems = find_accounts()

    assert (accounts, list(problems)) == (dict(APIS), [section])
    assert problem in problems[section]
    with pytest.raises(ConfigurationError) as raised:
        choose_accounts([])
    assert problem in str(raised.value)
    assert list(choose_accounts(["incident_response"])) == ["incident_response"]


OTHER_SOURCES = """
[sources.github]
api = "v3"
owner = "acme"
[sources.rest_api.client]
api = "experimentation"
[sources.salesforce]
api = "bulk"
api_key = "k"
[sources.airtable]
api = 2
profile = "default"
[sources.stripe_analytics]
api = "https://api.stripe.com/v1"
[sources.sql]
table = "a"
"""


def test_sections_of_other_sources_are_left_alone(fresh_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fresh_files / "config.toml").write_text(OTHER_SOURCES)
    monkeypatch.setenv("SOURCES__REST_API__BASE_URL", "http://localhost")
    monkeypatch.setenv("SOURCES__GITLAB__API", "graphql")

    assert find_accounts() == (dict(APIS), {})
    assert shared_problems() == []


def test_a_section_with_a_profile_of_ours_is_an_account_whatever_its_api_is(
    fresh_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fresh_files / "config.toml").write_text(f'[sources.{EU}]\napi = "v2"\nprofile = "statsig"\n')

    assert list(find_accounts()[1]) == [EU]


def test_an_unknown_name_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_api(monkeypatch, EU, api="experimentation")
    with pytest.raises(UnknownAccountError, match="there is no API or account statsig_us; there are experimentation, "):
        choose_accounts(["statsig_us"])
    assert list(choose_accounts([EU, EU])) == [EU]


def test_the_apis_in_the_graph_are_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_APIS", "project_planning, experimentation")
    configure_api(monkeypatch, EU, api="experimentation")
    assert list(load_accounts()) == ["experimentation", "project_planning", EU]

    monkeypatch.setenv("ANALYTICS_INGEST_APIS", "experiments")
    with pytest.raises(ConfigurationError, match="ANALYTICS_INGEST_APIS names experiments: there are "):
        find_accounts()
