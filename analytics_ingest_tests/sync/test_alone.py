"""Children and parents each alone, in either order: neither eats the other's rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from analytics_ingest.apis import APIS
from analytics_ingest_tests.conftest import expected_keys, live_keys, sandbox_in, sync

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analytics_ingest.sync.result import EndpointResult

PARENTS = {(api.name, name) for api in APIS.values() for endpoint in api.endpoints for name in endpoint.upstream}
RELATED = [
    (api.name, endpoint.name)
    for api in APIS.values()
    for endpoint in api.endpoints
    if endpoint.upstream or (api.name, endpoint.name) in PARENTS
]
every_relative = pytest.mark.parametrize(("api", "name"), RELATED, ids=[f"{a}/{e}" for a, e in RELATED])


@dataclass
class Round:
    """What came of syncing each endpoint alone, in one order, after a day has passed upstream."""

    results: dict[tuple[str, str], EndpointResult] = field(default_factory=dict)
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    keys: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    truth: dict[tuple[str, str], list[Any]] = field(default_factory=dict)


@pytest.fixture(scope="module", params=["children first", "parents first"])
def alone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Round]:
    folder = tmp_path_factory.mktemp("alone")
    with sandbox_in(folder) as server:
        for api in APIS:
            sync(api, *(name for of, name in RELATED if of == api))
        server.world.advance(24)
        server.requests.reset()
        order = RELATED[::-1] if request.param == "children first" else RELATED
        found = Round({(api, name): sync(api, name)[name] for api, name in order})
        found.requests.update((r.api, r.endpoint) for r in server.requests)
        if request.param == "children first":
            # children of new parents come with the sync after that of their parents
            for api in APIS:
                if children := [name for of, name in RELATED if of == api and APIS[api].by_name[name].upstream]:
                    sync(api, *children)
        for api, name in RELATED:
            found.keys[api, name] = live_keys(folder, api, name)
            found.truth[api, name] = expected_keys(server.world, api, name)
        yield found


@every_relative
def test_alone_in_either_order_all_rows_come(alone: Round, api: str, name: str) -> None:
    assert alone.results[api, name].status == "complete"
    assert alone.keys[api, name] == alone.truth[api, name]


@every_relative
def test_alone_only_its_own_pages_are_asked_for(alone: Round, api: str, name: str) -> None:
    reading = alone.results[api, name].reading
    assert reading is not None
    assert reading.meter.requests == alone.requests[api, name] > 0
