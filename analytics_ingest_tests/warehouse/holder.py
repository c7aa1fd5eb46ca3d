"""Holds what a test wants until its input ends: ``holder.py KIND WHAT``.

A lock (``lock PATH``), a DuckDB file to write (``duckdb PATH``) or to read (``reader PATH``), or the sync of an API
without or with the file open (``sync API``, ``write API``).
"""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from pathlib import Path

LOG = logging.getLogger("holder")

if __name__ == "__main__":
    kind, what = sys.argv[1:]
    # imports are most of what the process takes
    with ExitStack() as holding:
        if kind == "lock":
            from analytics_ingest.warehouse.locks import file_lock

            holding.enter_context(file_lock(Path(what), what="it", timeout=1, log=LOG))
        elif kind in ("duckdb", "reader"):
            import duckdb

            holding.enter_context(duckdb.connect(what, read_only=kind == "reader"))
        else:
            from analytics_ingest.warehouse.warehouse import Warehouse

            warehouse = Warehouse(what, log=LOG, lock_timeout=1)
            holding.enter_context(warehouse.sync())
            if kind == "write":
                holding.enter_context(warehouse.open())
        sys.stdout.write("holding\n")
        sys.stdout.flush()
        sys.stdin.read()
