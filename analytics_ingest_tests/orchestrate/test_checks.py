"""The asset checks: recorded by each sync, also by one that fails half-way, and executable by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from dagster import AssetCheckKey, AssetCheckSeverity, AssetKey, AssetSelection, DagsterInstance, TableMetadataValue

from analytics_ingest.apis import APIS
from analytics_ingest.definitions import defs
from analytics_ingest.extract.errors import ConfigurationError
from analytics_ingest.extract.settings import load_setting
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sync.findings import checks_of, schema_unchanged
from analytics_ingest_tests.conftest import expected_keys, live_keys

if TYPE_CHECKING:
    from pathlib import Path

    from dagster import ExecuteInProcessResult

    from analytics_ingest.sandbox.server import SandboxServer

API = "experimentation"


def run(instance: DagsterInstance, *names: str) -> ExecuteInProcessResult:
    """A sync of some endpoints, all by default."""
    keys = [AssetKey([API, name]) for name in names] or None
    job = defs.resolve_job_def(f"{API}_sync")
    return job.execute_in_process(instance=instance, raise_on_error=False, asset_selection=keys)


def look(instance: DagsterInstance, name: str) -> ExecuteInProcessResult:
    """The checks of one table without a sync."""
    selection = AssetSelection.checks_for_assets(AssetKey([API, name]))
    keys = selection.resolve_checks(defs.resolve_asset_graph())
    job = defs.resolve_implicit_global_asset_job_def()
    return job.get_subset(asset_selection=set(), asset_check_selection=keys).execute_in_process(instance=instance)


def evaluated(result: ExecuteInProcessResult) -> dict[tuple[str, str], Any]:
    found = {}
    for event in result.all_events:
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            data: Any = event.event_specific_data
            key = (data.asset_key.path[-1], data.check_name)
            # the checks' own op leaves alone what the sync has recorded
            assert key not in found
            found[key] = data
    return found


def failed(result: ExecuteInProcessResult) -> dict[tuple[str, str], str]:
    return {key: each.description for key, each in evaluated(result).items() if not each.passed}


def tamper(tmp_path: Path, statement: str) -> None:
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute(statement)


def test_every_table_has_the_checks_that_its_endpoint_calls_for() -> None:
    found = defs.resolve_asset_graph().asset_check_keys
    expected = {
        AssetCheckKey(AssetKey([api.name, endpoint.name]), name)
        for api in APIS.values()
        for endpoint in api.endpoints
        for name in checks_of(api, endpoint)
    }
    assert found == expected
    gates = {key.name for key in found if key.asset_key.path == [API, "gates"]}
    assert gates == {"key_unique", "rows_not_collapsed", "rows_as_stated", "newest_not_older", "schema_unchanged"}
    rules = {key.name for key in found if key.asset_key.path == [API, "gates_rules"]}
    assert rules == {"key_unique", "parents_exist", "rows_not_collapsed", "rows_as_stated", "schema_unchanged"}
    snapshot = {key.name for key in found if key.asset_key.path == [API, "ingestion_status"]}
    assert snapshot == {"rows_not_collapsed", "rows_as_stated", "schema_unchanged"}


def test_only_the_collapse_of_a_parent_blocks() -> None:
    graph = defs.resolve_asset_graph()
    blocking = {key for key in graph.asset_check_keys if graph.get(key).blocking}
    parents = {AssetKey([api.name, name]) for api in APIS.values() for e in api.endpoints for name in e.upstream}
    assert blocking == {AssetCheckKey(key, "rows_not_collapsed") for key in parents}


def test_a_sync_records_every_check_and_all_pass(sandbox: SandboxServer, instance: DagsterInstance) -> None:
    for _ in range(2):
        result = run(instance)
        assert result.success
        found = evaluated(result)
        assert set(found) == {(e.name, name) for e in APIS[API].endpoints for name in checks_of(APIS[API], e)}
        assert failed(result) == {}
    key = AssetCheckKey(AssetKey([API, "gates"]), "key_unique")
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=5)
    assert [each.status.value for each in history] == ["SUCCEEDED", "SUCCEEDED"]


def test_what_was_materialised_is_checked_though_another_endpoint_failed(
    sandbox: SandboxServer, instance: DagsterInstance
) -> None:
    sandbox.options.faults.append(Fault(api=API, path="^/v1/users$", status=403))
    result = run(instance)

    assert not result.success
    checked = {name for name, _ in evaluated(result)}
    assert checked == set(APIS[API].by_name) - {"users"}
    observed = [event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"]
    assert [event.asset_key.path for event in observed if event.asset_key] == [[API, "users"]]


def test_parent_that_collapses_stops_the_sync_before_its_children(
    tmp_path: Path, sandbox: SandboxServer, instance: DagsterInstance
) -> None:
    gates = sandbox.world.collection(API, "gates")
    rules = sandbox.world.collection(API, "gates_rules")
    gates += [{**gates[0], "id": f"more_{number}"} for number in range(14)]
    rules.update({(f"more_{n}",): [{"id": "g", "rules": [{"id": f"r{n}"}]}] for n in range(14)})
    assert run(instance).success
    children = live_keys(tmp_path, API, "gates_rules")
    kept = list(gates)
    del gates[3:]
    sandbox.requests.reset()
    result = run(instance)

    assert not result.success
    assert failed(result)["gates", "rows_not_collapsed"] == (
        "3 rows, 20 before; the 17 that did not come stay unmarked until the next sync finds the same"
    )
    assert len(live_keys(tmp_path, API, "gates")) == 20
    evaluation = evaluated(result)["gates", "rows_not_collapsed"]
    assert evaluation.severity == AssetCheckSeverity.ERROR
    assert evaluation.blocking
    text = str(result.filter_events(lambda e: e.is_step_failure)[0].step_failure_data.user_failure_data.description)
    assert text == (
        "its parent experimentation/gates has collapsed (3 rows, 20 before; the 17 that did not come stay unmarked "
        "until the next sync finds the same): see whether that is true, and sync again to go on"
    )
    assert sandbox.requests.count(API, "gates_rules") == 0
    assert live_keys(tmp_path, API, "gates_rules") == children
    gates[:] = kept
    assert run(instance).success
    assert live_keys(tmp_path, API, "gates_rules") == children
    del gates[3:]
    assert not run(instance).success
    # it is true: the next sync goes on
    assert run(instance).success
    assert live_keys(tmp_path, API, "gates_rules") == expected_keys(sandbox.world, API, "gates_rules")


def test_share_below_which_a_table_has_collapsed_is_a_setting(
    sandbox: SandboxServer, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(instance, "tags").success
    del sandbox.world.collection(API, "tags")[60:]
    assert ("tags", "rows_not_collapsed") not in failed(run(instance, "tags"))
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__MIN_ROWS_SHARE", "0.99")
    sandbox.world.collection(API, "tags").pop()
    result = run(instance, "tags")

    assert result.success
    assert failed(result)["tags", "rows_not_collapsed"].startswith("59 rows, 60 before; the 1 that")


def test_what_else_a_sync_warns_of(sandbox: SandboxServer, instance: DagsterInstance) -> None:
    tags = sandbox.world.collection(API, "tags")
    for number, tag in enumerate(tags):
        tag["updated_at"] = f"2026-01-01T00:00:{number % 60:02}Z"
    assert run(instance, "tags").success
    newest = [tag for tag in tags if tag["updated_at"].endswith("59Z")]
    for tag in newest:
        tags.remove(tag)
    tags[0]["brand_new"] = 1
    sandbox.options.totals = "high"
    result = run(instance, "tags")

    assert result.success
    assert failed(result) == {
        ("tags", "rows_as_stated"): "10 rows fewer than stated, rows moved between the pages of 0 lists",
        ("tags", "newest_not_older"): "newest row 2026-01-01T00:00:58+00:00, before 2026-01-01T00:00:59+00:00",
        ("tags", "schema_unchanged"): "brand_new bigint is new",
    }
    assert {each.severity for each in evaluated(result).values() if not each.passed} == {AssetCheckSeverity.WARN}
    sandbox.options.totals = "right"
    again = failed(run(instance, "tags"))
    assert again == {
        ("tags", "newest_not_older"): "newest row 2026-01-01T00:00:58+00:00, before 2026-01-01T00:00:59+00:00"
    }


def test_checks_without_a_sync_see_what_was_done_to_the_table(
    tmp_path: Path, sandbox: SandboxServer, instance: DagsterInstance
) -> None:
    assert run(instance).success
    assert failed(look(instance, "gates_rules")) == {}
    sandbox.requests.reset()
    tamper(tmp_path, f"INSERT INTO {API}.gates_rules SELECT * FROM {API}.gates_rules LIMIT 2")
    gate = live_keys(tmp_path, API, "gates_rules")[0][0]
    tamper(tmp_path, f"DELETE FROM {API}.gates WHERE id = '{gate}'")
    tamper(tmp_path, f"ALTER TABLE {API}.gates_rules ADD COLUMN by_hand VARCHAR")
    found = failed(look(instance, "gates_rules"))

    assert found == {
        ("gates_rules", "key_unique"): "2 keys (gate_id, id) have more than one row, 0 rows lack a part of it",
        ("gates_rules", "parents_exist"): f"rows of 1 parents that are not there: {gate}",
        ("gates_rules", "schema_unchanged"): "by_hand text is new",
    }
    tamper(tmp_path, f"DELETE FROM {API}.tags WHERE id != 'x'")
    assert failed(look(instance, "tags"))["tags", "rows_not_collapsed"] == "0 rows, 100 before"
    assert sandbox.requests.count() == 0


def test_settings_of_the_checks_hold_as_they_do_in_a_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"sources.{API}.min_rows_share"
    monkeypatch.setattr("analytics_ingest.extract.settings.dlt.secrets", {name: 0})
    assert load_setting(APIS[API], "min_rows_share") == 0
    monkeypatch.setattr("analytics_ingest.extract.settings.dlt.secrets", {name: "half"})
    with pytest.raises(ConfigurationError, match="SOURCES__EXPERIMENTATION__MIN_ROWS_SHARE: Input should be a valid"):
        load_setting(APIS[API], "min_rows_share")
    monkeypatch.setattr("analytics_ingest.extract.settings.dlt.secrets", {})
    assert load_setting(APIS[API], "min_rows_share") == 0.5


def test_checks_of_a_table_that_is_not_there_say_so(instance: DagsterInstance) -> None:
    found = failed(look(instance, "gates"))

    assert len(found) == 5
    assert set(found.values()) == {"no table yet: materialise it first"}


def test_changed_columns_are_told_one_by_one() -> None:
    before = {"id": "text", "gone": "text", "size": "bigint", "_dlt_id": "text"}
    now = {"id": "text", "size": "double", "more": "json", "size__v_text": "text"}
    said = schema_unchanged(before, now).said.split("\n")

    assert said == ["more json is new", "size__v_text text is new", "gone text is gone", "size is double, was bigint"]
    assert schema_unchanged({}, now).passed


def test_rows_are_shown_only_where_a_setting_asks_for_them(
    tmp_path: Path, sandbox: SandboxServer, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [tag["name"] for tag in sandbox.world.collection(API, "tags")]
    names_in_storage = [name for name in names if len(name) > 6]
    assert run(instance, "tags").success
    stored = b"".join(path.read_bytes() for path in (tmp_path / "dagster_home").rglob("*") if path.is_file())
    assert not [name for name in names_in_storage if name.encode() in stored]
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__SAMPLE_ROWS", "3")
    (event,) = run(instance, "tags").get_asset_materialization_events()
    sample = event.materialization.metadata["sample"]

    assert isinstance(sample, TableMetadataValue)
    assert next(iter(sample.schema.columns)).name == "id"
    assert [each.data["name"] in names for each in sample.records] == [True] * 3
