"""From what an API sends to a row: timestamps, path parameters, key, hash and cursor."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from analytics_ingest.apis.model import Endpoint
from analytics_ingest.apis.paginators import SINGLE_PAGE
from analytics_ingest.apis.parents import FromTable
from analytics_ingest.apis.registry import APIS
from analytics_ingest.extract.rows import (
    ROW_HASH,
    RowNormalizer,
    RowRejectedError,
    content_hash,
    excluded_fields,
)
from analytics_ingest.timestamps import to_utc
from analytics_ingest_tests.conftest import sync

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


def normalizer(**more):
    return RowNormalizer(Endpoint("rows", "/rows", "data", SINGLE_PAGE, description="Rows.", **more))


def without_hash(row):
    return {name: value for name, value in row.items() if name != ROW_HASH}


@pytest.mark.parametrize(
    ("sent", "moment"),
    [
        ("2026-01-15T12:00:00Z", NOON),
        ("2026-01-15T12:00:00.5Z", NOON.replace(microsecond=500_000)),
        ("2026-01-15T12:00:00.123456Z", NOON.replace(microsecond=123_456)),
        ("2026-01-15T12:00:00.123456789Z", NOON.replace(microsecond=123_456)),
        ("2026-01-15T05:00:00-07:00", NOON),
        ("2026-01-15T05:00:00.250-0700", NOON.replace(microsecond=250_000)),
        ("2026-01-15T12:00:00", NOON),
        ("2026-01-15 12:00:00", NOON),
        ("2026-01-15", NOON.replace(hour=0)),
        (1768478400, NOON),
        (1768478400.25, NOON.replace(microsecond=250_000)),
        (1768478400123, NOON.replace(microsecond=123_000)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        ("1768478400", NOON),
        ("1768478400123", NOON.replace(microsecond=123_000)),
        (" 1768478400 ", NOON),
    ],
)
def test_every_form_of_a_timestamp_becomes_utc(sent, moment):
    got = to_utc(sent)
    assert got == moment
    assert got.utcoffset() == moment.utcoffset()


@pytest.mark.parametrize(
    "sent",
    [
        "soon",
        "",
        "12",
        "P1D",
        "2024-02-30",
        "0001-01-01T00:00:00+14:00",
        True,
        False,
        None,
        [1768478400],
        {"at": 1768478400},
        1e300,
        float("inf"),
        "now",
        "12:30",
        "--123456789",
    ],
)
def test_what_is_no_timestamp_stays_as_it_is(sent):
    got = to_utc(sent)
    assert got is sent


def test_nested_timestamps_are_normalised_and_what_was_sent_is_left_alone():
    sent: dict[str, Any] = {"id": 1, "attributes": {"updated_at": "2026-01-15T05:00:00-07:00", "title": "x"}}
    row = normalizer(timestamps=("updated_at", "attributes.updated_at")).normalize(sent, {})
    assert without_hash(row) == {"id": 1, "attributes": {"updated_at": NOON, "title": "x"}}
    assert sent["attributes"]["updated_at"] == "2026-01-15T05:00:00-07:00"


@pytest.mark.parametrize("attributes", [None, "none", [], {"updated_at": None}, {}])
def test_a_nested_timestamp_that_is_not_there_is_passed_over(attributes):
    row = normalizer(timestamps=("attributes.updated_at",)).normalize({"id": 1, "attributes": attributes}, {})
    assert without_hash(row) == {"id": 1, "attributes": attributes}


def test_path_parameters_say_whose_row_it_is():
    normalize = normalizer(primary_key=("gate_id", "id")).normalize
    params = {"gate_id": "g1", "workspace_id": "w1"}
    assert without_hash(normalize({"id": 1}, params)) == {"id": 1, "gate_id": "g1", "workspace_id": "w1"}
    own = without_hash(normalize({"id": 1, "gate_id": "own"}, params))
    assert own == {"id": 1, "gate_id": "g1", "sent_gate_id": "own", "workspace_id": "w1"}
    assert without_hash(normalize({"id": 1, "gate_id": None}, params))["gate_id"] == "g1"


def test_a_field_does_not_take_the_column_of_a_renamed_one():
    made = normalizer(primary_key=("gate_id", "id"), parents=FromTable("gates", gate_id="id"))
    (sent,) = made.rows({"id": 1, "gateId": ["own"], "sent_gate_id": "sent"})
    row = without_hash(made.normalize(sent, {"gate_id": "g1"}))
    other = made.names.columns["sent_gate_id"]
    assert row == {"id": 1, "gate_id": "g1", "sent_gate_id": ["own"], other: "sent"}
    assert other.startswith("sent_gate_id_")


def test_a_bare_value_becomes_the_last_column_of_the_key():
    normalize = normalizer(primary_key=("environment_id", "key")).normalize
    assert without_hash(normalize("user-1", {"environment_id": "e1"})) == {
        "environment_id": "e1",
        "key": "user-1",
    }


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ({"id": None, "gate_id": "g1"}, "no value for id"),
        ({"name": "x", "gate_id": "g1"}, "no value for id"),
        ({}, "no value for gate_id, id"),
        (None, "no value for gate_id, id"),
    ],
)
def test_a_row_without_a_complete_key_is_rejected(sent, reason):
    with pytest.raises(RowRejectedError) as error:
        normalizer(primary_key=("gate_id", "id")).normalize(sent, {})
    assert str(error.value) == reason


@pytest.mark.parametrize(("key", "stored"), [(0, 0), ("", ""), (False, "false"), (0.0, "0")])
def test_an_empty_key_is_a_key(key, stored):
    row = normalizer().normalize({"id": key}, {})
    assert (row["id"], type(row["id"])) == (stored, type(stored))


def test_the_hash_does_not_depend_on_the_order_of_fields():
    one = {"id": 1, "tags": {"a": 1, "b": [1, 2]}, "at": NOON}
    other = {"at": NOON, "tags": {"b": [1, 2], "a": 1}, "id": 1}
    assert content_hash(one) == content_hash(other)


@pytest.mark.parametrize(
    "changed",
    [
        {"id": 1, "name": "x", "tags": [2, 1]},
        {"id": 1, "name": "x", "tags": [1, 2], "more": None},
        {"id": 1, "name": "X", "tags": [1, 2]},
        {"id": "1", "name": "x", "tags": [1, 2]},
        {"id": 1, "name": None, "tags": [1, 2]},
    ],
)
def test_the_hash_is_another_one_for_other_content(changed):
    assert content_hash(changed) != content_hash({"id": 1, "name": "x", "tags": [1, 2]})


def test_the_same_moment_in_another_form_is_the_same_content():
    normalize = normalizer().normalize
    forms = ["2026-01-15T12:00:00Z", "2026-01-15T05:00:00-07:00", 1768478400, 1768478400000, "1768478400"]
    assert len({normalize({"id": 1, "updated_at": form}, {})[ROW_HASH] for form in forms}) == 1


def test_the_hash_fits_a_signed_64_bit_column():
    hashes = [content_hash({"id": number}) for number in range(200)]
    assert all(-(2**63) <= value < 2**63 for value in hashes)
    assert len(set(hashes)) == 200
    assert min(hashes) < 0 < max(hashes)


@pytest.mark.parametrize(
    ("row", "cursor"),
    [
        ({"id": 1, "updated_at": "2026-01-15T12:00:00Z"}, NOON),
        ({"id": 1, "attributes": {"updated_at": 1768478400}}, NOON),
        ({"id": 1, "updated_at": None, "attributes": {"updated_at": 1768478400}}, NOON),
        ({"id": 1, "updated_at": "soon"}, None),
        ({"id": 1}, None),
    ],
)
def test_the_cursor_is_the_first_path_that_holds_a_time(row, cursor):
    normalize = RowNormalizer(APIS["incident_response"].by_name["incidents"])
    assert normalize.cursor(normalize.normalize(row, {})) == cursor


def test_a_row_of_the_year_2099_does_not_move_the_cursor(sandbox):
    rows = sandbox.world.collection("experimentation", "gates")
    highest = max(datetime.fromisoformat(row["updated_at"]) for row in rows[1:] if row["updated_at"])
    rows[0]["updated_at"] = "2099-01-01T00:00:00Z"
    result = sync("experimentation", "gates")["gates"]
    assert (result.stats.highest, result.cursor) == (highest, highest)
    assert (result.status, result.stats.rows_loaded) == ("complete", len(rows))


def test_fields_are_named_as_their_columns_are():
    (row,) = normalizer().rows({"id": 1, "lastModifiedTime": 2, "runID": 3, "vcs-type": "github", "inner": {"aB": 4}})
    assert row == {"id": 1, "last_modified_time": 2, "run_id": 3, "vcs_type": "github", "inner": {"aB": 4}}


def test_a_key_a_cursor_and_a_timestamp_go_by_the_names_of_columns():
    made = normalizer(primary_key=("run_id",), cursor_path=("last_run_at",), timestamps=("last_run_at",))
    row = made.normalize(next(made.rows({"runID": 7, "lastRunAt": 1768478400000})), {})
    assert (made.key(row), made.cursor(row)) == ((7,), NOON)


@pytest.mark.parametrize("name", ["runID", "run_id", "rows.runID"])
def test_an_excluded_column_may_be_named_either_way(name):
    endpoint = Endpoint("rows", "/rows", "data", SINGLE_PAGE, description="Rows.")
    made = RowNormalizer(endpoint, exclude=excluded_fields(endpoint, [name]))
    (row,) = made.rows({"id": 1, "runID": 2})
    assert made.without_excluded(row) == {"id": 1}


def test_an_element_may_come_to_several_rows():
    made = normalizer(yield_map=lambda sent: sent["all"] if isinstance(sent, dict) else [sent])
    assert list(made.rows({"all": [{"aB": 1}, "bare"]})) == [{"a_b": 1}, "bare"]
    assert list(made.rows("bare")) == ["bare"]


def test_the_older_of_two_rows_is_told_by_the_cursor_where_there_is_one():
    made = normalizer(cursor_path=("changed_at", "created_at"), timestamps=("changed_at", "created_at"))
    old = made.normalize({"id": 1, "changed_at": None, "created_at": "2026-01-01"}, {})
    new = made.normalize({"id": 1, "changed_at": "2026-01-02", "created_at": "2026-01-01"}, {})
    assert (made.is_older(old, new), made.is_older(new, old)) == (True, False)


@pytest.mark.parametrize("own", [None, 7, "7"])
def test_a_path_parameter_is_the_parents_in_its_spelling(own):
    made = normalizer()
    assert without_hash(made.normalize({"id": 1, "user_id": own}, {"user_id": "7"})) == {"id": 1, "user_id": "7"}
    assert made.renamed == {}


@pytest.mark.parametrize("own", [8, "x", "07", "", True, 7.0, [7], {"id": 7}])
def test_a_field_with_another_value_than_the_path_parameter_goes_to_another_column(own):
    made = normalizer()
    row = made.normalize({"id": 1, "user_id": own}, {"user_id": 7})
    assert without_hash(row) == {"id": 1, "user_id": 7, "sent_user_id": own}
    assert (made.renamed, "sent_user_id" in made.columns) == ({"user_id": "sent_user_id"}, True)


def test_a_field_with_another_value_than_the_path_parameter_can_be_excluded():
    endpoint = Endpoint("rows", "/rows", "data", SINGLE_PAGE, description="Rows.")
    made = RowNormalizer(endpoint, exclude=excluded_fields(endpoint, ["user_id", "owner.email"]))
    row = made.normalize({"id": 1, "user_id": 8, "owner": {"email": "a@b.c", "id": 2}}, {"user_id": 7, "owner": 3})
    assert without_hash(row) == {"id": 1, "owner": 3, "sent_owner": {"id": 2}}


def test_a_parent_without_a_value_leaves_the_rows_own():
    made = normalizer()
    assert without_hash(made.normalize({"id": 1, "stage": "beta"}, {"stage": None})) == {"id": 1, "stage": "beta"}
    assert without_hash(made.normalize({"id": 1}, {"stage": None})) == {"id": 1, "stage": None}
    assert made.renamed == {}
