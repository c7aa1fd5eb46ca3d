"""What an earlier version has filled is taken over: tables, cursors, fan-outs that were interrupted, settings."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from logging.handlers import BufferingHandler
from typing import TYPE_CHECKING, Any

import pytest
from dlt.common.versioned_state import decompress_state

from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.config.api import choose_profile, load_settings, page_limit
from analytics_ingest.config.schedule import load_schedule_settings
from analytics_ingest.sandbox.expected_rows import KEYS
from analytics_ingest.sandbox.routes import BASE_PATHS
from analytics_ingest.sandbox.world import World
from analytics_ingest.warehouse.history_names import history_table, present_view
from analytics_ingest_tests.conftest import define_all_segments, sandbox_in, sync
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.former_warehouse import (
    FORBIDDEN,
    SCALE,
    SETTINGS,
    experimentation_of_many_gates,
    former_warehouse,
    read_datasets,
)
from analytics_ingest_tests.stores import DESTINATIONS, STORES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from analytics_ingest.sandbox.server import SandboxServer
    from analytics_ingest.sandbox.world import Changes
    from analytics_ingest.sync.result import EndpointResult
    from analytics_ingest_tests.former_warehouse import Counts, Datasets, StoredTable
    from analytics_ingest_tests.stores import Store

Of = tuple[str, str]
"""An API and one of its endpoints."""
Row = dict[str, str | None]
GATES, RULES = ("experimentation", "gates"), ("experimentation", "gates_rules")
ENDPOINTS: set[Of] = {(api.name, endpoint.name) for api in APIS.values() for endpoint in api.endpoints}
RENAMED = {
    ("experimentation", "audit_logs", "target_app_i_ds"): "target_app_ids",
    ("experimentation", "gates", "holdout_i_ds"): "holdout_ids",
}
"""Columns whose names have changed since."""
INTERRUPTED = {
    ("experimentation", "events_metrics"),
    ("experimentation", "gates_rules"),
    ("project_planning", "stories_comments"),
    ("project_planning", "story_history"),
    ("continuous_integration", "jobs"),
    ("feature_management", "segments_keys"),
}
"""Endpoints in the middle of whose fan-out the sync of the earlier version has failed."""
CENTURY = 3_155_760_000
"""Seconds."""
FORMER_SETTINGS = {
    "MAX_IN_FLIGHT": ("8", 8),
    "REQUESTS_PER_MINUTE": ("600", 600),
    "CONNECT_TIMEOUT": ("5", 5),
    "READ_TIMEOUT": ("30.5", 30.5),
    "MAX_WAIT": ("60", 60),
    "MAX_PAGES": ("50", 50),
    "FAN_OUT_CHUNK": ("20", 20),
    "FAN_OUT": ("changed", "changed"),
    "RESUME_WITHIN": ("7200", 7200),
    "START_DATE": ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
    "WINDOW_DAYS": ("3", 3),
    "LOOKBACK": ("60", 60),
    "EXCLUDE_COLUMNS": ("users.email", ("users.email",)),
    "MARK_DELETED": ("false", False),
    "MIN_ROWS_SHARE": ("0.25", 0.25),
    "SAMPLE_ROWS": ("5", 5),
    "LOCK_TIMEOUT": ("10", 10),
    "PROGRESS_INTERVAL": ("1", 1),
    "SKIP_ENDPOINTS": ("tags,users", ("tags", "users")),
}
"""The settings of an API that the earlier version had, each with a value, and how that is read."""
FORMER_OF_VENDORS = {
    ("continuous_integration", "circleci", "ORG_SLUGS"): ("gh/acme, bb/basalt", ("gh/acme", "bb/basalt")),
    ("project_planning", "shortcut", "SEARCH_QUERY"): ('["is:done"]', ("is:done",)),
}
"""Those of one API with one profile."""
FORMER_SCHEDULE = {
    "CRON": ("0 */6 * * *", "0 */6 * * *"),
    "FULL_REFRESH_CRON": ("0 3 * * 6", "0 3 * * 6"),
    "WARN_AFTER": ("50000", 50_000),
    "FAIL_AFTER": ("90000", 90_000),
    "CHANGE_INTERVAL": ("120", 120),
    "OWNERS": ("team:data", ("team:data",)),
    "DOCS_URL": ("https://docs.example.com", "https://docs.example.com"),
}
"""The same of its schedule."""
KINDS = [each for each in DESTINATIONS if each.values != ("ducklake",)]
INTERRUPTED_ON = [pytest.param(*each.values, marks=pytest.mark.extended) for each in KINDS]
"""The destinations on which an interrupted first sync is resumed."""


@dataclass
class Synced:
    """A sync of today's code.

    Attributes:
        results: The results.
        counts: Requests by API and endpoint.
        requests: How often each path was requested.
        warnings: What was logged as a warning.
        tables: The tables of the endpoints after it.
        histories: The tables of their versions.
        present: The views of their rows that exist.
        ledger: The rows of the ledger of the sync by endpoint, all of them.
    """

    results: dict[Of, EndpointResult]
    counts: Counts
    requests: dict[Of, Counter[str]]
    warnings: list[str]
    tables: dict[Of, StoredTable]
    histories: dict[Of, StoredTable]
    present: dict[Of, StoredTable]
    ledger: dict[Of, Row]

    @property
    def loaded(self) -> dict[Of, int]:
        """Rows loaded, where there are any."""
        return {of: result.stats.rows_loaded for of, result in self.results.items() if result.stats.rows_loaded}

    @property
    def deleted(self) -> dict[Of, int]:
        """Rows found gone, where there are any."""
        return {of: result.rows_deleted for of, result in self.results.items() if result.rows_deleted}

    @property
    def findings(self) -> dict[Of, list[str]]:
        """What the checks have found, where they have found anything."""
        found = {of: [each.message for each in result.checks if not each.passed] for of, result in self.results.items()}
        return {of: messages for of, messages in found.items() if messages}


@dataclass
class Upgrade:
    """A warehouse that an earlier version has filled, and the server of its upstream."""

    server: SandboxServer
    store: Store

    def sync(self, endpoints: set[Of] = ENDPOINTS) -> Synced:
        """Syncs endpoints by today's code."""
        request_log, logger, kept = self.server.requests, logging.getLogger("test"), BufferingHandler(1_000)
        request_log.reset()
        kept.setLevel(logging.WARNING)
        logger.addHandler(kept)
        results = {
            (api, name): result
            for api in {of[0]: None for of in sorted(endpoints)}
            for name, result in sync(api, *(name for of, name in endpoints if of == api)).items()
        }
        logger.removeHandler(kept)
        assert {of: result.reason for of, result in results.items() if result.status != "complete"} == {}
        assert results.keys() == endpoints
        requests: dict[Of, Counter[str]] = {}
        for record in request_log:
            path = record.path.removeprefix(BASE_PATHS[record.api])
            requests.setdefault((record.api, record.endpoint or "unknown"), Counter())[path] += 1
        warnings = [record.getMessage() for record in kept.buffer]
        datasets = read_datasets(self.store)
        histories, present = (
            {(api, name): found[of(name)] for api, found in datasets.items() for name in found if of(name) in found}
            for of in (history_table, present_view)
        )
        counts = request_log.counts()
        return Synced(results, counts, requests, warnings, tables(datasets), histories, present, last_rows(datasets))


@contextmanager
def upgrading(name: str, kind: str, folder: Path, world: World) -> Iterator[Upgrade]:
    """Restores a warehouse in a destination, with the settings that it was filled with."""
    with (
        STORES[kind](folder) as store,
        sandbox_in(folder, store, world) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        for variable, value in SETTINGS.get(name, {}).items():
            patch.setenv(variable, value)
        former_warehouse(name).restore(store)
        yield Upgrade(server, store)


def tables(datasets: Datasets) -> dict[Of, StoredTable]:
    """The tables of the endpoints."""
    return {
        (api, name): table
        for api, named in datasets.items()
        for name, table in named.items()
        if (api, name) in ENDPOINTS
    }


def tables_before(store: Store) -> dict[Of, StoredTable]:
    """The tables of the endpoints as the earlier version has left them, with today's names of columns."""
    return {
        of: replace(table, columns={RENAMED.get((*of, name), name): each for name, each in table.columns.items()})
        for of, table in tables(read_datasets(store)).items()
    }


def rows(table: StoredTable) -> list[Row]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def last_rows(datasets: Datasets) -> dict[Of, Row]:
    """The ledger's rows of the last sync of each API, by endpoint."""
    found: dict[Of, Row] = {}
    for api, named in datasets.items():
        ledger = rows(named["_syncs"]) if "_syncs" in named else []
        for row in sorted(ledger, key=lambda each: str(each["started_at"])):
            found[api, str(row["endpoint"])] = row
    return found


def check_same(before: dict[Of, StoredTable], after: dict[Of, StoredTable]) -> None:
    """Tables have the same columns in the same order, and the same rows."""
    assert after.keys() == before.keys()
    for of, table in before.items():
        assert (of, list(after[of].columns.items())) == (of, list(table.columns.items()))
        assert (of, after[of].rows) == (of, table.rows)


@dataclass
class Followed:
    """Three syncs of a warehouse that was complete: at once, at once again, and a day later."""

    before: dict[Of, StoredTable]
    first: Synced
    second: Synced
    later: Synced
    changes: Changes


@pytest.fixture(scope="module", params=KINDS)
def followed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Followed:
    world = World(scale=SCALE)
    world.advance(24)
    with (
        upgrading("synced", request.param, tmp_path_factory.mktemp("synced"), world) as upgrade,
        pytest.MonkeyPatch.context() as patch,
    ):
        before, first = tables_before(upgrade.store), upgrade.sync()
        # children of parents that have not changed are requested, too
        patch.setenv("SOURCES__PROJECT_PLANNING__FAN_OUT", "all")
        second, changes = upgrade.sync(), world.advance(24)
        return Followed(before, first, second, upgrade.sync(), changes)


def test_nothing_is_loaded_and_no_row_changes(followed: Followed) -> None:
    assert followed.before.keys() == ENDPOINTS
    for done in (followed.first, followed.second):
        assert (done.loaded, done.deleted) == ({}, {})
        assert {of: result.widened for of, result in done.results.items() if result.widened} == {}
        check_same(followed.before, done.tables)


def test_a_renamed_column_is_reported_once(followed: Followed) -> None:
    assert followed.first.findings == {GATES: ["holdout_ids json is new\nholdout_i_ds json is gone"]}
    assert followed.first.warnings == ["experimentation/gates: holdout_i_ds is called holdout_ids now"]
    for done in (followed.second, followed.later):
        assert (done.findings, done.warnings) == ({}, [])


def test_no_more_is_requested_than_by_the_earlier_version(followed: Followed) -> None:
    usual = former_warehouse("synced").requests
    assert followed.first.counts == usual
    expected = {api: dict(counts) for api, counts in usual.items()}
    # a list that does not exist is requested once, no longer four times
    expected["feature_management"]["segments_keys"] -= 3
    planning = followed.second.counts["project_planning"]
    without_fan_outs = {name: planning[name] for name in usual["project_planning"]}
    assert followed.second.counts | {"project_planning": without_fan_outs} == expected


def test_a_later_sync_loads_what_has_changed(followed: Followed) -> None:
    changes = {of: counts for of, counts in followed.changes.endpoints.items() if KEYS[of]}
    loaded = {of: count for of, count in followed.later.loaded.items() if KEYS[of]}
    expected = {of: counts.added + counts.changed for of, counts in changes.items()}
    assert loaded == {of: count for of, count in expected.items() if count}
    assert followed.later.deleted == {
        of: counts.removed
        for of, counts in changes.items()
        # whose setting MARK_DELETED is false
        if counts.removed and of[0] != "feature_management"
    }


def test_a_later_sync_keeps_the_columns_and_their_order(followed: Followed) -> None:
    for of, table in followed.before.items():
        columns = list(followed.later.tables[of].columns.items())
        # a new table of today has no columns for times that never come
        assert {"created_at", "updated_at"} <= table.columns.keys()
        assert (of, columns[: len(table.columns)]) == (of, list(table.columns.items()))


def test_tables_of_an_earlier_version_get_views_of_the_rows_that_exist(followed: Followed) -> None:
    for done in (followed.first, followed.second, followed.later):
        assert done.present.keys() == {of for of in ENDPOINTS if KEYS[of]}
        for of, view in done.present.items():
            table = done.tables[of]
            shown = [name for name in table.columns if not name.startswith(("_dlt_", "_row_hash", "_deleted_at"))]
            assert (of, list(view.columns)) == (of, shown)
            expected = [[row[name] for name in shown] for row in rows(table) if row["_deleted_at"] is None]
            assert (of, view.rows) == (of, sorted(expected, key=str))


def versions(table: StoredTable, done: Synced, of: Of) -> list[tuple[str | None, tuple[str, ...]]]:
    """What happened to which key, of the versions that a sync has seen first, sorted."""
    found = [row for row in rows(table) if row["_seen_at"] == done.ledger[of]["started_at"]]
    return sorted((row["_operation"], tuple(str(row[name]) for name in KEYS[of])) for row in found)


def test_histories_begin_with_each_row_that_is_present(followed: Followed) -> None:
    first = followed.first
    assert first.histories.keys() == {of for of in ENDPOINTS if APIS[of[0]].by_name[of[1]].history}
    marked = 0
    for of, history in first.histories.items():
        present = [row for row in rows(followed.before[of]) if row["_deleted_at"] is None]
        marked += len(followed.before[of].rows) - len(present)
        beside = {"_operation": "baseline", "_seen_at": first.ledger[of]["started_at"], "_changed_at": None}
        own = ("_deleted_at", "_dlt_id", "_dlt_load_id")
        expected = [{**{name: value for name, value in row.items() if name not in own}, **beside} for row in present]
        assert (of, sorted(rows(history), key=str)) == (of, sorted(order(history, expected), key=str))
    assert marked


def order(table: StoredTable, found: list[dict[str, str | None]]) -> list[Row]:
    """Rows with their columns in the order of a table's."""
    return [{name: row[name] for name in table.columns} for row in found]


def test_a_second_sync_adds_no_version(followed: Followed) -> None:
    assert followed.second.histories == followed.first.histories
    assert {of: row["status"] for of, row in followed.second.ledger.items()} == dict.fromkeys(ENDPOINTS, "complete")


def test_a_later_sync_adds_the_changes_to_the_histories(followed: Followed) -> None:
    later = followed.later
    seen: Counter[str | None] = Counter()
    for of, history in later.histories.items():
        before = {tuple(str(row[name]) for name in KEYS[of]): row for row in rows(followed.second.tables[of])}
        unversioned = {"_row_hash", "_dlt_id", "_dlt_load_id", *APIS[of[0]].by_name[of[1]].unversioned}
        expected = []
        for row in rows(later.tables[of]):
            key = tuple(str(row[name]) for name in KEYS[of])
            was = before.get(key)
            if was is None:
                expected.append(("insert", key))
            elif row["_deleted_at"] != was["_deleted_at"]:
                expected.append(("delete" if row["_deleted_at"] else "restore", key))
            elif any(value != was.get(name) for name, value in row.items() if name not in unversioned):
                expected.append(("update", key))
        assert (of, versions(history, later, of)) == (of, sorted(expected))
        assert len(history.rows) == len(followed.second.histories[of].rows) + len(expected)
        seen.update(operation for operation, _ in expected)
    assert seen.keys() >= {"insert", "update", "delete"}


@dataclass
class Resumed:
    """Two syncs of a warehouse whose filling has failed half-way, of the APIs that have fan-outs."""

    states: dict[Of, dict[str, Any]]
    before: dict[Of, StoredTable]
    first: Synced
    second: Synced
    world: World


def states(store: Store) -> dict[Of, dict[str, Any]]:
    """What is stored last as the state of each endpoint."""
    found, datasets = {}, read_datasets(store)
    for api in APIS.keys() & datasets.keys():
        stored = [row for row in rows(datasets[api]["_dlt_pipeline_state"]) if row["pipeline_name"] == api]
        last = max(stored, key=lambda row: int(row["version"] or 0))
        sources = decompress_state(str(last["state"]))["sources"]
        found.update({(api, name): state for name, state in sources[api]["resources"].items()})
    return found


@pytest.fixture(scope="module", params=INTERRUPTED_ON)
def resumed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    world = World(scale=SCALE)
    define_all_segments(world)
    with (
        upgrading("interrupted", request.param, tmp_path_factory.mktemp("interrupted"), world) as upgrade,
        pytest.MonkeyPatch.context() as patch,
    ):
        for api in APIS:
            patch.setenv(f"SOURCES__{api}__RESUME_WITHIN".upper(), str(CENTURY))
        stored, before = states(upgrade.store), tables_before(upgrade.store)
        first, second = (upgrade.sync({of for of in ENDPOINTS if of[0] != "incident_response"}) for _ in range(2))
        return Resumed(stored, before, first, second, world)


def test_an_interrupted_fan_out_requests_the_parents_that_are_left(resumed: Resumed) -> None:
    assert {of for of, state in resumed.states.items() if "sweep" in state} == INTERRUPTED
    for of, paths in resumed.second.requests.items():
        state = resumed.states.get(of, {})
        done, failed = state.get("sweep", {}).get("done", ""), state.get("failed", [])
        left = Counter({path: count for path, count in paths.items() if path > done or path in failed})
        assert (0 < len(left) < len(paths)) is (of in INTERRUPTED)
        assert (of, resumed.first.requests[of]) == (of, left)


def test_a_parent_that_failed_is_among_them(resumed: Resumed) -> None:
    failed = f"/v1/gates/{FORBIDDEN}/rules"
    assert resumed.states[RULES]["failed"] == [failed]
    assert failed < resumed.states[RULES]["sweep"]["done"]
    assert resumed.first.requests[RULES][failed] == 1


def test_the_rows_that_are_left_are_loaded_once(resumed: Resumed) -> None:
    upstream = {of: resumed.world.expected(*of) for of in resumed.first.results}
    left = {
        of: len(found) - (len(resumed.before[of].rows) if of in resumed.before else 0) for of, found in upstream.items()
    }
    assert resumed.first.loaded == {of: count for of, count in left.items() if count}
    assert resumed.first.loaded.keys() >= INTERRUPTED
    assert (resumed.first.deleted, resumed.second.loaded, resumed.second.deleted) == ({}, {}, {})
    check_same(resumed.first.tables, resumed.second.tables)
    for of, found in upstream.items():
        assert (of, keys(of, rows(resumed.second.tables[of]))) == (of, keys(of, found))


def test_rows_loaded_before_stay(resumed: Resumed) -> None:
    for of, table in resumed.before.items():
        found = {row["_dlt_id"]: row for row in rows(resumed.second.tables[of])}
        for row in rows(table):
            assert (of, {name: found[row["_dlt_id"]][name] for name in row}) == (of, row)


def keys(of: Of, found: list[Row]) -> list[tuple[str, ...]]:
    return sorted(tuple(str(row[name]) for name in KEYS[of]) for row in found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fan_out_that_was_split_is_one(kind: str, tmp_path: Path) -> None:
    shards = "SOURCES__EXPERIMENTATION__GATES_RULES__SHARDS has no effect any more and can be removed"
    with upgrading("split", kind, tmp_path, experimentation_of_many_gates()) as upgrade:
        before = tables_before(upgrade.store)
        for done in (upgrade.sync({GATES, RULES}), upgrade.sync({GATES, RULES})):
            assert (done.loaded, done.deleted) == ({}, {})
            check_same(before, done.tables)
            assert done.counts == former_warehouse("split").requests
            assert done.warnings[0] == f"experimentation: {shards}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_cursor_is_the_one_that_was_stored(kind: str, tmp_path: Path) -> None:
    world = experimentation_of_many_gates()
    for gate in world.collection(*GATES):
        gate["updated_at"] = "2025-01-01T00:00:00Z"
    with upgrading("split", kind, tmp_path, world) as upgrade:
        stored = datetime.fromisoformat(states(upgrade.store)[GATES]["cursor"])
        done = upgrade.sync({GATES})
    assert done.results[GATES].cursor == stored
    assert f"newest row 2025-01-01T00:00:00+00:00, before {stored.isoformat()}" in done.findings[GATES]


def test_settings_have_the_names_that_they_had(monkeypatch: pytest.MonkeyPatch) -> None:
    api, prefix = APIS["experimentation"], "SOURCES__EXPERIMENTATION__"
    monkeypatch.setenv(f"{prefix}BASE_URL", "https://api.example.com/v1")
    monkeypatch.setenv(f"{prefix}API_KEY", "the-key")
    monkeypatch.setenv(f"{prefix}AUDIT_LOGS__LIMIT", "50")
    for name, (text, _) in (FORMER_SETTINGS | FORMER_SCHEDULE).items():
        monkeypatch.setenv(prefix + name, text)
    settings, schedule = load_settings(api), load_schedule_settings(api)

    assert {name: getattr(settings, name.lower()) for name in FORMER_SETTINGS} == {
        name: value for name, (_, value) in FORMER_SETTINGS.items()
    }
    assert {name: getattr(schedule, name.lower()) for name in FORMER_SCHEDULE} == {
        name: value for name, (_, value) in FORMER_SCHEDULE.items()
    }
    for (name, profile, setting), (text, value) in FORMER_OF_VENDORS.items():
        configure_api(monkeypatch, name, profile=profile, api_key="the-key", **{setting: text})
        assert getattr(load_settings(PROFILES[name][profile]), setting.lower()) == value
    assert page_limit(api, api.by_name["audit_logs"]) == 50
    assert choose_profile(api) is api
    monkeypatch.setenv(f"{prefix}PROFILE", "statsig")
    assert choose_profile(api) is PROFILES["experimentation"]["statsig"]
