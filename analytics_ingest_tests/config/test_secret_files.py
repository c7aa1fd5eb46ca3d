"""Secrets in files: ``<NAME>_FILE`` in place of ``<NAME>``."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analytics_ingest.apis.registry import APIS
from analytics_ingest.cli.app import app
from analytics_ingest.config.api import load_settings, missing_settings
from analytics_ingest.config.deployment import DeploymentSettings, load_deployment_setting, load_deployment_settings
from analytics_ingest.config.lookup import look_up_with_place
from analytics_ingest.config.problems import account_problems, shared_problems
from analytics_ingest.config.secret_files import find_secret
from analytics_ingest.config.unknown_settings import unknown_settings, unknown_shared_settings
from analytics_ingest.config.validation import secret_fields
from analytics_ingest.errors import ConfigurationError
from analytics_ingest.warehouse.destination import configured_destination
from analytics_ingest.warehouse.destination_errors import secrets_of
from analytics_ingest.warehouse.destination_settings import unknown_destination_settings
from analytics_ingest.warehouse.exceptions import WarehouseError
from analytics_ingest.warehouse.warehouse import Warehouse
from analytics_ingest_tests.environment import configure_api

API = APIS["experimentation"]
PREFIX = "SOURCES__EXPERIMENTATION__"
KEY = f"{PREFIX}API_KEY"
SECRET = "s3cr3t-k3y"
PASSWORD = "DESTINATION__POSTGRES__CREDENTIALS__PASSWORD"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    return file


@pytest.fixture
def postgres_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", "postgres")
    for name, value in {"HOST": "localhost", "DATABASE": "warehouse", "USERNAME": "warehouse"}.items():
        monkeypatch.setenv(f"DESTINATION__POSTGRES__CREDENTIALS__{name}", value)


def test_a_key_is_read_from_its_file_at_each_use(monkeypatch: pytest.MonkeyPatch, secret: Path) -> None:
    configure_api(monkeypatch, API.name, base_url="http://127.0.0.1:1", api_key_file=secret)

    assert missing_settings(API) == []
    assert load_settings(API).api_key.get_secret_value() == SECRET
    assert look_up_with_place(API, "api_key") == (SECRET, str(secret))
    secret.write_text("another\r\n")
    assert load_settings(API).api_key.get_secret_value() == "another"
    assert SECRET not in repr(load_settings(API))


def test_the_file_wins_over_files_of_settings(monkeypatch: pytest.MonkeyPatch, fresh_files: Path, secret: Path) -> None:
    (fresh_files / "secrets.toml").write_text("[sources.experimentation]\napi_key = 'of-the-file'\n")
    monkeypatch.setenv(KEY + "_FILE", str(secret))
    assert look_up_with_place(API, "api_key") == (SECRET, str(secret))


@pytest.mark.parametrize(("content", "value"), [("a\n\n", "a"), ("a b \n", "a b "), ("a\nb\n", "a\nb"), ("ä", "ä")])
def test_only_the_line_break_at_the_end_is_removed(
    monkeypatch: pytest.MonkeyPatch, secret: Path, content: str, value: str
) -> None:
    secret.write_text(content, encoding="utf-8")
    monkeypatch.setenv(PASSWORD + "_FILE", str(secret))
    assert find_secret(PASSWORD) == (value, str(secret))


def _missing(file: Path) -> None:
    file.unlink()


def _unreadable(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _empty(file: Path) -> None:
    file.write_text(" \n")


def _not_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfes3cr3t-k3y")


@pytest.mark.parametrize("name", [KEY, "ANALYTICS_INGEST_WEBHOOK_URL", "ANALYTICS_INGEST_CELERY_BROKER", PASSWORD])
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (_missing, "cannot be read: No such file or directory. The file must exist"),
        (_unreadable, "cannot be read: Is a directory. The file must exist"),
        (_empty, "is empty: write the secret into it"),
        (_not_text, "is not UTF-8: write the secret alone into it"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
@pytest.mark.usefixtures("postgres_in_parts")
def test_a_file_that_cannot_be_used_is_named_with_its_setting(
    monkeypatch: pytest.MonkeyPatch, secret: Path, name: str, spoil: Callable[[Path], None], problem: str
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv(KEY if name != KEY else "OTHER", "key")
    if name == KEY:
        monkeypatch.delenv(KEY, raising=False)
    monkeypatch.setenv(name + "_FILE", str(secret))
    spoil(secret)
    text = f"{name}_FILE: {secret} {problem}"

    with pytest.raises((ConfigurationError, WarehouseError)) as error:
        _use(name)
    assert text in str(error.value)
    code, output = _settings()
    assert code == 1
    assert text in output
    assert "not valid" in output
    assert SECRET not in output + str(error.value)


def _use(name: str) -> object:
    """What reads a setting."""
    if name == KEY:
        return load_settings(API)
    if name == PASSWORD:
        return Warehouse(API.name, log=logging.getLogger(), lock_timeout=1)
    return load_deployment_setting(name.removeprefix("ANALYTICS_INGEST_").lower())


def _settings() -> tuple[int, str]:
    result = CliRunner().invoke(app, ["settings"], env={"COLUMNS": "400"})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout


@pytest.mark.parametrize("name", [KEY, "ANALYTICS_INGEST_WEBHOOK_URL", PASSWORD])
@pytest.mark.usefixtures("postgres_in_parts")
def test_a_secret_that_is_set_twice_is_refused(monkeypatch: pytest.MonkeyPatch, secret: Path, name: str) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv(name + "_FILE", str(secret))
    with pytest.raises((ConfigurationError, WarehouseError), match=f"{name} and {name}_FILE are both set: remove one"):
        _use(name)
    # a blank value counts as not set
    monkeypatch.setenv(name, " ")
    _use(name)


def test_secrets_of_the_deployment_are_read_from_files(monkeypatch: pytest.MonkeyPatch, secret: Path) -> None:
    secret.write_text(f"https://host/{SECRET}\n")
    for name in secret_fields(DeploymentSettings):
        monkeypatch.setenv(f"ANALYTICS_INGEST_{name}_FILE".upper(), str(secret))

    settings = load_deployment_settings()
    found = {name: getattr(settings, name).get_secret_value() for name in secret_fields(DeploymentSettings)}
    assert found == dict.fromkeys(("celery_backend", "celery_broker", "webhook_url"), f"https://host/{SECRET}")
    assert unknown_shared_settings() == []
    assert shared_problems() == []
    # the code location loads without them
    secret.unlink()
    assert load_deployment_settings(secrets=False).webhook_url.get_secret_value() == ""


@pytest.mark.usefixtures("postgres_in_parts")
def test_a_password_of_the_destination_is_read_from_its_file(monkeypatch: pytest.MonkeyPatch, secret: Path) -> None:
    monkeypatch.setenv(PASSWORD + "_FILE", str(secret))
    destination = configured_destination()

    assert unknown_destination_settings(destination) == []
    credentials = destination.configuration().credentials
    assert (credentials.host, credentials.database) == ("localhost", "warehouse")
    assert credentials.password == SECRET
    assert SECRET in secrets_of(credentials)
    assert SECRET not in os.environ.values()


def test_the_url_of_the_destination_is_read_from_its_file(monkeypatch: pytest.MonkeyPatch, secret: Path) -> None:
    secret.write_text(f"postgresql://loader:{SECRET}@localhost:5432/warehouse?sslmode=verify-full\n")
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", "postgres")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS_FILE", str(secret))
    destination = configured_destination()

    assert unknown_destination_settings(destination) == []
    credentials = destination.configuration().credentials
    assert (credentials.username, credentials.password, credentials.query) == (
        "loader",
        SECRET,
        {"sslmode": "verify-full", "options": "-clock_timeout=2s"},
    )


@pytest.mark.usefixtures("postgres_in_parts")
def test_the_settings_in_force_name_the_file_and_mask_the_value(monkeypatch: pytest.MonkeyPatch, secret: Path) -> None:
    configure_api(monkeypatch, API.name, profile="statsig", api_key_file=secret)
    monkeypatch.setenv("ANALYTICS_INGEST_WEBHOOK_URL_FILE", str(secret))
    monkeypatch.setenv(PASSWORD + "_FILE", str(secret))
    code, output = _settings()

    assert code == 0, output
    rows = [line.split() for line in output.splitlines() if str(secret) in line]
    assert rows == [[name, "***", str(secret)] for name in ("WEBHOOK_URL", "CREDENTIALS__PASSWORD", "API_KEY")]
    assert SECRET not in output


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (f"{PREFIX}MAX_PAGES_FILE", f"is no setting: did you mean {PREFIX}MAX_PAGES?"),
        (f"{PREFIX}API_KEY_FLIE", f"is no setting: did you mean {PREFIX}API_KEY_FILE?"),
        ("ANALYTICS_INGEST_TIMEZONE_FILE", "is no setting: did you mean ANALYTICS_INGEST_TIMEZONE?"),
        ("ANALYTICS_INGEST_WEBHOOK_URL_FLIE", "is no setting: did you mean ANALYTICS_INGEST_WEBHOOK_URL_FILE?"),
        ("sources__experimentation__api_key_file", f"is not read: write {KEY}_FILE"),
    ],
)
def test_files_of_what_is_no_secret_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, problem: str) -> None:
    monkeypatch.setenv(name, "/run/secrets/x")
    assert [*unknown_settings(API), *unknown_shared_settings()] == [f"{name} {problem}"]


@pytest.mark.usefixtures("postgres_in_parts")
@pytest.mark.parametrize("name", ["HOST_FILE", "PASSWORD_FLIE", "password_file"])
def test_files_of_what_is_no_secret_of_the_destination_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"DESTINATION__POSTGRES__CREDENTIALS__{name}", "/run/secrets/x")
    (problem,) = unknown_destination_settings(configured_destination())
    assert problem.startswith(f"DESTINATION__POSTGRES__CREDENTIALS__{name} is no")


def test_a_file_of_settings_cannot_name_the_file_of_a_secret(
    monkeypatch: pytest.MonkeyPatch, fresh_files: Path, secret: Path
) -> None:
    (fresh_files / "secrets.toml").write_text(f"[sources.experimentation]\napi_key_file = '{secret}'\n")
    assert KEY in missing_settings(API)
    assert account_problems(API) == [
        f"{KEY}_FILE (in .dlt/secrets.toml) is not read from there: set it in the environment"
    ]
