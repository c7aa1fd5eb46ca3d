"""The sync of one shard: a part of a fan-out, loaded by a pipeline of its own into the endpoint's table.

As a program it is one of the processes that ``workers`` starts.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
from typing import TYPE_CHECKING

from analytics_ingest.apis import APIS
from analytics_ingest.extract.errors import IngestError
from analytics_ingest.extract.settings import choose_profile
from analytics_ingest.sync.shard import ShardReport, report_of
from analytics_ingest.sync.sync import ApiSync
from analytics_ingest.warehouse.errors import WarehouseError
from analytics_ingest.warehouse.locks import LockTimeoutError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics_ingest.apis import Api
    from analytics_ingest.extract.mode import Mode
    from analytics_ingest.extract.reader import EndpointReader
    from analytics_ingest.sync.package import Package
    from analytics_ingest.sync.result import EndpointResult
    from analytics_ingest.sync.shard import Shard
    from analytics_ingest.warehouse.tables import Tables


class ShardSync(ApiSync):
    """Asks the parents of one shard, loads and marks what they give, and reports to the sync that it is a part of.

    That sync keeps all others of the API out meanwhile, and does what concerns the whole table.
    """

    def __init__(self, api: Api, shard: Shard, *, mode: Mode, log: logging.Logger) -> None:
        """Prepares it.

        Args:
            api: What to read.
            shard: Which part of which endpoint.
            mode: What the sync is asked to do.
            log: Gets progress and waits.
        """
        super().__init__(api, selected={shard.endpoint}, mode=mode, log=log)
        self.shard: Shard = shard
        self._report: ShardReport | None = None

    def report(self) -> ShardReport:
        """Reads and loads, and tells what came of it.

        Raises:
            IngestError: The endpoint, or the API, cannot be read.
            WarehouseError: The warehouse cannot be used.
            LockTimeoutError: What writes into the warehouse does not end.
        """
        failed = list(self.run())
        if self._report is None:
            raise IngestError("; ".join(result.reason for result in failed))
        return self._report

    def _finish(self, package: Package, results: list[EndpointResult]) -> None:
        # while nobody else writes, so that all shards agree on the columns and their types
        package.wait()
        with self._warehouse.open() as tables:
            self._warehouse.take_schema()
            for reader in package.readers:
                # another shard may have made or changed it
                reader.types.store(tables.columns([reader.endpoint.name]).get(reader.endpoint.name, {}))
            self._load(package, tables, results, extracted=self._loader.extract(package, tables))

    # what is to be said of the table is said once, of the whole of it
    def _results(self, readers: Sequence[EndpointReader], _: Tables) -> list[EndpointResult]:
        for reader in readers:
            name = reader.endpoint.name
            self._report = report_of(reader, self._before[name].paths, deleted=self._deleted[name])
        return []


def main() -> None:
    """Reads the shard that stdin names, and gives stdout the report, or why there is none; both pickled."""
    # the process that has started this one ends it, also after Ctrl-C
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as out:
        # whatever else is printed belongs to the log
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        api, shard, mode = pickle.load(sys.stdin.buffer)  # noqa: S301 - from this program itself
        threading.Thread(target=_end_with_parent, daemon=True).start()
        log = logging.getLogger("analytics_ingest.shard")
        log.setLevel(logging.INFO)
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(f"%(message)s ({shard})"))
        log.addHandler(handler)
        said: ShardReport | str
        try:
            said = ShardSync(choose_profile(APIS[api]), shard, mode=mode, log=log).report()
        except (IngestError, LockTimeoutError, WarehouseError) as error:
            said = f"has failed: {error}"
        pickle.dump(said, out)


def _end_with_parent() -> None:
    """Ends this process at once when stdin does: whoever has started it is gone, or has no use for it any more."""
    # below Python's buffers, whose lock a thread must not hold when the interpreter ends
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
