"""One API's part of the warehouse: keeps other syncs out, opens connections, loads packages, changes columns."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from dlt.pipeline.exceptions import PipelineStepFailed
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from analytics_ingest.config.lookup import environment_name
from analytics_ingest.warehouse.comments import Comments
from analytics_ingest.warehouse.destination import build_pipeline, configured_destination, pipelines_folder, remove
from analytics_ingest.warehouse.destination_errors import (
    describe,
    explained,
    explained_folder,
    is_destination_error,
    is_schema_change,
    is_transient,
    load_error,
    remedy,
    secrets_of,
)
from analytics_ingest.warehouse.destination_settings import unknown_destination_settings
from analytics_ingest.warehouse.destinations import column_changer, present_views, refuse_without_changes
from analytics_ingest.warehouse.destinations.base import PUBLISH
from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError
from analytics_ingest.warehouse.history_tables import HistoryTables
from analytics_ingest.warehouse.locks import TableLocks, WaitLog, file_lock, was_released
from analytics_ingest.warehouse.memory import release_arrow_memory
from analytics_ingest.warehouse.private_files import private_files
from analytics_ingest.warehouse.repair import Repair
from analytics_ingest.warehouse.sync_ledger import SyncLedger
from analytics_ingest.warehouse.table_queries import DatasetTables, EmptyDatasetTables
from analytics_ingest.warehouse.type_hints import cache_type_hints
from analytics_ingest.warehouse.verification_table import VerificationTable

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator
    from datetime import datetime

    import dlt
    from dlt.common.destination import TLoaderFileFormat
    from dlt.destinations.job_client_impl import SqlJobClientBase
    from tenacity import RetryCallState

    from analytics_ingest.warehouse.column_changes import ColumnChanges
    from analytics_ingest.warehouse.present_views import PresentViews
    from analytics_ingest.warehouse.published_copy import PublishedCopy

T = TypeVar("T")

FOREIGN_POLL_SECONDS = 0.5
"""Seconds between two attempts to open a database file that a foreign process holds."""
LOAD_WORKERS = 4
"""Jobs that write into the destination at once; more gain nothing with DuckDB."""
DATA_DIR = "DLT_DATA_DIR"
"""The setting of the folder that dlt works in."""


class Warehouse:
    """One API's pipeline, and its dataset in the destination.

    Attributes:
        api: The API's name.
        database: The database as SQL names it before the schema; empty if the destination has none.
        location: Where the rows go, without secrets: the path of the database file, or the server and its database.
    """

    def __init__(self, api: str, *, log: logging.Logger, lock_timeout: float) -> None:
        """Reads the destination's settings. Opens no connection.

        Args:
            api: The API's name, which is also that of the pipeline and the dataset.
            log: Where waits for locks are logged.
            lock_timeout: Seconds to wait for a lock.

        Raises:
            WarehouseError: The destination's settings cannot work, or it does not have one of those that are set.
        """
        self.api = api
        self._log = log
        self._timeout = lock_timeout
        self._destination = configured_destination()
        with explained(self._destination):
            if unknown := unknown_destination_settings(self._destination):
                raise WarehouseError("; ".join(unknown))
            configuration = self._destination.configuration()
            self._file = file = self._destination.database_file(configuration, api)
            self.database = self._destination.database_name(configuration)
            self.location = str(file.path) if file else self._destination.location(configuration)
            self._locks = file.path.with_name(f".{file.path.name}.locks") if file else pipelines_folder() / ".locks"
            if warning := self._destination.default_warning():
                log.warning(f"{api}: {warning}")
        self._pipeline: dlt.Pipeline | None = None
        self._client: Any = None
        self._restored = False
        self._repair: Repair | None = None
        self._table_locks = TableLocks()
        self._check_cluster_lock: Callable[[], object] = lambda: None
        self._copy: PublishedCopy | None = None

    @property
    def pipeline(self) -> dlt.Pipeline:
        """The API's pipeline, within ``sync``."""
        if self._pipeline is None:
            raise RuntimeError("the pipeline exists within sync() only: another process may be using its folder")
        return self._pipeline

    def check_settings(self) -> str:
        """Where the rows go, for a message, once every setting of the destination is there. Opens no connection.

        Raises:
            WarehouseError: A setting is missing or wrong.
        """
        self._destination.published_copy(self._file, self.api)
        with TemporaryDirectory(prefix="analytics_ingest-") as folder, explained(self._destination):
            build_pipeline(self.api, folder=Path(folder)).destination_client()
        return self._place

    def require_changes(self) -> None:
        """Raises if the destination cannot have a view of the changes of configuration. Opens no connection.

        Raises:
            WarehouseError: It cannot; the message names the destinations that can.
        """
        refuse_without_changes(self._destination)

    @contextmanager
    def sync(self) -> Iterator[None]:
        """Keeps out all other syncs of this API on this machine, and on all machines if the destination can do that.

        Files that are created meanwhile are private, see ``private_files``.

        Raises:
            LockTimeoutError: Another sync of the API did not end in time.
            WarehouseError: The destination's settings cannot work, or it cannot be reached.
        """
        self._copy = self._destination.published_copy(self._file, self.api)
        cache_type_hints()
        with private_files(self._file.path if self._file else None):
            if self._file:
                with explained_folder(self._destination.setting):
                    self._file.path.parent.mkdir(parents=True, exist_ok=True)
            with self._alone():
                yield

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps out all other syncs of this API; see ``sync``."""
        with self._file_lock(f"{self.api}.lock", f"the sync of {self.api}"):
            with explained_folder(DATA_DIR):
                # the warehouse has the state, so nothing is lost; a damaged folder would make dlt fail
                remove(pipelines_folder() / self.api)
                self._pipeline = build_pipeline(self.api)
                (pipelines_folder() / self.api).mkdir(parents=True, exist_ok=True)
            with explained(self._destination):
                # once for all connections: to resolve the configuration takes as long as to connect
                self._client = self._pipeline.destination_client()
            self._restored = False
            with self._destination.cluster_lock(
                lambda: self._connected(self.pipeline.destination_client()),
                self.api,
                timeout=self._timeout,
                log=self._log,
            ) as self._check_cluster_lock:
                yield

    @contextmanager
    def open(self) -> Iterator[DatasetTables]:
        """The tables, over one connection; if there is a database file, as its only writer.

        The first call within ``sync`` restores the pipeline's state from the warehouse.

        Raises:
            LockTimeoutError: Another sync writes for too long, or another session has locked a table.
            WarehouseError: A foreign process holds the database file, or the destination fails.
        """
        with self._writing(), self._connected(self._client) as client:
            self._check_cluster_lock()
            self._destination.limit(client)
            self._table_locks = self._destination.table_locks(client.sql_client, timeout=self._timeout, log=self._log)
            if not self._restored:
                self._retry_while_locked(self.pipeline.sync_destination)
                self._repair = Repair(self.pipeline, client, log=self._log)
                self._retry_while_locked(self._repair.inspect)
                self._restored = True
            yield DatasetTables(client, locks=self._table_locks, takes_nul=self._destination.takes_nul)
            self._destination.before_close(client, self._file.path if self._file else None)

    def restore(self) -> None:
        """Resets the pipeline to the state in the warehouse, within ``open``. Drops packages that are not loaded."""
        self._pipeline = pipeline = self.pipeline.drop()
        self._retry_while_locked(pipeline.sync_destination)
        if self._repair:
            self._repair.pipeline = pipeline

    def publish(self) -> None:
        """Replaces the published copy if the database file has changed since, within ``sync``.

        A failure is logged as a warning: the rows are loaded, and the next sync publishes them.
        """
        copy, file = self._copy, self._file
        if copy is None or file is None or not file.is_there():
            return
        try:
            # without the lock: a sync that changed nothing need not wait for others
            if copy.is_current():
                return
            with self._writing():
                if copy.is_current():
                    return
                started = time.monotonic()
                # closed after the connection: a process that closes a file loses all of its locks on that file
                with file.path.open("rb") as source, self._connected(self._client) as client:
                    self._destination.limit(client)
                    client.sql_client.execute_sql("CHECKPOINT")
                    size = copy.replace(source)
            self._log.info(
                f"{self.api}: published {copy.path}: {size / 1e6:.1f} MB in {time.monotonic() - started:.1f} s"
            )
        except (OSError, WarehouseError) as error:
            self._log.warning(
                f"{self.api}: {PUBLISH}: {copy.path} is not replaced: {describe(error, self._secrets)}. "
                "Its rows are those of an earlier sync; the next sync replaces it"
            )

    @contextmanager
    def read(self, *, during_sync: bool = False) -> Iterator[DatasetTables]:
        """The tables, over a connection that cannot write; outside of ``sync``. Creates no file beside the warehouse.

        If there is no warehouse yet, no table has columns. If the folder of the locks cannot be written, the tables are
        read without a lock.

        Args:
            during_sync: Whether the API may be synced meanwhile; then only a load into the same file is waited for.

        Raises:
            LockTimeoutError: A sync does not end in time.
            WarehouseError: The destination's settings cannot work, or it cannot be read.
        """
        with ExitStack() as stack:
            if not during_sync:
                self._keep_out(stack, f"{self.api}.lock", f"the sync of {self.api}")
            if self._file and not self._file.is_there():
                yield EmptyDatasetTables()
                return
            if self._file:
                self._keep_out(stack, "file.lock", f"{self._file.kind} {self._file.path.name}")
            with explained_folder("TMPDIR"):
                folder = stack.enter_context(TemporaryDirectory(prefix="analytics_ingest-"))
            with explained(self._destination):
                pipeline = build_pipeline(self.api, folder=Path(folder))
                self._client = pipeline.destination_client()
            self._destination.open_read_only(self._client)
            client = stack.enter_context(self._connected(self._client))
            self._destination.forbid_writes(client)
            self._destination.limit(client)
            yield DatasetTables(client, takes_nul=self._destination.takes_nul)

    def was_abandoned(self, *, since: datetime) -> bool:
        """Whether a sync of this API on this machine started after ``since`` and its process is gone.

        False also if that is not certain.

        Args:
            since: A time, with its zone.

        Raises:
            WarehouseError: The destination cannot be reached.
        """
        if not was_released(self._locks / f"{self.api}.lock", since=since):
            return False
        # the lock in a file is known on this machine only
        return not self._destination.is_cluster_locked(self._briefly_connected, self.api)

    def load(self) -> None:
        """Loads the package that is ready, within ``open``.

        Raises:
            LockTimeoutError: Another session has locked a table for too long.
            WarehouseError: The package cannot be loaded. dlt counts a package only when all of it is loaded, so the
                state, and every cursor in it, is still that of the package before.
        """
        release_arrow_memory()
        try:
            if self._repair:
                self._retry_while_locked(self._repair.before_load)
            self._retry_while_locked(lambda: self.pipeline.load(workers=LOAD_WORKERS).raise_on_failed_jobs())
        except PipelineStepFailed as error:
            if not is_destination_error(error):
                raise
            raise load_error(
                error, api=self.api, destination=self._place, setting=self._destination.setting, secrets=self._secrets
            ) from None

    def change_columns(self, changes: ColumnChanges) -> None:
        """Changes columns of a table in place, with dlt's schema and staging tables, within ``open``.

        Raises:
            LockTimeoutError: Another session has locked the table for too long.
            WarehouseError: An object that a user has created prevents the change, or the destination fails.
        """
        repair = self._repair
        if repair is None:
            raise RuntimeError("columns change within sync() only")
        try:
            self._retry_while_locked(lambda: column_changer(self._destination, self._client).apply(changes))
            self._retry_while_locked(lambda: repair.follow(changes))
        except WarehouseError:
            raise
        except Exception as error:
            if not is_destination_error(error):
                raise
            reason = describe(error, self._secrets)
            advice = remedy(error, api=self.api, setting=self._destination.setting)
            what = f"{self.api}/{changes.table}: its columns cannot be changed in {self._place}"
            raise WarehouseError(f"{what}: {reason}. {advice}".rstrip(), transient=is_transient(error)) from None

    @property
    def keeps_history(self) -> bool:
        """Whether the destination keeps histories and the ledger."""
        return self._destination.history is not None and self._destination.columns is not None

    def history(self, act: Callable[[HistoryTables], T]) -> T:
        """Calls ``act`` with the tables of versions, within ``open``; waits for locks of other sessions on them.

        Raises:
            LockTimeoutError: Another session has locked a table for too long.
            WarehouseError: An object that a user has created prevents a change.
        """
        sql = self._destination.history
        if sql is None:
            raise RuntimeError(f"{self._destination.name} keeps no history")
        tables = HistoryTables(self._client, column_changer(self._destination, self._client), sql)
        return self._retry_while_locked(lambda: act(tables))

    @property
    def takes_comments(self) -> bool:
        """Whether tables and columns of the destination get comments."""
        return self._destination.comments is not None

    def comments(self, act: Callable[[Comments], T]) -> T:
        """Calls ``act`` with the comments on the tables, within ``open``; waits for locks of other sessions on these.

        Raises:
            LockTimeoutError: Another session has locked a table for too long.
        """
        sql = self._destination.comments
        if sql is None:
            raise RuntimeError(f"{self._destination.name} gets no comments")
        return self._retry_while_locked(lambda: act(Comments(self._client, sql)))

    @property
    def has_present_views(self) -> bool:
        """Whether the destination has views of present rows: if it does not, no comment tells them from others."""
        return self._destination.comments is not None

    def present_views(self, act: Callable[[PresentViews], T]) -> T:
        """Calls ``act`` with the views of present rows, within ``open``; waits for locks of other sessions on these.

        Raises:
            LockTimeoutError: Another session has locked a view for too long.
            WarehouseError: Something else has created a view of this name.
        """
        return self._retry_while_locked(lambda: act(present_views(self._destination, self._client)))

    def ledger(self, act: Callable[[SyncLedger], T]) -> T:
        """Calls ``act`` with the ledger, within ``open`` or ``read``; waits for locks of other sessions on it.

        Raises:
            LockTimeoutError: Another session has locked the table for too long.
        """
        return self._retry_while_locked(lambda: act(SyncLedger(self._client.sql_client)))

    def verifications(self, act: Callable[[VerificationTable], T]) -> T:
        """Calls ``act`` with the comparisons of the tables, within ``open`` or ``read``; waits for locks on them.

        Raises:
            LockTimeoutError: Another session has locked the table for too long.
        """
        return self._retry_while_locked(lambda: act(VerificationTable(self._client.sql_client)))

    @property
    def file_format(self) -> TLoaderFileFormat:
        """The file format in which the destination loads every value unchanged."""
        return self._destination.loader_file_format

    def _retry_while_locked(self, act: Callable[[], T]) -> T:
        return self._table_locks.wait(act, is_ddl=is_schema_change)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if not self._file:
            yield
            return
        with self._file_lock("file.lock", f"{self._file.kind} {self._file.path.name}"):
            with explained_folder(self._destination.setting):
                self._file.remove_if_empty()
            yield

    @contextmanager
    def _file_lock(self, name: str, what: str) -> Iterator[None]:
        with ExitStack() as stack:
            # an error of the body is not about the lock
            with explained_folder(self._destination.setting if self._file else DATA_DIR):
                stack.enter_context(file_lock(self._locks / name, what=what, timeout=self._timeout, log=self._log))
            yield

    def _keep_out(self, stack: ExitStack, name: str, what: str) -> None:
        """Holds a lock. If its file does not exist, no sync has run; if it cannot be locked, a warning is logged."""
        path = self._locks / name
        try:
            if not path.exists():
                return
            stack.enter_context(file_lock(path, what=what, timeout=self._timeout, log=self._log))
        except LockTimeoutError:
            raise
        except OSError as error:
            self._log.warning(
                f"{self.api}: {path}: {error.strerror}: read without a lock: a sync may change tables meanwhile"
            )

    @contextmanager
    def _briefly_connected(self) -> Iterator[SqlJobClientBase]:
        """A connection outside of ``sync``."""
        with TemporaryDirectory(prefix="analytics_ingest-") as folder:
            with explained(self._destination):
                self._client = build_pipeline(self.api, folder=Path(folder)).destination_client()
            with self._connected(self._client) as client:
                yield client

    @contextmanager
    def _connected(self, client: Any) -> Iterator[SqlJobClientBase]:
        wait = WaitLog(self._place, timeout=self._timeout, log=self._log)

        def log_wait(attempt: RetryCallState) -> None:
            error = attempt.outcome.exception() if attempt.outcome else None
            if error and (holder := self._destination.file_holder(error)):
                wait.waiting(holder)

        retrying = Retrying(
            retry=retry_if_exception(lambda error: self._destination.file_holder(error) is not None),
            stop=stop_after_delay(self._timeout),
            wait=wait_fixed(FOREIGN_POLL_SECONDS),
            before_sleep=log_wait,
            reraise=True,
        )
        try:
            retrying(client.__enter__)
        except Exception as error:  # noqa: BLE001 - each driver has its own exceptions
            if holder := self._destination.file_holder(error):
                raise WarehouseError(
                    f"{self._file} has been held by {holder} for {self._timeout:g} s, which a process that only reads "
                    f"does too: close it there, or raise {environment_name(self.api, 'lock_timeout')}. "
                    f"Processes that read a published copy ({PUBLISH}) hold up no sync"
                ) from None
            if self._file and (problem := self._destination.unreadable_file(error, self._file)):
                raise WarehouseError(problem) from None
            raise self._error("cannot be opened", error) from None
        wait.end()
        try:
            yield client
        except Exception as error:
            if isinstance(error, WarehouseError) or not is_destination_error(error):
                raise
            raise self._error("failed", error) from None
        finally:
            client.__exit__(None, None, None)

    @property
    def _place(self) -> str:
        """Where the rows go, for a message."""
        return str(self._file or f"the destination {self._destination.name}")

    @property
    def _secrets(self) -> set[str]:
        return secrets_of(self._client.config.credentials)

    def _error(self, what: str, error: Exception) -> WarehouseError:
        reason = describe(error, self._secrets)
        advice = remedy(error, api=self.api, setting=self._destination.setting)
        end = f". {advice.rstrip('.')}" if advice else f" (the setting is {self._destination.setting})"
        return WarehouseError(f"{self.api}: {self._place} {what}: {reason}{end}")
