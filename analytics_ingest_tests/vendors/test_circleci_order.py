"""CircleCI: lists that are switched off leave everything else materialised, whichever of them a table is read for."""

from __future__ import annotations

import pytest
from dagster import DagsterInstance, Definitions

from analytics_ingest.config.schedule import load_schedule_settings
from analytics_ingest.orchestrate.account_assets import AccountAssets
from analytics_ingest.orchestrate.assets import build_assets
from analytics_ingest_tests.fake_server import Response
from analytics_ingest_tests.orchestrate.test_materialize import failure, materialised
from analytics_ingest_tests.vendors.circleci import Circleci
from analytics_ingest_tests.vendors.conftest import Synced, first_sync

pytestmark = pytest.mark.extended

OFF = ("me", "projects")
CHILDREN_OF_PROJECTS = {"project_pipelines"}


first = first_sync(Circleci)


@pytest.mark.parametrize("organisations", ["", "gh/acme"], ids=["listed", "set"])
def test_without_version_1_1_what_completed_is_materialised(
    synced: Synced[Circleci], monkeypatch: pytest.MonkeyPatch, organisations: str
) -> None:
    server = synced.vendor
    if organisations:
        monkeypatch.setenv("SOURCES__CONTINUOUS_INTEGRATION__ORG_SLUGS", organisations)
    location = Definitions(assets=[build_assets(AccountAssets(api=server.api), load_schedule_settings(server.api))])
    job = location.resolve_implicit_global_asset_job_def()
    with DagsterInstance.get() as instance:
        server.faults = {name: [Response(status=410, body={"message": "gone"})] * 50 for name in OFF}
        done = job.execute_in_process(instance=instance, raise_on_error=False)

    text = failure(done)
    found = {key.removeprefix("continuous_integration/") for key in materialised(done)}
    assert "projects failed: /v1.1/projects answered 410" in text
    missing = {endpoint.name for endpoint in server.api.endpoints} - found
    assert {"context", "self_ids", "self_collaborations", "pipelines"} <= found
    assert all(f"{name} failed: " in text or f"{name} skipped: " in text for name in missing)
