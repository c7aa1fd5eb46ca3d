"""Runs that failed are tried again where that may help, for what they did not materialise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from dagster import AssetKey, AssetSelection

from analytics_ingest.definitions import defs
from analytics_ingest.sandbox.options import Fault
from analytics_ingest_tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dagster import DagsterInstance

    from analytics_ingest.sandbox.server import SandboxServer
    from analytics_ingest_tests.orchestrate.instance import RunningDagster

NO_RETRY = ("dagster/retry_on_asset_or_op_failure", "false")
GATES, TAGS, DASHBOARDS = "experimentation/gates", "experimentation/tags", "incident_response/dashboards"


@pytest.mark.parametrize(
    ("assets", "faults", "spared"),
    [
        ([GATES, TAGS], [("experimentation", "/gates$", 401)], True),
        ([GATES, TAGS], [("experimentation", "/gates$", 403)], True),
        ([GATES, TAGS], [("experimentation", "/gates$", 500)], False),
        ([GATES, TAGS], [("experimentation", "/gates$", 403), ("experimentation", "/tags$", 500)], False),
        # the other API's assets may come through at the next try
        ([GATES, DASHBOARDS], [("experimentation", "/gates$", 401), ("incident_response", "/dashboards$", 500)], False),
        ([GATES, TAGS], [], False),
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


def test_daemon_tries_again_what_was_missing_and_leaves_a_refused_key_alone(
    tmp_path: Path,
    serve: Callable[..., SandboxServer],
    start_dagster: Callable[..., RunningDagster],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    production = yaml.safe_load((ROOT / "dagster.production.yaml").read_text())
    settings = {name: production[name] for name in ("telemetry", "run_retries")}
    (tmp_path / "dagster_home" / "dagster.yaml").write_text(yaml.safe_dump(settings))
    sandbox = serve()
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__API_KEY", "a-key-that-is-wrong")
    fault = Fault(api="incident_response", path="/dashboards$", status=400)
    sandbox.options.faults.append(fault)
    dagster = start_dagster(daemon=True)
    refused = dagster.launch("experimentation_sync", assets=[GATES, TAGS])
    failing = dagster.launch("incident_response_sync", assets=[DASHBOARDS, "incident_response/incidents"])
    assert {dagster.ended(run)["status"] for run in (refused, failing)} == {"FAILURE"}
    sandbox.options.faults.remove(fault)

    def retry_of(run_id: str) -> str | None:
        found = dagster.runs(tags={"dagster/parent_run_id": run_id})
        return found[0]["runId"] if found else None

    run = dagster.ended(dagster.wait_for(lambda: retry_of(failing), "retry"))
    assert run["status"] == "SUCCESS"
    assert [each["assetKey"]["path"] for each in run["assetMaterializations"]] == [DASHBOARDS.split("/")]
    assert retry_of(refused) is None
