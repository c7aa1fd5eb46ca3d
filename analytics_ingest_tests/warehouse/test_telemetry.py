"""dlt's telemetry is off without a file that says so, and also where a setting turns it on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import ROOT, query

SYNC = """
import logging
from analytics_ingest.apis.registry import APIS
from analytics_ingest.config.api import choose_profile
from analytics_ingest.sync.api_sync import ApiSync

api = choose_profile(APIS["experimentation"])
assert [each.status for each in ApiSync(api, selected={"tags"}, log=logging.getLogger()).run()] == ["complete"]
"""
STARTED = """
import dlt
dlt.pipeline("theirs", destination="duckdb", pipelines_dir="pipelines").run([{"id": 1}], table_name="rows")
"""


class Telemetry(ThreadingHTTPServer):
    """Takes messages, and counts them."""

    def __init__(self) -> None:
        self.messages = 0
        telemetry = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                telemetry.messages += 1
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def run(program: str, folder: Path, telemetry: Telemetry, setting: str | None) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "RUNTIME__DLTHUB_TELEMETRY_ENDPOINT": telemetry.url,
    }
    environment.pop("RUNTIME__DLTHUB_TELEMETRY")
    if setting:
        environment["RUNTIME__DLTHUB_TELEMETRY"] = setting
    for name in ("CI", "GITHUB_ACTIONS"):
        environment.pop(name, None)
    ended = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.extended
@pytest.mark.parametrize("setting", [None, "true"])
def test_sync_sends_no_telemetry(tmp_path: Path, sandbox: SandboxServer, setting: str | None) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    with Telemetry() as telemetry:
        run(SYNC, folder, telemetry, setting)
        assert telemetry.messages == 0
        run(STARTED, folder, telemetry, setting)
        assert telemetry.messages, "the server would not have seen it"
        telemetry.shutdown()
    assert query(tmp_path, "SELECT count(*) > 0 FROM experimentation.tags") == [(True,)]
