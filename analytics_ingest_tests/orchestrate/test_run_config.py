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

from analytics_ingest.definitions import defs
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer

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
