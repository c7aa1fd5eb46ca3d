"""Paging by windows of time: together they hold every moment once, and a window that is too large is halved."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from analytics_ingest.apis.model import Endpoint
from analytics_ingest.apis.paginators import SINGLE_PAGE, time_windows
from analytics_ingest.http import time_windows as module
from analytics_ingest.http.paginator import GuardedPaginator

NOW = datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC)
DECLARED = time_windows(
    window=("made_from", "made_to"), changed=("changed_from", "changed_to"), days=90, earliest="2025-09-01"
)


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    class Frozen(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return NOW.astimezone(tz)

    monkeypatch.setattr(module, "datetime", Frozen)


def first_request(**fields: Any) -> tuple[GuardedPaginator, requests.Request]:
    request = requests.Request("POST", "http://localhost/search", json=fields)
    paginator = GuardedPaginator(DECLARED, limit=None, max_pages=100)
    paginator.init_request(request)
    return paginator, request


def pages(paginator: GuardedPaginator, request: requests.Request, *, too_large: Collection[int] = ()) -> Iterator[Any]:
    """The body of each request; the responses to those in ``too_large``, by number, are too large."""
    number = 0
    while True:
        yield request.json
        number += 1
        if number in too_large:
            assert paginator.halve(request)
            continue
        response: Any = SimpleNamespace(body=[], page=[], rows=[], json=list)
        paginator.update_state(response)
        paginator.update_request(request)
        if not paginator.has_next_page:
            return


def test_a_whole_list_is_read_by_windows_the_newest_first() -> None:
    assert list(pages(*first_request(includes_text=True))) == [
        {"includes_text": True, "made_from": "2025-12-01T00:00:00Z"},
        {"includes_text": True, "made_from": "2025-09-02T00:00:00Z", "made_to": "2025-11-30T23:59:59.999Z"},
        {"includes_text": True, "made_to": "2025-09-01T23:59:59.999Z"},
    ]


def test_a_filtered_list_is_read_in_one_window() -> None:
    assert list(pages(*first_request(changed_from="2026-03-01T10:00:00Z"))) == [
        {"changed_from": "2026-03-01T10:00:00Z"}
    ]


def test_a_window_whose_response_is_too_large_is_halved_until_it_is_not() -> None:
    found = list(pages(*first_request(changed_from="2026-02-28T12:30:15Z"), too_large={1, 2}))

    assert found == [
        {"changed_from": "2026-02-28T12:30:15Z"},
        {"changed_from": "2026-03-01T00:30:15Z"},
        {"changed_from": "2026-03-01T06:30:15Z"},
        {"changed_from": "2026-03-01T00:30:15Z", "changed_to": "2026-03-01T06:30:14.999Z"},
        {"changed_from": "2026-02-28T12:30:15Z", "changed_to": "2026-03-01T00:30:14.999Z"},
    ]


def test_halves_of_each_window_hold_every_moment_once() -> None:
    found = list(pages(*first_request(), too_large={1, 2, 3, 9, 10, 13, 14, 15, 18, 19}))
    came = [each for number, each in enumerate(found, start=1) if number not in {1, 2, 3, 9, 10, 13, 14, 15, 18, 19}]
    ranges = [
        (
            datetime.fromisoformat(each["made_from"]) if "made_from" in each else None,
            datetime.fromisoformat(each["made_to"]) if "made_to" in each else None,
        )
        for each in came
    ]

    assert (ranges[0][1], ranges[-1][0]) == (None, None)
    for newer, older in pairwise(ranges):
        assert newer[0] is not None
        assert older[1] == newer[0] - timedelta(milliseconds=1)


def test_a_window_below_a_minute_is_not_halved() -> None:
    paginator, request = first_request(changed_from="2026-03-01T12:29:00Z")
    before = request.json

    assert paginator.halve(request)
    assert not paginator.halve(request)
    assert before == {"changed_from": "2026-03-01T12:29:00Z"}
    assert request.json == {"changed_from": "2026-03-01T12:29:37Z"}


def test_a_time_with_another_offset_is_sent_in_utc() -> None:
    _, request = first_request(changed_from="2026-03-01T12:00:00.500+02:00")

    assert request.json == {"changed_from": "2026-03-01T10:00:00.500Z"}


def test_other_paginators_halve_nothing() -> None:
    assert not GuardedPaginator(SINGLE_PAGE, limit=None, max_pages=1).halve(requests.Request("GET", "http://localhost"))


def test_windows_without_a_body_are_refused_as_they_are_declared() -> None:
    with pytest.raises(ValueError, match=r"^rows cannot page by time windows: they are fields of a JSON body$"):
        Endpoint("rows", "/rows", "data", DECLARED, description="Rows.")
