"""What loading the code location costs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from analytics_ingest_tests.tools.bench.measure import median, table, timed

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from analytics_ingest_tests.tools.bench.measure import Cost

TIMES = 7
IMPORTS = "import dagster, dagster_dlt, dlt"
DEFINITIONS = "from analytics_ingest.definitions import defs; defs.get_repository_def()"


def process(code: str) -> Cost:
    """The median cost of a Python process that runs ``code``, its start included."""
    return median([timed(sys.executable, "-c", code) for _ in range(TIMES)])


def load_of_definitions(_: Path) -> list[Table]:
    """How long the code location takes to load, against the imports that it cannot do without."""
    made = table("Code location load", "", "wall s", "CPU s", "CPU ratio")
    bare, ours = process(IMPORTS), process(DEFINITIONS)
    made.add_row("imports of dagster, dagster_dlt and dlt", f"{bare.wall:.2f}", f"{bare.cpu:.2f}", "1.00")
    made.add_row("definitions of all APIs", f"{ours.wall:.2f}", f"{ours.cpu:.2f}", f"{ours.cpu / bare.cpu:.2f}")
    return [made]
