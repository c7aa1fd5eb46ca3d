"""Settings in a destination's section that dlt does not have are refused before any request; others are left alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.warehouse.destination import configured_destination
from analytics_ingest.warehouse.destination_settings import destination_settings, unknown_destination_settings
from analytics_ingest.warehouse.exceptions import WarehouseError
from analytics_ingest.warehouse.warehouse import Warehouse
from analytics_ingest_tests.conftest import sync
from analytics_ingest_tests.environment import set_environment

DUCKDB = "DESTINATION__DUCKDB__CREDENTIALS"
POSTGRES = "DESTINATION__POSTGRES__CREDENTIALS"
LAKE = "DESTINATION__DUCKLAKE__CREDENTIALS"


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("DESTINATION__DUCKDB__CREDENTIAL", DUCKDB),
        ("DESTINATION__DUCKDB__CREDNETIALS", DUCKDB),
        ("DESTINATION__DUCKBD__CREDENTIALS", DUCKDB),
        ("DESTINATON__DUCKDB__CREDENTIALS", DUCKDB),
        ("DESTINATION_DUCKDB__CREDENTIALS", DUCKDB),
        ("DESTINATION__DUCKDB_CREDENTIALS", DUCKDB),
        (f"{DUCKDB}__DATABSE", f"{DUCKDB}__DATABASE"),
        (f"{DUCKDB}__GLOBAL_CONFG", f"{DUCKDB}__GLOBAL_CONFIG"),
    ],
)
def test_a_misspelt_setting_stops_the_sync_before_its_first_request(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "file.duckdb")
    with pytest.raises(WarehouseError) as refused:
        sync("incident_response")

    assert str(refused.value).startswith(f"{variable} is no setting")
    assert str(refused.value).endswith(f": did you mean {meant}?")
    assert sandbox.requests.count() == 0


@pytest.mark.parametrize(
    ("destination", "variable", "meant"),
    [
        ("postgres", f"{POSTGRES}__USER", f"{POSTGRES}__USERNAME"),
        ("postgres", "DESTINATION__POSTGRES__CREDENTIAL", POSTGRES),
        ("postgres", "DESTINATION__POSTGRESS__CREDENTIALS", POSTGRES),
        ("ducklake", f"{LAKE}__CATALOGUE", f"{LAKE}__CATALOG"),
        ("ducklake", f"{LAKE}__STORAGE__BUCKET", f"{LAKE}__STORAGE__BUCKET_URL"),
        (
            "ducklake",
            f"{LAKE}__STORAGE__CREDENTIALS__AWS_ACCESS_KEY",
            f"{LAKE}__STORAGE__CREDENTIALS__AWS_ACCESS_KEY_ID",
        ),
        ("snowflake", "DESTINATION__SNOWFLAKE__CREDENTIALS__PASSWORT", "DESTINATION__SNOWFLAKE__CREDENTIALS__PASSWORD"),
        ("bigquery", "DESTINATION__BIGQUERY__LOCATIO", "DESTINATION__BIGQUERY__LOCATION"),
    ],
)
def test_the_names_are_those_of_the_destination_in_use(
    monkeypatch: pytest.MonkeyPatch, destination: str, variable: str, meant: str
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", destination)
    monkeypatch.setenv(variable, "x")
    [problem] = unknown_destination_settings(configured_destination())

    assert problem.startswith(f"{variable} is no setting")
    assert problem.endswith(f": did you mean {meant}?")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "[destination.duckdb]\ncredential = 'x'",
            "DESTINATION__DUCKDB__CREDENTIAL (in .dlt/secrets.toml) is no setting",
        ),
        ("[destination.duckbd]\ncredentials = 'x'", "(in .dlt/secrets.toml) is no setting of the destination duckdb"),
        ("[destinations.duckdb]\ncredentials = 'x'", f"(in .dlt/secrets.toml) is no setting: did you mean {DUCKDB}?"),
        (
            "[destination.duckdb]\nCREDENTIALS = 'x'",
            "is not read in this form: write credentials under [destination.du",
        ),
        ("[destination.duckdb]\ncredentials__database = 'x'", "write database under [destination.duckdb.credentials]"),
    ],
)
def test_names_in_files_are_checked_too(fresh_files: Path, content: str, message: str) -> None:
    (fresh_files / "secrets.toml").write_text(content)
    [problem] = unknown_destination_settings(configured_destination())

    assert message in problem


@pytest.mark.parametrize(
    ("destination", "variables"),
    [
        ("duckdb", {DUCKDB: "x.duckdb", f"{DUCKDB}__GLOBAL_CONFIG": '{"threads": 4}', f"{DUCKDB}__READ_ONLY": "false"}),
        ("duckdb", {"DESTINATION__DUCKDB__CREATE_INDEXES": "true", "DESTINATION__DUCKDB__DESTINATION_NAME": "x"}),
        ("duckdb", {f"{POSTGRES}__USER": "x", "DESTINATION__SNOWFLAKE__X": "x", "DESTINATION__LAKE__CREDENTIAL": "x"}),
        ("duckdb", {"DESTINATION__DUCKDB2__DESTINATION_TYPE": "duckdb", "DESTINATION__DUCKDB2__CREDENTIALS": "x"}),
        (
            "postgres",
            {f"{POSTGRES}__{name}": "x" for name in ("HOST", "DATABASE", "USERNAME", "PASSWORD", "DRIVERNAME")},
        ),
        ("postgres", {f"{POSTGRES}__PORT": "5432", f"{POSTGRES}__CONNECT_TIMEOUT": "5", "DESTINATION__NAME": "x"}),
        ("ducklake", {f"{LAKE}__CATALOG": "sqlite:///c.sqlite", f"{LAKE}__STORAGE__BUCKET_URL": "file:///lake"}),
        ("ducklake", {f"{LAKE}__STORAGE__CREDENTIALS__AWS_SECRET_ACCESS_KEY": "x", f"{LAKE}__CATALOG__HOST": "h"}),
        ("bigquery", {f"DESTINATION__BIGQUERY__CREDENTIALS__{name}": "x" for name in ("PROJECT_ID", "PRIVATE_KEY")}),
        (
            "warehouse",
            {"DESTINATION__WAREHOUSE__DESTINATION_TYPE": "postgres", "DESTINATION__WAREHOUSE__CREDENTIALS": "x"},
        ),
    ],
)
def test_names_that_dlt_reads_and_those_of_other_destinations_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, destination: str, variables: Mapping[str, str]
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", destination)
    set_environment(monkeypatch, variables)

    assert unknown_destination_settings(configured_destination()) == []


def test_a_table_in_a_file_is_the_value_of_a_setting(fresh_files: Path) -> None:
    (fresh_files / "config.toml").write_text("[destination.duckdb.credentials.global_config]\nthreads = 4\n")

    assert unknown_destination_settings(configured_destination()) == []


def test_a_part_of_a_value_cannot_be_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{DUCKDB}__GLOBAL_CONFIG__THREADS", "4")

    assert unknown_destination_settings(configured_destination()) == [
        f"{DUCKDB}__GLOBAL_CONFIG__THREADS is not read: set {DUCKDB}__GLOBAL_CONFIG as a whole"
    ]


def test_a_destination_that_dlt_does_not_have_is_named_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", "postgress")
    with pytest.raises(WarehouseError, match="is postgress, which is not a dlt destination: did you mean postgres"):
        Warehouse("experimentation", log=logging.getLogger("test"), lock_timeout=1)


def test_settings_are_listed_without_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", "postgres")
    monkeypatch.setenv(POSTGRES, "postgresql://user:s3c/r3t@host:5432/warehouse?password=s3cr3t")
    monkeypatch.setenv(f"{POSTGRES}__PASSWORD", "s3cr3t")
    monkeypatch.setenv(f"{POSTGRES}__PORT", "5433")

    assert {each.name: (each.value, each.place) for each in destination_settings(configured_destination())} == {
        "CREDENTIALS": ("postgresql://***@host:5432/warehouse?***", "environment"),
        "CREDENTIALS__PASSWORD": ("***", "environment"),
        "CREDENTIALS__PORT": ("5433", "environment"),
    }
    monkeypatch.setenv(POSTGRES, '{"private_key": "s3cr3t"}')
    assert [each.value for each in destination_settings(configured_destination())] == ["***", "***", "5433"]


def test_the_default_file_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DUCKDB)
    [setting] = destination_settings(configured_destination())

    assert (setting.name, setting.place) == ("CREDENTIALS", "default")
    assert setting.value.endswith("analytics_ingest.duckdb")


def test_postgresql_in_parts_needs_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"HOST": "db", "DATABASE": "warehouse", "USERNAME": "loader", "PASSWORD": "p/w@rd"}
    variables = {f"DESTINATION__POSTGRES__CREDENTIALS__{name}": value for name, value in parts.items()}
    set_environment(monkeypatch, {"ANALYTICS_INGEST_DESTINATION": "postgres", **variables})
    destination = configured_destination()

    assert unknown_destination_settings(destination) == []
    credentials = destination.configuration().credentials
    assert credentials.to_native_representation() == (
        "postgresql://loader:p%2Fw%40rd@db:5432/warehouse?connect_timeout=15&options=-clock_timeout%3D2s"
    )
