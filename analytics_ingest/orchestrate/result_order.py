"""Orders the results of a sync as Dagster accepts them: parents before their children."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from analytics_ingest.apis.model import Api
    from analytics_ingest.sync.result import EndpointResult


class ResultOrder:
    """Holds a result back until the selected parents of its endpoint have one.

    Dagster 1.13 fails a step whose asset is materialised after an asset that depends on it ("was yielded before its
    dependency"). A parent that is not materialised, because it failed or was skipped, is no such asset.
    """

    def __init__(self, api: Api, selected: Collection[str]) -> None:
        """Starts with no results.

        Args:
            api: The API that is synced.
            selected: Names of the endpoints that will have a result.
        """
        self._pending = set(selected)
        self._parents = {endpoint.name: set(endpoint.upstream) & self._pending for endpoint in api.endpoints}
        self._position = {
            endpoint.name: index for index, endpoint in enumerate(each for level in api.levels() for each in level)
        }
        self._held: dict[str, EndpointResult] = {}

    def add(self, result: EndpointResult) -> Iterator[EndpointResult]:
        """Adds a result; gives the results that no longer wait for a parent, parents first."""
        self._held[result.endpoint.name] = result
        while ready := [name for name in self._held if not self._parents[name] & self._pending]:
            for name in ready:
                self._pending.discard(name)
                yield self._held.pop(name)

    def remaining(self) -> Iterator[EndpointResult]:
        """The results that still wait for a parent, parents first; for the end of a sync, also of a failed one."""
        for name in sorted(self._held, key=self._position.__getitem__):
            yield self._held.pop(name)
