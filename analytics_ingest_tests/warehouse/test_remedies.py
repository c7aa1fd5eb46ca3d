"""What a failed load advises: the next sync where it helps, else what to change first."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import psycopg2
import pytest
from dlt.common.destination.exceptions import SchemaUpdateError
from dlt.destinations.exceptions import DatabaseTerminalException, DatabaseTransientException

from analytics_ingest.warehouse.destination_errors import load_error
from analytics_ingest.warehouse.exceptions import WarehouseError
from analytics_ingest.warehouse.warehouse import Warehouse

API = "experimentation"
SETTING = "DESTINATION__DUCKDB__CREDENTIALS"
SECRET = "s3cret-of-the-warehouse"
NEXT = "the next sync loads what is missing"
BINDER = DatabaseTerminalException(duckdb.BinderException("cannot change a type"))
TYPE_CHANGE = SchemaUpdateError(API, ["t"], BINDER)
SAME = "no cursor has moved. Until then each sync fails in the same way"


def advice(error: Exception) -> str:
    outer: Any = RuntimeError("step failed")
    outer.__cause__ = error
    text = str(load_error(outer, api=API, destination="the store", setting=SETTING, secrets=set()))
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    "error",
    [
        DatabaseTransientException(psycopg2.OperationalError("server closed the connection unexpectedly")),
        OSError(28, "No space left on device"),
    ],
)
def test_failed_destination_is_mended_by_the_next_sync(error: Exception) -> None:
    assert advice(error).endswith(f"no cursor has moved: {NEXT}")


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (TYPE_CHANGE, "Change the table there so that it fits, or drop it: "),
        (
            DatabaseTerminalException(duckdb.ConversionException("Could not convert string 'x' to INT32")),
            "Correct the rows upstream, or the table's columns and constraints",
        ),
        (DatabaseTerminalException(duckdb.ParserException("syntax error")), "syntax error. Correct the reason first."),
        (
            DatabaseTransientException(duckdb.OutOfMemoryException("Out of Memory Error: failed to offload to disk")),
            f'by default 256MB: {SETTING}__GLOBAL_CONFIG=\'{{"memory_limit": "1GB"}}\'',
        ),
        (MemoryError("out of memory"), "Give the destination, or this process, more memory."),
        (DatabaseTerminalException(RuntimeError("Insufficient privileges to operate")), f"grant the user of {SETTING}"),
    ],
)
def test_reason_that_stays_is_to_be_mended_first(error: Exception, part: str) -> None:
    text = advice(error)

    assert part in text
    assert text.endswith(SAME)
    assert NEXT not in text


@pytest.fixture
def role(postgres: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A user without any privilege, which the setting logs in as."""
    admin = postgres()
    info = admin.info
    name = f"reader_{info.dbname[-12:]}"
    admin.cursor().execute(f"CREATE USER {name} PASSWORD '{SECRET}'")
    url = f"postgresql://{name}:{SECRET}@{info.host}:{info.port}/{info.dbname}"
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", url)
    yield name
    admin.cursor().execute(f"DROP OWNED BY {name}; DROP USER {name}")


@pytest.mark.parametrize(
    ("setup", "refusal"),
    [
        ("", "permission denied for database"),
        (f"CREATE SCHEMA {API}; CREATE TABLE {API}._dlt_pipeline_state (a int)", f"permission denied for schema {API}"),
        (
            f"CREATE SCHEMA {API}; CREATE TABLE {API}.t (a int); GRANT USAGE ON SCHEMA {API} TO {{role}}",
            f"permission denied for schema {API}",
        ),
        (
            f"CREATE SCHEMA {API}; CREATE TABLE {API}.t (a int); GRANT USAGE, CREATE ON SCHEMA {API} TO {{role}}",
            'relation "t" already exists',
        ),
    ],
)
def test_user_without_privileges_is_told_what_to_grant(
    role: str, postgres: Callable[[], Any], setup: str, refusal: str
) -> None:
    if setup:
        postgres().cursor().execute(setup.format(role=role))
    warehouse = Warehouse(API, log=logging.getLogger("test"), lock_timeout=1)

    def load() -> None:
        with warehouse.sync(), warehouse.open():
            warehouse.pipeline.extract([{"a": 1}], table_name="t", loader_file_format="parquet")
            warehouse.pipeline.normalize()
            warehouse.load()

    with pytest.raises(WarehouseError) as error:
        load()

    text = str(error.value)
    assert refusal in text, text
    assert "As an administrator of the database, grant the user of DESTINATION__POSTGRES__CREDENTIALS" in text
    assert f"USAGE and CREATE on the schemas {API} and {API}_staging" in text
    assert NEXT not in text
    assert SECRET not in text
