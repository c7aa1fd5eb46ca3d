"""Which lists of an endpoint there are: one for each row of its feed, or one in all; and what feeds need of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.parents import DateWindow
from analytics_ingest.extract.stats import Partition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.apis.parents import ReadTable

UNADDRESSABLE = {"", ".", ".."}
"""Segments that no path can carry: clients, proxies and servers resolve them away."""


def path_of(endpoint: Endpoint, row: Mapping[str, Any]) -> str | None:
    """The path for a row of the feed; ``None`` if a value is missing, or has a segment that no path can carry."""
    for name in endpoint.path_params:
        value = row[name]
        segments = str(value).split("/") if name in endpoint.slashed_params else [str(value)]
        if value is None or not UNADDRESSABLE.isdisjoint(segments):
            return None
    return endpoint.path_for(row)


def feed_columns(api: Api) -> dict[str, list[str]]:
    """The columns of each parent that the feeds of its children read."""
    found: dict[str, dict[str, None]] = {}

    def note(resource: str, columns: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        found.setdefault(resource, {}).update(dict.fromkeys(columns))
        return ()

    for endpoint in api.endpoints:
        if endpoint.parents:
            # a feed tells the columns that it needs by reading them
            list(endpoint.parents.rows(note, DateWindow()))
    return {name: list(columns) for name, columns in found.items()}


class FeedRows:
    """What the feeds of an API's children need of rows that were just read: these columns, and no more."""

    def __init__(self, api: Api) -> None:
        self._columns = feed_columns(api)
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in self._columns}

    def add(self, resource: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keeps what feeds need of finished rows."""
        if resource in self._rows:
            self._rows[resource] += ({name: row.get(name) for name in self._columns[resource]} for row in rows)

    def read(self, resource: str, columns: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        """See ``parents.ReadTable``."""
        return (tuple(row[name] for name in columns) for row in self._rows[resource])


def partitions_from(endpoint: Endpoint, read: ReadTable, window: DateWindow) -> Iterator[Partition]:
    """One for each parent that has values for the path, each once; one in all for an endpoint without parents."""
    if endpoint.parents is None:
        yield Partition(path=endpoint.path, params={})
        return
    seen: set[tuple[str, str]] = set()
    for row in endpoint.parents.rows(read, window):
        params = {name: row[name] for name in endpoint.parents.params}
        path = path_of(endpoint, params)
        if path is not None and (path, str(params)) not in seen:
            seen.add((path, str(params)))
            yield Partition(path=path, params=params)
