"""The component ``RestApiSync`` in a project of the user's own, through Dagster's command line ``dg``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml
from dagster import AssetKey, DagsterInstance, Definitions, load_from_defs_folder

from analytics_ingest.apis.registry import APIS
from analytics_ingest.config import lookup
from analytics_ingest.config.accounts import choose_accounts
from analytics_ingest.config.api import load_settings
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sandbox.world import World
from analytics_ingest_tests.conftest import ROOT, SCALE, expected_keys, live_keys

API = "experimentation"
ACCOUNTS = ("statsig_eu", "statsig_us")
LISTS = ("gates", "gates_rules", "tags")
PROJECT = {
    "pyproject.toml": """
[project]
name = "host"
version = "0.1.0"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "host"
""",
    "src/host/__init__.py": "",
    "src/host/defs/__init__.py": "",
    "src/host/defs/own.py": "import dagster as dg\n\n@dg.asset\ndef own():\n    return None\n",
    "src/host/definitions.py": """
from pathlib import Path

from dagster import definitions, load_from_defs_folder


@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
""",
}
"""A project as ``create-dagster`` makes it, with an asset of its own."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder; what its components declare is gone after the test."""
    monkeypatch.setattr(lookup, "DECLARED", {})
    for name in [name for name in sys.modules if name.partition(".")[0] == "host"]:
        monkeypatch.delitem(sys.modules, name)
    folder = tmp_path / "host"
    monkeypatch.syspath_prepend(folder / "src")
    for name, text in PROJECT.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def declare(project: Path, name: str, **attributes: Any) -> Path:
    """Writes the ``defs.yaml`` of a component."""
    file = project / "src" / "host" / "defs" / name / "defs.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump({"type": "analytics_ingest.RestApiSync", "attributes": attributes}, sort_keys=False))
    return file


def load(project: Path) -> Definitions:
    return load_from_defs_folder(path_within_project=project / "src" / "host")


def dg(project: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Runs a command of ``dg`` in the project; its exit code and what it printed."""
    paths = os.pathsep.join((str(project / "src"), str(ROOT)))
    ended = subprocess.run(
        [str(Path(sys.executable).with_name("dg")), *arguments],
        check=False,
        cwd=project,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "200", "DAGSTER_HOME": str(project), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return ended.returncode, ended.stdout


@pytest.fixture
def two_upstreams(
    start_sandbox: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> dict[str, SandboxServer]:
    """A server for each account, each with data and a key of its own; nothing of it is in the environment."""
    found = {}
    for seed, name in enumerate(ACCOUNTS, start=1):
        found[name] = start_sandbox(World(seed=seed, scale=SCALE), api_keys={api: f"{name}-{api}-key" for api in APIS})
    for variable in [name for name in os.environ if name.startswith("SOURCES__")]:
        monkeypatch.delenv(variable)
    return found


def test_a_component_is_an_account_with_assets_jobs_schedules_and_sensors(project: Path) -> None:
    declare(
        project,
        "eu",
        api=API,
        account="statsig_eu",
        profile="statsig",
        cron="5 * * * *",
        owners=["team:data"],
        key_prefix="raw",
        group_name="vendors",
        endpoints=["gates_rules"],
        tags={"tier": "1"},
    )
    defs = load(project)
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}

    assert set(specs) == {"own", "raw/statsig_eu/gates", "raw/statsig_eu/gates_rules"}
    rules = specs["raw/statsig_eu/gates_rules"]
    assert (rules.group_name, list(rules.owners), rules.tags["tier"]) == ("vendors", ["team:data"], "1")
    assert rules.metadata["profile"] == "statsig"
    assert {schedule.name: schedule.cron_schedule for schedule in defs.schedules or ()}["statsig_eu_sync_schedule"] == (
        "5 * * * *"
    )
    assert {sensor.name for sensor in defs.sensors or ()} == {
        "statsig_eu_change_sensor",
        "statsig_eu_freshness_sensor",
        "statsig_eu_failure_sensor",
    }
    job = defs.resolve_job_def("statsig_eu_sync")
    assert job.asset_layer.executable_asset_keys == {rules.key, AssetKey(["raw", "statsig_eu", "gates"])}


def test_two_accounts_by_yaml_alone(
    project: Path,
    tmp_path: Path,
    two_upstreams: dict[str, SandboxServer],
    instance: DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, server in two_upstreams.items():
        monkeypatch.setenv(f"{name.upper()}_KEY", server.options.api_keys[API])
        declare(
            project,
            name,
            api=API,
            account=name,
            base_url=server.base_url(API),
            api_key=f"{{{{ env.{name.upper()}_KEY }}}}",
            endpoints=list(LISTS),
            endpoint_settings={"tags": {"limit": 7}},
        )
    defs = load(project)
    for name, server in two_upstreams.items():
        assert defs.resolve_job_def(f"{name}_sync").execute_in_process(instance=instance).success
        for each in LISTS:
            assert live_keys(tmp_path, API, each, account=name) == expected_keys(server.world, API, each)
        assert {record.status for record in server.requests} == {200}
        assert {parse_qs(record.query)["limit"][0] for record in server.requests if record.endpoint == "tags"} == {"7"}


@pytest.mark.parametrize("key", ["0123", "12345", "1e5", "true", "[1]", "None"])
def test_a_key_is_a_text_whatever_it_looks_like(project: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("EU_KEY", key)
    declare(project, "eu", api=API, account="statsig_eu", profile="statsig", api_key="{{ env.EU_KEY }}")
    load(project)

    assert load_settings(choose_accounts(["statsig_eu"])["statsig_eu"]).api_key.get_secret_value() == key


@pytest.mark.parametrize(
    ("attributes", "line", "problem"),
    [
        ({"api": "experimentatoin"}, 3, "Input should be 'experimentation', "),
        ({"api": API, "max_inflight": 8}, 4, "Extra inputs are not permitted"),
        ({"api": API, "lookback": "an hour"}, 4, "lookback must be a valid number"),
        ({"api": API, "cron": "hourly"}, 4, "cron is 'hourly', which is no cron expression"),
        (
            {"api": API, "endpoint_settings": {"tags": {"limits": 7}}},
            4,
            "there is no setting limits; there is limit",
        ),
    ],
)
def test_a_wrong_attribute_is_refused_with_its_line(
    project: Path, attributes: dict[str, Any], line: int, problem: str
) -> None:
    file = declare(project, "eu", **attributes)
    with pytest.raises(Exception, match="Error while loading component") as raised:
        load(project)

    assert problem in str(raised.value.__cause__)
    assert f"{file}:{line}" in str(raised.value.__cause__)


@pytest.mark.extended
def test_the_command_line_lists_scaffolds_checks_and_launches(
    project: Path, tmp_path: Path, two_upstreams: dict[str, SandboxServer]
) -> None:
    name, server = next(iter(two_upstreams.items()))
    (project / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    assert "analytics_ingest.RestApiSync" in dg(project, "list", "components")[1]
    code, output = dg(project, "scaffold", "defs", "analytics_ingest.RestApiSync", name, "--api", API)
    assert code == 0, output
    file = project / "src" / "host" / "defs" / name / "defs.yaml"
    written = yaml.safe_load(file.read_text())
    assert written["attributes"] == {
        "api": API,
        "account": name,
        "profile": "statsig",
        "api_key": "{{ env.STATSIG_EU_API_KEY }}",
    }
    written["attributes"] |= {"profile": "none", "base_url": server.base_url(API), "max_inflight": 8}
    file.write_text(yaml.safe_dump(written, sort_keys=False))
    key = server.options.api_keys[API]
    code, output = dg(project, "check", "defs", STATSIG_EU_API_KEY=key)
    assert code == 1
    assert "defs.yaml:8 - analytics_ingest.RestApiSync attributes.max_inflight" in output
    del written["attributes"]["max_inflight"]
    file.write_text(yaml.safe_dump(written, sort_keys=False))
    code, output = dg(project, "check", "defs", STATSIG_EU_API_KEY=key)
    assert code == 0, output
    code, output = dg(project, "launch", "--job", f"{name}_sync", STATSIG_EU_API_KEY=key)
    assert code == 0, output

    for each in APIS[API].by_name:
        if APIS[API].by_name[each].primary_key:
            assert live_keys(tmp_path, API, each, account=name) == expected_keys(server.world, API, each)
    # the host's own asset is in none of our jobs, and its settings file and log do not hold the key
    assert key not in output
    verified = subprocess.run(
        [sys.executable, "-m", "analytics_ingest", "verify", name, "-m", "host.definitions"],
        check=False,
        cwd=project,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(project / "src"), str(ROOT))), "STATSIG_EU_API_KEY": key},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (verified.returncode, "0 different" in verified.stdout) == (0, True), verified.stdout + verified.stderr
