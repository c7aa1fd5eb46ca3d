"""Constraints files as uv writes them from packages in a folder: hashes, the split by purpose, upgrades, releases."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from packaging.version import Version

from analytics_ingest_tests.tools.pins import DBT, DEV, PRODUCT, PinsError, outdated, read_pins, write

# make test-latest and make test-lowest have no uv
pytestmark = pytest.mark.extended

PYPROJECT = """
[build-system]
requires = ["setuptools>=1"]

[project]
name = "analytics-ingest"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["base>=1"]

[project.optional-dependencies]
celery = []
lake = []
postgres = []
production = ["server"]
sandbox = []
dev = ["linter", "plugin"]

[dependency-groups]
dbt = ["dbt"]

[tool.uv]
constraint-dependencies = ["linter<3"]
"""
PACKAGES: dict[str, dict[str, list[str]]] = {
    "base": {"1.0": ["mac-only; sys_platform == 'darwin'"], "2.0": []},
    "dagster": {"1.0": [], "2.0": []},
    "dbt": {"1.0": ["dagster", "duckdb"]},
    "duckdb": {"1.0": [], "2.0": []},
    "linter": {"1.0": ["dagster==1.0"], "2.0": ["dagster==1.0"], "3.0": []},
    "mac-only": {"1.0": []},
    "plugin": {"1.0": ["dagster==1.0"]},
    "server": {"1.0": ["dagster", "duckdb"]},
    "setuptools": {"1.0": []},
}
"""By package and version what it requires."""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index in a folder, the only place where uv finds packages."""
    for name in [name for name in os.environ if name.startswith("UV_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_DEFAULT_INDEX", (tmp_path / "index").as_uri())
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    return tmp_path / "index"


def add_wheel(index: Path, name: str, version: str, requires: list[str]) -> None:
    stem = f"{name.replace('-', '_')}-{version}"
    requirements = "".join(f"Requires-Dist: {each}\n" for each in requires)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requirements}"
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(zipfile.ZipInfo(f"{stem}.dist-info/METADATA"), metadata)
        wheel.writestr(zipfile.ZipInfo(f"{stem}.dist-info/WHEEL"), "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(zipfile.ZipInfo(f"{stem}.dist-info/RECORD"), "")
    links = (f'<a href="{path.name}#sha256={sha256(path)}">{path.name}</a>' for path in sorted(folder.glob("*.whl")))
    (folder / "index.html").write_text("<!DOCTYPE html>" + "".join(links))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def pinned_project(tmp_path: Path, index: Path) -> Path:
    """A project whose pins are the first version of each package; the others appeared later."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PYPROJECT)
    for name in (PRODUCT, DEV, DBT):
        (folder / name).touch()
    for name, versions in PACKAGES.items():
        add_wheel(index, name, "1.0", versions["1.0"])
    write(root=folder)
    for name, versions in PACKAGES.items():
        for version, requires in versions.items():
            add_wheel(index, name, version, requires)
    shutil.rmtree(index.parent / "cache")
    return folder


def pinned(project: Path, file: str) -> dict[str, str]:
    return {pin.name: str(pin.version) for pin in read_pins((project / file).read_text())}


def test_pins_are_split_by_purpose_and_have_hashes(pinned_project: Path, index: Path) -> None:
    assert pinned(pinned_project, PRODUCT) == {
        "base": "1.0",
        "dagster": "1.0",
        "duckdb": "1.0",
        "mac-only": "1.0",
        "server": "1.0",
        "setuptools": "1.0",
    }
    assert pinned(pinned_project, DEV) == {"linter": "1.0", "plugin": "1.0"}
    assert pinned(pinned_project, DBT) == {"dagster": "1.0", "dbt": "1.0", "duckdb": "1.0"}
    linter, _ = read_pins((pinned_project / DEV).read_text())
    assert linter.hashes == [sha256(index / "linter" / "linter-1.0-py3-none-any.whl")]
    marked = {pin.name: str(pin.requirement.marker) for pin in read_pins((pinned_project / PRODUCT).read_text())}
    assert marked["mac-only"] == 'sys_platform == "darwin"'
    assert str(index) not in "".join((pinned_project / file).read_text() for file in (PRODUCT, DEV, DBT))


def test_newer_releases_leave_pins_alone(pinned_project: Path) -> None:
    before = {file: (pinned_project / file).stat() for file in (PRODUCT, DEV, DBT)}

    write(root=pinned_project)

    # an unchanged file is not written: make would build .venv again
    assert {file: (pinned_project / file).stat().st_mtime_ns for file in before} == {
        file: stat.st_mtime_ns for file, stat in before.items()
    }


def test_an_upgrade_takes_the_newest_that_resolve_together(pinned_project: Path) -> None:
    write(upgrade=True, root=pinned_project)

    # pyproject.toml does not allow linter 3, and plugin not dagster 2
    assert pinned(pinned_project, DEV) == {"linter": "2.0", "plugin": "1.0"}
    assert pinned(pinned_project, PRODUCT) == {
        "base": "2.0",
        "dagster": "1.0",
        "duckdb": "2.0",
        "server": "1.0",
        "setuptools": "1.0",
    }
    assert pinned(pinned_project, DBT) == {"dagster": "1.0", "dbt": "1.0", "duckdb": "2.0"}


def test_what_is_outdated_names_what_holds_it_back(pinned_project: Path) -> None:
    write(upgrade=True, root=pinned_project)
    packages = pinned_project / ".venv" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    for wheel in [*pinned_project.parent.rglob("linter-2.0*.whl"), *pinned_project.parent.rglob("plugin-*.whl")]:
        zipfile.ZipFile(wheel).extractall(packages)

    found = outdated((PRODUCT, DEV), pinned_project / ".venv", pinned_project)

    assert [(each.pin.name, each.newest, each.held_by) for each in found] == [
        # linter does not allow it either, but has a newer release itself
        ("dagster", Version("2.0"), ["plugin (==1.0)"]),
        ("linter", Version("3.0"), ["pyproject.toml (<3)"]),
    ]


def test_what_does_not_resolve_leaves_the_files_alone(pinned_project: Path) -> None:
    before = (pinned_project / PRODUCT).read_text()
    (pinned_project / "pyproject.toml").write_text(PYPROJECT.replace("base>=1", "base>=9"))

    with pytest.raises(PinsError, match=r"base>=9"):
        write(root=pinned_project)

    assert (pinned_project / PRODUCT).read_text() == before
