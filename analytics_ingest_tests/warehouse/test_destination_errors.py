"""Destinations that cannot work: one line that names the setting, in no time, and without its secret."""

from __future__ import annotations

import html
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from analytics_ingest.warehouse.destination_errors import describe, secrets_of
from analytics_ingest.warehouse.exceptions import WarehouseError
from analytics_ingest.warehouse.warehouse import Warehouse

API = "experimentation"
SECRET = "s3cret-of-the-warehouse"


def refused() -> str:
    """What is said of a warehouse that cannot be opened: one line without its secret."""
    warehouse_log = logging.getLogger("test")

    def opened() -> None:
        warehouse = Warehouse(API, log=warehouse_log, lock_timeout=1)
        with warehouse.sync(), warehouse.open():
            pytest.fail("it opened")

    with pytest.raises(WarehouseError) as error:
        opened()
    text = str(error.value)
    assert SECRET not in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("destination", "credentials", "parts"),
    [
        (
            "postgres",
            f"postgresql://u:{SECRET}@127.0.0.1:1/db",
            ["the destination postgres cannot be opened: ", "port 1"],
        ),
        ("postgres", "postgresql://u@127.0.0.1:1/db", ["its settings lack password: "]),
        ("postgres", None, ["ANALYTICS_INGEST_DESTINATION is postgres, and its settings lack database, host, "]),
        ("postgres", SECRET, ["cannot be read. The expected representation ", "postgresql://username:password@host"]),
        ("postgres", f"mysql://u:{SECRET}@127.0.0.1/db", ["the destination postgres cannot be opened: invalid dsn: "]),
        ("postgres", f"postgresql://u:{SECRET}@h:port/db", ["cannot be read. The expected representation "]),
        ("postgres", f"postgresql://u:{SECRET}@h:99999/db", ['invalid port number: "99999"']),
        ("duckdb", f"postgresql://u:{SECRET}@h/db", ["is the URL of something else: it must be a path or duckdb:"]),
        ("duckdb", "sqlite:///w.sqlite", ["is the URL of something else: it must be a path or duckdb:"]),
        ("snowflake", SECRET, ["cannot be read. The expected representation "]),
        ("duckdb", "/proc/w.duckdb", ["/proc/.w.duckdb.locks: No such file or directory"]),
        ("duckdb", "/", ["CREDENTIALS is /: it must be the path of a file"]),
    ],
)
def test_settings_that_cannot_work(
    monkeypatch: pytest.MonkeyPatch, destination: str, credentials: str | None, parts: list[str]
) -> None:
    setting = f"DESTINATION__{destination.upper()}__CREDENTIALS"
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", destination)
    monkeypatch.delenv(setting, raising=False)
    if credentials is not None:
        monkeypatch.setenv(setting, credentials)
    text = refused()

    assert [part for part in [setting, *parts] if part not in text] == [], text


def test_part_of_the_credentials_of_another_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", "postgres")
    parts = {"HOST": "h", "DATABASE": "d", "USERNAME": "u", "PASSWORD": SECRET, "PORT": f"p{SECRET}"}
    for name, value in parts.items():
        monkeypatch.setenv(f"DESTINATION__POSTGRES__CREDENTIALS__{name}", value)

    assert refused() == (
        "DESTINATION__POSTGRES__CREDENTIALS__PORT, or that part of DESTINATION__POSTGRES__CREDENTIALS, "
        "is not of type int"
    )


def test_destination_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", "snowflake")
    monkeypatch.setenv("DESTINATION__SNOWFLAKE__CREDENTIALS", f"snowflake://u:{SECRET}@h/db")
    monkeypatch.setitem(sys.modules, "snowflake", None)

    assert refused() == (
        "ANALYTICS_INGEST_DESTINATION is snowflake, which needs another package: pip install 'dlt[snowflake]'"
    )


def test_destination_that_dlt_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", "abacus")

    assert refused() == "ANALYTICS_INGEST_DESTINATION is abacus, which is not a dlt destination"


@pytest.mark.parametrize(
    ("catalog", "part"),
    [
        (
            "duckdb:///lake.duckdb",
            "DESTINATION__DUCKLAKE__CREDENTIALS__CATALOG is a DuckDB file: it must be SQLite or ",
        ),
        (f"postgresql://u:{SECRET}@127.0.0.1:1/db", "the destination ducklake cannot be opened: "),
    ],
)
def test_catalog_of_a_lake_that_cannot_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog: str, part: str
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", "ducklake")
    monkeypatch.setenv("DESTINATION__DUCKLAKE__CREDENTIALS__CATALOG", catalog)
    monkeypatch.setenv("DESTINATION__DUCKLAKE__CREDENTIALS__STORAGE__BUCKET_URL", (tmp_path / "lake").as_uri())
    text = refused()

    assert part in text, text
    assert "DESTINATION__DUCKLAKE__CREDENTIALS" in text


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"a, b, c\n" * 1_000, "no DuckDB database"),
        (b"x", "no DuckDB database"),
        (b"SQLite format 3\0" + bytes(4_000), "an SQLite database"),
        (b"PAR1" + bytes(4_000), "a Parquet file"),
    ],
)
def test_file_that_is_no_duckdb_file(tmp_path: Path, content: bytes, kind: str) -> None:
    file = tmp_path / "warehouse.duckdb"
    file.write_bytes(content)
    text = refused()

    assert text.startswith(f"{file} is {kind}: DESTINATION__DUCKDB__CREDENTIALS must name a DuckDB file")
    assert file.read_bytes() == content


def test_empty_file_becomes_the_warehouse(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    file.touch()
    for _ in range(2):
        warehouse = Warehouse(API, log=logging.getLogger("test"), lock_timeout=1)
        with warehouse.sync(), warehouse.open() as tables:
            assert tables.columns(["gates"]) == {}

    assert file.stat().st_size > 0


@pytest.mark.parametrize("credentials", ["~/of mine/w.duckdb", "duckdb:///~/of mine/w.duckdb"])
def test_home_folder_in_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, credentials: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", credentials)
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS__GLOBAL_CONFIG", '{"memory_limit": "300MB"}')
    warehouse = Warehouse(API, log=logging.getLogger("test"), lock_timeout=1)
    with warehouse.sync(), warehouse.open():
        assert warehouse.pipeline.destination_client().config.credentials.global_config == {"memory_limit": "300MB"}

    assert (tmp_path / "home" / "of mine" / "w.duckdb").is_file()
    assert not (tmp_path / "~").exists()


def test_home_folder_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", "~no_such_user/w.duckdb")

    assert refused() == ("DESTINATION__DUCKDB__CREDENTIALS is ~no_such_user/w.duckdb, and there is no such home folder")


def test_password_that_is_wrong_and_database_that_is_not_there(
    postgres: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = postgres().info.host, postgres().info.port
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", f"postgresql://nobody_here:{SECRET}@{host}:{port}/nowhere")
    text = refused()

    assert text.startswith("experimentation: the destination postgres cannot be opened: ")
    assert text.endswith("(the setting is DESTINATION__POSTGRES__CREDENTIALS)")


def test_what_a_database_repeats_is_masked_and_cut_short() -> None:
    from dlt.destinations.impl.postgres.configuration import PostgresCredentials

    credentials = PostgresCredentials(f"postgresql://u:{SECRET}@h/db")
    error = RuntimeError("outer")
    error.__cause__ = ValueError(f"line one\nwith {SECRET} " + "x" * 1_000)
    text = describe(error, secrets_of(credentials))

    assert text.startswith("line one with *** xxx")
    assert text.endswith("x ...")
    assert len(text) < 410


PASSWORD = "La:ke@Pw/9 'q"


@pytest.mark.parametrize(
    ("destination", "setting", "url"),
    [
        ("postgres", "CREDENTIALS", "postgresql://u:{}@127.0.0.1:1/db"),
        ("ducklake", "CREDENTIALS__CATALOG", "postgresql://u:{}@127.0.0.1:1/db"),
    ],
)
def test_password_is_masked_in_every_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, destination: str, setting: str, url: str
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", destination)
    monkeypatch.setenv(f"DESTINATION__{destination.upper()}__{setting}", url.format(quote(PASSWORD, safe="")))
    monkeypatch.setenv("DESTINATION__DUCKLAKE__CREDENTIALS__STORAGE__BUCKET_URL", (tmp_path / "lake").as_uri())
    text = refused()

    for form in (PASSWORD, quote(PASSWORD), quote(PASSWORD, safe=""), quote_plus(PASSWORD), "Pw/9", "Pw%2F9"):
        assert form not in text


@pytest.mark.parametrize(
    "form",
    [PASSWORD, quote(PASSWORD, safe=""), quote_plus(PASSWORD), html.escape(PASSWORD), json.dumps(PASSWORD)[1:-1]],
)
def test_forms_of_a_password_are_masked(form: str) -> None:
    assert describe(RuntimeError(f"connection 'u:{form}@host' failed"), {PASSWORD}) == "connection 'u:***@host' failed"
