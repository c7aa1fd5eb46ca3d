"""Runs through a real Dagster instance: events, metadata, failures."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, AssetSelection, DagsterEventType, DagsterInstance, ExecuteInProcessResult

from analytics_ingest.apis.column_descriptions import describe_table
from analytics_ingest.apis.registry import APIS
from analytics_ingest.definitions import defs
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import FakeClock, expected_keys, live_keys, query, sandbox_in
from analytics_ingest_tests.environment import WAREHOUSE
from analytics_ingest_tests.orchestrate.conftest import instance_in

GATES = ("experimentation/gates", "experimentation/gates_rules")
NUMBERS = [
    "dagster/row_count",
    "rows_loaded",
    "rows_deleted",
    "rows_rejected",
    "rows_read",
    "requests",
    "duration_seconds",
]
"""What Dagster plots, in the order in which it is given."""


def run(instance: DagsterInstance, *keys: str) -> ExecuteInProcessResult:
    selection = AssetSelection.assets(*(AssetKey(key.split("/")) for key in keys))
    job = defs.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance,
        raise_on_error=False,
        asset_selection=list(selection.resolve(defs.resolve_asset_graph())),
    )


def api_keys(api: str) -> list[str]:
    return [f"{api}/{endpoint.name}" for endpoint in APIS[api].endpoints]


def materialised(result: ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    found = {}
    for event in result.get_asset_materialization_events():
        materialization = event.materialization
        name = "/".join(materialization.asset_key.path)
        assert name not in found
        found[name] = {key: value.value for key, value in materialization.metadata.items()}
    return found


def failure(result: ExecuteInProcessResult) -> str:
    failures = result.filter_events(lambda event: event.event_type == DagsterEventType.STEP_FAILURE)
    assert len(failures) == 1
    data = failures[0].step_failure_data
    return str(data.user_failure_data.description)


def log(instance: DagsterInstance, result: ExecuteInProcessResult) -> list[str]:
    return [entry.user_message for entry in instance.all_logs(result.run_id)]


@dataclass(frozen=True)
class Synced:
    """Two runs of the same assets, one after the other in one process.

    Attributes:
        keys: The assets.
        first: What the first run materialised, with the metadata.
        second: The same of the second run.
        log: The first run's log.
        requests: How many requests of the first run the server counted, by asset.
        warehouse: The DuckDB file.
        rows: How many rows the server has, by asset.
        columns: The columns in the warehouse, by asset.
    """

    keys: list[str]
    first: dict[str, dict[str, Any]]
    second: dict[str, dict[str, Any]]
    log: list[str]
    requests: Counter[str]
    warehouse: str
    rows: dict[str, int]
    columns: dict[str, set[str]]


@pytest.fixture(scope="module")
def synced_twice(tmp_path_factory: pytest.TempPathFactory, storage: Path) -> Iterator[Synced]:
    folder = tmp_path_factory.mktemp("synced")
    keys = [*api_keys("feature_management"), *GATES]
    with (
        sandbox_in(folder) as server,
        pytest.MonkeyPatch.context() as patch,
        instance_in(folder / "dagster_home", storage) as instance,
    ):
        patch.setenv("SOURCES__EXPERIMENTATION__PROGRESS_INTERVAL", "0.001")
        first = run(instance, *keys)
        assert first.success
        counted = Counter(f"{record.api}/{record.endpoint}" for record in server.requests)
        second = run(instance, *keys)
        assert second.success
        yield Synced(
            keys=keys,
            first=materialised(first),
            second=materialised(second),
            log=log(instance, first),
            requests=counted,
            warehouse=str(folder / WAREHOUSE),
            rows={key: len(expected_keys(server.world, *key.split("/"))) for key in keys},
            columns={key: {row[0] for row in query(folder, f"DESCRIBE {key.replace('/', '.')}")} for key in keys},
        )


def test_every_materialisation_tells_what_was_read_and_loaded(synced_twice: Synced) -> None:
    assert set(synced_twice.first) == set(synced_twice.keys)
    for key, metadata in synced_twice.first.items():
        api, name = key.split("/")
        assert list(metadata)[: len(NUMBERS)] == NUMBERS
        numbers = {name for name, value in metadata.items() if isinstance(value, int | float)}
        # a time, which is not plotted
        assert numbers - {"highest_cursor"} == {*NUMBERS}
        assert metadata["rows_live"] == str(metadata["dagster/row_count"])
        assert metadata["dagster/table_name"] == f"warehouse.{api}.{name}"
        assert metadata["warehouse"] == synced_twice.warehouse
        assert metadata["dagster/row_count"] == synced_twice.rows[key]
        assert metadata["rows_loaded"] == metadata["dagster/row_count"]
        assert {column.name for column in metadata["dagster/column_schema"].columns} == synced_twice.columns[key]
        assert ("highest_cursor" in metadata) == bool(APIS[api].by_name[name].cursor_path)


def test_requests_of_all_assets_add_up_to_what_the_server_counted(synced_twice: Synced) -> None:
    assert Counter({key: metadata["requests"] for key, metadata in synced_twice.first.items()}) == synced_twice.requests


def test_second_run_in_the_same_process_materialises_everything_and_loads_nothing(synced_twice: Synced) -> None:
    assert set(synced_twice.second) == set(synced_twice.keys)
    for key, metadata in synced_twice.second.items():
        assert metadata["rows_loaded"] == 0
        assert metadata["dagster/row_count"] == synced_twice.first[key]["dagster/row_count"]


def test_row_count_is_that_of_the_rows_that_exist_upstream(
    tmp_path: Path, sandbox: SandboxServer, instance: DagsterInstance
) -> None:
    tags = sandbox.world.collection("experimentation", "tags")
    first = materialised(run(instance, "experimentation/tags"))["experimentation/tags"]
    del tags[:3]
    second = materialised(run(instance, "experimentation/tags"))["experimentation/tags"]

    assert first["dagster/row_count"] == len(tags) + 3
    assert second["rows_deleted"] == 3
    assert second["dagster/row_count"] == len(tags)
    assert query(tmp_path, "SELECT count(*), count(_deleted_at) FROM experimentation.tags") == [(len(tags) + 3, 3)]


def test_progress_reaches_the_event_log(synced_twice: Synced) -> None:
    parents = synced_twice.rows["experimentation/gates"]
    lines = [line for line in synced_twice.log if line.startswith("experimentation/gates_rules: ")]
    assert len(lines) >= parents
    assert any(line.startswith(f"experimentation/gates_rules: 3 of {parents} parents, ") for line in lines)
    assert lines[-2].endswith(", done")
    rules = synced_twice.rows["experimentation/gates_rules"]
    assert lines[-1].startswith(f"experimentation/gates_rules: rows: {rules} new, 0 changed, 0 deleted, 0 rejected; ")


def test_columns_are_shown_with_the_key_first_and_their_descriptions(synced_twice: Synced) -> None:
    columns = synced_twice.first["experimentation/gates_rules"]["dagster/column_schema"].columns
    names = [column.name for column in columns]

    assert names[:2] == ["gate_id", "id"]
    assert [name for name in names if name.startswith("_")] == names[-4:]
    texts = describe_table(APIS["experimentation"], APIS["experimentation"].by_name["gates_rules"])
    assert [column.description for column in columns] == [texts.get(name) for name in names]
    assert [name for name in names if name not in texts] == []


def test_child_alone_after_its_parent_and_parent_alone_after_it_are_complete(
    tmp_path: Path, sandbox: SandboxServer, instance: DagsterInstance
) -> None:
    for keys in (["gates"], ["gates_rules"], ["gates"], ["gates_rules"]):
        result = run(instance, *(f"experimentation/{key}" for key in keys))
        assert result.success
        assert set(materialised(result)) == {f"experimentation/{key}" for key in keys}
        for key in keys:
            assert live_keys(tmp_path, "experimentation", key) == expected_keys(sandbox.world, "experimentation", key)


def test_child_alone_in_an_empty_warehouse_names_its_parent_in_one_line(
    sandbox: SandboxServer, instance: DagsterInstance
) -> None:
    result = run(instance, "experimentation/gates_rules")

    assert not result.success
    assert failure(result) == (
        "experimentation/gates_rules is read for each row of experimentation/gates, which has no table yet: "
        "materialise experimentation/gates first, or together with it"
    )
    assert len(sandbox.requests) == 0


def test_collector_passes_over_what_was_imported_from_the_first_sync_on(
    sandbox: SandboxServer, instance: DagsterInstance
) -> None:
    run(instance, "experimentation/gates")
    frozen = gc.get_freeze_count()
    run(instance, "experimentation/gates")

    assert frozen > 100_000
    # objects of a sync may be garbage: of those there are no more
    assert gc.get_freeze_count() <= frozen


def test_not_configured_is_one_line_that_names_the_settings(instance: DagsterInstance) -> None:
    result = run(instance, "incident_response/incidents")

    assert failure(result) == (
        "incident_response is not configured: set SOURCES__INCIDENT_RESPONSE__PROFILE to rootly (or "
        "SOURCES__INCIDENT_RESPONSE__BASE_URL) and SOURCES__INCIDENT_RESPONSE__API_KEY; or write them below "
        "[sources.incident_response] in .dlt/secrets.toml"
    )


def test_wrong_key_fails_at_the_first_request_and_is_written_nowhere(
    tmp_path: Path,
    sandbox: SandboxServer,
    instance: DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    key = "a-key-that-is-wrong-4711"
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__API_KEY", key)
    result = run(instance, *api_keys("experimentation"))

    assert not result.success
    text = failure(result)
    assert "experimentation" in text
    assert "SOURCES__EXPERIMENTATION__API_KEY" in text
    assert "401" in text
    assert sandbox.requests.count("experimentation") == 1
    assert_nowhere(tmp_path, key, capfd)


def test_right_keys_are_written_nowhere(
    tmp_path: Path, sandbox: SandboxServer, instance: DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(instance, *api_keys("incident_response")).success

    assert_nowhere(tmp_path, sandbox.options.api_keys["incident_response"], capfd)


def assert_nowhere(folder: Path, secret: str, capfd: pytest.CaptureFixture[str]) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    assert [str(path) for path in files if secret.encode() in path.read_bytes()] == []
    captured = capfd.readouterr()
    assert secret not in captured.out + captured.err


FAILURES = {
    "no permission": (Fault(api="", status=403, body={"error": "no plan"}), "answered 403: 403, application/json, "),
    "500 for ever": (Fault(api="", status=500), "answered 500: 500, application/json, "),
    "HTML": (
        Fault(api="", status=200, body="<html>Log in</html>", content_type="text/html"),
        "a body that is not JSON: 200, text/html, '<html>Log in</html>'",
    ),
    "time-out": (Fault(api="", kind="hang", seconds=5), "no answer: HTTPConnectionPool(host"),
    "connection reset": (Fault(api="", kind="reset"), "no answer: "),
    "truncated": (Fault(api="", kind="half"), "a body that is not JSON: 200, application/json, "),
}


@pytest.mark.parametrize(
    ("api", "failing", "others"),
    [
        (
            "experimentation",
            {
                "gates": "no permission",
                "tags": "500 for ever",
                "users": "HTML",
                "holdouts": "connection reset",
                "autotunes": "truncated",
            },
            ("segments", "segments_ids", "events", "events_metrics"),
        ),
        # alone: its time-out holds for the whole API
        ("incident_response", {"dashboards": "time-out"}, ("incidents",)),
    ],
)
def test_each_endpoint_that_fails_leaves_the_others_materialised_and_is_named(
    tmp_path: Path,
    sandbox: SandboxServer,
    instance: DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    api: str,
    failing: dict[str, str],
    others: tuple[str, ...],
) -> None:
    if "time-out" in failing.values():
        monkeypatch.setenv(f"SOURCES__{api.upper()}__READ_TIMEOUT", "0.3")
    sandbox.options.faults += [
        replace(FAILURES[kind][0], api=api, path=f"{APIS[api].by_name[name].path}$") for name, kind in failing.items()
    ]
    children = [name for name in APIS[api].by_name if name == "gates_rules"]
    result = run(instance, *(f"{api}/{name}" for name in (*failing, *children, *others)))

    assert not result.success
    assert set(materialised(result)) == {f"{api}/{name}" for name in others}
    text = failure(result)
    for name, kind in failing.items():
        assert f"{APIS[api].by_name[name].path} {FAILURES[kind][1]}" in text
        assert len(failing) == 1 or f"{name} failed: /" in text
        tries = 1 if kind == "no permission" else APIS[api].retry.max_retries + 1
        assert sandbox.requests.count(api, name) == tries
    for name in children:
        assert sandbox.requests.count(api, name) == 0
        assert f"{name} skipped: its parent experimentation/gates was not read" in text
    for name in others:
        if APIS[api].by_name[name].primary_key:
            assert live_keys(tmp_path, api, name) == expected_keys(sandbox.world, api, name)


def test_endpoints_on_skip_endpoints_are_no_failure_and_their_children_neither(
    sandbox: SandboxServer, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__SKIP_ENDPOINTS", "audit_logs, gates")
    result = run(instance, *(f"experimentation/{name}" for name in ("audit_logs", "gates", "gates_rules", "tags")))

    assert result.success
    assert set(materialised(result)) == {"experimentation/tags"}
    assert {record.endpoint for record in sandbox.requests} == {"tags"}
    said = log(instance, result)
    assert "experimentation/audit_logs skipped: left out by SKIP_ENDPOINTS" in said
    assert "experimentation/gates_rules skipped: its parent experimentation/gates was not read" in said


def test_waits_reach_the_event_log_with_their_reason_and_rows_that_did_not_come_are_no_failure(
    sandbox: SandboxServer, instance: DagsterInstance, clock: FakeClock
) -> None:
    limited = {"Retry-After": "17"}
    sandbox.options.faults.append(Fault(api="experimentation", path="/v1/tags$", status=429, headers=limited, times=1))
    sandbox.options.totals = "high"
    result = run(instance, "experimentation/tags")

    assert result.success
    waits = [line for line in log(instance, result) if "waiting 17.0 s" in line]
    assert len(waits) == 1
    assert "answered 429" in waits[0]
    found = materialised(result)["experimentation/tags"]
    assert (found["retries"], found["wait_seconds"]) == ("1", "17.0")
    assert 17.0 in clock.slept
    assert found["rows_short"] == "10"
    said = "experimentation/tags: 10 rows fewer came than the API states, also when read again"
    assert [line for line in log(instance, result) if line.startswith(said)]
