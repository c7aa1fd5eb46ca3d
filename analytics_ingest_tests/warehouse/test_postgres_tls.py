"""``sslmode`` reaches libpq in each of the forms that docs/deployment.md has."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from analytics_ingest.warehouse.destination import build_pipeline
from analytics_ingest_tests.environment import set_environment
from analytics_ingest_tests.stores import postgres_database

pytestmark = pytest.mark.extended

CREDENTIALS = "DESTINATION__POSTGRES__CREDENTIALS"


def settings(form: str, url: str, mode: str) -> dict[str, str]:
    """The variables of a connection, with ``sslmode`` in one of three forms."""
    if form == "url":
        return {CREDENTIALS: f"{url}?sslmode={mode}&sslrootcert=/nowhere/ca.pem"}
    place = urlsplit(url)
    parts = {
        "HOST": place.hostname,
        "PORT": place.port,
        "DATABASE": place.path[1:],
        "USERNAME": place.username,
        "PASSWORD": place.password,
    }
    variables = {f"{CREDENTIALS}__{name}": str(value) for name, value in parts.items()}
    if form == "query":
        return variables | {f"{CREDENTIALS}__QUERY": f'{{"sslmode": "{mode}", "sslrootcert": "/nowhere/ca.pem"}}'}
    return variables | {"PGSSLMODE": mode, "PGSSLROOTCERT": "/nowhere/ca.pem"}


@pytest.mark.parametrize("form", ["url", "query", "variables"])
def test_a_server_that_cannot_prove_who_it_is_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_DESTINATION", "postgres")
    with postgres_database() as (url, _):
        set_environment(monkeypatch, settings(form, url, "disable"))
        client: Any
        with build_pipeline("tls", folder=tmp_path).destination_client() as client:
            assert client.sql_client.execute_sql("SELECT 1") == [(1,)]
        set_environment(monkeypatch, settings(form, url, "verify-full"))
        # whether the server has a certificate or not
        with (
            pytest.raises(psycopg2.OperationalError, match=r"does not support SSL|root certificate file"),
            build_pipeline("tls", folder=tmp_path).destination_client(),
        ):
            pass
