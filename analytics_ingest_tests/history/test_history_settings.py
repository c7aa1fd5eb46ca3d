"""The settings of histories, fields that are left out later, and the names of tables and views beside endpoints'."""

from __future__ import annotations

from datetime import timedelta

import pytest

from analytics_ingest.apis.model import Api
from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.config.api import load_settings
from analytics_ingest.errors import ConfigurationError
from analytics_ingest.warehouse.history_names import CHANGES, SYNCS, as_of_view, history_table, present_view
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.history.configuration import (
    API,
    ENDPOINTS,
    UNVERSIONED,
    Configuration,
    history,
    now,
    rows,
    run,
)
from analytics_ingest_tests.stores import Store, on_duckdb

MAX_NAME = 63
"""Characters that a name may have in PostgreSQL."""
DECLARATIONS = [*APIS.values(), *(api for profiles in PROFILES.values() for api in profiles.values())]
TABLES = f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{API}' AND table_name LIKE '{{}}'"


def named(store: Store, pattern: str) -> list[str]:
    """The tables and views of the API with such names."""
    return sorted(str(row["table_name"]) for row in rows(store, TABLES.format(pattern)))


def operations(store: Store, endpoint: str) -> list[tuple[str, str]]:
    return [(row["id"], row["_operation"]) for row in history(store, endpoint)]


@on_duckdb
def test_a_field_that_is_left_out_later_is_redeclared(
    store: Store, configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    configure_api(monkeypatch, API, exclude_columns="owner")
    # the vendor has changed it too
    configuration.put("gates", "b", name="second", updated_at=now())
    run()

    gates = [("a", "baseline"), ("a", "redeclared"), ("b", "baseline"), ("b", "update")]
    assert operations(store, "gates") == gates
    assert [row["owner"] for row in history(store, "gates")] == ["Ada", None, "Ada", None]
    # without a time of the vendor's
    assert operations(store, "gates_rules") == [("rule", "baseline"), ("rule", "redeclared")] * 2
    assert operations(store, "segments") == [(str(number), "baseline") for number in range(9)]
    changes = "SELECT endpoint, key, operation FROM ingest_meta.changes"
    assert [tuple(row.values()) for row in rows(store, changes)] == [("gates", "b", "update")]
    configuration.put("gates_rules", "a", "rule", name="second")
    run()
    assert operations(store, "gates") == gates
    assert [row["_operation"] for row in history(store, "gates_rules") if row["gate_id"] == "a"] == [
        *("baseline", "redeclared", "update")
    ]


@on_duckdb
def test_retention_deletes_versions_that_were_replaced_before(
    store: Store, configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration.put("gates", "c", name="first")
    run()
    configuration.put("gates", "a", name="second")
    configuration.drop("gates", "c")
    run()
    for days, moment in zip((11, 9), sorted({row["_seen_at"] for row in history(store, "gates")}), strict=True):
        with store.writing() as execute:
            sql = f"UPDATE {API}._history_gates SET _seen_at = ? WHERE _seen_at = ?"
            execute(sql, (moment - timedelta(days=days), moment))
    configure_api(monkeypatch, API, history_retention=10)
    configuration.put("gates", "a", name="third")
    run()
    # those of eleven days ago were replaced nine days ago
    kept = [(row["id"], row["name"], row["_operation"]) for row in history(store, "gates")]
    assert kept == [
        *(("a", "first", "baseline"), ("a", "second", "update"), ("a", "third", "update")),
        ("b", "first", "baseline"),
        *(("c", "first", "baseline"), ("c", "first", "delete")),
    ]

    configure_api(monkeypatch, API, history_retention=8)
    run(full_refresh=True)
    assert [(row["id"], row["name"], row["_operation"]) for row in history(store, "gates")] == [*kept[1:4], kept[5]]


@on_duckdb
def test_settings_turn_histories_off_and_on(
    store: Store, configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        configure_api(patch, API, history=False, segments__history=True)
        run()
        assert named(store, r"%history%") == ["_history_segments"]
        assert named(store, "%_as_of") == ["segments_as_of"]
        assert named(store, SYNCS) == [SYNCS]
    with monkeypatch.context() as patch:
        configure_api(patch, API, gates__history=False)
        run()
        assert named(store, r"%history%") == ["_history_gates_rules", "_history_segments"]
    run()
    assert named(store, r"%history%") == [f"_history_{name}" for name in ENDPOINTS]
    assert operations(store, "gates") == [("a", "baseline"), ("b", "baseline")]
    assert operations(store, "segments") == [(str(number), "baseline") for number in range(9)]


@on_duckdb
def test_a_change_of_an_unversioned_column_alone_makes_no_version(store: Store, configuration: Configuration) -> None:
    run("gates")
    configuration.put("gates", "a", **{UNVERSIONED: 2})
    configuration.put("gates", "b", name="second", **{UNVERSIONED: 3})
    assert run("gates")["gates"].stats.rows_loaded == 2
    found = [(row["id"], row["_operation"], row[UNVERSIONED]) for row in history(store, "gates")]
    assert found == [("a", "baseline", 1), ("b", "baseline", 1), ("b", "update", 3)]
    fields = rows(store, "SELECT fields FROM ingest_meta.changes")
    assert [row["fields"] for row in fields] == [{"name": {"before": "first", "after": "second"}}]


def test_a_history_of_a_snapshot_is_refused(configuration: Configuration, monkeypatch: pytest.MonkeyPatch) -> None:
    configure_api(monkeypatch, API, ingestion_status__history=True)
    with pytest.raises(ConfigurationError) as refused:
        run()
    assert str(refused.value) == (
        "SOURCES__EXPERIMENTATION__INGESTION_STATUS__HISTORY is set, and ingestion_status has no key: its table is "
        "replaced as a whole, and no row of it can be told from another one's next version. Remove it"
    )
    assert configuration.server.asked == []


@pytest.mark.parametrize("value", ["0", "-1", "a week"])
def test_a_retention_of_no_days_is_refused(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    configure_api(monkeypatch, API, history_retention=value)
    with pytest.raises(ConfigurationError, match=r"^SOURCES__EXPERIMENTATION__HISTORY_RETENTION "):
        load_settings(APIS[API])


@pytest.mark.parametrize("api", DECLARATIONS, ids=lambda api: f"{api.name} {api.profile}".strip())
def test_no_table_or_view_beside_an_endpoint_s_has_the_name_of_another(api: Api) -> None:
    endpoints = {each.name for each in api.endpoints}
    generated = [
        *(SYNCS, CHANGES, "_rejected_rows"),
        *(name(each) for each in endpoints for name in (history_table, as_of_view, present_view)),
    ]
    assert len(set(generated)) == len(generated)
    assert endpoints.isdisjoint(generated)
    assert max(map(len, generated)) <= MAX_NAME
