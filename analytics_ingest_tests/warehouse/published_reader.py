"""Reads a published copy every 50 ms until its input ends: ``published_reader.py COPY OUTPUT``.

It writes a line for each attempt: the number of things and of parts, and which versions they have, or the error.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import duckdb

COUNTS = """
    SELECT (SELECT count(*) FROM trials.things), (SELECT count(*) FROM trials.parts),
        (SELECT list(DISTINCT version) FROM (FROM trials.things SELECT version UNION FROM trials.parts SELECT version))
"""

ENDED = threading.Event()


def wait_for_end() -> None:
    sys.stdin.read()
    ENDED.set()


if __name__ == "__main__":
    copy, output = map(Path, sys.argv[1:])
    threading.Thread(target=wait_for_end, daemon=True).start()
    with output.open("w", buffering=1) as lines:
        while not ENDED.is_set():
            try:
                with duckdb.connect(str(copy), read_only=True) as connection:
                    lines.write(json.dumps(connection.sql(COUNTS).fetchone()) + "\n")
            except Exception as error:  # noqa: BLE001 - whatever it is, the reader was refused
                lines.write(json.dumps(str(error)) + "\n")
            time.sleep(0.05)
