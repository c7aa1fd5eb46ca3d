"""Run config and re-execution, through a real Dagster instance."""

from __future__ import annotations

from typing import Any

import pytest
from dagster import (
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    JobDefinition,
    JobExecutionResult,
    TableMetadataValue,
    execute_job,
    reconstructable,
)
from dagster_shared.error import SerializableErrorInfo

from analytics_ingest.definitions import defs
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sync.api_sync import ApiSync

API = "experimentation"


def job() -> JobDefinition:
    return defs.resolve_job_def(f"{API}_sync")


def config(**values: Any) -> dict[str, Any]:
    return {"ops": {API: {"config": values}}}


def execute(instance: DagsterInstance, run_config: dict[str, Any], *names: str) -> JobExecutionResult:
    """A run of some endpoints, all by default."""
    keys = [AssetKey([API, name]) for name in names] or None
    return execute_job(reconstructable(job), instance, run_config=run_config, asset_selection=keys)


def loaded(instance: DagsterInstance, run_id: str) -> dict[str, int]:
    found: dict[str, Any] = {}
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION):
        event = entry.asset_materialization
        assert event is not None
        found[event.asset_key.path[-1]] = event.metadata["rows_loaded"].value
    return found


def failure(instance: DagsterInstance, run_id: str) -> str:
    events = [e.get_dagster_event() for e in instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE)]
    data = events[0].step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)


def test_full_refresh_loads_everything_again(sandbox: SandboxServer, instance: DagsterInstance) -> None:
    names = ("gates", "gates_rules", "ingestion_status")
    with execute(instance, {}, *names) as first, execute(instance, config(full_refresh=True), *names) as refreshed:
        assert first.success
        assert refreshed.success
        assert set(loaded(instance, first.run_id)) == set(names)
        assert loaded(instance, refreshed.run_id) == loaded(instance, first.run_id)


def test_the_log_begins_with_the_mode_and_ends_with_a_table_of_all_endpoints(
    sandbox: SandboxServer, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__SKIP_ENDPOINTS", "audit_logs")
    sandbox.options.faults.append(Fault(api=API, path=r"/v1/segments$", status=404))
    names = ("audit_logs", "gates", "segments", "tags")
    tags, gates = (len(sandbox.world.collection(API, name)) for name in ("tags", "gates"))

    def run(*names: str, **values: Any) -> tuple[list[str], dict[str, str]]:
        """The lines of ours in the run's log, and by endpoint the mode in its metadata."""
        with execute(instance, config(**values), *names) as result:
            entries = instance.all_logs(result.run_id)
        events = [entry.asset_materialization for entry in entries]
        modes = {each.asset_key.path[-1]: str(each.metadata["sync_mode"].value) for each in events if each}
        return [entry.user_message for entry in entries if entry.user_message.startswith(API)], modes

    lines, modes = run(*names)
    assert lines[0] == "experimentation: incremental, 4 endpoints"
    assert modes == {"gates": "incremental", "tags": "incremental"}
    assert sorted(line.partition(";")[0] for line in lines[1:-1] if " rows: " in line) == [
        f"experimentation/gates: rows: {gates} new, 0 changed, 0 deleted, 0 rejected",
        f"experimentation/tags: rows: {tags} new, 0 changed, 0 deleted, 0 rejected",
    ]
    # one line for each endpoint
    assert len(lines) == len(names) + 2
    title, *table = lines[-1].splitlines()
    assert title == "experimentation: incremental, 1 failed, 1 skipped, 2 complete"
    assert [row.split()[:3] for row in table] == [
        ["endpoint", "status", "new"],
        ["segments", "failed", "0"],
        ["audit_logs", "skipped", "0"],
        ["gates", "complete", str(gates)],
        ["tags", "complete", str(tags)],
        ["all", str(gates + tags), "0"],
    ]

    lines, modes = run("tags", full_refresh=True)
    assert (lines[0], modes) == ("experimentation: full refresh, 1 endpoint", {"tags": "full refresh"})
    assert lines[1].startswith(f"experimentation/tags: rows: 0 new, {tags} again, 0 deleted, 0 rejected; ")
    window = "window: rows updated from 2026-01-01T00:00:00Z until 2026-01-31T12:00:00Z"
    lines, modes = run("tags", updated_from="2026-01-01", updated_to="2026-01-31T12:00:00Z")
    assert (lines[0], modes) == (f"experimentation: {window}, 1 endpoint", {"tags": window})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"updated_from": "yesterday"}, "updated_from is 'yesterday', no date or time"),
        ({"updated_from": "2026-02-01", "updated_to": "2026-01-01"}, "is later than updated_to"),
        ({"endpoints": ["gate"]}, "experimentation has no endpoint gate"),
    ],
)
def test_config_that_makes_no_sense_fails_before_any_request(
    sandbox: SandboxServer, instance: DagsterInstance, values: dict[str, Any], message: str
) -> None:
    with execute(instance, config(**values), "gates") as result:
        assert not result.success
        assert message in failure(instance, result.run_id)
    assert sandbox.requests.count() == 0


def test_a_failure_that_says_what_to_do_is_shown_without_frames(
    sandbox: SandboxServer, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def error(message: str) -> SerializableErrorInfo:
        """The error in the event log of a run that fails with a message."""
        with execute(instance, {}, "segments") as result:
            (entry,) = instance.all_logs(result.run_id, of_type=DagsterEventType.STEP_FAILURE)
            assert message in failure(instance, result.run_id)
        found = entry.get_dagster_event().step_failure_data.error
        assert found is not None
        assert (found.cause, found.context) == (None, None)
        assert found.message == f"{failure(instance, result.run_id)}\n"
        return found

    sandbox.options.faults.append(Fault(api=API, path=r"/v1/segments$", status=404))
    assert error("/v1/segments answered 404").stack == []
    with monkeypatch.context() as patch:
        patch.delenv("SOURCES__EXPERIMENTATION__API_KEY")
        assert error("experimentation is not configured: set SOURCES__EXPERIMENTATION__API_KEY").stack == []
    monkeypatch.setattr(ApiSync, "run", lambda _: 1 // 0)
    stack = "".join(error("unexpected ZeroDivisionError").stack)
    assert stack.startswith("Traceback (most recent call last):\n")
    assert ", in materialize\n" in stack
    assert stack.endswith("ZeroDivisionError: integer division or modulo by zero\n")


def test_metadata_of_a_failure_lists_what_failed_and_why(sandbox: SandboxServer, instance: DagsterInstance) -> None:
    sandbox.options.faults.append(Fault(api=API, path=r"/v1/segments$", status=404))
    with execute(instance, {}, "segments", "segments_ids", "tags") as result:
        events = [
            e.get_dagster_event() for e in instance.all_logs(result.run_id, of_type=DagsterEventType.STEP_FAILURE)
        ]
    data = events[0].step_failure_data.user_failure_data
    assert data is not None
    table = data.metadata["endpoints"]
    assert isinstance(table, TableMetadataValue)
    rows = {str(record.data["endpoint"]): record.data for record in table.records}
    assert rows["segments"]["status"] == "failed"
    assert str(rows["segments"]["reason"]).startswith("/v1/segments answered 404")
    assert rows["segments_ids"]["status"] == "skipped"
