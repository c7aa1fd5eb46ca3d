"""``make soak``: the environment has ``HOURS``, ``SEED`` and ``DESTINATION``."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from analytics_ingest_tests.tools.soak.soak_report import print_report, run_soak
from analytics_ingest_tests.tools.soak.soak_run import SoakSettings


def main() -> int:
    """Runs a soak; gives 1 if anything does not hold, and keeps the working folder then."""
    # ends what was started, as an interrupt does
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("soak").setLevel(logging.INFO)
    folder = Path(os.environ.get("SOAK_FOLDER") or tempfile.mkdtemp(prefix="soak-"))
    hours = float(os.environ.get("HOURS", "1"))
    settings = SoakSettings(
        folder=folder,
        seconds=hours * 3600,
        seed=int(os.environ.get("SEED", "1")),
        destination=os.environ.get("DESTINATION", "postgres"),
        # a soak of less than half an hour cannot wait as long as the product does
        pace=min(1.0, max(0.1, hours * 2)),
    )
    console = Console(width=120)
    report = run_soak(settings)
    print_report(report, console)
    if report["violations"]:
        console.print(f"the working folder is kept: {folder}", highlight=False)
        return 1
    if not os.environ.get("SOAK_FOLDER"):
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
