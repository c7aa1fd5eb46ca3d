"""The reference pages of tables have every table and column, and are what their generator gives."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from analytics_ingest.apis.column_descriptions import declared_columns
from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.apis.table_reference import build_pages
from analytics_ingest_tests.conftest import ROOT

FOLDER = ROOT / "docs" / "reference"
PAGES = build_pages()
DECLARATIONS = [*APIS.values(), *(profile for profiles in PROFILES.values() for profile in profiles.values())]
SETTLED = "only full refreshes request a list again that has stopped changing"
every_page = pytest.mark.parametrize("api", DECLARATIONS, ids=lambda api: api.profile or api.name)


def section(page: str, endpoint: str) -> str:
    return PAGES[page].partition(f"\n## {endpoint}\n")[2].partition("\n## ")[0]


def test_the_pages_are_what_their_generator_gives() -> None:
    found = {path.name: path.read_text() for path in FOLDER.iterdir()}

    assert found == PAGES, "docs/reference is not up to date: run `make docs`"


def test_the_command_writes_them_and_removes_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "reference"
    folder.mkdir()
    (folder / "former.md").touch()
    command = [sys.executable, "-m", "analytics_ingest.apis.table_reference", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)

    assert {path.name: path.read_text() for path in folder.iterdir()} == PAGES


@every_page
def test_a_page_has_every_table_with_its_columns(api) -> None:
    page = f"{api.profile or api.name}.md"
    for endpoint in api.endpoints:
        found = section(page, endpoint.name)
        columns = re.findall(r"^\| `(\w+)` \| (?:as sent|timestamp|double) \| .+ \|$", found, flags=re.MULTILINE)
        assert columns == declared_columns(endpoint), endpoint.name
        assert endpoint.description in found


@pytest.mark.parametrize(
    ("page", "endpoint", "mode"),
    [
        ("experimentation", "gates", "full"),
        ("experimentation", "ingestion_status", "snapshot"),
        ("feature_management", "segments_keys", "full, a list for each pair of rows of `environments` and `segments`"),
        ("statsig", "audit_logs", "incremental by `logged_at`"),
        ("statsig", "metrics_values", "full, a list for each day of the window"),
        ("shortcut", "stories", "incremental by `updated_at` and the whole list every 24 hours"),
        ("shortcut", "search_epics", "full, a list for each value of the setting `SEARCH_QUERY`"),
        ("split", "users", "full, a list for each of `ACTIVE`, `DEACTIVATED`, `PENDING`"),
        (
            "circleci",
            "pipelines",
            "full, a list for each row of `self_collaborations`, or each value of the setting `ORG_SLUGS`",
        ),
        ("rootly", "escalation_policies_paths", f"full, a list for each row of `escalation_policies`; {SETTLED}"),
    ],
)
def test_the_sync_mode_is_that_of_the_declaration(page: str, endpoint: str, mode: str) -> None:
    assert f"| sync mode | {mode} |\n" in section(f"{page}.md", endpoint)


def test_types_are_those_of_the_declaration() -> None:
    gates = section("statsig.md", "gates")

    assert "| `checks_per_hour` | double |" in gates
    assert "| `last_modified_time` | timestamp |" in gates
    assert "| `rules` | as sent |" in section("statsig.md", "dynamic_configs")


def test_an_api_without_a_profile_has_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "experimentation", {})
    pages = build_pages()

    assert "It has no profile." in pages["experimentation.md"]
    assert "statsig.md" not in pages
