"""Variables of the environment that are not meant for dlt, and those that are."""

from __future__ import annotations

from pathlib import Path

import pytest
from dlt.common.configuration.providers import environ
from dlt.common.typing import TSecretStrValue

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.warehouse.dlt_environ import SectionedEnvironment
from analytics_ingest_tests.conftest import query, sync
from analytics_ingest_tests.environment import set_environment

SOMEBODY_ELSES = {
    "DEV_MODE": "true",
    "WORKERS": "auto",
    "DATASET_NAME": "theirs",
    "DATASET_NAME_LAYOUT": "their_%s",
    "STAGING_DATASET_NAME_LAYOUT": "theirs_too_%s",
    "PIPELINE_NAME": "theirs",
    "NAMING": "sql_cs_v1",
}


def test_variables_without_a_section_decide_nothing(
    tmp_path: Path, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, SOMEBODY_ELSES)
    first, second = sync("incident_response"), sync("incident_response")

    assert {result.status for result in first.values()} == {"complete"}
    assert all(result.stats and result.stats.rows_loaded == 0 for result in second.values())
    schemas = query(tmp_path, "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE '%incident%'")
    assert sorted(schemas) == [("incident_response",), ("incident_response_staging",)]


@pytest.mark.parametrize(
    ("name", "key", "pipeline", "sections"),
    [
        ("NORMALIZE__WORKERS", "workers", "", ("normalize",)),
        ("EXPERIMENTATION__WORKERS", "workers", "experimentation", ()),
        ("AWS_ACCESS_KEY_ID", "aws_access_key_id", "", ()),
        ("GOOGLE_APPLICATION_CREDENTIALS", "google_application_credentials", "", ()),
    ],
)
def test_variables_with_a_section_and_those_of_clouds_are_read(
    monkeypatch: pytest.MonkeyPatch, name: str, key: str, pipeline: str, sections: tuple[str, ...]
) -> None:
    monkeypatch.setenv(name, "value")
    provider = SectionedEnvironment()

    assert provider.get_value(key, str, pipeline, *sections) == ("value", name)
    monkeypatch.delenv(name)
    assert provider.get_value(key, str, pipeline, *sections) == (None, name)


def test_a_file_with_a_secret_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environ, "SECRET_STORAGE_PATH", str(tmp_path / "%s"))
    # dlt makes a variable of it
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS__PASSWORD", "")
    (tmp_path / "destination--postgres--credentials--password").write_text("secret")
    provider = SectionedEnvironment()

    value, _ = provider.get_value("password", TSecretStrValue, "", "destination", "postgres", "credentials")
    assert value == "secret"
