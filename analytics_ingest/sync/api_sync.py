"""One sync of one API: parents before children, and what is read is loaded while more is read."""

from __future__ import annotations

from collections import Counter
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from analytics_ingest.config.api import load_settings, retired_settings, unprotected_key
from analytics_ingest.errors import IngestError
from analytics_ingest.extract.rows import DELETED_AT, ROW_HASH
from analytics_ingest.extract.stats import is_of
from analytics_ingest.extract.sync_options import SyncOptions
from analytics_ingest.extract.thread_pool import ReadPool
from analytics_ingest.http.session import ApiSession
from analytics_ingest.sync.column_fitter import ColumnFitter
from analytics_ingest.sync.load_package import LoadPackage
from analytics_ingest.sync.loader import Loader
from analytics_ingest.sync.pending_parents import PendingParentRows
from analytics_ingest.sync.reader_factory import ReaderFactory, cursor_of
from analytics_ingest.sync.result import EndpointResult, build_result, failure_reason
from analytics_ingest.sync.stored_parents import NOTHING_PENDING
from analytics_ingest.warehouse.cached_tables import CachedTables
from analytics_ingest.warehouse.destination_errors import is_transient
from analytics_ingest.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from dlt.common.schema import Schema

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.extract.endpoint_reader import EndpointReader
    from analytics_ingest.sync.table_checks import TableBefore
    from analytics_ingest.warehouse.table_queries import DatasetTables


class ApiSync:
    """A sync of an API, or of some of its endpoints."""

    def __init__(
        self, api: Api, *, selected: set[str] | None = None, mode: SyncOptions | None = None, log: logging.Logger
    ) -> None:
        """Prepares a sync.

        Args:
            api: What to read.
            selected: Names of the endpoints to sync; all by default.
            mode: What to do beyond reading what changed.
            log: Gets progress and waits.
        """
        self._api = api
        self._mode = mode or SyncOptions()
        self._selected = set(api.by_name) if selected is None else selected
        if self._mode.endpoints:
            self._selected &= self._mode.endpoints
        self._log = log
        self._waiting = [endpoint for level in api.levels(self._selected) for endpoint in level]
        self._reading: dict[str, EndpointReader] = {}
        self._before: dict[str, TableBefore] = {}
        self._deleted: Counter[str] = Counter()
        self._blocking: dict[str, EndpointResult] = {}

    def run(self) -> Iterator[EndpointResult]:
        """Syncs, and gives a result for each selected endpoint as soon as it is loaded.

        Raises:
            IngestError: Nothing (more) of this API can be read: a setting, the key.
            WarehouseError: The warehouse cannot be used.
            LockTimeoutError: Another sync of this API, or of this file, does not end.
        """
        api = self._api
        self._settings = settings = load_settings(api)
        self._warehouse = Warehouse(api.name, log=self._log, lock_timeout=settings.lock_timeout)
        self._session = ApiSession(self._api, settings, log=self._log)
        for warning in filter(None, (unprotected_key(api, settings), retired_settings(api))):
            self._log.warning(f"{api.name}: {warning}")
        results: list[EndpointResult] = []
        with (
            closing(self._session),
            self._warehouse.sync(),
            ReadPool(settings.max_in_flight, halt=self._session.close, clock=self._session.clock) as self._pool,
        ):
            self._started = datetime.now(UTC)
            self._columns: dict[str, dict[str, str]] = {}
            self._tables = CachedTables(self._warehouse.open)
            self._fitter = ColumnFitter(api, self._warehouse, self._tables, self._reading, self._columns, log=self._log)
            self._loader = Loader(api, self._warehouse, self._tables, self._fitter, log=self._log)
            self._readers = ReaderFactory(api, self._session, self._mode, started=self._started, log=self._log)
            with self._tables.open() as tables:
                # once for all, as it takes as long for one table; what a package changes is read again after it
                names = dict.fromkeys(name for each in self._waiting for name in (each.name, *each.after))
                tables.keep(
                    {name: self._readers.columns_of(name) for name in names},
                    {name: api.by_name[name].primary_key for name in names},
                    where_null=DELETED_AT,
                )
                self._columns |= tables.columns(names)
                results += self._start(tables)
            while self._reading:
                yield from results
                results.clear()
                try:
                    self._package(results)
                except Exception:
                    # what is loaded counts, whatever comes after it
                    yield from results
                    raise
            yield from results

    def _start(
        self, tables: CachedTables, pending: Mapping[str, PendingParentRows] = NOTHING_PENDING
    ) -> Iterator[EndpointResult]:
        """Has every endpoint read whose parents are loaded; gives a result for each that cannot be.

        Args:
            tables: The API's tables.
            pending: Parents that are not loaded yet, and need not be.
        """
        states = self._states()
        while ready := [each for each in self._waiting if not self._is_waiting_for_parent(each, pending)]:
            self._waiting = [each for each in self._waiting if each not in ready]
            for endpoint in ready:
                try:
                    self._start_endpoint(endpoint, tables, states.get(endpoint.name, {}), pending)
                except _SkippedError as error:
                    yield self._register_blocker(
                        EndpointResult(endpoint=endpoint, status="skipped", reason=str(error), alarming=error.alarming)
                    )
                except IngestError as error:
                    yield self._register_blocker(EndpointResult(endpoint=endpoint, status="failed", reason=str(error)))
                except Exception as error:
                    if is_transient(error):
                        raise
                    reason = f"{endpoint.path} {self._session.unexpected(error, endpoint.name)}"
                    yield self._register_blocker(EndpointResult(endpoint=endpoint, status="failed", reason=reason))

    def _start_endpoint(
        self,
        endpoint: Endpoint,
        tables: CachedTables,
        state: Mapping[str, Any],
        pending: Mapping[str, PendingParentRows],
    ) -> None:
        """Has an endpoint read."""
        self._check_readable(endpoint)
        if self._mode.full_refresh and not self._mode.windowed:
            self._fitter.refresh(endpoint)
        reader, before = self._readers.build(endpoint, tables, self._columns, state, pending)
        self._reading[endpoint.name], self._before[endpoint.name] = reader, before
        self._pool.add(reader)

    def _is_waiting_for_parent(self, endpoint: Endpoint, pending: Collection[str]) -> bool:
        """Whether a parent of the endpoint is read in this sync, and not loaded yet, as it would have to be."""
        unread = self._reading.keys() | {each.name for each in self._waiting}
        return any(name in unread and name not in pending for name in endpoint.after)

    def _start_before_load(self, readers: Iterable[EndpointReader], results: list[EndpointResult]) -> bool:
        """Begins children whose parents are read and not loaded yet; whether there are any."""
        before = len(self._waiting)
        looks = [PendingParentRows(reader, self._settings) for reader in readers]
        with self._tables.open() as tables:
            results += self._start(tables, {look.name: look for look in looks if look.is_known(tables)})
        return len(self._waiting) < before

    def _package(self, results: list[EndpointResult]) -> None:
        """Loads what has been read up to a point, and begins what can be read after it."""
        while True:
            package = LoadPackage(
                self._reading.values(),
                self._pool,
                self._waiting,
                most=self._settings.fan_out_chunk,
                most_bytes=self._settings.max_package_bytes,
            )
            package.wait()
            if not (package.completed_parents and self._start_before_load(package.completed_parents, results)):
                break
        extracted = self._loader.extract(package)
        # where there is nothing to load the warehouse need not be opened
        with self._tables.open(at_once=extracted is not False) as tables:
            self._load(package, tables, results, extracted=extracted)

    def _load(
        self, package: LoadPackage, tables: CachedTables, results: list[EndpointResult], *, extracted: bool | Exception
    ) -> None:
        """Loads a package, marks what is gone, and begins what can be read after it."""
        if extracted is not False:
            for reader in package.readers:
                tables.forget(reader.endpoint.name)
        self._loader.load(package, extracted)
        for reader in package.taken:
            with self._failing(reader):
                name = reader.endpoint.name
                tables.rewrite(name, reader.pop_rewrites(), key=ROW_HASH)
                vanished = reader.pop_deleted_hashes()
                self._deleted[name] += tables.set_timestamp(
                    name, DELETED_AT, self._started, key=ROW_HASH, values=vanished
                )
        closed = [reader for reader in package.taken if reader.closed]
        results += self._results(closed, tables)
        for reader in closed:
            del self._reading[reader.endpoint.name]
        results += self._start(tables)

    @contextmanager
    def _failing(self, reader: EndpointReader) -> Iterator[None]:
        """Has an error within be the failure of one endpoint, unless the destination fails altogether."""
        try:
            yield
        except Exception as error:
            if is_transient(error):
                raise
            reader.fail(reader.unexpected(error))

    def _results(self, readers: Sequence[EndpointReader], tables: CachedTables) -> list[EndpointResult]:
        if not readers:
            return []
        states = self._states()
        there = tables.columns([reader.endpoint.name for reader in readers])
        self._columns.update(there)
        # read once: the property parses the stored schema at each access
        schema = self._warehouse.pipeline.default_schema if there else None
        return [self._register_blocker(self._result(reader, tables, states, there, schema)) for reader in readers]

    def _result(
        self,
        reader: EndpointReader,
        tables: DatasetTables,
        states: Mapping[str, Mapping[str, Any]],
        there: Mapping[str, Mapping[str, str]],
        schema: Schema | None,
    ) -> EndpointResult:
        name = reader.endpoint.name
        with self._failing(reader):
            return build_result(
                self._api,
                reader,
                tables,
                before=self._before[name],
                columns=schema.get_table_columns(name) if schema and name in there else None,
                cursor=cursor_of(states.get(name, {})),
                deleted=self._deleted[name],
                types=there.get(name, {}),
                settings=self._settings,
            )
        return EndpointResult(
            endpoint=reader.endpoint, status="failed", reason=failure_reason(reader.stats), stats=reader.stats
        )

    def _register_blocker(self, result: EndpointResult) -> EndpointResult:
        """The result, once it is noted what it keeps from being read."""
        if result.blocks(self._api):
            self._blocking[result.endpoint.name] = result
        return result

    def _check_readable(self, endpoint: Endpoint) -> None:
        if endpoint.name in self._settings.skip_endpoints:
            raise _SkippedError("left out by SKIP_ENDPOINTS")
        for name in endpoint.upstream:
            if parent := self._blocking.get(name):
                # what a setting leaves out, or what has failed itself, needs no alarm of its children's
                raise _SkippedError(parent.blocks(self._api), alarming=parent.status == "complete")

    def _states(self) -> Mapping[str, Mapping[str, Any]]:
        """The state of each endpoint's resource, as the last package left it."""
        # read once for all: the property parses the stored state at each access
        sources: Any = self._warehouse.pipeline.state.get("sources", {})
        states: Mapping[str, Mapping[str, Any]] = sources.get(self._api.name, {}).get("resources", {})
        return {name: state for name, state in states.items() if is_of(self._api, state)}


class _SkippedError(IngestError):
    """An endpoint is not read, and that is no failure of its own."""

    def __init__(self, reason: str, *, alarming: bool = False) -> None:
        super().__init__(reason)
        self.alarming = alarming
