"""docs/tutorial.md: its commands in their order, its queries and its chart; and the demo, which it begins with."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest
import requests
import yaml
from dagster import DagsterInstance, RunsFilter

from analytics_ingest.apis.registry import APIS
from analytics_ingest.cli.demo import HOURS
from analytics_ingest.definitions import defs
from analytics_ingest.sandbox.world import World
from analytics_ingest_tests.conftest import ROOT
from analytics_ingest_tests.pages import queries_of
from analytics_ingest_tests.vendors.split import Split
from analytics_ingest_tests.waiting import eventually

PAGE = (ROOT / "docs" / "tutorial.md").read_text()
QUERIES = queries_of("tutorial.md")
COMMANDS = [
    line[2:] for block in re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL) for line in block.splitlines()
]
SERVERS = ("make dev", "dg dev")
SCALE = 0.05
ENDPOINTS = sum(len(api.endpoints) for api in APIS.values())
DEMO = f"""\
#!/bin/sh
[ "$1" = demo ] && set -- "$@" --scale {SCALE}
exec {sys.executable} -m analytics_ingest "$@"
"""
"""The command line of the package, with a demo that takes less time."""


@dataclass
class Laptop:
    """A clone of the repository whose environment is that of the tests.

    Attributes:
        folder: The clone.
        environment: The environment variables of each command.
        outputs: By command what it has printed.
        exported: The commands that change the shell, which are given before each other command.
    """

    folder: Path
    environment: dict[str, str]
    outputs: dict[str, str] = field(default_factory=dict)
    exported: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("Makefile", "constraints.txt", "constraints-dev.txt", "dagster.yaml", "pyproject.toml"):
            shutil.copy(ROOT / name, self.folder)
        (self.folder / ".dlt").mkdir()
        shutil.copy(ROOT / ".dlt" / "config.toml", self.folder / ".dlt")
        (self.folder / "analytics_ingest").symlink_to(ROOT / "analytics_ingest")
        bin_folder = self.folder / ".venv" / "bin"
        bin_folder.mkdir(parents=True)
        for name in ("python", "dg", "dagster"):
            self._script(name, f'#!/bin/sh\nexec {Path(sys.executable).with_name(name)} "$@"\n')
        self._script("analytics-ingest", DEMO)
        (bin_folder / "activate").write_text(f"export VIRTUAL_ENV={bin_folder.parent} PATH={bin_folder}:$PATH\n")
        # newer than what they are made of, so that make does not build it
        for name in (".pinned", ".ready"):
            (bin_folder.parent / name).touch()

    def _script(self, name: str, text: str) -> None:
        path = self.folder / ".venv" / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def configure(self, vendor: Split) -> None:
        """Writes the settings of the page, with the key and the address of a vendor's server."""
        (toml,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
        (self.folder / ".dlt" / "secrets.toml").write_text(toml.replace("...", vendor.KEY))
        settings = {"BASE_URL": vendor.url, "REQUESTS_PER_MINUTE": "1000000"}
        settings |= {f"{endpoint}__LIMIT": str(limit) for endpoint, limit in vendor.LIMITS.items()}
        prefix = f"SOURCES__{vendor.api.name}__"
        self.environment |= {(prefix + name).upper(): value for name, value in settings.items()}

    def run(self, command: str) -> None:
        """Runs a command of the page; a server is stopped as soon as its UI answers."""
        if command.startswith(("source ", "export ")):
            self.exported.append(command)
            return
        script = "\n".join([*self.exported, command])
        log = self.folder / "output.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                ["bash", "-ec", script],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            if command in SERVERS:
                eventually(lambda: self._serves(log), 180, interval=0.5, state=log.read_text)
            else:
                assert process.wait(300) == 0, f"{command}\n{log.read_text()[-4000:]}"
        finally:
            stop(process)
        self.outputs[command] = log.read_text()

    @staticmethod
    def _serves(log: Path) -> bool:
        found = re.search(r"Serving dagster-webserver on (http://[\d.]+:\d+)", log.read_text())
        if found is None:
            return False
        # it prints its address before it listens
        with suppress(requests.ConnectionError):
            return requests.get(f"{found[1]}/server_info", timeout=30).ok
        return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stops a process with its children, as Ctrl-C does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)


@dataclass
class Done:
    """What the page has done: the commands' outputs, what the queries found, and the file that the demo has left."""

    outputs: dict[str, str]
    found: dict[str, str]
    demo: Path


def copied_completely(source: Path, copy: Path) -> bool:
    """Copies a folder anew; false if a file vanished meanwhile, as SQLite's do when a process closes its database."""
    shutil.rmtree(copy, ignore_errors=True)
    try:
        shutil.copytree(source, copy)
    except shutil.Error:
        return False
    return True


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    folder, kept = tmp_path_factory.mktemp("laptop"), tmp_path_factory.mktemp("kept")
    own = ("SOURCES__", "DESTINATION__", "ANALYTICS_INGEST", "DAGSTER_HOME", "DLT_", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    laptop = Laptop(folder, {**environment, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "PORT": "0"})
    found = {}
    with Split() as vendor:
        for command in COMMANDS:
            if command.endswith("< query.sql"):
                for heading, sql in QUERIES.items():
                    (folder / "query.sql").write_text(sql)
                    laptop.run(command)
                    found[heading] = laptop.outputs[command]
                eventually(lambda: copied_completely(folder / "data", kept / "data"), 60, interval=1)
                shutil.copy(folder / "dagster.yaml", kept)
                continue
            if command.startswith("analytics-ingest check"):
                laptop.configure(vendor)
            laptop.run(command)
        yield Done(laptop.outputs, found, kept / "data" / "analytics_ingest.duckdb")
        assert vendor.complaints == []


def workspaces(world: World) -> list[tuple[str, int]]:
    """The flags of each workspace, counted without SQL."""
    names = {each["id"]: each["name"] for each in world.expected("feature_management", "workspaces")}
    flags = Counter(names[each["workspace_id"]] for each in world.expected("feature_management", "feature_flags"))
    return sorted(flags.items(), key=lambda item: (-item[1], item[0]))


def months(world: World) -> list[tuple[str, int]]:
    """The stories that were completed in each month, counted without SQL."""
    stories = {
        each["id"]: each["completed_at"][:7]
        for each in world.expected("project_planning", "epics_stories")
        if each["completed_at"]
    }
    return sorted(Counter(stories.values()).items())


def after_the_demo(scale: float) -> World:
    """What the sandbox serves at the end of a demo."""
    world = World(scale=scale)
    world.advance(HOURS)
    return world


def boxed(text: str) -> list[tuple[str, ...]]:
    """The cells of the rows of a table that DuckDB has printed."""
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line[:1] == "│"]
    # names and types come first
    return [tuple(row) for row in rows[2:]]


@pytest.mark.extended
def test_queries_find_what_the_sandbox_has(done: Done) -> None:
    world = after_the_demo(SCALE)

    assert boxed(done.found["Query it with SQL"]) == [(name, str(count)) for name, count in workspaces(world)]
    assert boxed(done.found["Make a chart"]) == [(*map(str, row), bar) for *row, bar in charted(months(world))]


def charted(rows: list[tuple[str, int]]) -> list[tuple[str, int, str]]:
    """Rows with a bar beside each, by the highest of them."""
    top = max(count for _, count in rows)
    with duckdb.connect() as connection:
        bars = [connection.execute("SELECT bar(?, 0, ?, 30)", [count, top]).fetchall()[0][0] for _, count in rows]
    return [(*row, bar.rstrip()) for row, bar in zip(rows, bars, strict=True)]


def test_the_chart_of_the_page_is_that_of_the_demo() -> None:
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE, flags=re.DOTALL)

    rows = [tuple(line.split()) for line in shown.splitlines()]
    assert rows == [(month, str(count), bar) for month, count, bar in charted(months(after_the_demo(1)))][-6:]


@pytest.mark.extended
def test_the_changes_of_the_day_are_listed(done: Done) -> None:
    printed = done.outputs["analytics-ingest changes --since 24h"]

    for operation in ("insert", "update", "delete"):
        assert f"  {operation}" in printed


@pytest.mark.extended
def test_a_real_api_is_checked_synced_verified_and_scheduled(done: Done) -> None:
    endpoints = len(Split().api.endpoints)

    assert f"{endpoints} fine, 0 not tried, 0 failed" in done.outputs["analytics-ingest check feature_management"]
    assert f"{endpoints} the same, 0 different" in done.outputs["analytics-ingest verify feature_management"]
    (started,) = [text for command, text in done.outputs.items() if command.startswith("dagster schedule start")]
    assert "Started schedule feature_management_sync_schedule" in started


def test_the_commands_are_found() -> None:
    assert len(COMMANDS) == 12
    assert set(SERVERS) <= set(COMMANDS)
    assert [*QUERIES] == ["Query it with SQL", "Make a chart"]


@pytest.mark.extended
def test_demo_ends_with_a_table_and_a_query_that_works(done: Done, tmp_path: Path) -> None:
    printed = done.outputs["make demo"]

    assert re.search(rf"^ +all +{ENDPOINTS} ", printed, flags=re.MULTILINE)
    assert "Every table has exactly the rows that the sandbox serves." in printed
    listed = re.findall(r"^ +20\S+Z +(\w+) ", printed.partition("An incident of that day")[2], flags=re.MULTILINE)
    assert listed == ["deployment", "flag", "incident"]
    setting, _, command = printed.partition("DESTINATION__DUCKDB__CREDENTIALS=")[2].splitlines()[0].split(" ", 2)
    assert command == "changes --since 24h"
    changes = subprocess.run(
        [sys.executable, "-m", "analytics_ingest", *command.split()],
        cwd=done.demo.parents[1],
        env={**os.environ, "PYTHONPATH": str(ROOT), "DESTINATION__DUCKDB__CREDENTIALS": setting},
        capture_output=True,
        text=True,
        check=True,
    )
    assert changes.stdout
    query = printed.partition("'''\n")[2].partition("'''")[0]
    with duckdb.connect(shutil.copy(done.demo, tmp_path)) as connection:
        busiest = connection.sql(query).fetchall()
        assert busiest == busiest_epics(connection)
        # as if the next sync had found that some are gone
        for table in ("epics_stories", "stories_comments"):
            gone = f"(SELECT id FROM project_planning.{table} ORDER BY id) USING SAMPLE 50% (bernoulli, 1)"
            connection.execute(f"UPDATE project_planning.{table} SET _deleted_at = now() WHERE id IN (FROM {gone})")
        fewer = connection.sql(query).fetchall()
        assert fewer == busiest_epics(connection)
        assert fewer != busiest
        tables = "SELECT count(*) FROM information_schema.tables WHERE table_name NOT LIKE '\\_%' ESCAPE '\\'"
        tables += " AND table_type = 'BASE TABLE' AND table_schema NOT LIKE '%staging'"
        assert connection.sql(tables).fetchall() == [(ENDPOINTS,)]


@pytest.mark.extended
def test_the_demos_runs_are_those_of_the_code_locations_job(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    home = done.demo.parents[1]
    monkeypatch.chdir(home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    (module,) = (each["python_module"] for each in yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"])
    label = f"{defs.get_repository_def().name}@{module}"
    with DagsterInstance.get() as instance:
        runs = instance.get_runs(RunsFilter(job_name="all_sync", tags={".dagster/repository": label}))

    assert [run.remote_job_origin.repository_origin.get_label() for run in runs if run.remote_job_origin] == [label] * 2
    assert {run.tags["analytics_ingest/all"] for run in runs} == {"true"}


def busiest_epics(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, int, int]]:
    """What the demo's query counts, counted one by one."""

    def rows(table: str, columns: str) -> list[tuple[Any, ...]]:
        live = f"SELECT {columns} FROM project_planning.{table} WHERE _deleted_at IS NULL"
        return connection.sql(live).fetchall()

    stories, comments = rows("epics_stories", "epic_id, id"), rows("stories_comments", "story_id, id")
    counts = []
    for epic, name in rows("epics", "id, name"):
        own = {story for of, story in stories if of == epic}
        if own:
            counts.append((name, len(own), sum(story in own for story, _ in comments)))
    return sorted(counts, key=lambda count: (-count[2], count[0]))[:5]
