"""The README says what the code does."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dagster import AssetSelection
from dagster._config import validate_config

from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.config.api import Settings
from analytics_ingest.config.schedule import ScheduleSettings
from analytics_ingest.definitions import defs
from analytics_ingest.orchestrate.asset_checks import ASSET_CHECKS
from analytics_ingest.sync.table_checks import TABLE_CHECKS
from analytics_ingest_tests.conftest import define_all_segments

if TYPE_CHECKING:
    from collections.abc import Callable

    from analytics_ingest.sandbox.server import SandboxServer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
KEPT = {"incidents", "gates", "gates_rules", "epics", "epics_stories", "projects", "specific_project", "workspaces"}
"""Endpoints of each API that the commands sync."""
COMMANDS = [
    line.removeprefix("$ ").partition("    #")[0].strip()
    for block in re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if re.match(r"\$ (dagster|dg|analytics-ingest) ", line) and "dagster dev" not in line
]


def test_every_setting_is_listed_with_its_default() -> None:
    listed = dict(re.findall(r"^\| `([A-Z_]+)` \| ?(.*?) ?\|", README, flags=re.MULTILINE))
    shown = {True: "true", (): "none", None: "none"}
    expected = {
        name.upper(): ""
        if field.is_required()
        else ", ".join(field.default)
        if field.default and isinstance(field.default, tuple)
        else shown.get(field.default, str(field.default))
        for name, field in Settings.model_fields.items()
    }
    of_the_graph = {
        "CRON": "by the API",
        "FULL_REFRESH_CRON": "Sundays",
        "WARN_AFTER": "two syncs",
        "FAIL_AFTER": "four syncs",
        "CHANGE_INTERVAL": str(ScheduleSettings.model_fields["change_interval"].default),
        "OWNERS": "none",
        "DOCS_URL": "none",
    }
    of_the_deployment = {
        "ANALYTICS_INGEST_AUTOMATION": "stopped",
        "ANALYTICS_INGEST_TIMEZONE": "UTC",
        "ANALYTICS_INGEST_WEBHOOK_URL": "none",
        "ANALYTICS_INGEST_UI_URL": "none",
        "ANALYTICS_INGEST_DESTINATION": "duckdb",
        "ANALYTICS_INGEST_EXECUTOR": "per_api",
    }

    of_the_graph |= {"PROFILE": "none"}
    assert set(of_the_graph) - {"PROFILE"} == {name.upper() for name in ScheduleSettings.model_fields}
    assert listed == expected | of_the_graph | of_the_deployment


def test_every_profile_is_listed_with_the_number_of_its_endpoints() -> None:
    listed = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\d+) \|", README, flags=re.MULTILINE)

    profiles = [(name, api) for found in PROFILES.values() for name, api in found.items()]
    assert listed == [(api.name, name, str(len(api.endpoints))) for name, api in profiles]
    assert f"Each of their {sum(len(api.endpoints) for api in APIS.values())} endpoints" in README


def test_every_check_is_listed() -> None:
    names = {*ASSET_CHECKS, *(check.name for check in TABLE_CHECKS)}
    assert names <= set(re.findall(r"^\| `([a-z_]+)` \|", README, flags=re.MULTILINE))


def test_every_file_that_is_named_is_there() -> None:
    named = re.findall(r"\]\((?!http)([^)]+)\)", README) + re.findall(
        r"^  (\w+(?:\.py|/)) ", README, flags=re.MULTILINE
    )

    assert named
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "analytics_ingest" / name).exists(), name


def test_the_commands_are_found() -> None:
    starts = {" ".join(command.split()[:2]) for command in COMMANDS}
    assert starts >= {
        "dagster asset",
        "dagster job",
        "dagster schedule",
        "dagster sensor",
        "dg list",
        "dg check",
        "dg launch",
        "analytics-ingest check",
        "analytics-ingest verify",
    }


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
def test_what_the_commands_name_is_there() -> None:
    graph = defs.resolve_asset_graph()
    repository = defs.get_repository_def()
    found = []
    for command in COMMANDS:
        words = shlex.split(command)
        for option, value in pairwise(words):
            if option in ("--select", "--assets"):
                assert AssetSelection.from_string(value).resolve(graph), command
            elif option == "--config-json":
                config = json.loads(value)
                validated = defs.resolve_implicit_global_asset_job_def().run_config_schema
                assert validate_config(validated.config_type, {"ops": config["ops"]}).success, command
            elif option == "-j":
                assert repository.has_job(value), command
            elif words[1:3] == ["schedule", "start"] and value == words[-1]:
                assert repository.has_schedule_def(value), command
            elif words[1:3] == ["sensor", "start"] and value == words[-1]:
                assert repository.has_sensor_def(value), command
            else:
                continue
            found.append(option)
    assert {"--select", "--assets", "--config-json", "-j"} <= set(found)
    assert len(found) >= 10


@pytest.mark.extended
def test_commands_do_what_they_say_as_they_are_written(start_sandbox: Callable[..., SandboxServer]) -> None:
    define_all_segments(start_sandbox().world)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for api in APIS.values():
        # some endpoints show it as well as all
        left_out = [each.name for each in api.endpoints if each.name not in KEPT]
        environment[f"SOURCES__{api.name.upper()}__SKIP_ENDPOINTS"] = ", ".join(left_out)
    failed = {}
    for command in COMMANDS:
        done = subprocess.run(
            shlex.split(command), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180, check=False
        )
        if done.returncode:
            failed[command] = (done.returncode, done.stdout[-1500:] + done.stderr[-1500:])
    assert failed == {}


def test_settings_are_described() -> None:
    for model in (Settings, ScheduleSettings):
        assert all(field.description for field in model.model_fields.values())
