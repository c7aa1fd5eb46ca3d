"""What all tests share: settings and files of their own, upstreams over real HTTP, destinations, a clock.

Fixtures, each of which has one name in all of the tests (``test_layout``):

| fixture | gives |
|---|---|
| ``isolated`` | nothing: each test has its settings, its warehouse and dlt's state in ``tmp_path`` |
| ``fresh_files`` | a folder whose ``.dlt`` is read, as at the start of a process |
| ``clock`` | the clock of every session made from now on, which never waits |
| ``sandbox`` | a sandbox of the test's own, configured as the upstream of all APIs |
| ``shared_sandbox`` | the same, started once a module; what a test changes in it is undone |
| ``module_sandbox`` | the server behind ``shared_sandbox``, for fixtures of a module; not configured |
| ``start_sandbox`` | starts sandboxes with another world or options |
| ``fake_server`` | starts servers that answer as a test says |
| ``client`` | makes sessions of an API, as the product does, that send requests to such a server |
| ``trial_api`` | the server of an API of four endpoints, whose rows a test says |
| ``filled`` | fills the warehouse from ``shared_sandbox``, as a first sync does |
| ``store`` | a destination that the settings pick: each of them, or those that a test names |
| ``postgres`` | a PostgreSQL database as the destination; gives connections to it |
| ``holder`` | starts processes that hold a lock, a file or a sync |

In the folders beside them: ``history`` has ``configuration``, an upstream whose rows a test edits; ``http`` has
``raw_server``, which sends bytes; ``orchestrate`` has ``instance`` and ``start_dagster``; ``sandbox`` has ``reader``;
``sync`` has ``tags`` and ``tags_server``, a list that changes while it is read; ``vendors`` has ``vendor_server``,
which starts vendors' servers, and ``synced``, a module's first sync.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

from analytics_ingest.apis.registry import APIS
from analytics_ingest.config.api import choose_profile
from analytics_ingest.extract.resource_state import CURSOR
from analytics_ingest.extract.rows import DELETED_AT
from analytics_ingest.http import session as session_module
from analytics_ingest.http.rate_limit import Clock
from analytics_ingest.sandbox.options import Options
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sandbox.world import World
from analytics_ingest.sync.api_sync import ApiSync
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest.warehouse.warehouse import Warehouse
from analytics_ingest_tests.environment import set_environment, use_folder
from analytics_ingest_tests.fake_server import Asked, Client, FakeServer, Response, script
from analytics_ingest_tests.stores import DESTINATIONS, STORES, Store, postgres_database, postgres_settings
from analytics_ingest_tests.trials import Trial, trial

SCALE = 0.05
ROOT = Path(__file__).parents[1]
# its checks are asserted with the values that they compare, as in a test module
pytest.register_assert_rewrite("analytics_ingest_tests.contract")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    # as by a shell that runs the tests in the background; Dagster's processes inherit it, and handle SIGTERM alike
    signal.signal(signal.SIGINT, signal.default_int_handler)


LONGEST_FIRST = (
    "warehouse/test_contract_lake.py",
    "orchestrate/test_webserver_and_daemon.py",
    "orchestrate/test_topology.py",
    "test_readme.py",
    "test_soak.py",
    "test_tutorial_page.py",
    "test_processes.py",
    "orchestrate/test_celery.py",
    "orchestrate/test_retries.py",
    "vendors/test_circleci_final_states.py",
    "warehouse/test_contract_postgres.py",
    "cli/test_demo_and_sandbox.py",
    "sync/test_partial_selection.py",
    "vendors/test_contract.py",
    "sync/test_contract.py",
    "sync/test_upgrade.py",
    "history/test_as_of.py",
)
"""Modules that take longest: begun last, they would keep one core busy while the others have nothing left."""


SERVICES = {"postgres"}
"""Fixtures that need a service on the machine."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests that need a service, and puts those of the longest modules first."""
    for item in items:
        if not SERVICES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("extended")
    folder = Path(__file__).parent
    place = {folder / name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


class FakeClock(Clock):
    """A clock that never waits: ``sleep`` moves it on and notes how long it would have taken."""

    def __init__(self) -> None:
        self.moment = 1_800_000_000.0
        self.slept: list[float] = []
        super().__init__(now=lambda: self.moment, sleep=self._sleep)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.moment += seconds

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        self._sleep(seconds)


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine, no state of another test: everything is in ``tmp_path``."""
    for name in os.environ:
        if name.startswith(("SOURCES__", "DESTINATION__", "ANALYTICS_INGEST", "DAGSTER_HOME", "DLT_PROJECT_DIR")):
            monkeypatch.delenv(name)
    home = tmp_path / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    use_folder(monkeypatch, tmp_path)


@pytest.fixture
def fresh_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose ``.dlt`` is read, as at the start of a process."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dlt").mkdir()
    container = Container()
    before = container[PluggableRunContext]
    del container[PluggableRunContext]
    yield tmp_path / ".dlt"
    container[PluggableRunContext] = before


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock of every session made from now on."""
    return fake_clock(monkeypatch)


def fake_clock(patch: pytest.MonkeyPatch) -> FakeClock:
    """Makes a clock that of every session, as ``clock`` does for a test."""
    fake = FakeClock()
    patch.setattr(session_module, "Clock", lambda: fake)
    return fake


@pytest.fixture
def start_sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., SandboxServer]]:
    """Starts sandboxes: ``serve(world=..., **options)``. The last one started is the configured upstream."""
    servers: list[SandboxServer] = []

    def start(world: World | None = None, **options: Any) -> SandboxServer:
        server = SandboxServer(world or World(scale=SCALE), Options(**options))
        server.start()
        servers.append(server)
        set_environment(monkeypatch, server.environment())
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def sandbox(start_sandbox: Callable[..., SandboxServer], clock: FakeClock) -> SandboxServer:
    """A sandbox as it comes, configured as the upstream, with a clock that never waits."""
    return start_sandbox()


@pytest.fixture(scope="module")
def module_sandbox() -> Iterator[SandboxServer]:
    """The server behind ``shared_sandbox``: to start and stop one takes longer than most tests."""
    with SandboxServer(World(scale=SCALE)) as server:
        yield server


@pytest.fixture
def shared_sandbox(
    module_sandbox: SandboxServer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SandboxServer]:
    """A sandbox as it comes, started once a module; what a test changes in it is undone."""
    rows = pickle.dumps(module_sandbox.world.store)
    set_environment(monkeypatch, module_sandbox.environment())
    yield module_sandbox
    module_sandbox.world.store = pickle.loads(rows)  # noqa: S301 - pickled above
    module_sandbox.requests.reset()
    healthy = Options()
    for each in fields(Options):
        setattr(module_sandbox.options, each.name, getattr(healthy, each.name))


@contextmanager
def sandbox_in(folder: Path, store: Store | None = None, world: World | None = None) -> Iterator[SandboxServer]:
    """What ``isolated`` and ``sandbox`` give to a test, for a fixture that several tests share.

    Args:
        folder: Where all of it is.
        store: The destination; by default a DuckDB file in the folder.
        world: What the sandbox serves.
    """
    with pytest.MonkeyPatch.context() as patch, SandboxServer(world or World(scale=SCALE)) as server:
        fake_clock(patch)
        patch.delenv("ANALYTICS_INGEST_DESTINATION", raising=False)
        use_folder(patch, folder)
        set_environment(patch, {**server.environment(), **(store.settings if store else {})})
        yield server


def sync(api: str, *endpoints: str) -> dict[str, EndpointResult]:
    """Syncs an API, or some of its endpoints, and gives the results by endpoint."""
    selected = set(endpoints) or None
    results = ApiSync(choose_profile(APIS[api]), selected=selected, log=logging.getLogger("test")).run()
    return {result.endpoint.name: result for result in results}


def query(tmp_path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a query on the test's warehouse."""
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as connection:
        return connection.sql(sql).fetchall()


def packages(tmp_path: Path, api: str) -> int:
    """Load packages of an API that the test's warehouse has taken."""
    count: int = query(tmp_path, f"SELECT count(*) FROM {api}._dlt_loads")[0][0]
    return count


def live_keys(tmp_path: Path, api: str, endpoint: str, *, account: str = "") -> list[tuple[Any, ...]]:
    """Keys of an endpoint's rows that are not marked as deleted, sorted; of another account than the API's own."""
    key = APIS[api].by_name[endpoint].primary_key
    names = ", ".join(f'"{name}"' for name in key)
    return sorted(query(tmp_path, f'SELECT {names} FROM {account or api}."{endpoint}" WHERE {DELETED_AT} IS NULL'))


def expected_keys(world: World, api: str, endpoint: str, **options: Any) -> list[tuple[Any, ...]]:
    """Keys that the world holds for an endpoint, sorted."""
    key = APIS[api].by_name[endpoint].primary_key
    return sorted(tuple(row[name] for name in key) for row in world.expected(api, endpoint, **options))


def stored_cursor(api: str, endpoint: str) -> str | None:
    """The cursor that the warehouse's state holds, as text; the working folder has no say in it."""
    warehouse = Warehouse(api, log=logging.getLogger("test"), lock_timeout=5)
    with warehouse.sync(), warehouse.open():
        sources: Any = warehouse.pipeline.state.get("sources", {})
    cursor: str | None = sources.get(api, {}).get("resources", {}).get(endpoint, {}).get(CURSOR)
    return cursor


@pytest.fixture
def fake_server() -> Iterator[Callable[..., FakeServer]]:
    """Starts servers: ``fake_server(answer, ...)`` gives these in turn, ``fake_server(function)`` what that gives."""
    started: list[FakeServer] = []

    def start(*answers: Response | Callable[[Asked], Response]) -> FakeServer:
        started.append(FakeServer(script(*answers)))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def client(clock: FakeClock) -> Iterator[Callable[..., Client]]:
    """Makes sessions: ``client(api, url, **settings)``; their clock never waits unless another is given."""
    made: list[Client] = []

    def make(api: str, url: str, **settings: Any) -> Client:
        made.append(Client(api, url, **{"clock": clock, **settings}))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def filled(
    tmp_path: Path, shared_sandbox: SandboxServer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., SandboxServer]:
    """``filled(api, *endpoints)``: the warehouse is as after a first sync of them, which is made once and kept."""

    def fill(api: str, *endpoints: str) -> SandboxServer:
        kept = tmp_path_factory.getbasetemp() / ".".join(("filled", api, *endpoints))
        if not kept.exists():
            sync(api, *endpoints)
            shutil.copy(tmp_path / "warehouse.duckdb", kept)
            shutil.rmtree(tmp_path / "dlt")
            shared_sandbox.requests.reset()
        shutil.copy(kept, tmp_path / "warehouse.duckdb")
        return shared_sandbox

    return fill


@pytest.fixture
def holder() -> Iterator[Callable[[str, Path | str], subprocess.Popen[str]]]:
    """Starts processes: ``holder(kind, what)`` gives one that holds it by now (see the module ``holder``)."""
    started: list[subprocess.Popen[str]] = []

    def start(kind: str, what: Path | str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "analytics_ingest_tests.warehouse.holder", kind, str(what)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "holding\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(params=DESTINATIONS)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A destination that the settings pick: each of them, unless a test names some (``indirect``)."""
    with STORES[request.param](tmp_path) as found:
        set_environment(monkeypatch, found.settings)
        yield found


@pytest.fixture
def trial_api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    """The server of an API whose rows a test says, configured as its upstream."""
    with trial(monkeypatch) as found:
        yield found


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], psycopg2.extensions.connection]]:
    """A PostgreSQL database of the test's own as destination; gives connections to it."""
    with postgres_database() as (credentials, connect):
        set_environment(monkeypatch, postgres_settings(credentials))
        yield connect


def define_all_segments(world: World) -> None:
    """Defines every segment in every environment: the 404 of one that is not costs the seeds' retries in real time."""
    keys = world.collection("feature_management", "segments_keys")
    for workspace in world.collection("feature_management", "workspaces"):
        environments = world.collection("feature_management", "environments")[workspace["id"],]
        segments = world.collection("feature_management", "segments")[workspace["id"],]
        for environment in environments:
            for segment in segments:
                keys.setdefault((environment["id"], segment["name"]), [])
