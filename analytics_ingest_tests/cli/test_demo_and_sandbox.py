"""``demo`` and ``sandbox`` as a user meets them, ``make clean``, the version, and the help of every command."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import pytest
import requests
from typer.testing import CliRunner

from analytics_ingest.apis.registry import APIS
from analytics_ingest.cli.app import app
from analytics_ingest.cli.changes_command import utc_time
from analytics_ingest.cli.demo import QUERY
from analytics_ingest.cli.demo_incident import incident_events
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import query, sync

ROOT = Path(__file__).parents[2]
ENDPOINTS = sum(len(api.endpoints) for api in APIS.values())
ANALYTICS_INGEST = [sys.executable, "-m", "analytics_ingest"]


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ANALYTICS_INGEST, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_query_of_the_demo_finds_what_the_sandbox_has(tmp_path: Path, sandbox: SandboxServer) -> None:
    sync("project_planning")
    world = sandbox.world
    comments = Counter(row["story_id"] for row in world.expected("project_planning", "stories_comments"))
    stories = defaultdict(set)
    for row in world.expected("project_planning", "epics_stories"):
        stories[row["epic_id"]].add(row["id"])
    counted = [
        (epic["name"], len(stories[epic["id"]]), sum(comments[story] for story in stories[epic["id"]]))
        for epic in world.expected("project_planning", "epics")
        if stories[epic["id"]]
    ]

    assert query(tmp_path, QUERY) == sorted(counted, key=lambda row: (-row[2], row[0]))[:5]
    assert counted[0][2]


def test_demo_shows_what_came_before_the_incident(tmp_path: Path, sandbox: SandboxServer) -> None:
    def sync_all() -> None:
        sync("continuous_integration", "pipelines", "pipeline_workflows", "workflow")
        sync("feature_management", "workspaces", "feature_flags")
        sync("incident_response", "incidents")

    def row(api: str, endpoint: str, of: str) -> dict[str, Any]:
        return next(each for each in sandbox.world.expected(api, endpoint) if each["id"] == of)

    sync_all()
    flags = {each["id"]: each for each in sandbox.world.expected("feature_management", "feature_flags")}
    sandbox.world.advance(24)
    sync_all()
    story = sandbox.world.story
    assert story
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as connection:
        events = incident_events(connection, story.incident)
        with pytest.raises(LookupError, match=r"FROM incident_response\.incidents"):
            incident_events(connection, "none")

    pipeline = row("continuous_integration", "pipelines", story.pipeline)
    flag = row("feature_management", "feature_flags", story.flag)
    incident = row("incident_response", "incidents", story.incident)["attributes"]
    before, after = flags[story.flag]["rolloutStatus"], flag["rolloutStatus"]
    assert [(utc_time(each.at), each.kind, each.text) for each in events] == [
        (
            pipeline["updated_at"][:19] + "Z",
            "deployment",
            f"{pipeline['project_slug']} #{pipeline['number']}: workflow deploy, branch main",
        ),
        (flag["updated_at"][:19] + "Z", "flag", f"{flag['name']}: {before['name']} → {after['name']}"),
        (incident["started_at"][:19] + "Z", "incident", f"{incident['slug']} (sev1): {incident['title']}"),
    ]


@pytest.fixture
def clean(tmp_path: Path) -> Callable[[], set[str]]:
    """Runs ``make clean`` in a folder; gives the names of the files that are left in its folder ``data``."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "data" / "dagster" / "storage").mkdir(parents=True)
    (tmp_path / "data" / "dagster" / "storage" / "runs.db").touch()
    (tmp_path / "data" / "analytics_ingest.duckdb").touch()
    (tmp_path / "data" / ".analytics_ingest.duckdb.locks").mkdir()
    (tmp_path / "data" / ".analytics_ingest.duckdb.locks" / "file.lock").touch()

    def run_clean() -> set[str]:
        subprocess.run(["make", "clean"], cwd=tmp_path, check=True)
        data = tmp_path / "data"
        return {path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()}

    return run_clean


def test_make_clean_removes_what_the_demo_has_made(tmp_path: Path, clean: Callable[[], set[str]]) -> None:
    for name in (".demo", "demo.log", "analytics_ingest.duckdb.wal"):
        (tmp_path / "data" / name).touch()

    assert clean() == set()
    assert not (tmp_path / "data").exists()


def test_make_clean_leaves_a_warehouse_that_is_not_the_demos(tmp_path: Path, clean: Callable[[], set[str]]) -> None:
    assert clean() == {"analytics_ingest.duckdb", ".analytics_ingest.duckdb.locks/file.lock"}
    for name in (".demo", "mine.duckdb", "lake.sqlite"):
        (tmp_path / "data" / name).touch()
    assert clean() == {"mine.duckdb", "lake.sqlite"}


def test_version() -> None:
    done = CliRunner().invoke(app, ["--version"])

    assert (done.exit_code, done.stdout) == (0, f"analytics-ingest {version('analytics-ingest')}\n")


def test_demo_leaves_a_file_alone_that_it_did_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "data" / "analytics_ingest.duckdb"
    file.parent.mkdir()
    file.write_bytes(b"precious")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["demo"], env={"COLUMNS": "120"})

    assert done.exit_code == 1
    assert "contains data that the demo did not write" in done.stderr
    assert file.read_bytes() == b"precious"


@pytest.fixture
def served() -> Iterator[subprocess.Popen[str]]:
    command = [*ANALYTICS_INGEST, "sandbox", "--port", "0", "--scale", "0.05"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def test_sandbox_serves_until_it_is_stopped_and_prints_its_settings(served: subprocess.Popen[str]) -> None:
    exported = dict(line.removeprefix("export ").split("=", 1) for line in lines(served, 16)[1:])
    url = exported["SOURCES__INCIDENT_RESPONSE__BASE_URL"] + "incidents"
    key = exported["SOURCES__INCIDENT_RESPONSE__API_KEY"]
    answer = requests.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=10)
    served.send_signal(signal.SIGTERM)

    assert served.wait(timeout=20) == 0
    assert answer.json()["data"]


def test_sandbox_can_be_stopped_as_soon_as_it_has_printed_a_line(served: subprocess.Popen[str]) -> None:
    assert lines(served, 1)[0].startswith("The sandbox runs at")
    served.send_signal(signal.SIGTERM)

    assert served.wait(timeout=20) == 0


def test_sandbox_runs_a_command_with_itself_as_the_upstream(tmp_path: Path) -> None:
    code = "import os; print(len(os.environ['SOURCES__EXPERIMENTATION__API_KEY'])); raise SystemExit(3)"
    done = run("sandbox", "--port", "0", "--scale", "0.05", "--run", f'{sys.executable} -c "{code}"', cwd=tmp_path)

    assert done.returncode == 3
    assert str(len("sandbox-experimentation-key")) in done.stdout.splitlines()


def test_command_ends_with_the_sandbox(tmp_path: Path) -> None:
    # as Dagster's commands do it
    code = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT)); "
        "print(os.getpid(), flush=True); time.sleep(60)"
    )
    command = f"{sys.executable} -c '{code}'"
    with subprocess.Popen(
        [sys.executable, "-m", "analytics_ingest", "sandbox", "--port", "0", "--scale", "0.05", "--run", command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        # as a shell starts what it runs in the background
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509
        text=True,
    ) as process:
        assert process.stdout is not None
        pid = next(int(line) for line in process.stdout if line.strip().isdigit())
        process.terminate()
        process.wait(20)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_sandbox_does_not_stand_in_for_an_api_that_is_configured() -> None:
    setting = {"SOURCES__EXPERIMENTATION__BASE_URL": "http://127.0.0.1:9/mine", "COLUMNS": "120"}
    done = CliRunner().invoke(app, ["sandbox", "--port", "0", "--scale", "0.05", "--run", "true"], env=setting)

    assert done.exit_code == 1
    assert "experimentation has settings of its own" in done.stderr


def test_port_that_is_taken(served: subprocess.Popen[str]) -> None:
    port = re.search(r":(\d+)\.", lines(served, 1)[0])
    assert port is not None
    done = CliRunner().invoke(app, ["sandbox", "--port", port[1], "--scale", "0.05"], env={"COLUMNS": "120"})

    assert done.exit_code == 1
    assert "choose another with --port" in done.stderr


@pytest.mark.parametrize("command", ["demo", "sandbox"])
def test_help(command: str) -> None:
    assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0
