"""Processes of this machine that read the shards of a fan-out, each with its own interpreter, pipeline and session."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TYPE_CHECKING

from analytics_ingest.sync.shard import ShardReport, shards_of

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, Sequence

    from analytics_ingest.extract.mode import Mode
    from analytics_ingest.sync.shard import Shard

# no multiprocessing: a worker of Celery's is not allowed such children
COMMAND = (sys.executable, "-m", "analytics_ingest.sync.shard_sync")


def read_shards(api: str, endpoint: str, of: int, *, mode: Mode, log: logging.Logger) -> Sequence[ShardReport]:
    """Reads an endpoint's parents in ``of`` processes, and gives the reports of those that came to their end.

    A process that fails or is killed is logged, no more: its parents are in nobody's report, and so still to be asked.
    They end with this process, however that ends.

    Args:
        api: The API's name.
        endpoint: The endpoint's name.
        of: How many processes.
        mode: What the sync is asked to do.
        log: Told how each begins and ends.
    """
    reports = []
    shards = shards_of(endpoint, of)
    # left from right to left: the threads have something to wait for only as long as there are processes
    with ThreadPoolExecutor(of) as waiting, _processes(of) as processes:
        ends = {
            waiting.submit(_report, process, api, shard, mode): shard
            for process, shard in zip(processes, shards, strict=True)
        }
        for process, shard in zip(processes, shards, strict=True):
            log.info(f"{api}/{endpoint}: {shard} is read by process {process.pid}")
        for end in as_completed(ends):
            shard, came = ends[end], end.result()
            if isinstance(came, ShardReport):
                reports.append(came)
                loaded, asked = came.reading.rows_loaded, came.reading.parents_done
                log.info(f"{api}/{endpoint}: {shard} is done: {asked} parents, {loaded} rows loaded")
            else:
                log.warning(f"{api}/{endpoint}: {shard} {came}; its parents are asked without it")
    return reports


@contextmanager
def _processes(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that wait for what to read, until this is left."""
    started = [
        # of this interpreter, with nothing in the command that comes from outside
        subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
        for _ in range(count)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()


def _report(process: subprocess.Popen[bytes], api: str, shard: Shard, mode: Mode) -> ShardReport | str:
    """Has a process read a shard; its report, or how it has ended without one."""
    with process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a shard's process was started without its pipes")
        try:
            # left open: the process ends as soon as nobody is at this end of it
            pickle.dump((api, shard, mode), process.stdin)
            process.stdin.flush()
            came: ShardReport | str = pickle.load(process.stdout)  # noqa: S301 - from this program itself
        except (EOFError, OSError, pickle.UnpicklingError):
            came = ""
        process.stdin.close()
        status = process.wait()
    if came or status >= 0:
        return came or f"has failed (exit status {status}): the reason is among what the run has printed"
    return f"was killed (signal {-status}): see whether the machine has run out of memory"
