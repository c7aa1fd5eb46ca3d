"""The job that compares tables with the API, what it records of assets, and repair as run config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
from dagster import AssetKey, DagsterInstance, Definitions, ExecuteInProcessResult

from analytics_ingest.apis.registry import APIS
from analytics_ingest.definitions import defs
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import query, sync

API = "feature_management"
ENDPOINTS = APIS[API].by_name.keys()


def verify(instance: DagsterInstance, definitions: Definitions = defs) -> ExecuteInProcessResult:
    """A run of the job."""
    return definitions.resolve_job_def(f"{API}_verify").execute_in_process(instance=instance, raise_on_error=False)


def observed(result: ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """The metadata of the observations of a run, by endpoint."""
    found = {}
    for event in result.get_asset_observation_events():
        data: Any = event.event_specific_data
        observation = data.asset_observation
        found[observation.asset_key.path[-1]] = {name: each.value for name, each in observation.metadata.items()}
    return found


def unsound(result: ExecuteInProcessResult) -> dict[str, str]:
    """By endpoint why its check of soundness failed."""
    found = [each for each in result.get_asset_check_evaluations() if each.check_name == "table_sound"]
    assert {each.asset_key.path[-1] for each in found} == ENDPOINTS
    return {each.asset_key.path[-1]: each.description or "" for each in found if not each.passed}


def test_job_compares_and_repair_loads_what_differs(
    tmp_path: Path, instance: DagsterInstance, sandbox: SandboxServer
) -> None:
    sync(API)
    first = verify(instance)
    assert first.success
    assert unsound(first) == {}
    seen = observed(first)
    assert seen.keys() == ENDPOINTS
    assert {each["rows_that_differ"] for each in seen.values()} == {0}
    verified_at = {each["verified_at"] for each in seen.values()}
    assert len(verified_at) == 1
    assert sum(each["requests"] for each in seen.values()) <= 500

    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        [(lost,)] = connection.execute(f"SELECT min(id) FROM {API}.users").fetchall()
        connection.execute(f"DELETE FROM {API}.users WHERE id = '{lost}'")
        connection.execute(f"UPDATE {API}._verifications SET compared_at = compared_at - INTERVAL 7 DAYS")
    second = verify(instance)
    # it has done what it is for
    assert second.success
    assert observed(second)["users"]["rows_that_differ"] == 1
    [description] = unsound(second).values()
    assert (
        f"same_as_upstream: 1 row differs from the API: missing id={lost}; analytics-ingest repair {API}" in description
    )

    config = {"ops": {API: {"config": {"repair": True}}}}
    job = defs.resolve_job_def(f"{API}_sync")
    done = job.execute_in_process(instance=instance, run_config=config)
    assert [event.asset_key for event in done.get_asset_materialization_events()] == [AssetKey([API, "users"])]
    assert query(tmp_path, f"SELECT count(*) FROM {API}.users WHERE id = '{lost}'") == [(1,)]
    third = verify(instance)
    assert unsound(third) == {}
    assert observed(third)["users"]["rows_that_differ"] == 0
    assert observed(third).keys() == {"users"}


def test_repair_with_nothing_to_repair_or_with_a_window(instance: DagsterInstance, sandbox: SandboxServer) -> None:
    sync(API)
    sandbox.requests.reset()
    job = defs.resolve_job_def(f"{API}_sync")
    done = job.execute_in_process(instance=instance, run_config={"ops": {API: {"config": {"repair": True}}}})
    assert (done.success, sandbox.requests.count()) == (True, 0)
    config = {"ops": {API: {"config": {"repair": True, "full_refresh": True}}}}
    failed = job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
    [failure] = [event for event in failed.all_events if event.event_type_value == "STEP_FAILURE"]
    assert "repair reads single lists: leave full_refresh, updated_from and updated_to out" in str(failure)


def test_list_that_cannot_be_read_is_said(instance: DagsterInstance, sandbox: SandboxServer) -> None:
    sync(API)
    sandbox.options.faults = [Fault(api=API, path="users", status=403)]
    done = verify(instance)
    assert done.success
    assert "answered 403" in observed(done)["users"]["reason"]
    assert "verified_at" not in observed(done)["users"]


def test_key_that_is_refused_fails_the_run(instance: DagsterInstance, sandbox: SandboxServer) -> None:
    sync(API)
    sandbox.options.faults = [Fault(api=API, status=401)]
    done = verify(instance)
    assert not done.success
    [failure] = [event for event in done.all_events if event.event_type_value == "STEP_FAILURE"]
    assert "401" in str(failure)
