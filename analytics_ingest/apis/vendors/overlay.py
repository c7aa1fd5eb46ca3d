"""A profile is laid over the neutral declaration: it says what differs, and adds what only the vendor has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analytics_ingest.apis.model import Api, Endpoint


def overlay(
    api: Api,
    *,
    every: Mapping[str, Any],
    endpoints: Mapping[str, Mapping[str, Any]],
    prefix: str = "",
    added: Sequence[Endpoint] = (),
    **changes: Any,
) -> Api:
    """The API as a vendor serves it.

    Args:
        api: The neutral declaration.
        every: Fields of all of its endpoints that differ.
        endpoints: By endpoint the fields that differ from that.
        prefix: What its paths begin with and the vendor's do not: the vendor's base URL ends in it.
        added: Endpoints that only the vendor has.
        changes: Fields of the API that differ; at least its ``profile`` and its ``base_url``.

    Raises:
        ValueError: An endpoint is changed that is not there, or parents go in a circle.
    """
    if unknown := sorted(endpoints.keys() - api.by_name.keys()):
        raise ValueError(f"{changes['profile']}: {api.name} has no endpoint {', '.join(unknown)}")
    laid = [
        replace(each, **{"path": each.path.removeprefix(prefix), **every, **endpoints.get(each.name, {})})
        for each in api.endpoints
    ]
    return replace(api, endpoints=_parents_first([*laid, *added]), **changes)


def _parents_first(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """The endpoints in their order, save that parents come before their children."""
    left = list(endpoints)
    ordered: list[Endpoint] = []
    names: set[str] = set()
    while left:
        ready = next((each for each in left if names.issuperset(each.after)), None)
        if ready is None:
            raise ValueError(f"the parents of {', '.join(each.name for each in left)} go in a circle")
        left.remove(ready)
        ordered.append(ready)
        names.add(ready.name)
    return tuple(ordered)
