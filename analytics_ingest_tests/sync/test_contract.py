"""What holds for every endpoint in the registry, the day it is declared: exact rows, keys, columns and counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from analytics_ingest.apis import APIS
from analytics_ingest.extract.rows import DELETED_AT, ROW_HASH
from analytics_ingest_tests.conftest import sandbox_in, sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from analytics_ingest.sandbox.server import SandboxServer
    from analytics_ingest.sandbox.world import Changes
    from analytics_ingest.sync.result import EndpointResult

ENDPOINTS = [(api.name, endpoint.name) for api in APIS.values() for endpoint in api.endpoints]
every_endpoint = pytest.mark.parametrize(("api", "name"), ENDPOINTS, ids=[f"{a}/{e}" for a, e in ENDPOINTS])


@dataclass
class Pass:
    """One sync of all APIs: its results, what the server counted, the tables after it, and the truth."""

    results: dict[tuple[str, str], EndpointResult]
    requests: Counter[tuple[str, str]]
    tables: dict[tuple[str, str], tuple[list[str], list[tuple[Any, ...]]]]
    truth: dict[tuple[str, str], list[dict[str, Any]]]


@dataclass
class Passes:
    """A first sync, one without changes upstream, and one after a day has passed."""

    first: Pass
    unchanged: Pass
    later: Pass
    changes: Changes


def one_pass(server: SandboxServer, file: Path) -> Pass:
    server.requests.reset()
    results = {(api, name): result for api in APIS for name, result in sync(api).items()}
    requests = Counter({(api, name): server.requests.count(api, name) for api, name in ENDPOINTS})
    tables = {}
    with duckdb.connect(str(file), read_only=True) as connection:
        for api, name in ENDPOINTS:
            found = connection.sql(f'SELECT * FROM {api}."{name}"')
            tables[api, name] = (found.columns, found.fetchall())
    truth = {(api, name): server.world.expected(api, name) for api, name in ENDPOINTS}
    return Pass(results, requests, tables, truth)


@pytest.fixture(scope="module")
def passes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Passes]:
    folder = tmp_path_factory.mktemp("contract")
    with sandbox_in(folder) as server:
        first = one_pass(server, folder / "warehouse.duckdb")
        unchanged = one_pass(server, folder / "warehouse.duckdb")
        changes = server.world.advance(24)
        later = one_pass(server, folder / "warehouse.duckdb")
        yield Passes(first, unchanged, later, changes)


def live(table: tuple[list[str], list[tuple[Any, ...]]]) -> list[dict[str, Any]]:
    columns, rows = table
    named = [dict(zip(columns, row, strict=True)) for row in rows]
    return [row for row in named if row.get(DELETED_AT) is None]


def keys(api: str, name: str, rows: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    key = APIS[api].by_name[name].primary_key
    return Counter(tuple(row[column] for column in key) for row in rows)


def dated(value: Any) -> bool:
    return isinstance(value, str) and value[:4].isdigit() and "T" in value


@every_endpoint
@pytest.mark.parametrize("which", ["first", "unchanged", "later"])
def test_table_holds_exactly_the_rows_upstream(passes: Passes, which: str, api: str, name: str) -> None:
    done: Pass = getattr(passes, which)

    assert keys(api, name, live(done.tables[api, name])) == keys(api, name, done.truth[api, name])


@every_endpoint
def test_plain_fields_arrive_as_they_were_sent(passes: Passes, api: str, name: str) -> None:
    def plain(rows: list[dict[str, Any]], fields: set[str]) -> Counter[tuple[Any, ...]]:
        return Counter(tuple(row.get(field) for field in sorted(fields)) for row in rows)

    truth = passes.first.truth[api, name]
    columns = set(passes.first.tables[api, name][0])
    kinds = {field: {type(row[field]) for row in truth if row.get(field) is not None} for row in truth for field in row}
    fields = {
        field
        for field, types in kinds.items()
        if field in columns
        and types <= {str, int, bool}
        and len(types) == 1
        and not any(dated(row.get(field)) for row in truth)
    }

    assert fields or name in ("ingestion_status", "holdouts")
    assert plain(live(passes.first.tables[api, name]), fields) == plain(truth, fields)


@every_endpoint
def test_every_requested_page_is_booked_on_its_endpoint(passes: Passes, api: str, name: str) -> None:
    for done in (passes.first, passes.unchanged, passes.later):
        reading = done.results[api, name].reading
        assert reading is not None
        assert reading.meter.requests == done.requests[api, name]


@every_endpoint
def test_second_sync_without_changes_loads_nothing(passes: Passes, api: str, name: str) -> None:
    first, unchanged = passes.first, passes.unchanged
    result = unchanged.results[api, name]

    assert result.status == "complete"
    assert result.reading is not None
    assert result.reading.rows_loaded == 0
    assert result.rows_deleted == 0
    assert Counter(map(str, unchanged.tables[api, name][1])) == Counter(map(str, first.tables[api, name][1]))


@every_endpoint
def test_only_what_changed_is_loaded_and_what_vanished_is_marked(passes: Passes, api: str, name: str) -> None:
    result = passes.later.results[api, name]
    counts = passes.changes.of(api, name)
    assert result.reading is not None
    if not APIS[api].by_name[name].primary_key:
        assert result.reading.rows_loaded == len(passes.later.truth[api, name])
        return

    assert result.reading.rows_loaded == counts.added + counts.changed
    assert result.rows_deleted == counts.removed


@every_endpoint
def test_known_columns_are_there_whatever_came(passes: Passes, api: str, name: str) -> None:
    endpoint = APIS[api].by_name[name]
    given = endpoint.parents.params if endpoint.parents else ()
    columns = passes.first.results[api, name].columns
    assert columns is not None
    types = {column: spec.get("data_type") for column, spec in columns.items()}

    assert {"created_at", "updated_at"} <= types.keys()
    assert types["created_at"] == types["updated_at"] == "timestamp"
    assert types[ROW_HASH] == "bigint"
    assert {*endpoint.primary_key, *given} <= types.keys()
    assert set(passes.first.tables[api, name][0]) >= types.keys()


@every_endpoint
def test_counts_of_a_result_are_those_of_the_table(passes: Passes, api: str, name: str) -> None:
    result = passes.first.results[api, name]
    assert result.reading is not None

    assert result.table_rows == len(passes.first.tables[api, name][1]) == len(passes.first.truth[api, name])
    assert result.reading.rows_read >= result.reading.rows_loaded >= result.table_rows
    assert not result.reading.failures
    assert result.reading.rows_rejected == 0


@every_endpoint
def test_cursor_is_the_highest_value_upstream(passes: Passes, api: str, name: str) -> None:
    values = [row["updated_at"] for row in live(passes.later.tables[api, name]) if row["updated_at"]]
    cursor = passes.later.results[api, name].cursor

    assert cursor == (max(values, default=None) if APIS[api].by_name[name].cursor_path else None)
