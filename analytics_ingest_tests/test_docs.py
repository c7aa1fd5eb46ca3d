"""The README and the pages in docs/: their links work, and their tables have what the code has."""

from __future__ import annotations

import ast
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import pytest

import analytics_ingest
from analytics_ingest.apis import experimentation
from analytics_ingest.apis.column_descriptions import declared_columns
from analytics_ingest.apis.model import Endpoint
from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.config.api_settings import NO_PROFILE
from analytics_ingest.extract.stats import ReadStats
from analytics_ingest.extract.sync_options import INCREMENTAL
from analytics_ingest.orchestrate.asset_checks import ASSET_CHECKS
from analytics_ingest.orchestrate.metadata import result_metadata
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest.sync.table_checks import TABLE_CHECKS
from analytics_ingest.warehouse.history_names import CHANGES, VALID_FROM, VALID_TO
from analytics_ingest.warehouse.history_tables import OWN_COLUMNS
from analytics_ingest.warehouse.sync_ledger import COMPLETE, INTERRUPTED, STARTED, SyncLedger
from analytics_ingest_tests.conftest import ROOT

PACKAGE = Path(analytics_ingest.__file__).parent
DOCS = ROOT / "docs"
TESTS = Path(__file__).parent
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
VENDOR_SECTIONS = ["Key and settings", "What is synced", "Limits and known gaps", "A first query"]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE_BLOCK = re.compile(r"^```.*?^```$", flags=re.MULTILINE | re.DOTALL)
MAX_LINE = 140
"""Characters of a line of prose."""


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return CODE_BLOCK.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    found: Counter[str] = Counter()
    names = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


def literals(folder: Path) -> list[str]:
    """Every text in the code but docstrings, those between the values of an f-string each by itself."""
    found = []
    for path in folder.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        found += [
            node.value
            for node in nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        ]
    return found


def first_cells(page: Path, heading: str) -> list[str]:
    """The first cell of each row of the table below a heading."""
    section = page.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| (.+?) \|", section, flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_links_to_every_page() -> None:
    index = DOCS / "README.md"
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in LINK.findall(prose(index))}

    assert {page for page in PAGES if page.is_relative_to(DOCS)} - {index} <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_of_prose_are_short_enough_to_read(page: Path) -> None:
    long = [line for line in prose(page).splitlines() if len(line) > MAX_LINE and not line.startswith("|")]

    assert long == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_that_a_page_names_are_there(page: Path) -> None:
    packages = "|".join(each.name for each in PACKAGE.iterdir() if each.is_dir())
    named = re.findall(rf"(?<![\w/])(?:analytics_ingest/)?((?:{packages})/(?:\w+/)*(?:\w+\.py)?)", page.read_text())

    assert [name for name in named if not (PACKAGE / name).exists()] == []


def test_tests_that_show_what_an_upgrade_keeps_are_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "upgrading.md").read_text()))
    defined = (TESTS / "sync" / "test_upgrade.py").read_text()

    assert len(named) >= 5
    assert [name for name in named if f"def {name}(" not in defined] == []


def test_files_and_the_example_of_the_page_on_additions_are_right() -> None:
    page = (DOCS / "adding.md").read_text()
    named = set(re.findall(r"`((?:analytics_ingest|analytics_ingest_tests|docs)/[\w/.]+)`", page))
    (example,) = re.findall(r"```python\n(.*?),\n```", page, flags=re.DOTALL)
    made: Endpoint = eval(example, vars(experimentation))  # noqa: S307 - the page's

    assert len(named) > 25
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert (made.name, made.upstream) == ("gates_rules", ("gates",))
    assert set(declared_columns(made)) == {"gate_id", "id", "name", "pass_percentage"}


def test_pages_of_vendors_have_the_same_sections() -> None:
    pages = sorted((DOCS / "vendors").glob("*.md"))

    assert {page.stem for page in pages} == {name for profiles in PROFILES.values() for name in profiles}
    for page in pages:
        assert re.findall(r"^## (.*)$", page.read_text(), flags=re.MULTILINE) == VENDOR_SECTIONS, page.name


def test_every_check_is_listed() -> None:
    names = {*ASSET_CHECKS, *(check.name for check in TABLE_CHECKS)}

    assert set(re.findall(r"`(\w+)`", " ".join(first_cells(DOCS / "running.md", "Checks")))) == names


def test_every_number_of_a_materialisation_is_listed() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    api = APIS["experimentation"]
    result = EndpointResult(
        endpoint=api.by_name["gates_rules"],
        status="complete",
        stats=ReadStats(unproven_since=moment),
        table_rows=1,
        columns={"id": {"name": "id", "data_type": "text"}},
        cursor=moment,
        sample=[{"id": "1"}],
        widened=["id is text now"],
        drift=["a header announces the end"],
        location="/srv/warehouse.duckdb",
    )
    section = (DOCS / "tables.md").read_text().partition("## The numbers of a materialisation")[2]

    assert set(result_metadata(api, result, INCREMENTAL)) <= set(re.findall(r"`([\w/]+)`", section))


def test_every_endpoint_with_a_history_is_listed() -> None:
    section = (DOCS / "history.md").read_text().partition("\n## What is kept\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|(.*?)\|$", section, flags=re.MULTILINE)
    listed = {
        (api, profile): (re.findall(r"`(\w+)`", endpoints), re.findall(r"`(\w+\.\w+)`", measurements))
        for api, profiles, endpoints, measurements in rows
        for profile in re.findall(r"`(\w+)`", profiles)
    }

    assert listed == {
        (name, profile): (
            sorted(each.name for each in declared.endpoints if each.history),
            [f"{each.name}.{column}" for each in declared.endpoints for column in each.unversioned],
        )
        for name, api in APIS.items()
        for profile, declared in {NO_PROFILE: api, **PROFILES[name]}.items()
    }


def test_columns_of_histories_and_of_the_ledger_are_listed() -> None:
    page = DOCS / "history.md"
    section = page.read_text().partition("\n## Tables and views\n")[2].partition("\n## ")[0]
    ledger = page.read_text().partition("\n## The ledger\n")[2]
    operations = re.findall(r"^\| `(\w+)` \| ", section.partition("\n### What happened\n")[2], flags=re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (.+?) \|", ledger, flags=re.MULTILINE))))

    assert {*OWN_COLUMNS, VALID_FROM, VALID_TO, CHANGES} <= set(re.findall(r"`(\w+)`", section))
    assert operations[1:] == ["baseline", "insert", "update", "redeclared", "delete", "restore"]
    assert named == {*SyncLedger.column_types(), COMPLETE, STARTED, INTERRUPTED, "failed", "skipped"}


def test_quoted_messages_are_those_of_the_code() -> None:
    page = DOCS / "troubleshooting.md"
    texts = literals(PACKAGE)
    headings = re.findall(r"^## (Messages .*)$", page.read_text(), flags=re.MULTILINE)
    quotes = re.findall(r"`([^`]+)`", " ".join(cell for name in headings for cell in first_cells(page, name)))

    assert len(headings) == 8
    assert len(quotes) > 100
    parts = [part for quote in quotes for part in re.split(r" \.\.\. |(?<=answered) \d+", quote)]
    assert [part for part in parts if not any(part in text for text in texts)] == []
