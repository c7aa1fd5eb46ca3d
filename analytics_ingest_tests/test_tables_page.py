"""The SQL texts of docs/tables.md."""

from __future__ import annotations

from pathlib import Path

from analytics_ingest.apis.column_descriptions import describe_columns
from analytics_ingest.apis.registry import APIS
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import query, sync
from analytics_ingest_tests.pages import queries_of

API = "experimentation"


def test_queries_find_the_rows_that_exist_and_the_descriptions(tmp_path: Path, sandbox: SandboxServer) -> None:
    view, comments = queries_of("tables.md").values()
    sync(API)
    gone = sandbox.world.collection(API, "gates").pop()
    sync(API)
    rows = query(tmp_path, view)
    present = {row["id"]: row for row in sandbox.world.expected(API, "gates")}

    assert {row[0] for row in rows} == present.keys()
    assert gone["id"] not in present
    columns = [name for (name,) in query(tmp_path, f"SELECT column_name FROM (DESCRIBE {API}.gates_present)")]
    assert not [name for name in columns if name.startswith("_")]
    place = columns.index("name")
    assert {row[0]: row[place] for row in rows} == {key: row["name"] for key, row in present.items()}
    texts = dict(query(tmp_path, comments))
    described = describe_columns(APIS[API], APIS[API].by_name["gates"])
    assert {name: texts[name] for name in columns} == {name: described[name] for name in columns}
