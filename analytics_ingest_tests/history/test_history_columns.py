"""Columns that are new or wider while versions exist: the views have all versions, and these keep their values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import psycopg2
import pytest

from analytics_ingest_tests.history.configuration import (
    API,
    Configuration,
    Row,
    history,
    rows,
    run,
    sent,
    serving_into,
)
from analytics_ingest_tests.history.killed_sync import BEFORE_LEDGER, run_killed
from analytics_ingest_tests.stores import DESTINATIONS, Store, on_duckdb

SHARES = f"SELECT share FROM {API}.gates_as_of WHERE id = 'a' ORDER BY _valid_from"
HAS_CHANGES = [each for each in DESTINATIONS if each.values != ("ducklake",)]
"""The destinations that have views of changes."""


@dataclass
class Changed:
    """Gates whose columns have changed.

    Attributes:
        store: The destination.
        versions: The versions of the gates.
        shown: The rows of the view of them, in the order of these.
        changes: The views of changes, where there are any: that of the API and that of all.
        types: The types of the columns of the view, by name and in its order, after each sync.
    """

    store: Store
    versions: list[Row]
    shown: list[Row]
    changes: list[list[Row]]
    types: list[list[str]]


def columns(store: Store) -> list[str]:
    with store.reading() as query:
        return query(f"SELECT * FROM {API}.gates_as_of LIMIT 0")[0]


@pytest.fixture(scope="module", params=DESTINATIONS)
def changed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Changed]:
    """Three gates: a field is new, then a number becomes a text, then a text becomes a list."""
    folder = tmp_path_factory.mktemp("changed")
    edits: list[tuple[str, Row]] = [
        ("a", {"share": 2}),
        # a key that SQL quotes, and a value with its quotes
        ("b", {"select": 'it\'s "new" %s'}),
        ("a", {"share": "3 %"}),
        ("b", {"name": ["list"], "share": 7}),
    ]
    with serving_into(request.param, folder) as (store, configuration):
        for name in "abc":
            configuration.put("gates", name, name=f"gate {name}", share=1)
        run("gates")
        types = [columns(store)]
        for name, values in edits:
            configuration.put("gates", name, **values)
            run("gates")
            types.append(columns(store))
        yield Changed(
            store,
            history(store, "gates"),
            rows(store, f"SELECT * FROM {API}.gates_as_of ORDER BY id, _valid_from"),
            []
            if request.param == "ducklake"
            else [
                rows(store, f'SELECT * FROM {name} ORDER BY "at"')
                for name in (f"{API}._changes", "ingest_meta.changes")
            ],
            types,
        )


def test_old_versions_keep_their_values_in_the_new_types(changed: Changed) -> None:
    # DuckDB gives a text in JSON with its quotes
    names = [each.strip('"') if isinstance(each, str) else each for each in (row["name"] for row in changed.versions)]
    found = [(row["id"], row["share"], row["select"], row["_operation"]) for row in changed.versions]
    assert [(key, name, *rest) for name, (key, *rest) in zip(names, found, strict=True)] == [
        ("a", "gate a", "1", None, "baseline"),
        ("a", "gate a", "2", None, "update"),
        ("a", "gate a", "3 %", None, "update"),
        ("b", "gate b", "1", None, "baseline"),
        ("b", "gate b", "1", 'it\'s "new" %s', "update"),
        ("b", ["list"], "7", 'it\'s "new" %s', "update"),
        ("c", "gate c", "1", None, "baseline"),
    ]


def test_the_view_has_every_version_and_new_columns_last(changed: Changed) -> None:
    first, *_, last = changed.types
    assert [set(names) for names in changed.types[:2]] == [set(first)] * 2
    assert last == [*first, "select"]
    assert [{name: row[name] for name in changed.versions[0]} for row in changed.shown] == changed.versions
    for former, row in pairwise(changed.shown):
        assert former["_valid_from"] == former["_seen_at"]
        assert former["_valid_to"] == (row["_valid_from"] if row["id"] == former["id"] else None)


def test_a_row_that_did_not_change_has_no_version_for_a_new_type(changed: Changed) -> None:
    table = rows(changed.store, f"SELECT * FROM {API}.gates WHERE id = 'c'")
    assert [sent(row) for row in changed.versions if row["id"] == "c"] == [sent(row) for row in table]


@pytest.mark.parametrize("changed", HAS_CHANGES, indirect=True)
def test_the_views_of_changes_have_every_change(changed: Changed) -> None:
    of_the_api, of_all = changed.changes
    assert of_all == of_the_api
    assert [(row["api"], row["endpoint"], row["key"], row["operation"]) for row in of_all] == [
        (API, "gates", name, "update") for name in "abab"
    ]
    assert [row["fields"] for row in of_all] == [
        {"share": {"before": "1", "after": "2"}},
        {"select": {"before": None, "after": 'it\'s "new" %s'}},
        {"share": {"before": "2", "after": "3 %"}},
        {"name": {"before": "gate b", "after": ["list"]}, "share": {"before": "1", "after": "7"}},
    ]


Connect = Callable[[], psycopg2.extensions.connection]


def executed(connect: Connect, sql: str) -> list[tuple[object, ...]]:
    cursor = connect().cursor()
    cursor.execute(sql)
    return cursor.fetchall() if cursor.description else []


def test_a_user_s_view_stays_when_a_column_is_new(postgres: Connect, configuration: Configuration) -> None:
    run()
    executed(postgres, f"CREATE VIEW mine AS SELECT id, name, _valid_from FROM {API}.gates_as_of")
    executed(postgres, "CREATE VIEW changed AS SELECT key, operation FROM ingest_meta.changes")
    configuration.put("gates", "a", name="second", note="new")
    run()
    assert executed(postgres, "SELECT id, name FROM mine WHERE id = 'a' ORDER BY _valid_from") == [
        ("a", "first"),
        ("a", "second"),
    ]
    assert executed(postgres, "SELECT * FROM changed") == [("a", "update")]
    notes = f"SELECT note FROM {API}.gates_as_of WHERE id = 'a' ORDER BY _valid_from"
    assert executed(postgres, notes) == [(None,), ("new",)]


def test_a_user_s_view_that_prevents_a_wider_column_is_named_and_nothing_is_lost(
    postgres: Connect, configuration: Configuration
) -> None:
    run()
    executed(postgres, f"CREATE VIEW mine AS SELECT id FROM {API}.gates_as_of")
    configuration.put("gates", "a", share="2 %")
    configuration.put("segments", "1", name="second")
    for _ in range(2):
        results = run()
        assert results["segments"].status == "complete"
        assert results["gates"].reason == (
            "/v1/gates its rows are loaded, and their history cannot be written: experimentation._history_gates: the "
            "type of share from bigint to text has to change, and a view reads it: public.mine. Drop the view, sync, "
            "and create it again"
        )
    executed(postgres, "DROP VIEW mine")
    assert run()["gates"].stats.rows_loaded == 0
    assert executed(postgres, SHARES) == [("1",), ("2 %",)]
    assert executed(postgres, "SELECT fields -> 'share' ->> 'after' FROM ingest_meta.changes WHERE key = 'a'") == [
        ("2 %",)
    ]


def test_a_user_s_view_keeps_no_other_endpoint_from_healing(postgres: Connect, configuration: Configuration) -> None:
    run()
    executed(postgres, f"CREATE VIEW mine AS SELECT id FROM {API}.gates_as_of")
    configuration.put("gates", "a", share="2 %")
    configuration.put("segments", "1", name="second")
    run_killed(BEFORE_LEDGER)
    assert run("segments")["segments"].status == "complete"
    assert "a view reads it: public.mine. Drop the view" in run()["gates"].reason
    executed(postgres, "DROP VIEW mine")
    run()
    assert executed(postgres, SHARES) == [("1",), ("2 %",)]


@on_duckdb
def test_a_table_that_is_made_anew_with_a_narrower_key(store: Store, configuration: Configuration) -> None:
    configuration.held["gates"].clear()
    for key in ("1", "x"):
        configuration.put("gates", key, name="first")
    run("gates")
    with store.writing() as execute:
        execute(f"DROP TABLE {API}.gates", ())
    configuration.held["gates"].clear()
    configuration.put("gates", 1, name="second")
    assert run("gates")["gates"].reason == ""
    assert [(row["id"], row["name"], row["_operation"]) for row in history(store, "gates")] == [
        *(("1", "first", "baseline"), ("1", "second", "update")),
        *(("x", "first", "baseline"), ("x", "first", "delete")),
    ]
