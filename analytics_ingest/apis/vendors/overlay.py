"""A vendor is laid over the neutral declaration: what differs, what only the vendor has, and what it does not have."""

from __future__ import annotations

from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.apis.paginators import Paginator
    from analytics_ingest.apis.parents import ParentSource


class EndpointChanges(TypedDict, total=False):
    """The fields of an ``Endpoint`` that a vendor may declare otherwise; all but its name."""

    path: str
    data_selector: str
    fallback_selector: str | None
    paginator: Paginator
    description: str
    primary_key: tuple[str, ...]
    yield_map: Callable[[Any], Iterable[Any]] | None
    parents: ParentSource | None
    cursor_path: tuple[str, ...]
    timestamps: tuple[str, ...]
    timestamps_as_sent: tuple[str, ...]
    params: Mapping[str, Any]
    on_404: Literal["parent gone", "not defined"]
    retry_status_codes: tuple[int, ...]
    start_param: str | None
    convert: Callable[[datetime], str | int]
    final_when: tuple[str, frozenset[str]] | None
    secrets: tuple[str, ...]
    retired: tuple[str, ...]


def overlay(
    api: Api,
    *,
    every: EndpointChanges,
    endpoints: Mapping[str, EndpointChanges],
    prefix: str = "",
    added: Sequence[Endpoint] = (),
    removed: Collection[str] = (),
    **changes: Any,
) -> Api:
    """The API as a vendor serves it.

    Args:
        api: The neutral declaration.
        every: Fields of all of its endpoints that differ.
        endpoints: By endpoint the fields that differ from that.
        prefix: What its paths begin with and the vendor's do not: the vendor's base URL ends in it.
        added: Endpoints that only the vendor has.
        removed: Names of the endpoints that the vendor does not have. Their children must be removed with them, or
            have other parents.
        changes: Fields of the API that differ; at least its ``profile`` and its ``base_url``.

    Raises:
        ValueError: An endpoint is changed or removed that is not there, parents are removed and their children are
            not, or parents form a cycle.
    """
    if unknown := sorted({*endpoints, *removed} - api.by_name.keys()):
        raise ValueError(f"{changes['profile']}: {api.name} has no endpoint {', '.join(unknown)}")
    if both := sorted(endpoints.keys() & set(removed)):
        raise ValueError(f"{changes['profile']}: {', '.join(both)} is both changed and removed")
    overridden = []
    for each in api.endpoints:
        if each.name not in removed:
            fields: dict[str, Any] = {"path": each.path.removeprefix(prefix), **every, **endpoints.get(each.name, {})}
            overridden.append(replace(each, **fields))
    return replace(api, endpoints=_parents_first(changes["profile"], [*overridden, *added]), **changes)


def _parents_first(profile: str, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """The endpoints in their order, except that parents come before their children."""
    by_name = {each.name: each for each in endpoints}
    if orphans := [each.name for each in endpoints if not by_name.keys() >= set(each.after)]:
        raise ValueError(f"{profile}: {', '.join(orphans)} is read for each row of an endpoint that is not there")
    sorter = TopologicalSorter({each.name: each.after for each in endpoints})
    try:
        sorter.prepare()
    except CycleError as error:
        raise ValueError(f"{profile}: the parents of {', '.join(error.args[1][1:])} form a cycle") from None
    place = {each.name: number for number, each in enumerate(endpoints)}
    ordered: list[Endpoint] = []
    ready = set(sorter.get_ready())
    while ready:
        name = min(ready, key=place.__getitem__)
        ready.remove(name)
        ordered.append(by_name[name])
        sorter.done(name)
        ready.update(sorter.get_ready())
    return tuple(ordered)
