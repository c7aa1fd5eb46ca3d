"""Changes a neutral declaration into a vendor's: fields that differ, endpoints to add, endpoints to remove."""

from __future__ import annotations

from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.apis.paginators import Paginator
    from analytics_ingest.apis.parents import ParentSource


class EndpointChanges(TypedDict, total=False):
    """The fields of an ``Endpoint`` that a vendor may change: all but its name."""

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
    doubles: tuple[str, ...]
    params: Mapping[str, Any]
    on_404: Literal["parent gone", "not defined"]
    retry_status_codes: tuple[int, ...]
    start_param: str | None
    convert: Callable[[datetime], str | int]
    final_when: tuple[str, frozenset[str]] | None
    secrets: tuple[str, ...]
    withdrawal: str
    retired: tuple[str, ...]
    history: bool
    unversioned: tuple[str, ...]
    columns: Mapping[str, str]
    common_columns: tuple[str, ...]
    json: Mapping[str, Any] | None
    whole_every: timedelta | None


def overlay(
    api: Api,
    *,
    every: EndpointChanges,
    endpoints: Mapping[str, EndpointChanges],
    prefix: str = "",
    added: Sequence[Endpoint] = (),
    removed: Collection[str] = (),
    columns: Mapping[str, Mapping[str, str]] = {},
    common_columns: Mapping[str, tuple[str, ...]] = {},
    **changes: Any,
) -> Api:
    """The API as a vendor serves it.

    Args:
        api: The neutral declaration.
        every: Changes of all endpoints.
        endpoints: Changes of single endpoints, by name; they override ``every``.
        prefix: A prefix of the neutral paths to remove, as the vendor's base URL ends with it.
        added: Endpoints that only the vendor has.
        removed: The names of endpoints that the vendor does not have. Their children must be removed as well, or get
            other parents.
        columns: Descriptions of columns, by endpoint; they override those of ``every``, ``endpoints`` and ``added``.
            An empty text removes a column that the vendor does not send.
        common_columns: By endpoint the columns of its rows that are described for all; the neutral ones do not count.
        changes: Fields of the API that differ, at least ``profile`` and ``base_url``.

    Raises:
        ValueError: An endpoint to change, describe or remove does not exist, parents are removed but not their
            children, or parents form a cycle.
    """
    if unknown := sorted({*endpoints, *removed} - api.by_name.keys()):
        raise ValueError(f"{changes['profile']}: {api.name} has no endpoint {', '.join(unknown)}")
    if both := sorted(endpoints.keys() & set(removed)):
        raise ValueError(f"{changes['profile']}: {', '.join(both)} is both changed and removed")
    overridden = []
    for each in api.endpoints:
        if each.name not in removed:
            own = endpoints.get(each.name, {})
            fields: dict[str, Any] = {"path": each.path.removeprefix(prefix), **every, **own}
            fields["columns"] = {**each.columns, **every.get("columns", {}), **own.get("columns", {})}
            overridden.append(replace(each, **fields))
    served = [*overridden, *added]
    if unknown := sorted({*columns, *common_columns} - {each.name for each in served}):
        raise ValueError(f"{changes['profile']}: columns of {', '.join(unknown)} are described, which is no endpoint")
    described = [
        replace(
            each,
            columns={name: text for name, text in {**each.columns, **columns.get(each.name, {})}.items() if text},
            common_columns=common_columns.get(each.name, ()),
        )
        for each in served
    ]
    return replace(api, endpoints=_parents_first(changes["profile"], described), **changes)


def _parents_first(profile: str, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """The endpoints in their order, with parents moved before their children."""
    by_name = {each.name: each for each in endpoints}
    if orphans := [each.name for each in endpoints if not by_name.keys() >= set(each.after)]:
        raise ValueError(f"{profile}: {', '.join(orphans)} is read for each row of an endpoint that does not exist")
    sorter = TopologicalSorter({each.name: each.after for each in endpoints})
    try:
        sorter.prepare()
    except CycleError as error:
        raise ValueError(f"{profile}: the parents of {', '.join(error.args[1][1:])} form a cycle") from None
    position = {each.name: number for number, each in enumerate(endpoints)}
    ordered: list[Endpoint] = []
    ready = set(sorter.get_ready())
    while ready:
        name = min(ready, key=position.__getitem__)
        ready.remove(name)
        ordered.append(by_name[name])
        sorter.done(name)
        ready.update(sorter.get_ready())
    return tuple(ordered)
