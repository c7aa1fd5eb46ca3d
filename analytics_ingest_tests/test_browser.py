"""The UI as a person uses it: buttons, runs, graphs, an asset's page and its checks, in Chromium."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.sandbox.world import World
from analytics_ingest_tests.browser import require_browser
from analytics_ingest_tests.conftest import SCALE

require_browser()
pytestmark = pytest.mark.extended


def test_asset_page_shows_the_rows_of_the_sandbox_and_pictures_are_made(tmp_path: Path) -> None:
    from analytics_ingest_tests.tools.screenshots import (
        ACCOUNT,
        API,
        ASSET,
        DENSITY,
        FOUND,
        HOURS,
        WIDTH,
        take_screenshots,
    )

    out, folder = tmp_path / "images", tmp_path / "work"
    folder.mkdir()
    said = take_screenshots(out, folder, World(scale=SCALE), syncs=2)
    first, second = said.syncs

    world = World(scale=SCALE)
    rows = len(world.expected(API, ASSET))
    assert (first.row_count, first.rows_read) == (rows, rows)
    assert set(APIS[API].by_name[ASSET].primary_key) < set(first.columns)
    gone = world.advance(HOURS).as_dict()[API][ASSET]["removed"]
    rows = len(world.expected(API, ASSET))
    # what is gone upstream stays in the table, and does not count
    assert gone > 0
    assert (second.row_count, second.rows_read) == (rows, rows)
    assert said.accounts.keys() == {API, ACCOUNT}
    assert all(set(assets) == set(FOUND) for assets in said.accounts.values())
    assert re.fullmatch(
        r"passed: last found equal to the API \d{4}-\d\d-\d\d \d\d:\d\d UTC", said.check["same_as_upstream"]
    )
    assert said.check["key_unique"].startswith("passed: each row has a key (gate_id, id) of its own")
    assert (said.check["rows"], said.check["rows_that_differ"]) == (str(rows), "0")
    for name in ("lineage.png", "accounts.png", "asset.png", "plots.png", "checks.png"):
        picture = (out / name).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert struct.unpack(">I", picture[16:20]) == (WIDTH * DENSITY,)
        assert 20_000 < len(picture) < 300_000, name
