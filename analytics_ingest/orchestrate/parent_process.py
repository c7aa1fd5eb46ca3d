"""Ends the process of a run or of a step together with the process that started it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from functools import cache


@cache
def end_with_parent() -> None:
    """Has this process end as soon as its parent is gone: a run's with its code location, a step's with its run.

    Dagster counts a run whose process is gone as failed, and a retry waits for the API's lock. A step that outlives
    the run holds that lock, and never ends if it waits for the run to take its events. A process that is no child of
    Python's ``multiprocessing``, such as that of a command or of a Celery worker, stays as it is.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        # a killed sync needs no clean-up
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()
