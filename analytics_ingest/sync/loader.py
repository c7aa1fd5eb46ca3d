"""Loads what was read: package by package, and endpoint by endpoint or row by row where a package cannot be loaded."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from analytics_ingest.errors import AuthenticationError, IngestError, ReadError, excerpt, root_cause
from analytics_ingest.extract.dlt_source import REJECTED, build_source, rejected_resource
from analytics_ingest.warehouse.destination import pipelines_folder
from analytics_ingest.warehouse.destination_errors import (
    WarehouseError,
    chain_of,
    describe,
    is_about_rows,
    is_out_of_memory,
    is_transient,
)
from analytics_ingest.warehouse.locks import LockTimeoutError
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
"""Rows that may be rejected before the first one is loaded: then it is not the rows."""


class Loader:
    """Extracts, normalises and loads packages of one API.

    A package that cannot be loaded is taken apart: each of its endpoints is loaded alone, and the rows of one that
    cannot be are halved until those are found that the destination does not take. They are rejected, so that one row
    costs neither its table nor the others.
    """

    def __init__(
        self, api: Api, warehouse: Warehouse, tables: CachedTables, fitter: ColumnFitter, *, log: logging.Logger
    ) -> None:
        """Prepares the loading.

        Args:
            api: The API.
            warehouse: Its part of the warehouse, within ``sync``.
            tables: Its tables.
            fitter: Makes the tables' columns fit what is loaded.
            log: Gets a line for each package that is taken apart.
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
            giving = package.finish_package()
            # also where there is no row to load: a column may have another name now
            changing = [reader for reader in package.taken if reader.has_changes]
            if changing:
                with self._tables.open(at_once=True):
                    for reader in changing:
                        self._fitter.fit(reader)
            resources = [reader.resource(ends=True) for reader in giving if not reader.broken]
            return self._extract(resources, package.readers)
        except Exception as error:  # noqa: BLE001 - what fails is found out endpoint by endpoint
            return _problem(error)

    def load(self, package: LoadPackage, extracted: bool | Exception) -> None:
        """Loads a package, within ``Warehouse.open``; what cannot be loaded is noted on its endpoint's reader.

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
                reader.loaded()
            return
        self._log.warning(f"{self._api.name}: a package cannot be loaded, so its endpoints are loaded one by one")
        self._take_back(package.readers)
        for reader in package.readers:
            self._load_alone(reader, ends=reader in package.taken)

    def _load_alone(self, reader: EndpointReader, *, ends: bool) -> None:
        """Loads what one reader has; ``ends``: with what ends its part of the package, its state included."""
        problem = self._attempt(lambda: self._load_reader(reader, ends=ends))
        if problem is None:
            return
        self._take_back([reader])
        if is_about_rows(problem) and (rows := reader.take_rows()):
            problem = self._load_rows(reader, rows)
            if problem is None:
                problem = self._attempt(lambda: self._load_reader(reader, ends=ends))
            if problem is None:
                return
            self._take_back([reader])
        reader.fail(self._failure(reader, problem))

    def _load_rows(self, reader: EndpointReader, rows: list[dict[str, Any]]) -> Exception | None:
        """Loads rows in ever smaller parts, and rejects those that cannot be loaded alone.

        Returns:
            Why the endpoint's rows cannot be loaded, if none of them can, or too many cannot.
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
            self._take_back([reader])
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
            # again, as it may be what has failed
            reader.finish_package()
        self._fitter.fit(reader)
        if reader.broken:
            return
        if self._extract([reader.resource(ends=ends)], [reader]):
            self._warehouse.load()
        reader.loaded(ends=ends)

    def _extract(self, resources: Sequence[DltResource], readers: Sequence[EndpointReader]) -> bool:
        pipeline = self._warehouse.pipeline
        if resources:
            pipeline.extract(build_source(self._api, resources), loader_file_format=self._warehouse.file_format)
        rejected = {reader.endpoint.name: rows for reader in readers if (rows := reader.pop_rejected())}
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

    def _take_back(self, readers: Sequence[EndpointReader]) -> None:
        """Begins anew with what the warehouse holds; what the readers gave for the failed load is theirs again."""
        self._warehouse.restore()
        for reader in readers:
            reader.take_back()

    def _failure(self, reader: EndpointReader, problem: Exception) -> ReadError:
        if isinstance(problem, WarehouseError):
            # bounded and without secrets, and what to do comes last
            return ReadError(f"its rows cannot be loaded: {problem}")
        if isinstance(problem, IngestError):
            return ReadError(f"its rows cannot be loaded: {_reason(problem)}")
        return reader.unexpected(problem)


def _problem(error: Exception) -> Exception:
    """``error``, or what it was raised for, if a part of the package may be loaded without it.

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
    """What the error says, in short."""
    cause = root_cause(error)
    return excerpt(str(cause)) or type(cause).__name__
