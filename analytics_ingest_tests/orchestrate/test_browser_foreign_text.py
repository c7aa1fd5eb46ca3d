"""What an upstream writes, seen in Chromium: nothing of it is loaded, nothing of it is executed."""

from __future__ import annotations

import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from dagster import AssetKey, DagsterInstance

from analytics_ingest.sandbox.options import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from analytics_ingest.sandbox.server import SandboxServer
    from analytics_ingest_tests.orchestrate.instance import RunningDagster

pytest.importorskip("selenium", reason="selenium is missing: install the extra screenshots")
for program in ("chromium", "chromedriver"):
    if not shutil.which(program):
        pytest.skip(f"{program} is missing: apt-get install chromium chromium-driver", allow_module_level=True)

WIPE = 'mutation{wipeAssets(assetPartitionRanges:[{assetKey:{path:["experimentation","users"]}}]){__typename}}'


class Canary:
    """A server that notes what is requested of it."""

    def __init__(self) -> None:
        self.requested: list[str] = []
        canary = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                canary.requested.append(self.path)
                self.send_response(404)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


def test_images_of_an_upstream_are_not_loaded_and_its_mutations_not_executed(
    tmp_path: Path,
    sandbox: SandboxServer,
    start_dagster: Callable[..., RunningDagster],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from selenium.webdriver.common.by import By

    from analytics_ingest_tests.screenshots import _browser

    canary = Canary()
    images = f"![x](/graphql?query={quote(WIPE)}) ![y]({canary.url}/image.png) <img src='{canary.url}/tag.png'>"
    for tag in sandbox.world.collection("experimentation", "tags"):
        tag["name"] = images
    sandbox.options.faults = [Fault(api="experimentation", path="^/v1/gates$", status=403, body=images)]
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__SAMPLE_ROWS", "5")
    dagster = start_dagster()
    run = dagster.launch(
        "experimentation_sync", assets=[f"experimentation/{each}" for each in ("gates", "tags", "users")]
    )
    assert dagster.ended(run)["status"] == "FAILURE"

    with _browser(tmp_path) as driver:
        for path in (f"/runs/{run}", "/assets/experimentation/tags", "/assets/experimentation/gates?view=events"):
            driver.get(dagster.url + path)
            until = time.monotonic() + 60
            while "experimentation" not in driver.find_element(By.TAG_NAME, "body").text and time.monotonic() < until:
                time.sleep(0.5)
            for _ in range(3):
                for text in ("Show", "View full message", "View"):
                    for button in driver.find_elements(
                        By.XPATH, f"//*[self::button or self::a][starts-with(., '{text}')]"
                    ):
                        try:
                            button.click()
                        except Exception:  # noqa: BLE001, S112 - covered by what the click before opened
                            continue
                        time.sleep(0.5)
            sources = [image.get_attribute("src") or "" for image in driver.find_elements(By.TAG_NAME, "img")]
            assert not [source for source in sources if "graphql" in source or canary.url in source]

    assert canary.requested == []
    with DagsterInstance.get() as instance:
        for name in ("users", "tags"):
            assert instance.get_latest_materialization_event(AssetKey(["experimentation", name]))
    canary.server.shutdown()
