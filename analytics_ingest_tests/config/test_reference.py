"""The reference page has every setting, and is what its generator gives."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from analytics_ingest.apis.registry import PROFILES
from analytics_ingest.config.api_settings import EndpointSettings, Settings
from analytics_ingest.config.deployment import DeploymentSettings, environment_variable
from analytics_ingest.config.reference import build_page
from analytics_ingest.config.schedule import ScheduleSettings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
ROWS = [line.strip("| ").split(" | ") for line in build_page().splitlines() if re.match(r"\| `[A-Z_]+` \|", line)]


def test_the_page_is_what_its_generator_gives():
    assert PAGE.read_text() == build_page(), "docs/settings.md is not up to date: run `make docs`"


def test_every_setting_has_one_row():
    fields = [*Settings.model_fields, *ScheduleSettings.model_fields, *EndpointSettings.model_fields]
    names = [*map(str.upper, fields), *map(environment_variable, DeploymentSettings.model_fields)]

    assert Counter(row[0].strip("`") for row in ROWS) == Counter(names)
    # of an API, and of one of its endpoints
    assert [name for name, count in Counter(names).items() if count > 1] == ["HISTORY"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_says_which_values_a_setting_takes_and_what_it_does(row):
    _, values, default, description = row
    assert values
    assert default
    assert description.endswith(".")


@pytest.mark.parametrize(
    ("name", "values", "default"),
    [
        ("API_KEY", "secret", "must be set"),
        ("MAX_IN_FLIGHT", "requests", "`16`"),
        ("MAX_WAIT", "seconds", "`900`"),
        ("FAN_OUT", "`all` or `changed`", "`all`"),
        ("START_DATE", "date or time", "none"),
        ("SEARCH_QUERY", "list", "`is:unstarted, is:started, is:done`"),
        ("ORG_SLUGS", "list", "none"),
        ("MARK_DELETED", "`true` or `false`", "`true`"),
        ("SAMPLE_ROWS", "rows", "`0`"),
        ("HISTORY_RETENTION", "days", "for ever"),
        ("LEDGER_RETENTION", "days", "`90`"),
        ("LIMIT", "rows", "as declared"),
        ("CRON", "cron expression", "by the API"),
        ("ANALYTICS_INGEST_EXECUTOR", "`per_api`, `in_process`, `multiprocess` or `celery`", "`per_api`"),
        ("ANALYTICS_INGEST_CELERY_BACKEND", "URL", "`rpc://`"),
        ("ANALYTICS_INGEST_WEBHOOK_URL", "URL", "none"),
    ],
)
def test_values_and_defaults_are_shown_as_they_are_written(name, values, default):
    assert [row[1:3] for row in ROWS if row[0] == f"`{name}`"] == [[values, default]]


def test_an_api_without_a_profile_has_a_row(monkeypatch):
    monkeypatch.setitem(PROFILES, "experimentation", {})
    assert "| `experimentation` | none | `5 * * * *` |" in build_page()


def test_pages_that_are_linked_are_there():
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", build_page())
    assert set(links) == {"operations.md", "deployment.md", "destinations.md", "history.md", "projects.md"}
    assert all((PAGE.parent / link).exists() for link in links)
