"""Makes the pictures of README and docs with the real Dagster UI: presses its buttons in Chromium.

Chromium and chromedriver are found on the path. Everything else is fresh: sandbox, DuckDB file, Dagster instance.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from selenium import webdriver
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from analytics_ingest.apis.registry import APIS
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sandbox.world import World
from analytics_ingest_tests.orchestrate.instance import LOCATION, RunningDagster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROOT = Path(__file__).parents[2]
GRAPH = "continuous_integration"
"""The API whose graph is pictured: four levels, and few enough assets to read their names at the README's width."""
API, ASSET = "experimentation", "gates_rules"
"""The asset that is pictured: its rows appear, change and vanish every day."""
ACCOUNT = "experimentation_eu"
"""A second account of that API."""
SEARCH = 'key:"*gates*" or key:"*events*"'
"""The search in the graph of all assets: few enough of both accounts to read their names."""
FOUND = ("gates", "gates_rules", "events", "events_metrics")
"""The assets that are found, in each account."""
FACETS = {"Asset checks", "Status"}
"""What the graph's nodes show beside their name: all of them together fit the window then."""
SCALE, HOURS = 0.3, 24
"""The sandbox's amount of data, and the hours that pass in it between two syncs."""
WIDTH, HEIGHT, DENSITY = 1280, 800, 1.25
"""The window, and pixels of a picture per pixel of the window: text stays large at the README's width."""
TALL = 880
"""Height of the window for the asset's page: the whole key is among its columns, and plots are cut off nowhere."""
GAP = 12
"""Pixels between the metadata of the check, where its picture ends, and the heading below."""
PATIENCE = 120
"""Seconds that a page may take to show what is expected, a run included."""
FOREIGN = ("ANALYTICS_INGEST_", "DESTINATION__", "DLT_", "SOURCES__")
GROUPS = f"locations/__repository__@{LOCATION}/asset-groups/"
JOBS = f"locations/__repository__@{LOCATION}/jobs/"
NODES = "//*[name()='foreignObject']"
SEARCH_BOX = "//*[contains(@class, 'CodeMirror')]"
MARGIN = 16
"""Pixels between the search and the graph."""
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


@dataclass(frozen=True)
class Said:
    """What the pages said.

    Attributes:
        accounts: By account the assets in the picture of the accounts.
        syncs: The asset's page after each sync.
        check: The metadata of the asset's check after the comparison.
    """

    accounts: dict[str, list[str]]
    syncs: list[Shown]
    check: dict[str, str]


class Page:
    """The UI in a browser. Each method waits until it can do its part, or fails with what there was to see."""

    def __init__(self, driver: webdriver.Chrome, url: str, folder: Path) -> None:
        self.driver = driver
        self.url = url
        self.folder = folder

    def open(self, path: str, *, height: int = HEIGHT) -> None:
        """Opens a page by its path, in a window of some height."""
        self.resize(height)
        self.driver.get(f"{self.url}/{path}")

    def resize(self, height: int) -> None:
        """Gives the window another height."""
        size = {"width": WIDTH, "height": height, "deviceScaleFactor": DENSITY, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

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

    def enter(self, text: str) -> None:
        """Types where the cursor is, and presses Enter."""
        ActionChains(self.driver).send_keys(text, Keys.ENTER).perform()

    def point(self, x: float, y: float, *, double_click: bool = False) -> None:
        """Moves the mouse to a place in the window, and double-clicks there if asked to."""
        actions = ActionBuilder(self.driver)
        actions.pointer_action.move_to_location(int(x), int(y))
        if double_click:
            actions.pointer_action.double_click()
        actions.perform()

    def drag(self, x: float, y: float, *, down: float) -> None:
        """Drags a place in the window up or down."""
        actions = ActionBuilder(self.driver)
        actions.pointer_action.move_to_location(int(x), int(y)).pointer_down()
        actions.pointer_action.move_to_location(int(x), int(y + down)).pointer_up()
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


def take_screenshots(out: Path, folder: Path, world: World, *, syncs: int = 3) -> Said:
    """Makes all pictures in ``out``, and gives what their pages said.

    They are ``lineage.png``, ``accounts.png``, ``asset.png``, ``plots.png`` and ``checks.png``.

    Args:
        out: Where the pictures go.
        folder: An empty folder for Dagster's files, the DuckDB file and the browser's profile.
        world: What the sandbox serves; time passes in it between two syncs. The second account has a world of its own.
        syncs: How often the pictured asset is synced.

    Raises:
        ScreenshotError: A step did not succeed.
    """
    out.mkdir(parents=True, exist_ok=True)
    other = World(world.seed + 1, world.scale, world.now)
    with (
        _browser(folder) as driver,
        SandboxServer(world) as server,
        SandboxServer(other) as second,
        _dagster(folder, server.environment() | _account(second)) as url,
    ):
        page = Page(driver, url, folder)
        _materialize(page, GRAPH, API, ACCOUNT)
        _show_graph(page, GRAPH)
        page.picture(out / "lineage.png")
        accounts = _show_accounts(page)
        page.picture(out / "accounts.png")
        shown = [_look(page)]
        while len(shown) < syncs:
            world.advance(HOURS)
            _materialize(page, API)
            shown.append(_look(page))
        page.picture(out / "asset.png")
        _show_plots(page)
        page.picture(out / "plots.png")
        _verify(page)
        check = _show_check(page)
        page.picture(out / "checks.png")
    return Said(accounts, shown, check)


def _account(server: SandboxServer) -> dict[str, str]:
    """The environment that declares the second account."""
    of_api, of_account = (f"SOURCES__{name.upper()}__" for name in (API, ACCOUNT))
    settings = {name: value for name, value in server.environment().items() if name.startswith(of_api)}
    return {f"{of_account}API": API} | {name.replace(of_api, of_account): value for name, value in settings.items()}


def _materialize(page: Page, *accounts: str) -> None:
    """Presses the button of each account's group, and follows the runs to their ends."""
    runs = {}
    for account in accounts:
        page.open(GROUPS + account)
        page.click(f"{account}: press Materialize all", "//button[normalize-space()='Materialize all']")
        page.click(
            f"{account}: go to the run that was launched", "//*[@data-sonner-toast]//a[normalize-space()='View']"
        )
        runs[account] = _launched(page, account)
    for account, run in runs.items():
        page.open(run)
        _await_success(page, account)


def _verify(page: Page) -> None:
    """Launches the job that compares tables with the API, and follows the run to its end."""
    job = f"{API}_verify"
    page.open(f"{JOBS}{job}/playground")
    # before it has checked the run config, the page ignores the button
    page.wait(f"{job}: run config without errors", lambda: "No errors" in page.text())
    page.settled(f"{job}: the launchpad")
    page.click(f"{job}: press Launch Run", "//button[normalize-space()='Launch Run']")
    _launched(page, job)
    _await_success(page, job)


def _launched(page: Page, what: str) -> str:
    """The path of the run's page, once the browser is there."""
    path: str = page.wait(f"{what}: the run's page", lambda: re.search(r"runs/.+", page.driver.current_url))[0]
    return path


def _await_success(page: Page, what: str) -> None:
    """Stays on the run's page until the run has succeeded."""
    status = page.wait(f"{what}: end of the run", lambda: page.driver.find_element(By.XPATH, ENDED).text)
    if status != "Success":
        raise page.failure(f"{what}: the run ended with {status}")


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
    _fit(page, (endpoint.name for endpoint in APIS[api].endpoints))


def _fit(page: Page, names: Iterable[str]) -> list[str]:
    """Fits the graph into the window; gives the nodes in view, row by row, once those with these names are among them.

    Of assets only those count that say Materialized, of groups only those that are expanded.
    """
    expected = Counter(names)
    graph = page.wait("the graph", lambda: page.driver.find_element(By.XPATH, "//*[@data-svg-viewport]").rect)
    search = page.wait("the search", lambda: page.driver.find_element(By.XPATH, SEARCH_BOX).rect)
    # the search may lie on the graph
    left, top = graph["x"], max(graph["y"], search["y"] + search["height"] + MARGIN)

    def nodes() -> list[tuple[float, float, float, float, str]]:
        return sorted(
            (node.rect["y"], node.rect["x"], node.rect["height"], node.rect["width"], node.text.split("\n")[0])
            for node in page.driver.find_elements(By.XPATH, NODES)
            if node.text and ("\n" not in node.text or "\nMaterialized\n" in node.text)
        )

    def whole() -> list[str] | None:
        page.settled("the graph")
        # beside the nodes, a double-click fits the graph into the window
        page.point(left + 10, HEIGHT - 10, double_click=True)
        page.settled("the graph")
        found = nodes()
        if not found:
            return None
        above, below = found[0][0] - top, HEIGHT - max(y + height for y, _, height, *_ in found)
        # into the middle
        page.drag(left + 10, (top + HEIGHT) / 2, down=(below - above) / 2)
        page.settled("the graph")
        seen = [name for y, x, height, width, name in nodes() if top < y < HEIGHT - height and left < x < WIDTH - width]
        return seen if expected <= Counter(seen) else None

    seen: list[str] = page.wait(f"all of {expected.total()} nodes in view, each asset Materialized", whole)
    return seen


def _show_accounts(page: Page) -> dict[str, list[str]]:
    """Brings some assets of both accounts into view, in the graph of all assets; gives them by account."""
    accounts = [API, ACCOUNT]
    page.open("asset-groups")
    page.click("the search", SEARCH_BOX)
    page.enter(SEARCH)

    def found() -> bool:
        nodes = [node.text.split("\n")[0] for node in page.driver.find_elements(By.XPATH, NODES)]
        return sorted(nodes) == accounts

    page.wait(f"{SEARCH}: the groups that it finds", found)
    page.click("make room: hide the list of groups", "//button[.//*[@aria-label='panel_show_right']]")
    page.click("options of the graph", "(//button[.//*[@aria-label='settings']])[last()]")
    page.click("expand all groups", "//*[@role='menuitem'][contains(., 'Expand all groups')]")
    shown: dict[str, list[str]] = {}
    for name in _fit(page, [*accounts, *FOUND, *FOUND]):
        # the name of a group is above its assets
        if name in accounts:
            shown[name] = assets = []
        else:
            assets.append(name)
    return shown


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


def _show_check(page: Page) -> dict[str, str]:
    """Opens the asset's check as the comparison left it, down to the end of its metadata; gives the metadata."""
    page.open(f"assets/{API}/{ASSET}?view=checks", height=TALL)

    def metadata() -> dict[str, str]:
        rows = page.driver.find_elements(By.XPATH, "//tr[td[normalize-space()='same_as_upstream']]/../tr")
        return dict([cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows)

    found: dict[str, str] = page.wait(f"{ASSET}: metadata of the check", metadata)
    heading = page.wait(
        "the heading below the metadata", lambda: page.driver.find_element(By.XPATH, "//*[text()='Plots']").rect
    )
    page.resize(int(heading["y"]) - GAP)
    return found


class _Dagster(RunningDagster):
    def wait_for(self, *arguments: Any, **options: Any) -> Any:
        """Waits as ever, and leaves no process behind if it was in vain."""
        try:
            return super().wait_for(*arguments, **options)
        except AssertionError as error:
            self.stop()
            raise ScreenshotError(str(error)) from None


@contextmanager
def _dagster(folder: Path, environment: dict[str, str]) -> Iterator[str]:
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
    with mock.patch.dict(os.environ, own | fresh | environment, clear=True):
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
