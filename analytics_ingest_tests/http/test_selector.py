"""Where rows are in a body, and what is an error rather than zero rows."""

from __future__ import annotations

import pytest

from analytics_ingest.errors import ReadError
from analytics_ingest.http.selector import RowSelector

RULES = "data[*].rules[*]"


def rows(selector, body):
    return selector.select(body).rows


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("data", {"data": [{"id": 1}, {"id": 2}], "total": 2}, [{"id": 1}, {"id": 2}]),
        ("data", {"data": []}, []),
        ("data", {"data": {"id": 1}}, [{"id": 1}]),
        ("data", {"data": ["a", "b"]}, ["a", "b"]),
        ("data", {"data": [[1, 2]]}, [[1, 2]]),
        ("$", [{"id": 1}, {"id": 2}], [{"id": 1}, {"id": 2}]),
        ("$", {"id": 1}, [{"id": 1}]),
        ("$", ["a"], ["a"]),
        ("$", [], []),
        (RULES, {"data": [{"rules": [1, 2]}, {"rules": []}, {"rules": [3]}]}, [1, 2, 3]),
        (RULES, {"data": {"rules": [1, 2]}}, [1, 2]),
        (RULES, {"data": [{"rules": []}]}, []),
        (RULES, {"data": []}, []),
    ],
)
def test_rows_are_what_stands_at_the_selector(path, body, expected):
    assert rows(RowSelector(path), body) == expected


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (RULES, {"data": [{"rules": []}, {"rules": [1]}]}, [{"rules": []}, {"rules": [1]}]),
        (RULES, {"data": []}, []),
        ("data", {"data": [1]}, [1]),
        ("$", {"id": 1}, [{"id": 1}]),
    ],
)
def test_a_page_is_what_stands_before_the_first_wildcard(path, body, expected):
    assert RowSelector(path).select(body).page == expected


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("data", {"items": []}, "the body has no 'data'"),
        ("data", [], "the body has no 'data'"),
        ("data", {"data": None}, "'data' in the body holds NoneType, not records"),
        ("data", {"data": "none"}, "'data' in the body holds str, not records"),
        (RULES, {"rules": []}, "the body has no 'data'"),
        ("$", None, "the body holds NoneType, not records"),
        ("$", "maintenance", "the body holds str, not records"),
        ("$", 3, "the body holds int, not records"),
    ],
)
def test_a_body_without_what_is_selected_is_an_error(path, body, reason):
    with pytest.raises(ReadError) as error:
        RowSelector(path).select(body)
    assert str(error.value) == reason


def test_an_object_that_lacks_the_key_is_no_record():
    selector = RowSelector("$", record_key=("project_slug", "number"))
    with pytest.raises(ReadError, match=r"^the body is not a record \(it has no number\)$"):
        selector.select({"project_slug": "gh/a/b", "message": "try later"})
    assert selector.select({"project_slug": "gh/a/b", "number": None}).page == [
        {"project_slug": "gh/a/b", "number": None}
    ]


@pytest.mark.parametrize("body", [{"error": "try later"}, {"message": "Not Found", "status": 404}])
def test_an_object_of_nothing_but_an_error_is_no_record(body):
    with pytest.raises(ReadError, match=rf"^the body is not a record \(it has only {', '.join(body)}\)$"):
        RowSelector("$").select(body)
    assert RowSelector("$").select({**body, "branches": []}).page == [{**body, "branches": []}]


def test_the_elements_of_an_array_need_no_key_to_be_records():
    assert RowSelector("$", record_key=("id",)).select([{"name": "a"}]).page == [{"name": "a"}]


@pytest.mark.parametrize(
    ("path", "fallback", "body", "expected"),
    [
        ("data", "$", {"data": [{"id": 1}]}, [{"id": 1}]),
        ("data", "$", [{"id": 1}], [{"id": 1}]),
        ("data", "$", [], []),
        ("data", "objects", {"data": [1], "objects": [2]}, [1]),
        ("data", "objects", {"objects": [2]}, [2]),
    ],
)
def test_rows_may_stand_at_another_place(path, fallback, body, expected):
    selector = RowSelector(path, fallback=fallback)
    assert rows(selector, body) == selector.select(body).page == expected


@pytest.mark.parametrize("fallback", ["$", "objects"])
def test_an_object_with_neither_place_is_an_error_by_the_first(fallback):
    with pytest.raises(ReadError, match=r"^the body has no 'data'$"):
        RowSelector("data", fallback=fallback).select({"message": "wrong"})


@pytest.mark.parametrize("body", [{"data": {"rule": []}}, {"data": [{"rule": []}, {}]}])
def test_what_holds_the_rows_must_be_there_in_either_shape(body):
    with pytest.raises(ReadError, match=r"^no element of '.*data.*' in the body has 'rules'$"):
        RowSelector(RULES).select(body)
