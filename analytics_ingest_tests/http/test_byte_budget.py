"""How the responses in memory share their bytes."""

from __future__ import annotations

import threading
import time

import pytest

from analytics_ingest.http import byte_budget
from analytics_ingest.http.byte_budget import BudgetClosedError, ByteBudget


def in_thread(function):
    """Calls a function in a thread; gives the list into which its result goes, and the thread."""
    result = []

    def call():
        try:
            result.append(function())
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return result, thread


def waits(thread):
    thread.join(0.05)
    return thread.is_alive()


def test_bytes_within_the_limit_are_taken_at_once():
    budget = ByteBudget(100)
    claims = [budget.claim() for _ in range(4)]
    assert [claim.try_add(25) for claim in claims] == [True] * 4
    assert not claims[3].try_add(1)
    assert budget.held == 100


def test_a_younger_claim_waits_until_an_older_one_is_released():
    budget = ByteBudget(100)
    old, young = budget.claim(), budget.claim()
    old.add(80)
    result, thread = in_thread(lambda: young.add(30))
    assert waits(thread)
    old.end_reading()
    assert waits(thread)
    old.release()
    thread.join(5)
    assert result == [None]
    assert budget.held == 30


def test_the_oldest_claim_may_take_more_than_there_is():
    budget = ByteBudget(100)
    old, young = budget.claim(), budget.claim()
    young.add(90)
    assert old.try_add(1000)
    assert budget.held == 1090
    old.release()
    old.release()
    assert budget.held == 90
    # now it is the oldest
    assert young.try_add(500)


def test_what_nobody_releases_holds_up_the_others_for_a_while_only(monkeypatch):
    monkeypatch.setattr(byte_budget, "STALL_SECONDS", 0.2)
    budget = ByteBudget(100)
    kept = budget.claim()
    kept.add(100)
    kept.end_reading()
    reading = budget.claim()
    started = time.monotonic()
    reading.add(50)
    assert 0.2 <= time.monotonic() - started < 5


def test_closing_ends_all_waits():
    budget = ByteBudget(10)
    old, young = budget.claim(), budget.claim()
    old.add(10)
    result, thread = in_thread(lambda: young.add(10))
    assert waits(thread)
    budget.close()
    thread.join(5)
    assert isinstance(result[0], BudgetClosedError)
    assert budget.held == 0
    with pytest.raises(BudgetClosedError):
        budget.claim()
    old.release()
    assert budget.held == 0


def test_many_threads_never_hold_more_than_the_limit_and_one_answer():
    budget, most = ByteBudget(1000), []

    def read():
        for _ in range(20):
            claim = budget.claim()
            for _ in range(5):
                claim.add(100)
                most.append(budget.held)
            claim.end_reading()
            time.sleep(0.0005)
            claim.release()

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert budget.held == 0
    assert max(most) <= 1000 + 500
