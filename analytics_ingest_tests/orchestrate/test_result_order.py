"""Results in every order and with every outcome: each endpoint that completed is materialised in that run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from dagster import (
    AssetKey,
    DagsterEventType,
    DagsterExecutionInterruptedError,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
)

from analytics_ingest.apis.registry import APIS
from analytics_ingest.config.schedule import load_schedule_settings
from analytics_ingest.orchestrate.account_assets import AccountAssets
from analytics_ingest.orchestrate.assets import build_assets
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.orchestrate.test_materialize import failure, log, materialised

API = APIS["feature_management"]
CHAIN = ("workspaces", "segments", "segments_keys")
"""Each is a parent of the next one."""
OUTCOMES = [("complete",) * 3, ("failed", "complete", "complete"), ("complete", "failed", "complete")]
JOB = Definitions(
    assets=[build_assets(AccountAssets(api=API), load_schedule_settings(API))]
).resolve_implicit_global_asset_job_def()


def run(instance: DagsterInstance, *names: str) -> ExecuteInProcessResult:
    return JOB.execute_in_process(
        instance=instance, raise_on_error=False, asset_selection=[AssetKey([API.name, name]) for name in names]
    )


def result(name: str, status: Any) -> EndpointResult:
    return EndpointResult(endpoint=API.by_name[name], status=status, reason="" if status == "complete" else "no")


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> list[EndpointResult | BaseException]:
    """What the sync gives: each result in turn, or an error that ends it."""
    plan: list[EndpointResult | BaseException] = []

    class Planned:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def run(self) -> Iterator[EndpointResult]:
            for each in plan:
                if isinstance(each, BaseException):
                    raise each
                yield each

    monkeypatch.setattr("analytics_ingest.sync.api_sync.ApiSync", Planned)
    return plan


@pytest.mark.parametrize(
    "order",
    [
        # all the other way round
        ("segments_keys", "segments", "workspaces"),
        pytest.param(("segments", "segments_keys", "workspaces"), marks=pytest.mark.extended),
        pytest.param(("segments", "workspaces", "segments_keys"), marks=pytest.mark.extended),
        pytest.param(("segments_keys", "workspaces", "segments"), marks=pytest.mark.extended),
    ],
    ids=" ".join,
)
def test_what_completed_is_materialised_whatever_the_order_and_the_outcome(
    results: list[EndpointResult | BaseException], instance: DagsterInstance, order: tuple[str, ...]
) -> None:
    for outcomes in OUTCOMES:
        results[:] = [result(*each) for each in zip(order, outcomes, strict=True)]
        done = run(instance, *CHAIN)
        completed = {f"{API.name}/{name}" for name, each in zip(order, outcomes, strict=True) if each == "complete"}

        assert set(materialised(done)) == completed, outcomes
        assert done.success == ("failed" not in outcomes)


@pytest.mark.parametrize("after", [0, 2])
def test_an_unforeseen_error_keeps_the_results_before_it_and_is_one_line(
    results: list[EndpointResult | BaseException],
    instance: DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    monkeypatch.setenv("SOURCES__FEATURE_MANAGEMENT__API_KEY", "k3y/of-the-api")
    order = ("segments_keys", "segments", "workspaces")[:after]
    error = ZeroDivisionError("division of k3y%2Fof-the-api\nby zero, k3y/of-the-api")
    results[:] = [*(result(name, "complete") for name in order), error]
    done = run(instance, *CHAIN)

    assert set(materialised(done)) == {f"{API.name}/{name}" for name in order}
    assert failure(done).startswith(
        "feature_management: the sync ended with an unexpected ZeroDivisionError: division of *** by zero, ***. "
    )
    lines = log(instance, done)
    assert any("Traceback (most recent call last)" in line and "in run" in line for line in lines)
    assert not [line for line in lines if "k3y" in line]


def test_a_termination_is_passed_on(results: list[EndpointResult | BaseException], instance: DagsterInstance) -> None:
    results[:] = [result("workspaces", "complete"), DagsterExecutionInterruptedError()]
    done = run(instance, *CHAIN)

    (failed,) = [each for each in done.all_node_events if each.event_type == DagsterEventType.STEP_FAILURE]
    assert failed.step_failure_data.error.cls_name == "DagsterExecutionInterruptedError"
