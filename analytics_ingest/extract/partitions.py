"""Partitions: the lists of an endpoint, one for each row of its parent source, or a single one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.parents import COVERED, NO_VERSION, DateWindow, ParentVersion, PartitionName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.apis.parents import ReadTable

UNADDRESSABLE = {"", ".", ".."}
"""Segments that no path can carry: clients, proxies and servers resolve them away."""
NO_NAMING = PartitionName()


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One list to read: the endpoint's path with the values of one parent filled in.

    Attributes:
        path: The path, percent-encoded.
        params: The path parameters, and what else the rows carry from the parent.
        version: The parent's version, by which a change is detected.
        naming: How the parent's name in the path relates to the API's own.
        former: The path under which earlier syncs requested it; empty if that is the same.
        covered: Whether another endpoint's lists have its rows: only a full refresh requests it.
        again: Whether it is the second reading of a list, in case a row has moved from one list to another meanwhile.
    """

    path: str
    params: Mapping[str, Any]
    version: ParentVersion = NO_VERSION
    naming: PartitionName = NO_NAMING
    former: str = ""
    covered: bool = False
    again: bool = False

    @property
    def late(self) -> bool:
        """Whether it is read once all others have ended, if at all."""
        return self.naming.late or self.again


def addressable_path(endpoint: Endpoint, row: Mapping[str, Any]) -> str | None:
    """The path for a row of the parent source; ``None`` if a value is missing, or has a segment no path can carry."""
    for name in endpoint.path_params:
        value = row[name]
        segments = str(value).split("/") if name in endpoint.slashed_params else [str(value)]
        if value is None or not UNADDRESSABLE.isdisjoint(segments):
            return None
    return endpoint.path_for(row)


def columns_for_children(api: Api) -> dict[str, list[str]]:
    """By table of a parent, the columns that the partitions of its children need."""
    found: dict[str, dict[str, None]] = {}

    def record(resource: str, columns: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        found.setdefault(resource, {}).update(dict.fromkeys(columns))
        return ()

    for endpoint in api.endpoints:
        if endpoint.parents:
            # a source shows the columns that it needs by reading them
            list(endpoint.parents.rows(record, DateWindow()))
    return {name: list(columns) for name, columns in found.items()}


class ParentRows:
    """Rows of an API's parents that were just read, with the columns that the partitions of their children need."""

    def __init__(self, api: Api) -> None:
        """Holds no row yet."""
        self._columns = columns_for_children(api)
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in self._columns}

    def add(self, resource: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds rows of a resource; of one that is no parent, none is kept."""
        if resource in self._rows:
            self._rows[resource] += ({name: row.get(name) for name in self._columns[resource]} for row in rows)

    def columns_of(self, resource: str) -> Sequence[str]:
        """The columns of a resource that are kept; none if it is no parent."""
        return self._columns.get(resource, ())

    def forget(self, resource: str) -> None:
        """Removes the rows of a resource."""
        self._rows[resource] = []

    def read(self, resource: str, columns: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        """See ``parents.ReadTable``."""
        return (tuple(row[name] for name in columns) for row in self._rows[resource])


def partitions_from(endpoint: Endpoint, read: ReadTable, window: DateWindow) -> Iterator[Partition]:
    """One for each parent that has values for the path, each once; a single one for an endpoint without parents."""
    if endpoint.parents is None:
        yield Partition(path=endpoint.path, params={})
        return
    seen: set[tuple[str, str]] = set()
    for row in endpoint.parents.rows(read, window):
        params = {name: row[name] for name in endpoint.parents.params}
        path = addressable_path(endpoint, params)
        if path is not None and (path, str(params)) not in seen:
            seen.add((path, str(params)))
            yield Partition(path=path, params=params, covered=COVERED in row)
