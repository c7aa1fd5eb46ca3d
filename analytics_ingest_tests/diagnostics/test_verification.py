"""Comparing tables with the API some lists at a time: what is found, what is no alarm, what is repaired."""

from __future__ import annotations

import logging
from pathlib import Path

import duckdb

from analytics_ingest.apis.registry import APIS
from analytics_ingest.diagnostics.repair import repair, rows_to_repair
from analytics_ingest.diagnostics.verification import VerifiedEndpoint, verify_some
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import sync

LOG = logging.getLogger("test")
API = "experimentation"


def verify(api: str = API, requests: int | None = None, *, only_again: bool = False) -> dict[str, VerifiedEndpoint]:
    found = verify_some(APIS[api], requests=requests, only_again=only_again, log=LOG)
    return {each.endpoint.name: each for each in found}


def test_a(tmp_path: Path, sandbox: SandboxServer) -> None:
    sync(API)
    first = verify()
    assert {each.verification.reason for each in first.values()} == {None}
    assert [each.endpoint.name for each in first.values() if not each.verification.verified_at] == []
    assert [(n, e.verification.rows) for n, e in first.items() if e.verification.rows] == []
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute(f"DELETE FROM {API}.gates_rules WHERE id = (SELECT min(id) FROM {API}.gates_rules)")
        connection.execute(f"UPDATE {API}._verifications SET compared_at = compared_at - INTERVAL 8 DAYS")
    found = verify()
    print([(n, e.verification.rows) for n, e in found.items() if e.verification.rows])
    to_repair = rows_to_repair(APIS[API], log=LOG)
    print(to_repair)
    for each in repair(APIS[API], to_repair, log=LOG):
        print(each.endpoint.name, each.status, each.stats.rows_loaded, each.stats.meter.requests)
    found = verify(only_again=True)
    print([(n, e.verification.rows, e.verification.verified_at) for n, e in found.items()])
    assert 0
