"""docs/projects.md: the rows that its query gives, and the names that it gives of what a component has."""

from __future__ import annotations

import logging
import os
import re

import pytest

from analytics_ingest.config.accounts import choose_accounts
from analytics_ingest.orchestrate.builder import build_definitions
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sync.api_sync import ApiSync
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.pages import DOCS, queries_of
from analytics_ingest_tests.stores import Store

API = "experimentation"


def sync_account(name: str) -> None:
    """Syncs the gates of an account."""
    api = choose_accounts([name])[name]
    assert {each.status for each in ApiSync(api, selected={"gates"}, log=logging.getLogger("test")).run()} == {
        "complete"
    }


@pytest.mark.parametrize("store", ["duckdb", pytest.param("postgres", marks=pytest.mark.extended)], indirect=True)
def test_one_query_unites_two_accounts(
    shared_sandbox: SandboxServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = {name: os.environ[f"SOURCES__{API}__{name}".upper()] for name in ("base_url", "api_key")}
    for account in ("statsig_eu", "statsig_us"):
        configure_api(monkeypatch, account, api=API, **upstream)
        sync_account(account)
    gates = shared_sandbox.world.collection(API, "gates")
    before = [(gate["id"], gate["name"]) for gate in gates]
    gone = gates.pop()
    sync_account("statsig_eu")

    ((_, sql),) = queries_of("projects.md").items()
    with store.reading() as query:
        columns, rows = query(sql)
    assert columns == ["account", "id", "name"]
    assert sorted(rows) == sorted(
        (account, *gate)
        for account in ("eu", "us")
        for gate in before
        if account == "us" or gate != (gone["id"], gone["name"])
    )


def test_the_page_names_what_a_component_has() -> None:
    page = (DOCS / "projects.md").read_text().partition("## In Python")[0]
    repository = build_definitions(accounts=[API], name_prefix=API).get_repository_def()
    jobs = set(repository.job_names) - {"__ASSET_JOB"}
    sensors = {sensor.name for sensor in repository.sensor_defs}

    assert {f"{API}_{name}" for name in re.findall(r"`<account>_(\w+)`", page)} == jobs | sensors
    assert {schedule.name for schedule in repository.schedule_defs} == {f"{job}_schedule" for job in jobs}
