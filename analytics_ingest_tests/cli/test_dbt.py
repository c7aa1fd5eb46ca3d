"""dbt itself with what ``dbt-sources`` writes: its tests, its freshness, and the assets that dagster-dbt makes of it.

It runs in an environment of its own, which ``make test-dbt`` builds; ``TEST_DBT`` names another one.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from typer.testing import CliRunner

from analytics_ingest import build_definitions
from analytics_ingest.apis.registry import APIS
from analytics_ingest.cli.app import app
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.conftest import ROOT, sandbox_in, sync
from analytics_ingest_tests.stores import STORES, Store

BIN = Path(os.environ.get("TEST_DBT", ROOT / ".venvs" / "dbt")) / "bin"
pytestmark = [
    pytest.mark.extended,
    pytest.mark.skipif(not (BIN / "dbt").exists(), reason=f"there is no dbt in {BIN}: make test-dbt installs it"),
]
TABLES = {f"{api.name}.{endpoint.name}" for api in APIS.values() for endpoint in api.endpoints}
MODEL = "select id, name from {{ source('experimentation', 'gates') }} where is_enabled and _deleted_at is null"
ASSETS = """
import json, sys
from pathlib import Path
from dagster_dbt import DagsterDbtTranslator, dbt_assets

manifest = json.loads(Path(sys.argv[1]).read_text())

@dbt_assets(manifest=manifest)
def models():
    pass

key = DagsterDbtTranslator().get_asset_key
(spec,) = models.specs
print(json.dumps({
    "sources": {f"{each['source_name']}.{each['name']}": key(each).path for each in manifest["sources"].values()},
    "model": [dependency.asset_key.path for dependency in spec.deps],
}))
"""
"""Prints the keys that dagster-dbt gives to sources, and of those that a model depends on."""


@dataclass(frozen=True)
class Project:
    """A dbt project with a model, beside a warehouse that the sandbox fills.

    Attributes:
        folder: Where it is.
        store: The warehouse.
        server: The upstream.
    """

    folder: Path
    store: Store
    server: SandboxServer

    def run(self, *arguments: str) -> int:
        """The exit code of dbt, which sends nothing to anybody."""
        done = subprocess.run(
            [BIN / "dbt", "--no-use-colors", *arguments],
            cwd=self.folder,
            env={**os.environ, "DBT_PROFILES_DIR": str(self.folder), "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert "Deprecat" not in done.stdout, done.stdout[-4000:]
        assert done.returncode in (0, 1), done.stdout[-4000:] + done.stderr[-4000:]
        return done.returncode

    def results(self, name: str) -> list[dict[str, Any]]:
        """The results in a file that dbt has written."""
        results: list[dict[str, Any]] = json.loads((self.folder / "target" / name).read_text())["results"]
        return results

    def freshness(self) -> dict[str, set[str]]:
        """The tables of each state of freshness."""
        code = self.run("source", "freshness")
        found: dict[str, set[str]] = {}
        for each in self.results("sources.json"):
            found.setdefault(each["status"], set()).add(each["unique_id"].removeprefix("source.shop."))
        assert code == (1 if found.keys() - {"pass", "warn"} else 0)
        return found

    def sync(self, *apis: str) -> dict[str, EndpointResult]:
        """Syncs APIs; the results by account and endpoint."""
        return {f"{api}.{name}": result for api in apis for name, result in sync(api).items()}

    def age(self, interval: str, *apis: str) -> None:
        """Makes the ledgers' rows of all syncs so far older."""
        with self.store.writing() as execute:
            for api in apis:
                earlier = ", ".join(
                    f"{name} = {name} - INTERVAL '{interval}'" for name in ("started_at", "read_completely_at")
                )
                execute(f"UPDATE {api}._syncs SET {earlier}", ())


def profile(store: Store) -> dict[str, Any]:
    """The target of a warehouse. In PostgreSQL models are beside the tables; DuckDB's file is attached to read only."""
    if "ANALYTICS_INGEST_DESTINATION" in store.settings:
        url = urlsplit(store.settings["DESTINATION__POSTGRES__CREDENTIALS"])
        place = {"host": url.hostname, "port": url.port, "dbname": url.path[1:], "schema": "models"}
        return {"type": "postgres", "threads": 1, "user": url.username, "password": url.password, **place}
    file = store.settings["DESTINATION__DUCKDB__CREDENTIALS"]
    attached = {"path": file, "alias": Path(file).stem, "read_only": True}
    return {"type": "duckdb", "threads": 1, "path": "models.duckdb", "attach": [attached]}


@pytest.fixture(params=["duckdb", "postgres"])
def dbt_project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    """A project with the sources of all APIs, of which nothing is synced yet."""
    folder = tmp_path / "project"
    (folder / "models").mkdir(parents=True)
    with STORES[request.param](tmp_path) as store, sandbox_in(tmp_path, store) as server:
        (folder / "dbt_project.yml").write_text(yaml.safe_dump({"name": "shop", "profile": "shop"}))
        outputs = {"target": "test", "outputs": {"test": profile(store)}}
        (folder / "profiles.yml").write_text(yaml.safe_dump({"shop": outputs}))
        (folder / "models" / "enabled_gates.sql").write_text(MODEL)
        written = CliRunner().invoke(app, ["dbt-sources", "--output", str(folder / "models" / "sources.yml")])
        assert written.exit_code == 0, written.output
        yield Project(folder, store, server)


def test_ten_syncs_without_changes_stay_green_and_an_endpoint_that_fails_turns_red_within_its_policy(
    dbt_project: Project,
) -> None:
    dbt_project.sync(*APIS)
    dbt_project.age("30 days", *APIS)
    assert dbt_project.freshness() == {"error": TABLES}

    for _ in range(10):
        results = dbt_project.sync(*APIS)
        assert {(each.status, each.stats.rows_loaded if each.stats else None) for each in results.values()} == {
            ("complete", 0)
        }
    assert dbt_project.freshness() == {"pass": TABLES}
    assert dbt_project.run("build") == 0
    built = dbt_project.results("run_results.json")
    assert {each["status"] for each in built} == {"pass", "success"}
    assert len([each for each in built if each["unique_id"].startswith("test.")]) == len(built) - 1 > len(TABLES)

    # synced each hour: late after two, stale after four
    dbt_project.server.options.faults.append(Fault(api="experimentation", path="/v1/gates$", status=403))
    dbt_project.age("2 hours", "experimentation")
    failed = dbt_project.sync("experimentation")
    gates = {"experimentation.gates", "experimentation.gates_rules"}
    assert {name for name, result in failed.items() if result.status != "complete"} == gates
    assert dbt_project.freshness() == {"pass": TABLES - gates, "warn": gates}

    dbt_project.age("2 hours", "experimentation")
    dbt_project.sync("experimentation")
    assert dbt_project.freshness() == {"pass": TABLES - gates, "error": gates}

    dbt_project.server.options.faults.clear()
    dbt_project.sync("experimentation")
    assert dbt_project.freshness() == {"pass": TABLES}


def set_in_a_row(table: str, **values: str) -> str:
    """A statement that sets columns of one row to SQL's values."""
    columns = ", ".join(f"{name} = {value}" for name, value in values.items())
    return f"UPDATE {table} SET {columns} WHERE _dlt_id = (SELECT min(_dlt_id) FROM {table})"


def of_another_row(table: str, column: str) -> str:
    """SQL for the value in another row."""
    return f"(SELECT {column} FROM {table} WHERE _dlt_id = (SELECT max(_dlt_id) FROM {table}))"


def test_tests_of_keys_and_parents_fail_for_rows_that_no_sync_would_leave(dbt_project: Project) -> None:
    dbt_project.sync("experimentation", "project_planning")
    rules = "experimentation.dynamic_configs_rules"
    key = {name: of_another_row(rules, name) for name in ("dynamic_config_id", "id")}
    statements = (
        set_in_a_row("experimentation.users", id=of_another_row("experimentation.users", "id")),
        set_in_a_row(rules, **key),
        set_in_a_row("experimentation.gates_rules", gate_id="'nowhere'"),
        set_in_a_row("experimentation.segments_ids", segment_id="'nowhere'", _deleted_at="now()"),
        set_in_a_row("project_planning.stories_comments", story_id="-1"),
        "ALTER TABLE experimentation.tags ALTER COLUMN id DROP NOT NULL",
        set_in_a_row("experimentation.tags", id="NULL"),
    )
    with dbt_project.store.writing() as execute:
        for statement in statements:
            execute(statement, ())

    select = "source:experimentation source:project_planning"
    assert dbt_project.run("build", "--select", *select.split(), "--store-failures") == 1
    failed = {
        each["unique_id"].split(".")[2]
        for each in dbt_project.results("run_results.json")
        if each["status"] not in ("pass", "success")
    }
    assert failed == {
        "source_unique_experimentation_users__id_",
        "unique_experimentation__dynamic_configs_rules__key",
        "source_relationships_experimentation_gates_rules__gate_id____id___source_experimentation_gates_",
        "relationships_project_planning__stories_comments__story_id",
        "source_not_null_experimentation_tags__id_",
    }


@pytest.mark.parametrize("dbt_project", ["duckdb"], indirect=True)
def test_dagster_dbt_makes_the_sources_our_assets(dbt_project: Project) -> None:
    (dbt_project.folder / "definitions.py").write_text(
        "from analytics_ingest import build_definitions\n\ndefs = build_definitions(key_prefix='raw')\n"
    )
    sources = dbt_project.folder / "models" / "sources.yml"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(dbt_project.folder)
        written = CliRunner().invoke(app, ["dbt-sources", "-m", "definitions", "--output", str(sources)])
    assert written.exit_code == 0, written.output
    assert dbt_project.run("parse") == 0
    manifest = dbt_project.folder / "target" / "manifest.json"
    script = dbt_project.folder / "assets.py"
    script.write_text(ASSETS)
    printed = subprocess.run(
        [BIN / "python", script, manifest], cwd=dbt_project.folder, capture_output=True, text=True, check=True
    ).stdout
    found = json.loads(printed)

    graph = build_definitions(key_prefix="raw").resolve_asset_graph()
    ours = {".".join(key.path[-2:]): list(key.path) for key in graph.get_all_asset_keys()}
    assert found["sources"] == ours
    assert ours.keys() == TABLES
    assert found["model"] == [["raw", "experimentation", "gates"]]
