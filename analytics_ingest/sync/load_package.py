"""A load package: when it ends, and whose rows go into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.extract.endpoint_reader import EndpointReader
    from analytics_ingest.extract.thread_pool import ReadPool

WORTH_LOADING = 250
"""Minimum partitions left to read for which endpoints that have ended are loaded meanwhile: a load takes as long as
several requests."""
MAX_PACKAGE_ROWS = 15_000
"""Rows of a package, about: the destination holds all of them in memory at once."""
PACKAGE_GROWTH_DIVISOR = 32
"""A package may have this fraction of the rows loaded before it, if that is more: a merge takes longer with each of
them."""


class LoadPackage:
    """One load package. Reading goes on while it is loaded.

    It ends as soon as every endpoint that others wait for has ended, so that the others can start. It then has the
    rows of these endpoints only; other endpoints that have ended are loaded next, if the rest still takes a while to
    read. Otherwise it ends once enough partitions were read (rows that are not loaded are read again after a failure),
    once there are enough rows or bytes, also in the middle of a list, or when everything is read.

    Attributes:
        readers: The endpoints under way.
        included: The endpoints whose rows are in the package; empty until it ends.
    """

    def __init__(
        self,
        readers: Iterable[EndpointReader],
        pool: ReadPool,
        waiting: Iterable[Endpoint],
        *,
        max_partitions: int,
        max_bytes: int,
    ) -> None:
        """Starts a package.

        Args:
            readers: The endpoints under way.
            pool: The threads that read them.
            waiting: The endpoints that wait for their parents.
            max_partitions: Partitions in one package; twice as many where they come faster than they load.
            max_bytes: Bytes of the responses whose rows go into one package, about.
        """
        self.readers = list(readers)
        self._pool = pool
        awaited = {name for endpoint in waiting for name in endpoint.after}
        self._awaited = [reader for reader in self.readers if reader.endpoint.name in awaited]
        self._max_partitions = max_partitions
        self._max_bytes = max_bytes
        self._partitions_before = self._partitions()
        self._rows_before = self._rows()
        self._ended_before = [reader for reader in self.readers if reader.is_read]
        self.included: Sequence[EndpointReader] = []

    @property
    def completed_parents(self) -> Sequence[EndpointReader]:
        """The endpoints that others wait for, once all of them have ended."""
        return self._awaited if all(reader.is_read for reader in self._awaited) else []

    def wait(self) -> None:
        """Waits until the package ends."""
        self._pool.process_pages(until=self._has_ended)

    def finish(self) -> list[EndpointReader]:
        """Waits until the package ends, and gives the endpoints that have something to load."""
        self.wait()
        return [reader for reader in self.included if reader.finish_package()]

    def _has_ended(self) -> bool:
        """Fixes the package's readers once the package ends."""
        if not self.included:
            self.included = self._readers_at_end()
        return bool(self.included)

    def _readers_at_end(self) -> Sequence[EndpointReader]:
        """The readers whose rows are in the package, if it ends now; else none."""
        if self.completed_parents:
            # also parents whose children started before the load: no child is loaded before its parents
            return [
                reader
                for reader in self.readers
                if reader in self._awaited or (reader.is_read and reader.parent_rows.rows)
            ]
        if self._rows() - self._rows_before >= max(MAX_PACKAGE_ROWS, self._rows_before // PACKAGE_GROWTH_DIVISOR):
            return self.readers
        if sum(reader.loading_bytes for reader in self.readers) >= self._max_bytes:
            return self.readers
        left = sum(reader.left for reader in self.readers)
        done = self._partitions() - self._partitions_before
        # pages that wait go along, up to a limit: each package has a fixed cost
        enough = done >= self._max_partitions * (2 if self._pool.has_more else 1)
        if not left or (enough and left > self._max_partitions // 2):
            return self.readers
        return self._ended_before if not self._awaited and left >= WORTH_LOADING else []

    def _rows(self) -> int:
        return sum(reader.stats.rows_loaded for reader in self.readers)

    def _partitions(self) -> int:
        return sum(reader.stats.parents_done for reader in self.readers)
