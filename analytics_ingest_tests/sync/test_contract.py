"""The contract over every endpoint of the registry, against the sandbox: a day passes before the last sync."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.sandbox.world import Changes
from analytics_ingest_tests.conftest import sandbox_in
from analytics_ingest_tests.contract import CHECKS, Pass, Passes, one_pass
from analytics_ingest_tests.stores import Store, duckdb_store

ENDPOINTS = [(api.name, endpoint.name) for api in APIS.values() for endpoint in api.endpoints]
every_endpoint = pytest.mark.parametrize(("api", "name"), ENDPOINTS, ids=[f"{a}/{e}" for a, e in ENDPOINTS])


Ran = tuple["Mapping[str, Passes]", "Changes"]


def contract_run(destination: Callable[[Path], AbstractContextManager[Store]]) -> Any:
    """A module's fixture ``ran``: the syncs into a destination."""

    @pytest.fixture(scope="module")
    def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
        return run(tmp_path_factory.mktemp("contract"), destination)

    return ran


def run(folder: Path, destination: Callable[[Path], AbstractContextManager[Store]]) -> Ran:
    """Three syncs of all APIs into a destination, and what the sandbox changed before the last."""
    with destination(folder) as store, sandbox_in(folder, store) as server:

        def sync_all() -> dict[str, Pass]:
            server.requests.reset()
            return {
                api.name: one_pass(
                    api,
                    store,
                    requests=partial(server.requests.count, api.name),
                    truth=partial(server.world.expected, api.name),
                    reset=lambda: None,
                )
                for api in APIS.values()
            }

        first, unchanged = sync_all(), sync_all()
        changes = server.world.advance(24)
        later = sync_all()
        return {name: Passes(APIS[name], first[name], unchanged[name], later[name]) for name in APIS}, changes


ran = contract_run(duckdb_store)


@every_endpoint
@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
def test_contract(ran: Ran, check: Callable[[Passes, str], None], api: str, name: str) -> None:
    check(ran[0][api], name)


@every_endpoint
def test_the_sandbox_changes_what_it_says(ran: Ran, api: str, name: str) -> None:
    counts, result = ran[1].of(api, name), ran[0][api].later.results[name]

    if APIS[api].by_name[name].primary_key:
        assert (result.stats.rows_loaded, result.rows_deleted) == (counts.added + counts.changed, counts.removed)
        assert result.rows_new == counts.added
