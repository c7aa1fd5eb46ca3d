"""Where the project is, which has the default warehouse and ``.dlt``, whichever directory a process is started in."""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path

from dlt.common.configuration.container import Container
from dlt.common.configuration.providers.toml import SettingsTomlProvider
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.known_env import DLT_PROJECT_DIR
from dlt.common.runtime.run_context import DOT_DLT

LOG = logging.getLogger(__name__)
DAGSTER_HOME = "DAGSTER_HOME"
"""Dagster's setting of the folder of its instance."""
MARKERS = ("pyproject.toml", "workspace.yaml")
"""Files that the folder of a project has."""


def project_folder() -> Path:
    """The folder of the project, absolute.

    It is ``DAGSTER_HOME``; without that the nearest of the working directory and its parents that has one of
    ``MARKERS`` or dlt's settings; without that the working directory.
    """
    if home := os.environ.get(DAGSTER_HOME, "").strip():
        # as Dagster does it, whose environment this is
        return Path(os.path.expanduser(home)).absolute()  # noqa: PTH111
    here = Path.cwd()
    return next((each for each in (here, *here.parents) if _is_project(each)), here)


def find_default(path: Path) -> Path:
    """Where a file or folder is that no setting names: in the project, or below the working directory.

    The latter if it exists there only, as former versions created it there.

    Args:
        path: The path within the project.
    """
    in_project, here = project_folder() / path, Path.cwd() / path
    return here if _exists(here) and not _exists(in_project) else in_project


def describe_ambiguity(path: Path, *, settings: str, movable: bool = True) -> str:
    """A warning if what ``find_default`` gives depends on the working directory; else empty.

    Args:
        path: The path within the project.
        settings: The settings that name another path.
        movable: Whether it can be moved to the project.
    """
    in_project, here = project_folder() / path, Path.cwd() / path
    if not _exists(here) or here.resolve() == in_project.resolve():
        return ""
    if _exists(in_project):
        return f"{in_project} is used and {here} is not: remove the wrong one, or set {settings}"
    return (
        f"{here} is used because {in_project} does not exist, so another working directory would have another "
        f"warehouse: {'move it there while no sync runs, or ' if movable else ''}set {settings}"
    )


def read_project_settings() -> None:
    """Has dlt read ``.dlt`` of the project if there is one, from now on, in this process and those that it starts.

    ``DLT_PROJECT_DIR`` takes precedence. dlt itself reads ``.dlt`` of the working directory.
    """
    if os.environ.get(DLT_PROJECT_DIR):
        return
    folder = _settings_folder(os.environ.get(DAGSTER_HOME, ""), os.getcwd())  # noqa: PTH109 - called for each setting
    if folder is None:
        return
    os.environ[DLT_PROJECT_DIR] = str(folder)
    if PluggableRunContext in Container():
        context = Container()[PluggableRunContext]
        # no other provider: the project may have registered its own
        for provider in context.context.initial_providers():
            if isinstance(provider, SettingsTomlProvider):
                context.providers[provider.name] = provider


@cache
def _settings_folder(home: str, directory: str) -> Path | None:  # noqa: ARG001 - what the project depends on
    """The project, if it has settings and is not the working directory. Logs which settings of the two are read."""
    project, here = project_folder(), Path(directory)
    if project.resolve() == here.resolve():
        return None
    if not _has_settings(project):
        if _has_settings(here):
            # no warning: dlt's own rule, and an instance in a folder of its own is common
            LOG.info(
                f"{here / DOT_DLT} is read because {project} has no {DOT_DLT}, so another working directory would have "
                f"other settings: move it there, or set {DLT_PROJECT_DIR}={here}"
            )
        return None
    if _has_settings(here):
        LOG.warning(
            f"{project / DOT_DLT} is read and {here / DOT_DLT} is not: remove one of them, or set {DLT_PROJECT_DIR} to "
            "the folder of the right one"
        )
    return project


def _is_project(folder: Path) -> bool:
    return any(_exists(folder / marker) for marker in MARKERS) or _has_settings(folder)


def _has_settings(folder: Path) -> bool:
    # the user's folder of this name has dlt's pipelines, and settings for all projects
    return _exists(folder / DOT_DLT) and str(folder) != os.path.expanduser("~")  # noqa: PTH111 - there may be none


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        # in a folder of another user
        return False
