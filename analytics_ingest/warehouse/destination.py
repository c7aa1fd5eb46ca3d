"""Where the data goes: the dlt destination that the environment picks, DuckDB in a file by default."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dlt
from dlt.common.destination.exceptions import DestinationTerminalException
from dlt.common.pipeline import get_dlt_pipelines_dir

from analytics_ingest.config.deployment import load_deployment_setting
from analytics_ingest.warehouse.dlt_environ import read_sections_only
from analytics_ingest.warehouse.exceptions import WarehouseError

if TYPE_CHECKING:
    from dlt.common.destination import AnyDestination

DEFAULT_FILE = Path("data") / "analytics_ingest.duckdb"
"""The default DuckDB file, relative to the folder that Dagster is started in."""
DEFAULT_LAKE = Path("data") / "lake"
"""The default folder of a DuckLake: its Parquet files; its catalog is the SQLite file beside it."""
LAKE = "ducklake"
POSTGRES = "postgres"
STATEMENT_LOCK_SECONDS = 2
"""Seconds that one statement waits for a lock in PostgreSQL. Other readers queue behind a statement that waits."""
LAKE_SETTINGS = tuple(f"destination.{LAKE}.credentials{part}" for part in ("", ".catalog", ".storage"))
"""Where a setting may say which lake it is."""
DUCKDB_BOUNDS = {"memory_limit": "256MB", "threads": 1}
"""What DuckDB may use, unless its own settings say so: by default it takes most of the machine's memory, and more of it
with each thread. What it needs beyond the limit goes to a folder beside the file for the while."""
EXTENSIONS = ("ducklake", "sqlite_scanner", "postgres_scanner")
"""DuckDB's extensions for a lake: the lake itself, and its catalog in SQLite or PostgreSQL."""


def destination_name() -> str:
    """The name of the dlt destination in use, such as ``duckdb`` or ``postgres``."""
    name: str = load_deployment_setting("destination")
    return name


def build_destination() -> AnyDestination:
    """The destination, with its credentials left to dlt's configuration. Opens no connection."""
    read_sections_only()
    name = destination_name()
    arguments: dict[str, Any] = {"replace_strategy": "insert-from-staging"}
    if name == "duckdb":
        configured: Any = dlt.secrets.get("destination.duckdb.credentials")
        if not configured:
            arguments["credentials"] = str(DEFAULT_FILE.absolute())
        destination = dlt.destination(name, **arguments)
        # only then, as dlt takes long to resolve a configuration
        is_in_home = "~" in f"{configured} {dlt.secrets.get('destination.duckdb.credentials.database')}"
        return _in_home(destination) if is_in_home else destination
    if name == LAKE:
        _provide_extensions()
        arguments["credentials"] = {"global_config": _bounds(), **_default_lake()}
    destination = dlt.destination(name, **arguments)
    return _with_bounded_locks(destination) if name == POSTGRES else destination


def build_pipeline(api: str, *, folder: Path | None = None) -> dlt.Pipeline:
    """The API's pipeline. Its state is found by its name and its dataset's, which are the API's.

    Args:
        api: The API's name.
        folder: Where it works; by default where all pipelines do.
    """
    return dlt.pipeline(
        pipeline_name=api,
        dataset_name=api,
        destination=build_destination(),
        pipelines_dir=str(folder or pipelines_folder()),
    )


def read_only(client: Any) -> None:
    """Has a client that is not connected yet open DuckDB's file, or a lake, to read only."""
    if client.config.destination_type == "duckdb":
        client.config.credentials.read_only = True
    elif client.config.destination_type == LAKE:
        sql = client.sql_client
        # dlt has no setting for it
        sql._attach_statement = sql.attach_statement.rstrip(";) ") + ", READ_ONLY)"  # noqa: SLF001


def describing_pipeline(api: str, *, folder: Path) -> dlt.Pipeline:
    """A pipeline that only describes the API's assets: without a destination, whose driver takes long to import."""
    read_sections_only()
    return dlt.pipeline(pipeline_name=api, dataset_name=api, pipelines_dir=str(folder))


def pipelines_folder() -> Path:
    """Where pipelines work: in dlt's folder, apart for each destination, so that two projects do not share one."""
    configured: Any = dlt.secrets.get("destination")
    variables = sorted(item for item in os.environ.items() if item[0].upper().startswith("DESTINATION__"))
    text = f"{destination_name()} {DEFAULT_FILE.absolute()} {configured} {variables}"
    fingerprint = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
    return Path(get_dlt_pipelines_dir()) / f"analytics_ingest-{fingerprint}"


def _in_home(destination: AnyDestination) -> AnyDestination:
    """The destination, with ``~`` in the file's path expanded, which dlt takes for the name of a folder."""
    try:
        configuration: Any = destination.configuration(destination.spec(), accept_partial=True)
    except DestinationTerminalException:
        # a database in memory: reported with the file's other errors
        return destination
    credentials = configuration.credentials
    if credentials is None or not str(credentials.database).startswith("~"):
        return destination
    try:
        credentials.database = str(Path(credentials.database).expanduser())
    except RuntimeError:
        raise WarehouseError(
            f"DESTINATION__DUCKDB__CREDENTIALS is {credentials.database}, and there is no such home folder"
        ) from None
    return dlt.destination("duckdb", credentials=credentials, replace_strategy="insert-from-staging")


def _with_bounded_locks(destination: AnyDestination) -> AnyDestination:
    """The destination, with a bound on the wait for locks in every connection that dlt makes.

    A startup option holds after ``RESET ALL``, and also for a backend whose client was killed. What the connection
    string has for ``options`` goes after it, and wins.
    """
    configuration: Any = destination.configuration(destination.spec(), accept_partial=True)
    credentials = configuration.credentials
    if credentials is None or not credentials.is_resolved():
        # dlt reports what is missing when it connects
        return destination
    options = f"-clock_timeout={STATEMENT_LOCK_SECONDS}s {credentials.query.get('options', '')}"
    credentials.query = {**credentials.query, "options": options.strip()}
    return dlt.destination(POSTGRES, credentials=credentials, replace_strategy="insert-from-staging")


def remove(path: Path) -> None:
    """Removes a folder with all that is in it, or a file in its place, if it is there.

    Raises:
        OSError: It cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _bounds() -> dict[str, Any]:
    """What DuckDB may use in each connection to a lake; what a setting says of it goes first."""
    configured: Any = dlt.secrets.get(f"destination.{LAKE}.credentials.global_config", dict)
    return {**DUCKDB_BOUNDS, **(configured or {})}


def _default_lake() -> dict[str, Any]:
    """Where the lake is, unless a setting says so."""
    if any(dlt.secrets.get(each) for each in LAKE_SETTINGS):
        return {}
    folder = DEFAULT_LAKE.absolute()
    return {"catalog": f"sqlite:///{folder}.sqlite", "storage": {"bucket_url": folder.as_uri()}}


@cache
def _provide_extensions() -> None:
    """Installs DuckDB's extensions from their packages on PyPI, if these are there; else DuckDB fetches them itself."""
    with suppress(ImportError):
        from duckdb_extensions import import_extension  # noqa: PLC0415 - an extra

        for name in EXTENSIONS:
            import_extension(name)
