"""Views of present rows: the API's columns, without deleted rows, whatever happens to the table."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest

from analytics_ingest.extract import column_names
from analytics_ingest.extract.column_names import DELETED_AT, DLT_PREFIX, OWN
from analytics_ingest.warehouse import present_views
from analytics_ingest.warehouse.present_views import PresentViews
from analytics_ingest_tests.stores import Store, Table, on_duckdb
from analytics_ingest_tests.trials import NAME, Trial

ONE = {"id": 1, "name": "a", "share": 3}
TWO = {"id": 2, "name": "b", "share": 4}
VIEWS = ["others_present", "parts_present", "things_present"]


def present(store: Store, view: str = "things_present") -> Table:
    columns, rows = store.table(NAME, view)
    return columns, sorted(rows)


def views(store: Store) -> list[str]:
    found = f"SELECT table_name FROM information_schema.views WHERE table_schema = '{NAME}' ORDER BY 1"
    with store.reading() as query:
        return [row[0] for row in query(found)[1] if row[0].endswith("_present")]


def test_own_columns_are_those_of_a_table() -> None:
    assert (present_views.DELETED_AT, present_views.OWN_COLUMNS, present_views.DLT_PREFIX) == (
        DELETED_AT,
        OWN,
        DLT_PREFIX,
    )


def test_each_table_with_a_key_has_a_view_of_the_rows_that_exist(store: Store, trial_api: Trial) -> None:
    trial_api.rows.things = [[ONE, TWO]]
    trial_api.rows.states = [[{"on": True}]]
    trial_api.sync()
    assert views(store) == VIEWS
    assert present(store) == (["id", "name", "share"], [(1, "a", 3), (2, "b", 4)])
    assert present(store, "parts_present") == (["thing_id", "id"], [])
    trial_api.rows.things = [[ONE]]
    trial_api.sync()
    assert present(store) == (["id", "name", "share"], [(1, "a", 3)])
    assert len(store.table(NAME, "things")[1]) == 2


def test_columns_that_are_new_or_wider(store: Store, trial_api: Trial) -> None:
    trial_api.rows.things = [[ONE]]
    trial_api.sync()
    for row, columns, last in (
        ({"note": "new"}, ["id", "name", "share", "note"], (2, "b", 4, "new")),
        ({"note": "new", "share": 0.5}, ["id", "name", "share", "note"], (2, "b", 0.5, "new")),
        ({"note": 7, "share": "half", "select": "x"}, ["id", "name", "share", "note", "select"], None),
    ):
        trial_api.rows.things = [[ONE, {**TWO, **row}]]
        result = trial_api.sync("things")["things"]
        assert (result.status, result.reason) == ("complete", "")
        found, rows = present(store)
        table = [name for name in store.table(NAME, "things")[0] if not name.startswith("_")]
        assert found == table
        assert {*found} == {*columns}
        if last:
            assert dict(zip(found, rows[1], strict=True)) == dict(zip(columns, last, strict=True))
    assert sorted(str(row[found.index("share")]) for row in rows) == ["3", "half"]
    trial_api.sync("things", full_refresh=True)
    assert present(store)[1] == rows


def test_a_column_that_is_renamed(store: Store, trial_api: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial_api.rows.things = [[{"id": 1, "ownerIDs": 3}]]
    with monkeypatch.context() as patch:
        # as an earlier version names columns
        patch.setattr(column_names, "PLURAL", re.compile("(?!)()"))
        trial_api.sync("things")
    assert present(store) == (["id", "owner_i_ds"], [(1, 3)])
    result = trial_api.sync("things")["things"]
    assert result.stats
    assert (result.status, result.stats.rows_loaded) == ("complete", 0)
    assert present(store) == (["id", "owner_ids"], [(1, 3)])


def test_a_column_that_is_renamed_and_wider(store: Store, trial_api: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial_api.rows.things = [[{"id": 1, "ownerIDs": 3}]]
    with monkeypatch.context() as patch:
        patch.setattr(column_names, "PLURAL", re.compile("(?!)()"))
        trial_api.sync("things")
    trial_api.rows.things = [[{"id": 1, "ownerIDs": "x"}]]
    assert trial_api.sync("things")["things"].reason == ""
    assert present(store) == (["id", "owner_ids"], [(1, "x")])


def test_variants_of_a_column_that_become_part_of_it(store: Store, trial_api: Trial) -> None:
    trial_api.rows.things = [[ONE]]
    trial_api.sync("things")
    with store.writing() as execute:
        # as an earlier version has left it
        execute(f"ALTER TABLE {NAME}.things ADD COLUMN name__v_bigint BIGINT", ())
        execute(
            f"INSERT INTO {NAME}.things (id, name__v_bigint, _row_hash, _dlt_load_id, _dlt_id) VALUES "
            "(2, 7, 1, 'x', 'y')",
            (),
        )
    trial_api.rows.things = [[ONE, {"id": 2, "name": 7}]]
    trial_api.sync("others")
    # a sync of other endpoints leaves the view as it is
    assert present(store)[0] == ["id", "name", "share"]
    trial_api.sync("things")
    assert present(store)[0] == ["id", "name", "share", "name__v_bigint"]
    assert trial_api.sync("things", full_refresh=True)["things"].reason == ""
    columns, rows = present(store)
    assert {*columns} == {"id", "name", "share"}
    assert [dict(zip(columns, row, strict=True)) for row in rows] == [ONE, {"id": 2, "name": "7", "share": None}]


def test_a_view_that_a_killed_sync_has_not_remade_works_and_is_remade(
    store: Store, trial_api: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial_api.rows.things = [[ONE]]
    trial_api.sync()
    with monkeypatch.context() as patch:
        patch.setattr(PresentViews, "remake", killed)
        trial_api.rows.things = [[ONE, {**TWO, "note": "new"}]]
        with pytest.raises(KeyboardInterrupt):
            trial_api.sync()
    assert present(store) == (["id", "name", "share"], [(1, "a", 3), (2, "b", 4)])
    trial_api.sync()
    assert present(store)[0] == ["id", "name", "share", "note"]


def killed(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("beside", ["things", "things_present"])
def test_what_was_dropped_is_there_again(store: Store, trial_api: Trial, beside: str) -> None:
    trial_api.rows.things = [[ONE]]
    trial_api.sync()
    with store.writing() as execute:
        if beside == "things":
            execute(f"DROP TABLE {NAME}.things{' CASCADE' * ('postgres' in store.settings.values())}", ())
        else:
            execute(f"DROP VIEW {NAME}.things_present", ())
    trial_api.sync()
    assert present(store) == (["id", "name", "share"], [(1, "a", 3)])


def test_a_table_that_lost_its_key_is_made_anew(store: Store, trial_api: Trial) -> None:
    trial_api.rows.things = [[ONE]]
    trial_api.sync()
    with store.writing() as execute:
        execute(f"ALTER TABLE {NAME}.things DROP COLUMN id CASCADE", ())
    trial_api.sync()
    columns, rows = present(store)
    assert dict(zip(columns, rows[0], strict=True)) == ONE


def test_a_user_s_object_of_that_name_stays_and_is_a_warning(
    store: Store, trial_api: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    trial_api.rows.things = [[ONE]]
    trial_api.sync()
    with store.writing() as execute:
        for view in ("things_present", "others_present"):
            execute(f"DROP VIEW {NAME}.{view}", ())
        execute(f"CREATE VIEW {NAME}.things_present AS SELECT 1 AS mine", ())
    caplog.set_level(logging.WARNING)
    results = trial_api.sync()
    assert {result.status for result in results.values()} == {"complete"}
    assert views(store) == VIEWS
    what = "trials.things_present exists, and no sync has made it: rename or drop it"
    assert caplog.messages == [f"trials: the view things_present cannot be made: {what}"]
    assert present(store) == (["mine"], [(1,)])


@on_duckdb
def test_a_sync_without_changes_makes_no_view(store: Store, trial_api: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial_api.rows.things = [[ONE]]
    trial_api.sync()
    made: list[str] = []
    monkeypatch.setattr(PresentViews, "remake", lambda _, tables: made.extend(tables))
    trial_api.sync()
    trial_api.rows.things = [[ONE, TWO]]
    trial_api.sync()
    assert made == []


Connect = Callable[[], psycopg2.extensions.connection]


def test_grants_and_views_of_users_stay(postgres: Connect, trial_api: Trial) -> None:
    cursor = postgres().cursor()
    trial_api.rows.things = [[ONE]]
    trial_api.sync()
    cursor.execute(f"GRANT SELECT ON {NAME}.things_present TO PUBLIC")
    cursor.execute(f"CREATE VIEW mine AS SELECT name FROM {NAME}.things_present")
    # a new column, then a wider one that no view of a user's reads
    for row in ({"note": "x"}, {"note": "x", "share": 0.5}):
        trial_api.rows.things = [[ONE, {**TWO, **row}]]
        if "share" in row:
            cursor.execute("DROP VIEW mine")
        assert trial_api.sync("things")["things"].status == "complete"
        cursor.execute(f"SELECT has_table_privilege('pg_read_all_settings', '{NAME}.things_present', 'SELECT')")
        assert cursor.fetchone() == (True,)
    cursor.execute(f"SELECT * FROM {NAME}.things_present ORDER BY id")
    assert cursor.fetchall() == [(1, "a", 3.0, None), (2, "b", 0.5, "x")]
