"""Children: asked for every parent, in chunks, whatever becomes of some of them."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.errors import AuthenticationError
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import expected_keys, live_keys, packages, query, sync

Filled = Callable[..., SandboxServer]


API = "experimentation"
STORIES = (
    *("epics", "epics_stories", "groups", "groups_stories", "iterations", "iterations_stories"),
    *("stories_comments", "story_history"),
)
GATES = ("gates", "gates_rules")
SEGMENTS = ("workspaces", "environments", "segments", "segments_keys")


@pytest.mark.extended
def test_fan_out_in_small_chunks_is_exact(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__PROJECT_PLANNING__FAN_OUT_CHUNK", "20")
    results = sync("project_planning", *STORIES)

    for name, result in results.items():
        assert result.status == "complete"
        assert result.stats.parents_done == result.stats.parents
        keys = expected_keys(shared_sandbox.world, "project_planning", name)
        assert live_keys(tmp_path, "project_planning", name) == keys
    again = sync("project_planning", *STORIES)
    assert {result.stats.rows_loaded for result in again.values() if result.stats} == {0}
    stories = results["story_history"].stats
    assert stories is not None
    # twice as many where they come faster than they are loaded
    assert packages(tmp_path, "project_planning") >= -(-stories.parents // 40) > 1


def test_child_that_was_not_defined_last_time_is_not_retried(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    api, name = "feature_management", "segments_keys"
    keys = shared_sandbox.world.collection(api, name)

    def absences(loaded: int = 0, parents: tuple[str, ...] = ()) -> Counter[str]:
        """Syncs, and gives the requests that were answered by 404, by path."""
        shared_sandbox.requests.reset()
        result = sync(api, *parents, name)[name]
        assert (result.status, result.stats and result.stats.rows_loaded) == ("complete", loaded)
        assert live_keys(tmp_path, api, name) == expected_keys(shared_sandbox.world, api, name)
        return Counter(record.path for record in shared_sandbox.requests if record.status == 404)

    first = absences(len(expected_keys(shared_sandbox.world, api, name)), SEGMENTS[:-1])
    tries = 1 + APIS[api].retry.max_retries
    assert first
    assert set(first.values()) == {tries}
    before = packages(tmp_path, api)
    # also by another machine, as it is in the warehouse
    shutil.rmtree(tmp_path / "dlt")
    assert absences() == dict.fromkeys(first, 1)
    assert packages(tmp_path, api) == before
    defined = min((place for place, rows in keys.items() if rows), key=lambda place: len(keys[place]))
    rows = keys.pop(defined)
    new = absences()
    (path,) = new.keys() - first.keys()
    assert new == {**dict.fromkeys(first, 1), path: tries}
    assert absences() == dict.fromkeys(new, 1)
    # once it is defined it counts as new again
    keys[defined] = rows
    assert absences(len(rows)) == dict.fromkeys(first, 1)
    del keys[defined]
    assert absences() == new


def test_each_parent_is_asked_once(shared_sandbox: SandboxServer) -> None:
    sync(API, "gates", "gates_rules")
    rules = [record for record in shared_sandbox.requests if record.endpoint == "gates_rules"]
    paths = [record.path for record in rules if "page=1&" in record.query]
    paths += [record.path for record in rules if record.query.endswith("page=1")]

    assert len(paths) == len(set(paths)) == len(shared_sandbox.world.expected(API, "gates"))


def test_a_retired_setting_is_warned_of_and_has_no_effect(
    tmp_path: Path, shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name = "SOURCES__EXPERIMENTATION__GATES_RULES__SHARDS"
    for value in ("2", "0", "two"):
        monkeypatch.setenv(name, value)
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="test"):
            result = sync(API, "gates", "gates_rules")["gates_rules"]

        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert warnings == [f"{API}: {name} has no effect any more and can be removed"], value
        assert caplog.messages[0] == warnings[0]
        assert result.status == "complete"
        assert live_keys(tmp_path, API, "gates_rules") == expected_keys(shared_sandbox.world, API, "gates_rules")


def test_a_refused_key_ends_a_fan_out_at_its_first_request(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = filled(API, "gates")
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__API_KEY", "not-the-key")
    with pytest.raises(AuthenticationError, match="refused the key") as error:
        sync(API, "gates_rules")

    assert "not-the-key" not in str(error.value)
    assert sandbox.requests.count(API, "gates_rules") == 1


def test_parent_that_fails_leaves_the_rows_of_the_others(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    gate = shared_sandbox.world.expected(API, "gates")[2]["id"]
    shared_sandbox.options.faults.append(Fault(api=API, path=f"/v1/gates/{gate}/rules$", status=500))
    result = sync(API, "gates", "gates_rules")["gates_rules"]

    assert result.status == "failed"
    assert f"/v1/gates/{gate}/rules answered 500" in result.reason
    expected = [key for key in expected_keys(shared_sandbox.world, API, "gates_rules") if key[0] != gate]
    assert live_keys(tmp_path, API, "gates_rules") == expected


def test_rows_of_a_parent_that_fails_later_are_not_marked_as_deleted(tmp_path: Path, filled: Filled) -> None:
    sandbox = filled(API, *GATES)
    before = live_keys(tmp_path, API, "gates_rules")
    gate = sandbox.world.expected(API, "gates")[2]["id"]
    sandbox.options.faults.append(Fault(api=API, path=f"/v1/gates/{gate}/rules$", status=500))
    sync(API, "gates", "gates_rules")

    assert live_keys(tmp_path, API, "gates_rules") == before


def some(rows: Iterable[Any]) -> list[Any]:
    return next(row for row in rows if row)


def some_rules(rows: Iterable[Any]) -> list[Any]:
    return next(each["rules"] for row in rows for each in row if each["rules"])


@pytest.mark.parametrize(
    ("api", "chain", "elements", "alone"),
    [
        pytest.param(API, GATES, some_rules, True, id="a rule off a gate"),
        pytest.param(API, GATES, some_rules, False, id="a rule off a gate that is read as well"),
        pytest.param(
            *("feature_management", SEGMENTS, some, True), id="a key off a segment", marks=pytest.mark.extended
        ),
        pytest.param(
            *("project_planning", ("objectives", "objectives_epics"), some, True),
            id="an epic off an objective",
            marks=pytest.mark.extended,
        ),
    ],
)
def test_what_is_taken_off_its_parent_is_marked_until_it_is_back(
    tmp_path: Path,
    filled: Filled,
    api: str,
    chain: tuple[str, ...],
    elements: Callable[[Iterable[Any]], list[Any]],
    alone: bool,
) -> None:
    sandbox, name = filled(api, *chain), chain[-1]
    chosen = elements(sandbox.world.collection(api, name).values())
    whole = live_keys(tmp_path, api, name)
    names = [name] if alone else chain
    taken_off = chosen.pop()
    gone = sync(api, *names)[name]
    assert gone.rows_deleted == 1
    left = live_keys(tmp_path, api, name)
    assert left == expected_keys(sandbox.world, api, name)
    assert len(left) == len(whole) - 1
    chosen.append(taken_off)
    back = sync(api, *names)[name]

    assert (back.stats.rows_loaded, back.rows_deleted) == (1, 0)
    assert live_keys(tmp_path, api, name) == whole


def test_children_of_a_parent_that_is_gone_are_marked_and_not_asked_for(tmp_path: Path, filled: Filled) -> None:
    sandbox = filled(API, *GATES)
    gates = sandbox.world.collection(API, "gates")
    gone = gates.pop(0)["id"]
    sandbox.requests.reset()
    sync(API, "gates", "gates_rules")

    assert not [record.path for record in sandbox.requests if f"/{gone}/" in record.path]
    for name in ("gates", "gates_rules"):
        assert live_keys(tmp_path, API, name) == expected_keys(sandbox.world, API, name)


def test_nothing_is_marked_where_a_setting_says_so(
    tmp_path: Path, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = filled(API, "gates")
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__MARK_DELETED", "false")
    before = live_keys(tmp_path, API, "gates")
    sandbox.world.collection(API, "gates").pop()

    assert sync(API, "gates")["gates"].rows_deleted == 0
    assert live_keys(tmp_path, API, "gates") == before


def test_fewer_rows_than_the_api_states_mark_nothing(tmp_path: Path, filled: Filled) -> None:
    sandbox = filled(API, "gates")
    before = live_keys(tmp_path, API, "gates")
    sandbox.world.collection(API, "gates").pop()
    sandbox.options.totals = "high"
    result = sync(API, "gates")["gates"]

    assert result.stats.rows_short > 0
    assert result.rows_deleted == 0
    assert live_keys(tmp_path, API, "gates") == before


def test_row_without_its_key_is_kept_aside_with_the_reason(tmp_path: Path, shared_sandbox: SandboxServer) -> None:
    shared_sandbox.world.collection(API, "tags")[3]["id"] = None
    for _ in range(2):
        result = sync(API, "tags")["tags"]
        assert result.status == "complete"
        assert result.table_rows == 99

    rows = query(tmp_path, f"SELECT endpoint, reason, row ->> '$.sent.name' FROM {API}._rejected_rows")
    assert rows == [("tags", "no value for id", shared_sandbox.world.collection(API, "tags")[3]["name"])]
