"""Rootly: an incident that is deleted upstream, which filtered lists do not show, is found and repaired."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analytics_ingest.cli.app import app
from analytics_ingest.diagnostics.verification import VerifiedEndpoint, verify_some
from analytics_ingest.diagnostics.verify import verify_api
from analytics_ingest_tests.conftest import query
from analytics_ingest_tests.vendors.conftest import Synced, first_sync
from analytics_ingest_tests.vendors.rootly import SINCE, Rootly
from analytics_ingest_tests.vendors.rootly_rows import remove, uid

LOG = logging.getLogger("test")
LISTS = ("incidents", "incidents_events", "alerts")
GONE = {"incidents": 32, "alerts": 40}
"""Records that are deleted: they were last updated long before the time from which lists are requested again."""

first = first_sync(Rootly, *LISTS)


@pytest.fixture
def server_after_deletions(synced: Synced[Rootly]) -> Rootly:
    """The server after a first sync, and after one that could not see what was deleted since."""
    for name, n in GONE.items():
        remove(synced.vendor, name, n)
    results = synced.vendor.sync(*LISTS)
    assert {name: results[name].rows_deleted for name in GONE} == {"incidents": 0, "alerts": 0}
    synced.vendor.asked.clear()
    return synced.vendor


def marked(tmp_path: Path, name: str) -> list[tuple[str]]:
    return query(tmp_path, f"SELECT id FROM incident_response.{name} WHERE _deleted_at IS NOT NULL")


def compare(server_after_deletions: Rootly) -> dict[str, VerifiedEndpoint]:
    return {each.endpoint.name: each for each in verify_some(server_after_deletions.api, requests=None, log=LOG)}


def repair() -> tuple[int, list[str]]:
    done = CliRunner().invoke(app, ["repair", "incident_response"], env={"COLUMNS": "200"})
    return done.exit_code, [" ".join(line.split()) for line in done.stdout.splitlines()]


def test_verify_finds_what_is_deleted(server_after_deletions: Rootly) -> None:
    found = {each.endpoint.name: each for each in verify_api(server_after_deletions.api, selected={*LISTS}, log=LOG)}

    assert {name: found[name].outcome for name in LISTS} == {
        "incidents": "differs",
        "incidents_events": "same",
        "alerts": "differs",
    }
    for name, n in GONE.items():
        assert (found[name].extra.count, list(found[name].extra.examples)) == (1, [(uid(name, n),)])
        assert (found[name].missing.count, found[name].changed.count) == (0, 0)


def test_the_comparison_of_the_job_finds_what_is_deleted_and_a_repair_marks_it(
    server_after_deletions: Rootly, tmp_path: Path
) -> None:
    found = compare(server_after_deletions)
    for name, n in GONE.items():
        (row,) = found[name].verification.rows
        assert (row.key, row.kind, row.counts) == ((uid(name, n),), "extra", False)
    assert found["incidents_events"].verification.rows == []

    server_after_deletions.asked.clear()
    assert repair() == (
        0,
        [
            "incident_response (rootly)",
            "✓ incidents 0 rows loaded, 1 marked as deleted",
            "✓ alerts 0 rows loaded, 1 marked as deleted",
            "2 repaired, 0 not repaired, 0 not configured",
        ],
    )
    # without the filter by time: once to repair, once to compare
    assert [asked for asked in server_after_deletions.asked if SINCE in asked.query] == []
    assert {asked.path for asked in server_after_deletions.asked} == {"/v1/incidents", "/v1/alerts"}
    assert {name: marked(tmp_path, name) for name in GONE} == {name: [(uid(name, n),)] for name, n in GONE.items()}
    assert [each.verification.rows for each in compare(server_after_deletions).values()] == [[]] * len(
        compare(server_after_deletions)
    )
    assert {each.outcome for each in verify_api(server_after_deletions.api, selected={*LISTS}, log=LOG)} == {"same"}


def test_a_deletion_counts_once_a_sync_has_left_it(server_after_deletions: Rootly, tmp_path: Path) -> None:
    compare(server_after_deletions)
    server_after_deletions.sync(*LISTS)
    counted = {
        name: found.verification for name, found in compare(server_after_deletions).items() if found.verification.rows
    }

    assert {name: [(row.key, row.counts) for row in counted[name].rows] for name in counted} == {
        name: [((uid(name, n),), True)] for name, n in GONE.items()
    }
    assert marked(tmp_path, "incidents") == []
