"""Processes of this machine that read the shards of a fan-out, each with its own interpreter, pipeline and session."""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import ExitStack, contextmanager
from multiprocessing import connection, get_context, parent_process
from typing import TYPE_CHECKING

from analytics_ingest.apis import APIS
from analytics_ingest.extract.errors import IngestError
from analytics_ingest.extract.settings import choose_profile
from analytics_ingest.sync.shard import ShardReport, shards_of
from analytics_ingest.warehouse.errors import WarehouseError
from analytics_ingest.warehouse.locks import LockTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

    from analytics_ingest.extract.mode import Mode
    from analytics_ingest.sync.shard import Shard

# a copy of this process would have its threads' locks and its connections, a server of copies none of its settings
PROCESSES = get_context("spawn")


def read_shards(api: str, endpoint: str, of: int, *, mode: Mode, log: logging.Logger) -> Sequence[ShardReport]:
    """Reads an endpoint's parents in ``of`` processes, and gives the reports of those that came to their end.

    A process that fails or is killed is logged, no more: its parents are in nobody's report, and so still to be asked.
    They end with this process, however that ends.

    Args:
        api: The API's name.
        endpoint: The endpoint's name.
        of: How many processes.
        mode: What the sync is asked to do.
        log: Told how each has ended.
    """
    reports = []
    with ExitStack() as processes:
        shards = shards_of(endpoint, of)
        waiting = {processes.enter_context(_process(api, shard, mode)): shard for shard in shards}
        while waiting:
            for receiver in connection.wait(list(waiting)):
                shard, came = waiting.pop(receiver), _received(receiver)  # type: ignore[call-overload,arg-type]
                if isinstance(came, ShardReport):
                    reports.append(came)
                    loaded, asked = came.reading.rows_loaded, came.reading.parents_done
                    log.info(f"{api}/{endpoint}: {shard} is done: {asked} parents, {loaded} rows loaded")
                else:
                    log.warning(f"{api}/{endpoint}: {shard} {came}; its parents are asked without it")
    return reports


@contextmanager
def _process(api: str, shard: Shard, mode: Mode) -> Iterator[Connection]:
    """A process that reads a shard, until it is left; gives where its report comes."""
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(
        target=_work, args=(api, shard, mode, sender), name=f"{api}/{shard.endpoint}, {shard}", daemon=True
    )
    process.start()
    # open in the process alone, so that its end is seen here
    sender.close()
    try:
        yield receiver
    finally:
        process.terminate()
        process.join()
        receiver.close()


def _received(receiver: Connection) -> ShardReport | str:
    """A report, or how the process has ended."""
    try:
        came: ShardReport | str = receiver.recv()
    except EOFError:
        return "was ended from outside, or ran out of memory"
    return came


def _work(api: str, shard: Shard, mode: Mode, sender: Connection) -> None:
    """What a process does: it sends the report, or why there is none."""
    from analytics_ingest.sync.shard_sync import ShardSync  # noqa: PLC0415 - it imports this module

    # the process that has started this one ends it, also after Ctrl-C, and it does not outlive that one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log = logging.getLogger("analytics_ingest.shard")
    log.setLevel(logging.INFO)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(f"%(message)s ({shard})"))
    log.addHandler(handler)
    try:
        sender.send(ShardSync(choose_profile(APIS[api]), shard, mode=mode, log=log).report())
    except (IngestError, LockTimeoutError, WarehouseError) as error:
        sender.send(f"has failed: {error}")


def _end_with_parent() -> None:
    """Ends the process at once when the one that has started it is gone, however that ended."""
    parent = parent_process()
    if parent:
        connection.wait([parent.sentinel])
        os._exit(1)
