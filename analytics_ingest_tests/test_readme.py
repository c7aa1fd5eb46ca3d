"""The README says what the code does; its commands and those of some pages work as they are written."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from dagster import AssetSelection
from dagster._config import validate_config

from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.config.reference import build_page
from analytics_ingest.definitions import defs
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import define_all_segments

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PAGES = [README, *((ROOT / "docs" / name).read_text() for name in ("running.md", "verification.md", "operations.md"))]
KEPT = {"incidents", "gates", "gates_rules", "epics", "epics_stories", "projects", "specific_project", "workspaces"}
"""Endpoints of each API that the commands sync."""
COMMANDS = [
    line.removeprefix("$ ").partition("    #")[0].strip()
    for block in re.findall(r"```console\n(.*?)```", "".join(PAGES), flags=re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if re.match(r"\$ (dagster|dg|analytics-ingest) ", line) and not line.startswith("$ dg dev")
]


def test_settings_have_the_defaults_of_the_reference_page() -> None:
    listed = _settings(README.partition("\n## Settings\n")[2].partition("\n## ")[0], default=1)
    reference = _settings(build_page(), default=2)

    assert len(listed) == 6
    assert listed == {name: reference[name] for name in listed}


def test_every_profile_is_listed_with_the_number_of_its_endpoints() -> None:
    listed = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\d+) \|", README, flags=re.MULTILINE)

    profiles = [(name, api) for found in PROFILES.values() for name, api in found.items()]
    assert listed == [(api.name, name, str(len(api.endpoints))) for name, api in profiles]
    assert f"Each of their {sum(len(api.endpoints) for api in APIS.values())} endpoints" in README


def _settings(page: str, *, default: int) -> dict[str, str]:
    """By name of a setting the text in the column of its default."""
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if re.match(r"\| `[A-Z_]+` \|", line)]
    return {row[0]: row[default] for row in rows}


def test_every_part_of_the_tree_is_there() -> None:
    named = re.findall(r"^  (\w+(?:\.py|/)) ", CONTRIBUTING, flags=re.MULTILINE)

    assert len(named) >= 10
    for name in named:
        assert (ROOT / "analytics_ingest" / name).exists(), name


def test_the_commands_are_found() -> None:
    starts = {" ".join(command.split()[:2]) for command in COMMANDS}
    assert starts >= {
        "dagster job",
        "dagster schedule",
        "dagster sensor",
        "dg list",
        "dg check",
        "dg launch",
        "analytics-ingest check",
        "analytics-ingest verify",
        "analytics-ingest repair",
    }


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
def test_what_the_commands_name_is_there() -> None:
    graph = defs.resolve_asset_graph()
    repository = defs.get_repository_def()
    found = []
    for command in COMMANDS:
        words = shlex.split(command)
        for option, value in pairwise(words):
            if option == "--assets":
                assert AssetSelection.from_string(value).resolve(graph), command
            elif option == "--config-json":
                config = json.loads(value)
                validated = defs.resolve_implicit_global_asset_job_def().run_config_schema
                assert validate_config(validated.config_type, {"ops": config["ops"]}).success, command
            elif option in ("-j", "--job"):
                assert repository.has_job(value), command
            elif words[1:3] in (["schedule", "start"], ["schedule", "stop"]) and value == words[-1]:
                assert repository.has_schedule_def(value), command
            elif words[1:3] == ["sensor", "start"] and value == words[-1]:
                assert repository.has_sensor_def(value), command
            else:
                continue
            found.append(option)
    assert {"--assets", "--config-json", "-j", "--job"} <= set(found)
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
