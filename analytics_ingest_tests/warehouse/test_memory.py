"""What a load needed is free again after it, whichever thread needed it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from analytics_ingest.warehouse.published_copy import log_size
from analytics_ingest_tests.conftest import ROOT

LOADS = """
import threading
MB = 1_000_000


def resident():
    with open("/proc/self/statm") as found:
        return int(found.read().split()[1]) * 4096


def load():
    text = b"x" * (20 * MB)
    ready.wait()
    # small blocks behind the large one keep an arena from shrinking
    kept.append([bytes(1000) for _ in range(100)])
    del text


bytes(20 * MB)
before, kept, ready = resident(), [], threading.Barrier(8)
threads = [threading.Thread(target=load) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print((resident() - before) // MB)
"""


def left(**variables: str) -> int:
    """Megabytes that eight loads of 20 MB leave behind in a process of their own, with these variables."""
    environment = {**os.environ, **variables}
    done = subprocess.run([sys.executable, "-c", LOADS], check=True, capture_output=True, text=True, env=environment)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_large_blocks_are_given_back_with_the_variable_of_the_image() -> None:
    image = dict(re.findall(r"^    (MALLOC_\w+)=(\d+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert left() > 60
    assert left(**image) < 20


def test_log_of_a_file_counts_until_the_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    assert log_size(path) == 0
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE numbers AS SELECT range AS number FROM range(10_000)")
        assert log_size(path) > 0
    assert log_size(path) == 0
