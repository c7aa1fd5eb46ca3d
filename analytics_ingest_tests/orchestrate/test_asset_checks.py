"""The asset checks: recorded by each sync, also by one that fails half-way, and executable by themselves."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dagster import (
    AssetCheckKey,
    AssetCheckSeverity,
    AssetKey,
    AssetSelection,
    DagsterInstance,
    Definitions,
    EventLogEntry,
    ExecuteInProcessResult,
    TableMetadataValue,
    TextMetadataValue,
    asset,
)

from analytics_ingest.apis.model import Api, Endpoint
from analytics_ingest.apis.registry import APIS
from analytics_ingest.config.api import load_setting
from analytics_ingest.definitions import defs
from analytics_ingest.errors import ConfigurationError
from analytics_ingest.orchestrate.asset_checks import ASSET_CHECKS
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sync.table_checks import checks_for
from analytics_ingest_tests.conftest import expected_keys, live_keys, sandbox_in
from analytics_ingest_tests.orchestrate.conftest import instance_in

API = "experimentation"
GATES = ("gates", "gates_rules")
WHOLE = APIS["feature_management"]
"""The API that is synced as a whole: lists, children, and children of these."""


def run(instance: DagsterInstance, *names: str) -> ExecuteInProcessResult:
    """A sync of some endpoints, all by default."""
    keys = [AssetKey([API, name]) for name in names] or None
    job = defs.resolve_job_def(f"{API}_sync")
    return job.execute_in_process(instance=instance, raise_on_error=False, asset_selection=keys)


def look(instance: DagsterInstance, name: str, **options: Any) -> ExecuteInProcessResult:
    """The checks of one table without a sync."""
    selection = AssetSelection.checks_for_assets(AssetKey([API, name]))
    keys = selection.resolve_checks(defs.resolve_asset_graph())
    job = defs.resolve_implicit_global_asset_job_def()
    subset = job.get_subset(asset_selection=set(), asset_check_selection=keys)
    return subset.execute_in_process(instance=instance, **options)


def evaluated(result: ExecuteInProcessResult) -> dict[tuple[str, str], Any]:
    found = {}
    for event in result.all_events:
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            data: Any = event.event_specific_data
            key = (data.asset_key.path[-1], data.check_name)
            # the checks' op does not repeat what the sync has recorded
            assert key not in found
            found[key] = data
    return found


def failed(result: ExecuteInProcessResult) -> dict[tuple[str, str], str]:
    return {key: each.description for key, each in evaluated(result).items() if not each.passed}


def tamper(tmp_path: Path, statement: str) -> None:
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute(statement)


def test_every_table_has_two_checks_that_describe_their_table_checks() -> None:
    graph = defs.resolve_asset_graph()
    keys = [AssetKey([api.name, endpoint.name]) for api in APIS.values() for endpoint in api.endpoints]
    assert graph.asset_check_keys == {AssetCheckKey(key, name) for key in keys for name in ASSET_CHECKS}
    for api in APIS.values():
        for endpoint in api.endpoints:
            described = [
                line
                for name in ASSET_CHECKS
                for line in graph.get(AssetCheckKey(AssetKey([api.name, endpoint.name]), name)).description.split("\n")
            ]
            listed = checks_for(api, endpoint)
            assert sorted(described) == sorted(f"- `{each.name}`: {text}" for each, text in listed.items())
    assert check_names(APIS[API], APIS[API].by_name["gates"]) == {
        *(
            "key_unique",
            "rows_not_collapsed",
            "same_as_upstream",
            "rows_as_stated",
            "newest_not_older",
            "schema_unchanged",
            "no_drift",
        )
    }
    assert check_names(APIS[API], APIS[API].by_name["gates_rules"]) == {
        *("key_unique", "parents_exist", "rows_not_collapsed", "same_as_upstream", "rows_as_stated"),
        *("schema_unchanged", "no_drift"),
    }
    assert check_names(APIS[API], APIS[API].by_name["ingestion_status"]) == {
        *("rows_not_collapsed", "same_as_upstream", "rows_as_stated", "schema_unchanged", "no_drift")
    }


def test_only_the_soundness_of_a_parent_blocks() -> None:
    graph = defs.resolve_asset_graph()
    blocking = {key for key in graph.asset_check_keys if graph.get(key).blocking}
    parents = {AssetKey([api.name, name]) for api in APIS.values() for e in api.endpoints for name in e.upstream}
    assert blocking == {AssetCheckKey(key, "table_sound") for key in parents}


@pytest.fixture(scope="module")
def filled_folder(tmp_path_factory: pytest.TempPathFactory, storage: Path) -> Path:
    """The folder of a warehouse with tags, twenty gates, and the rules of six of them, and of its instance."""
    folder = tmp_path_factory.mktemp("filled")
    with sandbox_in(folder) as server, instance_in(folder / "dagster_home", storage) as instance:
        gates = server.world.collection(API, "gates")
        gates += [{**gates[0], "id": f"more_{number}"} for number in range(14)]
        assert run(instance, "tags", *GATES).success
    return folder


@pytest.fixture
def filled_instance(filled_folder: Path, tmp_path: Path) -> Iterator[DagsterInstance]:
    """The test's warehouse and instance start as copies of those in ``filled_folder``."""
    shutil.copy(filled_folder / "warehouse.duckdb", tmp_path)
    with instance_in(tmp_path / "dagster_home", filled_folder / "dagster_home") as found:
        yield found


@dataclass(frozen=True)
class Recorded:
    """Two runs of all assets of an API, the first with the checks' op, the second by the API's own job.

    Attributes:
        results: Both, by whether they have the checks' op.
        entries: Their event logs.
        statuses: Of the check of one table, as the instance has them afterwards.
    """

    results: dict[bool, ExecuteInProcessResult]
    entries: dict[bool, list[EventLogEntry]]
    statuses: list[str]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, storage: Path) -> Recorded:
    folder = tmp_path_factory.mktemp("recorded")
    keys = {AssetKey([WHOLE.name, name]) for name in WHOLE.by_name}
    with sandbox_in(folder), instance_in(folder / "dagster_home", storage) as instance:
        job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=keys)
        own = defs.resolve_job_def(f"{WHOLE.name}_sync")
        results = {whole: each.execute_in_process(instance=instance) for whole, each in ((True, job), (False, own))}
        key = AssetCheckKey(AssetKey([WHOLE.name, "segments"]), "table_sound")
        history = instance.event_log_storage.get_asset_check_execution_history(key, limit=5)
        return Recorded(
            results=results,
            entries={whole: list(instance.all_logs(result.run_id)) for whole, result in results.items()},
            statuses=[each.status.value for each in history],
        )


def check_names(api: Api, endpoint: Endpoint) -> set[str]:
    """The names of the table checks that apply to an endpoint."""
    return {check.name for check in checks_for(api, endpoint)}


def assert_all_found(found: dict[tuple[str, str], Any], name: str, checks: set[str]) -> None:
    """Both asset checks of a table have the results of these table checks, which all passed."""
    metadata = {**found[name, "table_sound"].metadata, **found[name, "table_watched"].metadata}
    shown = {key: each.value for key, each in metadata.items() if isinstance(each, TextMetadataValue)}
    assert set(shown) == checks
    assert all(each.startswith("passed: ") for each in shown.values())


def test_a_sync_records_both_checks_with_all_that_was_found(recorded: Recorded) -> None:
    for result in recorded.results.values():
        assert result.success
        found = evaluated(result)
        assert set(found) == {(name, check) for name in WHOLE.by_name for check in ASSET_CHECKS}
        assert failed(result) == {}
        for name, endpoint in WHOLE.by_name.items():
            assert_all_found(found, name, check_names(WHOLE, endpoint))
    sound = found["segments", "table_sound"]
    assert sound.severity == AssetCheckSeverity.ERROR
    assert (
        sound.description
        == "each row has a key (workspace_id, name) of its own; 5 rows, 5 before; not compared with the API yet"
    )
    assert {key: each.value for key, each in sound.metadata.items()} == {
        "key_unique": "passed: each row has a key (workspace_id, name) of its own",
        "rows_not_collapsed": "passed: 5 rows, 5 before",
        "same_as_upstream": "passed: not compared with the API yet",
        "doubled": 0,
        "ambiguous": 0,
        "lacking": 0,
        "rows": 5,
        "rows_that_differ": 0,
        "rows_before": 5,
        "rows_withheld": 0,
    }
    assert found["segments", "table_watched"].severity == AssetCheckSeverity.WARN
    assert recorded.statuses == ["SUCCEEDED", "SUCCEEDED"]


@pytest.mark.parametrize("whole_graph", [False, True])
def test_an_asset_costs_seven_events_and_five_in_the_jobs_that_leave_out_the_checks_op(
    recorded: Recorded, whole_graph: bool
) -> None:
    entries = recorded.entries[whole_graph]
    kinds = Counter(
        event.event_type_value
        for event in (entry.dagster_event for entry in entries)
        if event
        and (event.step_key or event.event_type_value.endswith("_PLANNED"))
        and not event.event_type_value.startswith("RESOURCE_")
    )
    assets = len(WHOLE.by_name)
    steps = dict.fromkeys(("STEP_START", "STEP_SUCCESS"), 1 + whole_graph)
    checks = {"ASSET_CHECK_EVALUATION_PLANNED": 2 * assets} if whole_graph else {}
    assert kinds == {
        "ASSET_MATERIALIZATION_PLANNED": assets,
        "ASSET_MATERIALIZATION": assets,
        "STEP_OUTPUT": assets,
        "ASSET_CHECK_EVALUATION": 2 * assets,
        **checks,
        **steps,
    }
    # Dagster logs that of an op that leaves out an output, and the checks' op leaves out all
    assert [entry.user_message for entry in entries if "did not yield" in entry.user_message] == []


def test_asset_of_another_op_waits_for_the_check_of_its_parent_and_for_no_other(
    sandbox: SandboxServer, instance: DagsterInstance
) -> None:
    made = []

    @asset(deps=[AssetKey([API, "gates"])])
    def model() -> None:
        made.append("model")

    whole = Definitions.merge(defs, Definitions(assets=[model]))
    gates = AssetKey([API, "gates"])
    checks = AssetSelection.checks_for_assets(gates).resolve_checks(whole.resolve_asset_graph())
    job = whole.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={gates, model.key}, asset_check_selection=checks
    )
    rows = sandbox.world.collection(API, "gates")
    rows += [{**rows[0], "id": f"more_{number}"} for number in range(14)]
    assert job.execute_in_process(instance=instance).success
    assert made == ["model"]
    # what is only watched stops nothing
    rows[0]["brand_new"] = 1
    watched = job.execute_in_process(instance=instance, raise_on_error=False)
    assert watched.success
    assert made == ["model"] * 2
    assert set(failed(watched)) == {("gates", "table_watched")}
    del rows[3:]
    collapsed = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not collapsed.success
    assert made == ["model"] * 2
    assert set(failed(collapsed)) == {("gates", "table_sound"), ("gates", "table_watched")}
    (failure,) = collapsed.filter_events(lambda e: e.is_step_failure)
    assert failure.step_failure_data.user_failure_data.description == (
        "experimentation/gates: rows_not_collapsed: 3 rows, 20 before; the 17 that did not come stay unmarked "
        "until the next sync finds the same; skipped: model"
    )


def test_what_was_materialised_is_checked_though_another_endpoint_failed(
    sandbox: SandboxServer, instance: DagsterInstance
) -> None:
    sandbox.options.faults.append(Fault(api=API, path="^/v1/users$", status=403))
    result = run(instance, "users", "tags", "ingestion_status", *GATES)

    assert not result.success
    found = evaluated(result)
    assert set(found) == {(name, check) for name in ("tags", "ingestion_status", *GATES) for check in ASSET_CHECKS}
    # a snapshot has no key
    assert_all_found(
        found,
        "ingestion_status",
        {"rows_not_collapsed", "same_as_upstream", "rows_as_stated", "schema_unchanged", "no_drift"},
    )
    observed = [event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"]
    assert [event.asset_key.path for event in observed if event.asset_key] == [[API, "users"]]


@dataclass(frozen=True)
class Collapsed:
    """A parent that has collapsed.

    Attributes:
        gates: Its rows upstream now.
        kept: Those before.
        children: The keys of the children's rows before.
        result: The run that found it.
    """

    gates: list[Any]
    kept: list[Any]
    children: list[tuple[Any, ...]]
    result: ExecuteInProcessResult


@pytest.fixture
def collapsed(tmp_path: Path, sandbox: SandboxServer, instance: DagsterInstance) -> Collapsed:
    """A parent of twenty rows, synced with its children, of which three are left since."""
    gates = sandbox.world.collection(API, "gates")
    rules = sandbox.world.collection(API, "gates_rules")
    gates += [{**gates[0], "id": f"more_{number}"} for number in range(14)]
    rules.update({(f"more_{n}",): [{"id": "g", "rules": [{"id": f"r{n}"}]}] for n in range(14)})
    assert run(instance, *GATES).success
    children = live_keys(tmp_path, API, "gates_rules")
    kept = list(gates)
    del gates[3:]
    sandbox.requests.reset()
    return Collapsed(gates, kept, children, run(instance, *GATES))


def test_parent_that_collapses_stops_the_sync_before_its_children(
    tmp_path: Path, sandbox: SandboxServer, collapsed: Collapsed
) -> None:
    result = collapsed.result

    assert not result.success
    assert failed(result)["gates", "table_sound"] == (
        "rows_not_collapsed: 3 rows, 20 before; the 17 that did not come stay unmarked "
        "until the next sync finds the same"
    )
    assert len(live_keys(tmp_path, API, "gates")) == 20
    evaluation = evaluated(result)["gates", "table_sound"]
    assert evaluation.severity == AssetCheckSeverity.ERROR
    assert evaluation.blocking
    text = str(result.filter_events(lambda e: e.is_step_failure)[0].step_failure_data.user_failure_data.description)
    assert text == (
        "its parent experimentation/gates has collapsed (3 rows, 20 before; the 17 that did not come stay unmarked "
        "until the next sync finds the same): see whether that is true, and sync again to go on"
    )
    assert sandbox.requests.count(API, "gates_rules") == 0
    assert live_keys(tmp_path, API, "gates_rules") == collapsed.children


@pytest.mark.extended
def test_parent_that_collapsed_goes_on_when_its_rows_are_back_or_stay_away(
    tmp_path: Path, sandbox: SandboxServer, instance: DagsterInstance, collapsed: Collapsed
) -> None:
    collapsed.gates[:] = collapsed.kept
    assert run(instance, *GATES).success
    assert live_keys(tmp_path, API, "gates_rules") == collapsed.children
    del collapsed.gates[3:]
    assert not run(instance, *GATES).success
    # it is true: the next sync goes on
    assert run(instance, *GATES).success
    assert live_keys(tmp_path, API, "gates_rules") == expected_keys(sandbox.world, API, "gates_rules")


@pytest.mark.extended
def test_share_below_which_a_table_has_collapsed_is_a_setting(
    sandbox: SandboxServer, filled_instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    del sandbox.world.collection(API, "tags")[60:]
    assert ("tags", "table_sound") not in failed(run(filled_instance, "tags"))
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__MIN_ROWS_SHARE", "0.99")
    sandbox.world.collection(API, "tags").pop()
    result = run(filled_instance, "tags")

    assert result.success
    assert failed(result)["tags", "table_sound"].startswith("rows_not_collapsed: 59 rows, 60 before; the 1 that")


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
    older = "newest_not_older: newest row 2026-01-01T00:00:58+00:00, before 2026-01-01T00:00:59+00:00"
    assert failed(result) == {
        (
            "tags",
            "table_watched",
        ): "rows_as_stated: 10 rows fewer than stated, rows moved between the pages of 0 lists\n"
        f"{older}\nschema_unchanged: brand_new bigint is new"
    }
    assert {each.severity for each in evaluated(result).values() if not each.passed} == {AssetCheckSeverity.WARN}
    sandbox.options.totals = "right"
    again = failed(run(instance, "tags"))
    assert again == {("tags", "table_watched"): older}


def test_drift_is_a_warning_also_without_a_sync(sandbox: SandboxServer, instance: DagsterInstance) -> None:
    assert run(instance, "tags").success
    for tag in sandbox.world.collection(API, "tags"):
        tag["name"] = None
    result = run(instance, "tags")

    day = f"{datetime.now(UTC):%Y-%m-%d}"
    drift = {("tags", "table_watched"): f"no_drift: {API}/tags, {day}: no row has a value in name any more"}
    assert result.success
    assert failed(result) == drift
    assert {each.severity for each in evaluated(result).values() if not each.passed} == {AssetCheckSeverity.WARN}
    assert failed(look(instance, "tags")) == drift
    assert failed(run(instance, "tags")) == failed(look(instance, "tags")) == {}


def test_checks_without_a_sync_see_what_was_done_to_the_table(
    tmp_path: Path, sandbox: SandboxServer, filled_instance: DagsterInstance
) -> None:
    assert failed(look(filled_instance, "gates_rules")) == {}
    tamper(tmp_path, f"INSERT INTO {API}.gates_rules SELECT * FROM {API}.gates_rules LIMIT 2")
    gate = live_keys(tmp_path, API, "gates_rules")[0][0]
    tamper(tmp_path, f"DELETE FROM {API}.gates WHERE id = '{gate}'")
    tamper(tmp_path, f"ALTER TABLE {API}.gates_rules ADD COLUMN by_hand VARCHAR")
    found = failed(look(filled_instance, "gates_rules"))

    assert found == {
        ("gates_rules", "table_sound"): (
            "key_unique: 2 keys (gate_id, id) have more than one row, 0 rows lack a part of it"
        ),
        ("gates_rules", "table_watched"): (
            f"parents_exist: rows of 1 parents that are not there: {gate}\nschema_unchanged: by_hand text is new"
        ),
    }
    tamper(tmp_path, f"DELETE FROM {API}.tags WHERE id != 'x'")
    assert failed(look(filled_instance, "tags"))["tags", "table_sound"] == "rows_not_collapsed: 0 rows, 100 before"
    assert sandbox.requests.count() == 0


def test_double_key_of_a_parent_is_an_error_that_blocks_nothing_but_its_collapse_does(
    tmp_path: Path, filled_instance: DagsterInstance
) -> None:
    tamper(tmp_path, f"INSERT INTO {API}.gates SELECT * FROM {API}.gates LIMIT 2")
    result = look(filled_instance, "gates")
    assert failed(result)["gates", "table_sound"].startswith("key_unique: 2 keys (id) have more than one row")
    evaluation = evaluated(result)["gates", "table_sound"]
    assert (evaluation.severity, evaluation.blocking) == (AssetCheckSeverity.ERROR, False)
    tamper(tmp_path, f"DELETE FROM {API}.gates")
    collapsed = look(filled_instance, "gates", raise_on_error=False)

    assert not collapsed.success
    assert failed(collapsed)["gates", "table_sound"] == "rows_not_collapsed: 0 rows, 20 before"
    assert evaluated(collapsed)["gates", "table_sound"].blocking


def test_settings_of_the_checks_hold_as_they_do_in_a_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_setting(APIS[API], "min_rows_share") == 0.5
    name = f"SOURCES__{API.upper()}__MIN_ROWS_SHARE"
    monkeypatch.setenv(name, "0")
    assert load_setting(APIS[API], "min_rows_share") == 0
    monkeypatch.setenv(name, "half")
    with pytest.raises(ConfigurationError, match=f"^{name} must be a valid number"):
        load_setting(APIS[API], "min_rows_share")


def test_checks_of_a_table_that_does_not_exist_fail_with_a_warning(instance: DagsterInstance) -> None:
    found = failed(look(instance, "gates"))

    assert len(found) == 2
    assert set(found.values()) == {"no table yet: materialise it first"}


def test_rows_are_shown_only_where_a_setting_asks_for_them(
    tmp_path: Path, sandbox: SandboxServer, filled_instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [tag["name"] for tag in sandbox.world.collection(API, "tags")]
    names_in_storage = [name for name in names if len(name) > 6]
    assert run(filled_instance, "tags").success
    stored = b"".join(path.read_bytes() for path in (tmp_path / "dagster_home").rglob("*") if path.is_file())
    assert not [name for name in names_in_storage if name.encode() in stored]
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__SAMPLE_ROWS", "3")
    (event,) = run(filled_instance, "tags").get_asset_materialization_events()
    sample = event.materialization.metadata["sample"]

    assert isinstance(sample, TableMetadataValue)
    assert next(iter(sample.schema.columns)).name == "id"
    assert [each.data["name"] in names for each in sample.records] == [True] * 3
