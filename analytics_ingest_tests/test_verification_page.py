"""The SQL text of docs/verification.md."""

from __future__ import annotations

import logging
from pathlib import Path

import duckdb

from analytics_ingest.apis.registry import APIS
from analytics_ingest.diagnostics.verification import verify_some
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import query, sync
from analytics_ingest_tests.pages import queries_of

API = "experimentation"


def test_query_finds_tables_that_were_not_compared(tmp_path: Path, sandbox: SandboxServer) -> None:
    [sql] = queries_of("verification.md").values()
    sync(API)
    sandbox.options.faults = [Fault(api=API, path="/v1/tags$", status=403)]
    verify_some(APIS[API], requests=None, log=logging.getLogger("test"))
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute(
            f"UPDATE {API}._verifications SET verified_at = verified_at - INTERVAL 11 DAYS WHERE endpoint = 'gates'"
        )
    first, second = query(tmp_path, sql)

    assert (first[0], second[0]) == ("gates", "tags")
    assert "/v1/tags answered 403" in second[3]
    assert second[1:3] == (None, None)
    assert first[3] is None
