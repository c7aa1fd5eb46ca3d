"""Whether the tests that need Chromium can run."""

from __future__ import annotations

import shutil

import pytest


def require_browser() -> None:
    """Skips the module that calls it where Selenium, Chromium or its driver is missing."""
    pytest.importorskip("selenium", reason="selenium is missing: install the extra screenshots")
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            pytest.skip(f"{program} is missing: apt-get install chromium chromium-driver", allow_module_level=True)
