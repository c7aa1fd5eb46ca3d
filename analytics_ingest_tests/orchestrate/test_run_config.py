"""Run config and re-execution, through a real Dagster instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from dagster import DagsterEventType, DagsterInstance, ReexecutionOptions, execute_job, reconstructable

from analytics_ingest.apis import APIS
from analytics_ingest.definitions import defs
from analytics_ingest.sandbox.options import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagster import JobDefinition, JobExecutionResult

    from analytics_ingest.sandbox.server import SandboxServer

API = "experimentation"


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.get() as found:
        yield found


def job() -> JobDefinition:
    return defs.resolve_job_def(f"{API}_sync")


def config(**values: Any) -> dict[str, Any]:
    return {"ops": {API: {"config": values}}}


def execute(instance: DagsterInstance, run_config: dict[str, Any], **options: Any) -> JobExecutionResult:
    return execute_job(reconstructable(job), instance, run_config=run_config, **options)


def loaded(instance: DagsterInstance, run_id: str) -> dict[str, int]:
    found = {}
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
    with execute(instance, {}) as first, execute(instance, config(full_refresh=True)) as refreshed:
        assert first.success
        assert refreshed.success
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
    with execute(instance, config(**values)) as result:
        assert not result.success
        assert message in failure(instance, result.run_id)
    assert sandbox.requests.count() == 0


def test_reexecution_from_asset_failure_reads_only_what_is_missing(
    sandbox: SandboxServer, instance: DagsterInstance
) -> None:
    fault = Fault(api=API, path=r"/v1/gates$", status=403)
    sandbox.options.faults.append(fault)
    with execute(instance, {}) as failed:
        assert not failed.success
        parent = failed.run_id
    missing = {"gates", "gates_rules"}
    assert set(loaded(instance, parent)) == set(APIS[API].by_name) - missing
    sandbox.options.faults.remove(fault)
    sandbox.requests.reset()
    with execute(instance, {}, reexecution_options=ReexecutionOptions.from_failure(parent, instance)) as again:
        assert again.success
    with execute(instance, {}) as whole:
        assert whole.success
    assert set(loaded(instance, whole.run_id)) == set(APIS[API].by_name)


def test_metadata_of_a_failure_lists_what_failed_and_why(sandbox: SandboxServer, instance: DagsterInstance) -> None:
    sandbox.options.faults.append(Fault(api=API, path=r"/v1/segments$", status=404))
    with execute(instance, {}) as result:
        events = [
            e.get_dagster_event() for e in instance.all_logs(result.run_id, of_type=DagsterEventType.STEP_FAILURE)
        ]
    data = events[0].step_failure_data.user_failure_data
    assert data is not None
    table = data.metadata["endpoints"].value
    assert "| segments | failed | /v1/segments answered 404" in table
    assert "| segments_ids | skipped |" in table
