"""A destination is one class: its file, lock, limits and errors are found there and nowhere else."""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pytest

import analytics_ingest
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.warehouse.destination import configured_destination
from analytics_ingest.warehouse.destination_errors import is_about_rows, is_destination_error, is_transient, remedy
from analytics_ingest.warehouse.destinations import DESTINATIONS, Destination, column_changer, find_destination
from analytics_ingest.warehouse.destinations.duckdb import DuckDB
from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError
from analytics_ingest.warehouse.locks import file_lock
from analytics_ingest.warehouse.warehouse import Warehouse
from analytics_ingest_tests.conftest import sync

API = "experimentation"
PACKAGE = Path(analytics_ingest.__file__).parent
LOG = logging.getLogger("test")


class AbacusError(Exception):
    """An exception as if of a database driver's package."""

    __module__ = "abacus.errors"


class BeadsError(Exception):
    """Another one, about values."""

    __module__ = "abacus.errors"


class Abacus(DuckDB):
    """DuckDB in another file, with a lock in a folder that several machines share, and a driver of its own."""

    folder: ClassVar[Path]
    locks_all_machines = True
    columns = None
    drivers = frozenset({"abacus"})
    transient_errors = frozenset({"AbacusError"})
    row_errors = frozenset({"BeadsError"})

    def build(self) -> Any:
        return self._dlt_destination(credentials=str(self.folder / "abacus.duckdb"))

    def limit(self, client: Any) -> None:
        client.sql_client.execute_sql("SET threads = 3")

    @contextmanager
    def cluster_lock(
        self, connect: Any, api: str, *, timeout: float, log: logging.Logger
    ) -> Iterator[Callable[[], object]]:
        with file_lock(self.folder / api, what=f"the sync of {api} on any machine", timeout=timeout, log=log):
            yield lambda: None

    def is_cluster_locked(self, connect: Any, api: str) -> bool:
        return (self.folder / "locked").exists()

    @classmethod
    def memory_remedy(cls, setting: str) -> str:
        return f"Add a row of beads with {setting}."


@pytest.fixture
def abacus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Abacus]:
    """A class of a destination, registered and picked."""
    Abacus.folder = tmp_path / "shared"
    Abacus.folder.mkdir()
    monkeypatch.setitem(DESTINATIONS, "abacus", Abacus)
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", "abacus")
    monkeypatch.setenv("DESTINATION__ABACUS__DESTINATION_TYPE", "duckdb")
    return Abacus


def warehouse() -> Warehouse:
    return Warehouse(API, log=LOG, lock_timeout=0.2)


def test_class_decides_on_the_file_and_the_limits(
    abacus: type[Abacus], tmp_path: Path, shared_sandbox: SandboxServer
) -> None:
    assert sync(API, "tags")["tags"].status == "complete"

    with duckdb.connect(str(abacus.folder / "abacus.duckdb"), read_only=True) as connection:
        assert connection.sql(f"SELECT count(*) FROM {API}.tags").fetchall() == [(100,)]
    assert not (tmp_path / "warehouse.duckdb").exists()
    opened = warehouse()
    with opened.sync(), opened.open(), opened.pipeline.sql_client() as client:
        assert client.execute_sql("SELECT current_setting('threads')") == [(3,)]


def test_class_has_the_lock_of_all_machines(abacus: type[Abacus]) -> None:
    with file_lock(abacus.folder / API, what="it", timeout=1, log=LOG):
        with (
            pytest.raises(LockTimeoutError, match=f"^the sync of {API} on any machine is still held by process "),
            warehouse().sync(),
        ):
            pytest.fail("two syncs of one API")
        (abacus.folder / "locked").touch()
        assert not warehouse().was_abandoned(since=datetime(2026, 1, 1, tzinfo=UTC))
    (abacus.folder / "locked").unlink()
    assert warehouse().was_abandoned(since=datetime(2026, 1, 1, tzinfo=UTC))
    with warehouse().sync():
        pass


def test_class_explains_the_errors_of_its_driver(abacus: type[Abacus]) -> None:
    failed, refused = AbacusError("out of memory"), BeadsError("ten beads in a row")

    assert (is_destination_error(failed), is_transient(failed), is_about_rows(failed)) == (True, True, True)
    assert (is_destination_error(refused), is_transient(refused), is_about_rows(refused)) == (True, False, True)
    assert not is_about_rows(AbacusError("a rod is missing"))
    assert remedy(failed, api=API, setting="BEADS") == "Add a row of beads with BEADS."


@pytest.mark.parametrize("name", ["abacus", "snowflake"])
def test_destination_whose_columns_no_class_changes(abacus: type[Abacus], name: str) -> None:
    client: Any = None
    with pytest.raises(WarehouseError) as error:
        column_changer(find_destination(name), client)

    assert str(error.value).endswith(
        f"which no sync can do on the destination {name}: only on duckdb, ducklake, postgres"
    )
    assert not error.value.transient


def test_destination_that_a_setting_names_has_the_class_of_its_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", "marts")
    monkeypatch.setenv("DESTINATION__MARTS__DESTINATION_TYPE", "duckdb")
    monkeypatch.setenv("DESTINATION__MARTS__CREDENTIALS", str(tmp_path / "marts.duckdb"))
    assert type(configured_destination()) is DuckDB
    opened = warehouse()
    with opened.sync(), opened.open() as tables:
        assert tables.columns(["tags"]) == {}
    assert (tmp_path / "marts.duckdb").is_file()
    monkeypatch.setenv("DESTINATION__MARTS__CREDENTIALS", ":memory:")
    with pytest.raises(WarehouseError, match=r"^DESTINATION__MARTS__CREDENTIALS is :memory:: "):
        warehouse()


def test_destination_without_a_class_is_a_server_that_several_processes_write_to() -> None:
    destination = find_destination("snowflake")

    assert type(destination) is Destination
    assert destination.setting == "DESTINATION__SNOWFLAKE__CREDENTIALS"
    assert destination.database_file(None, API) is None
    assert (destination.loader_file_format, destination.locks_all_machines) == ("parquet", False)


def compared(tree: ast.AST) -> Iterator[ast.AST | None]:
    """Where a value tells cases apart: comparisons, keys, cases, and what a text begins or ends with."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare():
                yield from (node.left, *node.comparators)
            case ast.Dict():
                yield from node.keys
            case ast.Subscript():
                yield node.slice
            case ast.MatchValue():
                yield node.value
            case ast.Call(func=ast.Attribute(attr="startswith" | "endswith" | "get")):
                yield from node.args


def decisions(path: Path) -> Iterator[tuple[str, str]]:
    """Where a module tells destinations apart, and by what: their name, dlt's type, their driver."""
    tree = ast.parse(path.read_text())
    names = {*DESTINATIONS, *(name for each in DESTINATIONS.values() for name in each.drivers)}
    for part in compared(tree):
        for node in ast.walk(part) if part else ():
            if isinstance(node, ast.Constant) and node.value in names:
                yield f"{path}:{node.lineno}", node.value
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "destination_type":
            yield f"{path}:{node.lineno}", node.attr
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dlt.destinations.impl"):
            yield f"{path}:{node.lineno}", str(node.module)


def test_destinations_are_told_apart_in_their_package_only() -> None:
    package = PACKAGE / "warehouse" / "destinations"
    modules = [path for path in PACKAGE.rglob("*.py") if package not in path.parents]

    assert [found for path in modules for found in decisions(path)] == []
    assert {what for path in package.glob("*.py") for _, what in decisions(path)} >= {"duckdb", "ducklake", "postgres"}


@pytest.mark.parametrize(
    "code",
    [
        'if name == "duckdb": ...',
        'if name in ("postgres", "redshift"): ...',
        'kinds = {"ducklake": 1}',
        'kinds["ducklake"]',
        'if type(error).__module__.startswith("psycopg2"): ...',
        'match name:\n    case "duckdb": ...',
        "client.config.destination_type",
        "from dlt.destinations.impl.postgres.configuration import PostgresCredentials",
    ],
)
def test_decision_on_a_destination_is_found(code: str, tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(code)

    assert list(decisions(module))
