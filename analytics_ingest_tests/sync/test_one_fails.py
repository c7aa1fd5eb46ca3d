"""Every endpoint fails once: its table stays, what hangs on it is skipped and says so, all else is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from analytics_ingest.apis import APIS
from analytics_ingest.extract.patience import OUTAGE
from analytics_ingest.sandbox.options import Fault
from analytics_ingest_tests.conftest import sandbox_in, sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from analytics_ingest.apis import Api
    from analytics_ingest.sandbox.server import SandboxServer

ENDPOINTS = [(api.name, endpoint.name) for api in APIS.values() for endpoint in api.endpoints]
every_endpoint = pytest.mark.parametrize(("api", "name"), ENDPOINTS, ids=[f"{a}/{e}" for a, e in ENDPOINTS])
NO_PERMISSION: dict[str, Any] = {"status": 403, "body": {"error": "not in your plan"}}
ERROR_OBJECT: dict[str, Any] = {"status": 200, "body": {"error": "the search index is being rebuilt"}}


@dataclass
class Synced:
    """All APIs, loaded once."""

    server: SandboxServer
    file: Path
    environment: dict[str, str]

    def tables(self, api: str) -> dict[str, Any]:
        """A digest of each table's rows."""
        with duckdb.connect(str(self.file), read_only=True) as connection:
            return {
                endpoint.name: connection.sql(
                    f'SELECT count(*), bit_xor(hash(t)) FROM {api}."{endpoint.name}" t'
                ).fetchall()
                for endpoint in APIS[api].endpoints
            }


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synced]:
    folder = tmp_path_factory.mktemp("fails")
    with sandbox_in(folder) as server:
        for api in APIS:
            sync(api)
        credentials = {"DESTINATION__DUCKDB__CREDENTIALS": str(folder / "warehouse.duckdb")}
        yield Synced(server, folder / "warehouse.duckdb", {**server.environment(), **credentials})


@pytest.fixture
def synced(loaded: Synced, clock: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Synced]:
    for name, value in loaded.environment.items():
        monkeypatch.setenv(name, value)
    loaded.server.requests.reset()
    yield loaded
    loaded.server.options.faults.clear()


def pattern(path: str) -> str:
    """A regular expression for the paths of an endpoint."""
    return "^" + "[^/]+".join(map(re.escape, re.split(r"\{.+?\}", path))) + "$"


def relatives(api: Api, name: str) -> tuple[set[str], str]:
    """The endpoints that hang on this one, and one that does not."""
    hanging = {name}
    for endpoint in api.endpoints:
        if hanging & set(endpoint.upstream):
            hanging.add(endpoint.name)
    bystander = next(e.name for e in api.endpoints if e.name not in hanging and not e.upstream)
    return hanging - {name}, bystander


@every_endpoint
@pytest.mark.parametrize("fault", [NO_PERMISSION, ERROR_OBJECT], ids=["403", "error object"])
def test_one_fails_and_no_other(synced: Synced, api: str, name: str, fault: dict[str, Any]) -> None:
    endpoint = APIS[api].by_name[name]
    hanging, bystander = relatives(APIS[api], name)
    before = synced.tables(api)
    synced.server.options.faults = [Fault(api=api, path=pattern(endpoint.path), **fault)]
    results = sync(api, name, *hanging, bystander)

    statuses = {each: result.status for each, result in results.items()}
    assert statuses == {name: "failed", bystander: "complete"} | dict.fromkeys(hanging, "skipped")
    said = results[name].reason
    assert f"{fault['status']}, application/json" in said
    assert fault["body"]["error"] in said
    for each in hanging:
        assert re.fullmatch(rf"its parent {api}/\w+ was not read", results[each].reason)
        assert synced.server.requests.count(api, each) == 0
    assert synced.tables(api) == before

    parents = results[name].reading.parents if results[name].reading else 0
    asked = synced.server.requests.count(api, name)
    tries = 1 if fault is NO_PERMISSION else APIS[api].retry.max_retries + 1
    if fault is NO_PERMISSION:
        assert asked == min(parents, 5)
    elif parents <= OUTAGE:
        assert asked == parents * tries
    else:
        assert OUTAGE * tries <= asked <= parents * tries
    synced.server.options.faults.clear()
    healed = sync(api, name, *hanging)
    assert {result.status for result in healed.values()} == {"complete"}
    assert synced.tables(api) == before
