"""The UI as a person uses it: buttons, runs, graph and an asset's page, in Chromium."""

from __future__ import annotations

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
    from analytics_ingest_tests.tools.screenshots import API, ASSET, DENSITY, HOURS, WIDTH, take_screenshots

    out, folder = tmp_path / "images", tmp_path / "work"
    folder.mkdir()
    first, second = take_screenshots(out, folder, World(scale=SCALE), syncs=2)

    world = World(scale=SCALE)
    rows = len(world.expected(API, ASSET))
    assert (first.row_count, first.rows_read) == (rows, rows)
    assert set(APIS[API].by_name[ASSET].primary_key) < set(first.columns)
    gone = world.advance(HOURS).as_dict()[API][ASSET]["removed"]
    rows = len(world.expected(API, ASSET))
    # what is gone upstream stays in the table, and does not count
    assert gone > 0
    assert (second.row_count, second.rows_read) == (rows, rows)
    for name in ("lineage.png", "asset.png", "plots.png"):
        picture = (out / name).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert struct.unpack(">I", picture[16:20]) == (WIDTH * DENSITY,)
        assert 20_000 < len(picture) < 300_000, name
