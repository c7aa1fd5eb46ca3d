"""A temporary folder of this process, and the removal of those of processes that are gone."""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from functools import cache
from pathlib import Path

PREFIX = "analytics_ingest-"
"""Start of the folder's name; the process's id follows."""


@cache
def process_folder() -> Path:
    """The temporary folder of this process, which is removed when the process ends.

    A killed process leaves its folder behind: folders of this user's processes that are gone are removed here.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and _is_gone(int(pid)) and _is_own(folder):
            shutil.rmtree(folder, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _is_gone(pid: int) -> bool:
    """Whether this machine has no process with the id; ``False`` if that is not certain."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False


def _is_own(folder: Path) -> bool:
    """Whether this user owns the folder, and it is no link."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
