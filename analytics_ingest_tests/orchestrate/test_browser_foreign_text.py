"""What an upstream writes, seen in Chromium: nothing of it is loaded, nothing of it is executed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from dagster import AssetKey, DagsterInstance

from analytics_ingest.sandbox.options import Fault
from analytics_ingest_tests.browser import require_browser
from analytics_ingest_tests.fake_server import FakeServer, Response

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from selenium.webdriver.remote.webdriver import WebDriver

    from analytics_ingest.sandbox.server import SandboxServer
    from analytics_ingest_tests.orchestrate.instance import RunningDagster

require_browser()

from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402 - skips without it
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

from analytics_ingest_tests.tools.screenshots import _browser  # noqa: E402

pytestmark = pytest.mark.extended

MARK = "written-upstream"
FOLDED = "//a[starts-with(normalize-space(), '[Show')] | //button[normalize-space()='View full message']"
"""Links and buttons that open a text in place. Others with similar names lead to other pages (*View Asset*)."""
WIPE = 'mutation{wipeAssets(assetPartitionRanges:[{assetKey:{path:["experimentation","users"]}}]){__typename}}'


@pytest.fixture
def canary(fake_server: Callable[..., FakeServer]) -> FakeServer:
    """A server that nothing may be requested of."""
    return fake_server(Response(status=404))


def open_all(driver: WebDriver, dagster: RunningDagster, path: str) -> tuple[list[str], set[str]]:
    """Opens a page and all that it folds away, once it shows the upstream's text; gives labels clicked, and images."""
    driver.get(dagster.url + path)
    WebDriverWait(driver, 60).until(lambda _: MARK in driver.find_element(By.TAG_NAME, "body").text)
    # an image that the page has by now is requested a moment later
    time.sleep(1)
    clicked, images = [], sources(driver)
    for place in range(len(driver.find_elements(By.XPATH, FOLDED))):
        # a click may replace the others
        found = driver.find_elements(By.XPATH, FOLDED)
        if place < len(found):
            clicked.append(found[place].text)
            driver.execute_script("arguments[0].click()", found[place])
            time.sleep(0.3)
            images |= sources(driver)
            ActionChains(driver).send_keys(Keys.ESCAPE).perform()
            time.sleep(0.1)
    return clicked, images


def sources(driver: WebDriver) -> set[str]:
    """Addresses of the images on the page, also of those that the page's security policy keeps from loading."""
    return set(driver.execute_script("return [...document.images].map(image => image.src)"))


def test_images_of_an_upstream_are_not_loaded_and_its_mutations_not_executed(
    tmp_path: Path,
    sandbox: SandboxServer,
    start_dagster: Callable[..., RunningDagster],
    monkeypatch: pytest.MonkeyPatch,
    canary: FakeServer,
) -> None:
    images = f"{MARK} ![x](/graphql?query={quote(WIPE)}) ![y]({canary.url}/image.png) <img src='{canary.url}/tag.png'>"
    for tag in sandbox.world.collection("experimentation", "tags"):
        tag["name"] = images
    sandbox.options.faults = [Fault(api="experimentation", path="^/v1/gates$", status=403, body=images)]
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__SAMPLE_ROWS", "5")
    with (tmp_path / "dagster_home" / "dagster.yaml").open("a") as settings:
        # Dagster's welcome covers each page
        settings.write("nux:\n  enabled: false\n")
    # the daemon launches what is queued
    dagster = start_dagster(daemon=True)
    run = dagster.launch(
        "experimentation_sync", assets=[f"experimentation/{each}" for each in ("gates", "tags", "users")]
    )
    assert dagster.ended(run)["status"] == "FAILURE"

    with _browser(tmp_path) as driver:
        driver.set_window_size(1600, 3000)
        clicked, shown = open_all(driver, dagster, f"/runs/{run}")
        for path in ("tags", "tags?view=events", "gates?view=events"):
            labels, found = open_all(driver, dagster, f"/assets/experimentation/{path}")
            clicked += labels
            shown |= found

    assert any(label.startswith("[Show") for label in clicked), clicked
    assert "View full message" in clicked
    assert [source for source in shown if "graphql" in source or source.startswith(canary.url)] == []
    assert canary.asked == []
    with DagsterInstance.get() as instance:
        for name in ("users", "tags"):
            assert instance.get_latest_materialization_event(AssetKey(["experimentation", name]))
