"""``EXCLUDE_COLUMNS``: a misspelt endpoint is refused before any request, and a field that no row has is warned of."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.diagnostics.connection_check import check_api
from analytics_ingest.errors import ConfigurationError
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import query, sync
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.trials import Rows, Trial

API = "experimentation"


def refusal(monkeypatch: pytest.MonkeyPatch, names: str) -> str:
    configure_api(monkeypatch, API, exclude_columns=names)
    with pytest.raises(ConfigurationError) as refused:
        sync(API, "users")
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("user.email", "users.email"),
        ("usres.email", "users.email"),
        ("uesrs.profile.email", "users.profile.email"),
        ("dynamic_config.name", "dynamic_configs.name"),
        ("gates_rule.name", "gates_rules.name"),
    ],
)
def test_a_misspelt_endpoint_is_refused_before_any_request(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    first, _, field = name.partition(".")

    assert refusal(monkeypatch, f"{name}, users.emial") == (
        f"SOURCES__EXPERIMENTATION__EXCLUDE_COLUMNS names {name}, and experimentation has neither an endpoint nor a "
        f"column {first}: did you mean {meant}? A field {field} within a field {first} is written <endpoint>.{name}"
    )
    assert sandbox.requests.count() == 0
    found = list(check_api(APIS[API], log=logging.getLogger("test")))
    assert [(each.subject, each.outcome) for each in found] == [("settings", "failed")]
    assert sandbox.requests.count() == 0


def test_a_plural_of_another_kind_is_found(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    configure_api(monkeypatch, "project_planning", exclude_columns="category.color")
    with pytest.raises(ConfigurationError, match=r"did you mean categories\.color\?"):
        sync("project_planning", "categories")


@pytest.mark.parametrize(
    "name",
    ["users.email", "email", "description", "users.user.email", "created_at.x", "owner.email", "gate_id.x", "colour.x"],
)
def test_other_names_are_not_refused(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    configure_api(monkeypatch, API, exclude_columns=name)

    assert sync(API, "users")["users"].status == "complete"


def test_a_field_of_stored_rows_may_have_a_name_like_an_endpoint(
    trial_api: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"id": 1, "thing": {"name": "n", "colour": "red"}, "updated_at": "2026-01-01T00:00:00Z"}
    trial_api.rows = Rows(things=[[row]])
    trial_api.sync()
    configure_api(monkeypatch, "trials", exclude_columns="thing.colour")

    # also where the endpoint with the field is not synced
    assert trial_api.sync("others")["others"].status == "complete"
    assert trial_api.sync()["things"].status == "complete"


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, logger="test")
    return caplog


def unused(warnings: pytest.LogCaptureFixture) -> list[str]:
    found = [each.getMessage() for each in warnings.records if "which no row and no table has" in each.getMessage()]
    warnings.clear()
    return found


def test_a_field_that_no_row_has_is_warned_of_after_the_sync(
    tmp_path: Path, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, warnings: pytest.LogCaptureFixture
) -> None:
    configure_api(monkeypatch, API, exclude_columns="users.emial, users.role, users.profile.x, colour")
    sync(API, "users")
    variable = "experimentation: SOURCES__EXPERIMENTATION__EXCLUDE_COLUMNS names"

    # of a name without an endpoint nothing is known until all endpoints are read
    assert unused(warnings) == [
        f"{variable} users.emial, which no row and no table has: did you mean users.email?",
        f"{variable} users.profile.x, which no row and no table has: is it spelled right?",
    ]
    assert "email" in {row[0] for row in query(tmp_path, "SELECT column_name FROM (DESCRIBE experimentation.users)")}
    sync(API)
    assert [text.split()[3] for text in unused(warnings)] == ["users.emial,", "users.profile.x,", "colour,"]


def test_a_field_that_a_row_or_a_table_has_is_not_warned_of(
    trial_api: Trial, monkeypatch: pytest.MonkeyPatch, warnings: pytest.LogCaptureFixture
) -> None:
    rows = [{"id": 1, "email": "e", "owner": {"email": "e"}, "watchers": [{"name": "n"}, {"email": "e"}]}, {"id": 2}]
    trial_api.rows = Rows(things=[rows])
    trial_api.sync()
    trial_api.rows = Rows(things=[[{"id": 1}]])
    configure_api(monkeypatch, "trials", exclude_columns="things.email, name")
    trial_api.sync()
    assert unused(warnings) == []

    trial_api.rows = Rows(things=[rows], parts={"1": [[{"id": 1}]]})
    configure_api(monkeypatch, "trials", exclude_columns="owner.email, things.watchers.email, seen_at.x, updated_at")
    trial_api.sync()
    assert [text.split()[3] for text in unused(warnings)] == ["seen_at.x,"]


def test_what_was_not_read_completely_proves_nothing(
    trial_api: Trial, monkeypatch: pytest.MonkeyPatch, warnings: pytest.LogCaptureFixture
) -> None:
    configure_api(monkeypatch, "trials", exclude_columns="things.emial")
    trial_api.rows = Rows(things=[])
    trial_api.sync()
    trial_api.rows = Rows(things=[[{"id": 1}, {"no": "key"}, 7], [None]])
    trial_api.sync("others")
    assert unused(warnings) == []
    configure_api(monkeypatch, "trials", skip_endpoints="things, parts")
    trial_api.sync()
    assert unused(warnings) == []
