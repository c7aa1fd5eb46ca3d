"""The warehouse that an earlier version of the product has made of ``Before``, as a file of text.

The file is written anew by ``python -m analytics_ingest_tests.vendors.former_warehouse`` with that version's package
before this one's on the path.
"""

from __future__ import annotations

import functools
import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analytics_ingest_tests.environment import WAREHOUSE, use_folder
from analytics_ingest_tests.stores import Execute, Store, duckdb_store
from analytics_ingest_tests.vendors import circleci_rows as make
from analytics_ingest_tests.vendors.circleci import CLOUD, ENGINE, SERVICE, SHOP, Circleci
from analytics_ingest_tests.vendors.circleci_rows import LONG_AGO

SCHEMA = "continuous_integration"
FILE = Path(__file__).with_name("former_warehouse.json.gz")


QUIET, UNFOLLOWED = f"{CLOUD}/{make.opaque('project', 'quiet')}", f"{CLOUD}/{make.opaque('project', 'other')}"
PROJECTS = (SHOP, ENGINE, SERVICE, QUIET, UNFOLLOWED)


class Before(Circleci):
    """A few projects, none of which changes by itself: without pipelines, and not followed, too."""

    def fill(self) -> None:
        self.add_user()
        for org in ("gh/acme", "bb/basalt", CLOUD):
            self.add_organisation(org)
        for slug in (SHOP, ENGINE, SERVICE, QUIET):
            self.add_project(slug)
        self.add_project(UNFOLLOWED, followed=False)
        for slug in (SHOP, ENGINE, SERVICE, UNFOLLOWED):
            self.add_workflow(self.add_pipeline(slug, LONG_AGO))
        shop, engine = self.rows("projects")[:2]
        shop["branches"] |= {"zürich": make.branch(7) | {"share": 0.5}, "a": {}}
        engine["branches"] = None


def dump(file: Path) -> dict[str, Any]:
    """The columns, their types and the rows of all tables of a DuckDB file."""
    found: dict[str, Any] = {}
    with duckdb.connect(str(file), read_only=True) as connection:
        names = connection.sql(f"SELECT table_name FROM duckdb_tables() WHERE schema_name = '{SCHEMA}' ORDER BY 1")
        for (name,) in names.fetchall():
            columns = connection.sql(f'DESCRIBE {SCHEMA}."{name}"').fetchall()
            texts = ", ".join(f'"{column[0]}"::VARCHAR' for column in columns)
            rows = connection.sql(f'SELECT {texts} FROM {SCHEMA}."{name}" ORDER BY ALL').fetchall()
            found[name] = {"columns": {column[0]: column[1] for column in columns}, "rows": rows}
    return found


def load_into(store: Store) -> None:
    """Makes the tables in a destination and fills them."""
    if file := store.settings.get("DESTINATION__DUCKDB__CREDENTIALS"):
        Path(file).write_bytes(duckdb_file())
        return
    with store.writing() as execute:
        fill(execute)


@functools.cache
def duckdb_file() -> bytes:
    """The warehouse as a DuckDB file."""
    with tempfile.TemporaryDirectory() as folder, duckdb_store(Path(folder)) as store:
        with store.writing() as execute:
            fill(execute)
        return Path(folder, WAREHOUSE).read_bytes()


def fill(execute: Execute) -> None:
    """Makes the tables and fills them, in one transaction."""
    execute("BEGIN TRANSACTION", ())
    execute(f"CREATE SCHEMA {SCHEMA}", ())
    for name, table in json.loads(gzip.decompress(FILE.read_bytes())).items():
        kinds = table["columns"].values()
        columns = ", ".join(f'"{column}" {kind}' for column, kind in table["columns"].items())
        execute(f'CREATE TABLE {SCHEMA}."{name}" ({columns})', ())
        casts = ", ".join(f"CAST(? AS {kind})" for kind in kinds)
        for row in table["rows"]:
            execute(f'INSERT INTO {SCHEMA}."{name}" VALUES ({casts})', row)
    execute("COMMIT", ())


def main() -> None:
    """Writes the file."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch, Before() as vendor:
        use_folder(patch, Path(folder))
        vendor.configure(patch)
        for _ in range(2):
            results = vendor.sync()
            assert {result.status for result in results.values()} == {"complete"}
        assert vendor.complaints == []
        FILE.write_bytes(gzip.compress(json.dumps(dump(Path(folder) / WAREHOUSE)).encode(), mtime=0))


if __name__ == "__main__":
    main()
