"""A profile wherever a user meets it: a wrong key, check, the graph, runs, sensors; and a change of profile."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from dagster import AssetKey, AssetSelection, DagsterInstance, Definitions
from typer.testing import CliRunner

from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.cli.app import app
from analytics_ingest.config.schedule import load_schedule_settings
from analytics_ingest.diagnostics.change_probe import fingerprint_lists
from analytics_ingest.diagnostics.connection_check import check_api
from analytics_ingest.errors import AuthenticationError
from analytics_ingest.orchestrate.account_assets import AccountAssets
from analytics_ingest.orchestrate.assets import build_assets
from analytics_ingest.orchestrate.checks_op import build_checks
from analytics_ingest.orchestrate.freshness import Configured
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import query, stored_cursor, sync
from analytics_ingest_tests.fake_server import Response
from analytics_ingest_tests.vendors.registry import VENDORS
from analytics_ingest_tests.vendors.server import Vendor
from analytics_ingest_tests.vendors.split import Split

ROOT = Path(__file__).parents[2]
LOG = logging.getLogger("test")
SECRET = "wrong-and-secret"
every_vendor = pytest.mark.parametrize("profile", VENDORS)


@every_vendor
def test_check_asks_once_for_each_endpoint(vendor_server: Callable[..., Vendor], profile: str) -> None:
    vendor = vendor_server(VENDORS[profile]())
    found = {each.subject: each for each in check_api(vendor.api, log=LOG)}

    assert {each.message for each in found.values() if each.outcome == "failed"} == set()
    assert list(found)[3:] == list(vendor.api.by_name)
    tried = [name for name in vendor.api.by_name if found[name].outcome == "fine"]
    assert vendor.requests == Counter(tried)
    # Shortcut's server has no story of the last 90 days, whose comments and history could be tried
    assert len(tried) >= len(vendor.api.by_name) - (2 if profile == "shortcut" else 1)


@every_vendor
def test_the_graph_has_the_endpoints_of_the_profile(profile: str) -> None:
    api = next(found[profile] for found in PROFILES.values() if profile in found)
    defs = Definitions(
        assets=[build_assets(AccountAssets(api=api), load_schedule_settings(api))],
        asset_checks=[build_checks(AccountAssets(api=api))],
    )

    specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
    assert specs.keys() == {AssetKey([api.name, name]) for name in api.by_name}
    for name, endpoint in api.by_name.items():
        spec = specs[AssetKey([api.name, name])]
        assert {dep.asset_key for dep in spec.deps} == {AssetKey([api.name, parent]) for parent in endpoint.upstream}
        assert spec.metadata["docs"].value == api.docs_url
        assert spec.metadata["profile"] == profile


@every_vendor
def test_a_look_that_finds_nothing_new_tells_the_same_twice(vendor_server: Callable[..., Vendor], profile: str) -> None:
    vendor = vendor_server(VENDORS[profile]())
    first = fingerprint_lists(vendor.api, log=LOG)

    assert (first.fingerprints.keys(), first.failures) == ({probe.endpoint for probe in vendor.api.probes}, {})
    assert fingerprint_lists(vendor.api, log=LOG) == first


@pytest.mark.parametrize("repeats", [False, True], ids=["", "the answer repeats it"])
@every_vendor
def test_a_wrong_key_ends_the_sync_and_is_not_shown(
    vendor_server: Callable[..., Vendor], profile: str, repeats: bool
) -> None:
    vendor = vendor_server(VENDORS[profile](), API_KEY=SECRET)
    api = vendor.api
    if repeats:
        vendor.error = lambda status: Response(status=status, body={"message": f"No such token: {SECRET}"})
    lists = [each.name for each in api.endpoints if not each.parents][:2]
    setting = f"SOURCES__{api.name.upper()}__API_KEY"
    with pytest.raises(AuthenticationError, match=rf"^{api.name} refused the key .* {setting}") as refused:
        vendor.sync(*lists)

    assert ("No such token: ***" in str(refused.value)) is repeats
    assert SECRET not in str(refused.value)
    assert len(vendor.asked) == 1
    assert vendor.asked[0].headers[api.auth.get("name", "Authorization")].endswith(SECRET)


def test_check_names_the_profile(vendor_server: Callable[..., Vendor]) -> None:
    split = vendor_server(Split())
    result = CliRunner().invoke(app, ["check", "feature_management"], env={"COLUMNS": "80"})

    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert "feature_management (split)" in lines
    assert lines[-1] == f"{len(split.api.endpoints)} fine, 0 not tried, 0 failed, 0 not configured"


@pytest.mark.parametrize("command", ["check", "verify"])
def test_an_unknown_profile_ends_a_command_with_the_setting(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__FEATURE_MANAGEMENT__PROFILE", "slit")
    result = CliRunner().invoke(app, [command])

    assert result.exit_code == 1
    text = " ".join(result.output.split())
    assert "SOURCES__FEATURE_MANAGEMENT__PROFILE is 'slit': it must be split or none" in text


def test_an_api_with_a_profile_and_a_key_counts_as_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    from analytics_ingest.config.api import choose_profile
    from analytics_ingest.orchestrate.schedules import unreadable

    api = APIS["feature_management"]
    monkeypatch.setenv("SOURCES__FEATURE_MANAGEMENT__PROFILE", "split")
    assert unreadable(choose_profile(api)) == (
        "feature_management is not configured: set SOURCES__FEATURE_MANAGEMENT__API_KEY"
    )
    monkeypatch.setenv("SOURCES__FEATURE_MANAGEMENT__API_KEY", "k")
    assert unreadable(choose_profile(api)) == ""
    assert Configured().name == "API is configured"


@pytest.mark.extended
def test_a_user_sets_a_profile_and_a_key_and_materialises_though_another_profile_is_unknown(
    vendor_server: Callable[..., Vendor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = vendor_server(Split())
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__PROFILE", "optimizely")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "dagster", "asset", "materialize", "-m", "analytics_ingest.definitions"),
            *("--select", 'key:"feature_management/workspaces" or key:"feature_management/feature_flags"'),
        ],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert split.KEY not in done.stdout + done.stderr
    assert query(tmp_path, "SELECT count(*) FROM feature_management.feature_flags") == [(3 * 103,)]
    # named when the code location loads
    assert done.stderr.count("SOURCES__EXPERIMENTATION__PROFILE is 'optimizely': it must be statsig or none") == 1
    assert "experimentation is not synced" in done.stderr


@pytest.mark.extended
def test_checks_without_a_sync_know_what_a_setting_asks_for(vendor_server: Callable[..., Vendor]) -> None:
    split = vendor_server(Split())
    lists = ("workspaces", "environments", "change_requests")
    split.sync(*lists)
    defs = Definitions(
        asset_checks=[build_checks(AccountAssets(api=split.api))],
        assets=[build_assets(AccountAssets(api=split.api), load_schedule_settings(split.api))],
    )
    wanted = AssetSelection.checks_for_assets(*(AssetKey([split.api.name, name]) for name in lists))
    keys = wanted.resolve_checks(defs.resolve_asset_graph())
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=set(), asset_check_selection=keys)
    with DagsterInstance.get() as instance:
        found = job.execute_in_process(instance=instance).get_asset_check_evaluations()

    assert [(each.asset_key.path, each.check_name) for each in found if not each.passed] == []
    assert len(found) == 2 * len(lists)


def test_a_cursor_of_another_upstream_is_not_used_to_filter(
    sandbox: SandboxServer, vendor_server: Callable[..., Vendor], tmp_path: Path
) -> None:
    api = "incident_response"
    assert sync(api, "incidents")["incidents"].cursor == datetime.fromisoformat(str(stored_cursor(api, "incidents")))
    rootly = vendor_server(VENDORS["rootly"]())
    first = rootly.sync("incidents")["incidents"]

    assert first.status == "complete"
    assert not [asked for asked in rootly.asked if any(name.startswith("filter") for name in asked.query)]
    live = query(tmp_path, "SELECT count(*) FROM incident_response.incidents WHERE _deleted_at IS NULL")
    assert live == [(len(rootly.expected("incidents")),)]
    rootly.asked.clear()
    rootly.sync("incidents")
    assert all("filter[updated_at][gte]" in asked.query for asked in rootly.asked)
