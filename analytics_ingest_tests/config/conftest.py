"""Files of settings that a test writes, and settings that it declares in code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext


@pytest.fixture
def fresh_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose ``.dlt`` is read, as at the start of a process."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dlt").mkdir()
    container = Container()
    before = container[PluggableRunContext]
    del container[PluggableRunContext]
    yield tmp_path / ".dlt"
    container[PluggableRunContext] = before
