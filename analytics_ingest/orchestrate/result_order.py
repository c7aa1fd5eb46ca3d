"""Puts the results of a sync into the order that Dagster accepts: parents before their children."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from analytics_ingest.apis.model import Api
    from analytics_ingest.sync.result import EndpointResult


class ResultOrder:
    """Holds a result back until the selected parents of its endpoint have settled.

    Dagster 1.13 ends a step whose asset is materialised after one that depends on it ("was yielded before its
    dependency"). A parent that never is materialised, as it failed or was skipped, does not matter to it.
    """

    def __init__(self, api: Api, selected: Collection[str]) -> None:
        """Prepares the order.

        Args:
            api: The API that is synced.
            selected: Names of the endpoints that give a result.
        """
        self._pending = set(selected)
        self._parents = {endpoint.name: set(endpoint.upstream) & self._pending for endpoint in api.endpoints}
        self._place = {
            endpoint.name: place for place, endpoint in enumerate(each for level in api.levels() for each in level)
        }
        self._held: dict[str, EndpointResult] = {}

    def add(self, result: EndpointResult) -> Iterator[EndpointResult]:
        """Takes a result; gives those that need not wait any longer, parents first."""
        self._held[result.endpoint.name] = result
        while ready := [name for name in self._held if not self._parents[name] & self._pending]:
            for name in ready:
                self._pending.discard(name)
                yield self._held.pop(name)

    def rest(self) -> Iterator[EndpointResult]:
        """The results whose parents never gave one, parents first; for the end of a sync, whatever its outcome."""
        for name in sorted(self._held, key=self._place.__getitem__):
            yield self._held.pop(name)
