"""A vendor's server as the configured upstream, also with a first sync that the tests of a module share."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest

from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.conftest import FakeClock, fake_clock
from analytics_ingest_tests.environment import WAREHOUSE, use_folder
from analytics_ingest_tests.fake_server import Asked
from analytics_ingest_tests.vendors.server import Vendor

STAYS = ("_lock", "_upstream")
"""Attributes of a vendor that are its running server's."""
V = TypeVar("V", bound=Vendor)


@pytest.fixture
def vendor_server(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Vendor]]:
    """Starts vendors' servers as upstreams: ``vendor_server(Split(), SETTING="value")``. Complaints fail the test."""
    started: list[Vendor] = []

    def start(vendor: Vendor, **settings: str) -> Vendor:
        started.append(vendor.__enter__())
        vendor.configure(monkeypatch, **settings)
        return vendor

    yield start
    for vendor in started:
        vendor.__exit__()
    assert [complaint for vendor in started for complaint in vendor.complaints] == []


@dataclass
class Synced(Generic[V]):
    """A vendor's server after a first sync, and what that has left: ``vendor.asked`` and ``requests`` are its too.

    Attributes:
        vendor: The server.
        results: The results by endpoint.
        slept: The pauses.
        file: The warehouse.
    """

    vendor: V
    results: dict[str, EndpointResult]
    slept: list[float]
    file: Path

    def __post_init__(self) -> None:
        kept = {name: value for name, value in vars(self.vendor).items() if name not in STAYS}
        self._was, self._asked = pickle.dumps(kept), [*self.vendor.asked]

    def undo(self) -> None:
        """Makes the server what it was after the sync."""
        for name in vars(self.vendor).keys() - STAYS:
            delattr(self.vendor, name)
        vars(self.vendor).update(pickle.loads(self._was))  # noqa: S301 - pickled above
        self.vendor.asked[:] = self._asked


@contextmanager
def configured(vendor: Vendor, folder: Path) -> Iterator[FakeClock]:
    """What ``isolated`` and ``vendor_server`` give to a test, with a server that runs, for what several tests share."""
    with pytest.MonkeyPatch.context() as patch:
        use_folder(patch, folder)
        vendor.configure(patch)
        yield fake_clock(patch)
    assert vendor.complaints == []


def first_sync(make: Callable[[], V], *endpoints: str) -> Any:
    """A module's fixture ``first``: a vendor's server after a sync into a DuckDB file.

    Args:
        make: Makes the server.
        endpoints: What is synced; everything by default.
    """

    @pytest.fixture(scope="module")
    def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synced[V]]:
        folder = tmp_path_factory.mktemp("first")
        with make() as vendor:
            with configured(vendor, folder) as clock:
                results = vendor.sync(*endpoints)
            yield Synced(vendor, results, clock.slept, folder / WAREHOUSE)

    return first


@dataclass(frozen=True)
class Later:
    """A sync after changes: its results, what it asked for, and the folder of its warehouse."""

    results: dict[str, EndpointResult]
    asked: list[Asked]
    folder: Path


def later_sync(change: Callable[[V], None], *endpoints: str) -> Any:
    """A module's fixture ``later``: a sync after changes, into a copy of the warehouse of ``first``.

    Args:
        change: Changes what the vendor has; it is undone after the sync.
        endpoints: What is synced; everything by default.
    """

    @pytest.fixture(scope="module")
    def later(first: Synced[V], tmp_path_factory: pytest.TempPathFactory) -> Later:
        folder = tmp_path_factory.mktemp("later")
        shutil.copy(first.file, folder / WAREHOUSE)
        change(first.vendor)
        first.vendor.asked.clear()
        with configured(first.vendor, folder):
            results = first.vendor.sync(*endpoints)
        found = Later(results, [*first.vendor.asked], folder)
        first.undo()
        return found

    return later


@pytest.fixture
def synced(
    first: Synced[Vendor], clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Synced[Vendor]]:
    """The module's ``first`` sync, with a copy of its warehouse; what the test changes is undone."""
    shutil.copy(first.file, tmp_path / WAREHOUSE)
    first.vendor.configure(monkeypatch)
    yield first
    complaints = [*first.vendor.complaints]
    first.undo()
    assert complaints == []
