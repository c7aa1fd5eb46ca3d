"""No two fields share a column, and no field takes a column that is another's: the product's, dlt's, the database's."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from analytics_ingest.diagnostics.verify import verify_api
from analytics_ingest.extract.column_names import ColumnNames, column_name, former_name
from analytics_ingest_tests.conftest import packages, query
from analytics_ingest_tests.stores import Store
from analytics_ingest_tests.trials import API, LOG, NAME, Rows, Trial

COLLIDING = [
    ["id", "ID", "Id", "iD"],
    ["a.b", "a_b", "a-b", "a b", "aB", "A_B", "a__b"],
    ["名前", "价格", "имя", "🦆", "x", "_", "__"],
    ["", " ", "unnamed", "\t"],
    ["sent_row_hash", "_row_hash", "_rowHash", "_RowHash"],
    ["1a", "_1a"],
    ["holdoutIDs", "holdoutIds", "holdout_ids", "holdout_i_ds"],
    ["n" * 70, "n" * 69 + "N", "n" * 80],
    ["d", "sent_d", "D", "s", "S"],
    ["ctid", "CTID", "xmin", "rowid", "tableoid", "oid", "_ducklake_internal_row_id"],
    ["select", "SELECT", "table", 'a"b', "a'b", "a;b", "a%sb", "a{0}b", "a\x00b"],
    ["_deleted_at", "_deletedAt", "_dlt_id", "_dltId", "_dlt_load_id", "_operation", "_seen_at", "_valid_from"],
]
FIELDS = [field for group in COLLIDING for field in group]


def values(row: dict[str, Any]) -> list[str]:
    return sorted(value for value in row.values() if isinstance(value, str) and value.startswith("value of "))


def test_every_field_has_a_column_of_its_own(store: Store, trial_api: Trial) -> None:
    row = {field: f"value of {number}" for number, field in enumerate(FIELDS) if field != "id"}
    # what comes late, and alone, has its column too
    rows = [{"id": 1, **row}, *({"id": 2 + number, field: row[field]} for number, field in enumerate(row))]
    trial_api.rows = Rows(things=[rows[:20], rows[20:]])
    result = trial_api.sync()["things"]
    assert (result.status, result.stats.rows_rejected) == ("complete", 0)
    columns, stored = store.table(NAME, "things")
    found = {each[columns.index("id")]: dict(zip(columns, each, strict=True)) for each in stored}
    assert values(found[1]) == sorted(row.values())
    for each in rows[1:]:
        (field,) = each.keys() - {"id"}
        (column,) = (name for name, value in found[each["id"]].items() if value == row[field])
        # in the same column as in the row that has them all
        assert found[1][column] == row[field], field
    assert all(isinstance(each[name], int) for each in found.values() for name in ("id", "_row_hash"))
    assert all(each["_deleted_at"] is None for each in found.values())
    again = trial_api.sync()["things"]
    messages = {check.name: check.message for check in again.checks}
    assert (again.stats.rows_loaded, messages["schema_unchanged"]) == (0, "no column has changed")
    assert {each.outcome for each in verify_api(API, log=LOG)} == {"same"}


def test_the_columns_of_a_snapshots_fields_outlast_its_replacement(trial_api: Trial, tmp_path: Path) -> None:
    for value in ("first", "later", "last"):
        # the field with the plain name is in no row but those of the first sync
        plain = {"name": "plain"} if value == "first" else {}
        trial_api.rows = Rows(states=[[{"n": 1, "Name": value, **plain}]])
        changed, again = trial_api.sync("states")["states"], trial_api.sync("states")["states"]
        assert (changed.stats.rows_loaded, again.stats.rows_loaded) == (1, 0)
        columns = [row[0] for row in query(tmp_path, f"SELECT column_name FROM (DESCRIBE {NAME}.states)")]
        (other,) = (name for name in columns if name.startswith("name_"))
        assert query(tmp_path, f"SELECT name, {other} FROM {NAME}.states") == [(plain.get("name"), value)]


def test_the_column_of_a_field_stays_whoever_comes_first(trial_api: Trial, tmp_path: Path) -> None:
    both = [{"id": 1, "Name": "first", "name": "second"}]
    trial_api.rows = Rows(things=[both])
    trial_api.sync("things")
    columns = [row[0] for row in query(tmp_path, f"SELECT column_name FROM (DESCRIBE {NAME}.things)")]
    (other,) = (name for name in columns if name.startswith("name_"))
    trial_api.rows = Rows(things=[[*both, {"id": 2, "Name": "alone"}], [{"id": 3, "name": "alone"}]])
    trial_api.sync("things")
    found = query(tmp_path, f"SELECT id, name, {other} FROM {NAME}.things ORDER BY id")
    assert found == [(1, "second", "first"), (2, None, "alone"), (3, "alone", None)]


def test_a_second_field_is_said(trial_api: Trial, caplog: pytest.LogCaptureFixture) -> None:
    trial_api.rows = Rows(things=[[{"id": 1, "Name": "x", "name": "y"}]])
    with caplog.at_level(logging.WARNING):
        trial_api.sync("things")
    (said,) = [record.message for record in caplog.records if "'Name'" in record.message]
    assert said.startswith("trials/things: the API sends its own 'Name', whose name is that of another column")


def test_names_depend_on_nothing_but_the_fields() -> None:
    for fields in COLLIDING:
        one, other = ColumnNames(), ColumnNames()
        one.name(fields)
        other.name(reversed(fields))
        assert one.columns == other.columns
        assert len(set(one.columns.values())) == len(fields)
        # dlt leaves them as they are
        assert [former_name(column) for column in one.columns.values()] == list(one.columns.values())


def test_what_was_decided_holds_in_any_order() -> None:
    first = ColumnNames()
    first.name(FIELDS)
    for field in FIELDS:
        later = ColumnNames(remembered=first.decided)
        later.name([field])
        assert later.columns[field] == first.columns[field]


@pytest.mark.parametrize(
    ("field", "column"),
    [
        ("holdoutIDs", "holdout_ids"),
        ("IDs", "ids"),
        ("allURLsOf", "all_urls_of"),
        ("HTTPStatus", "http_status"),
        ("lastModifiedTime", "last_modified_time"),
        ("osVersion", "os_version"),
        ("isDNS", "is_dns"),
    ],
)
def test_acronyms(field: str, column: str) -> None:
    assert column_name(field) == column


def test_columns_of_an_old_warehouse_are_carried_over_without_a_reload(
    trial_api: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"id": 1, "holdoutIDs": ["a"], "d": {"id": 7}, "name": "x"}
    trial_api.rows = Rows(things=[[row]])
    with monkeypatch.context() as patch:
        # the names that earlier versions gave
        patch.setattr("analytics_ingest.extract.column_names.PLURAL", __import__("re").compile("(?!)()"))
        patch.setattr("analytics_ingest.extract.column_names.ALIASES", frozenset())
        trial_api.sync("things")
    former = {name for (name,) in query(tmp_path, f"SELECT column_name FROM (DESCRIBE {NAME}.things)")}
    assert {"holdout_i_ds", "d"} < former
    loads = packages(tmp_path, NAME)
    result = trial_api.sync("things")["things"]
    assert result.stats.rows_loaded == 0
    # one package with the state alone: the columns that drift is looked for in have other names
    assert packages(tmp_path, NAME) == loads + 1
    found = query(tmp_path, f"SELECT id, holdout_ids, sent_d, name FROM {NAME}.things")
    assert [(key, json.loads(ids), json.loads(d), name) for key, ids, d, name in found] == [(1, ["a"], {"id": 7}, "x")]
    names = {name for (name,) in query(tmp_path, f"SELECT column_name FROM (DESCRIBE {NAME}.things)")}
    assert names == (former - {"holdout_i_ds", "d"}) | {"holdout_ids", "sent_d"}
    trial_api.rows = Rows(things=[[{**row, "name": "y", "holdoutIDs": ["b"]}, {**row, "id": 2}]])
    assert trial_api.sync("things")["things"].stats.rows_loaded == 2
    found = query(tmp_path, f"SELECT id, holdout_ids, name FROM {NAME}.things ORDER BY id")
    assert [(key, json.loads(ids), name) for key, ids, name in found] == [(1, ["b"], "y"), (2, ["a"], "x")]


def test_a_column_is_left_out_by_any_of_its_names(
    trial_api: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial_api.rows = Rows(things=[[{"id": 1, "holdoutIDs": ["a"], "holdoutIds": ["b"]}]])
    for setting in ("holdout_i_ds", "holdout_ids", "holdoutIDs", "things.holdoutIDs"):
        monkeypatch.setenv("SOURCES__TRIALS__EXCLUDE_COLUMNS", f'["{setting}"]')
        trial_api.sync("things")
        names = {name for (name,) in query(tmp_path, f"SELECT column_name FROM (DESCRIBE {NAME}.things)")}
        assert [name for name in names if "holdout" in name] == [], setting
    monkeypatch.delenv("SOURCES__TRIALS__EXCLUDE_COLUMNS")
    trial_api.sync("things")
    names = {name for (name,) in query(tmp_path, f"SELECT column_name FROM (DESCRIBE {NAME}.things)")}
    assert len([name for name in names if "holdout" in name]) == 2
