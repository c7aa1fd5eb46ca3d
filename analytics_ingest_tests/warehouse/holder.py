"""Holds what a test wants until its input ends: ``holder.py lock PATH`` or ``holder.py duckdb PATH``."""

import logging
import sys
from pathlib import Path

import duckdb

from analytics_ingest.warehouse.locks import held

if __name__ == "__main__":
    kind, path = sys.argv[1:]
    if kind == "lock":
        holding = held(Path(path), what="it", timeout=1, log=logging.getLogger())
    else:
        holding = duckdb.connect(path)
    with holding:
        sys.stdout.write("holding\n")
        sys.stdout.flush()
        sys.stdin.read()
