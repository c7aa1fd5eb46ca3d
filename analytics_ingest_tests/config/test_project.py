"""Where the project is: its default warehouse and its ``.dlt`` do not depend on the working directory."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.providers.toml import StringTomlProvider
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

from analytics_ingest.apis.registry import APIS
from analytics_ingest.config.accounts import find_accounts
from analytics_ingest.config.lookup import found_settings, lookup
from analytics_ingest.config.project import describe_ambiguity, find_default, project_folder, read_project_settings

API = APIS["experimentation"]
FILE = Path("data") / "analytics_ingest.duckdb"
SETTING = "DESTINATION__DUCKDB__CREDENTIALS"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder in ``DAGSTER_HOME``."""
    return tmp_path / "dagster_home"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, in another folder."""
    folder = tmp_path / "work" / "here"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def fresh_dlt(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """dlt as at the start of a process: it has read no settings, and its folder is not set."""
    monkeypatch.setenv("DLT_PROJECT_DIR", "")
    monkeypatch.delenv("DLT_PROJECT_DIR")
    container = Container()
    before = container[PluggableRunContext]
    del container[PluggableRunContext]
    yield
    container[PluggableRunContext] = before


def write_settings(folder: Path, max_pages: int) -> None:
    (folder / ".dlt").mkdir(exist_ok=True)
    (folder / ".dlt" / "config.toml").write_text(f"[sources.experimentation]\nmax_pages = {max_pages}\n")


def create(folder: Path) -> Path:
    file = folder / FILE
    file.parent.mkdir()
    file.touch()
    return file


def test_project_is_the_folder_of_the_dagster_instance(home: Path, here: Path) -> None:
    (here / "pyproject.toml").touch()

    assert project_folder() == home


@pytest.mark.parametrize("marker", ["pyproject.toml", "workspace.yaml", ".dlt"])
def test_project_is_the_nearest_parent_with_a_marker(
    tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch, marker: str
) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    (tmp_path / "pyproject.toml").touch()
    (here.parent / marker).mkdir()
    assert project_folder() == here.parent
    (here / marker).mkdir()
    assert project_folder() == here


def test_project_without_a_marker_is_the_working_directory(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", " ")
    # dlt's own folder of a user is no marker
    monkeypatch.setenv("HOME", str(here.parent))
    (here.parent / ".dlt").mkdir()

    assert project_folder() == here


def test_default_file_is_in_the_project(home: Path, here: Path) -> None:
    assert find_default(FILE) == home / FILE
    assert describe_ambiguity(FILE, settings=SETTING) == ""
    create(home)
    assert find_default(FILE) == home / FILE
    assert describe_ambiguity(FILE, settings=SETTING) == ""


def test_file_below_the_working_directory_stays_in_use(home: Path, here: Path) -> None:
    file = create(here)

    assert find_default(FILE) == file
    assert describe_ambiguity(FILE, settings=SETTING) == (
        f"{file} is used because {home / FILE} does not exist, so another working directory would have another "
        f"warehouse: move it there while no sync runs, or set {SETTING}"
    )


def test_default_that_cannot_be_moved(home: Path, here: Path) -> None:
    create(here)

    assert describe_ambiguity(FILE, settings=SETTING, movable=False).endswith(f"another warehouse: set {SETTING}")


def test_of_two_files_that_of_the_project_is_used(home: Path, here: Path) -> None:
    file, other = create(home), create(here)

    assert find_default(FILE) == file
    assert describe_ambiguity(FILE, settings=SETTING) == (
        f"{file} is used and {other} is not: remove the wrong one, or set {SETTING}"
    )


def test_link_to_the_working_directory_is_the_same_project(
    tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(here)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "link"))
    create(here)

    assert find_default(FILE) == tmp_path / "link" / FILE
    assert describe_ambiguity(FILE, settings=SETTING) == ""


def test_settings_of_the_project_are_read_from_any_directory(home: Path, here: Path, fresh_dlt: None) -> None:
    write_settings(home, 1)

    assert lookup(API, "max_pages") == 1
    assert [each.value for each in found_settings() if each.variable == "SOURCES__EXPERIMENTATION__MAX_PAGES"] == [1]
    # for the processes of a run
    assert os.environ["DLT_PROJECT_DIR"] == str(home)


def test_accounts_of_the_project_are_found_from_any_directory(home: Path, here: Path, fresh_dlt: None) -> None:
    (home / ".dlt").mkdir()
    (home / ".dlt" / "config.toml").write_text('[sources.statsig_eu]\napi = "experimentation"\n')

    assert set(find_accounts()[0]) == {*APIS, "statsig_eu"}


def test_settings_of_the_project_are_read_below_it(
    here: Path, fresh_dlt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    write_settings(here.parent, 2)

    assert lookup(API, "max_pages") == 2


def test_settings_in_the_working_directory_stay_in_use(
    home: Path, here: Path, fresh_dlt: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="analytics_ingest.config.project")
    write_settings(here, 3)

    assert [lookup(API, "max_pages") for _ in range(2)] == [3, 3]
    [line] = caplog.messages
    assert line == (
        f"{here / '.dlt'} is read because {home} has no .dlt, so another working directory would have other settings: "
        f"move it there, or set DLT_PROJECT_DIR={here}"
    )
    assert "DLT_PROJECT_DIR" not in os.environ


def test_of_two_folders_of_settings_that_of_the_project_is_read(
    home: Path, here: Path, fresh_dlt: None, caplog: pytest.LogCaptureFixture
) -> None:
    write_settings(home, 4)
    write_settings(here, 5)

    assert lookup(API, "max_pages") == 4
    [warning] = caplog.messages
    assert warning == (
        f"{home / '.dlt'} is read and {here / '.dlt'} is not: remove one of them, or set DLT_PROJECT_DIR to the folder "
        "of the right one"
    )


def test_folder_that_dlt_is_told_wins(
    home: Path, here: Path, fresh_dlt: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_settings(home, 6)
    write_settings(here, 7)
    monkeypatch.setenv("DLT_PROJECT_DIR", str(here))

    assert lookup(API, "max_pages") == 7
    assert caplog.messages == []


def test_dlt_that_has_read_settings_before_reads_those_of_the_project(
    home: Path, here: Path, fresh_dlt: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    own = StringTomlProvider('[sources.experimentation]\nlookback = "own"\n')
    Container()[PluggableRunContext].providers.add_provider(own)
    write_settings(home, 8)
    read_project_settings()

    assert lookup(API, "max_pages") == 8
    # of the code that this package runs in
    assert lookup(API, "lookback") == "own"
