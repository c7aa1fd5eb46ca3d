"""What loading the code location costs."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from rich.table import Table

from analytics_ingest_tests.bench.measure import Cost, median

if TYPE_CHECKING:
    from pathlib import Path

TIMES = 7
IMPORTS = "import dagster, dagster_dlt, dlt"
DEFINITIONS = "from analytics_ingest.definitions import defs; defs.get_repository_def()"


def process(code: str) -> Cost:
    """The median cost of a Python process that runs ``code``, its start included."""
    return median([_once(code) for _ in range(TIMES)])


def _once(code: str) -> Cost:
    def cpu() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    begun, spent = time.perf_counter(), cpu()
    subprocess.run([sys.executable, "-c", code], check=True)
    return Cost(time.perf_counter() - begun, cpu() - spent, rss=0.0, said={})


def load_of_definitions(_: Path) -> list[Table]:
    """How long the code location takes to load, against the imports that it cannot do without."""
    table = Table(title="Code location load", title_justify="left")
    for column in ("", "wall s", "CPU s", "CPU ratio"):
        table.add_column(column, justify="left" if not column else "right")
    bare, ours = process(IMPORTS), process(DEFINITIONS)
    table.add_row("imports of dagster, dagster_dlt and dlt", f"{bare.wall:.2f}", f"{bare.cpu:.2f}", "1.00")
    table.add_row("definitions of all APIs", f"{ours.wall:.2f}", f"{ours.cpu:.2f}", f"{ours.cpu / bare.cpu:.2f}")
    return [table]
