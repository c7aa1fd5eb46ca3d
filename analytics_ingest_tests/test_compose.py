"""The deployment in compose.yaml: which container holds which password."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from analytics_ingest_tests.conftest import ROOT
from analytics_ingest_tests.stores import postgres_database

pytestmark = pytest.mark.extended

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
VARIABLE = re.compile(r"\$\{(\w+)")


def variables(service: str) -> set[str]:
    """The variables of .env that a service gets; ``*`` for all of them."""
    declared = COMPOSE["services"][service]
    found = set(VARIABLE.findall(str(declared.get("environment", {}))))
    return found | ({"*"} if "env_file" in declared else set())


def test_each_service_holds_the_passwords_that_it_needs() -> None:
    passwords = {
        name: {each for each in variables(name) if each == "*" or each.endswith("PASSWORD")}
        for name in COMPOSE["services"]
    }
    syncing = {"*", "DAGSTER_PASSWORD", "WAREHOUSE_PASSWORD", "RABBITMQ_PASSWORD"}

    assert passwords == {
        "postgres": {"POSTGRES_PASSWORD", "DAGSTER_PASSWORD", "WAREHOUSE_PASSWORD"},
        "code_location": syncing,
        "worker": syncing,
        "webserver": {"DAGSTER_PASSWORD"},
        "daemon": {"DAGSTER_PASSWORD"},
        "rabbitmq": {"RABBITMQ_PASSWORD"},
    }


def test_syncing_services_are_not_given_the_superuser() -> None:
    for name in ("code_location", "worker"):
        # the file has it, so that an empty value takes it away
        assert COMPOSE["services"][name]["environment"]["POSTGRES_PASSWORD"] == ""


def test_roles_get_a_database_each() -> None:
    script = COMPOSE["configs"]["roles"]["content"]
    psql = shutil.which("psql")
    if not psql:
        pytest.skip("no psql")
    with postgres_database() as (credentials, connect):
        name = credentials.rpartition("/")[2]
        suffixed = re.sub(r"\b(dagster|warehouse)\b(?!_)", rf"\1_{name[-6:]}", script)
        environment = os.environ | {"DAGSTER_PASSWORD": "it's one", "WAREHOUSE_PASSWORD": 'an"other'}
        found = connect().cursor()
        try:
            subprocess.run(
                [psql, "--set", "ON_ERROR_STOP=1", credentials], input=suffixed, text=True, check=True, env=environment
            )
            found.execute(
                "SELECT datname, pg_get_userbyid(datdba), has_database_privilege(%s, datname, 'CONNECT') "
                "FROM pg_database WHERE datname LIKE %s ORDER BY 1",
                [f"dagster_{name[-6:]}", f"%\\_{name[-6:]}"],
            )
            rows = [row for row in found.fetchall() if row[0] != name]
            assert [row[0] == row[1] for row in rows] == [True, True]
            assert [row[2] for row in rows] == [True, False]
        finally:
            for each in ("dagster", "warehouse"):
                found.execute(f"DROP DATABASE IF EXISTS {each}_{name[-6:]}")
                found.execute(f"DROP ROLE IF EXISTS {each}_{name[-6:]}")
