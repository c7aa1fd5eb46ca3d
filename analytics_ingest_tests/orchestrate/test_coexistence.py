"""Ours beside a project's own assets, in one code location and in two, with a real daemon."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from analytics_ingest.apis.registry import APIS
from analytics_ingest_tests.conftest import expected_keys, live_keys, sandbox_in
from analytics_ingest_tests.orchestrate.instance import LOCATION, RunningDagster

pytestmark = pytest.mark.extended

API = "incident_response"
HOST = """
import dagster as dg


@dg.asset
def incidents():
    raise RuntimeError("an asset of the host was materialised")


@dg.asset(key=["incident_response", "own"], group_name="incident_response")
def own():
    raise RuntimeError("an asset of the host was materialised")


@dg.job(name="incident_response_sync_report")
def report():
    pass


host = dg.Definitions(assets=[incidents, own], jobs=[report], executor=dg.in_process_executor)
"""
MERGED = """
import dagster as dg
from analytics_ingest import build_definitions
import host_module

defs = dg.Definitions.merge(host_module.host, build_definitions())
"""
MODULES = {"merged": ["host_merged"], "two locations": [LOCATION, "host_module"]}


@pytest.mark.parametrize("modules", MODULES.values(), ids=MODULES)
def test_nothing_of_the_host_is_touched(tmp_path: Path, modules: list[str]) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(yaml.safe_dump({"telemetry": {"enabled": False}}))
    (home / "host_module.py").write_text(HOST)
    (home / "host_merged.py").write_text(MERGED)
    with sandbox_in(tmp_path) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        patch.setenv("PYTHONPATH", str(home))
        patch.setenv("FRESHNESS_DAEMON_INTERVAL_SECONDS", "3")
        for api in APIS:
            if api != API:
                patch.delenv(f"SOURCES__{api.upper()}__API_KEY")
        dagster = RunningDagster(home, daemon=True, modules=modules)
        try:
            synced = dagster.ended(dagster.launch(f"{API}_sync"))
            # everything else was never materialised, and so is due
            sensor = dagster.start_sensor("freshness_sensor")
            dagster.wait_for(lambda: dagster.ticks("freshness_sensor"), "a tick of the freshness sensor")
            dagster.stop_sensor(sensor)
            runs = dagster.runs()
            states = {key: dagster.asset(key) for key in ("incidents", f"{API}/own", f"{API}/incidents")}
        finally:
            dagster.stop()
    assert synced["status"] == "SUCCESS"
    assert {"/".join(each["assetKey"]["path"]) for each in synced["assetMaterializations"]} == {
        f"{API}/{each}" for each in APIS[API].by_name
    }
    # what is not configured is not requested by the sensor, and what was just synced is fresh
    assert len(runs) == 1
    assert [bool(state["assetMaterializations"]) for state in states.values()] == [False, False, True]
    for each in APIS[API].endpoints:
        if each.primary_key:
            assert live_keys(tmp_path, API, each.name) == expected_keys(server.world, API, each.name)
