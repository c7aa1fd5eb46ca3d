"""Processes that hold a lock or a DuckDB file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]


@pytest.fixture
def holder() -> Iterator[Callable[[str, Path | str], subprocess.Popen[str]]]:
    """Starts processes: ``holder(kind, what)`` gives one that holds it by now (see the module ``holder``)."""
    started: list[subprocess.Popen[str]] = []

    def start(kind: str, what: Path | str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "analytics_ingest_tests.warehouse.holder", kind, str(what)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "holding\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
