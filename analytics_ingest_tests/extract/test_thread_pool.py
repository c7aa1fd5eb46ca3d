"""Threads that read ahead: in turn, within bounds, and never longer than the sync."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from analytics_ingest.extract import thread_pool as pool_module
from analytics_ingest.extract.endpoint_reader import EndpointReader
from analytics_ingest.extract.list_reader import PageResult
from analytics_ingest.extract.partition_queue import QueueState
from analytics_ingest.extract.partitions import Partition
from analytics_ingest.extract.thread_pool import ReadPool
from analytics_ingest.http.rate_limit import Clock
from analytics_ingest.http.session import Pause
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.warehouse.exceptions import LockTimeoutError
from analytics_ingest_tests.conftest import FakeClock, sync
from analytics_ingest_tests.waiting import eventually

THREADS = 4


class Lists:
    """Stands for an endpoint's reader: so many lists of one page with five rows each."""

    state = QueueState.OPEN
    has_late = False

    def __init__(self, count: int) -> None:
        self.queue = self
        self.left = count
        self.begun = 0
        self.pages: list[PageResult] = []
        self.turns = 0
        self._lock = threading.Lock()

    @property
    def is_exhausted(self) -> bool:
        return not self.left

    def next(self) -> Partition | None:
        with self._lock:
            self.turns += 1
            if not self.left:
                return None
            self.left -= 1
            return Partition(path=f"/lists/{self.left}", params={})

    def read(self, partition: Partition, *, stopped: Callable[[], bool]) -> Iterator[PageResult | Pause]:
        assert not stopped()
        self.begun += 1
        yield PageResult(partition, is_last=True, rows=[{"n": n} for n in range(5)])

    def process_page(self, page: PageResult) -> None:
        self.pages.append(page)


def add(pool: ReadPool, lists: Lists) -> None:
    pool.add(cast("EndpointReader", lists))


def test_no_more_is_read_ahead_than_may_wait_and_all_comes_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "READ_AHEAD", 10)
    lists = Lists(100)
    with ReadPool(THREADS, halt=lambda: None, clock=Clock()) as pool:
        add(pool, lists)
        # three pages reach the bound, and each thread holds one more
        eventually(lambda: lists.begun == 3 + THREADS, 10)
        time.sleep(0.05)
        assert lists.begun == 3 + THREADS
        pool.process_pages(until=lambda: len(lists.pages) == 100)
        assert not pool.has_more
    assert len({page.partition.path for page in lists.pages}) == 100


def test_endpoints_are_read_in_turn() -> None:
    first, second = Lists(50), Lists(50)
    pool = ReadPool(1, halt=lambda: None, clock=Clock())
    add(pool, first)
    add(pool, second)
    with pool:
        pool.process_pages(until=lambda: len(first.pages) + len(second.pages) == 20)
        assert abs(len(first.pages) - len(second.pages)) <= 1


def test_an_exhausted_queue_leaves_the_turn() -> None:
    few, many = Lists(2), Lists(30)
    with ReadPool(1, halt=lambda: None, clock=Clock()) as pool:
        add(pool, few)
        add(pool, many)
        pool.process_pages(until=lambda: len(few.pages) + len(many.pages) == 32)
    assert (few.turns, many.turns) == (2, 30)


class Pausing(Lists):
    """Lists that begin with a pause of so many seconds each."""

    def __init__(self, count: int, pause: Pause) -> None:
        super().__init__(count)
        self.pause = pause

    def read(self, partition: Partition, *, stopped: Callable[[], bool]) -> Iterator[PageResult | Pause]:
        self.begun += 1
        yield self.pause
        yield PageResult(partition, is_last=True)


def test_lists_in_a_pause_occupy_no_thread() -> None:
    clock = FakeClock()
    absent, many = Pausing(20, Pause(seconds=4, expected=True)), Lists(30)
    with ReadPool(1, halt=lambda: None, clock=clock) as pool:
        add(pool, absent)
        add(pool, many)
        pool.process_pages(until=lambda: len(many.pages) == 30 and len(absent.pages) == 20)
    assert absent.begun == 20
    # once for all of them
    assert clock.slept == [4.0]


def test_no_more_lists_are_begun_than_there_are_threads_while_the_api_fails() -> None:
    clock = FakeClock()
    stopped = threading.Event()

    def wait(changed: threading.Condition, seconds: float) -> None:
        if changed.wait():
            stopped.set()

    clock.wait = wait
    failing = Pausing(20, Pause(seconds=5, expected=False))
    with ReadPool(THREADS, halt=lambda: None, clock=clock) as pool:
        add(pool, failing)
        eventually(lambda: failing.begun == THREADS, 10)
        time.sleep(0.05)
        assert failing.begun == THREADS
        clock.moment += 5
        add(pool, Lists(0))
        eventually(lambda: len(failing.pages) == 0 and failing.begun == 2 * THREADS, 10)
        pool.process_pages(until=lambda: len(failing.pages) == THREADS)


@pytest.mark.parametrize("where", ["read", "next"])
def test_what_a_thread_cannot_handle_is_raised_where_the_sync_is(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    lists = Lists(1)

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(lists, where, fail)
    with ReadPool(THREADS, halt=lambda: None, clock=Clock()) as pool:
        add(pool, lists)
        with pytest.raises(ZeroDivisionError, match="a bug"):
            pool.process_pages(until=lambda: False)


def test_the_end_stops_the_threads_whatever_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "READ_AHEAD", 0)
    halted: list[Any] = []
    lists = Lists(1_000)
    with ReadPool(THREADS, halt=lambda: halted.append(True), clock=Clock()) as pool:
        add(pool, lists)
        eventually(lambda: lists.begun == 1 + THREADS, 10)
    assert halted == [True]
    eventually(lambda: not any(thread.name.startswith("read-") for thread in threading.enumerate()), 10)
    assert lists.left > 900


def test_a_sync_that_cannot_begin_leaves_no_thread(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, holder: Callable[..., object]
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__REQUESTS_PER_MINUTE", "600")
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__LOCK_TIMEOUT", "0.2")
    before = threading.active_count()
    holder("sync", "experimentation")
    with pytest.raises(LockTimeoutError):
        sync("experimentation", "gates")

    assert sandbox.requests.count() == 0
    eventually(lambda: threading.active_count() <= before, 10)
    assert threading.active_count() == before
