"""What a run can be asked to do beyond reading what changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analytics_ingest.apis.model import Api
from analytics_ingest.apis.registry import APIS
from analytics_ingest.errors import ConfigurationError
from analytics_ingest.extract.sync_options import SyncOptions, parse_sync_options
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sync.api_sync import ApiSync
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.conftest import expected_keys, live_keys, query, stored_cursor, sync

API = "experimentation"
CURSORS = f"SELECT id, updated_at, name FROM {API}.gates ORDER BY id"


def run(options: SyncOptions, *endpoints: str, api: Api = APIS[API]) -> dict[str, EndpointResult]:
    syncing = ApiSync(api, selected=set(endpoints), options=options, log=logging.getLogger("test"))
    return {result.endpoint.name: result for result in syncing.run()}


def loaded(result: EndpointResult) -> int:
    return result.stats.rows_loaded


def tamper(tmp_path: Path, statement: str) -> None:
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute(statement)


def test_row_edited_without_its_cursor_moving_is_loaded(tmp_path: Path, filled: Callable[..., SandboxServer]) -> None:
    sandbox = filled(API, "gates")
    gate = sandbox.world.collection(API, "gates")[1]
    gate["name"] = "edited in silence"

    assert loaded(sync(API, "gates")["gates"]) == 1
    assert [row for row in query(tmp_path, CURSORS) if row[2] == "edited in silence"]


def test_full_refresh_heals_a_table_that_was_changed_by_hand(
    tmp_path: Path, filled: Callable[..., SandboxServer]
) -> None:
    filled(API, "gates")
    before = query(tmp_path, CURSORS)
    tamper(tmp_path, f"UPDATE {API}.gates SET name = 'by hand'")
    assert loaded(sync(API, "gates")["gates"]) == 0
    result = run(SyncOptions(full_refresh=True), "gates")["gates"]

    assert loaded(result) == len(before)
    assert query(tmp_path, CURSORS) == before


def test_window_loads_what_was_updated_in_it_and_moves_no_cursor(
    tmp_path: Path, filled: Callable[..., SandboxServer]
) -> None:
    sandbox = filled(API, "gates")
    cursor = stored_cursor(API, "gates")
    rows = query(tmp_path, CURSORS)
    moments = sorted(moment for _, moment, _ in rows)
    begin, end = moments[1], moments[-2]
    tamper(tmp_path, f"UPDATE {API}.gates SET name = 'by hand'")
    sandbox.world.collection(API, "gates").pop(0)
    newest = sandbox.world.collection(API, "gates")[-1]
    newest["updated_at"] = "2026-01-15T11:59:59Z"
    options = parse_sync_options(APIS[API], updated_from=begin.isoformat(), updated_to=end.isoformat())
    result = run(options, "gates")["gates"]

    upstream = sandbox.world.expected(API, "gates")
    within = [row for row in upstream if begin <= datetime.fromisoformat(row["updated_at"]) <= end]
    assert loaded(result) == len(within) > 0
    assert cursor is not None
    assert result.cursor == datetime.fromisoformat(cursor)
    assert result.rows_deleted == 0
    healed = {row[0] for row in query(tmp_path, CURSORS) if row[2] != "by hand"}
    assert healed == {row["id"] for row in within}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"updated_from": "soon"}, "updated_from is 'soon', no date or time"),
        ({"updated_from": "2026-02-01", "updated_to": "2026-01-01"}, "is later than updated_to"),
        ({"endpoints": ["gate"]}, "experimentation has no endpoint gate; there are audit_logs, "),
        ({"full_refresh": True, "updated_to": "2026-01-01"}, "full_refresh reads everything"),
    ],
)
def test_config_that_makes_no_sense(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        parse_sync_options(APIS[API], **config)
    assert message in str(error.value)


def test_only_the_endpoints_that_are_named(shared_sandbox: SandboxServer) -> None:
    results = run(SyncOptions(endpoints=frozenset({"tags"})), "tags", "gates")

    assert set(results) == {"tags"}
    assert shared_sandbox.requests.count(API) == shared_sandbox.requests.count(API, "tags") == 2


def filtering() -> Api:
    """The API as if gates could be asked for by the time of their update."""
    gates = replace(APIS[API].by_name["gates"], start_param="updated_since")
    rest = [endpoint for endpoint in APIS[API].endpoints if endpoint.name == "tags"]
    return replace(APIS[API], endpoints=(gates, *rest), probes=())


def test_api_that_filters_is_asked_from_a_look_back_before_the_cursor(
    tmp_path: Path, shared_sandbox: SandboxServer
) -> None:
    first = run(SyncOptions(), "gates", api=filtering())["gates"]
    assert [r.query for r in shared_sandbox.requests if "updated_since" in r.query] == []
    assert first.cursor is not None
    shared_sandbox.requests.reset()
    gates = shared_sandbox.world.collection(API, "gates")
    old, gone = gates[0], gates.pop(-1)
    old["name"] = "edited, with an old time"
    old["updated_at"] = "2020-01-01T00:00:00Z"
    result = run(SyncOptions(), "gates", api=filtering())["gates"]

    since = datetime.fromtimestamp(first.cursor.timestamp() - 3600, tz=UTC).isoformat()
    asked = shared_sandbox.requests[0].query.replace("%3A", ":").replace("%2B", "+")
    assert f"updated_since={since}" in asked
    # it came all the same, as it may where the API takes the day for the moment: it may be late, and is not lost
    assert (loaded(result), result.rows_deleted) == (1, 0)
    assert query(tmp_path, "SELECT count(*) FROM experimentation.gates WHERE name LIKE 'edited, with%'") == [(1,)]
    assert (gone["id"],) in live_keys(tmp_path, API, "gates")
    healed = run(SyncOptions(full_refresh=True), "gates", api=filtering())["gates"]
    assert loaded(healed) == len(gates)
    assert live_keys(tmp_path, API, "gates") == expected_keys(shared_sandbox.world, API, "gates")


def test_start_date_keeps_older_rows_out(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = sorted(row["updated_at"] for row in shared_sandbox.world.expected(API, "gates"))
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__START_DATE", moments[2])
    sync(API, "gates")

    begin = datetime.fromisoformat(moments[2])
    newer = [r for r in shared_sandbox.world.expected(API, "gates") if datetime.fromisoformat(r["updated_at"]) >= begin]
    assert live_keys(tmp_path, API, "gates") == sorted((row["id"],) for row in newer)


def test_cursor_in_the_future_pins_nothing(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    gates = shared_sandbox.world.collection(API, "gates")
    gates[0]["updated_at"] = "2099-01-01T00:00:00Z"
    gates[1]["updated_at"] = None
    first = sync(API, "gates")["gates"]
    gates[0]["name"], gates[1]["name"], gates[2]["name"] = "a", "b", "c"

    assert first.cursor is not None
    assert first.cursor < datetime.now(UTC)
    assert loaded(sync(API, "gates")["gates"]) == 3
    assert live_keys(tmp_path, API, "gates") == expected_keys(shared_sandbox.world, API, "gates")


def test_excluded_columns_reach_no_table(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__EXCLUDE_COLUMNS", "users.email, description")
    sync(API, "users", "gates")
    names = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'experimentation'"
    columns = set(query(tmp_path, names))

    assert {("users", "id"), ("gates", "name")} <= columns
    assert not {("users", "email"), ("gates", "description")} & columns


def test_excluded_fields_of_nested_objects_of_lists_and_of_rejected_rows_reach_no_table(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__EXCLUDE_COLUMNS", "tags.owner.email, tags.watchers.email, name")
    private = "someone@example.org"
    for tag in shared_sandbox.world.collection(API, "tags"):
        tag["owner"] = {"id": 7, "email": private}
        tag["watchers"] = [{"id": 8, "email": private}, {"id": 9}, "ten"]
        tag["name"] = private
    shared_sandbox.world.collection(API, "tags")[3]["id"] = None
    assert sync(API, "tags")["tags"].table_rows == 99

    rows = query(tmp_path, f"SELECT DISTINCT owner::text, watchers::text FROM {API}.tags")
    assert rows == [('{"id":7}', '[{"id":8},{"id":9},"ten"]')]
    ((rejected,),) = query(tmp_path, f"SELECT row::text FROM {API}._rejected_rows")
    assert '"owner":{"id":7}' in rejected
    assert private not in rejected


def test_key_cannot_be_excluded(shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__EXCLUDE_COLUMNS", "gates.id")
    result = sync(API, "gates")["gates"]

    assert result.status == "failed"
    assert result.reason == "EXCLUDE_COLUMNS names gates.id, which is part of the key of gates"
    assert shared_sandbox.requests.count() == 0
