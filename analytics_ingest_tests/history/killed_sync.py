"""Syncs in processes of their own that are killed at a chosen call."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dlt.destinations.job_client_impl import SqlJobClientBase

from analytics_ingest.sync.history_recorder import HistoryRecorder
from analytics_ingest.sync.ledger_writer import LedgerWriter
from analytics_ingest.warehouse.history_tables import HistoryTables
from analytics_ingest.warehouse.table_queries import DatasetTables
from analytics_ingest_tests.history.configuration import run

FORKS = multiprocessing.get_context("forkserver")
# imported once: to import it in each process takes longer than a sync
FORKS.set_forkserver_preload([__name__, "dlt.destinations.impl.duckdb.duck", "dlt.destinations.impl.postgres.postgres"])
SECONDS = 120
"""Seconds after which a process that does not end fails the test."""


@dataclass(frozen=True)
class Place:
    """A call at which a sync is killed.

    Attributes:
        owner: The class.
        method: Its method.
        number: Which of its calls, from 1.
    """

    owner: type
    method: str
    number: int = 1


IN_LOAD = Place(SqlJobClientBase, "complete_load")
"""The tables have their rows, and the package does not count as loaded."""
BEFORE_MARKS = Place(DatasetTables, "set_timestamp")
BEFORE_VERSIONS = Place(HistoryRecorder, "record")
BETWEEN_VERSIONS = Place(HistoryTables, "append", 2)
"""One endpoint has its versions, and the next one has not."""
BEFORE_VIEWS = Place(HistoryRecorder, "finish")
BEFORE_LEDGER = Place(LedgerWriter, "finish")


def run_killed(place: Place, *endpoints: str, run_id: str = "") -> None:
    """Syncs, with the settings of this process, in another one that is killed.

    Raises:
        AssertionError: The sync ended before it came to the call.
    """
    process = FORKS.Process(target=_run, args=(dict(os.environ), place, endpoints, run_id))
    process.start()
    process.join(SECONDS)
    code = process.exitcode
    process.kill()
    process.join()
    assert code == -signal.SIGKILL, f"exit code {code} instead of a kill at {place}"


def _run(environment: dict[str, str], place: Place, endpoints: tuple[str, ...], run_id: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    act: Callable[..., Any] = getattr(place.owner, place.method)
    calls = 0

    def kill_at(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == place.number:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(*arguments, **options)

    setattr(place.owner, place.method, kill_at)
    run(*endpoints, run_id=run_id)
