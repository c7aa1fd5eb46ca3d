"""The code location as Dagster and its users see it, with an empty environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AnchorBasedFilePathMapping,
    AssetKey,
    AssetSpec,
    DagsterInstance,
    UrlCodeReference,
    build_schedule_context,
    link_code_references_to_git,
)
from dagster._core.remote_representation.external_data import RepositorySnap

from analytics_ingest.apis.model import Api
from analytics_ingest.apis.registry import APIS
from analytics_ingest.apis.vendors import VENDORS
from analytics_ingest.config.api import not_configured
from analytics_ingest.config.schedule import load_schedule_settings
from analytics_ingest.definitions import defs
from analytics_ingest.orchestrate.account_assets import AccountAssets
from analytics_ingest.orchestrate.assets import build_assets
from analytics_ingest_tests.conftest import ROOT
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.fake_server import KEY


@pytest.fixture(scope="module")
def specs() -> dict[AssetKey, AssetSpec]:
    return {spec.key: spec for spec in defs.resolve_all_asset_specs()}


def test_there_is_one_asset_per_endpoint(specs: dict[AssetKey, AssetSpec]) -> None:
    expected = {AssetKey([api.name, endpoint.name]) for api in APIS.values() for endpoint in api.endpoints}

    assert set(specs) == expected


def test_edges_are_those_of_the_data_and_no_others(specs: dict[AssetKey, AssetSpec]) -> None:
    found = {key: {dep.asset_key for dep in spec.deps} for key, spec in specs.items()}

    assert found == {
        AssetKey([api.name, endpoint.name]): {AssetKey([api.name, parent]) for parent in endpoint.upstream}
        for api in APIS.values()
        for endpoint in api.endpoints
    }


def test_specs_carry_what_people_look_for(specs: dict[AssetKey, AssetSpec]) -> None:
    for key, spec in specs.items():
        api, endpoint = key.path
        assert spec.group_name == api
        assert spec.description == (
            f"**Not synced:** {not_configured(APIS[api])}\n\n{APIS[api].by_name[endpoint].description}"
        )
        assert spec.kinds == {"dlt", "duckdb"}
        assert spec.metadata["dagster/table_name"] == f"{api}.{endpoint}"
        declared = [column.name for column in spec.metadata["dagster/column_schema"].columns]
        columns = APIS[api].by_name[endpoint].primary_key
        assert declared[: len(columns)] == [*columns]
        assert declared[-2:] == ["_deleted_at", "_row_hash"] if columns else declared[-1] == "_row_hash"


def test_every_metadata_can_be_shown(specs: dict[AssetKey, AssetSpec]) -> None:
    # what the code location sends to the UI
    shown = {node.asset_key: node.metadata for node in RepositorySnap.from_def(defs.get_repository_def()).asset_nodes}

    assert shown.keys() == specs.keys()
    for key, metadata in shown.items():
        assert {"path", "primary_key", "cursor", "dagster/column_schema"} <= metadata.keys()
        assert [name for name, value in metadata.items() if "unserializable" in str(value.value)] == [], key


def test_one_subsettable_definition_per_api() -> None:
    repository = defs.get_repository_def()
    by_op = {each.node_def.name: each for each in repository.asset_graph.assets_defs if each.keys}

    assert set(by_op) == set(APIS)
    for name, definition in by_op.items():
        assert definition.can_subset
        assert len(definition.keys) == len(APIS[name].endpoints)


def test_jobs() -> None:
    repository = defs.get_repository_def()
    jobs = {job.name: job for job in repository.get_all_jobs() if not job.name.startswith("__")}

    per_api = {f"{name}_{kind}" for name in APIS for kind in ("sync", "full_refresh", "verify")}
    assert set(jobs) == {"all_sync", *per_api}
    for name, api in APIS.items():
        for kind in ("sync", "full_refresh"):
            job = jobs[f"{name}_{kind}"]
            selected = job.asset_layer.executable_asset_keys
            assert selected == {AssetKey([name, endpoint.name]) for endpoint in api.endpoints}
            # the sync records the checks itself
            assert [node.name for node in job.nodes] == [name]
            assert job.tags["analytics_ingest/api"] == name
        job = jobs[f"{name}_verify"]
        assert job.asset_layer.executable_asset_keys == set()
        assert [node.name for node in job.nodes] == [f"{name}_checks"]
        # it keeps no sync from starting
        assert job.tags.get("analytics_ingest/api") is None
    every = {AssetKey([api.name, endpoint.name]) for api in APIS.values() for endpoint in api.endpoints}
    assert jobs["all_sync"].asset_layer.executable_asset_keys == every


def empty_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "DLT_DATA_DIR")}
    return {**kept, "HOME": os.environ["DLT_DATA_DIR"]}


@pytest.mark.extended
def test_definitions_validate_with_an_empty_environment(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "dagster",
        "definitions",
        "validate",
        "-m",
        "analytics_ingest.definitions",
    ]
    # in the checkout, Dagster would follow its dagster.yaml and make an instance there
    environment = {**empty_environment(), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("data*")) == []
    assert "Validation successful" in done.stdout + done.stderr


LOAD = """
import json, sys, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from analytics_ingest.definitions import defs
    specs = defs.resolve_all_asset_specs()
    defs.get_repository_def()
modules = sorted({"duckdb", "pyrate_limiter", "analytics_ingest.http.session"} & set(sys.modules))
ours = [w for w in caught if "analytics_ingest" in w.filename or "Supersession" in w.category.__name__]
defs.validate_loadable(defs)
print(json.dumps({"specs": len(specs), "modules": modules, "warnings": [str(w.message) for w in ours]}))
"""
KILL = (
    LOAD
    + """
import os, signal
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
)
MISTAKEN = {
    "SOURCES__EXPERIMENTATION__PROFILE": ("statsigg", "is 'statsigg': it must be statsig or none"),
    "SOURCES__INCIDENT_RESPONSE__CRON": ("hourly", "is 'hourly', which is no cron expression"),
    "SOURCES__PROJECT_PLANNING__CRON": ("0 0 31 2 *", "is '0 0 31 2 *', which names a day that never comes"),
    "SOURCES__FEATURE_MANAGEMENT__FULL_REFRESH_CRON": ("0 0 30 2 *", "is '0 0 30 2 *', which names a day"),
    "SOURCES__CONTINUOUS_INTEGRATION__MAX_INFLIGHT": ("8", "is no setting: did you mean SOURCES__CONTINUOUS_"),
}
"""A setting of each API that makes no sense, and what is said of it."""


@dataclass(frozen=True)
class Loaded:
    """What two processes print that load the definitions, one after the other.

    Attributes:
        mistaken: With settings that make no sense; it kills itself at its end.
        empty: With an empty environment.
        left: What the first one left in the folder for temporary files.
        folder: That folder, as the second one leaves it.
        others: What lay in it all the time and is not theirs.
        killed: The id of the first one.
    """

    mistaken: tuple[dict[str, Any], str]
    empty: tuple[dict[str, Any], str]
    left: list[Path]
    folder: Path
    others: set[Path]
    killed: int


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("loaded")
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = {**kept, "HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    others = {folder / f"analytics_ingest-{os.getpid()}-running", folder / "analytics_ingest-notes"}
    for each in others:
        each.mkdir()

    def start(code: str, **settings: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code],
            env={**environment, **settings},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    killed = start(KILL, **{name: value for name, (value, _) in MISTAKEN.items()})
    printed, said = killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL, said
    left = list(folder.glob(f"analytics_ingest-{killed.pid}-*"))
    plain = start(LOAD)
    printed_then, said_then = plain.communicate(timeout=120)
    assert plain.returncode == 0, said_then
    return Loaded(
        mistaken=(json.loads(printed), said),
        empty=(json.loads(printed_then), said_then),
        left=left,
        folder=folder,
        others=others,
        killed=killed.pid,
    )


def test_loading_definitions_imports_no_destination_and_no_client_of_http(loaded: Loaded) -> None:
    assert loaded.empty[0]["modules"] == []


def test_loading_definitions_warns_of_nothing_of_ours_and_makes_no_file(loaded: Loaded) -> None:
    assert loaded.empty[0]["warnings"] == []
    assert not (loaded.folder / "data").exists()


def test_folders_of_killed_processes_are_removed_and_those_of_others_stay(loaded: Loaded) -> None:
    assert len(loaded.left) == 1
    assert set(loaded.folder.glob("analytics_ingest-*")) == loaded.others


def test_setting_of_the_graph_that_makes_no_sense_costs_no_other_api(loaded: Loaded) -> None:
    found, said = loaded.mistaken
    assert found["specs"] == sum(len(api.endpoints) for api in APIS.values())
    assert loaded.empty[0]["specs"] == found["specs"]
    for name, (_, reason) in MISTAKEN.items():
        api = name.split("__")[1].lower()
        assert f"{name} {reason}" in said
        assert said.count(f"Until that is right, {api} is not synced") == 1


def test_owners_docs_and_tags_come_from_settings_and_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__OWNERS", "someone@example.com, team:data")
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__DOCS_URL", "https://docs.example.com/experimentation")
    api = APIS["experimentation"]
    specs = {
        spec.key.path[-1]: spec for spec in build_assets(AccountAssets(api=api), load_schedule_settings(api)).specs
    }

    assert {tuple(spec.owners) for spec in specs.values()} == {("someone@example.com", "team:data")}
    assert {spec.metadata["docs"].value for spec in specs.values()} == {"https://docs.example.com/experimentation"}
    assert (
        specs["gates"].tags
        == {"analytics_ingest/account": "experimentation", "api": "experimentation", "reads": "list"} | _kinds()
    )
    assert specs["gates_rules"].tags["reads"] == "fan-out"
    assert specs["ingestion_status"].tags["reads"] == "snapshot"


def _kinds() -> dict[str, str]:
    return {"dagster/kind/dlt": "", "dagster/kind/duckdb": ""}


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("CRON", "hourly", "SOURCES__EXPERIMENTATION__CRON is 'hourly', which is no cron expression"),
        pytest.param(
            "CRON",
            "0 0 31 2 *",
            "SOURCES__EXPERIMENTATION__CRON is '0 0 31 2 *', which names a day that never comes",
            marks=pytest.mark.extended,
        ),
        pytest.param(
            "FULL_REFRESH_CRON",
            "0 0 30 2 *",
            "SOURCES__EXPERIMENTATION__FULL_REFRESH_CRON is '0 0 30 2 *', which names a day",
            marks=pytest.mark.extended,
        ),
        ("PROFILE", "statsigg", "SOURCES__EXPERIMENTATION__PROFILE is 'statsigg': it must be statsig or none"),
    ],
)
def test_api_with_a_setting_of_the_graph_that_makes_no_sense_is_not_synced(
    monkeypatch: pytest.MonkeyPatch, instance: DagsterInstance, setting: str, value: str, said: str
) -> None:
    configure_api(monkeypatch, "experimentation", base_url="http://127.0.0.1:1", api_key=KEY, **{setting: value})
    tick = defs.resolve_schedule_def("experimentation_sync_schedule").evaluate_tick(
        build_schedule_context(instance=instance, scheduled_execution_time=datetime.now(UTC))
    )
    assert said in (tick.skip_message or "")
    job = defs.resolve_job_def("experimentation_sync")
    failed = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not failed.success
    description = failed.filter_events(lambda event: event.is_step_failure)[0].step_failure_data.user_failure_data
    assert said in str(description)


@pytest.mark.parametrize("api", [*APIS.values(), *VENDORS], ids=lambda api: api.profile or api.name)
def test_an_asset_names_its_table_its_declaration_and_where_that_stands(api: Api) -> None:
    specs = {
        spec.key.path[-1]: spec for spec in build_assets(AccountAssets(api=api), load_schedule_settings(api)).specs
    }

    for name, endpoint in api.by_name.items():
        metadata = specs[name].metadata
        assert (metadata["dagster/table_name"], metadata["dagster/storage_kind"]) == (f"{api.name}.{name}", "duckdb")
        assert specs[name].code_version == endpoint.declaration
        references = metadata["dagster/code_references"].code_references
        assert references
        for each in references:
            line = Path(each.file_path).read_text().splitlines()[each.line_number - 1]
            assert f'"{name}"' in line


def test_a_project_can_link_the_declarations_to_its_repository() -> None:
    mapping = AnchorBasedFilePathMapping(
        local_file_anchor=ROOT / "analytics_ingest" / "__init__.py",
        file_anchor_path_in_repository="vendored/analytics_ingest/__init__.py",
    )
    linked = link_code_references_to_git(
        assets_defs=[*defs.resolve_asset_graph().assets_defs],
        git_url="https://github.com/acme/pipelines",
        git_branch="main",
        file_path_mapping=mapping,
    )
    specs = {spec.key: spec for definition in linked for spec in definition.specs}
    (reference,) = specs[AssetKey(["experimentation", "gates"])].metadata["dagster/code_references"].code_references

    file, _, line = reference.url.partition("#L")
    assert file == "https://github.com/acme/pipelines/tree/main/vendored/analytics_ingest/apis/experimentation.py"
    module = ROOT / "analytics_ingest" / "apis" / "experimentation.py"
    assert '"gates",' in module.read_text().splitlines()[int(line) - 1]
    assert reference.label == "declaration"
    assert not [
        each
        for spec in specs.values()
        for each in spec.metadata["dagster/code_references"].code_references
        if not isinstance(each, UrlCodeReference)
    ]
