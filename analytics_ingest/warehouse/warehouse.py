"""What a sync needs of the warehouse: one writer at a time, and what the tables hold."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlt.common.destination.exceptions import DestinationException
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
from dlt.destinations.impl.duckdb.exceptions import InvalidInMemoryDuckdbCredentials
from dlt.pipeline.exceptions import PipelineStepFailed
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from analytics_ingest.warehouse.destination import (
    build_destination,
    build_pipeline,
    destination_name,
    pipelines_folder,
)
from analytics_ingest.warehouse.errors import (
    WarehouseError,
    describe,
    explained,
    is_destination_error,
    load_error,
    secrets_of,
)
from analytics_ingest.warehouse.locks import held

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    import dlt
    from dlt.destinations.job_client_impl import SqlJobClientBase

FOREIGN_SECONDS = 30
"""Seconds for which a DuckDB file that a foreign process holds is tried again."""
LOAD_WORKERS = 4
"""Jobs that write into the destination at once; more gain nothing with DuckDB."""
DUCKDB_BOUNDS = {"memory_limit": "256MB", "threads": 1}
"""What DuckDB may use, unless its own settings say so: by default it takes most of the machine's memory, and more of it
with each thread. What it needs beyond the limit goes to a folder beside the file for the while."""
FETCH_ROWS = 10_000
STAMP_ROWS = 1_000
NO_FILE = "DESTINATION__DUCKDB__CREDENTIALS is {}: it must be the path of a file"
LOCKED = "Could not set lock on file"


class Tables:
    """The tables of one dataset, over an open connection."""

    def __init__(self, client: SqlJobClientBase) -> None:
        self._client = client
        self._sql = client.sql_client

    def columns(self, tables: Iterable[str]) -> dict[str, dict[str, str]]:
        """The columns of each table that is there, with their type in dlt's terms."""
        found = self._client.get_storage_tables(dict.fromkeys(tables))
        return {
            name: {column: str(spec.get("data_type")) for column, spec in columns.items()}
            for name, columns in found
            if columns
        }

    def read(self, table: str, columns: Sequence[str], *, where_null: str | None = None) -> Iterator[tuple[Any, ...]]:
        """Rows of a table, as tuples in the order of ``columns``; only those without a value in ``where_null``."""
        names = ", ".join(map(self._quoted, columns))
        query = f"SELECT {names} FROM {self._name(table)}{self._where(where_null)}"  # noqa: S608
        with self._sql.execute_query(query) as cursor:
            while rows := cursor.fetchmany(FETCH_ROWS):
                yield from rows

    def stamp(self, table: str, column: str, moment: datetime, *, key: str, values: Sequence[int]) -> int:
        """Sets a timestamp column in the rows whose ``key`` is one of ``values``, all or none; gives their number."""
        name, column, key = self._name(table), self._quoted(column), self._quoted(key)
        stamped = 0
        with self._sql.begin_transaction():
            for start in range(0, len(values), STAMP_ROWS):
                where = f"WHERE {key} IN ({', '.join(map(str, values[start : start + STAMP_ROWS]))})"
                found = self._number(f"SELECT count(*) FROM {name} {where}")  # noqa: S608
                if found:
                    self._sql.execute_sql(f"UPDATE {name} SET {column} = %s {where}", moment)  # noqa: S608
                stamped += found
        return stamped

    def count(self, table: str, *, where_null: str | None = None) -> int:
        """Rows in a table; only those without a value in ``where_null``."""
        return self._number(f"SELECT count(*) FROM {self._name(table)}{self._where(where_null)}")  # noqa: S608

    def doubled(self, table: str, key: Sequence[str]) -> tuple[int, int]:
        """Keys that more than one row has, and rows without a complete key."""
        name, columns = self._name(table), list(map(self._quoted, key))
        groups = f"SELECT 1 AS one FROM {name} GROUP BY {', '.join(columns)} HAVING count(*) > 1"  # noqa: S608
        lacking = " OR ".join(f"{column} IS NULL" for column in columns)
        return (
            self._number(f"SELECT count(*) FROM ({groups}) AS doubled"),  # noqa: S608
            self._number(f"SELECT count(*) FROM {name} WHERE {lacking}"),  # noqa: S608
        )

    def distinct(self, table: str, columns: Sequence[str], *, where_null: str) -> list[tuple[Any, ...]]:
        """The values of some columns, each combination once; only of rows without a value in ``where_null``."""
        names = ", ".join(map(self._quoted, columns))
        rows = self._sql.execute_sql(f"SELECT DISTINCT {names} FROM {self._name(table)}{self._where(where_null)}")  # noqa: S608
        return [tuple(row) for row in rows or ()]

    def newest(self, table: str, column: str) -> datetime | None:
        """The highest value of a column of timestamps."""
        rows = self._sql.execute_sql(f"SELECT max({self._quoted(column)}) FROM {self._name(table)}")  # noqa: S608
        value: datetime | None = rows[0][0] if rows else None
        return value

    def sample(self, table: str, columns: Sequence[str], rows: int) -> list[dict[str, Any]]:
        """Some rows of a table, by column."""
        names = ", ".join(map(self._quoted, columns))
        found = self._sql.execute_sql(f"SELECT {names} FROM {self._name(table)} LIMIT {rows:d}")  # noqa: S608
        return [dict(zip(columns, row, strict=True)) for row in found or ()]

    def _where(self, null: str | None) -> str:
        return f" WHERE {self._quoted(null)} IS NULL" if null else ""

    def _number(self, sql: str) -> int:
        rows = self._sql.execute_sql(sql)
        return int(rows[0][0]) if rows else 0

    def _quoted(self, column: str) -> str:
        return self._sql.escape_column_name(column)

    def _name(self, table: str) -> str:
        return self._sql.make_qualified_table_name(table)


class Warehouse:
    """One API's pipeline and its part of the warehouse."""

    def __init__(self, api: str, *, log: logging.Logger, lock_timeout: float) -> None:
        """Finds out where the locks are; opens no connection.

        Args:
            api: The API's name, which is the pipeline's and the dataset's too.
            log: Gets waits for locks.
            lock_timeout: Seconds to wait for a lock.

        Raises:
            WarehouseError: The destination's settings cannot work.
        """
        self.api = api
        self._log = log
        self._timeout = lock_timeout
        with explained(destination_name()):
            self._file = file = _duckdb_file(api)
            self._locks = file.with_name(f".{file.name}.locks") if file else pipelines_folder() / ".locks"
            self._locks.mkdir(parents=True, exist_ok=True)
        self._pipeline: dlt.Pipeline | None = None
        self._client: Any = None

    @property
    def pipeline(self) -> dlt.Pipeline:
        """The API's pipeline, within ``sync``."""
        if self._pipeline is None:
            raise RuntimeError("the pipeline is there within sync() only: another process may be using its folder")
        return self._pipeline

    @contextmanager
    def sync(self) -> Iterator[None]:
        """Keeps every other sync of this API out, and begins with what the warehouse holds of its state.

        Raises:
            LockTimeoutError: Another sync of the API did not end in time.
        """
        path = self._locks / f"{self.api}.lock"
        with held(path, what=f"the sync of {self.api}", timeout=self._timeout, log=self._log):
            # whatever a killed sync left in the working folder is worth nothing: the warehouse has the state
            self._pipeline = build_pipeline(self.api).drop()
            with explained(destination_name()):
                # made once: resolving its configuration takes as long as opening the connection
                self._client = self._pipeline.destination_client()
            with self.open():
                self._pipeline.sync_destination()
            yield

    @contextmanager
    def open(self) -> Iterator[Tables]:
        """The tables, over a connection that stays open; for DuckDB as the file's only writer.

        Raises:
            LockTimeoutError: Another sync writes for too long.
            WarehouseError: A foreign process holds the DuckDB file, or the destination fails.
        """
        with self._writing(), self._connected() as client:
            if self._file:
                self._bound(client)
            yield Tables(client)

    def load(self) -> None:
        """Loads the package that is ready, within ``open``.

        Raises:
            WarehouseError: The destination did not take it. dlt counts a package only once all of it is loaded,
                so the state, and with it every cursor, is still that of the package before.
        """
        try:
            self.pipeline.load(workers=LOAD_WORKERS).raise_on_failed_jobs()
        except PipelineStepFailed as error:
            if not is_destination_error(error):
                raise
            raise load_error(error, api=self.api, destination=self._destination, secrets=self._secrets) from None

    def _bound(self, client: SqlJobClientBase) -> None:
        """Keeps DuckDB within bounds, which hold for every connection to the file in this process."""
        credentials: Any = client.config.credentials
        configured = f"{credentials.global_config} {credentials.local_config} {credentials.pragmas}"
        for name, value in DUCKDB_BOUNDS.items():
            if name not in configured:
                client.sql_client.execute_sql(f"SET {name} = '{value}'")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if not self._file:
            yield
            return
        with held(
            self._locks / "file.lock", what=f"the DuckDB file {self._file.name}", timeout=self._timeout, log=self._log
        ):
            yield

    @contextmanager
    def _connected(self) -> Iterator[SqlJobClientBase]:
        client: SqlJobClientBase = self._client
        retrying = Retrying(
            retry=retry_if_exception(lambda error: LOCKED in str(error)),
            stop=stop_after_delay(FOREIGN_SECONDS),
            wait=wait_fixed(0.5),
            reraise=True,
        )
        try:
            retrying(client.__enter__)
        except Exception as error:  # noqa: BLE001 - whatever the driver raises
            if LOCKED in str(error):
                raise WarehouseError(self._held_by(str(error))) from None
            raise self._error("cannot be opened", error) from None
        try:
            yield client
        except (DestinationException, PipelineStepFailed) as error:
            if not is_destination_error(error):
                raise
            raise self._error("failed", error) from None
        finally:
            client.__exit__(None, None, None)  # type: ignore[arg-type]

    @property
    def _destination(self) -> str:
        return f"the DuckDB file {self._file}" if self._file else f"the destination {destination_name()}"

    @property
    def _secrets(self) -> set[str]:
        return secrets_of(self._client.config.credentials)

    def _error(self, what: str, error: Exception) -> WarehouseError:
        setting = f"DESTINATION__{destination_name().upper()}__CREDENTIALS"
        return WarehouseError(
            f"{self.api}: {self._destination} {what}: {describe(error, self._secrets)} (the setting is {setting})"
        )

    def _held_by(self, message: str) -> str:
        holder = re.search(r"held in (.+?) \(PID (\d+)\)", message)
        who = f"process {holder[2]} ({holder[1]})" if holder else "another process"
        return (
            f"the DuckDB file {self._file} has been held by {who} for {FOREIGN_SECONDS} s: "
            "close it there, or open it read-only between syncs"
        )


def _duckdb_file(api: str) -> Path | None:
    """The DuckDB file; ``None`` for any other destination."""
    destination = build_destination()
    try:
        configuration: Any = destination.configuration(destination.spec(), accept_partial=True)
    except InvalidInMemoryDuckdbCredentials:
        raise WarehouseError(NO_FILE.format(":memory:")) from None
    credentials = configuration.credentials
    if not isinstance(credentials, DuckDbCredentials):
        return None
    if credentials.database.startswith(":") or "://" in credentials.database or Path(credentials.database).is_dir():
        raise WarehouseError(NO_FILE.format(credentials.database))
    file = Path(credentials.database).absolute()
    # DuckDB names the catalog after what stands before the first dot, and ignores case
    if file.name.partition(".")[0].lower() == api:
        raise WarehouseError(
            f"the DuckDB file {file} has the name of the dataset {api}, which makes every table's name "
            "ambiguous to DuckDB: rename the file (DESTINATION__DUCKDB__CREDENTIALS)"
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
