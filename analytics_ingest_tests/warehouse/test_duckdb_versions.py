"""DuckDB files of versions that the installed DuckDB cannot read, as these versions have written them."""

from __future__ import annotations

import logging
import lzma
from pathlib import Path

import duckdb
import pytest

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.warehouse.exceptions import WarehouseError
from analytics_ingest.warehouse.warehouse import Warehouse
from analytics_ingest_tests.conftest import sync

API = "experimentation"
SETTING = "DESTINATION__DUCKDB__CREDENTIALS"
FILES = Path(__file__).parent / "other_versions"
"""``duckdb-2.0.1`` has a table ``experimentation.gates`` (block size 16,384), ``duckdb-0.8.1`` none."""
OLDER = (
    "{file} has the storage version 51, which is too old for the installed DuckDB {installed}: export it with the "
    "DuckDB that wrote it (EXPORT DATABASE) and import it into a new file with the installed DuckDB {installed} "
    "(IMPORT DATABASE), or set {setting} to a new file"
)
NEWER = (
    "{file} has the storage version 999, of DuckDB v2.0.1, which is too new for the installed DuckDB {installed}: "
    "upgrade the Python package duckdb to the version that wrote it, or set {setting} to another file"
)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("0.8.1", OLDER),
        pytest.param(
            "2.0.1",
            NEWER,
            marks=pytest.mark.skipif(int(duckdb.__version__.split(".")[0]) >= 2, reason="this DuckDB reads it"),
        ),
    ],
)
def test_file_of_another_version_is_one_line(
    tmp_path: Path, shared_sandbox: SandboxServer, version: str, message: str
) -> None:
    content = lzma.decompress((FILES / f"duckdb-{version}.xz").read_bytes())
    path = tmp_path / "warehouse.duckdb"
    path.write_bytes(content)
    expected = message.format(file=f"the DuckDB file {path}", installed=duckdb.__version__, setting=SETTING)

    with pytest.raises(WarehouseError) as error:
        sync(API, "gates")
    assert str(error.value) == expected
    assert error.value.transient
    with (
        pytest.raises(WarehouseError) as error,
        Warehouse(API, log=logging.getLogger("test"), lock_timeout=1).read(),
    ):
        pytest.fail("it was read")
    assert str(error.value) == expected
    assert shared_sandbox.requests.count() == 0
    assert path.read_bytes() == content
