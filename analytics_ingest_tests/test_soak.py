"""The soak: its plan, a short one in which everything holds, and that its checks find what is put wrong after it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest

from analytics_ingest.sandbox.expected_rows import PARTITIONS, listed_partitions
from analytics_ingest_tests.tools.soak.changing_world import ACCOUNTS, RecordedWorld
from analytics_ingest_tests.tools.soak.fault_plan import ABSORBED, RUN, SESSIONS, TOLD, counts, make_plan
from analytics_ingest_tests.tools.soak.soak_checks import check_everything
from analytics_ingest_tests.tools.soak.soak_report import report_of
from analytics_ingest_tests.tools.soak.soak_run import SoakSettings, started_soak
from analytics_ingest_tests.tools.soak.usage import ancestors

HOUR = 3600.0
FEW = ("incident_response", "feature_management", "feature_management_eu")
"""Accounts of the short soak: an API without children, and two accounts of one with children and histories."""


def test_seed_decides_the_plan() -> None:
    assert make_plan(1, HOUR, ACCOUNTS) == make_plan(1, HOUR, ACCOUNTS)
    assert make_plan(1, HOUR, ACCOUNTS) != make_plan(2, HOUR, ACCOUNTS)


def test_plan_of_an_hour_has_every_kind_and_kills_long_lived_processes_in_its_first_third() -> None:
    plan = make_plan(1, HOUR, ACCOUNTS)
    kinds = {(each.action, each.what) for each in plan}

    assert {what for action, what in kinds if action == "absorbed"} == set(ABSORBED)
    assert {what for action, what in kinds if action == "told"} == set(TOLD)
    assert counts(plan).keys() == {"absorbed", "told", "kill", "upstream clock", "own clock", "webhook"}
    assert {each.what for each in plan if each.action == "kill" and each.at > HOUR / 3} == {RUN, SESSIONS}
    assert {each.account for each in plan if each.action == "absorbed"} == {each.name for each in ACCOUNTS}
    jumps = [each for each in plan if each.action.endswith("clock")]
    assert sum(each.number for each in jumps) == 0


def test_children_of_a_removed_row_are_removed_too() -> None:
    world = RecordedWorld(1)
    before = {row["id"] for row in world.collection("experimentation", "gates")}
    for _ in range(30):
        world.advance(2)
    gates = {row["id"] for row in world.collection("experimentation", "gates")}

    assert before - gates
    assert set(world.collection("experimentation", "gates_rules")) == {(gate,) for gate in gates}
    # grandchildren as well: nothing is served whose parent is not listed
    for api, endpoint in PARTITIONS:
        listed = {path for path, _ in listed_partitions(world.store, api, endpoint)}
        assert set(world.collection(api, endpoint)) <= listed


def test_ancestors_of_a_process_are_found_and_those_of_none_are_none() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        found = ancestors(process.pid)
        process.communicate(b"\n")

    assert found[:2] == [os.getpid(), os.getppid()]
    assert ancestors(process.pid) == []


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for those of sockets, which have about a hundred characters at most."""
    with TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.mark.extended
def test_everything_holds_after_a_short_soak_and_what_is_put_wrong_is_found(short_folder: Path) -> None:
    settings = SoakSettings(
        folder=short_folder,
        seconds=40,
        seed=1,
        accounts=[each for each in ACCOUNTS if each.name in FEW],
        pace=0.1,
        advance_every=4,
        crons=["* * * * *"],
        verify_cron="* * * * *",
    )
    with started_soak(settings) as soak:
        soak.carry_out()
        soak.come_to_rest()
        soak.wait_until_told()
        findings = check_everything(soak)
        report = report_of(soak, findings)
        assert findings.violations == []
        assert report["rows_lost"] == report["rows_twice"] == report["told_again"] == 0
        assert report["verifications"] >= len(FEW)
        assert report["failures_told"] == report["runs_failed"]
        assert report["upstream_changes"]["changed"]
        assert sum(report["faults"].values())

        schema = "feature_management"
        with soak.store.writing() as execute:
            execute(f"DELETE FROM {schema}.users WHERE id = (SELECT min(id) FROM {schema}.users)", ())
            execute(f"UPDATE {schema}.groups SET name = 'altered'", ())
            execute(f"UPDATE {schema}.rollout_statuses SET _deleted_at = NULL, id = id || '-twin'", ())
            execute(
                f"INSERT INTO {schema}._history_feature_flags SELECT * FROM {schema}._history_feature_flags LIMIT 1", ()
            )
            execute(f"UPDATE {schema}._syncs SET status = 'started' WHERE endpoint = 'users'", ())
        soak.webhook.received.append(f"1 run of analytics_ingest failed\n\nx: not materialised: y\nrun {UUID(int=0)}")
        found = "\n".join(check_everything(soak).violations)
    for what in (
        "rows are lost",
        "rows differ from the upstream",
        "rows are not marked as deleted",
        "that the upstream never had",
        "versions do not follow each other",
        "parts of syncs are still open in the ledger",
        "the sum of hashes in the ledger is not that of the table",
        "runs are told that have not failed",
        "analytics-ingest verify exits with 1",
    ):
        assert what in found
