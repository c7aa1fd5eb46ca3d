"""Makes the README's pictures with the real Dagster UI: materialises the sandbox's APIs by its buttons, in Chromium.

Chromium and chromedriver are found on the path. Everything else is fresh: sandbox, DuckDB file, Dagster instance.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from selenium import webdriver
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from analytics_ingest.apis.registry import APIS
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sandbox.world import World
from analytics_ingest_tests.orchestrate.instance import LOCATION, RunningDagster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
GRAPH = "continuous_integration"
"""The API whose graph is pictured: four levels, and few enough assets to read their names at the README's width."""
API, ASSET = "experimentation", "gates_rules"
"""The asset that is pictured: its rows appear, change and vanish every day."""
FACETS = {"Asset checks", "Status"}
"""What the graph's nodes show beside their name: all of them together fit the window then."""
SCALE, HOURS = 0.3, 24
"""The sandbox's amount of data, and the hours that pass in it between two syncs."""
WIDTH, HEIGHT, DENSITY = 1280, 800, 1.25
"""The window, and pixels of a picture per pixel of the window: text stays large at the README's width."""
TALL = 880
"""Height of the window for the asset's page: the whole key is among its columns, and plots are cut off nowhere."""
PATIENCE = 120
"""Seconds that a page may take to show what is expected, a run included."""
FOREIGN = ("ANALYTICS_INGEST_", "DESTINATION__", "DLT_", "SOURCES__")
GROUPS = f"locations/__repository__@{LOCATION}/asset-groups/"
ENDED = "//div[text()='Success' or text()='Failure' or text()='Canceled']"
MESSAGE = "//*[@data-sonner-toast or contains(@role, 'dialog') or @aria-label='warning' or @aria-label='error']"


class ScreenshotError(RuntimeError):
    """A step did not succeed. The message says which, and what the page showed."""


@dataclass(frozen=True)
class Shown:
    """What the asset's page said after a sync: rows in the table, rows read by the sync, names of the columns."""

    row_count: int
    rows_read: int
    columns: list[str]


class Page:
    """The UI in a browser. Each method waits until it can do its part, or fails with what there was to see."""

    def __init__(self, driver: webdriver.Chrome, url: str, folder: Path) -> None:
        self.driver = driver
        self.url = url
        self.folder = folder

    def open(self, path: str, *, height: int = HEIGHT) -> None:
        """Opens a page by its path, in a window of some height."""
        size = {"width": WIDTH, "height": height, "deviceScaleFactor": DENSITY, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(f"{self.url}/{path}")

    def text(self) -> str:
        """What the page says."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def wait(self, what: str, condition: Callable[[], Any]) -> Any:
        """Asks until there is an answer that counts as true, and gives it."""
        # what is not there yet, or covered, or just being replaced, is an exception
        waiting = WebDriverWait(self.driver, PATIENCE, poll_frequency=0.25, ignored_exceptions=[WebDriverException])
        try:
            return waiting.until(lambda _: condition())
        except TimeoutException:
            raise self.failure(f"{what}: not within {PATIENCE} s") from None

    def click(self, what: str, xpath: str) -> None:
        """Clicks once what is there and nothing covers it."""

        def clicked() -> bool:
            self.driver.find_element(By.XPATH, xpath).click()
            return True

        self.wait(what, clicked)

    def point(self, x: float, y: float, *, double_click: bool = False) -> None:
        """Moves the mouse to a place in the window, and double-clicks there if asked to."""
        actions = ActionBuilder(self.driver)
        actions.pointer_action.move_to_location(int(x), int(y))
        if double_click:
            actions.pointer_action.double_click()
        actions.perform()

    def settled(self, what: str) -> bytes:
        """A picture of the page, once it stands still."""
        last = b""

        def still() -> bool:
            nonlocal last
            before, last = last, self.driver.get_screenshot_as_png()
            return last == before

        self.wait(f"{what}: the page stands still", still)
        return last

    def picture(self, file: Path) -> None:
        """Writes a picture of the page, once nothing is in the way."""
        self.point(1, HEIGHT - 1)
        self.wait(f"{file.name}: no message on the page", lambda: not self.driver.find_elements(By.XPATH, MESSAGE))
        file.write_bytes(self.settled(file.name))

    def failure(self, step: str) -> ScreenshotError:
        """The error for a step, with a picture of the page in the temporary folder."""
        file = self.folder / "failure.png"
        self.driver.save_screenshot(str(file))
        return ScreenshotError(f"{step}\n{self.driver.current_url} showed (see {file}):\n{self.text()[:3000]}")


def take_screenshots(out: Path, folder: Path, world: World, *, syncs: int = 3) -> list[Shown]:
    """Makes ``lineage.png``, ``asset.png`` and ``plots.png`` in ``out``, and gives what the asset's page said.

    Args:
        out: Where the pictures go.
        folder: An empty folder for Dagster's files, the DuckDB file and the browser's profile.
        world: What the sandbox serves; time passes in it between two syncs.
        syncs: How often the pictured asset is synced.

    Raises:
        ScreenshotError: A step did not succeed.
    """
    out.mkdir(parents=True, exist_ok=True)
    with _browser(folder) as driver, SandboxServer(world) as server, _dagster(folder, server) as url:
        page = Page(driver, url, folder)
        _materialize(page, GRAPH, API)
        _show_graph(page, GRAPH)
        page.picture(out / "lineage.png")
        shown = [_look(page)]
        while len(shown) < syncs:
            world.advance(HOURS)
            _materialize(page, API)
            shown.append(_look(page))
        page.picture(out / "asset.png")
        _show_plots(page)
        page.picture(out / "plots.png")
    return shown


def _materialize(page: Page, *apis: str) -> None:
    """Presses the button of each API's group, and follows the runs to their ends."""
    runs = {}
    for api in apis:
        page.open(GROUPS + api)
        page.click(f"{api}: press Materialize all", "//button[normalize-space()='Materialize all']")
        page.click(f"{api}: go to the run that was launched", "//*[@data-sonner-toast]//a[normalize-space()='View']")
        runs[api] = page.wait(f"{api}: the run's page", lambda: re.search(r"runs/.+", page.driver.current_url))[0]
    for api, run in runs.items():
        page.open(run)
        status = page.wait(f"{api}: end of the run", lambda: page.driver.find_element(By.XPATH, ENDED).text)
        if status != "Success":
            raise page.failure(f"{api}: the run ended with {status}")


def _show_graph(page: Page, api: str) -> None:
    """Brings all of an API's assets into view, by the same buttons as anybody would."""
    page.open(GROUPS + api)
    page.click("make room: hide the navigation", "//button[normalize-space()='Hide navigation']")
    page.click("choose what the nodes show", "//button[.//*[@aria-label='config']]")
    for label in page.wait("facets", lambda: page.driver.find_elements(By.XPATH, "//*[@role='dialog']//label")):
        if label.find_element(By.TAG_NAME, "input").is_selected() != (label.text.strip() in FACETS):
            label.click()
    page.click("save what the nodes show", "//*[@role='dialog']//button[normalize-space()='Save']")
    page.open(GROUPS + api)
    graph = page.wait("the graph", lambda: page.driver.find_element(By.XPATH, "//*[@data-svg-viewport]").rect)
    names = {endpoint.name for endpoint in APIS[api].endpoints}

    def whole() -> bool:
        page.settled("the graph")
        # beside the nodes, a double-click fits the graph into the window
        page.point(graph["x"] + 10, HEIGHT - 10, double_click=True)
        page.settled("the graph")
        return names <= {
            node.text.split("\n")[0]
            for node in page.driver.find_elements(By.TAG_NAME, "foreignObject")
            if "\nMaterialized\n" in node.text
            and graph["y"] < node.rect["y"] < HEIGHT - node.rect["height"]
            and node.rect["x"] < WIDTH - node.rect["width"]
        }

    page.wait(f"{api}: all {len(names)} assets in view, each Materialized", whole)


def _look(page: Page) -> Shown:
    """Reads the asset's page."""
    page.open(f"assets/{API}/{ASSET}", height=TALL)

    def numbers() -> list[int] | None:
        found = re.findall(r"\n(?:Row count|rows_read\n.+)\n([\d,]+)(?=\n)", page.text())
        return [int(each.replace(",", "")) for each in found] if len(found) == 2 else None

    row_count, rows_read = page.wait(f"{ASSET}: row count and rows_read", numbers)
    cells = "//table[.//td[normalize-space()='Column name']]/tbody/tr/td[1]"
    columns = page.wait("columns", lambda: [cell.text for cell in page.driver.find_elements(By.XPATH, cells)])
    return Shown(row_count, rows_read, columns)


def _show_plots(page: Page) -> None:
    """Turns the metadata from a table into plots, and scrolls to the first of them."""
    page.click(f"{ASSET}: press Plots", "//button[normalize-space()='Plots']")
    plot = page.wait("the first plot", lambda: page.driver.find_element(By.XPATH, "//*[text()='dagster/row_count']"))
    page.driver.execute_script("arguments[0].style.scrollMarginTop = '20px'; arguments[0].scrollIntoView()", plot)


class _Dagster(RunningDagster):
    def wait_for(self, *arguments: Any, **options: Any) -> Any:
        """Waits as ever, and leaves no process behind if it was in vain."""
        try:
            return super().wait_for(*arguments, **options)
        except AssertionError as error:
            self.stop()
            raise ScreenshotError(str(error)) from None


@contextmanager
def _dagster(folder: Path, server: SandboxServer) -> Iterator[str]:
    """Webserver and daemon, configured as in this repository, with all files in ``folder``; gives the UI's address."""
    home = folder / "dagster_home"
    home.mkdir()
    settings = (ROOT / "dagster.yaml").read_text()
    (home / "dagster.yaml").write_text(settings.replace("data/dagster", str(home)))
    own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    fresh = {
        "DAGSTER_HOME": str(home),
        "DESTINATION__DUCKDB__CREDENTIALS": str(folder / "warehouse.duckdb"),
        "DLT_DATA_DIR": str(folder / "dlt"),
        # settings in the working folder are somebody's own
        "DLT_PROJECT_DIR": str(folder),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "CRITICAL",
    }
    with mock.patch.dict(os.environ, own | fresh | server.environment(), clear=True):
        dagster = _Dagster(home, daemon=True)
    try:
        yield dagster.url
    finally:
        dagster.stop()


@contextmanager
def _browser(folder: Path) -> Iterator[webdriver.Chrome]:
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and chromedriver):
        raise ScreenshotError("chromium and chromedriver are needed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    # no sandbox: containers give none, and the browser opens nothing but the UI
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "hide-scrollbars", "lang=en-US"):
        options.add_argument(f"--{argument}")
    options.add_argument(f"--user-data-dir={folder / 'chromium'}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
    try:
        yield driver
    finally:
        driver.quit()


def main() -> None:
    """Makes the pictures; if a step fails, says which, and leaves the temporary folder as it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="where the pictures go")
    out: Path = parser.parse_args().out
    folder = Path(tempfile.mkdtemp(prefix="analytics_ingest-screenshots-"))
    try:
        take_screenshots(out, folder, World(scale=SCALE))
    except ScreenshotError as error:
        sys.exit(f"{error}\nDagster's logs are in {folder}")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
