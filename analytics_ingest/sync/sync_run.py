"""One run of a sync: parents are read before their children, and rows are loaded while more are read."""

from __future__ import annotations

import secrets
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from analytics_ingest.errors import IngestError
from analytics_ingest.extract.column_types import as_text
from analytics_ingest.extract.resource_state import belongs_to_profile, stored_cursor
from analytics_ingest.extract.rows import DELETED_AT, ROW_HASH
from analytics_ingest.sync.column_fitter import ColumnFitter
from analytics_ingest.sync.comment_writer import CommentWriter
from analytics_ingest.sync.excluded_columns import ExcludedColumns, refuse_misspelt_endpoints
from analytics_ingest.sync.history_recorder import HistoryRecorder, history_failure
from analytics_ingest.sync.ledger_writer import LedgerWriter
from analytics_ingest.sync.load_package import LoadPackage
from analytics_ingest.sync.loader import Loader
from analytics_ingest.sync.pending_parents import PendingParentRows
from analytics_ingest.sync.reader_factory import ReaderFactory
from analytics_ingest.sync.result import EndpointResult, build_result, failure_reason
from analytics_ingest.sync.stored_tables import StoredTables
from analytics_ingest.sync.view_maker import ViewMaker
from analytics_ingest.warehouse.cached_tables import CachedTables
from analytics_ingest.warehouse.destination_errors import is_transient
from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError
from analytics_ingest.warehouse.history_names import SYNCS, VERIFICATIONS
from analytics_ingest.warehouse.table_queries import DLT_ID

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from dlt.common.schema import Schema

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.extract.endpoint_reader import EndpointReader
    from analytics_ingest.extract.sync_context import SyncContext
    from analytics_ingest.extract.thread_pool import ReadPool
    from analytics_ingest.sync.table_checks import TableBefore
    from analytics_ingest.warehouse.verification_table import Verification
    from analytics_ingest.warehouse.warehouse import Warehouse


class SyncRun:
    """Reads and loads the selected endpoints of an API once, within ``Warehouse.sync``."""

    def __init__(
        self, context: SyncContext, warehouse: Warehouse, pool: ReadPool, *, selected: Collection[str]
    ) -> None:
        """Opens no connection.

        Args:
            context: The sync.
            warehouse: The API's part of the warehouse.
            pool: The threads that read.
            selected: Names of the endpoints to sync.
        """
        api = context.api
        self._context = context
        self._warehouse = warehouse
        self._pool = pool
        self._waiting = [endpoint for level in api.levels(set(selected)) for endpoint in level]
        self._readers: dict[str, EndpointReader] = {}
        self._before: dict[str, TableBefore] = {}
        self._deleted: Counter[str] = Counter()
        self._blocking: dict[str, EndpointResult] = {}
        self._columns: dict[str, dict[str, str]] = {}
        self._tables = CachedTables(warehouse.open)
        self._fitter = ColumnFitter(api, warehouse, self._tables, self._readers, self._columns, log=context.log)
        self._loader = Loader(api, warehouse, self._tables, self._fitter, log=context.log)
        self._factory = ReaderFactory(context)
        self._excluded = ExcludedColumns(api, context.settings)
        self._ledger = LedgerWriter(context, warehouse, self._tables)
        self._history = HistoryRecorder(context, warehouse, self._tables, self._ledger)
        self._comments = CommentWriter(context, warehouse, self._tables)
        self._views = ViewMaker(context, warehouse, self._tables, selected=selected)
        self._changed: set[str] = set()
        self._verifications: Mapping[str, Verification] = {}

    def results(self) -> Iterator[EndpointResult]:
        """Syncs, and yields a result for each selected endpoint as soon as it is loaded.

        Raises:
            AuthenticationError: The API refused the key.
            ConfigurationError: ``EXCLUDE_COLUMNS`` names a misspelt endpoint.
            WarehouseError: The warehouse cannot be used.
            LockTimeoutError: A table, or the file, stays locked.
        """
        ended: dict[str, EndpointResult] = {}
        names = [endpoint.name for endpoint in self._waiting]
        try:
            for result in self._results():
                ended[result.endpoint.name] = result
                yield result
        except Exception as error:
            left = [name for name in names if name not in ended]
            # the error that ended the sync is the one to report
            with suppress(WarehouseError, LockTimeoutError):
                self._finish(ended.values(), names=left, reason=str(error))
            raise
        self._finish(ended.values())

    def _finish(self, results: Collection[EndpointResult], *, names: Collection[str] = (), reason: str = "") -> None:
        """Writes the ledger, and the comments on new tables and columns.

        Args:
            results: The results of the endpoints that were synced.
            names: The endpoints that the sync did not come to.
            reason: Why.
        """
        with self._tables.open():
            self._ledger.finish(results, names=names, reason=reason)
            self._comments.finish(changed=self._ledger.has_begun or self._history.has_healed)

    def _results(self) -> Iterator[EndpointResult]:
        results: list[EndpointResult] = []
        api, settings = self._context.api, self._context.settings
        with self._tables.open():
            self._cache_tables()
            refuse_misspelt_endpoints(api, settings.exclude_columns, self._tables.columns)
            results += self._start()
        while self._readers:
            yield from results
            results.clear()
            try:
                self._process_package(results)
            except Exception:
                # results of endpoints that were loaded before the error still count
                yield from results
                raise
        yield from results
        for warning in self._excluded.warnings(self._columns):
            self._context.log.warning(f"{api.name}: {warning}")

    def _cache_tables(self) -> None:
        """Reads what the readers need of all tables in a few queries, which take as long as those for one table."""
        self._forget_hashes()
        names = dict.fromkeys(name for each in self._waiting for name in (each.name, *each.after))
        by_name = self._context.api.by_name
        self._tables.keep(
            {name: self._factory.columns_of(name) for name in names},
            {name: by_name[name].primary_key for name in names},
            where_null=DELETED_AT,
            beside=[*self._history.tables, *self._views.views, SYNCS, VERIFICATIONS],
        )
        if columns := self._tables.columns([VERIFICATIONS]).get(VERIFICATIONS):
            self._verifications = self._warehouse.verifications(lambda table: table.rows(columns))
        self._columns |= self._tables.columns(names)
        self._history.heal()
        self._comments.begin()
        self._views.begin(self._columns)

    def _forget_hashes(self) -> None:
        """Gives the rows to repair hashes that no row has: those that come are loaded, the others are gone upstream.

        If the process ends before that, the next sync does it.
        """
        for name, repair in self._context.options.repairs.items():
            endpoint = self._context.api.by_name[name]
            if not endpoint.primary_key or not repair.keys or name not in self._tables.columns([name]):
                continue
            rows = self._tables.read(name, [*endpoint.primary_key, DLT_ID])
            ids = {row[-1]: secrets.randbits(62) for row in rows if tuple(map(as_text, row[:-1])) in repair.keys}
            self._tables.replace_hashes(
                name, {each: value for each, value in ids.items() if each}, column=ROW_HASH, other=secrets.randbits(62)
            )

    # starting endpoints

    def _start(self, pending: Mapping[str, PendingParentRows] | None = None) -> Iterator[EndpointResult]:
        """Starts every endpoint whose parents are loaded; yields a result for each that cannot be read.

        Args:
            pending: Parents that are not loaded yet, and need not be.
        """
        states = self._states()
        stored = StoredTables(api=self._context.api, tables=self._tables, columns=self._columns, pending=pending or {})
        while ready := [each for each in self._waiting if not self._is_waiting_for_parent(each, stored.pending)]:
            self._waiting = [each for each in self._waiting if each not in ready]
            for endpoint in ready:
                if result := self._try_start(endpoint, stored, states.get(endpoint.name, {})):
                    yield self._register_blocker(result)

    def _try_start(self, endpoint: Endpoint, stored: StoredTables, state: Mapping[str, Any]) -> EndpointResult | None:
        """Starts an endpoint; gives its result if it cannot be read."""
        if skipped := self._skipped(endpoint):
            return skipped
        try:
            self._start_endpoint(endpoint, stored, state)
        except IngestError as error:
            return EndpointResult(endpoint=endpoint, status="failed", reason=str(error))
        except Exception as error:
            if is_transient(error):
                raise
            reason = f"{endpoint.path} {self._context.session.unexpected(error, endpoint.name)}"
            return EndpointResult(endpoint=endpoint, status="failed", reason=reason)
        return None

    def _start_endpoint(self, endpoint: Endpoint, stored: StoredTables, state: Mapping[str, Any]) -> None:
        options = self._context.options
        if options.full_refresh and not options.windowed:
            self._fitter.refresh(endpoint)
        reader, before = self._factory.build(endpoint, stored, state)
        self._readers[endpoint.name], self._before[endpoint.name] = reader, before
        self._pool.add(reader)

    def _skipped(self, endpoint: Endpoint) -> EndpointResult | None:
        """The result of an endpoint that is not read: a setting leaves it out, or its parent was not read."""
        if endpoint.name in self._context.settings.skip_endpoints:
            return EndpointResult(endpoint=endpoint, status="skipped", reason="left out by SKIP_ENDPOINTS")
        for name in endpoint.upstream:
            if parent := self._blocking.get(name):
                # a parent that failed or was skipped is reported itself; its children need no alarm of their own
                return EndpointResult(
                    endpoint=endpoint,
                    status="skipped",
                    reason=parent.blocks(self._context.api),
                    alarming=parent.status == "complete",
                )
        return None

    def _is_waiting_for_parent(self, endpoint: Endpoint, pending: Collection[str]) -> bool:
        """Whether a parent of the endpoint is in this sync and not loaded yet, and has to be."""
        unread = self._readers.keys() | {each.name for each in self._waiting}
        return any(name in unread and name not in pending for name in endpoint.after)

    def _start_before_load(self, parents: Iterable[EndpointReader], results: list[EndpointResult]) -> bool:
        """Starts children whose parents are read and not loaded yet. True if there are any."""
        before = len(self._waiting)
        pending = [PendingParentRows(reader, self._context.settings) for reader in parents]
        with self._tables.open():
            results += self._start({each.name: each for each in pending if each.is_known(self._tables)})
        return len(self._waiting) < before

    # loading packages

    def _process_package(self, results: list[EndpointResult]) -> None:
        """Waits for a load package, loads it, and starts what can be read after it."""
        settings = self._context.settings
        while True:
            package = LoadPackage(
                self._readers.values(),
                self._pool,
                self._waiting,
                max_partitions=settings.fan_out_chunk,
                max_bytes=settings.max_package_bytes,
            )
            package.wait()
            if not (package.completed_parents and self._start_before_load(package.completed_parents, results)):
                break
        extracted = self._loader.extract(package)
        # if there is nothing to load, the warehouse need not be opened
        with self._tables.open(at_once=extracted is not False):
            self._load(package, results, extracted=extracted)

    def _load(self, package: LoadPackage, results: list[EndpointResult], *, extracted: bool | Exception) -> None:
        """Loads a package, marks deletions, and starts what can be read after it."""
        if extracted is not False:
            for reader in package.readers:
                self._tables.forget(reader.endpoint.name)
            self._ledger.begin(reader.endpoint.name for reader in package.readers)
        self._loader.load(package, extracted)
        self._views.fit({reader.endpoint.name: reader.columns.types.stored for reader in package.readers})
        for reader in package.included:
            with self._failing(reader):
                name = reader.endpoint.name
                rewrites, deleted = reader.pop_rewrites(), reader.pop_deleted_hashes()
                if rewrites or deleted:
                    self._changed.add(name)
                    self._ledger.begin([name])
                self._tables.rewrite(name, rewrites, key=ROW_HASH)
                self._deleted[name] += self._tables.set_timestamp(
                    name, DELETED_AT, self._context.started, key=ROW_HASH, values=deleted
                )
        finished = [reader for reader in package.included if reader.is_finished]
        results += self._results_of(finished)
        for reader in finished:
            self._excluded.add(reader)
            del self._readers[reader.endpoint.name]
        results += self._start()

    @contextmanager
    def _failing(self, reader: EndpointReader) -> Iterator[None]:
        """Turns an error within into the failure of one endpoint, unless the destination fails altogether."""
        try:
            yield
        except Exception as error:
            if is_transient(error):
                raise
            reader.fail(reader.unexpected(error))

    # results

    def _results_of(self, readers: Sequence[EndpointReader]) -> list[EndpointResult]:
        if not readers:
            return []
        states = self._states()
        columns = self._tables.columns([reader.endpoint.name for reader in readers])
        self._columns.update(columns)
        for reader in readers:
            self._record_history(reader)
        self._history.finish()
        pipeline = self._warehouse.pipeline
        # read once: the property parses the stored schema at each access. There is none before the first load, also
        # where the warehouse has lost dlt's own tables
        schema = pipeline.default_schema if columns and pipeline.default_schema_name else None
        return [
            self._register_blocker(self._result_of(reader, states, columns.get(reader.endpoint.name, {}), schema))
            for reader in readers
        ]

    def _record_history(self, reader: EndpointReader) -> None:
        """Records the versions of an endpoint's rows; the endpoint fails if they cannot be written."""
        name = reader.endpoint.name
        changed = name in self._changed or bool(reader.stats.rows_loaded)
        try:
            self._history.record(reader, self._columns.get(name, {}), changed=changed)
        except Exception as error:
            if is_transient(error):
                raise
            reader.fail(history_failure(error) if isinstance(error, WarehouseError) else reader.unexpected(error))

    def _result_of(
        self,
        reader: EndpointReader,
        states: Mapping[str, Mapping[str, Any]],
        types: Mapping[str, str],
        schema: Schema | None,
    ) -> EndpointResult:
        name = reader.endpoint.name
        with self._failing(reader):
            return build_result(
                reader,
                self._context,
                self._tables,
                before=self._before[name],
                columns=schema.get_table_columns(name) if schema and types else None,
                cursor=stored_cursor(states.get(name, {})),
                deleted=self._deleted[name],
                types=types,
                location=self._warehouse.location,
                database=self._warehouse.database,
                verification=self._verifications.get(name),
            )
        return EndpointResult(
            endpoint=reader.endpoint, status="failed", reason=failure_reason(reader.stats), stats=reader.stats
        )

    def _register_blocker(self, result: EndpointResult) -> EndpointResult:
        """Records a result that keeps children from being read."""
        if result.blocks(self._context.api):
            self._blocking[result.endpoint.name] = result
        return result

    def _states(self) -> Mapping[str, Mapping[str, Any]]:
        """The state of each endpoint's resource, as the last package left it."""
        api = self._context.api
        # read once: the property parses the stored state at each access
        sources: Any = self._warehouse.pipeline.state.get("sources", {})
        states: Mapping[str, Mapping[str, Any]] = sources.get(api.name, {}).get("resources", {})
        return {name: state for name, state in states.items() if belongs_to_profile(api, state)}
