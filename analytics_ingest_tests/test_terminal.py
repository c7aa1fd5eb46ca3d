"""``check`` and ``verify`` on terminals whose encoding lacks the symbols, boxes and an upstream's characters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from analytics_ingest.sandbox.options import Fault
from analytics_ingest_tests.conftest import sync

ROOT = Path(__file__).parents[1]
FOREIGN = "caf\u00e9 \u4e16\u754c \U0001f511"
TERMINALS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "C": {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


def run(*arguments, **environment):
    given = {name: value for name, value in os.environ.items() if name not in ("LC_ALL", "LANG", "PYTHONIOENCODING")}
    return subprocess.run(
        [sys.executable, "-m", "analytics_ingest", *arguments],
        cwd=ROOT,
        env={**given, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment},
        capture_output=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("command", "terminal"),
    [
        ("check", TERMINALS["ascii"]),
        pytest.param("check", TERMINALS["cp1252"], marks=pytest.mark.extended),
        pytest.param("check", TERMINALS["C"], marks=pytest.mark.extended),
        ("verify", TERMINALS["ascii"]),
    ],
)
def test_a_terminal_shows_what_it_can(sandbox, command, terminal):
    if command == "verify":
        sync("incident_response")
    sandbox.options.faults = [Fault(api="incident_response", path="dashboards", status=403, body=FOREIGN)]
    done = run(command, "incident_response", **terminal)
    shown = done.stdout.decode(terminal.get("PYTHONIOENCODING", "ascii"))

    assert done.returncode == 1, done.stderr
    assert b"Traceback" not in done.stdout + done.stderr
    assert b"UnicodeEncodeError" not in done.stdout + done.stderr
    assert "x dashboards" in " ".join(shown.split())
    assert "caf? ?? ?" in shown or "caf\u00e9 ?? ?" in shown
    if command == "check":
        assert "+ incidents" in " ".join(shown.split())


@pytest.mark.extended
def test_a_terminal_of_unicode_shows_all(sandbox):
    sandbox.options.faults = [Fault(api="incident_response", path="dashboards", status=403, body=FOREIGN)]
    shown = run("check", "incident_response", PYTHONIOENCODING="utf-8").stdout.decode()

    assert "\u2717 dashboards" in " ".join(shown.split())
    assert FOREIGN in shown


def test_help_and_errors_on_a_terminal_of_ascii():
    assert run("--help", PYTHONIOENCODING="ascii").returncode == 0
    done = run("check", "experimentation", PYTHONIOENCODING="ascii", SOURCES__EXPERIMENTATION__PROFILE="caf\u00e9")
    assert done.returncode == 1
    assert b"SOURCES__EXPERIMENTATION__PROFILE is 'caf" in done.stdout + done.stderr
    assert b"Traceback" not in done.stdout + done.stderr
