"""DuckDB: one file, to which one process at a time writes, and whose engine runs in this process."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import dlt
from dlt.common.destination.exceptions import DestinationTerminalException
from dlt.destinations.impl.duckdb.exceptions import InvalidInMemoryDuckdbCredentials

from analytics_ingest.config.deployment import load_deployment_setting
from analytics_ingest.config.project import describe_ambiguity, find_default, project_folder
from analytics_ingest.warehouse.column_changes import NEW, ColumnChanger, ColumnChanges, sql_text
from analytics_ingest.warehouse.comments import CommentSql
from analytics_ingest.warehouse.database_file import DatabaseFile
from analytics_ingest.warehouse.destinations.base import PUBLISH, Destination, configuration_of
from analytics_ingest.warehouse.exceptions import WarehouseError
from analytics_ingest.warehouse.history_tables import HistorySql
from analytics_ingest.warehouse.published_copy import PublishedCopy, log_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlt.common.destination import AnyDestination
    from dlt.destinations.job_client_impl import SqlJobClientBase

DEFAULT_FILE = Path("data") / "analytics_ingest.duckdb"
"""The file unless a setting names another, relative to the project (``find_default``)."""
LIMITS = {"memory_limit": "256MB", "threads": 1}
"""What DuckDB may use unless its own settings say otherwise. Its default is most of the machine's memory, and it takes
more with each thread. Beyond the limit it writes temporary files beside the database."""
LARGE_LOG = 1 << 20
"""Bytes of the write-ahead log above which memory is freed before DuckDB moves them to the file."""
LOCKED = "Could not set lock on file"
"""Part of DuckDB's error for a file that another process has open."""
OTHER_VERSION = re.compile(r"version number (\d+), but we can only read (?:storage )?versions? (?:between )?(\d+)")
"""DuckDB's error for a file whose version it cannot read: that of the file, and the lowest that it can read."""
WRITER = slice(52, 84)
"""Where a DuckDB file has the version of the DuckDB that has created it, such as ``v1.4.0``; older ones have none."""
MAGIC = slice(8, 12)
"""Where a DuckDB file has the letters ``DUCK`` (DuckDB's documentation of its storage format)."""
OTHER_FORMATS = {b"SQLite format 3\0": "an SQLite database", b"PAR1": "a Parquet file"}
"""First bytes of files that are easily taken for a DuckDB file."""

COMMENTS = """
SELECT table_name, column_name, comment, TRUE FROM duckdb_columns()
WHERE schema_name = %s AND database_name = current_database()
UNION ALL SELECT table_name, NULL, comment, TRUE FROM duckdb_tables()
WHERE schema_name = %s AND database_name = current_database()
"""
VIEW_COMMENT = """
SELECT comment FROM duckdb_views() WHERE schema_name = %s AND view_name = %s AND database_name = current_database()
"""
"""See ``CommentSql``."""


class DuckDBColumns(ColumnChanger):
    """Changes columns in place; a table with a key, a constraint, an index or variants of a column is copied."""

    time_text = "strftime(make_timestamp(epoch_us({0})), '%Y-%m-%dT%H:%M:%S.%f+00:00')"
    number_text = "CAST({0} AS VARCHAR)"
    parsed = "CAST({0} AS JSON)"
    quoted = "to_json({0})"

    def apply(self, changes: ColumnChanges) -> None:
        """See ``ColumnChanger.apply``."""
        kinds = "constraint_type IN ('PRIMARY KEY', 'UNIQUE', 'CHECK')"
        found = self._described("constraint_text", "duckdb_constraints()", changes.table, f"AND {kinds}")
        constraints = [str(row[0]) for row in found]
        found = self._described("sql", "duckdb_indexes()", changes.table, "AND sql IS NOT NULL")
        indexes = [str(row[0]) for row in found]
        # DuckDB refuses to commit a transaction that alters a table, updates it and alters it again
        if not constraints and not indexes and not changes.folded:
            super().apply(changes)
            return
        with self._sql.begin_transaction():
            self._copy(changes, constraints, indexes)
            self._follow(changes)

    def _described(self, names: str, catalog: str, table: str, rest: str) -> Sequence[Sequence[Any]]:
        """The rows about a table in one of DuckDB's catalogs."""
        return self._rows(
            f"SELECT {names} FROM {catalog} "  # noqa: S608
            f"WHERE schema_name = %s AND table_name = %s AND database_name = current_database() {rest}",
            self._sql.dataset_name,
            table,
        )

    def _copy(self, changes: ColumnChanges, constraints: Sequence[str], indexes: Sequence[str]) -> None:
        names = "column_name, data_type, is_nullable, comment"
        columns = self._described(names, "duckdb_columns()", changes.table, "ORDER BY column_index")
        dropped = {name for variants in changes.folded.values() for name in variants}
        table, copy = self._table(changes.table), self._table(changes.table + NEW)
        found = self._described("comment", "duckdb_tables()", changes.table, "AND comment IS NOT NULL")
        comments = [f"TABLE {table} IS {sql_text(row[0])}" for row in found]
        specs, values = [], []
        for name, kind, nullable, comment in columns:
            if name in dropped:
                continue
            now = changes.renamed.get(name, name)
            value = self._name(name)
            if now in changes.types:
                was, then = changes.types[now]
                kind = self._type(then)  # noqa: PLW2901 - as the column gets it
                value = self.converted(value, was, then)
                for variant, other in changes.folded.get(now, {}).items():
                    value = f"coalesce({value}, {self.converted(self._name(variant), other, then)})"
            specs.append(f"{self._name(now)} {kind}{'' if nullable else ' NOT NULL'}")
            values.append(value)
            if comment is not None:
                comments.append(f"COLUMN {table}.{self._name(now)} IS {sql_text(comment)}")
        self._sql.execute_sql(f"CREATE TABLE {copy} ({', '.join([*specs, *constraints])})")
        self._sql.execute_sql(f"INSERT INTO {copy} SELECT {', '.join(values)} FROM {table}")  # noqa: S608
        self._sql.execute_sql(f"DROP TABLE {table}")
        self._sql.execute_sql(f"ALTER TABLE {copy} RENAME TO {self._name(changes.table)}")
        # before the indexes, on which DuckDB would make the table depend
        for comment in comments:
            self._sql.execute_sql(f"COMMENT ON {comment}")
        for sql in indexes:
            self._sql.execute_sql(sql)


class DuckDB(Destination):
    """DuckDB in a file: ``data/analytics_ingest.duckdb``, unless a setting names another."""

    columns: ClassVar[type[ColumnChanger] | None] = DuckDBColumns
    history: ClassVar[HistorySql | None] = HistorySql()
    comments: ClassVar[CommentSql | None] = CommentSql(listing=COMMENTS, view=VIEW_COMMENT)
    drivers = frozenset({"duckdb", "_duckdb"})
    transient_errors = frozenset(
        {"IOException", "OutOfMemoryException", "ConnectionException", "TransactionException", "FatalException"}
    )
    row_errors = Destination.row_errors | {"InvalidInputException"}

    def build(self) -> AnyDestination:
        """See ``Destination.build``.

        Raises:
            WarehouseError: The file's path begins with a home folder that does not exist.
        """
        configured: Any = dlt.secrets.get(f"destination.{self.name}.credentials")
        arguments = {} if configured else {"credentials": str(find_default(DEFAULT_FILE))}
        destination = self._dlt_destination(**arguments)
        database: Any = dlt.secrets.get(f"destination.{self.name}.credentials.database")
        # only then, as dlt takes milliseconds to resolve a configuration
        return self._expand_home(destination) if "~" in f"{configured} {database}" else destination

    def configuration(self) -> Any:
        """See ``Destination.configuration``.

        Raises:
            WarehouseError: The settings name a database in memory.
        """
        try:
            return super().configuration()
        except InvalidInMemoryDuckdbCredentials:
            raise WarehouseError(self._no_file(":memory:")) from None

    def database_file(self, configuration: Any, api: str) -> DatabaseFile | None:
        """See ``Destination.database_file``."""
        credentials = configuration.credentials
        given = str(dlt.secrets.get(f"destination.{self.name}.credentials") or "")
        if "://" in given and not given.startswith("duckdb://"):
            # dlt ignores the scheme, and would make a file of the URL's last part; the URL may hold a password
            raise WarehouseError(f"{self.setting} is the URL of something else: it must be a path or duckdb:///path")
        if credentials.database.startswith(":") or "://" in credentials.database or Path(credentials.database).is_dir():
            raise WarehouseError(self._no_file(credentials.database))
        file = Path(credentials.database).absolute()
        _check_name(file, api, setting=self.setting)
        self._check_format(file)
        return DatabaseFile(path=file, kind="the DuckDB file")

    def default_warning(self) -> str:
        """See ``Destination.default_warning``."""
        credentials = f"destination.{self.name}.credentials"
        if dlt.secrets.get(credentials) or dlt.secrets.get(f"{credentials}.database"):
            return ""
        return describe_ambiguity(DEFAULT_FILE, settings=self.setting)

    def published_copy(self, file: DatabaseFile | None, api: str) -> PublishedCopy | None:
        """See ``Destination.published_copy``."""
        configured: str = load_deployment_setting("publish")
        if not configured or file is None:
            return None
        # a link stays, and what it leads to is replaced
        path = (project_folder() / Path(os.path.expanduser(configured))).resolve()  # noqa: PTH111 - no error
        if path.is_dir() or path == file.path.resolve():
            raise WarehouseError(f"{PUBLISH} is {configured}: it must be the path of a file other than the warehouse's")
        _check_name(path, api, setting=PUBLISH)
        return PublishedCopy(path=path, source=file.path)

    def file_holder(self, error: BaseException) -> str | None:
        """See ``Destination.file_holder``."""
        if LOCKED not in str(error):
            return None
        holder = re.search(r"held in (.+?) \(PID (\d+)\)", str(error))
        return f"process {holder[2]} ({holder[1]})" if holder else "another process"

    def unreadable_file(self, error: BaseException, file: DatabaseFile) -> str | None:
        """See ``Destination.unreadable_file``."""
        found = OTHER_VERSION.search(str(error))
        if not found:
            return None
        stored, lowest = int(found[1]), int(found[2])
        with file.path.open("rb") as opened:
            writer = opened.read(WRITER.stop)[WRITER].rstrip(b"\0").decode("ascii", "replace")
        installed = f"the installed DuckDB {version('duckdb')}"
        start = f"{file} has the storage version {stored}{f', of DuckDB {writer}' if writer else ''}"
        if stored < lowest:
            return (
                f"{start}, which is too old for {installed}: export it with the DuckDB that wrote it (EXPORT DATABASE) "
                f"and import it into a new file with {installed} (IMPORT DATABASE), or set {self.setting} to a new file"
            )
        return (
            f"{start}, which is too new for {installed}: upgrade the Python package duckdb to the version that wrote "
            f"it, or set {self.setting} to another file"
        )

    def database_name(self, configuration: Any) -> str:
        """See ``Destination.database_name``: DuckDB's catalog, the part of the file's name before the first dot."""
        return Path(configuration.credentials.database).name.partition(".")[0]

    def attached_as(self, configuration: Any) -> str:
        """See ``Destination.attached_as``."""
        return self.database_name(configuration)

    def reader_file(self, configuration: Any, api: str) -> Path | None:
        """See ``Destination.reader_file``."""
        file = self.database_file(configuration, api)
        copy = self.published_copy(file, api)
        return copy.path if copy else file.path if file else None

    def open_read_only(self, client: SqlJobClientBase) -> None:
        """See ``Destination.open_read_only``."""
        credentials: Any = client.config.credentials
        credentials.read_only = True

    def limit(self, client: SqlJobClientBase) -> None:
        """Limits DuckDB's memory and threads, for every connection to the file in this process."""
        credentials: Any = client.config.credentials
        configured = f"{credentials.global_config} {credentials.local_config} {credentials.pragmas}"
        for name, value in LIMITS.items():
            if name not in configured:
                client.sql_client.execute_sql(f"SET {name} = '{value}'")

    def before_close(self, client: SqlJobClientBase, file: Path | None) -> None:
        """Frees memory by setting the limits again: DuckDB needs it to move a large log to the file as it closes."""
        if file and log_size(file) > LARGE_LOG:
            self.limit(client)

    @classmethod
    def memory_remedy(cls, setting: str) -> str:
        """See ``Destination.memory_remedy``."""
        return (
            f'Raise DuckDB\'s memory_limit, by default 256MB: {setting}__GLOBAL_CONFIG=\'{{"memory_limit": "1GB"}}\'; '
            "it also needs room for temporary files on the disk."
        )

    def _no_file(self, given: str) -> str:
        return f"{self.setting} is {given}: it must be the path of a file"

    def _expand_home(self, destination: AnyDestination) -> AnyDestination:
        """Expands ``~`` in the file's path, which dlt takes for the name of a folder."""
        try:
            credentials = configuration_of(destination).credentials
        except DestinationTerminalException:
            # a database in memory: ``database_file`` reports it
            return destination
        if credentials is None or not str(credentials.database).startswith("~"):
            return destination
        try:
            credentials.database = str(Path(credentials.database).expanduser())
        except RuntimeError:
            raise WarehouseError(
                f"{self.setting} is {credentials.database}, and there is no such home folder"
            ) from None
        return self._dlt_destination(credentials=credentials)

    def _check_format(self, file: Path) -> None:
        """Refuses a file of another format, for some of which DuckDB would fetch an extension from the internet."""
        head = b""
        # what is no file, or cannot be read, is reported when DuckDB opens it
        if file.is_file():
            with suppress(OSError), file.open("rb") as opened:
                head = opened.read(16)
        if head and head[MAGIC] != b"DUCK":
            kind = next((kind for start, kind in OTHER_FORMATS.items() if head.startswith(start)), "no DuckDB database")
            raise WarehouseError(f"{file} is {kind}: {self.setting} must name a DuckDB file, or a new one")


def _check_name(file: Path, api: str, *, setting: str) -> None:
    """Refuses the name of the dataset: DuckDB names the catalog after the part before the first dot, in any case."""
    if file.name.partition(".")[0].lower() == api:
        raise WarehouseError(
            f"the DuckDB file {file} has the name of the dataset {api}, which makes every table's name "
            f"ambiguous to DuckDB: rename the file ({setting})"
        )
