"""The SQL texts of a page in docs/, by the heading above them, and syncs at a time that a page names."""

from __future__ import annotations

import re
from datetime import datetime
from types import SimpleNamespace

import pytest

from analytics_ingest.extract import endpoint_reader
from analytics_ingest.sync import api_sync
from analytics_ingest_tests.conftest import ROOT

DOCS = ROOT / "docs"


def queries_of(name: str) -> dict[str, str]:
    """The SQL texts of a page by the heading above them; a heading has one of them at most."""
    found = [
        (heading.splitlines()[0], sql)
        for heading in re.split(r"^##+ ", (DOCS / name).read_text(), flags=re.MULTILINE)
        for sql in re.findall(r"^```sql\n(.*?)^```", heading, flags=re.MULTILINE | re.DOTALL)
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def start_at(patch: pytest.MonkeyPatch, moment: datetime) -> None:
    """Has syncs start and read at a time."""
    clock = SimpleNamespace(now=lambda _: moment, fromisoformat=datetime.fromisoformat)
    patch.setattr(api_sync, "datetime", clock)
    patch.setattr(endpoint_reader, "datetime", clock)
