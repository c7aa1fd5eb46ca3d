"""Runs that failed are tried again where that may help, for what they did not materialise."""

from __future__ import annotations

import pytest
from dagster import AssetKey, AssetSelection, DagsterInstance

from analytics_ingest.definitions import defs
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer

NO_RETRY = ("dagster/retry_on_asset_or_op_failure", "false")
GATES, TAGS, DASHBOARDS = "experimentation/gates", "experimentation/tags", "incident_response/dashboards"


@pytest.mark.parametrize(
    ("assets", "faults", "spared"),
    [
        ([GATES, TAGS], [("experimentation", "/gates$", 401)], True),
        pytest.param([GATES, TAGS], [("experimentation", "/gates$", 403)], True, marks=pytest.mark.extended),
        pytest.param([GATES, TAGS], [("experimentation", "/gates$", 500)], False, marks=pytest.mark.extended),
        ([GATES, TAGS], [("experimentation", "/gates$", 403), ("experimentation", "/tags$", 500)], False),
        # the other API's assets may come through at the next try
        ([GATES, DASHBOARDS], [("experimentation", "/gates$", 401), ("incident_response", "/dashboards$", 500)], False),
        pytest.param([GATES, TAGS], [], False, marks=pytest.mark.extended),
    ],
)
def test_run_says_whether_another_try_is_worth_it(
    sandbox: SandboxServer,
    instance: DagsterInstance,
    assets: list[str],
    faults: list[tuple[str, str, int]],
    spared: bool,
) -> None:
    sandbox.options.faults += [Fault(api=api, path=path, status=status) for api, path, status in faults]
    selection = AssetSelection.assets(*(AssetKey(key.split("/")) for key in assets))
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        raise_on_error=False,
        asset_selection=list(selection.resolve(defs.resolve_asset_graph())),
    )
    run = instance.get_run_by_id(result.run_id)

    assert result.success is not bool(faults)
    assert run is not None
    assert (NO_RETRY in run.tags.items()) is spared
