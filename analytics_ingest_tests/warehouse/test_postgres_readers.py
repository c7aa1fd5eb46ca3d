"""The role of docs/destinations.md that reads a PostgreSQL warehouse: new tables, new columns, views made again."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator

import psycopg2
import pytest

from analytics_ingest_tests.pages import queries_of
from analytics_ingest_tests.trials import API, NAME, Trial, run

Connect = Callable[[], psycopg2.extensions.connection]
WHOLE = [[{"id": 1, "name": "a", "share": 3}]]
FRACTION = [[{"id": 1, "name": "a", "share": 3}, {"id": 2, "name": "b", "share": 0.5, "note": "new"}]]


@pytest.fixture
def granted(postgres: Connect, trial_api: Trial) -> Iterator[Callable[[str], list[tuple[object, ...]]]]:
    """``granted(sql)`` queries as the role of the page, which was made after a first sync."""
    trial_api.rows.things = WHOLE
    run(API)
    cursor = postgres().cursor()
    cursor.execute("SELECT current_database(), current_user")
    database, user = cursor.fetchone() or ("", "")
    role = f"analysts_{uuid.uuid4().hex[:12]}"
    names = {
        "analysts": role,
        "DATABASE warehouse": f"DATABASE {database}",
        "ROLE warehouse": f"ROLE {user}",
        "experimentation": NAME,
    }
    sql = queries_of("destinations.md")["Who may read the tables"]
    for shown, name in names.items():
        assert shown in sql
        sql = sql.replace(shown, name)
    cursor.execute(sql)
    cursor.execute(f"ALTER ROLE {role} LOGIN PASSWORD 'reader'")
    host = os.environ["DESTINATION__POSTGRES__CREDENTIALS"].partition("@")[2]
    reader = psycopg2.connect(f"postgresql://{role}:reader@{host}")
    reader.autocommit = True

    def query(text: str) -> list[tuple[object, ...]]:
        with reader.cursor() as reading:
            reading.execute(text)
            return reading.fetchall()

    try:
        yield query
    finally:
        reader.close()
        cursor.execute(f"DROP OWNED BY {role} CASCADE")
        cursor.execute(f"DROP ROLE {role}")


def test_role_of_the_page_reads_whatever_later_syncs_create(
    granted: Callable[[str], list[tuple[object, ...]]], trial_api: Trial
) -> None:
    assert granted(f"SELECT id, share FROM {NAME}.things_present") == [(1, 3)]
    # a column more, another type, and rows that were rejected, whose table is new
    trial_api.rows.things = [[*FRACTION[0], {"name": "without a key"}]]
    run(API)

    for table in ("things", "things_present"):
        assert granted(f"SELECT id, share, note FROM {NAME}.{table} ORDER BY id") == [
            (1, 3, None),
            (2, 0.5, "new"),
        ]
    assert granted(f"SELECT count(*) FROM {NAME}._rejected_rows") == [(1,)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        granted(f"DELETE FROM {NAME}.things RETURNING id")
