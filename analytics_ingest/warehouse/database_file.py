"""Destinations whose data or catalog is a file, to which one process at a time may write."""

from __future__ import annotations

import fcntl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dlt
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
from dlt.destinations.impl.duckdb.exceptions import InvalidInMemoryDuckdbCredentials

from analytics_ingest.warehouse.destination import LAKE, build_destination
from analytics_ingest.warehouse.exceptions import WarehouseError

NO_FILE = "DESTINATION__DUCKDB__CREDENTIALS is {}: it must be the path of a file"
DUCKDB_MAGIC = slice(8, 12)
"""Where a DuckDB file has the letters ``DUCK`` (DuckDB's documentation of its storage format)."""
KINDS = {b"SQLite format 3\0": "an SQLite database", b"PAR1": "a Parquet file"}
"""How files begin that are taken for a DuckDB file."""
LAKE_SETTING = "DESTINATION__DUCKLAKE__CREDENTIALS__CATALOG"


@dataclass(frozen=True, kw_only=True)
class DatabaseFile:
    """A file that one process at a time may write to.

    Attributes:
        path: The file.
        kind: What it is, for a person.
    """

    path: Path
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"

    def is_there(self) -> bool:
        """Whether there is anything in it: an empty file counts as none."""
        return self.path.exists() and not self._is_empty()

    def logged(self) -> int:
        """Bytes of DuckDB's log of what was written and is not in the file yet; it goes there as the file closes."""
        log = self.path.with_name(f"{self.path.name}.wal")
        return log.stat().st_size if log.exists() else 0

    def remove_if_empty(self) -> None:
        """Removes an empty file, which DuckDB does not open; only for the one process that may write.

        Raises:
            OSError: It cannot be removed.
        """
        if not self._is_empty():
            return
        with self.path.open("r+b") as file:
            try:
                # DuckDB locks a file in this way from the moment that it makes it
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return
            if self._is_empty():
                self.path.resolve().unlink(missing_ok=True)

    def _is_empty(self) -> bool:
        return self.path.is_file() and self.path.stat().st_size == 0


def database_file(api: str) -> DatabaseFile | None:
    """The DuckDB file, or the file of a DuckLake's catalog; ``None`` for a destination of another kind.

    Args:
        api: The name of the API, which is the dataset's.

    Raises:
        WarehouseError: It cannot be one.
    """
    destination = build_destination()
    try:
        configuration: Any = destination.configuration(destination.spec(), accept_partial=True)
    except InvalidInMemoryDuckdbCredentials:
        raise WarehouseError(NO_FILE.format(":memory:")) from None
    credentials = configuration.credentials
    if isinstance(credentials, DuckDbCredentials):
        return _duckdb_file(credentials, api)
    catalog = credentials.catalog if destination.destination_name == LAKE else None
    if catalog is not None and catalog.drivername == "duckdb":
        # dlt opens it several times, which DuckDB refuses within a process
        raise WarehouseError(f"{LAKE_SETTING} is a DuckDB file: it must be SQLite or PostgreSQL")
    if catalog is None or catalog.drivername != "sqlite":
        return None
    file = Path(catalog.database).absolute()
    return DatabaseFile(path=file, kind="the DuckLake catalog")


def _duckdb_file(credentials: DuckDbCredentials, api: str) -> DatabaseFile:
    given = str(dlt.secrets.get("destination.duckdb.credentials") or "")
    if "://" in given and not given.startswith("duckdb://"):
        # dlt passes over the scheme, and would make a file of the URL's last part; it may hold a password
        raise WarehouseError(
            "DESTINATION__DUCKDB__CREDENTIALS is the URL of something else: it must be a path or duckdb:///path"
        )
    if credentials.database.startswith(":") or "://" in credentials.database or Path(credentials.database).is_dir():
        raise WarehouseError(NO_FILE.format(credentials.database))
    file = Path(credentials.database).absolute()
    # DuckDB names the catalog after what stands before the first dot, and ignores case
    if file.name.partition(".")[0].lower() == api:
        raise WarehouseError(
            f"the DuckDB file {file} has the name of the dataset {api}, which makes every table's name "
            "ambiguous to DuckDB: rename the file (DESTINATION__DUCKDB__CREDENTIALS)"
        )
    _check_format(file)
    return DatabaseFile(path=file, kind="the DuckDB file")


def _check_format(file: Path) -> None:
    """Refuses a file of another kind, for some of which DuckDB would fetch an extension from the internet."""
    head = b""
    # what is no file, or cannot be read, is reported as it is opened
    if file.is_file():
        with suppress(OSError), file.open("rb") as opened:
            head = opened.read(16)
    if head and head[DUCKDB_MAGIC] != b"DUCK":
        kind = next((kind for start, kind in KINDS.items() if head.startswith(start)), "no DuckDB database")
        raise WarehouseError(
            f"{file} is {kind}: DESTINATION__DUCKDB__CREDENTIALS must name a DuckDB file, or a new one"
        )
