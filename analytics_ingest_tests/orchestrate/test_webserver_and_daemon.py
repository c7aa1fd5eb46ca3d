"""Webserver and daemon on a fresh instance, the sandbox behind them: what Dagster does by itself, over GraphQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from analytics_ingest.apis.registry import APIS
from analytics_ingest.extract.rows import DELETED_AT
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import ROOT, expected_keys, sandbox_in
from analytics_ingest_tests.orchestrate.instance import RunningDagster

SCHEDULED, CHANGING, CANCELLED = "incident_response", "experimentation", "continuous_integration"
SCHEDULE, SENSOR = f"{SCHEDULED}_sync_schedule", f"{CHANGING}_change_sensor"
INCIDENTS, DASHBOARDS = f"{SCHEDULED}/incidents", f"{SCHEDULED}/dashboards"


class Running:
    """The parts and what stands behind them."""

    def __init__(self, dagster: RunningDagster, server: SandboxServer, file: Path) -> None:
        self.dagster = dagster
        self.server = server
        self.file = file

    def assert_exact(self, api: str, *names: str) -> None:
        """Every table of the API, or some, holds exactly what the sandbox has."""
        with duckdb.connect(str(self.file), read_only=True) as connection:
            for endpoint in APIS[api].endpoints:
                if endpoint.primary_key and (not names or endpoint.name in names):
                    key = ", ".join(f'"{name}"' for name in endpoint.primary_key)
                    where = f"WHERE {DELETED_AT} IS NULL"
                    rows = connection.sql(f'SELECT {key} FROM {api}."{endpoint.name}" {where}').fetchall()
                    assert sorted(rows) == expected_keys(self.server.world, api, endpoint.name), endpoint.name


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("running")
    home = folder / "dagster_home"
    home.mkdir()
    production = yaml.safe_load((ROOT / "dagster.production.yaml").read_text())
    settings = {name: production[name] for name in ("telemetry", "run_retries")}
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with sandbox_in(folder) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        patch.setenv("FRESHNESS_DAEMON_INTERVAL_SECONDS", "3")
        patch.setenv("SOURCES__INCIDENT_RESPONSE__CRON", "* * * * *")
        patch.setenv("SOURCES__INCIDENT_RESPONSE__WARN_AFTER", "60")
        patch.setenv("SOURCES__EXPERIMENTATION__CHANGE_INTERVAL", "10")
        # one after the other, so that the order is that of asking
        patch.setenv("SOURCES__EXPERIMENTATION__MAX_IN_FLIGHT", "1")
        for api in APIS:
            if api not in (SCHEDULED, CHANGING, CANCELLED):
                patch.delenv(f"SOURCES__{api.upper()}__API_KEY")
        dagster = RunningDagster(home, daemon=True)
        try:
            yield Running(dagster, server, folder / "warehouse.duckdb")
        finally:
            dagster.stop()


@pytest.fixture
def running(everything: Running) -> Iterator[Running]:
    """The parts; what a test changes in the upstream's answers is undone."""
    yield everything
    everything.server.options.faults = []
    everything.server.options.latency = 0


def succeeded(running: Running, run_id: str) -> dict[str, Any]:
    run = running.dagster.ended(run_id)
    assert run["status"] == "SUCCESS", running.dagster.output()[-6000:]
    return run


def rows_loaded(running: Running, key: str) -> int:
    (materialisation,) = running.dagster.asset(key)["assetMaterializations"]
    entries = {entry["label"]: entry.get("intValue") for entry in materialisation["metadataEntries"]}
    return entries["rows_loaded"]


def runs_of_the_sensor(running: Running) -> list[dict[str, Any]]:
    return running.dagster.runs(tags={"dagster/sensor_name": SENSOR})


def first_run_of_the_sensor(running: Running) -> dict[str, Any]:
    """The run that the sensor's first tick requests."""
    run: dict[str, Any] = running.dagster.wait_for(lambda: runs_of_the_sensor(running), "first run of the sensor")[-1]
    succeeded(running, run["runId"])
    return run


def ensure_synced(running: Running) -> None:
    """Syncs the API of the schedule, unless a test has done so."""
    if not running.dagster.asset(INCIDENTS)["assetMaterializations"]:
        succeeded(running, running.dagster.launch(f"{SCHEDULED}_sync"))


def test_schedule_and_sensor_each_launch_a_run_that_succeeds_with_its_checks(running: Running) -> None:
    dagster = running.dagster
    sensor = dagster.start_sensor(SENSOR)
    dagster.start_schedule(SCHEDULE)
    launched = first_run_of_the_sensor(running)
    dagster.stop_sensor(sensor)
    tags = {"dagster/schedule_name": SCHEDULE}
    run = dagster.wait_for(lambda: dagster.runs(tags=tags), "run of the schedule")[-1]
    succeeded(running, run["runId"])
    dagster.stop_schedule(SCHEDULE)

    assert {"key": "analytics_ingest/cause", "value": "schedule"} in run["tags"]
    running.assert_exact(SCHEDULED)
    checks = dagster.asset(INCIDENTS)["assetChecksOrError"]["checks"]
    assert {each["name"]: each["executionForLatestMaterialization"]["status"] for each in checks} == dict.fromkeys(
        ["table_sound", "table_watched"], "SUCCEEDED"
    )
    assert {"key": "analytics_ingest/cause", "value": "change"} in launched["tags"]
    concerned = {name for probe in APIS[CHANGING].probes for name in probe.concerns}
    assert {asset["path"][-1] for asset in launched["assetSelection"]} == concerned
    running.assert_exact(CHANGING, *concerned)


@pytest.mark.extended
def test_change_leads_to_one_run_of_the_assets_concerned_and_no_second(running: Running) -> None:
    started = running.dagster.start_sensor(SENSOR)

    def quiet(after: int) -> bool:
        """Whether the sensor found no change twice, and no more runs than ``after``."""
        ticks = running.dagster.ticks(SENSOR)
        assert len(runs_of_the_sensor(running)) <= after
        return len(ticks) > 1 and all("no change at" in (tick["skipReason"] or "") for tick in ticks[:2])

    first_run_of_the_sensor(running)
    running.dagster.wait_for(lambda: quiet(1), "quiet after the first run")
    runs = running.server.world.collection(CHANGING, "ingestion_runs")
    runs.append({**runs[0], "id": "a-run-of-today"})
    second = running.dagster.wait_for(lambda: next(iter(runs_of_the_sensor(running)[:-1]), None), "run for the change")
    succeeded(running, second["runId"])
    running.dagster.wait_for(lambda: quiet(2), "quiet after the second run")
    running.dagster.stop_sensor(started)

    probe = next(each for each in APIS[CHANGING].probes if each.endpoint == "ingestion_runs")
    assert {asset["path"][-1] for asset in second["assetSelection"]} == set(probe.concerns)
    running.assert_exact(CHANGING, *probe.concerns)


@pytest.mark.extended
def test_daemon_tries_again_what_was_missing_and_leaves_a_refusal_to_a_reexecution(running: Running) -> None:
    dagster, server = running.dagster, running.server
    gate = server.world.expected(CHANGING, "gates")[2]["id"]
    dashboards = Fault(api=SCHEDULED, path="/dashboards$", status=400)
    server.options.faults = [
        Fault(api=CHANGING, path=r"^/v1/segments$", status=403),
        Fault(api=CHANGING, path=f"^/v1/gates/{gate}/rules$", status=403),
        dashboards,
    ]
    refused = dagster.launch(f"{CHANGING}_sync")
    failing = dagster.launch(f"{SCHEDULED}_sync", assets=[DASHBOARDS, INCIDENTS])
    assert {dagster.ended(run)["status"] for run in (refused, failing)} == {"FAILURE"}
    server.options.faults.remove(dashboards)

    def retry_of(run_id: str) -> str | None:
        found = dagster.runs(tags={"dagster/parent_run_id": run_id})
        return found[0]["runId"] if found else None

    run = succeeded(running, dagster.wait_for(lambda: retry_of(failing), "retry"))
    assert [each["assetKey"]["path"] for each in run["assetMaterializations"]] == [DASHBOARDS.split("/")]
    assert retry_of(refused) is None

    server.options.faults.clear()
    server.requests.reset()
    again = succeeded(running, dagster.reexecute(refused, "FROM_ASSET_FAILURE"))
    missing = ["gates_rules", "segments", "segments_ids"]
    assert sorted(asset["assetKey"]["path"][-1] for asset in again["assetMaterializations"]) == missing
    assert {record.endpoint for record in server.requests} == set(missing)
    # the parent that had failed is read first
    rules = [record.path for record in server.requests if record.endpoint == "gates_rules"]
    assert rules[0] == f"/{CHANGING}/v1/gates/{gate}/rules"
    running.assert_exact(CHANGING)


@pytest.mark.extended
def test_cancelling_half_way_leaves_the_warehouse_whole(running: Running) -> None:
    running.server.options.latency = 0.1
    run_id = running.dagster.launch(f"{CANCELLED}_sync")
    running.dagster.wait_for(lambda: running.server.requests.count(CANCELLED, "workflow_jobs") > 0, "half of the sync")
    running.dagster.cancel(run_id)
    assert running.dagster.ended(run_id)["status"] == "CANCELED"
    running.server.options.latency = 0
    succeeded(running, running.dagster.launch(f"{CANCELLED}_sync"))

    running.assert_exact(CANCELLED)
    assert not [each for each in running.dagster.runs(statuses=["STARTED"]) if each["runId"] == run_id]


@pytest.mark.extended
def test_asset_past_its_window_is_requested_and_turns_fresh(running: Running) -> None:
    dagster = running.dagster
    # a schedule that is stopped in the middle of its tick finishes it
    dagster.stop_schedule(SCHEDULE)
    ensure_synced(running)
    runs = dagster.runs()

    def freshness() -> str:
        info = dagster.asset(INCIDENTS)["freshnessStatusInfo"]
        return str(info["freshnessStatus"]) if info else ""

    dagster.wait_for(lambda: freshness() == "WARNING", "asset that is late")
    started = dagster.start_sensor("freshness_sensor")
    tags = {"analytics_ingest/cause": "freshness"}

    def requested() -> dict[str, Any] | None:
        wanted = {"path": INCIDENTS.split("/")}
        return next((run for run in dagster.runs(tags=tags) if wanted in (run["assetSelection"] or ())), None)

    run = dagster.wait_for(requested, "run for the late asset")
    dagster.stop_sensor(started)
    succeeded(running, run["runId"])
    dagster.wait_for(lambda: freshness() == "HEALTHY", "asset that is fresh again")
    assert rows_loaded(running, INCIDENTS) == 0
    synced = {tuple(asset["path"]) for asset in run["assetSelection"]}
    # what was synced a while ago is not late yet, what has no key is not configured
    fresh = {tuple(asset["path"]) for each in runs for asset in each["assetSelection"] or ()}
    assert not {path for path in fresh & synced if path[0] != SCHEDULED}
    assert {path[0] for path in synced} <= {SCHEDULED, CHANGING, CANCELLED}


@pytest.mark.extended
def test_full_refresh_loads_every_row_again(running: Running) -> None:
    ensure_synced(running)
    config = {"ops": {SCHEDULED: {"config": {"full_refresh": True}}}}
    succeeded(running, running.dagster.launch(f"{SCHEDULED}_full_refresh", config=config))

    assert rows_loaded(running, INCIDENTS) == len(expected_keys(running.server.world, SCHEDULED, "incidents"))
    running.assert_exact(SCHEDULED)


def test_keys_and_rows_are_nowhere_in_the_instance(running: Running) -> None:
    # the last of the module: every run above has left its traces by now
    stored = b"".join(path.read_bytes() for path in running.dagster.home.rglob("*") if path.is_file())
    assert b"rows_loaded" in stored
    for key in running.server.options.api_keys.values():
        assert key.encode() not in stored
    titles = [row["title"] for row in running.server.world.collection(SCHEDULED, "incidents") if "title" in row]
    names = [row["name"] for row in running.server.world.collection(CHANGING, "gates")]
    assert names
    assert not [each for each in titles + names if len(each) > 8 and each.encode() in stored]
