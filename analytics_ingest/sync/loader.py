"""Loads packages; one that cannot be loaded is loaded endpoint by endpoint, then row by row."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from analytics_ingest.errors import AuthenticationError, IngestError, ReadError, excerpt, root_cause
from analytics_ingest.extract.dlt_source import REJECTED, build_source, rejected_resource
from analytics_ingest.warehouse.destination import pipelines_folder
from analytics_ingest.warehouse.destination_errors import describe, is_about_rows, is_out_of_memory, is_transient
from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError, chain_of
from analytics_ingest.warehouse.warehouse import DATA_DIR

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Sequence
    from typing import Any

    from dlt.sources import DltResource

    from analytics_ingest.apis.model import Api
    from analytics_ingest.extract.endpoint_reader import EndpointReader
    from analytics_ingest.sync.column_fitter import ColumnFitter
    from analytics_ingest.sync.load_package import LoadPackage
    from analytics_ingest.warehouse.cached_tables import CachedTables
    from analytics_ingest.warehouse.warehouse import Warehouse

MAX_FAILED_LOADS = 40
"""Loads of parts of an endpoint's rows that may fail before the endpoint does: enough to find three rows of 15,000."""
MAX_FIRST = 4
"""Rows that may be rejected before the first one is loaded: above this, the cause is not the rows."""


class Loader:
    """Extracts, normalises and loads packages of one API.

    If a package cannot be loaded, each of its endpoints is loaded alone. If an endpoint cannot be, its rows are halved
    until the rows that the destination refuses are found. They are rejected, so that one row fails neither its table
    nor the others.
    """

    def __init__(
        self, api: Api, warehouse: Warehouse, tables: CachedTables, fitter: ColumnFitter, *, log: logging.Logger
    ) -> None:
        """Opens no connection.

        Args:
            api: The API.
            warehouse: Its part of the warehouse, within ``sync``.
            tables: Its tables.
            fitter: Makes the tables' columns fit what is loaded.
            log: Gets a line for each package that cannot be loaded.
        """
        self._api = api
        self._warehouse = warehouse
        self._tables = tables
        self._fitter = fitter
        self._log = log

    def extract(self, package: LoadPackage) -> bool | Exception:
        """Waits for a package and makes it ready to load.

        Args:
            package: The package.

        Returns:
            False if there is nothing to load; why it cannot be loaded, if that concerns its rows alone.

        Raises:
            AuthenticationError: The API refused the key.
            WarehouseError: There is no room to work in.
        """
        try:
            readers = package.finish()
            # also if there is no row to load: a column may have another name now
            changing = [reader for reader in package.included if reader.columns.need_changes]
            if changing:
                with self._tables.open(at_once=True):
                    for reader in changing:
                        self._fitter.fit(reader)
            resources = [reader.resource(ends=True) for reader in readers if not reader.has_failed]
            return self._extract(resources, package.readers)
        except Exception as error:  # noqa: BLE001 - what fails is found out endpoint by endpoint
            return _problem(error)

    def load(self, package: LoadPackage, extracted: bool | Exception) -> None:
        """Loads a package, within ``Warehouse.open``; an endpoint that cannot be loaded fails.

        Args:
            package: The package.
            extracted: What ``extract`` gave.

        Raises:
            WarehouseError: The destination fails, whatever it is given.
        """
        problem = extracted if isinstance(extracted, Exception) else None
        if extracted is True:
            problem = self._attempt(self._warehouse.load)
        if problem is None:
            for reader in package.readers:
                reader.mark_loaded()
            return
        self._log.warning(f"{self._api.name}: a package cannot be loaded, so its endpoints are loaded one by one")
        self._restore(package.readers)
        for reader in package.readers:
            self._load_alone(reader, ends=reader in package.included)

    def _load_alone(self, reader: EndpointReader, *, ends: bool) -> None:
        """Loads the rows of one reader; ``ends``: with its state, and with what replaces or makes its table."""
        problem = self._attempt(lambda: self._load_reader(reader, ends=ends))
        if problem is None:
            return
        self._restore([reader])
        if is_about_rows(problem) and (rows := reader.take_rows()):
            problem = self._load_rows(reader, rows)
            if problem is None:
                problem = self._attempt(lambda: self._load_reader(reader, ends=ends))
            if problem is None:
                return
            self._restore([reader])
        reader.fail(self._failure(reader, problem))

    def _load_rows(self, reader: EndpointReader, rows: list[dict[str, Any]]) -> Exception | None:
        """Loads rows in smaller and smaller parts, and rejects rows that cannot be loaded alone.

        Returns:
            Why the endpoint's rows cannot be loaded, if none can or too many cannot; ``None`` if they are loaded.
        """
        parts = deque([rows])
        rejected: list[tuple[dict[str, Any], str]] = []
        failed, loaded = 0, False
        rejectable = reader.stats.rows_read - reader.stats.rows_rejected
        while parts:
            part = parts.popleft()
            reader.give_rows(part)
            problem = self._attempt(lambda: self._load_reader(reader, ends=False))
            if problem is None:
                loaded = True
                continue
            failed += 1
            self._restore([reader])
            reader.take_rows()
            if len(part) > 1:
                half = len(part) // 2
                parts.extendleft((part[half:], part[:half]))
            else:
                rejected.append((part[0], f"the destination does not take it: {_reason(problem)}"))
            if failed > MAX_FAILED_LOADS or len(rejected) >= (rejectable if loaded else min(rejectable, MAX_FIRST)):
                return problem
        for row, reason in rejected:
            reader.reject(row, reason)
        return None

    def _load_reader(self, reader: EndpointReader, *, ends: bool) -> None:
        if ends:
            # again, as it may be what failed
            reader.finish_package()
        self._fitter.fit(reader)
        if reader.has_failed:
            return
        if self._extract([reader.resource(ends=ends)], [reader]):
            self._warehouse.load()
        reader.mark_loaded(ends=ends)

    def _extract(self, resources: Sequence[DltResource], readers: Sequence[EndpointReader]) -> bool:
        pipeline = self._warehouse.pipeline
        if resources:
            pipeline.extract(build_source(self._api, resources), loader_file_format=self._warehouse.file_format)
        rejected = {reader.endpoint.name: rows for reader in readers if (rows := reader.extract_rejected())}
        if rejected:
            names = ", ".join(f"{len(rows)} of {name}" for name, rows in rejected.items())
            self._log.warning(
                f"{self._api.name}: rows that cannot be stored went to {REJECTED}, with the reason: {names}"
            )
            pipeline.extract(
                build_source(self._api, [rejected_resource(rejected)]), loader_file_format=self._warehouse.file_format
            )
        elif not resources:
            return False
        pipeline.normalize()
        return True

    def _attempt(self, load: Callable[[], None]) -> Exception | None:
        """Why ``load`` failed, if that concerns what it loaded; ``None`` if it did not.

        Raises:
            WarehouseError: The destination fails, whatever it is given.
        """
        try:
            load()
        except Exception as error:  # noqa: BLE001 - what fails is found out endpoint by endpoint
            return _problem(error)
        return None

    def _restore(self, readers: Sequence[EndpointReader]) -> None:
        """Goes back to what the warehouse holds; readers take back the rows of the failed load."""
        self._warehouse.restore()
        for reader in readers:
            reader.load_failed()

    def _failure(self, reader: EndpointReader, problem: Exception) -> ReadError:
        if isinstance(problem, WarehouseError):
            # its text is bounded and without secrets, and ends with what to do
            return ReadError(f"its rows cannot be loaded: {problem}")
        if isinstance(problem, IngestError):
            return ReadError(f"its rows cannot be loaded: {_reason(problem)}")
        return reader.unexpected(problem)


def _problem(error: Exception) -> Exception:
    """``error``, if a part of the package may be loaded without what caused it.

    Raises:
        AuthenticationError: The API refused the key.
        WarehouseError: The destination fails, whatever it is given.
        LockTimeoutError: Another process holds what is needed.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AuthenticationError | LockTimeoutError):
            raise cause from None
        cause = cause.__cause__ or cause.__context__
    if is_transient(error) and not is_out_of_memory(error):
        *_, innermost = chain_of(error)
        if isinstance(error, WarehouseError) or not isinstance(innermost, OSError):
            raise error
        raise WarehouseError(
            f"the working folder {pipelines_folder()} failed: {describe(innermost, set())}. "
            f"See that it can be written to and has room, or set {DATA_DIR} to another folder"
        ) from None
    return error


def _reason(error: Exception) -> str:
    """The error's text, shortened."""
    cause = root_cause(error)
    return excerpt(str(cause)) or type(cause).__name__
