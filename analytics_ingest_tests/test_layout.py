"""The layout of the package: a module is found by its name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import analytics_ingest

PACKAGE = Path(analytics_ingest.__file__).parent


def test_no_module_name_occurs_in_two_packages() -> None:
    names = Counter(path.stem for path in PACKAGE.rglob("*.py") if not path.stem.startswith("__"))

    assert len(names) > 100
    assert [name for name, count in names.items() if count > 1] == []
