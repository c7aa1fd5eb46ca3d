"""What is read between two loads: when a load package ends, and whose rows go into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.extract.endpoint_reader import EndpointReader
    from analytics_ingest.extract.thread_pool import ReadPool

WORTH_LOADING = 250
"""Parents left to ask, at least, for what has ended to be loaded meanwhile: a load takes as long as some requests."""
MAX_PACKAGE_ROWS = 15_000
"""Rows of a package, about: the destination needs memory for all of them at once."""
PACKAGE_GROWTH_DIVISOR = 32
"""A package may have this part of the rows before it if that is more: to merge it takes longer with each of them."""


class LoadPackage:
    """One load package. Reading goes on while it is loaded.

    It is over as soon as the endpoints that others wait for have ended, so that those can begin; it then has no
    more than these, and what else has ended is loaded next, if others still take a while to read. Else it is over
    once enough parents were asked, as what is not loaded is read again after a failure; once there are enough rows
    or bytes, also in the middle of a list; or when all is read.
    """

    def __init__(
        self,
        readers: Iterable[EndpointReader],
        pool: ReadPool,
        waiting: Iterable[Endpoint],
        *,
        most: int,
        most_bytes: int,
    ) -> None:
        """Begins a package.

        Args:
            readers: The endpoints under way.
            pool: Where they are read.
            waiting: The endpoints that wait for their parents.
            most: Parents whose children go into one package; twice as many where they come faster than they load.
            most_bytes: Bytes of the answers whose rows go into one package, about.
        """
        self.readers = list(readers)
        self._pool = pool
        awaited = {name for endpoint in waiting for name in endpoint.after}
        self._awaited = [reader for reader in self.readers if reader.endpoint.name in awaited]
        self._most = most
        self._before = self._done()
        self._rows_before = self._loading()
        self._most_bytes = most_bytes
        self._ended = [reader for reader in self.readers if reader.over]
        self.taken: Sequence[EndpointReader] = []

    @property
    def completed_parents(self) -> Sequence[EndpointReader]:
        """The endpoints that others wait for, once all of them have ended."""
        return self._awaited if all(reader.over for reader in self._awaited) else []

    def wait(self) -> None:
        """Waits until the package is over."""
        self._pool.book(until=self._is_over)

    def finish_package(self) -> list[EndpointReader]:
        """The endpoints of a package that is over that have something to load."""
        self.wait()
        return [reader for reader in self.taken if reader.finish_package()]

    def _is_over(self) -> bool:
        """Decides once for all whose rows are in the package, which is nobody's as long as it is not over."""
        if not self.taken:
            self.taken = self._ending()
        return bool(self.taken)

    def _ending(self) -> Sequence[EndpointReader]:
        if self.completed_parents:
            # and those whose children began ahead of the load: no child is loaded before its parents
            return [
                reader
                for reader in self.readers
                if reader in self._awaited or (reader.over and reader.parent_rows.rows)
            ]
        if self._loading() - self._rows_before >= max(MAX_PACKAGE_ROWS, self._rows_before // PACKAGE_GROWTH_DIVISOR):
            return self.readers
        if sum(reader.loading_bytes for reader in self.readers) >= self._most_bytes:
            return self.readers
        left = sum(reader.left for reader in self.readers)
        done = self._done() - self._before
        # what has come already goes along, up to a point: a package has a cost of its own
        enough = done >= self._most * (2 if self._pool.has_more else 1)
        if not left or (enough and left > self._most // 2):
            return self.readers
        return self._ended if not self._awaited and left >= WORTH_LOADING else []

    def _loading(self) -> int:
        return sum(reader.stats.rows_loaded for reader in self.readers)

    def _done(self) -> int:
        return sum(reader.stats.parents_done for reader in self.readers)
