"""Locks between processes: waits are logged, a holder is named, a dead one holds nothing."""

from __future__ import annotations

import logging
import os
import re
import signal

import pytest

from analytics_ingest.warehouse.exceptions import LockTimeoutError
from analytics_ingest.warehouse.locks import file_lock

LOG = logging.getLogger("test")
WHAT = "the sync of gates"


class WhenWaiting(logging.Handler):
    """Does something as soon as a wait is logged."""

    def __init__(self, act):
        super().__init__()
        self._act = act

    def emit(self, record):
        if record.getMessage().startswith("waiting"):
            self._act()


@pytest.fixture
def when_waiting(caplog):
    caplog.set_level(logging.INFO, logger="test")
    handlers = []

    def register(act):
        handlers.append(WhenWaiting(act))
        LOG.addHandler(handlers[-1])

    yield register
    for handler in handlers:
        LOG.removeHandler(handler)


def test_a_free_lock_is_had_at_once_and_says_who_holds_it(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="test")
    path = tmp_path / "new" / "folder" / ".lock"
    with file_lock(path, what=WHAT, timeout=0.1, log=LOG):
        text = path.with_name(".lock.holder").read_text()
        with pytest.raises(LockTimeoutError), file_lock(path, what=WHAT, timeout=0.1, log=LOG):
            pytest.fail("held twice")
    assert re.fullmatch(rf"process {os.getpid()} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC", text)
    caplog.clear()
    with file_lock(path, what=WHAT, timeout=0.1, log=LOG):
        assert caplog.messages == []


def test_a_lock_is_free_again_after_an_error(tmp_path):
    path = tmp_path / ".lock"
    with pytest.raises(KeyError), file_lock(path, what=WHAT, timeout=0.1, log=LOG):
        raise KeyError
    with file_lock(path, what=WHAT, timeout=0.1, log=LOG):
        pass


def test_a_lock_that_is_held_is_waited_for_and_the_wait_is_logged(tmp_path, holder, caplog, when_waiting):
    path = tmp_path / ".lock"
    process = holder("lock", path)
    when_waiting(process.stdin.close)
    with file_lock(path, what=WHAT, timeout=30, log=LOG):
        waiting, got = caplog.messages
    assert re.fullmatch(
        rf"waiting up to 30 s for {WHAT}, held by process {process.pid} since [-\d]+ [:\d]+ UTC", waiting
    )
    assert got == f"got {WHAT}"


def test_a_lock_that_stays_held_is_an_error_that_names_the_holder_if_it_left_its_name(tmp_path, holder):
    path = tmp_path / ".lock"
    process = holder("lock", path)
    with pytest.raises(LockTimeoutError) as error, file_lock(path, what=WHAT, timeout=0.3, log=LOG):
        pytest.fail("held twice")
    assert re.fullmatch(
        rf"{WHAT} is still held by process {process.pid} since [-\d]+ [:\d]+ UTC after 0.3 s: "
        "wait for it or end it",
        str(error.value),
    )
    path.with_name(".lock.holder").unlink()
    with (
        pytest.raises(LockTimeoutError, match=f"^{WHAT} is still held by another process after"),
        file_lock(path, what=WHAT, timeout=0.1, log=LOG),
    ):
        pytest.fail("held twice")


def test_a_holder_that_was_killed_frees_the_lock(tmp_path, holder, caplog):
    caplog.set_level(logging.INFO, logger="test")
    path = tmp_path / ".lock"
    process = holder("lock", path)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    with file_lock(path, what=WHAT, timeout=0.1, log=LOG):
        assert caplog.messages == []
        assert path.with_name(".lock.holder").read_text().startswith(f"process {os.getpid()} ")


def test_a_holder_that_is_killed_during_the_wait_frees_the_lock(tmp_path, holder, caplog, when_waiting):
    path = tmp_path / ".lock"
    process = holder("lock", path)
    when_waiting(lambda: process.send_signal(signal.SIGKILL))
    with file_lock(path, what=WHAT, timeout=30, log=LOG):
        assert caplog.messages[-1] == f"got {WHAT}"
