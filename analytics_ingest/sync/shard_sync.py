"""The sync of one shard: a part of a fan-out, loaded by a pipeline of its own into the endpoint's table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics_ingest.extract.errors import IngestError
from analytics_ingest.sync.shard import ShardReport, report_of
from analytics_ingest.sync.sync import ApiSync

if TYPE_CHECKING:
    import logging
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
        package.finish()
        with self._warehouse.open() as tables:
            self._warehouse.take_schema()
            self._load(package, tables, results, to_load=self._extract(package))

    # what is to be said of the table is said once, of the whole of it
    def _results(self, readers: Sequence[EndpointReader], _: Tables) -> list[EndpointResult]:
        for reader in readers:
            name = reader.endpoint.name
            self._report = report_of(reader, self._before[name].paths, deleted=self._deleted[name])
        return []
