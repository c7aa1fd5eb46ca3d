"""Children and parents each alone, in either order: neither eats the other's rows."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.conftest import expected_keys, live_keys, sandbox_in, sync

PARENTS = {(api.name, name) for api in APIS.values() for endpoint in api.endpoints for name in endpoint.upstream}
RELATED = {
    api.name: [each.name for each in api.endpoints if each.upstream or (api.name, each.name) in PARENTS]
    for api in APIS.values()
}
USUAL = "feature_management"
"""The API of `make test`, whose endpoints are synced one by one; those of the others generation by generation."""
ORDERS = ("children first", "parents first")
every_relative = pytest.mark.parametrize(
    ("order", "api", "name"),
    [
        pytest.param(
            order,
            api,
            name,
            id=f"{order}-{api}/{name}",
            marks=[] if api == USUAL and order == ORDERS[0] else pytest.mark.extended,
        )
        for order in ORDERS
        for api, names in RELATED.items()
        for name in names
    ],
)


@dataclass
class Round:
    """What came of syncing endpoints without their relatives, in one order, after a day has passed upstream."""

    results: dict[str, EndpointResult] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    keys: dict[str, list[Any]] = field(default_factory=dict)
    truth: dict[str, list[Any]] = field(default_factory=dict)


def generation(api: str, name: str) -> int:
    """How many generations of parents an endpoint has."""
    return max((1 + generation(api, parent) for parent in APIS[api].by_name[name].upstream), default=0)


def steps(api: str) -> list[list[str]]:
    """The endpoints in the groups that are synced one after the other, parents first: none hangs on its own group."""
    if api == USUAL:
        return [[name] for name in sorted(RELATED[api], key=lambda name: generation(api, name))]
    generations: dict[int, list[str]] = {}
    for name in RELATED[api]:
        generations.setdefault(generation(api, name), []).append(name)
    return [generations[number] for number in sorted(generations)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Round]:
    """The round of an order and an API, made when it is first asked for."""
    filled = tmp_path_factory.mktemp("filled")
    return cache(lambda order, api: make_round(order, api, tmp_path_factory.mktemp("alone"), filled / api))


def make_round(order: str, api: str, folder: Path, kept: Path) -> Round:
    """Makes a round; the warehouse after the first sync is kept for the other one."""
    with sandbox_in(folder) as server:
        if kept.exists():
            shutil.copy(kept, folder / "warehouse.duckdb")
        else:
            sync(api, *RELATED[api])
            shutil.copy(folder / "warehouse.duckdb", kept)
        server.world.advance(24)
        server.requests.reset()
        found = Round()
        for names in steps(api)[:: 1 if order == "parents first" else -1]:
            found.results |= sync(api, *names)
        found.requests.update(str(r.endpoint) for r in server.requests)
        if order == "children first":
            # children of new parents come with the sync after that of their parents
            sync(api, *(name for name in RELATED[api] if APIS[api].by_name[name].upstream))
        for name in RELATED[api]:
            found.keys[name] = live_keys(folder, api, name)
            found.truth[name] = expected_keys(server.world, api, name)
    return found


@every_relative
def test_alone_in_either_order_all_rows_come(
    alone: Callable[[str, str], Round], order: str, api: str, name: str
) -> None:
    found = alone(order, api)
    assert found.results[name].status == "complete"
    assert found.keys[name] == found.truth[name]


@every_relative
def test_alone_only_its_own_pages_are_asked_for(
    alone: Callable[[str, str], Round], order: str, api: str, name: str
) -> None:
    found = alone(order, api)
    stats = found.results[name].stats
    assert stats is not None
    assert stats.meter.requests == found.requests[name] > 0
