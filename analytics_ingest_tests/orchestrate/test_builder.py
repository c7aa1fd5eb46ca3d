"""``build_definitions``: several accounts, prefixes, groups, subsets, and projects that have assets of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from dagster import (
    AssetKey,
    AssetsDefinition,
    DagsterInstance,
    Definitions,
    asset,
    build_schedule_context,
    build_sensor_context,
    define_asset_job,
    job,
    op,
    schedule,
)

from analytics_ingest import build_definitions
from analytics_ingest.apis.registry import APIS
from analytics_ingest.config import lookup
from analytics_ingest.errors import ConfigurationError
from analytics_ingest.orchestrate import builder
from analytics_ingest.orchestrate.metadata import unrendered
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sandbox.world import World
from analytics_ingest_tests.conftest import SCALE, expected_keys, live_keys
from analytics_ingest_tests.environment import configure_api

API = "experimentation"
ACCOUNTS = ("statsig_eu", "statsig_us")
LISTS = ("gates", "gates_rules", "tags")


@pytest.fixture(autouse=True)
def not_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings of other tests in this process do not count."""
    monkeypatch.setattr(builder, "WARNED", set())


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that a test declares in code are gone after it."""
    monkeypatch.setattr(lookup, "DECLARED", {})


@pytest.fixture
def upstreams(
    start_sandbox: Callable[..., SandboxServer], clock: object, monkeypatch: pytest.MonkeyPatch
) -> dict[str, SandboxServer]:
    """A server for each account, each with data and a key of its own; nothing is set in the environment."""
    found = {}
    for seed, name in enumerate(ACCOUNTS, start=1):
        keys = {api: f"{name}-{api}-key" for api in APIS}
        found[name] = start_sandbox(World(seed=seed, scale=SCALE), api_keys=keys)
    for api in APIS:
        for field in ("BASE_URL", "API_KEY", "PROFILE"):
            monkeypatch.delenv(f"SOURCES__{api.upper()}__{field}")
    return found


def settings(upstreams: dict[str, SandboxServer]) -> dict[str, dict[str, object]]:
    return {
        name: {"api": API, "base_url": server.base_url(API), "api_key": server.options.api_keys[API]}
        for name, server in upstreams.items()
    }


def test_two_accounts_are_synced_apart(
    tmp_path: Path, upstreams: dict[str, SandboxServer], declared: None, instance: DagsterInstance
) -> None:
    defs = build_definitions(accounts=ACCOUNTS, settings=settings(upstreams), endpoints=dict.fromkeys(ACCOUNTS, LISTS))
    for name, server in upstreams.items():
        found = defs.resolve_job_def(f"{name}_sync").execute_in_process(instance=instance)
        assert {event.asset_key for event in found.get_asset_materialization_events()} == {
            AssetKey([name, each]) for each in LISTS
        }
        for each in LISTS:
            assert live_keys(tmp_path, API, each, account=name) == expected_keys(server.world, API, each)
    # each server saw its own key alone: a wrong one is answered 401
    assert {record.status for server in upstreams.values() for record in server.requests} == {200}
    before = [server.requests.count() for server in upstreams.values()]
    again = defs.resolve_job_def("all_sync").execute_in_process(instance=instance)
    loaded = [event.materialization.metadata["rows_loaded"].value for event in again.get_asset_materialization_events()]
    assert loaded == [0] * len(ACCOUNTS) * len(LISTS)
    assert [server.requests.count() for server in upstreams.values()] == [2 * count for count in before]


def test_keys_groups_owners_and_tags_are_a_projects_choice(
    tmp_path: Path, upstreams: dict[str, SandboxServer], declared: None, instance: DagsterInstance
) -> None:
    name = ACCOUNTS[0]
    defs = build_definitions(
        accounts=[name],
        settings=settings(upstreams),
        endpoints={name: ["gates_rules"]},
        key_prefix=["raw", "rest"],
        group_name="vendors",
        owners=["team:data"],
        tags={"tier": "1"},
    )
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}

    # a parent comes with its child
    assert set(specs) == {f"raw/rest/{name}/gates", f"raw/rest/{name}/gates_rules"}
    assert {spec.group_name for spec in specs.values()} == {"vendors"}
    assert {(tuple(spec.owners), spec.tags["tier"]) for spec in specs.values()} == {(("team:data",), "1")}
    found = defs.resolve_job_def(f"{name}_sync").execute_in_process(instance=instance)
    assert {event.asset_key.to_user_string() for event in found.get_asset_materialization_events()} == set(specs)
    assert {each.asset_key.to_user_string() for each in found.get_asset_check_evaluations()} == set(specs)
    checks = defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(),
        asset_check_selection={key for each in defs.asset_checks or () for key in each.check_keys},
    )
    assert checks.execute_in_process(instance=instance).success
    assert live_keys(tmp_path, API, "gates_rules", account=name) == expected_keys(
        upstreams[name].world, API, "gates_rules"
    )


def host() -> Definitions:
    @asset
    def gates() -> None:
        """An asset of the host, in whose project ours are merged."""

    @asset(key=["experimentation", "own"], group_name="experimentation")
    def own() -> None:
        """In a group of the same name."""

    @op
    def work() -> None:
        """Does nothing."""

    @job(name="experimentation_sync_report")
    def report() -> None:
        work()

    @schedule(job=report, cron_schedule="@daily")
    def daily() -> dict[str, object]:
        return {}

    return Definitions(
        assets=[gates, own], jobs=[report, define_asset_job("everything", "*")], schedules=[daily], executor=None
    )


def keys_of(defs: Definitions, name: str) -> set[AssetKey]:
    return set(defs.resolve_job_def(name).asset_layer.executable_asset_keys)


def test_jobs_and_sensors_of_a_merged_project_have_our_assets_alone() -> None:
    merged = Definitions.merge(host(), build_definitions())
    ours = {AssetKey([api.name, each]) for api in APIS.values() for each in api.by_name}

    assert keys_of(merged, "all_sync") == ours
    assert keys_of(merged, "experimentation_sync") == {key for key in ours if key.path[0] == "experimentation"}
    assert keys_of(merged, "everything") == ours | {AssetKey("gates"), AssetKey(["experimentation", "own"])}
    graph = merged.resolve_asset_graph()
    sensor = merged.resolve_sensor_def("freshness_sensor")
    assert sensor.asset_selection is not None
    assert sensor.asset_selection.resolve(graph) == ours


def test_assets_that_a_project_regroups_stay_in_their_jobs() -> None:
    moved = build_definitions().map_asset_specs(func=lambda spec: spec.replace_attributes(group_name="rest"))

    assert {spec.group_name for spec in moved.resolve_all_asset_specs()} == {"rest"}
    assert len(keys_of(moved, "experimentation_sync")) == len(APIS[API].endpoints)


def test_a_run_of_the_host_is_not_a_run_of_ours(instance: DagsterInstance) -> None:
    merged = Definitions.merge(host(), build_definitions())
    sensor = merged.resolve_sensor_def("failure_sensor")
    first = sensor.evaluate_tick(build_sensor_context(instance=instance))
    failed = instance.create_run_for_job(merged.resolve_job_def("experimentation_sync_report"))
    instance.report_run_failed(failed, "the host's own")
    second = sensor.evaluate_tick(build_sensor_context(instance=instance, cursor=first.cursor))

    assert second.skip_message == "no run of these APIs has failed"
    assert second.cursor != first.cursor


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="there is no account statsig_eu; there are experimentation, "):
        build_definitions(accounts=["statsig_eu"])
    with pytest.raises(ConfigurationError, match="experimentation has no endpoint gate"):
        build_definitions(endpoints={"experimentation": ["gate"]})


def test_a_wrong_setting_of_one_account_leaves_the_others_alone_and_shows_itself(
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    instance: DagsterInstance,
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure_api(monkeypatch, API, max_inflight=8, read_timeout="soon", cron="hourly")
    configure_api(monkeypatch, "feature_management", users__shards=2)
    defs = build_definitions()
    problems = (
        "SOURCES__EXPERIMENTATION__MAX_INFLIGHT is no setting: did you mean SOURCES__EXPERIMENTATION__MAX_IN_FLIGHT?",
        "SOURCES__EXPERIMENTATION__READ_TIMEOUT must be a valid number, unable to parse string as a number",
        (
            "SOURCES__EXPERIMENTATION__CRON is 'hourly', which is no cron expression: write minute, hour, day, month, "
            "weekday, such as '20 * * * *'"
        ),
    )
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    shown = {key.partition("/")[0]: spec.metadata.get("configuration") for key, spec in specs.items()}

    assert shown == {**dict.fromkeys(APIS), API: "\n".join(problems)}
    assert specs[f"{API}/gates"].description == "\n\n".join(
        [*(f"**Not synced:** {unrendered(each)}" for each in problems), APIS[API].by_name["gates"].description]
    )
    assert [each.getMessage() for each in caplog.records if each.name.startswith("analytics_ingest")] == [
        f"{'; '.join(problems)}. Until that is right, experimentation is not synced"
    ]
    monkeypatch.delenv("SOURCES__EXPERIMENTATION__CRON")
    monkeypatch.delenv("SOURCES__EXPERIMENTATION__READ_TIMEOUT")
    wrong = defs.resolve_job_def(f"{API}_sync").execute_in_process(instance=instance, raise_on_error=False)
    assert not wrong.success
    [failure] = [event.step_failure_data for event in wrong.all_events if event.is_step_failure]
    assert failure.user_failure_data
    assert failure.user_failure_data.description == problems[0]
    assert sandbox.requests.count() == 0
    assert defs.resolve_job_def("incident_response_sync").execute_in_process(instance=instance).success


def test_what_all_accounts_share_is_warned_of_once_and_shown_on_all_assets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_AUTOMATON", "running")
    monkeypatch.setenv("SOURCES__EXPERIMENTATIONS__API_KEY", "k")
    defs = build_definitions()
    # as each component of a project does it
    build_definitions(accounts=["incident_response"])
    problems = [
        "ANALYTICS_INGEST_AUTOMATON is no setting: did you mean ANALYTICS_INGEST_AUTOMATION?",
        (
            "SOURCES__EXPERIMENTATIONS__API_KEY is no setting, as experimentations is no account: did you mean "
            "SOURCES__EXPERIMENTATION__API_KEY? Another account needs SOURCES__EXPERIMENTATIONS__API"
        ),
    ]

    assert {spec.metadata["configuration"] for spec in defs.resolve_all_asset_specs()} == {"\n".join(problems)}
    assert [each.getMessage() for each in caplog.records if each.name.startswith("analytics_ingest")] == [
        f"{'; '.join(problems)}. Until that is right, nothing is synced"
    ]


def test_an_api_that_is_not_configured_says_so_on_its_assets_until_it_is(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def shown() -> dict[str, set[tuple[str, str]]]:
        """By API what the descriptions of its assets begin with, and their metadata ``configuration``."""
        found: dict[str, set[tuple[str, str]]] = {}
        for spec in build_definitions().resolve_all_asset_specs():
            api, endpoint = spec.key.path
            head, own = (spec.description or "").removesuffix(APIS[api].by_name[endpoint].description), spec.metadata
            found.setdefault(api, set()).add((head, own.get("configuration", "")))
        return found

    for field in ("BASE_URL", "API_KEY"):
        monkeypatch.delenv(f"SOURCES__EXPERIMENTATION__{field}")
    reason = (
        "experimentation is not configured: set SOURCES__EXPERIMENTATION__PROFILE to statsig (or "
        "SOURCES__EXPERIMENTATION__BASE_URL) and SOURCES__EXPERIMENTATION__API_KEY"
    )
    assert shown() == {
        **{name: {("", "")} for name in APIS},
        API: {(f"**Not synced:** {reason}\n\n", reason)},
    }
    configure_api(monkeypatch, API, api_key="k")
    monkeypatch.setenv("SOURCES__INCIDENT_RESPONSE__PROFILE", "rooty")
    found = shown()
    without_key = reason.removesuffix(" and SOURCES__EXPERIMENTATION__API_KEY")
    assert found[API] == {(f"**Not synced:** {without_key}\n\n", without_key)}
    assert {configuration for _, configuration in found["incident_response"]} == {
        "SOURCES__INCIDENT_RESPONSE__PROFILE is 'rooty': it must be rootly or none"
    }
    configure_api(monkeypatch, API, base_url=sandbox.url)
    monkeypatch.delenv("SOURCES__INCIDENT_RESPONSE__PROFILE")
    caplog.clear()
    assert shown() == {name: {("", "")} for name in APIS}
    assert caplog.records == []


def test_a_schedule_says_which_name_is_misspelt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATON__API_KEY", "k")
    schedule = build_definitions().resolve_schedule_def("experimentation_sync_schedule")
    tick = schedule.evaluate_tick(build_schedule_context())

    assert tick.skip_message
    assert "did you mean SOURCES__EXPERIMENTATION__API_KEY?" in tick.skip_message


def test_a_wrong_section_leaves_the_others_in_the_graph_and_shows_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__STATSIG_EU__API", "experimentatoin")
    defs = build_definitions()
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}

    assert len(specs) == 1 + sum(len(api.endpoints) for api in APIS.values())
    wrong = specs["misconfigured_accounts/statsig_eu"]
    assert wrong.description is not None
    assert wrong.description.startswith("SOURCES__STATSIG_EU__API is 'experimentatoin': it must be experimentation or")
    assert not any(isinstance(each, AssetsDefinition) and wrong.key in each.keys for each in defs.assets or ())
