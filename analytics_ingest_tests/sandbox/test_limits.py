"""The sandbox's limit on requests, and the headers in which a refusal says how long to wait."""

import time
from email.utils import parsedate_to_datetime

import pytest

from analytics_ingest_tests.sandbox.reader import Reader

GATES = ("experimentation", "/v1/gates")


@pytest.fixture
def ask(sandbox):
    """Ask so often within one window of a minute that three requests are let through."""
    reader = Reader(sandbox)

    def ask(rate_headers, number=5):
        sandbox.options.update({"rate_limit": 3, "rate_window": 60.0, "rate_headers": rate_headers})
        return [reader.get(*GATES) for _ in range(number)]

    return ask


def test_requests_beyond_the_limit_are_refused(sandbox, ask):
    answers = ask("retry-after")
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert sandbox.requests.count("experimentation", "gates", 429) == 2


def test_each_api_has_a_limit_of_its_own(sandbox, ask):
    ask("retry-after")
    assert Reader(sandbox).get("project_planning", "/v1/epics").status_code == 200


def test_a_wrong_key_does_not_count(sandbox, ask):
    sandbox.options.rate_limit = 1
    for _ in range(3):
        assert Reader(sandbox).get(*GATES, key="wrong").status_code == 401
    assert ask("none")[0].status_code == 200


def test_the_next_window_is_open_again(sandbox):
    reader = Reader(sandbox)
    sandbox.options.update({"rate_limit": 1, "rate_window": 0.05})
    assert reader.get(*GATES).status_code == 200
    time.sleep(0.06)
    assert reader.get(*GATES).status_code == 200


def test_seconds_to_wait(ask):
    assert 1 <= int(ask("retry-after")[-1].headers["retry-after"]) <= 60


def test_a_wait_is_at_least_one_second(sandbox, ask):
    ask("retry-after", 3)
    sandbox.options.rate_window = 2.0
    assert int(Reader(sandbox).get(*GATES).headers["retry-after"]) in {1, 2}


def test_a_date_to_wait_for(ask):
    date = parsedate_to_datetime(ask("retry-after-date")[-1].headers["retry-after"])
    assert 0 < date.timestamp() - time.time() <= 61


def test_an_epoch_to_wait_for(ask):
    headers = ask("x-ratelimit-reset")[-1].headers
    assert "retry-after" not in headers
    assert headers["x-ratelimit-remaining"] == "0"
    assert 0 < int(headers["x-ratelimit-reset"]) - time.time() <= 61


def test_seconds_under_the_name_of_an_epoch(ask):
    headers = ask("x-ratelimit-reset-delta")[-1].headers
    assert "retry-after" not in headers
    assert 1 <= int(headers["x-ratelimit-reset"]) <= 60


def test_no_header_at_all(ask):
    answer = ask("none")[-1]
    assert answer.status_code == 429
    assert not {"retry-after", "x-ratelimit-reset"} & {name.lower() for name in answer.headers}
