"""The README says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from analytics_ingest.extract.settings import Settings

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_every_setting_is_listed_with_its_default() -> None:
    listed = dict(re.findall(r"^\| `([A-Z_]+)` \| ?(.*?) ?\|", README, flags=re.MULTILINE))
    shown = {True: "true", (): "none", None: "none"}
    expected = {
        name.upper(): "" if field.is_required() else shown.get(field.default, str(field.default))
        for name, field in Settings.model_fields.items()
    }

    assert listed == expected


def test_every_file_that_is_named_is_there() -> None:
    root = Path(__file__).parents[1]
    named = re.findall(r"\]\((?!http)([^)]+)\)", README) + re.findall(
        r"^  (\w+(?:\.py|/)) ", README, flags=re.MULTILINE
    )

    assert named
    for name in named:
        assert (root / name).exists() or (root / "analytics_ingest" / name).exists(), name
