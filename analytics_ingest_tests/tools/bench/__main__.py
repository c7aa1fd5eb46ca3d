"""``make bench``: figures that anyone can repeat, as ratios within one run, medians of several. No assertion.

Names of scenarios as arguments run these alone. ``BENCH_URL`` names a sandbox that runs already, on this machine.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from analytics_ingest_tests.tools.bench.load import load_of_definitions
from analytics_ingest_tests.tools.bench.scenarios import (
    all_apis,
    full_sync,
    incremental,
    limited,
    materialise,
    materialise_api,
    memory,
    postgres,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.table import Table

SCENARIOS: dict[str, Callable[[Path], Iterable[Table]]] = {
    "load": load_of_definitions,
    "full_sync": full_sync,
    "all_apis": all_apis,
    "incremental": incremental,
    "limited": limited,
    "memory": memory,
    "postgres": postgres,
    "materialise": materialise,
    "materialise_api": materialise_api,
}

if __name__ == "__main__":
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or SCENARIOS:
            for found in SCENARIOS[name](Path(folder)):
                console.print(found)
