"""Envelopes that state which pages follow: a link, a cursor, a next page, a total under another name."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from analytics_ingest.apis.model import Endpoint
from analytics_ingest.apis.paginators import Paginator, cursor, offset, page_number
from analytics_ingest.errors import ReadError
from analytics_ingest.http.client import EndpointClient
from analytics_ingest.http.meter import Meter
from analytics_ingest_tests.fake_server import Client, FakeServer, Response

LINKED = cursor(cursor_param="next", cursor_path="next", cursor_is_link=True, limit=2, limit_param="page_size")
NUMBERED = page_number(limit=2, has_more_path="pagination.nextPage")
COUNTED = offset(limit=2, total_path="count")


@pytest.fixture
def read(
    fake_server: Callable[..., FakeServer], client: Callable[..., Client]
) -> Callable[..., tuple[list[Any], list[dict[str, str]]]]:
    """Reads pages that are given; gives the rows and the queries that were sent."""

    def read(paginator: Paginator, *bodies: Any) -> tuple[list[Any], list[dict[str, str]]]:
        left = deque(bodies)
        server = fake_server(lambda _: Response(body=left.popleft()))
        session = client("experimentation", server.url).api_session
        endpoint = Endpoint("rows", "/rows", "data", paginator, description="Rows.")
        asking = EndpointClient(endpoint, session, limit=paginator.limit, meter=Meter())
        rows = [row for page in asking.pages("/rows?query=is%3Adone", {"detail": "full"}) for row in page.rows]
        assert not left
        return rows, [asked.query for asked in server.asked]

    return read


def test_the_cursor_is_taken_out_of_a_link_and_the_link_is_not_followed(read: Any) -> None:
    rows, queries = read(
        LINKED,
        {"data": [{"id": 1}], "next": "/api/v3/search?query=is%3Adone&next=a%2Fb~25"},
        {"data": [{"id": 2}], "next": "https://elsewhere.example/search?next=c"},
        {"data": [{"id": 3}], "next": None},
    )
    assert [row["id"] for row in rows] == [1, 2, 3]
    common = {"query": "is:done", "detail": "full", "page_size": "2"}
    assert queries == [common, {**common, "next": "a/b~25"}, {**common, "next": "c"}]


def test_a_link_without_the_cursor_is_an_error(read: Any) -> None:
    with pytest.raises(ReadError, match=r"^the link at 'next' to the next page has no parameter next$"):
        read(LINKED, {"data": [{"id": 1}], "next": "/search?page=2"})


def test_the_cursor_may_be_at_another_path_on_each_page(read: Any) -> None:
    either = cursor(cursor_param="next", cursor_path="response.next", fallback_cursor_path="next")
    rows, queries = read(
        either,
        {"data": [1], "next": "b"},
        {"data": [2], "response": {"next": "c"}},
        {"data": [3], "response": {"next": None}, "next": "d"},
    )
    assert (rows, [query.get("next") for query in queries]) == ([1, 2, 3], [None, "b", "c"])


def test_an_envelope_that_names_no_next_page_ends_the_read(read: Any) -> None:
    more, last = {"pagination": {"nextPage": "/rows?page=2"}}, {"pagination": {"nextPage": None}}
    rows, queries = read(NUMBERED, {"data": [1, 2], **more}, {"data": [3, 4], **last})
    assert (rows, [query["page"] for query in queries]) == ([1, 2, 3, 4], ["1", "2"])


def test_an_envelope_that_names_a_next_page_is_believed_more_than_its_total(read: Any) -> None:
    more, last = {"nextPage": 2, "totalItems": 1}, {"nextPage": None}
    rows, _ = read(NUMBERED, {"data": [1], "pagination": more}, {"data": [2], "pagination": last})
    assert rows == [1, 2]


def test_an_envelope_that_says_nothing_is_read_to_an_empty_page(read: Any) -> None:
    rows, queries = read(NUMBERED, {"data": [1]}, {"data": [2, 3]}, {"data": []})
    assert (rows, len(queries)) == ([1, 2, 3], 3)


def test_an_empty_page_before_others_is_an_error(read: Any) -> None:
    with pytest.raises(ReadError, match=r"^page 1 is empty, but 'pagination.nextPage' states that more pages follow$"):
        read(NUMBERED, {"data": [], "pagination": {"nextPage": "/rows?page=2"}})


def test_a_total_may_have_a_name_of_its_own(read: Any) -> None:
    rows, queries = read(COUNTED, {"data": [1, 2], "count": 3}, {"data": [3], "count": 3})
    assert (rows, [query["offset"] for query in queries]) == ([1, 2, 3], ["0", "2"])


def test_a_page_larger_than_asked_for_that_reaches_the_total_is_the_only_one(read: Any) -> None:
    rows, queries = read(COUNTED, {"data": [1, 2, 3, 4, 5], "count": 5})
    assert (rows, len(queries)) == ([1, 2, 3, 4, 5], 1)


def test_a_page_larger_than_asked_for_below_the_total_is_gone_on_from(read: Any) -> None:
    rows, queries = read(COUNTED, {"data": [1, 2, 3], "count": 4}, {"data": [4], "count": 4})
    assert (rows, [query["offset"] for query in queries]) == ([1, 2, 3, 4], ["0", "3"])
