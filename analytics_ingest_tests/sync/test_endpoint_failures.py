"""Every endpoint fails once: its table stays, what hangs on it is skipped and says so, all else is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analytics_ingest.apis.model import Api
from analytics_ingest.apis.registry import APIS
from analytics_ingest.extract.partition_queue import MAX_FAILURES_IN_A_ROW
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.conftest import FakeClock, sandbox_in, sync
from analytics_ingest_tests.environment import WAREHOUSE, set_environment, use_folder

STATUS = {"403": 403, "error object": 200}
MOST = 6
"""Endpoints that fail in the same sync."""
USUAL = [
    ("403", "ingestion_status"),
    ("error object", "workflow_jobs"),
]
"""Endpoints that fail in `make test`, with those that fail in the same sync: parents, children, a snapshot."""


def said(fault: str, api: Api, name: str) -> str:
    """What the endpoint answers with, and no other does."""
    number = list(api.by_name).index(name)
    return {"403": "not in your plan", "error object": "the search index is being rebuilt"}[fault] + f" ({number})"


def hanging_on(api: Api, name: str) -> set[str]:
    """The endpoints that hang on this one."""
    hanging = {name}
    for endpoint in api.endpoints:
        if hanging & set(endpoint.upstream):
            hanging.add(endpoint.name)
    return hanging - {name}


def bystander(api: Api, names: list[str]) -> str | None:
    """An endpoint that does not hang on another one, and is not among these."""
    return next((each.name for each in api.endpoints if each.name not in names and not each.upstream), None)


def groups(api: Api, fault: str) -> list[list[str]]:
    """All endpoints, in groups of which none hangs on another one of its group; other groups for each fault."""
    hanging = {name: hanging_on(api, name) for name in api.by_name}
    found: list[list[str]] = []
    for name in list(api.by_name)[:: 1 if fault == "403" else -1]:
        for group in found:
            related = any(name in hanging[other] or other in hanging[name] for other in group)
            if len(group) < MOST and not related and bystander(api, [*group, name]):
                group.append(name)
                break
        else:
            found.append([name])
    return found


GROUPS = {(fault, api.name): groups(api, fault) for fault in STATUS for api in APIS.values()}
CASES = [
    pytest.param(
        *(fault, api, name),
        id=f"{fault}-{api}/{name}",
        marks=[] if any(where == fault and usual in group for where, usual in USUAL) else pytest.mark.extended,
    )
    for (fault, api), found in GROUPS.items()
    for group in found
    for name in group
]


@dataclass
class Round:
    """What came of a sync in which a group of endpoints fails, and of one after it in which none does."""

    bystander: str
    failed: dict[str, EndpointResult]
    asked: dict[str, int]
    tables: dict[str, Any]
    healed: dict[str, EndpointResult]
    tables_healed: dict[str, Any]


@dataclass
class Synced:
    """APIs, each loaded once, and the rounds that were made with them."""

    server: SandboxServer
    folder: Path
    loaded: dict[str, dict[str, Any]] = field(default_factory=dict)
    rounds: dict[tuple[str, str, str], Round] = field(default_factory=dict)

    def tables(self, api: str) -> dict[str, Any]:
        """A digest of each table's rows."""
        with duckdb.connect(str(self.folder / WAREHOUSE), read_only=True) as connection:
            return {
                endpoint.name: connection.sql(
                    f'SELECT count(*), bit_xor(hash(t)) FROM {api}."{endpoint.name}" t'
                ).fetchall()
                for endpoint in APIS[api].endpoints
            }

    def before(self, api: str) -> dict[str, Any]:
        """The tables after a sync without a failure."""
        if api not in self.loaded:
            assert {result.status for result in sync(api).values()} == {"complete"}
            self.loaded[api] = self.tables(api)
        return self.loaded[api]

    def round(self, fault: str, api: str, name: str) -> Round:
        """The round in which this endpoint fails, with others of its group."""
        group = next(group for group in GROUPS[fault, api] if name in group)
        place = (fault, api, group[0])
        if place not in self.rounds:
            self.before(api)
            self.rounds[place] = self.make(fault, APIS[api], group)
        return self.rounds[place]

    def make(self, fault: str, api: Api, group: list[str]) -> Round:
        hanging = set().union(*(hanging_on(api, name) for name in group))
        other = bystander(api, group)
        assert other is not None
        self.server.requests.reset()
        self.server.options.faults = [
            Fault(
                api=api.name,
                path=pattern(api.by_name[name].path),
                status=STATUS[fault],
                body={"error": said(fault, api, name)},
            )
            for name in group
        ]
        failed = sync(api.name, *group, *hanging, other)
        asked = {name: self.server.requests.count(api.name, name) for name in failed}
        tables = self.tables(api.name)
        self.server.options.faults = []
        healed = sync(api.name, *group, *hanging)
        return Round(other, failed, asked, tables, healed, self.tables(api.name))


@pytest.fixture(scope="module")
def rounds_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synced]:
    folder = tmp_path_factory.mktemp("fails")
    with sandbox_in(folder) as server:
        yield Synced(server, folder)


@pytest.fixture
def rounds(rounds_of_module: Synced, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Synced:
    set_environment(monkeypatch, rounds_of_module.server.environment())
    use_folder(monkeypatch, rounds_of_module.folder)
    return rounds_of_module


def pattern(path: str) -> str:
    """A regular expression for the paths of an endpoint."""
    return "^" + "[^/]+".join(map(re.escape, re.split(r"\{.+?\}", path))) + "$"


@pytest.mark.parametrize(("fault", "api", "name"), CASES)
def test_one_fails_and_no_other(rounds: Synced, fault: str, api: str, name: str) -> None:
    found, hanging = rounds.round(fault, api, name), hanging_on(APIS[api], name)

    results = found.failed
    assert results[name].status == "failed"
    assert results[found.bystander].status == "complete"
    assert f"{STATUS[fault]}, application/json" in results[name].reason
    assert said(fault, APIS[api], name) in results[name].reason
    for each in hanging:
        assert results[each].status == "skipped"
        assert re.fullmatch(rf"its parent {api}/\w+ was not read", results[each].reason)
        assert found.asked[each] == 0
    assert found.tables == rounds.before(api)

    parents = results[name].stats.parents if results[name].stats else 0
    asked = found.asked[name]
    tries = 1 if fault == "403" else APIS[api].retry.max_retries + 1
    if fault == "403":
        assert asked == min(parents, 5)
    elif parents <= MAX_FAILURES_IN_A_ROW:
        assert asked == parents * tries
    else:
        assert MAX_FAILURES_IN_A_ROW * tries <= asked <= parents * tries
    assert {found.healed[each].status for each in (name, *hanging)} == {"complete"}
    assert found.tables_healed == rounds.before(api)


@pytest.mark.parametrize("fault", STATUS)
@pytest.mark.parametrize("api", APIS)
def test_every_endpoint_fails_in_one_group(fault: str, api: str) -> None:
    assert sorted(name for group in GROUPS[fault, api] for name in group) == sorted(APIS[api].by_name)
