"""Wheel and sdist in environments of their own, outside of the checkout.

The tests need the package index and minutes. ``make build`` runs the test of the files in ``dist``, with the pinned
versions (``TEST_BUILT``). ``make test-latest`` runs the test of two accounts in a project of ``create-dagster``, with
the newest versions (``TEST_INSTALLED=1``).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from analytics_ingest_tests.conftest import ROOT
from analytics_ingest_tests.tools.pins import PRODUCT, read_project
from analytics_ingest_tests.vendors.statsig import Statsig

pytestmark = pytest.mark.extended

ACCOUNTS = ("statsig_eu", "statsig_us")
HOST = "import dagster as dg\n\n\n@dg.asset\ndef own() -> None:\n    raise RuntimeError('the host\\'s own asset')\n"
SELECTED = """
import json
import dagster as dg
from host.definitions import defs

found = defs()
jobs = {job.name: found.resolve_job_def(job.name) for job in found.jobs}
graph = found.resolve_asset_graph()
print(json.dumps({
    "jobs": [name for name, job in jobs.items() if dg.AssetKey("own") in job.asset_layer.executable_asset_keys],
    "sensors": [
        sensor.name for sensor in found.sensors
        if sensor.asset_selection and dg.AssetKey("own") in sensor.asset_selection.resolve(graph)
    ],
}))
"""


IMPORTED = """
import analytics_ingest
import analytics_ingest.definitions
print(analytics_ingest.__file__)
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a command prints; it has to succeed."""
    ended = subprocess.run(
        list(map(str, command)),
        check=False,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert ended.returncode == 0, ended.stdout[-4000:]
    return ended.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` folder of an environment with the wheel and the newest Dagster, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    pip = (folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet")
    run(*pip, wheel, "create-dagster", "dagster-dg-cli", "dagster-webserver", cwd=folder)
    return folder / "venv" / "bin"


@pytest.fixture
def vendors() -> Iterator[dict[str, Statsig]]:
    """A server for each account, with a key of its own; the second one has fewer gates."""
    servers = {name: Statsig() for name in ACCOUNTS}
    for name, server in servers.items():
        server.KEY = f"the-key-of-{name}"
    servers[ACCOUNTS[1]].advance()
    with servers[ACCOUNTS[0]] as first, servers[ACCOUNTS[1]] as second:
        yield dict(zip(ACCOUNTS, (first, second), strict=True))
        assert first.complaints + second.complaints == []


@pytest.mark.skipif(not os.environ.get("TEST_INSTALLED"), reason="make test-latest sets TEST_INSTALLED")
def test_two_accounts_in_a_new_project(installed: Path, vendors: dict[str, Statsig], tmp_path: Path) -> None:
    run(installed / "create-dagster", "project", "host", "--no-uv-sync", cwd=tmp_path)
    project = tmp_path / "host"
    defs = project / "src" / "host" / "defs"
    (defs / "own.py").write_text(HOST)
    environment: dict[str, str] = {
        "PYTHONPATH": str(project / "src"),
        "DAGSTER_HOME": str(project),
        "PATH": os.pathsep.join((str(installed), os.environ["PATH"])),
        **{f"{name.upper()}_API_KEY": server.KEY for name, server in vendors.items()},
    }
    (project / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")

    def dg(*arguments: str) -> str:
        return run(installed / "dg", *arguments, cwd=project, **environment)

    assert "analytics_ingest.RestApiSync" in dg("list", "components")
    for name, server in vendors.items():
        dg("scaffold", "defs", "analytics_ingest.RestApiSync", name, "--api", "experimentation")
        file = defs / name / "defs.yaml"
        declared: dict[str, Any] = yaml.safe_load(file.read_text())
        declared["attributes"] |= {
            "base_url": server.url,
            "requests_per_minute": 1_000_000,
            "endpoint_settings": {endpoint: {"limit": limit} for endpoint, limit in server.LIMITS.items()},
        }
        file.write_text(yaml.safe_dump(declared, sort_keys=False))
    dg("check", "defs")
    for name in ACCOUNTS:
        dg("launch", "--job", f"{name}_sync")

    # each server saw its own key, in every request, and no other
    for name, server in vendors.items():
        assert {asked.headers["STATSIG-API-KEY"] for asked in server.asked} == {f"the-key-of-{name}"}
    selected = json.loads(run(installed / "python", "-W", "ignore", "-c", SELECTED, cwd=project, **environment))
    assert selected == {"jobs": [], "sensors": []}
    for _ in range(2):
        verify = (installed / "analytics-ingest", "verify", *ACCOUNTS, "-m", "host.definitions")
        verified = run(*verify, cwd=project, **environment)
        assert f"{len(ACCOUNTS) * len(Statsig().api.endpoints)} the same, 0 different" in verified


@pytest.fixture(scope="module", params=["*.whl", "*.tar.gz"], ids=["wheel", "sdist"])
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` folder of an environment with the pinned versions and one of the files that ``make build`` made."""
    (artefact,) = Path(os.environ["TEST_BUILT"]).glob(request.param)
    folder = tmp_path_factory.mktemp("started")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    interpreter = folder / "venv" / "bin" / "python"
    pins = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", ROOT / PRODUCT)
    run(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", interpreter, *pins, cwd=folder)
    run(interpreter, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", artefact, cwd=folder)
    run(interpreter, "-m", "pip", "check", cwd=folder)
    return interpreter.parent


@pytest.mark.skipif(not os.environ.get("TEST_BUILT"), reason="make build sets TEST_BUILT")
def test_what_is_built_starts_outside_of_the_checkout(started: Path, tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    environment = {"DAGSTER_HOME": str(tmp_path), "PYTHONPATH": ""}
    module = ("--module-name", "analytics_ingest.definitions")

    version = run(started / "analytics-ingest", "--version", cwd=tmp_path, **environment)
    assert version == f"analytics-ingest {read_project()['project']['version']}\n"
    assert "Usage: analytics-ingest" in run(started / "analytics-ingest", "--help", cwd=tmp_path, **environment)
    imported = run(started / "python", "-W", "ignore", "-c", IMPORTED, cwd=tmp_path, **environment)
    assert Path(imported.splitlines()[-1]).is_relative_to(started.parent)
    run(started / "dagster", "definitions", "validate", *module, cwd=tmp_path, **environment)
    # the sandbox is one of the extras that the pins are for
    assert "Usage:" in run(started / "analytics-ingest", "sandbox", "--help", cwd=tmp_path, **environment)
