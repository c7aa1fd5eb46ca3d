"""Fields that change, keys that repeat: nothing that was loaded is lost, and a person is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import expected_keys, live_keys, query, sync

API = "experimentation"


def test_field_that_changes_its_type_keeps_the_old_values_and_is_told_of(
    tmp_path: Path, shared_sandbox: SandboxServer, caplog: pytest.LogCaptureFixture
) -> None:
    gates = shared_sandbox.world.collection(API, "gates")
    for gate in gates:
        gate["weight"] = 1
    sync(API, "gates")
    gates[0]["weight"] = "heavy"
    result = sync(API, "gates")["gates"]

    assert result.status == "complete"
    assert result.stats.rows_loaded == 1
    rows = dict(query(tmp_path, f"SELECT id, weight FROM {API}.gates"))
    assert rows == {gate["id"]: "1" for gate in gates} | {gates[0]["id"]: "heavy"}
    said = f"weight is text, was bigint: the row id {gates[0]['id']} has heavy"
    assert f"experimentation/gates: {said}" in caplog.text
    assert result.widened == [said]


def test_new_field_and_a_field_that_is_gone(tmp_path: Path, filled: Callable[..., SandboxServer]) -> None:
    sandbox = filled(API, "gates")
    gates = sandbox.world.collection(API, "gates")
    names = dict(query(tmp_path, f"SELECT id, name FROM {API}.gates"))
    gates[0]["brand_new"] = True
    del gates[1]["name"]
    sync(API, "gates")

    assert query(tmp_path, f"SELECT id FROM {API}.gates WHERE brand_new") == [(gates[0]["id"],)]
    after = dict(query(tmp_path, f"SELECT id, name FROM {API}.gates"))
    assert after == names | {gates[1]["id"]: None}


def test_of_one_key_twice_the_later_row_stays(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    gates = shared_sandbox.world.collection(API, "gates")
    early = {**gates[0], "updated_at": "2025-01-01T00:00:00Z", "name": "early"}
    late = {**gates[0], "updated_at": "2026-01-15T00:00:00Z", "name": "late"}
    for order in ([early, late], [late, early]):
        gates[:] = [*order, *gates[-4:]]
        sync(API, "gates")
        assert query(tmp_path, f"SELECT name FROM {API}.gates WHERE id = '{gates[0]['id']}'") == [("late",)]


@pytest.mark.extended
def test_text_among_keys_of_whole_numbers_makes_the_key_text(
    tmp_path: Path, filled: Callable[..., SandboxServer]
) -> None:
    sandbox = filled("project_planning", "labels")
    labels = sandbox.world.collection("project_planning", "labels")
    assert isinstance(labels[0]["id"], int)
    labels[2]["id"] = "L-7"
    assert sync("project_planning", "labels")["labels"].stats.rows_rejected == 0
    expected = sorted((str(row["id"]),) for row in labels)
    assert live_keys(tmp_path, "project_planning", "labels") == expected


@pytest.mark.extended
def test_text_that_is_a_number_among_keys_of_whole_numbers_is_kept_aside(
    tmp_path: Path, shared_sandbox: SandboxServer
) -> None:
    labels = shared_sandbox.world.collection("project_planning", "labels")
    labels[2]["id"] = "7"
    for _ in range(2):
        result = sync("project_planning", "labels")["labels"]
        assert result.status == "complete"
        assert result.stats.rows_rejected == 1

    kept = [(row["id"],) for row in labels if row["id"] != "7"]
    assert live_keys(tmp_path, "project_planning", "labels") == sorted(kept)
    reasons = query(tmp_path, "SELECT endpoint, reason FROM project_planning._rejected_rows")
    said = "id is '7', and other rows have it in another type: a column cannot tell 7 from '7'"
    assert reasons == [("labels", said)]


@pytest.mark.extended
def test_key_that_is_no_plain_value_is_kept_aside(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    tags = shared_sandbox.world.collection(API, "tags")
    tags[0]["id"], tags[1]["id"] = {"a": 1}, [2]
    result = sync(API, "tags")["tags"]

    assert result.status == "complete"
    assert result.table_rows == len(tags) - 2
    assert set(query(tmp_path, f"SELECT reason FROM {API}._rejected_rows")) == {("no plain value for id",)}


def test_fewer_rows_than_stated_are_read_once_more(shared_sandbox: SandboxServer) -> None:
    shared_sandbox.options.totals = "high"
    result = sync(API, "tags")["tags"]

    assert result.status == "complete"
    assert result.table_rows == 100
    assert shared_sandbox.requests.count(API, "tags") == 4


def test_keys_that_look_like_dates_stay_text(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    event = shared_sandbox.world.collection(API, "events")[0]
    metrics = shared_sandbox.world.collection(API, "events_metrics")
    metrics["2026-01-01T00:00:00Z",] = metrics.pop((event["name"],))
    event["name"] = "2026-01-01T00:00:00Z"
    sync(API, "events", "events_metrics")

    for name in ("events", "events_metrics"):
        assert live_keys(tmp_path, API, name) == expected_keys(shared_sandbox.world, API, name)
