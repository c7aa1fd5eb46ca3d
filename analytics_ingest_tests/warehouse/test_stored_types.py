"""One field, one column: what a column becomes, for each pair of kinds of values, on every destination."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dlt

from analytics_ingest.diagnostics.verify import verify_api
from analytics_ingest.warehouse.destination import build_pipeline, pipelines_folder
from analytics_ingest_tests.stores import Store
from analytics_ingest_tests.trials import API, LOG, NAME, Rows, Trial

VALUES: dict[str, list[Any]] = {
    "whole": [3, -7, 0],
    "large": [2**53 + 1, -(2**63), 2**63 - 1],
    "huge": [2**63, 123456789012345678901234567890],
    "fraction": [0.375, -1.5e-7, 1e300, 1e16, 9007199254740993.0, 1e15, 2.0, 4503599627370495.5],
    "truth": [True, False],
    "text": ["x", "", "42", "2026-01-01T00:00:00Z", 'a "b" \\u0000 \\\\u0000', "\uf0261.5", "null", "🦆", "2026-01-01"],
    "object": [{"a": [1, {"b": None}], "t": "2026-01-01T00:00:00Z"}, {}, {"deep": [[["\uf0271"]]]}],
    "list": [[], [1, "x", None], [{"n": 0.5}]],
}
TYPES = {
    ("whole",): "bigint",
    ("large",): "bigint",
    ("huge",): "text",
    ("fraction",): "double",
    ("truth",): "bool",
    ("text",): "text",
    ("object",): "json",
    ("list",): "json",
    ("large", "whole"): "bigint",
    ("fraction", "whole"): "double",
    ("list", "object"): "json",
}
"""The type of a column with values of these kinds; any other mixture is text, with an object or a list JSON."""
PAIRS = [(first, second) for first, second in itertools.product(VALUES, VALUES)]


def expected_type(*kinds: str) -> str:
    fallback = "json" if {"object", "list"} & set(kinds) else "text"
    return TYPES.get(tuple(sorted(set(kinds))), fallback)


def number(value: float) -> str:
    """A number as text: whole ones within 2^53 without a fraction, others with the fewest digits."""
    return str(int(value)) if float(value).is_integer() and abs(value) <= 2**53 else repr(value)


def expected(value: Any, kind: str) -> Any:
    """What is read from a column of this type, where ``value`` was sent."""
    if kind != "text" or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return number(value)


def column(first: str, second: str) -> str:
    return f"{first}_then_{second}"


def sent(kinds: Sequence[int], key: int) -> list[dict[str, Any]]:
    """Rows with a column for each pair, with the values of its first or second kind, or both in turn."""
    rows: list[dict[str, Any]] = []
    for place in range(max(map(len, VALUES.values()))):
        for which in kinds:
            row: dict[str, Any] = {"id": key + len(rows), "updated_at": "2026-01-01T00:00:00Z"}
            for pair in PAIRS:
                values = VALUES[pair[which]]
                row[column(*pair)] = values[place] if place < len(values) else None
            rows.append(row)
    return rows


@dataclass
class Read:
    """A table as it is read: rows by key, types of the columns in the destination's terms."""

    rows: dict[Any, dict[str, Any]]
    columns: list[str]


def read(store: Store, table: str = "things") -> Read:
    columns, rows = store.table(NAME, table)
    return Read({row[columns.index("id")]: dict(zip(columns, row, strict=True)) for row in rows}, columns)


def value_of(value: Any, kind: str) -> Any:
    if kind == "json" and isinstance(value, str) and not isinstance(value, dict | list):
        return json.loads(value)
    return value


def compare(store: Store, rows: list[dict[str, Any]], *, postgres: bool, former: Collection[int] = ()) -> None:
    found = read(store)
    assert [name for name in found.columns if "__" in name] == []
    assert sorted(found.rows) == sorted(row["id"] for row in rows)
    for first, second in PAIRS:
        name, kind = column(first, second), expected_type(first, second)
        for row in rows:
            stored = found.rows[row["id"]][name]
            # psycopg gives JSON as Python values
            got = value_of(stored, kind) if not postgres else stored
            if row[name] is None:
                assert stored is None, name
                continue
            wanted = expected(row[name], kind)
            if kind == "json" and row["id"] in former and expected_type(first) == "text":
                # a text when it was stored, and a text now
                wanted = expected(row[name], "text")
            if kind == "double" or (kind == "json" and type(wanted) is float):
                # PostgreSQL's JSON has 1e16 in digits
                assert float(got) == float(wanted), name
            else:
                assert (type(got), got) == (type(wanted), wanted) or (kind == "json" and got == wanted), name


def is_postgres(store: Store) -> bool:
    return store.settings.get("ANALYTICS_INGEST_DESTINATION") == "postgres"


def types_said(trial_api: Trial, result: Any) -> dict[str, str]:
    return {name: str(spec.get("data_type")) for name, spec in result.columns.items()}


def test_every_pair_of_kinds_on_a_first_sync(store: Store, trial_api: Trial) -> None:
    rows = sent((0, 1), 1)
    trial_api.rows = Rows(things=[rows[:3], rows[3:]])
    result = trial_api.sync("things")["things"]
    assert (result.status, result.stats.rows_rejected) == ("complete", 0)
    compare(store, rows, postgres=is_postgres(store))
    said = types_said(trial_api, result)
    assert {pair: said[column(*pair)] for pair in PAIRS} == {pair: expected_type(*pair) for pair in PAIRS}
    assert trial_api.sync("things")["things"].stats.rows_loaded == 0


def test_every_pair_of_kinds_between_two_syncs(store: Store, trial_api: Trial) -> None:
    first = sent((0,), 1)
    trial_api.rows = Rows(things=[first])
    result = trial_api.sync("things")["things"]
    assert {pair: types_said(trial_api, result)[column(*pair)] for pair in PAIRS} == {
        pair: expected_type(pair[0]) for pair in PAIRS
    }
    second = sent((1,), 1000)
    trial_api.rows = Rows(things=[first, second])
    result = trial_api.sync("things")["things"]
    # the rows that are there are not loaded again
    assert (result.status, result.stats.rows_loaded) == ("complete", len(second))
    compare(store, first + second, postgres=is_postgres(store), former=[row["id"] for row in first])
    said = types_said(trial_api, result)
    assert {pair: said[column(*pair)] for pair in PAIRS} == {pair: expected_type(*pair) for pair in PAIRS}
    assert trial_api.sync("things")["things"].stats.rows_loaded == 0
    trial_api.sync("things", full_refresh=True)
    compare(store, first + second, postgres=is_postgres(store))
    assert {each.outcome for each in verify_api(API, selected={"things"}, log=LOG)} == {"same"}


def test_a_widened_column_is_reported_and_holds_also_what_no_longer_comes(store: Store, trial_api: Trial) -> None:
    times = ["2026-01-01T00:00:00.25Z", 1_767_225_600, None]
    stays = [{"id": number, "seen_at": time} for number, time in enumerate(times, 3)]
    before: list[dict[str, Any]] = [
        {"id": 1, "share": 3, "size": 2**53 + 1, "seen_at": "2026-01-01T12:30:00+02:00"},
        {"id": 2, "share": 4, "size": 5},
    ]
    trial_api.rows = Rows(things=[[*before, *stays]])
    trial_api.sync("things")
    seen = {key: row["seen_at"] for key, row in read(store).rows.items()}
    assert seen == {
        1: datetime(2026, 1, 1, 10, 30, tzinfo=UTC),
        2: None,
        3: datetime(2026, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC),
        4: datetime(2026, 1, 1, tzinfo=UTC),
        5: None,
    }
    # the first goes, the second changes
    changed = {**before[1], "share": 0.375, "size": 0.5}
    new = [{"id": 6, "seen_at": "soon"}, {"id": 7, "seen_at": "2026-01-02T00:00:00Z"}]
    trial_api.rows = Rows(things=[[changed, *stays, *new]])
    result = trial_api.sync("things")["things"]
    said = {line.split(" ")[0]: line for line in result.widened}
    assert said.keys() == {"share", "size", "seen_at"}
    assert said["share"] == "share is double, was bigint: the row id 2 has 0.375"
    assert said["seen_at"] == "seen_at is text, was timestamp: the row id 6 has soon"
    (check,) = (each for each in result.checks if each.name == "schema_unchanged")
    assert not check.passed
    lines = check.message.splitlines()
    assert {line.split(" ")[0] for line in lines[:3]} == said.keys()
    assert "share is double, was bigint" in lines
    assert lines[3:] == result.widened
    found = read(store).rows
    assert {key: (row["share"], row["size"]) for key, row in found.items() if key < 3} == {
        1: (3.0, str(2**53 + 1)),
        2: (0.375, "0.5"),
    }
    # in UTC
    assert {key: row["seen_at"] for key, row in found.items()} == {
        1: "2026-01-01T10:30:00+00:00",
        2: None,
        3: "2026-01-01T00:00:00.250000+00:00",
        4: "2026-01-01T00:00:00+00:00",
        5: None,
        6: "soon",
        7: "2026-01-02T00:00:00+00:00",
    }
    assert trial_api.sync("things")["things"].stats.rows_loaded == 0


def test_times_before_year_1_and_after_9999_are_text(store: Store, trial_api: Trial) -> None:
    odd = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
    trial_api.rows = Rows(
        things=[[{"id": 1, "seen_at": odd[0]}, {"id": 2, "seen_at": odd[1]}, {"id": 3, "seen_at": 0}]]
    )
    assert trial_api.sync("things")["things"].stats.rows_rejected == 0
    assert {key: row["seen_at"] for key, row in read(store).rows.items()} == {
        1: odd[0],
        2: odd[1],
        3: "1970-01-01T00:00:00+00:00",
    }


def test_a_key_that_becomes_text_does_so_in_its_children(store: Store, trial_api: Trial) -> None:
    parts = {"7": [[{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]]}
    trial_api.rows = Rows(things=[[{"id": 7}]], parts=parts)
    trial_api.sync("things", "parts")
    assert store.table(NAME, "parts")[0].count("thing_id") == 1
    trial_api.rows = Rows(things=[[{"id": 7}, {"id": "007"}]], parts={**parts, "007": [[{"id": 1, "name": "c"}]]})
    results = trial_api.sync("things", "parts")
    assert {result.status for result in results.values()} == {"complete"}
    assert sorted(read(store).rows) == ["007", "7"]
    columns, rows = store.table(NAME, "parts")
    place = [columns.index(name) for name in ("thing_id", "id", "name", "_deleted_at")]
    assert sorted(tuple(row[each] for each in place) for row in rows) == [
        ("007", 1, "c", None),
        ("7", 1, "a", None),
        ("7", 2, "b", None),
    ]
    again = trial_api.sync("things", "parts")
    assert [result.stats.rows_loaded for result in again.values()] == [0, 0]
    assert {each.outcome for each in verify_api(API, selected={"things", "parts"}, log=LOG)} == {"same"}


FORMER: list[dict[str, Any]] = [
    {"id": 1, "share": 3, "panels": 12, "note": "2026-01-01T00:00:00Z", "big": 2**60, "odd": True},
    {"id": 2, "share": 0.375, "panels": [{"n": 1}], "note": "2026-01-02T00:00:00+02:00", "big": 0.5, "odd": "x"},
    {"id": 3, "share": 2, "panels": 4.25, "note": None, "big": 7, "odd": 7},
    {"id": 4, "share": 0.5, "panels": "x", "note": None, "big": None, "odd": None},
]


def load_as_before(rows: list[dict[str, Any]]) -> None:
    """Loads rows as earlier versions of the product did: dlt decides on types, and makes variants."""

    @dlt.source(name=NAME, section=NAME, max_table_nesting=0)
    def source() -> Any:
        hashed = [{**row, "_row_hash": row["id"]} for row in rows]
        hints: Any = {"updated_at": {"data_type": "timestamp"}, "_deleted_at": {"data_type": "timestamp"}}
        # a column that came without times at first
        hints |= {"due_on": {"data_type": "text"}}
        yield dlt.resource(hashed, name="things", primary_key="id", write_disposition="merge", columns=hints)

    pipeline = build_pipeline(NAME)
    pipeline.run(source())
    shutil.rmtree(pipelines_folder() / NAME)


def test_the_next_full_refresh_folds_variants_and_found_times(store: Store, trial_api: Trial) -> None:
    load_as_before(FORMER)
    before = read(store)
    assert {"share__v_double", "panels__v_json", "panels__v_text", "big__v_double", "odd__v_text"} <= set(
        before.columns
    )
    # the fourth is gone upstream: its values are folded in the table
    trial_api.rows = Rows(things=[FORMER[:3]])
    result = trial_api.sync("things", full_refresh=True)["things"]
    assert (result.status, result.stats.rows_loaded, result.rows_deleted) == ("complete", 3, 1)
    found = read(store)
    assert [name for name in found.columns if "__v_" in name] == []
    postgres = is_postgres(store)
    values = {key: {name: row[name] for name in FORMER[0]} for key, row in found.rows.items()}
    assert {key: row["share"] for key, row in values.items()} == {1: 3, 2: 0.375, 3: 2, 4: 0.5}
    panels = {key: row["panels"] if postgres else json.loads(row["panels"]) for key, row in values.items()}
    assert panels == {1: 12, 2: [{"n": 1}], 3: 4.25, 4: "x"}
    assert {key: row["note"] for key, row in values.items()} == {
        1: "2026-01-01T00:00:00Z",
        2: "2026-01-02T00:00:00+02:00",
        3: None,
        4: None,
    }
    assert {key: row["big"] for key, row in values.items()} == {1: str(2**60), 2: "0.5", 3: "7", 4: None}
    assert {key: row["odd"] for key, row in values.items() if key != 4} == {1: "true", 2: "x", 3: "7"}
    assert trial_api.sync("things")["things"].stats.rows_loaded == 0


def test_a_stored_type_stays_until_a_value_does_not_fit_and_a_declared_one_until_a_full_refresh(
    store: Store, trial_api: Trial
) -> None:
    texts = {"due_on": "2026-03-01T00:00:00Z", "ends_at": 1_767_225_600_250, "starts_at": "2026-02-01"}
    load_as_before([{"id": 1, "note": "2026-01-01T00:00:00Z", **texts}])
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    others = {"due_on": "2026-03-02T12:00:00+02:00", "ends_at": None, "starts_at": "2026-03-01"}
    rows = [
        {"id": 1, "note": "2026-01-01T00:00:00Z", **texts},
        {"id": 2, "note": "2026-01-01T02:00:00+02:00", **others},
    ]

    def declared() -> dict[int, list[Any]]:
        found = read(store).rows
        return {key: [row["due_on"], row["ends_at"], row["starts_at"]] for key, row in found.items() if key < 3}

    trial_api.rows = Rows(things=[rows])
    trial_api.sync("things")
    assert {key: row["note"] for key, row in read(store).rows.items()} == {1: moment, 2: moment}
    # as sent
    assert declared() == {1: [*texts.values()], 2: [*others.values()]}
    trial_api.rows = Rows(things=[[*rows, {"id": 3, "note": "42"}]])
    result = trial_api.sync("things")["things"]
    assert result.widened == ["note is text, was timestamp: the row id 3 has 42"]
    iso = "2026-01-01T00:00:00+00:00"
    assert {key: row["note"] for key, row in read(store).rows.items()} == {1: iso, 2: iso, 3: "42"}
    assert trial_api.sync("things", full_refresh=True)["things"].reason == ""
    assert declared() == {
        1: [datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC), "2026-02-01"],
        2: [datetime(2026, 3, 2, 10, tzinfo=UTC), None, "2026-03-01"],
    }
    assert trial_api.sync("things")["things"].stats.rows_loaded == 0
