"""Webserver and daemon on a fresh instance, the sandbox behind them: what Dagster does by itself, over GraphQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from analytics_ingest.apis import APIS
from analytics_ingest.extract.rows import DELETED_AT
from analytics_ingest_tests.conftest import expected_keys, sandbox_in
from analytics_ingest_tests.orchestrate.instance import RunningDagster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from analytics_ingest.sandbox.server import SandboxServer

SCHEDULED, CHANGING, AGING = "continuous_integration", "experimentation", "incident_response"


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
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("running")
    home = folder / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with sandbox_in(folder) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        patch.setenv("FRESHNESS_DAEMON_INTERVAL_SECONDS", "3")
        patch.setenv("SOURCES__CONTINUOUS_INTEGRATION__CRON", "* * * * *")
        patch.setenv("SOURCES__CONTINUOUS_INTEGRATION__WARN_AFTER", "3600")
        patch.setenv("SOURCES__INCIDENT_RESPONSE__WARN_AFTER", "60")
        patch.setenv("SOURCES__EXPERIMENTATION__CHANGE_INTERVAL", "10")
        # its segments that are not defined cost the seeds' retries in real time
        patch.delenv("SOURCES__FEATURE_MANAGEMENT__API_KEY")
        dagster = RunningDagster(home, daemon=True)
        try:
            yield Running(dagster, server, folder / "warehouse.duckdb")
        finally:
            dagster.stop()


def succeeded(running: Running, run_id: str) -> dict[str, Any]:
    run = running.dagster.ended(run_id)
    assert run["status"] == "SUCCESS", running.dagster.output()[-6000:]
    return run


def rows_loaded(running: Running, key: str) -> int:
    (materialisation,) = running.dagster.asset(key)["assetMaterializations"]
    entries = {entry["label"]: entry.get("intValue") for entry in materialisation["metadataEntries"]}
    return entries["rows_loaded"]


def test_schedule_tick_launches_a_run_that_succeeds(running: Running) -> None:
    name = f"{SCHEDULED}_sync_schedule"
    running.dagster.start_schedule(name)
    tags = {"dagster/schedule_name": name}
    run = running.dagster.wait_for(lambda: running.dagster.runs(tags=tags), "run of the schedule")[-1]
    running.dagster.stop_schedule(name)
    succeeded(running, run["runId"])

    assert {"key": "analytics_ingest/cause", "value": "schedule"} in run["tags"]
    running.assert_exact(SCHEDULED)


def test_change_leads_to_one_run_of_the_assets_concerned_and_no_second(running: Running) -> None:
    sensor = f"{CHANGING}_change_sensor"
    tags = {"dagster/sensor_name": sensor}
    started = running.dagster.start_sensor(sensor)

    def quiet(after: int) -> bool:
        """Whether the sensor found no change twice, and no more runs than ``after``."""
        ticks = running.dagster.ticks(sensor)
        assert len(running.dagster.runs(tags=tags)) <= after
        return len(ticks) > 1 and all("no change at" in (tick["skipReason"] or "") for tick in ticks[:2])

    first = running.dagster.wait_for(lambda: running.dagster.runs(tags=tags), "first run of the sensor")[0]
    succeeded(running, first["runId"])
    running.dagster.wait_for(lambda: quiet(1), "quiet after the first run")
    runs = running.server.world.collection(CHANGING, "ingestion_runs")
    runs.append({**runs[0], "id": "a-run-of-today"})
    second = running.dagster.wait_for(
        lambda: next(iter(running.dagster.runs(tags=tags)[:-1]), None), "run for the change"
    )
    succeeded(running, second["runId"])
    running.dagster.wait_for(lambda: quiet(2), "quiet after the second run")
    running.dagster.stop_sensor(started)

    probe = next(each for each in APIS[CHANGING].probes if each.endpoint == "ingestion_runs")
    assert {asset["path"][-1] for asset in second["assetSelection"]} == set(probe.concerns)
    running.assert_exact(CHANGING, *probe.concerns)


def test_asset_past_its_window_is_requested_and_turns_fresh(running: Running) -> None:
    dagster = running.dagster
    key = f"{AGING}/incidents"
    launched = dagster.launch(f"{AGING}_sync")
    succeeded(running, launched)

    def freshness() -> str:
        info = dagster.asset(key)["freshnessStatusInfo"]
        return str(info["freshnessStatus"]) if info else ""

    dagster.wait_for(lambda: freshness() == "HEALTHY", "healthy asset")
    dagster.wait_for(lambda: freshness() == "WARNING", "asset that is late")
    started = dagster.start_sensor("freshness_sensor")
    tags = {"analytics_ingest/cause": "freshness"}

    def requested() -> dict[str, Any] | None:
        wanted = {"path": key.split("/")}
        return next((run for run in dagster.runs(tags=tags) if wanted in (run["assetSelection"] or ())), None)

    run = dagster.wait_for(requested, "run for the late asset")
    dagster.stop_sensor(started)
    succeeded(running, run["runId"])
    dagster.wait_for(lambda: freshness() == "HEALTHY", "asset that is fresh again")
    synced = {tuple(asset["path"]) for asset in run["assetSelection"]}
    # what the schedule has synced is not late yet, what has no key is not configured
    assert not [path for path in synced if path[0] in (SCHEDULED, "feature_management")]


def test_checks_are_recorded(running: Running) -> None:
    succeeded(running, running.dagster.launch(f"{AGING}_sync"))
    checks = running.dagster.asset(f"{AGING}/incidents")["assetChecksOrError"]["checks"]

    assert {each["name"]: each["executionForLatestMaterialization"]["status"] for each in checks} == dict.fromkeys(
        ["table_sound", "table_watched"], "SUCCEEDED"
    )


def test_full_refresh_loads_every_row_again(running: Running) -> None:
    succeeded(running, running.dagster.launch(f"{AGING}_sync"))
    assert rows_loaded(running, f"{AGING}/incidents") == 0
    config = {"ops": {AGING: {"config": {"full_refresh": True}}}}
    succeeded(running, running.dagster.launch(f"{AGING}_full_refresh", config=config))

    assert rows_loaded(running, f"{AGING}/incidents") == len(expected_keys(running.server.world, AGING, "incidents"))
    running.assert_exact(AGING)


def test_cancelling_half_way_leaves_the_warehouse_whole(running: Running) -> None:
    api = "project_planning"
    running.server.options.latency = 0.1
    run_id = running.dagster.launch(f"{api}_sync")
    running.dagster.wait_for(lambda: running.server.requests.count(api, "stories_comments") > 0, "half of the sync")
    running.dagster.cancel(run_id)
    assert running.dagster.ended(run_id)["status"] == "CANCELED"
    running.server.options.latency = 0
    succeeded(running, running.dagster.launch(f"{api}_sync"))

    running.assert_exact(api)
    assert not [each for each in running.dagster.runs(statuses=["STARTED"]) if each["runId"] == run_id]


def test_keys_and_rows_are_nowhere_in_the_instance(running: Running) -> None:
    # the last of the module: every run above has left its traces by now
    stored = b"".join(path.read_bytes() for path in running.dagster.home.rglob("*") if path.is_file())
    assert b"rows_loaded" in stored
    for key in running.server.options.api_keys.values():
        assert key.encode() not in stored
    titles = [row["title"] for row in running.server.world.collection(AGING, "incidents") if "title" in row]
    names = [row["name"] for row in running.server.world.collection(CHANGING, "gates")]
    assert names
    assert not [each for each in titles + names if len(each) > 8 and each.encode() in stored]
