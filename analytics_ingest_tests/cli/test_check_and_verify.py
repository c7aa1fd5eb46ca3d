"""``check`` and ``verify`` as a user meets them: what they print, and their exit codes."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import psycopg2
import pytest
from typer.testing import CliRunner

from analytics_ingest.apis.registry import APIS
from analytics_ingest.cli.app import app
from analytics_ingest.cli.lines import NEITHER
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.warehouse.warehouse import Warehouse
from analytics_ingest_tests.conftest import sync
from analytics_ingest_tests.environment import set_environment
from analytics_ingest_tests.stores import Store

ROOT = Path(__file__).parents[2]
ENDPOINTS = sum(len(api.endpoints) for api in APIS.values())


def run(*arguments: str, columns: int = 80) -> tuple[int, str]:
    """The exit code, and standard output without the spaces at the ends of its lines."""
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": str(columns)})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert max(map(len, lines), default=0) <= columns
    return result.exit_code, "\n".join(line for line in lines if line)


def test_check_of_an_api_that_is_fine(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", "/srv/warehouse.duckdb")
    code, output = run("check", "incident_response")

    assert code == 0
    assert (
        output
        == f"""\
deployment
  ✓ settings                  those of the deployment are valid
  ✓ destination               the DuckDB file /srv/warehouse.duckdb
incident_response
  ✓ settings                  {sandbox.base_url("incident_response")}
  ✓ connection                the API answers
  ✓ key                       accepted
  ✓ dashboards                answers with rows
  ✓ incidents                 answers with rows
2 fine, 0 not tried, 0 failed, 0 not configured"""
    )


def test_check_of_all_apis(sandbox: SandboxServer) -> None:
    code, output = run("check")

    assert code == 0
    assert [line for line in output.splitlines()[:-1] if not line.startswith(" ")] == ["deployment", *APIS]
    assert output.endswith(f"{ENDPOINTS} fine, 0 not tried, 0 failed, 0 not configured")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ANALYTICS_INGEST_AUTOMATON": "running"}, "ANALYTICS_INGEST_AUTOMATON is no setting: did you mean ANALYTICS"),
        ({"ANALYTICS_INGEST_TIMEZONE": "Mars"}, "ANALYTICS_INGEST_TIMEZONE is 'Mars', which is no time zone: write"),
        ({"ANALYTICS_INGEST_DESTINATION": "postgress"}, "is postgress, which is not a dlt destination: did you mean p"),
        ({"ANALYTICS_INGEST_DESTINATION": "postgres"}, "is postgres, and its settings lack database, host, password"),
        ({"DESTINATION__DUCKDB__CREDENTIAL": "x"}, "DESTINATION__DUCKDB__CREDENTIAL is no setting: did you mean DEST"),
        ({"DESTINATION__DUCKDB__CREDENTIALS": "incident_response.duckdb"}, "has the name of the dataset incident_re"),
        ({"SOURCES__INCIDENT_RESPONS__API_KEY": "x"}, "did you mean SOURCES__INCIDENT_RESPONSE__API_KEY?"),
        ({"SOURCES__STATSIG_EU__API": "statsig"}, "which is a profile: it must be exper"),
        ({"SOURCES__INCIDENT_RESPONSE__CRON": "hourly"}, "SOURCES__INCIDENT_RESPONSE__CRON is 'hourly', which is no"),
        ({"SOURCES__INCIDENT_RESPONSE__MAX_INFLIGHT": "8"}, "MAX_INFLIGHT is no setting: did you mean SOURCES__INCID"),
        ({"SOURCES__INCIDENT_RESPONSE__PROFILE": "rootlyy"}, "PROFILE is 'rootlyy': it must be rootly or none"),
    ],
)
def test_check_finds_every_wrong_setting(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], message: str
) -> None:
    set_environment(monkeypatch, settings)
    code, output = run("check", "incident_response", columns=300)

    assert code == 1
    assert message in output
    assert output.count("✗") == 1
    # what every sync refuses is not tried; what others need does not keep an API from being checked
    own = any(name.startswith(("SOURCES__INCIDENT", "ANALYTICS_INGEST_AUTOMATON")) for name in settings)
    assert sandbox.requests.count() == (0 if own else len(APIS["incident_response"].endpoints))


def test_check_of_all_apis_goes_on_after_a_wrong_profile_and_section(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__PROFILE", "statsigg")
    monkeypatch.setenv("SOURCES__STATSIG_EU__API", "statsig")
    code, output = run("check", columns=300)

    assert code == 1
    fine = ENDPOINTS - len(APIS["experimentation"].endpoints)
    assert output.endswith(f"{fine} fine, 0 not tried, 2 failed, 0 not configured")


@pytest.mark.parametrize(
    ("command", "summary"),
    [("check", "0 fine, 0 not tried, 0 failed"), ("verify", "0 the same, 0 different, 0 left out, 0 failed")],
)
def test_command_without_any_api_that_is_configured(tmp_path: Path, command: str, summary: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    code, output = run(command, columns=300)

    assert code == 1
    assert output.count(f"  {NEITHER} settings ") == len(APIS)
    assert output.splitlines()[-2:] == [
        f"{summary}, {len(APIS)} not configured",
        f"No request was sent to {', '.join(APIS)}: not configured.",
    ]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", ["check", "verify"])
def test_api_that_is_not_configured_fails_a_command_that_names_it(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    sync("incident_response")
    monkeypatch.delenv("SOURCES__EXPERIMENTATION__API_KEY")
    code, output = run(command, "incident_response", "experimentation", columns=200)

    assert code == 1
    assert output.splitlines()[-1] == "No request was sent to experimentation: not configured."
    assert "0 failed, 1 not configured" in output
    for name in APIS.keys() - {"incident_response"}:
        monkeypatch.delenv(f"SOURCES__{name.upper()}__API_KEY", raising=False)
    code, output = run(command)

    assert code == 0
    assert output.splitlines()[-1].endswith(f" 0 failed, {len(APIS) - 1} not configured")


def test_warning_about_a_setting_is_no_lack_of_settings(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__INCIDENT_RESPONSE__INCIDENTS__SHARDS", "2")
    code, output = run("check", "incident_response", columns=200)

    assert code == 0
    assert "INCIDENTS__SHARDS has no effect any more" in output
    assert output.endswith("2 fine, 0 not tried, 0 failed, 0 not configured")


@pytest.mark.parametrize("command", ["check", "verify"])
def test_command_that_leaves_everything_out(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("SOURCES__INCIDENT_RESPONSE__SKIP_ENDPOINTS", "incidents, dashboards")
    code, output = run(command, "incident_response")

    assert code == 1
    assert output.splitlines()[-1] == "No request was sent: every endpoint is left out."
    assert sandbox.requests.count() == 0


def test_verify_before_the_first_sync_creates_nothing(
    store: Store, tmp_path: Path, shared_sandbox: SandboxServer
) -> None:
    before = sorted(tmp_path.rglob("*"))
    code, output = run("verify", "incident_response")

    assert code == 1
    assert output.splitlines()[-2].startswith("0 the same, 2 different, ")
    assert sorted(tmp_path.rglob("*")) == before


def test_verify_before_the_first_sync_creates_no_schema(
    postgres: Callable[[], psycopg2.extensions.connection], shared_sandbox: SandboxServer
) -> None:
    assert run("verify", "incident_response")[0] == 1

    found = postgres().cursor()
    found.execute("SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg_%'")
    assert sorted(found.fetchall()) == [("information_schema",), ("public",)]


def test_check_of_an_endpoint_that_fails(sandbox: SandboxServer) -> None:
    sandbox.options.faults = [Fault(api="experimentation", path="gates$", status=403, body='["[b]no[/b]"]')]
    code, output = run("check", "incident_response", "experimentation", columns=200)

    assert code == 1
    assert (
        "✗ gates                     /v1/gates answered 403: 403, application/json, '[\"[b]no[/b]\"]'. The key"
        in output
    )
    assert f"{NEITHER} gates_rules               not tried: it needs rows of gates, which could not be read" in output
    fine = len(APIS["incident_response"].endpoints) + len(APIS["experimentation"].endpoints) - 2
    assert output.endswith(f"{fine} fine, 1 not tried, 1 failed, 0 not configured")


@pytest.mark.parametrize("command", ["check", "verify"])
def test_wrong_key_is_not_shown(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("SOURCES__INCIDENT_RESPONSE__API_KEY", "wr0ng/k3y")
    result = CliRunner().invoke(app, [command, "incident_response"], env={"COLUMNS": "300"})

    assert result.exit_code == 1
    assert "incident_response refused the key (401 Unauthorized)" in result.output
    assert "wr0ng" not in result.output
    assert sandbox.requests.count() == 1


@pytest.mark.parametrize("command", ["check", "verify"])
def test_names_that_are_unknown(command: str) -> None:
    result = CliRunner().invoke(app, [command, "experiments"], env={"COLUMNS": "300"})

    assert result.exit_code == 2
    assert "there is no API or account experiments; there are experimentation, incident_response" in result.output


def test_verify_of_an_endpoint_that_no_api_has() -> None:
    result = CliRunner().invoke(app, ["verify", "incident_response", "--endpoint", "gates"], env={"COLUMNS": "300"})

    assert result.exit_code == 2
    assert "there is no endpoint gates in incident_response" in result.output


def test_verify_after_a_sync_and_after_a_row_was_lost(tmp_path: Path, sandbox: SandboxServer) -> None:
    sync("incident_response")
    code, output = run("verify", "incident_response")

    assert code == 0
    # the spaces differ by a version of rich
    assert [line.split() for line in output.replace("─", "").splitlines() if line.strip()] == [
        ["incident_response"],
        ["endpoint", "upstream", "table", "missing", "extra", "changed"],
        ["✓", "dashboards", "5", "5", "0", "0", "0"],
        ["✓", "incidents", "120", "120", "0", "0", "0"],
        ["2", "the", "same,", "0", "different,", "0", "left", "out,", "0", "failed,", "0", "not", "configured"],
    ]

    lost = [row["id"] for row in sandbox.world.collection("incident_response", "incidents")][:5]
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute(f"DELETE FROM incident_response.incidents WHERE id IN {tuple(lost)}")
        dashboards = "incident_response.dashboards"
        connection.execute(f"UPDATE {dashboards} SET _row_hash = 1 WHERE id = (SELECT min(id) FROM {dashboards})")
    code, output = run("verify", "incident_response", columns=300)

    assert code == 1
    assert "✗   incidents         120     115         5       0         0" in output
    assert "✗   dashboards          5       5         0       0         1" in output
    changed = min(row["id"] for row in sandbox.world.collection("incident_response", "dashboards"))
    assert f"✗ dashboards                changed: id={changed}" in output
    shown = "; ".join(f"id={key}" for key in sorted(lost)[:3])
    assert f"✗ incidents                 missing: {shown}; and 2 more" in output
    assert "0 the same, 2 different, 0 left out, 0 failed, 0 not configured" in output
    assert output.endswith("Run a sync and verify again. If a difference remains, please report a bug.")


def test_verify_of_some_endpoints(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__SKIP_ENDPOINTS", "users")
    monkeypatch.delenv("SOURCES__PROJECT_PLANNING__API_KEY")
    sandbox.world.collection("experimentation", "tags")[3]["id"] = None
    sandbox.options.faults = [Fault(api="experimentation", path="gates", status=403)]
    names = ("users", "gates", "holdouts", "groups", "tags", "epics")
    code, output = run("verify", *(word for name in names for word in ("--endpoint", name)), columns=200)

    assert code == 1
    assert "incident_response" not in output
    assert "✓   holdouts          0       0         0       0         0" in output
    assert "✗   groups" in output
    assert "✗   gates\n" in output
    assert "✗ gates                     /v1/gates answered 403" in output
    assert f"{NEITHER} users                     left out by SKIP_ENDPOINTS" in output
    assert f"{NEITHER} tags                      rows without a complete key, which go to _rejected_rows: 1" in output
    assert f"{NEITHER} settings                  project_planning is not configured: set SOURCES__PROJECT_" in output
    assert "1 the same, 3 different, 1 left out, 1 failed, 1 not configured" in output


def test_verify_while_a_sync_does_not_end(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__INCIDENT_RESPONSE__LOCK_TIMEOUT", "0.1")
    other = Warehouse("incident_response", log=logging.getLogger("test"), lock_timeout=1)
    with other.sync():
        code, output = run("verify", "incident_response", columns=300)

    assert code == 1
    assert "✗ stopped                   the sync of incident_response is still held by process" in output
    # it waits before it reads, not after
    assert sandbox.requests.count() == 0


def test_command_line_does_not_wait_for_dlt_or_dagster() -> None:
    code = "import sys, analytics_ingest.cli.app; print(sorted({'dlt', 'dagster', 'duckdb'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout == "[]\n"
