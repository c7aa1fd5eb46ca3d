"""The webserver on Dagster's storage in PostgreSQL, as in a deployment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
import yaml

from analytics_ingest.apis.registry import APIS
from analytics_ingest_tests.conftest import ROOT
from analytics_ingest_tests.orchestrate.instance import POOL, RunningDagster
from analytics_ingest_tests.stores import postgres_database

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


@pytest.fixture
def postgres_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], psycopg2.extensions.connection]]:
    """The settings of a deployment's instance, in a database of the test's own; gives connections to it."""
    with postgres_database() as (url, connect):
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", url.replace("postgresql://", "postgresql+psycopg2://"))
        monkeypatch.setenv("DAGSTER_COMPUTE_LOGS", str(tmp_path / "compute_logs"))
        production = (ROOT / "dagster.production.yaml").read_text()
        (tmp_path / "dagster_home" / "dagster.yaml").write_text(production)
        yield connect


@pytest.mark.extended
def test_run_with_all_assets_and_checks_is_launched(
    postgres_storage: Callable[[], psycopg2.extensions.connection], start_dagster: Callable[..., RunningDagster]
) -> None:
    assert " ".join(POOL) in COMPOSE["services"]["webserver"]["command"]
    dagster = start_dagster()
    keys = [f"{api}/{endpoint}" for api, declared in APIS.items() for endpoint in declared.by_name]
    run_id = dagster.launch("__ASSET_JOB", assets=keys)

    cursor = postgres_storage().cursor()
    cursor.execute("SELECT run_id, count(*) FROM asset_check_executions GROUP BY 1")
    assert cursor.fetchall() == [(run_id, 2 * len(keys))]
    assert [(run["runId"], run["status"]) for run in dagster.runs()] == [(run_id, "QUEUED")]
