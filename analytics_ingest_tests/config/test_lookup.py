"""Where settings are looked up, and files of settings that cannot be read."""

from __future__ import annotations

import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

from analytics_ingest.apis.registry import APIS
from analytics_ingest.config.api import choose_profile, load_settings, missing_settings
from analytics_ingest.config.lookup import environment_name, lookup
from analytics_ingest.errors import ConfigurationError

API = APIS["experimentation"]
PREFIX = "SOURCES__EXPERIMENTATION__"
URL = PREFIX + "BASE_URL"
KEY = PREFIX + "API_KEY"
SECRET = "s3cr3t-k3y"


def test_the_variable_of_a_setting_of_an_endpoint():
    assert environment_name("experimentation", "gates.limit") == PREFIX + "GATES__LIMIT"


@pytest.mark.parametrize(
    "name",
    ["API_KEY", "SOURCES__API_KEY", "EXPERIMENTATION__API_KEY", "SOURCES__INCIDENT_RESPONSE__API_KEY"],
)
def test_the_key_of_something_else_is_never_used(monkeypatch, name):
    monkeypatch.setenv(URL, "http://127.0.0.1:1")
    monkeypatch.setenv(name, "of-another-vendor")
    assert missing_settings(API) == [KEY]
    monkeypatch.setenv(KEY, SECRET)
    assert load_settings(API).api_key.get_secret_value() == SECRET


def test_settings_may_stand_in_a_secrets_file(tmp_path, monkeypatch):
    folder = tmp_path / "project" / ".dlt"
    folder.mkdir(parents=True)
    (folder / "secrets.toml").write_text(
        "[sources]\nread_timeout = 1\n"
        "[sources.experimentation]\n"
        'base_url = "http://127.0.0.1:1"\napi_key = "from-the-file"\n'
        'max_pages = 7\nskip_endpoints = ["gates"]\n'
    )
    project = Container()[PluggableRunContext]
    project.reload(str(folder.parent))
    try:
        settings = load_settings(API)
    finally:
        project.reload(".")
    assert settings.api_key.get_secret_value() == "from-the-file"
    assert (settings.max_pages, settings.skip_endpoints, settings.read_timeout) == (7, ("gates",), 60)


@pytest.mark.parametrize("name", ["secrets.toml", "config.toml"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'[a]\nb = 1\nkey = "gr\xfcn-pa55word"\n', "line 3 is not UTF-8. Save the file as UTF-8"),
        (b"\xff\xfe[\0a\0", "line 1 is not UTF-8. Save the file as UTF-8"),
        (b'[a]\nkey = "pa55word\n', "line 2 is not valid TOML"),
        (b"[a]\n\nkey = pa55word\n", "line 3 is not valid TOML"),
        (b"[a\n", "line 1 is not valid TOML"),
        (b"[a]\nb = 1\nb = 2\n", "line 3 is not valid TOML"),
    ],
)
def test_a_file_of_settings_that_cannot_be_read_is_named_with_its_line(fresh_files, name, content, reason):
    (fresh_files / name).write_bytes(content)
    for read in (load_settings, choose_profile, missing_settings):
        with pytest.raises(ConfigurationError) as error:
            read(API)
        assert str(error.value).endswith(f".dlt/{name} cannot be read: {reason}")


@pytest.mark.parametrize("name", ["secrets.toml", "config.toml"])
def test_a_folder_in_place_of_a_file_of_settings_is_named(fresh_files, name):
    (fresh_files / name).mkdir()
    with pytest.raises(ConfigurationError, match=rf"{name} is a folder: it must be a TOML file$"):
        load_settings(API)


def test_the_environment_wins_over_secrets_and_these_over_the_other_file(fresh_files, monkeypatch):
    table = "[sources.experimentation]\n"
    (fresh_files / "config.toml").write_text(f"{table}max_pages = 1\nmax_columns = 1\nmax_wait = 1\n")
    (fresh_files / "secrets.toml").write_text(f"{table}max_columns = 2\nmax_wait = 2\n")
    monkeypatch.setenv(PREFIX + "MAX_WAIT", "3")
    assert [lookup(API, name) for name in ("max_pages", "max_columns", "max_wait", "lookback")] == [1, 2, "3", None]


def test_a_key_is_not_taken_from_the_file_that_is_not_secret(fresh_files):
    (fresh_files / "config.toml").write_text(
        '[sources.experimentation]\napi_key = "k"\nbase_url = "http://127.0.0.1:1"\n'
    )
    assert missing_settings(API) == [KEY]
