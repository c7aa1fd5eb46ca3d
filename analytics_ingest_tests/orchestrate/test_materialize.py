"""Runs through a real Dagster instance: events, metadata, failures."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from dagster import AssetKey, AssetSelection, DagsterEventType, DagsterInstance

from analytics_ingest.apis import APIS
from analytics_ingest.definitions import defs
from analytics_ingest.sandbox.options import Fault
from analytics_ingest_tests.conftest import FakeClock, expected_keys, live_keys, query

if TYPE_CHECKING:
    from pathlib import Path

    from dagster import ExecuteInProcessResult

    from analytics_ingest.sandbox.server import SandboxServer

NUMBERS = {
    "rows_read",
    "rows_loaded",
    "rows_deleted",
    "requests",
    "retries",
    "pages",
    "duration_seconds",
    "wait_seconds",
}


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


def test_every_materialisation_tells_what_was_read_and_loaded(
    tmp_path: Path, sandbox: SandboxServer, instance: DagsterInstance
) -> None:
    result = run(instance, *api_keys("feature_management"))
    found = materialised(result)

    assert result.success
    assert set(found) == set(api_keys("feature_management"))
    for key, metadata in found.items():
        api, name = key.split("/")
        assert metadata.keys() >= NUMBERS
        assert metadata["dagster/table_name"] == f"{api}.{name}"
        assert metadata["dagster/row_count"] == len(expected_keys(sandbox.world, api, name))
        assert metadata["rows_loaded"] == metadata["dagster/row_count"]
        columns = {column.name for column in metadata["dagster/column_schema"].columns}
        described = query(tmp_path, f"DESCRIBE {api}.{name}")
        assert columns == {row[0] for row in described}
        assert ("highest_cursor" in metadata) == bool(APIS[api].by_name[name].cursor_path)


def test_requests_of_all_assets_add_up_to_what_the_server_counted(
    sandbox: SandboxServer, instance: DagsterInstance
) -> None:
    found = materialised(run(instance, *api_keys("feature_management"), *api_keys("continuous_integration")))

    booked = Counter({key: metadata["requests"] for key, metadata in found.items()})
    counted = Counter({f"{r.api}/{r.endpoint}": 0 for r in sandbox.requests})
    counted.update(f"{r.api}/{r.endpoint}" for r in sandbox.requests)
    assert booked == counted
    assert booked.total() == len(sandbox.requests)


def test_second_run_in_the_same_process_materialises_everything_and_loads_nothing(
    tmp_path: Path, sandbox: SandboxServer, instance: DagsterInstance
) -> None:
    first = materialised(run(instance, *api_keys("experimentation")))
    second = materialised(run(instance, *api_keys("experimentation")))

    assert set(first) == set(second) == set(api_keys("experimentation"))
    assert {metadata["rows_loaded"] for metadata in second.values()} == {0}
    assert {key: m["dagster/row_count"] for key, m in first.items()} == {
        key: m["dagster/row_count"] for key, m in second.items()
    }


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


def test_progress_reaches_the_event_log(
    sandbox: SandboxServer, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__PROGRESS_INTERVAL", "0.001")
    result = run(instance, "experimentation/gates", "experimentation/gates_rules")
    parents = len(sandbox.world.expected("experimentation", "gates"))

    lines = [line for line in log(instance, result) if line.startswith("experimentation/gates_rules: ")]
    assert len(lines) >= parents
    assert any(line.startswith(f"experimentation/gates_rules: 3 of {parents} parents, ") for line in lines)
    assert lines[-1].endswith(", done")


def test_not_configured_is_one_line_that_names_the_settings(instance: DagsterInstance) -> None:
    result = run(instance, "incident_response/incidents")

    assert failure(result) == (
        "incident_response is not configured: set SOURCES__INCIDENT_RESPONSE__BASE_URL and "
        "SOURCES__INCIDENT_RESPONSE__API_KEY (or [sources.incident_response] in .dlt/secrets.toml)"
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


@pytest.mark.parametrize("kind", FAILURES)
def test_one_endpoint_that_fails_leaves_the_others_materialised_and_is_named(
    tmp_path: Path, sandbox: SandboxServer, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    fault, said = FAILURES[kind]
    if kind == "time-out":
        monkeypatch.setenv("SOURCES__EXPERIMENTATION__READ_TIMEOUT", "0.3")
    sandbox.options.faults.append(replace(fault, api="experimentation", path=r"/v1/gates$"))
    others = {f"experimentation/{name}" for name in ("segments", "segments_ids", "events", "events_metrics")}
    result = run(instance, "experimentation/gates", "experimentation/gates_rules", *sorted(others))

    assert not result.success
    assert set(materialised(result)) == others
    text = failure(result)
    assert f"gates failed: /v1/gates {said}" in text
    tries = 1 if kind == "no permission" else 4
    assert sandbox.requests.count("experimentation", "gates") == tries
    assert sandbox.requests.count("experimentation", "gates_rules") == 0
    assert "gates_rules skipped: its parent experimentation/gates was not read" in text
    for name in ("segments", "segments_ids", "events_metrics"):
        assert live_keys(tmp_path, "experimentation", name) == expected_keys(sandbox.world, "experimentation", name)


def test_endpoint_on_skip_endpoints_is_no_failure(
    sandbox: SandboxServer, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__SKIP_ENDPOINTS", "audit_logs, users")
    result = run(instance, *api_keys("experimentation"))

    assert result.success
    left_out = {"experimentation/audit_logs", "experimentation/users"}
    assert set(materialised(result)) == set(api_keys("experimentation")) - left_out
    assert sandbox.requests.count("experimentation", "users") == 0
    assert "experimentation/users skipped: left out by SKIP_ENDPOINTS" in log(instance, result)


def test_waits_reach_the_event_log_with_their_reason(
    sandbox: SandboxServer, instance: DagsterInstance, clock: FakeClock
) -> None:
    limited = {"Retry-After": "17"}
    sandbox.options.faults.append(Fault(api="experimentation", path="/v1/tags$", status=429, headers=limited, times=1))
    result = run(instance, "experimentation/tags")

    assert result.success
    waits = [line for line in log(instance, result) if "waiting 17.0 s" in line]
    assert len(waits) == 1
    assert "answered 429" in waits[0]
    found = materialised(result)["experimentation/tags"]
    assert (found["retries"], found["wait_seconds"]) == (1, 17.0)
    assert 17.0 in clock.slept


def test_rows_that_did_not_come_are_told_and_are_no_failure(sandbox: SandboxServer, instance: DagsterInstance) -> None:
    sandbox.options.totals = "high"
    result = run(instance, "experimentation/tags")

    assert result.success
    assert materialised(result)["experimentation/tags"]["rows_short"] == 10
    said = "experimentation/tags: 10 rows fewer came than the API states, also when read again"
    assert [line for line in log(instance, result) if line.startswith(said)]


def test_columns_are_shown_with_the_key_first_and_ours_described(
    sandbox: SandboxServer, instance: DagsterInstance
) -> None:
    found = materialised(run(instance, "experimentation/gates", "experimentation/gates_rules"))
    columns = found["experimentation/gates_rules"]["dagster/column_schema"].columns
    names = [column.name for column in columns]

    assert names[:2] == ["gate_id", "id"]
    assert [name for name in names if name.startswith("_")] == names[-4:]
    assert all(column.description for column in columns[-4:])


def test_children_of_an_endpoint_on_skip_endpoints_are_no_failure_either(
    sandbox: SandboxServer, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__SKIP_ENDPOINTS", "gates")
    result = run(instance, *api_keys("experimentation"))

    assert result.success
    left_out = {"experimentation/gates", "experimentation/gates_rules"}
    assert set(materialised(result)) == set(api_keys("experimentation")) - left_out
    said = "experimentation/gates_rules skipped: its parent experimentation/gates was not read"
    assert said in log(instance, result)
