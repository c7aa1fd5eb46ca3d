"""``analytics-ingest settings``: what is in force, where it comes from, and what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analytics_ingest.apis.registry import APIS
from analytics_ingest.cli.app import app
from analytics_ingest.config import lookup
from analytics_ingest.config.lookup import declare_settings
from analytics_ingest_tests.conftest import ROOT
from analytics_ingest_tests.environment import configure_api, set_environment

API = "experimentation"
SECRET = "s3cr3t-k3y"


def run(*arguments: str, columns: int = 80) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["settings", *arguments], env={"COLUMNS": str(columns)})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert max(map(len, result.stdout.splitlines())) <= columns
    return result.exit_code, result.stdout


def table(output: str, title: str) -> dict[str, tuple[str, str]]:
    """The values and places of a part, by setting."""
    lines = output.partition(f"\n{title}\n")[2].splitlines()
    found = {}
    for line in lines[lines.index(next(each for each in lines if "──" in each)) + 1 :]:
        if not line.strip():
            break
        # the rest of a value that is folded is a line of its own
        if len(line.split()) > 2:
            name, *value, place = line.split()
            found[name] = (" ".join(value), place)
    return found


def test_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = run()

    assert code == 0
    titles = [line for line in output.splitlines() if line and line[0].islower()]
    assert titles == ["deployment", "destination duckdb", *APIS]
    assert output.count("nothing is set") == len(APIS)
    assert table(f"\n{output}", "deployment")["TIMEZONE"] == ("UTC", "default")


def test_every_place_is_named(fresh_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "DECLARED", {})
    (fresh_files / "secrets.toml").write_text(f"[sources.{API}]\napi_key = '{SECRET}'\nmax_columns = 2\n")
    (fresh_files / "config.toml").write_text(f"[sources.{API}]\nmax_columns = 1\ngates__limit = 5\n")
    declare_settings(API, {"max_pages": 3, "owners": ["team:data", "team:web"]})
    configure_api(monkeypatch, API, profile="statsig", max_wait="4.5", cron="0 * * * *", start_date="2026-01-31")
    monkeypatch.setenv("ANALYTICS_INGEST_TIMEZONE", "Europe/Berlin")
    code, output = run()
    found = table(output, "experimentation (statsig)")

    assert code == 0
    assert "SOURCES__EXPERIMENTATION__<SETTING>" in output
    assert {name: found[name] for name in ("API_KEY", "MAX_COLUMNS", "GATES__LIMIT", "MAX_PAGES", "OWNERS")} == {
        "API_KEY": ("***", ".dlt/secrets.toml"),
        "MAX_COLUMNS": ("2", ".dlt/secrets.toml"),
        "GATES__LIMIT": ("5", ".dlt/config.toml"),
        "MAX_PAGES": ("3", "code"),
        "OWNERS": ("team:data, team:web", "code"),
    }
    assert {name: found[name] for name in ("PROFILE", "MAX_WAIT", "CRON", "START_DATE")} == {
        "PROFILE": ("statsig", "environment"),
        "MAX_WAIT": ("4.5", "environment"),
        "CRON": ("0 * * * *", "environment"),
        "START_DATE": ("2026-01-31T00:00:00+00:00", "environment"),
    }
    assert found["BASE_URL"] == ("https://statsigapi.net/console/v1", "profile")
    assert found["LOOKBACK"] == ("3600", "default")
    assert found["WARN_AFTER"] == ("two missed syncs", "default")
    assert found["FULL_REFRESH_CRON"] == ("0 1 * * 0", "default")
    # that of another API
    assert "ORG_SLUGS" not in found
    assert table(f"\n{output}", "deployment")["TIMEZONE"] == ("Europe/Berlin", "environment")
    assert SECRET not in output


def test_named_accounts_are_printed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_api(monkeypatch, "statsig_eu", api=API, profile="statsig", api_key=SECRET)
    code, output = run("statsig_eu", "incident_response")

    assert code == 0
    titles = [line for line in output.splitlines() if line and line[0].islower()]
    assert titles == ["statsig_eu (statsig)", "incident_response"]
    assert table(f"\n{output}", "statsig_eu (statsig)")["API_KEY"] == ("***", "environment")
    assert "nothing is set" not in output
    assert "not set" in output
    assert CliRunner().invoke(app, ["settings", "statsig_us"]).exit_code == 2


def test_what_is_wrong_is_printed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_api(monkeypatch, API, profile="statsigg")
    configure_api(monkeypatch, "incident_response", cron="hourly", max_inflight=8, incidents__limit="many")
    configure_api(monkeypatch, "project_planning", max_pages=SECRET, base_url=f"https://u:{SECRET}@host/?k={SECRET}")
    configure_api(monkeypatch, "feature_management", users__shards=3)
    configure_api(monkeypatch, "other", api="experimentatoin")
    wrong = {
        "ANALYTICS_INGEST_AUTOMATON": SECRET,
        "ANALYTICS_INGEST_TIMEZONE": "Mars/Olympus",
        "SOURCES__FEATURE_MANAGMENT__API_KEY": SECRET,
        "DESTINATION__DUCKDB__CREDENTIAL": SECRET,
    }
    set_environment(monkeypatch, wrong)
    code, output = run(columns=300)
    problems = output.partition("\nproblems\n")[2]

    assert code == 1
    assert [line.split()[:2] for line in problems.splitlines()] == [
        ["–", "feature_management"],  # noqa: RUF001 - a dash
        *[["✗", "deployment"]] * 4,
        ["✗", "destination"],
        ["✗", "experimentation"],
        *[["✗", "incident_response"]] * 3,
        *[["✗", "project_planning"]],
    ]
    for part in (
        "ANALYTICS_INGEST_AUTOMATON is no setting: did you mean ANALYTICS_INGEST_AUTOMATION?",
        "ANALYTICS_INGEST_TIMEZONE is 'Mars/Olympus', which is no time zone",
        "did you mean SOURCES__FEATURE_MANAGEMENT__API_KEY?",
        "SOURCES__OTHER__API is 'experimentatoin'",
        "DESTINATION__DUCKDB__CREDENTIAL is no setting: did you mean DESTINATION__DUCKDB__CREDENTIALS?",
        "SOURCES__EXPERIMENTATION__PROFILE is 'statsigg': it must be statsig or none",
        "SOURCES__INCIDENT_RESPONSE__CRON is 'hourly', which is no cron expression",
        "SOURCES__INCIDENT_RESPONSE__INCIDENTS__LIMIT must be a valid integer",
        "SOURCES__INCIDENT_RESPONSE__MAX_INFLIGHT is no setting",
        "SOURCES__PROJECT_PLANNING__MAX_PAGES must be a valid integer",
        "SOURCES__FEATURE_MANAGEMENT__USERS__SHARDS has no effect any more and can be removed",
    ):
        assert part in problems
    assert output.count("not valid") == 5
    assert SECRET not in output


def test_a_destination_that_cannot_be_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", "postgress")
    code, output = run(columns=300)

    assert code == 1
    assert "✗ destination" in output
    assert "ANALYTICS_INGEST_DESTINATION is postgress, which is not a dlt destination: did you mean postgres?" in output


def test_accounts_of_a_module_are_printed_into_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(
        "from analytics_ingest import build_definitions\n"
        "defs = build_definitions(accounts=['statsig_eu'], settings={'statsig_eu': "
        "{'api': 'experimentation', 'profile': 'statsig', 'api_key': 's3cr3t', 'max_inflight': 3}})\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "analytics_ingest", "settings", "-m", "project", "statsig_eu"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert table(f"\n{done.stdout}", "statsig_eu (statsig)")["API_KEY"] == ("***", "code")
    assert "SOURCES__STATSIG_EU__MAX_INFLIGHT (in code) is no" in done.stdout
    assert "s3cr3t" not in done.stdout + done.stderr
