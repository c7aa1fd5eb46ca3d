"""What the image's entrypoint does before it starts a command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from analytics_ingest_tests.conftest import ROOT

SHOW = """
import os
print(os.environ.get("DAGSTER_POSTGRES_URL"), "DAGSTER_POSTGRES_URL_FILE" in os.environ, oct(os.umask(0)), os.getpid())
"""


def start(*command: str, **variables: str) -> tuple[int, str, str, int]:
    """The exit code, the output and errors of a command, and the process that it was started in."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables}
    with subprocess.Popen(
        [sys.executable, "-m", "analytics_ingest.entrypoint", *command],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        output, errors = process.communicate(timeout=60)
        return process.returncode, output.strip(), errors.strip(), process.pid


def test_the_command_gets_the_url_of_dagsters_storage_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql+psycopg2://dagster:s3cr3t@postgres:5432/dagster\n")
    code, output, errors, process = start(sys.executable, "-c", SHOW, DAGSTER_POSTGRES_URL_FILE=str(file))

    assert (code, errors) == (0, "")
    # the process is replaced, so that the command gets the container's signals
    assert output == f"postgresql+psycopg2://dagster:s3cr3t@postgres:5432/dagster False 0o77 {process}"


def test_the_url_may_be_in_the_environment_or_nowhere() -> None:
    code, output, _, process = start(sys.executable, "-c", SHOW, DAGSTER_POSTGRES_URL="postgresql://host")
    assert (code, output) == (0, f"postgresql://host False 0o77 {process}")
    code, output, _, process = start(sys.executable, "-c", SHOW)
    assert (code, output) == (0, f"None False 0o77 {process}")


def test_a_wrong_file_and_a_wrong_command_are_one_line(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    code, output, errors, _ = start(sys.executable, "-c", SHOW, DAGSTER_POSTGRES_URL_FILE=str(missing))
    assert (code, output) == (1, "")
    assert errors.startswith(f"DAGSTER_POSTGRES_URL_FILE: {missing} cannot be read: No such file or directory.")
    code, _, errors, _ = start("dagster-demon")
    assert (code, errors) == (1, "dagster-demon cannot be started: No such file or directory")
    code, _, errors, _ = start()
    assert code == 1
    assert errors.startswith("no command: ")
