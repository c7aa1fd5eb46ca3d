"""Descriptions of tables and columns in the warehouse: written once, kept, and brought up to date."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable
from dataclasses import replace

import psycopg2
import pytest

from analytics_ingest.apis.column_descriptions import OWN_COLUMNS
from analytics_ingest.apis.model import Api
from analytics_ingest.sync.comment_writer import texts_of
from analytics_ingest.warehouse.comments import Comments
from analytics_ingest_tests.stores import Store, on_duckdb
from analytics_ingest_tests.trials import API, NAME, Trial, run

TEXTS = {"share": "Share of the users, in %; the team's.", "note": "What people have noted."}
DESCRIBED = replace(API, columns=TEXTS)
WHOLE = [[{"id": 1, "name": "a", "share": 3}]]
FRACTION = [[{"id": 1, "name": "a", "share": 3}, {"id": 2, "name": "b", "share": 0.5, "note": "new"}]]


def comments(store: Store, table: str) -> dict[str, str | None]:
    """The comments on a table and on its columns, by column; that on the table by an empty name."""
    if "postgres" in store.settings.values():
        sql = (
            "SELECT coalesce(a.attname, ''), d.description FROM pg_description d JOIN pg_class c ON c.oid = d.objoid "
            "LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0 "
            f"WHERE c.oid = '{NAME}.{table}'::regclass AND d.classoid = 'pg_class'::regclass"
        )
    else:
        where = f"comment IS NOT NULL AND schema_name = '{NAME}' AND table_name = '{table}'"
        sql = (
            f"SELECT column_name, comment FROM duckdb_columns() WHERE {where} "
            f"UNION ALL SELECT '', comment FROM duckdb_tables() WHERE {where}"
        )
    with store.reading() as query:
        return dict(query(sql)[1])


def expected(api: Api, store: Store, table: str) -> dict[str, str]:
    texts = texts_of(api)[table]
    columns = store.table(NAME, table)[0]
    return {"": texts.table} | {name: texts.columns[name] for name in columns if name in texts.columns}


def test_tables_and_columns_have_their_descriptions(store: Store, trial_api: Trial) -> None:
    trial_api.rows.things = [[*WHOLE[0], {"name": "without a key"}]]
    run(DESCRIBED)
    assert comments(store, "things") == {
        "": "Things.",
        "id": "Identifier of the row, given by the API.",
        "name": "Name, as people see it.",
        "share": TEXTS["share"],
        **OWN_COLUMNS,
    }
    for table in ("things", "states", "others", "parts", "_syncs", "_rejected_rows"):
        assert comments(store, table) == expected(DESCRIBED, store, table)


def test_new_columns_and_wider_ones(store: Store, trial_api: Trial) -> None:
    trial_api.rows.things = WHOLE
    run(DESCRIBED)
    trial_api.rows.things = FRACTION
    result = run(DESCRIBED)["things"]
    assert result.widened
    found = comments(store, "things")
    assert found == expected(DESCRIBED, store, "things")
    assert {name: found[name] for name in TEXTS} == TEXTS


@on_duckdb
def test_a_table_that_is_copied_keeps_its_comments(store: Store, trial_api: Trial) -> None:
    trial_api.rows.things = WHOLE
    run(DESCRIBED)
    with store.writing() as execute:
        execute(f"COMMENT ON COLUMN {NAME}.things._dlt_id IS 'a user''s'", ())
        execute(f"CREATE INDEX one ON {NAME}.things (share)", ())
    before = comments(store, "things")
    trial_api.rows.things = FRACTION
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Comments, "write", lambda *_: [])
        assert run(DESCRIBED)["things"].widened
    assert comments(store, "things") == before
    # the next sync that loads anything writes what differs
    trial_api.rows.things = WHOLE
    run(DESCRIBED)
    assert comments(store, "things") == expected(DESCRIBED, store, "things")


def test_a_text_that_has_changed_is_written_without_a_load(store: Store, trial_api: Trial) -> None:
    trial_api.rows.things = WHOLE
    run(DESCRIBED)
    changed = replace(DESCRIBED, columns={"share": "Another text."})
    results = run(changed)
    assert [result.stats.rows_loaded for result in results.values() if result.stats] == [0] * 4
    assert comments(store, "things") == expected(changed, store, "things")
    assert comments(store, "things")["share"] == "Another text."


@on_duckdb
def test_comments_are_compared_only_if_something_was_loaded(
    store: Store, trial_api: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    write = Comments.write

    def noted(self: Comments, texts: object) -> list[str]:
        compared.append(1)
        return write(self, texts)  # type: ignore[arg-type]

    monkeypatch.setattr(Comments, "write", noted)
    trial_api.rows.things = WHOLE
    run(DESCRIBED)
    assert compared == [1]
    run(DESCRIBED)
    assert compared == [1]
    changed = replace(DESCRIBED, columns={"share": "Another text."})
    before = store.table(NAME, "_dlt_loads")
    # until a load package stores that they are written
    run(changed)
    run(changed)
    assert compared == [1] * 3
    assert store.table(NAME, "_dlt_loads") == before
    trial_api.rows.things = FRACTION
    run(changed)
    run(changed)
    assert compared == [1] * 4


Connect = Callable[[], psycopg2.extensions.connection]


def test_tables_of_another_owner_are_a_warning(
    postgres: Connect, trial_api: Trial, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trial_api.rows.things = WHOLE
    run(API)
    cursor = postgres().cursor()
    role = f"loader_{uuid.uuid4().hex[:12]}"
    cursor.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'loader'")
    try:
        cursor.execute("SELECT current_database()")
        (database,) = cursor.fetchone() or ("",)
        for sql in (
            f"GRANT CREATE ON DATABASE {database} TO {role}",
            f"GRANT ALL ON SCHEMA {NAME}, {NAME}_staging TO {role}",
            f"GRANT ALL ON ALL TABLES IN SCHEMA {NAME}, {NAME}_staging TO {role}",
            f"ALTER TABLE {NAME}.others OWNER TO {role}",
        ):
            cursor.execute(sql)
        setting = "DESTINATION__POSTGRES__CREDENTIALS"
        monkeypatch.setenv(setting, f"postgresql://{role}:loader@{os.environ[setting].partition('@')[2]}")
        caplog.set_level(logging.WARNING)
        trial_api.rows.things = [[{"id": 1, "name": "b", "share": 3}]]
        results = run(replace(DESCRIBED, columns={**TEXTS, "name": "Its name."}))
        assert {result.status for result in results.values()} == {"complete"}
        warnings = [text for text in caplog.messages if "descriptions" in text]
        assert [text.partition(", as")[0] for text in warnings] == [
            "trials: the descriptions of things are not written as comments"
        ]
        cursor.execute(f"SELECT col_description('{NAME}.others'::regclass, 2)")
        assert cursor.fetchone() == ("Its name.",)
    finally:
        cursor.execute(f"DROP OWNED BY {role} CASCADE")
        cursor.execute(f"DROP ROLE {role}")
