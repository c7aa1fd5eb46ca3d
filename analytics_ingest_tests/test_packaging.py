"""The package that pip installs: its requirements, what a plain install starts, and the files in wheel and sdist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from configparser import ConfigParser
from email.parser import Parser
from importlib import import_module
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

import dagster_dlt
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from analytics_ingest_tests.conftest import ROOT
from analytics_ingest_tests.tools.pins import (
    DBT,
    DEV,
    PRODUCT,
    PRODUCT_EXTRAS,
    SAME_FOR_DBT,
    read_pins,
    read_project,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PYPROJECT = read_project()
PROJECT = PYPROJECT["project"]
BUILD: list[str] = PYPROJECT["build-system"]["requires"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
EVERY = [Requirement(text) for texts in (PROJECT["dependencies"], *EXTRAS.values()) for text in texts]
FOREIGN = [each for each in EVERY if each.name != PROJECT["name"]]
PINS = {file: read_pins((ROOT / file).read_text()) for file in (PRODUCT, DEV, DBT)}
MODULES = {str(path.relative_to(ROOT)) for path in (ROOT / "analytics_ingest").rglob("*.py")}

IMPORT_ALL = """
import importlib, pkgutil, analytics_ingest
missing = set()
for module in pkgutil.walk_packages(analytics_ingest.__path__, "analytics_ingest."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            missing.add(error.name)
print(*sorted(missing))
"""
"""Imports every module, and prints the packages that some of them miss."""


def installed_for(requirements: Iterable[str]) -> Iterator[Distribution]:
    """The installed distributions that requirements bring, with those that these require in turn."""
    waiting = [Requirement(text) for text in requirements]
    seen = set()
    while waiting:
        requirement = waiting.pop()
        for extra in requirement.extras or {""}:
            key = (canonicalize_name(requirement.name), extra)
            if key in seen:
                continue
            seen.add(key)
            found = distribution(requirement.name)
            yield found
            needed = [Requirement(text) for text in found.requires or ()]
            waiting += [each for each in needed if each.marker is None or each.marker.evaluate({"extra": extra})]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has what a plain ``pip install`` brings, as links to what is here."""
    folder = tmp_path_factory.mktemp("plain")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "analytics_ingest").symlink_to(ROOT / "analytics_ingest")
    for each in installed_for(PROJECT["dependencies"]):
        for name in {file.parts[0] for file in each.files or ()} - {"..", "__pycache__"}:
            if not (packages / name).exists():
                (packages / name).symlink_to(Path(str(each.locate_file(name))))
    return folder / "bin/python"


def run_plain(plain: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [plain, *arguments],
        cwd=cwd,
        env={**environment, "DAGSTER_HOME": str(cwd), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_modules_need_a_plain_install_or_an_extra(plain: Path, tmp_path: Path) -> None:
    done = run_plain(plain, "-c", IMPORT_ALL, cwd=tmp_path)

    assert (done.returncode, done.stdout.split()) == (0, ["dagster_celery", "starlette", "uvicorn"]), done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "import analytics_ingest.definitions"),
        ("-m", "analytics_ingest", "--help"),
        ("-m", "dagster", "definitions", "validate", "--module-name", "analytics_ingest.definitions"),
    ],
    ids=["import", "help", "validate"],
)
def test_a_plain_install_starts(arguments: tuple[str, ...], plain: Path, tmp_path: Path) -> None:
    done = run_plain(plain, *arguments, cwd=tmp_path)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["sandbox", "demo"])
def test_the_sandbox_names_its_extra(command: str, plain: Path, tmp_path: Path) -> None:
    done = run_plain(plain, "-m", "analytics_ingest", command, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "the sandbox needs starlette and uvicorn: pip install 'analytics-ingest[sandbox]'\n"


@pytest.mark.parametrize("requirement", FOREIGN, ids=str)
def test_each_requirement_has_a_lower_bound_and_the_tested_version_is_allowed(requirement: Requirement) -> None:
    versions = {pin.name: pin.version for file in (PRODUCT, DEV) for pin in PINS[file]}

    assert ">=" in {each.operator for each in requirement.specifier}
    assert versions[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("file", [PRODUCT, DEV, DBT])
def test_pins_have_hashes_and_nothing_that_pip_would_fetch_unverified(file: str) -> None:
    pin = re.compile(r"[a-z0-9-]+==[^\s;]+(?: ; [^\\]+)? \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+")
    text = (ROOT / file).read_text()

    # an index, a URL or a path is none of these lines
    assert [line for line in pin.sub("", text).splitlines() if not line.startswith("# ")] == []
    assert len(PINS[file]) > 60
    assert [each.name for each in PINS[file] if not each.hashes or each.requirement.url] == []
    assert [name for name, count in Counter(each.name for each in PINS[file]).items() if count > 1] == []


# it looks at what is installed, and other tests than the extended ones run with other versions
@pytest.mark.extended
def test_constraints_has_what_a_deployment_needs_and_no_tool() -> None:
    product, dev = ({each.name for each in PINS[file]} for file in (PRODUCT, DEV))
    needed = installed_for([*PROJECT["dependencies"], *(text for extra in PRODUCT_EXTRAS for text in EXTRAS[extra])])

    assert {canonicalize_name(each.name) for each in needed} <= product
    assert {Requirement(text).name for text in BUILD} <= product
    assert product & dev == set()
    assert {"build", "mypy", "pytest", "ruff", "selenium", "twine", "uv"} <= dev


def test_dbt_is_tested_beside_the_pinned_dagster_and_duckdb() -> None:
    product, dbt = ({each.name: each.version for each in PINS[file]} for file in (PRODUCT, DBT))

    assert {name: dbt[name] for name in SAME_FOR_DBT} == {name: product[name] for name in SAME_FOR_DBT}
    assert {Requirement(text).name for text in PYPROJECT["dependency-groups"]["dbt"]} <= set(dbt)


def test_the_newest_entry_of_the_changelog_and_the_images_tag_are_of_this_version() -> None:
    versions = re.findall(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)

    assert versions[0] == PROJECT["version"]
    assert re.findall(r'tag: "(.+?)"', (ROOT / "docs" / "deployment.md").read_text()) == [PROJECT["version"]]
    assert versions == sorted(versions, key=Version, reverse=True)


def test_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", "")
    (phony,) = re.findall(r"^\.PHONY:(.*)$", makefile, flags=re.MULTILINE)
    shown = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout

    # test-in is what test-latest and test-lowest run
    targets = set(phony.split()) - {"help", "test-in"}
    assert sorted(re.findall(r"^make ([\w-]+)", shown, flags=re.MULTILINE)) == sorted(targets)
    assert set(re.findall(r"^([a-z][\w-]*):", makefile, flags=re.MULTILINE)) == set(phony.split())


def test_no_licence_is_claimed() -> None:
    assert {"license", "license-files"} & set(PROJECT) == set()
    assert [each for each in PROJECT["classifiers"] if each.startswith("License")] == []
    assert [path.name for path in ROOT.iterdir() if re.match(r"(?i)licen[cs]e|copying", path.name)] == []
    assert "No licence has been granted" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("limit", map(Requirement, PYPROJECT["tool"]["uv"]["constraint-dependencies"]), ids=str)
def test_pins_are_within_the_limits_for_uv(limit: Requirement) -> None:
    versions = [pin.version for pins in PINS.values() for pin in pins if pin.name == canonicalize_name(limit.name)]

    assert versions
    assert [version for version in versions if version not in limit.specifier] == []


def test_the_page_of_the_installation_has_the_pinned_versions() -> None:
    page = (ROOT / "docs/install.md").read_text()
    (product,) = re.findall(r"^\| the versions of .*$", page, flags=re.MULTILINE)
    (dbt,) = re.findall(r"^\| dbt \|.*$", page, flags=re.MULTILINE)
    pinned = {pin.name: str(pin.version) for pins in (PINS[DBT], PINS[PRODUCT]) for pin in pins}

    for row, title, name in (
        (product, "Dagster", "dagster"),
        (product, "dlt", "dlt"),
        (product, "DuckDB", "duckdb"),
        (dbt, "dbt", "dbt-core"),
    ):
        (shown,) = re.findall(rf"\b{title} ([\d.]+)", row)
        assert f"{pinned[name]}.".startswith(f"{shown}."), title


def test_the_page_of_the_installation_has_every_extra_and_the_oldest_versions() -> None:
    page = (ROOT / "docs/install.md").read_text()
    (oldest,) = re.findall(r"^\| the oldest .*$", page, flags=re.MULTILINE)
    bounds = {each.name: next(iter(each.specifier)).version for each in FOREIGN}

    cells = re.findall(r"^\| (`.+?`) \|", page, flags=re.MULTILINE)
    assert set(re.findall(r"`([\w-]+)`", " ".join(cells))) == set(EXTRAS)
    for title, name in (("Dagster", "dagster"), ("dlt", "dlt"), ("DuckDB", "duckdb")):
        assert f"{title} {bounds[name]}" in oldest


def test_any_newer_python_is_allowed() -> None:
    assert "3.20" in SpecifierSet(PROJECT["requires-python"])


def test_dagster_embedded_elt_has_the_objects_of_dagster_dlt() -> None:
    try:
        distribution("dagster-embedded-elt")
    except PackageNotFoundError:
        pytest.skip("dagster-embedded-elt is missing: its last release requires an older Dagster")
    embedded = import_module("dagster_embedded_elt.dlt")

    assert len(embedded.__all__) >= 4
    assert {name: getattr(embedded, name) for name in embedded.__all__} == {
        name: getattr(dagster_dlt, name) for name in embedded.__all__
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel of what is here, built without a download."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    for name in ("analytics_ingest", "analytics_ingest_tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    # what may lie in a checkout
    (source / ".dlt").mkdir()
    (source / ".dlt" / "secrets.toml").write_text("api_key = 'a key'")
    (source / "data").mkdir()
    (source / "data" / "analytics_ingest.duckdb").touch()
    build(source, folder / "dist")
    return folder / "dist"


def build(source: Path, target: Path) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"})


@pytest.mark.extended
def test_the_wheel_has_the_package_and_nothing_else(built: Path) -> None:
    (path,) = built.glob("*.whl")
    info = f"analytics_ingest-{PROJECT['version']}.dist-info"
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        declared = ConfigParser()
        declared.read_string(wheel.read(f"{info}/entry_points.txt").decode())
        metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())

    assert names - {
        f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt")
    } == {
        *MODULES,
        "analytics_ingest/py.typed",
    }
    assert {group: dict(declared[group]) for group in declared.sections()} == {
        "console_scripts": PROJECT["scripts"],
        **PROJECT["entry-points"],
    }
    assert (metadata["Version"], metadata["Requires-Python"]) == (PROJECT["version"], ">=3.11")
    assert set(metadata.get_all("Provides-Extra", [])) == set(EXTRAS)
    assert {"License", "License-Expression", "License-File"} & set(metadata) == set()


@pytest.mark.extended
def test_the_sdist_has_what_builds_the_wheel_and_no_tests(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        names = {member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()}

    written = {name for name in names if name.startswith("analytics_ingest.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    pages = {"CHANGELOG.md", "MANIFEST.in", "README.md", "SECURITY.md"}
    assert names - written == {*MODULES, *pages, "analytics_ingest/py.typed", "pyproject.toml", PRODUCT}


@pytest.mark.extended
def test_a_wheel_of_the_same_source_has_the_same_bytes(built: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("analytics_ingest-*")
    build(source, tmp_path / "again")

    (first,), (second,) = built.glob("*.whl"), (tmp_path / "again").glob("*.whl")
    assert first.read_bytes() == second.read_bytes()


def test_the_code_location_has_one_name_with_dg_and_with_dagster() -> None:
    dg = PYPROJECT["tool"]["dg"]["project"]
    (workspace,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]

    # the instance knows by this name which schedules are on
    assert dg["code_location_name"] == dg["code_location_target_module"] == workspace["python_module"]
