"""One endpoint answers with what nobody expects: the others are loaded exactly, and the odd one says what is wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from analytics_ingest.apis.model import Api, Endpoint
from analytics_ingest.apis.registry import APIS
from analytics_ingest.diagnostics.connection_check import ConnectionCheckResult, check_api
from analytics_ingest.diagnostics.verify import VerifyResult, verify_api
from analytics_ingest.extract.endpoint_columns import EndpointColumns
from analytics_ingest.extract.endpoint_reader import EndpointReader
from analytics_ingest.extract.list_reader import PageResult
from analytics_ingest.extract.partition_queue import PROBATION_PARTITIONS
from analytics_ingest.extract.row_filter import RowFilter
from analytics_ingest.json_text import json_text
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sync.api_sync import ApiSync
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.conftest import expected_keys, live_keys, query, sandbox_in, sync

API = "experimentation"
LOG = logging.getLogger("test")


def row(key: Any = "odd", **fields: Any) -> dict[str, Any]:
    return {"id": key, "name": "odd", "updated_at": "2026-01-01T00:00:00Z", **fields}


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@dataclass
class Odd:
    """Rows that an endpoint sends, and what becomes of a list of them."""

    rows: Any
    outcome: Literal["stored", "some rejected", "failed"]
    reason: str = ""


ODD = {
    "field without a name": Odd([row(**{"": 1, "fine": 2})], "stored"),
    "field with a blank name": Odd([row(**{"  ": 1})], "stored"),
    "number of 65 bits": Odd([row(big=2**63), row("b", big=5)], "stored"),
    "number of 65 bits among others": Odd([row(big=5), row("b", big=2**63)], "stored"),
    "key of 65 bits": Odd([row(2**63)], "stored"),
    "keys of several types": Odd(
        [row(5), row("-7"), row(2**63), row("007"), row(True), row(1.5)], "some rejected", "in another type"
    ),
    "260 levels": Odd([row(deep=nested(260))], "stored"),
    "1000 levels": Odd([row(deep={"a": nested(1000)})], "stored"),
    "key of 260 levels": Odd([row(nested(260))], "failed", "no plain value for id"),
    "time before year 1": Odd([row(updated_at="0001-01-01T00:00:00+14:00")], "stored"),
    "time after year 9999": Odd([row("b"), row(updated_at="9999-12-31T23:59:59-14:00")], "stored"),
    "first and last time": Odd(
        [row(updated_at="0001-01-01T00:00:00Z"), row("b", updated_at="9999-12-31T23:59:59.999999Z")], "stored"
    ),
    "times that are none": Odd([row(updated_at="soon"), row("b", updated_at={}), row("c", updated_at=True)], "stored"),
    "no objects": Odd([1, "x", None, [1], {}], "some rejected", "no"),
    "null": Odd(None, "failed", "NoneType, not records"),
    "a text": Odd("rows", "failed", "str, not records"),
    "columns of the product": Odd([row(_dlt_load_id="x", _dlt_id="y", _row_hash="z", _deletedAt="2020")], "stored"),
    "characters no database likes": Odd([row(text="a\x00b\x7f", json={"k\x00": "v\x00"})], "stored"),
    "2000 columns": Odd([row(**{f"c{n}": n for n in range(2_000)})], "failed", "EXCLUDE_COLUMNS"),
    "names of 300 characters": Odd([row(**{"n" * 300: 1, "n" * 299 + "m": 2})], "stored"),
}
WRAPPED: dict[str, Callable[[Any], Any]] = {
    "tags": lambda rows: {"data": rows},
    "ingestion_status": lambda rows: {"data": rows},
    "gates_rules": lambda rows: {"data": [{"rules": rows}]},
}
PATHS = {"tags": "/v1/tags$", "ingestion_status": "/v1/ingestion/status$", "gates_rules": "/v1/gates/[^/]+/rules$"}
OTHERS = ("gates", "holdouts", "layers")


def send(sandbox: SandboxServer, api: str, path: str, body: Any) -> None:
    sandbox.options.faults.append(Fault(api=api, path=path, status=200, body=json_text(body)))


def assert_exact(tmp_path: Path, sandbox: SandboxServer, api: str, *names: str) -> None:
    for name in names:
        assert live_keys(tmp_path, api, name) == expected_keys(sandbox.world, api, name)


def copies(name: str, count: int) -> list[Endpoint]:
    """The endpoint as often as said, each with a path and a table of its own."""
    plain = APIS[API].by_name[name]
    return [replace(plain, name=f"{name}_{number}", path=f"{plain.path}/{number}") for number in range(count)]


def api_of(*endpoints: Endpoint) -> Api:
    """The API with these endpoints, beside those that are always the same."""
    return replace(APIS[API], endpoints=(*(APIS[API].by_name[name] for name in OTHERS), *endpoints), probes=())


def run(api: Api) -> dict[str, EndpointResult]:
    return {result.endpoint.name: result for result in ApiSync(api, log=LOG).run()}


@contextmanager
def collected(level: int) -> Iterator[list[str]]:
    """What the syncs log from a level on."""
    said: list[str] = []
    handler = logging.Handler(level)
    handler.emit = lambda record: said.append(record.getMessage())
    LOG.addHandler(handler)
    yield said
    LOG.removeHandler(handler)


@dataclass
class Twice:
    """Two syncs of an API in which each kind of odd rows has a list, a snapshot and a child, and what is said of it."""

    syncs: list[dict[str, EndpointResult]]
    rejected: dict[str, list[str]]
    verified: dict[str, VerifyResult]
    checked: dict[str, ConnectionCheckResult]
    stored: dict[str, list[Any]]
    sent: dict[str, list[Any]]
    said: list[str]


@pytest.fixture(scope="module")
def odd_syncs(tmp_path_factory: pytest.TempPathFactory) -> Twice:
    folder = tmp_path_factory.mktemp("odd")
    api = api_of(*(copy for name in WRAPPED for copy in copies(name, len(ODD))))
    with sandbox_in(folder) as server, collected(logging.WARNING) as said:
        for name, wrapped in WRAPPED.items():
            for number, odd in enumerate(ODD.values()):
                send(server, API, PATHS[name].replace("$", f"/{number}$"), wrapped(odd.rows))
        syncs = [run(api), run(api)]
        rejected: dict[str, list[str]] = {}
        for name, reason in query(folder, f"SELECT endpoint, reason FROM {API}._rejected_rows"):
            rejected.setdefault(name, []).append(reason)
        selected = {"gates", *(f"tags_{number}" for number in range(len(ODD)))}
        return Twice(
            syncs,
            rejected,
            {each.endpoint.name: each for each in verify_api(api, selected=selected, log=LOG)},
            {each.subject: each for each in check_api(api, log=LOG)},
            {name: live_keys(folder, API, name) for name in OTHERS},
            {name: expected_keys(server.world, API, name) for name in OTHERS},
            said,
        )


def test_no_odd_row_costs_another_list_anything(odd_syncs: Twice) -> None:
    for results in odd_syncs.syncs:
        assert {results[name].status for name in OTHERS} == {"complete"}
    assert odd_syncs.stored == odd_syncs.sent
    assert odd_syncs.verified["gates"].outcome == "same"
    assert odd_syncs.checked["gates"].outcome == "fine"
    # no package was taken apart: what some rows did to their package they did to the others in it
    assert [line for line in odd_syncs.said if "rows that cannot be stored went to" in line]
    assert not [line for line in odd_syncs.said if "loaded one by one" in line]


@pytest.mark.parametrize("kind", ODD)
def test_odd_rows_in_a_list_a_snapshot_and_a_child(odd_syncs: Twice, kind: str) -> None:
    odd, number = ODD[kind], list(ODD).index(kind)
    for results in odd_syncs.syncs:
        tags = results[f"tags_{number}"]
        assert tags.status == ("failed" if odd.outcome == "failed" else "complete")
        assert bool(tags.stats.rows_rejected) == (odd.outcome == "some rejected") or odd.outcome == "failed"
        if odd.outcome == "failed":
            assert tags.reason.startswith(f"/v1/tags/{number} ")
            assert odd.reason in tags.reason
        for name in (f"ingestion_status_{number}", f"gates_rules_{number}"):
            assert results[name].status == "complete" or results[name].reason.startswith("/v1/")
    if odd.outcome == "some rejected":
        assert any(odd.reason in reason for reason in odd_syncs.rejected[f"tags_{number}"])
    # the second sync finds the same
    for name in WRAPPED:
        result = odd_syncs.syncs[1][f"{name}_{number}"]
        assert (name, result.stats.rows_loaded if result.status == "complete" else 0) == (name, 0)
    assert odd_syncs.verified[f"tags_{number}"].outcome == ("failed" if odd.outcome == "failed" else "same")
    assert (odd_syncs.checked[f"tags_{number}"].outcome == "failed") == (odd.outcome == "failed")


def test_values_that_fit_no_type_can_be_read(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    fields = {"": 1, "big": 2**63, "deep": nested(260), "_dlt_id": "mine", "_rowHash": "mine too"}
    send(shared_sandbox, API, "/v1/tags$", {"data": [row(**fields)]})
    sync(API, "tags")

    columns = "unnamed, big, deep, sent_dlt_id, sent_row_hash"
    [found] = query(tmp_path, f"SELECT {columns} FROM {API}.tags")
    assert (found[0], found[1], found[3], found[4]) == (1, str(2**63), "mine", "mine too")
    assert json.loads(found[2]) == nested(260)


CI = "continuous_integration"
PLACES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    # by cursor, a single object, and by offset
    "context": ("^/v2/context$", lambda rows: {"items": rows, "next_page_token": None}),
    "self_ids": ("^/v2/me$", lambda rows: rows[0] if isinstance(rows, list) else rows),
    "groups": ("^/v2/groups$", lambda rows: {"objects": rows, "totalCount": len(rows or ())}),
}


@pytest.mark.extended
def test_odd_rows_one_after_the_other(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    declared = [*(APIS[CI].by_name[name] for name in ("context", "self_ids", "projects"))]
    api = replace(APIS[CI], endpoints=(*declared, APIS["feature_management"].by_name["groups"]), probes=())
    for odd in ODD.values():
        shared_sandbox.options.faults = []
        for path, wrapped in PLACES.values():
            send(shared_sandbox, CI, path, wrapped(odd.rows))
        results = run(api)

        assert results["projects"].status == "complete"
        for name in PLACES:
            assert results[name].status == "complete" or results[name].reason.startswith(api.by_name[name].path)
    assert_exact(tmp_path, shared_sandbox, CI, "projects")
    shared_sandbox.options.faults = []
    send(shared_sandbox, CI, "^/v2/groups$", {"objects": [row("a"), row("b")], "totalCount": 2})
    assert {result.status for result in run(api).values()} == {"complete"}
    assert_exact(tmp_path, shared_sandbox, CI, "context", "self_ids")
    live = query(tmp_path, f"SELECT id FROM {CI}.groups WHERE _deleted_at IS NULL ORDER BY id")
    assert live == [("a",), ("b",)]


def test_odd_rows_into_postgres(shared_sandbox: SandboxServer, postgres: Callable[[], Any]) -> None:
    for kind, odd in ODD.items():
        shared_sandbox.options.faults = []
        for name, wrapped in WRAPPED.items():
            send(shared_sandbox, API, PATHS[name], wrapped(odd.rows))
        results = sync(API, *WRAPPED, *OTHERS)

        assert (kind, {results[name].status for name in OTHERS}) == (kind, {"complete"})
        for name in WRAPPED:
            assert results[name].status == "complete" or results[name].reason.startswith("/v1/"), kind
    with postgres() as connection, connection.cursor() as cursor:
        for name in OTHERS:
            cursor.execute(f"SELECT id FROM {API}.{name} WHERE _deleted_at IS NULL")
            assert sorted(cursor.fetchall()) == expected_keys(shared_sandbox.world, API, name)


CURSORS = [{}, [], [1], {"a": 1}, True, 1.5]


def test_next_page_that_is_no_token(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    context = APIS[CI].by_name["context"]
    several = [
        replace(context, name=f"context_{number}", path=f"/v2/context/{number}") for number in range(len(CURSORS))
    ]
    for endpoint, token in zip(several, CURSORS, strict=True):
        send(shared_sandbox, CI, f"^{endpoint.path}$", {"items": [row()], "next_page_token": token})
    results = run(replace(APIS[CI], endpoints=(APIS[CI].by_name["projects"], *several), probes=()))

    for endpoint, token in zip(several, CURSORS, strict=True):
        result = results[endpoint.name]
        assert result.status == "failed", token
        assert result.reason.endswith(", not a page cursor"), token
    assert_exact(tmp_path, shared_sandbox, CI, "projects")


ENCODINGS = [
    "text/html; charset=utf8mb4",
    "application/json; charset=utf-8-of-ours",
    "application/json; charset=idna",
]


def test_content_type_with_an_unknown_encoding(shared_sandbox: SandboxServer) -> None:
    answers = [(status, content_type) for status in (200, 403, 500) for content_type in ENCODINGS]
    several = copies("tags", len(answers))
    shared_sandbox.options.faults = [
        Fault(api=API, path=f"^{endpoint.path}$", status=status, body="<html>né</html>", content_type=content_type)
        for endpoint, (status, content_type) in zip(several, answers, strict=True)
    ]
    results = run(api_of(*several))

    assert {results[name].status for name in OTHERS} == {"complete"}
    for endpoint, answer in zip(several, answers, strict=True):
        result = results[endpoint.name]
        assert result.status == "failed", answer
        assert result.reason.startswith(f"{endpoint.path} ")
        assert "<html>" in result.reason


def test_row_that_the_destination_refuses_is_rejected_and_all_others_are_loaded(
    tmp_path: Path, shared_sandbox: SandboxServer
) -> None:
    tags = shared_sandbox.world.collection(API, "tags")
    del tags[8:]
    sync(API, "gates", "tags")
    import duckdb

    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute(f"ALTER TABLE {API}.tags ADD COLUMN nick TEXT DEFAULT 'none'")
        connection.execute(f"ALTER TABLE {API}.tags ALTER nick SET NOT NULL")
    for number, tag in enumerate(tags):
        tag |= {"nick": None if number in (2, 7) else f"nick {number}", "name": f"name {number}"}
    results = sync(API, "gates", "tags")

    stats = results["tags"].stats
    assert stats is not None
    assert (results["gates"].status, results["tags"].status) == ("complete", "complete")
    assert (stats.rows_loaded, stats.rows_rejected, results["tags"].rows_deleted) == (len(tags) - 2, 2, 0)
    names = dict(query(tmp_path, f"SELECT id, name FROM {API}.tags"))
    stale = {tags[2]["id"], tags[7]["id"]}
    assert {key for key, name in names.items() if not name.startswith("name ")} == stale
    rejected = query(tmp_path, f"SELECT reason, row ->> '$.sent.id' FROM {API}._rejected_rows")
    assert {key for _, key in rejected} == stale
    assert all(reason.startswith("the destination does not take it: ") for reason, _ in rejected)
    [check] = [each for each in results["tags"].checks if each.name == "rows_as_stated"]
    assert not check.passed
    assert "no deletion is marked, since " in check.message


@pytest.mark.parametrize("rows", [2, pytest.param(100, marks=pytest.mark.extended)])
def test_table_that_the_destination_refuses_altogether_fails_alone(
    tmp_path: Path, shared_sandbox: SandboxServer, rows: int
) -> None:
    del shared_sandbox.world.collection(API, "tags")[rows:]
    sync(API, "gates", "tags", "gates_rules")
    import duckdb

    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute(f"ALTER TABLE {API}.tags ALTER name SET NOT NULL")
    for tag in shared_sandbox.world.collection(API, "tags"):
        tag["name"] = None
    shared_sandbox.world.collection(API, "gates")[0]["name"] = "another"
    results = sync(API, "gates", "tags", "gates_rules")

    assert {name: result.status for name, result in results.items()} == {
        "gates": "complete",
        "gates_rules": "complete",
        "tags": "failed",
    }
    assert results["tags"].reason.startswith("/v1/tags its rows cannot be loaded: ")
    assert ("another",) in query(tmp_path, f"SELECT name FROM {API}.gates")
    assert_exact(tmp_path, shared_sandbox, API, "gates", "tags", "gates_rules")


STEPS = (
    (EndpointReader, "_process_page"),
    (EndpointReader, "finish_package"),
    (EndpointReader, "pop_deleted_hashes"),
    (EndpointReader, "find_deleted_hashes"),
    (EndpointReader, "resource"),
    (EndpointReader, "_items"),
    (EndpointColumns, "fix_types"),
)


def test_error_of_ours_ends_one_endpoint(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    several = copies("tags", len(STEPS))
    for endpoint, (kind, step) in zip(several, STEPS, strict=True):
        send(shared_sandbox, API, f"^{endpoint.path}$", {"data": [row()]})
        monkeypatch.setattr(kind, step, failing(getattr(kind, step), step, endpoint.name))
    results = run(api_of(*several))

    assert {results[other].status for other in OTHERS} == {"complete"}
    assert_exact(tmp_path, shared_sandbox, API, *OTHERS)
    for endpoint, (_, step) in zip(several, STEPS, strict=True):
        if step != "find_deleted_hashes":
            assert results[endpoint.name].status == "failed", step
            assert f"failed with ZeroDivisionError: a fault of ours in {step}" in results[endpoint.name].reason
            assert f"ZeroDivisionError: a fault of ours in {step}" in caplog.text
    assert "Traceback" in caplog.text


def failing(plain: Callable[..., Any], step: str, name: str) -> Callable[..., Any]:
    def method(each: Any, *arguments: Any, **options: Any) -> Any:
        endpoint = each.endpoint if isinstance(each, EndpointReader) else each._endpoint
        if endpoint.name == name:
            raise ZeroDivisionError(f"a fault of ours in {step}")
        return plain(each, *arguments, **options)

    return method


def test_error_of_ours_in_every_list_of_a_fan_out_ends_it(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = RowFilter.apply

    def apply(rows: RowFilter, page: PageResult, normalizer: Any) -> PageResult:
        if page.partition.path.endswith("/rules"):
            raise ZeroDivisionError("a fault of ours")
        return plain(rows, page, normalizer)

    monkeypatch.setattr(RowFilter, "apply", apply)
    results = sync(API, "gates_rules", *OTHERS)

    assert results["gates_rules"].status == "failed"
    assert results["gates_rules"].stats is not None
    assert results["gates_rules"].stats.parents_done > PROBATION_PARTITIONS
    assert_exact(tmp_path, shared_sandbox, API, *OTHERS)


def test_result_that_cannot_be_made_fails_alone(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from analytics_ingest.warehouse.table_queries import DatasetTables

    plain = DatasetTables.counts

    def failing(tables: DatasetTables, table: str, *arguments: Any, **options: Any) -> Any:
        if table == "tags":
            raise ZeroDivisionError("a fault of ours")
        return plain(tables, table, *arguments, **options)

    monkeypatch.setattr(DatasetTables, "counts", failing)
    results = sync(API, "tags", *OTHERS)

    assert results["tags"].status == "failed"
    assert {results[other].status for other in OTHERS} == {"complete"}
    assert_exact(tmp_path, shared_sandbox, API, "tags", *OTHERS)
