"""The base class of destinations: what holds for each dlt destination that has no class of its own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import dlt

from analytics_ingest.config.deployment import environment_variable, load_deployment_setting
from analytics_ingest.warehouse.exceptions import WarehouseError
from analytics_ingest.warehouse.locks import TableLocks

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from dlt.common.configuration.specs.base_configuration import BaseConfiguration
    from dlt.common.destination import AnyDestination, TLoaderFileFormat
    from dlt.destinations.job_client_impl import SqlJobClientBase
    from dlt.destinations.sql_client import SqlClientBase

    from analytics_ingest.warehouse.column_changes import ColumnChanger
    from analytics_ingest.warehouse.comments import CommentSql
    from analytics_ingest.warehouse.database_file import DatabaseFile
    from analytics_ingest.warehouse.history_tables import HistorySql
    from analytics_ingest.warehouse.published_copy import PublishedCopy

    Connect = Callable[[], AbstractContextManager[SqlJobClientBase]]


PUBLISH = environment_variable("publish")


class Destination:
    """A dlt destination, and what a sync does differently for it.

    This class is for destinations that have none of their own: a server, to which several processes may write at once,
    without a lock that several machines share. A subclass changes what is different, and is registered in
    ``DESTINATIONS``.

    Attributes:
        name: The name under which it is configured, such as ``duckdb``.
        loader_file_format: The file format in which the destination loads every value unchanged.
        takes_nul: Whether a text may hold the character NUL.
        locks_all_machines: Whether ``cluster_lock`` keeps the syncs of other machines out.
        columns: The class that changes columns of its tables; ``None``, if no sync can do that.
        history: What differs in the SQL of histories; ``None``, if it keeps neither histories nor the ledger.
        comments: How it lists comments on tables and columns; ``None``, if it gets none.
        drivers: Top-level packages of its database driver. By name, so that no driver is imported for it.
        transient_errors: Names of the driver's exceptions that report a failed destination.
        row_errors: Names of the driver's exceptions that concern values; by default those of PEP 249.
    """

    loader_file_format: ClassVar[TLoaderFileFormat] = "parquet"
    takes_nul: ClassVar[bool] = True
    locks_all_machines: ClassVar[bool] = False
    columns: ClassVar[type[ColumnChanger] | None] = None
    history: ClassVar[HistorySql | None] = None
    comments: ClassVar[CommentSql | None] = None
    drivers: ClassVar[frozenset[str]] = frozenset()
    transient_errors: ClassVar[frozenset[str]] = frozenset()
    row_errors: ClassVar[frozenset[str]] = frozenset({"DataError", "IntegrityError"})

    def __init__(self, name: str) -> None:
        """Takes the name under which it is configured."""
        self.name = name

    @property
    def setting(self) -> str:
        """The setting of its credentials."""
        return f"DESTINATION__{self.name.upper()}__CREDENTIALS"

    @property
    def spec(self) -> type[BaseConfiguration]:
        """Dlt's declaration of the destination's settings."""
        return self._dlt_destination().spec

    def build(self) -> AnyDestination:
        """The dlt destination, with its credentials left to dlt's configuration. Opens no connection."""
        return self._dlt_destination()

    def configuration(self) -> Any:
        """The configuration that dlt finds for the destination, with credentials; incomplete if a setting is missing.

        Raises:
            ConfigurationException: dlt cannot read a setting; ``explained`` turns it into one line.
        """
        return configuration_of(self.build())

    def database_file(self, configuration: Any, api: str) -> DatabaseFile | None:
        """The file to which one process at a time may write, if the data or its catalog is one.

        Args:
            configuration: What ``configuration`` gave.
            api: The name of the API, which is the dataset's.

        Raises:
            WarehouseError: The settings name something that cannot be such a file.
        """

    def location(self, configuration: Any) -> str:
        """Where the rows go, without secrets, for a destination without a database file.

        Args:
            configuration: What ``configuration`` gave.
        """
        parts = (getattr(configuration.credentials, name, None) for name in ("host", "project_id", "database"))
        return "/".join([f"{self.name}:", "", *(str(part) for part in parts if part)])

    def database_name(self, configuration: Any) -> str:
        """The database as SQL names it before the schema; empty if the destination has none.

        Args:
            configuration: What ``configuration`` gave.
        """
        names = (getattr(configuration.credentials, name, None) for name in ("project_id", "database"))
        return str(next(filter(None, names), ""))

    def attached_as(self, configuration: Any) -> str:  # noqa: ARG002
        """The name of the database for a reader whose connection can have several; empty if it has one.

        Args:
            configuration: What ``configuration`` gave.
        """
        return ""

    def reader_file(self, configuration: Any, api: str) -> Path | None:
        """The DuckDB file for readers: the published copy, if there is one; ``None`` without a DuckDB file.

        Args:
            configuration: What ``configuration`` gave.
            api: The name of the API, which is the dataset's.

        Raises:
            WarehouseError: The settings cannot work.
        """

    def default_warning(self) -> str:
        """A warning if the working directory decides where the database file is; else empty."""
        return ""

    def published_copy(self, file: DatabaseFile | None, api: str) -> PublishedCopy | None:  # noqa: ARG002
        """The copy of the database file for readers; ``None`` if no setting names one.

        Args:
            file: What ``database_file`` gave.
            api: The name of the API, which is the dataset's.

        Raises:
            WarehouseError: The setting cannot work.
        """
        if load_deployment_setting("publish"):
            raise WarehouseError(
                f"{PUBLISH} is set, which needs the destination duckdb: remove it, as readers do not stop the syncs "
                f"into the destination {self.name}"
            )
        return None

    def file_holder(self, error: BaseException) -> str | None:
        """The process outside of this package that holds the database file, if ``error`` says so.

        Args:
            error: Why a connection could not be opened.
        """

    def unreadable_file(self, error: BaseException, file: DatabaseFile) -> str | None:
        """Why the installed database cannot read a file of another version, and what to do, if ``error`` says so.

        Args:
            error: Why a connection could not be opened.
            file: The file.
        """

    def open_read_only(self, client: SqlJobClientBase) -> None:
        """Has a client that is not connected yet open the destination to read only, where a connection can be so."""

    def forbid_writes(self, client: SqlJobClientBase) -> None:
        """Has an open connection refuse to write, where a connection can be so."""

    def limit(self, client: SqlJobClientBase) -> None:
        """Limits the memory and threads of an open connection, where the destination runs in this process."""

    def before_close(self, client: SqlJobClientBase, file: Path | None) -> None:
        """Prepares an open connection for being closed.

        Args:
            client: The connection.
            file: The database file, if there is one.
        """

    @contextmanager
    def cluster_lock(
        self,
        connect: Connect,  # noqa: ARG002
        api: str,  # noqa: ARG002
        *,
        timeout: float,  # noqa: ARG002
        log: logging.Logger,  # noqa: ARG002
    ) -> Iterator[Callable[[], object]]:
        """Keeps syncs of an API on other machines out, where the destination has a lock for it.

        Args:
            connect: Opens a connection of its own.
            api: The name of the API.
            timeout: Seconds to wait for the lock.
            log: Where a wait is logged.

        Yields:
            A function that raises if the lock is lost.

        Raises:
            LockTimeoutError: It was not free in time.
        """
        yield lambda: None

    def is_cluster_locked(self, connect: Connect, api: str) -> bool:  # noqa: ARG002
        """Whether a sync of an API holds ``cluster_lock``, on any machine."""
        return False

    def table_locks(self, sql: SqlClientBase[Any], *, timeout: float, log: logging.Logger) -> TableLocks:  # noqa: ARG002
        """How statements wait for locks of other sessions on tables.

        Args:
            sql: An open connection.
            timeout: Seconds to wait in all for one lock.
            log: Where a wait is logged.
        """
        return TableLocks()

    @classmethod
    def is_transient(cls, error: BaseException) -> bool:
        """Whether an exception of its driver reports a failed destination (connection, lock, disk, memory)."""
        return not cls.transient_errors.isdisjoint(_names(error))

    @classmethod
    def is_about_rows(cls, error: BaseException) -> bool:
        """Whether an exception of its driver concerns values."""
        return not cls.row_errors.isdisjoint(_names(error))

    @classmethod
    def lacks_privilege(cls, error: BaseException) -> bool:  # noqa: ARG003
        """Whether an exception of its driver reports that the user lacks a privilege, by its code."""
        return False

    @classmethod
    def memory_remedy(cls, setting: str) -> str:  # noqa: ARG003
        """What to do when its driver reports that memory ran out, as a sentence.

        Args:
            setting: The setting of its credentials.
        """
        return "Give the destination, or this process, more memory."

    def _dlt_destination(self, **arguments: Any) -> AnyDestination:
        return dlt.destination(self.name, replace_strategy="insert-from-staging", **arguments)


def configuration_of(destination: AnyDestination) -> Any:
    """The configuration that dlt finds for a destination; incomplete if a setting is missing."""
    return destination.configuration(destination.spec(), accept_partial=True)


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
