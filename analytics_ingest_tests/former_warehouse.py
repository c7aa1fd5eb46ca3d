"""Warehouses that an earlier version of the product has filled: made with its code, kept as text, restored.

The files in ``former_warehouses`` are from the version of commit e980748. With its code in a folder (``git worktree
add <folder> e980748``) they are written anew by

    python -m analytics_ingest_tests.former_warehouse <folder>

which runs the jobs of that version with the servers of these tests as the upstream, once for each destination. That is
needed when the sandbox's rows change: the warehouses hold them.
"""

from __future__ import annotations

import functools
import json
import lzma
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from analytics_ingest.sandbox.options import Fault, Options
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sandbox.world import World
from analytics_ingest_tests.stores import STORES
from analytics_ingest_tests.vendors.circleci_before import Before

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics_ingest_tests.stores import Store

FOLDER = Path(__file__).with_name("former_warehouses")
SCALE = 0.05
"""The sandbox's scale for all warehouses."""
ELEMENTS = {"duckdb": "json_each(?)", "postgres": "json_array_elements(CAST(? AS JSON)) AS each (value)"}
"""By destination a table of a JSON array's elements, each a ``value``."""
COLUMNS = """
SELECT c.table_schema, c.table_name, c.column_name, c.data_type, c.character_maximum_length, c.is_nullable,
    u.constraint_name
FROM information_schema.columns c
LEFT JOIN information_schema.key_column_usage u USING (table_schema, table_name, column_name)
WHERE c.table_schema NOT IN ('information_schema', 'pg_catalog', 'main')
ORDER BY c.table_schema, c.table_name, c.ordinal_position
"""

Counts = dict[str, dict[str, int]]
"""Requests by API and endpoint."""
Run = Callable[..., None]
"""Runs a command of Dagster with the earlier version; ``fails`` says whether the run has to fail."""


@dataclass
class StoredTable:
    """A table: the definition of each column by name, and the rows, each value as the text that a cast gives."""

    columns: dict[str, str] = field(default_factory=dict)
    rows: list[list[str | None]] = field(default_factory=list)


Datasets = dict[str, dict[str, StoredTable]]
"""All tables of a warehouse by dataset and name, dlt's own and those of its staging datasets too."""


@dataclass(frozen=True)
class FormerWarehouse:
    """What an earlier version has left.

    Attributes:
        requests: What the last sync of that version requested.
        datasets: The tables by the name of the destination, ``duckdb`` or ``postgres``.
    """

    requests: Counts
    datasets: dict[str, Datasets]

    def restore(self, store: Store) -> None:
        """Makes the tables in an empty destination, and fills them; in a DuckLake those that DuckDB had."""
        kind = "postgres" if store.settings.get("ANALYTICS_INGEST_DESTINATION") == "postgres" else "duckdb"
        with store.writing() as execute:
            execute("BEGIN TRANSACTION", ())
            for dataset, tables in self.datasets[kind].items():
                execute(f"CREATE SCHEMA {dataset}", ())
                for name, table in tables.items():
                    columns = ", ".join(f'"{column}" {definition}' for column, definition in table.columns.items())
                    execute(f'CREATE TABLE {dataset}."{name}" ({columns})', ())
                    types = [re.sub(" NOT NULL| UNIQUE", "", definition) for definition in table.columns.values()]
                    values = ", ".join(f"CAST(value ->> {number} AS {each})" for number, each in enumerate(types))
                    execute(
                        f'INSERT INTO {dataset}."{name}" SELECT {values} FROM {ELEMENTS[kind]}',
                        (json.dumps(table.rows),),
                    )
            execute("COMMIT", ())


def read_datasets(store: Store) -> Datasets:
    """All tables of a destination, their rows sorted; times have the offset of the session's time zone."""
    found: Datasets = {}
    with store.reading() as query:
        for dataset, name, column, kind, length, nullable, constraint in query(COLUMNS)[1]:
            table = found.setdefault(dataset, {}).setdefault(name, StoredTable())
            limits = f"({length})" * bool(length) + " NOT NULL" * (nullable == "NO") + " UNIQUE" * bool(constraint)
            table.columns[column] = kind + limits
        for dataset, tables in found.items():
            for name, table in tables.items():
                texts = ", ".join(f'CAST("{column}" AS VARCHAR)' for column in table.columns)
                table.rows = sorted(map(list, query(f'SELECT {texts} FROM {dataset}."{name}"')[1]), key=str)
    return found


@functools.cache
def former_warehouse(name: str) -> FormerWarehouse:
    """One of the warehouses; the caller must not change it."""
    kept = json.loads(lzma.decompress(_file(name).read_bytes()))
    datasets = {
        kind: {
            dataset: {name: StoredTable(**table) for name, table in tables.items()}
            for dataset, tables in datasets.items()
        }
        for kind, datasets in kept["datasets"].items()
    }
    return FormerWarehouse(kept["requests"], datasets)


def _file(name: str) -> Path:
    return FOLDER / f"{name}.json.xz"


def experimentation_of_many_gates() -> World:
    """A world whose gates are so many that the earlier version splits their fan-out over two processes."""
    world = World(scale=SCALE)
    gates, rules = (world.collection("experimentation", name) for name in ("gates", "gates_rules"))
    pattern = gates[0]
    gates[:] = [{**pattern, "id": f"gate_{number:03}"} for number in range(200)]
    rules.clear()
    for gate in gates:
        rules[gate["id"],] = [{"id": "group", "rules": [{"id": f"rule_of_{gate['id']}", "name": "everyone"}]}]
    return world


def _environment(values: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {f"SOURCES__{api}__{name}".upper(): value for api, named in values.items() for name, value in named.items()}


SETTINGS = {
    "synced": _environment(
        {
            "experimentation": {
                "AUDIT_LOGS__LIMIT": "50",
                "EXCLUDE_COLUMNS": "users.email, audit_logs.target_app_i_ds",
            },
            "incident_response": {"START_DATE": "2025-10-01"},
            "project_planning": {"FAN_OUT": "changed"},
            "feature_management": {"MARK_DELETED": "false"},
        }
    ),
    "split": _environment({"experimentation": {"GATES_RULES__SHARDS": "2"}}),
}
"""By warehouse the settings that it was filled with, where what is loaded depends on them."""
REVOKED = {
    "experimentation": ("/gates/[^/]+/rules", 7),
    "project_planning": ("/stories/[^/]+/history", 30),
    "continuous_integration": ("/job/", 20),
    "feature_management": ("/segments/[^/]+/[^/]+/keys", 12),
}
"""By API the requests after so many of which its key is no longer valid."""
FORBIDDEN = "loyalty_accessibility_5"
"""The gate whose rules the key may not read."""


def _synced(run: Run, patch: pytest.MonkeyPatch) -> Counts:
    """All five APIs after four syncs, of which the second finds changes, and the third begins with the settings."""
    with SandboxServer(World(scale=SCALE)) as server:
        _set(patch, server.environment())
        with pytest.MonkeyPatch.context() as first:
            # rows of parents that have not changed are there, too
            first.setenv("SOURCES__PROJECT_PLANNING__FAN_OUT", "all")
            run("job", "execute", "-j", "all_sync")
            server.world.advance(24)
            run("job", "execute", "-j", "all_sync")
        run("job", "execute", "-j", "all_sync")
        server.requests.reset()
        run("job", "execute", "-j", "all_sync")
        return server.requests.counts()


def _interrupted(run: Run, patch: pytest.MonkeyPatch) -> Counts:
    """A first sync in which four APIs fail in the middle of their fan-outs."""
    faults = [Fault(api=api, path=path, skip=skip, status=401) for api, (path, skip) in REVOKED.items()]
    # a parent that cannot be read is no end of the fan-out
    faults.append(Fault(api="experimentation", path=f"/gates/{FORBIDDEN}/rules", status=403))
    with SandboxServer(World(scale=SCALE), Options(faults=faults)) as server:
        small_packages = {"MAX_IN_FLIGHT": "1", "FAN_OUT_CHUNK": "3"}
        _set(patch, server.environment() | _environment(dict.fromkeys(REVOKED, small_packages)))
        run("job", "execute", "-j", "all_sync", fails=True)
        return server.requests.counts()


def _split(run: Run, patch: pytest.MonkeyPatch) -> Counts:
    """One sync of a fan-out that was split over two processes."""
    with SandboxServer(experimentation_of_many_gates()) as server:
        _set(patch, server.environment())
        run("asset", "materialize", "--select", 'key:"experimentation/gates" or key:"experimentation/gates_rules"')
        return server.requests.counts()


def _circleci(run: Run, patch: pytest.MonkeyPatch) -> Counts:
    """CircleCI after two syncs."""
    with Before() as vendor:
        vendor.configure(patch)
        for _ in range(2):
            vendor.requests.clear()
            run("job", "execute", "-j", f"{vendor.api.name}_sync")
        assert vendor.complaints == []
        return {vendor.api.name: dict(vendor.requests)}


MAKERS: dict[str, Callable[[Run, pytest.MonkeyPatch], Counts]] = {
    "synced": _synced,
    "interrupted": _interrupted,
    "split": _split,
    "circleci": _circleci,
}


def _set(patch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        patch.setenv(name, value)


def _make(name: str, version: Path) -> FormerWarehouse:
    requests: Counts = {}
    datasets = {}
    for kind in ("duckdb", "postgres"):
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            Path(folder, "dagster.yaml").write_text("telemetry:\n  enabled: false\n")

            def run(*arguments: str, fails: bool = False) -> None:
                command = [sys.executable, "-m", "dagster", *arguments, "-m", "analytics_ingest.definitions"]
                ended = subprocess.run(command, cwd=version, check=False)
                assert (ended.returncode != 0) is fails

            with STORES[kind](Path(folder)) as store:
                _set(patch, store.settings | SETTINGS.get(name, {}))
                _set(patch, {"DAGSTER_HOME": folder, "DLT_DATA_DIR": folder, "PYTHONPATH": str(version)})
                requests = MAKERS[name](run, patch)
                datasets[kind] = read_datasets(store)
    return FormerWarehouse(requests, datasets)


def main() -> None:
    """Writes the files anew, or those that are named after the folder."""
    version = Path(sys.argv[1]).resolve()
    assert (version / "analytics_ingest" / "__init__.py").is_file()
    for name in sys.argv[2:] or MAKERS:
        kept = json.dumps(asdict(_make(name, version)), ensure_ascii=False).encode()
        _file(name).write_bytes(lzma.compress(kept, preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main()
