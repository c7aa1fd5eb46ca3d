"""One sync of one API: parents before children, and what is read is loaded while more is read."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from dlt.pipeline.exceptions import PipelineStepFailed

from analytics_ingest.extract.errors import AuthenticationError, IngestError
from analytics_ingest.extract.mode import Mode
from analytics_ingest.extract.pool import ReadPool
from analytics_ingest.extract.reader import EndpointReader
from analytics_ingest.extract.reading import CURSOR, Stored, is_of
from analytics_ingest.extract.rows import DELETED_AT, ROW_HASH
from analytics_ingest.extract.scope import build_scope
from analytics_ingest.extract.session import ApiSession
from analytics_ingest.extract.settings import load_settings, page_limit
from analytics_ingest.extract.sweep import SWEPT, plan_sweep
from analytics_ingest.extract.tables import REJECTED, build_source, rejected_resource
from analytics_ingest.sync.findings import Before
from analytics_ingest.sync.package import Package
from analytics_ingest.sync.parents import changing_paths, read_parents
from analytics_ingest.sync.result import EndpointResult, build_result
from analytics_ingest.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, Mapping, Sequence

    from analytics_ingest.apis import Api, Endpoint
    from analytics_ingest.extract.reading import Parent
    from analytics_ingest.extract.sweep import Sweep
    from analytics_ingest.warehouse.warehouse import Tables


class ApiSync:
    """A sync of an API, or of some of its endpoints."""

    def __init__(
        self, api: Api, *, selected: set[str] | None = None, mode: Mode | None = None, log: logging.Logger
    ) -> None:
        """Prepares a sync.

        Args:
            api: What to read.
            selected: Names of the endpoints to sync; all by default.
            mode: What to do beyond reading what changed.
            log: Gets progress and waits.
        """
        self._api = api
        self._mode = mode or Mode()
        self._selected = set(api.by_name) if selected is None else selected
        if self._mode.endpoints:
            self._selected &= self._mode.endpoints
        self._log = log
        self._waiting = [endpoint for level in api.levels(self._selected) for endpoint in level]
        self._reading: dict[str, EndpointReader] = {}
        self._before: dict[str, Before] = {}
        self._deleted: Counter[str] = Counter()
        self._blocking: dict[str, EndpointResult] = {}

    def run(self) -> Iterator[EndpointResult]:
        """Syncs, and gives a result for each selected endpoint as soon as it is loaded.

        Raises:
            IngestError: Nothing (more) of this API can be read: a setting, the key.
            WarehouseError: The warehouse cannot be used.
            LockTimeoutError: Another sync of this API, or of this file, does not end.
        """
        self._settings = settings = load_settings(self._api)
        self._warehouse = Warehouse(self._api.name, log=self._log, lock_timeout=settings.lock_timeout)
        self._session = ApiSession(self._api, settings, log=self._log)
        results: list[EndpointResult] = []
        with self._warehouse.sync(), ReadPool(settings.max_in_flight, halt=self._session.close) as self._pool:
            self._started = datetime.now(UTC)
            with self._warehouse.open() as tables:
                results += self._begin(tables)
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

    def _begin(self, tables: Tables) -> Iterator[EndpointResult]:
        """Has every endpoint read whose parents are loaded; gives a result for each that cannot be."""
        states = self._states()
        while ready := [each for each in self._waiting if not self._awaits(each)]:
            self._waiting = [each for each in self._waiting if each not in ready]
            columns = tables.columns([name for endpoint in ready for name in (endpoint.name, *endpoint.upstream)])
            for endpoint in ready:
                try:
                    self._check_readable(endpoint)
                    reader = self._reader(endpoint, tables, columns, states.get(endpoint.name, {}))
                except _SkippedError as error:
                    yield self._noted(
                        EndpointResult(endpoint=endpoint, status="skipped", reason=str(error), alarming=error.alarming)
                    )
                except IngestError as error:
                    yield self._noted(EndpointResult(endpoint=endpoint, status="failed", reason=str(error)))
                else:
                    self._reading[endpoint.name] = reader
                    self._pool.add(reader)

    def _awaits(self, endpoint: Endpoint) -> bool:
        """Whether a parent of the endpoint is read in this sync, and not loaded yet."""
        return any(name in self._reading or name in {each.name for each in self._waiting} for name in endpoint.upstream)

    def _package(self, results: list[EndpointResult]) -> None:
        """Loads what has been read up to a point, and begins what can be read after it."""
        awaited = {name for endpoint in self._waiting for name in endpoint.upstream}
        package = Package(list(self._reading.values()), self._pool, awaited=awaited, most=self._settings.fan_out_chunk)
        to_load = self._extract(package)
        with self._warehouse.open() as tables:
            if to_load:
                self._warehouse.load()
            for reader in package.taken if self._settings.mark_deleted else ():
                name, vanished = reader.endpoint.name, reader.take_vanished()
                self._deleted[name] += tables.stamp(name, DELETED_AT, self._started, key=ROW_HASH, values=vanished)
            closed = [reader for reader in package.taken if reader.closed]
            results += self._results(closed, tables)
            for reader in closed:
                del self._reading[reader.endpoint.name]
            results += self._begin(tables)

    def _results(self, readers: Sequence[EndpointReader], tables: Tables) -> list[EndpointResult]:
        if not readers:
            return []
        states = self._states()
        there = tables.columns([reader.endpoint.name for reader in readers])
        # read once: the property parses the stored schema at each access
        schema = self._warehouse.pipeline.default_schema if there else None
        return [
            self._noted(
                build_result(
                    self._api,
                    reader,
                    tables,
                    before=self._before[reader.endpoint.name],
                    columns=schema.get_table_columns(reader.endpoint.name)
                    if schema and reader.endpoint.name in there
                    else None,
                    cursor=_cursor(states.get(reader.endpoint.name, {})),
                    deleted=self._deleted[reader.endpoint.name],
                    types=there.get(reader.endpoint.name, {}),
                    settings=self._settings,
                    log=self._log,
                )
            )
            for reader in readers
        ]

    def _reader(
        self,
        endpoint: Endpoint,
        tables: Tables,
        columns: Mapping[str, Mapping[str, str]],
        state: Mapping[str, Any],
    ) -> EndpointReader:
        there = columns.get(endpoint.name, {})
        scope = build_scope(self._settings, self._mode, now=self._started, first=SWEPT not in state)
        parents = read_parents(self._api, endpoint, tables, scope, columns=columns, log=self._log)
        stored = self._stored(endpoint, tables, there, state)
        self._before[endpoint.name] = Before(
            rows=len(stored.hashes) or len(stored.rows),
            cursor=stored.cursor,
            columns=there,
            paths={parent.path for parent in parents},
        )
        return EndpointReader(
            endpoint,
            self._session,
            limit=page_limit(self._api, endpoint),
            stored=stored,
            state=state,
            sweep=self._sweep(endpoint, parents, tables, there, state),
            mode=self._mode,
            started=self._started,
            log=self._log,
        )

    def _noted(self, result: EndpointResult) -> EndpointResult:
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

    def _stored(self, endpoint: Endpoint, tables: Tables, there: Mapping[str, str], state: Mapping[str, Any]) -> Stored:
        if ROW_HASH not in there:
            # no table yet, or one that something else made: what is read is new to it
            return Stored(columns=there)
        if not endpoint.primary_key:
            return Stored(rows=[row[0] for row in tables.read(endpoint.name, [ROW_HASH])], columns=there)
        live = DELETED_AT if DELETED_AT in there else None
        rows = tables.read(endpoint.name, [ROW_HASH, *endpoint.path_params], where_null=live)
        # one text for all rows of a parent
        path = cache(lambda *values: endpoint.path_for(dict(zip(endpoint.path_params, values, strict=True))))
        hashes = {row[0]: path(*row[1:]) for row in rows}
        return Stored(hashes=hashes, columns=there, cursor=_cursor(state))

    def _sweep(
        self,
        endpoint: Endpoint,
        parents: Sequence[Parent],
        tables: Tables,
        there: Mapping[str, str],
        state: Mapping[str, Any],
    ) -> Sweep:
        mode: str = self._settings.fan_out
        if self._mode.full_refresh or self._mode.windowed:
            mode = f"{self._mode.full_refresh} {self._mode.updated_from} {self._mode.updated_to}"
        return plan_sweep(
            endpoint,
            parents,
            state,
            mode=mode,
            now=datetime.now(UTC),
            resume_within=self._settings.resume_within,
            changing=changing_paths(endpoint, tables, there),
            windowed=self._mode.windowed,
        )

    def _states(self) -> Mapping[str, Mapping[str, Any]]:
        """The state of each endpoint's resource, as the last package left it."""
        # read once for all: the property parses the stored state at each access
        sources: Any = self._warehouse.pipeline.state.get("sources", {})
        states: Mapping[str, Mapping[str, Any]] = sources.get(self._api.name, {}).get("resources", {})
        return {name: state for name, state in states.items() if is_of(self._api, state)}

    def _extract(self, package: Package) -> bool:
        """Reads a package and makes it ready to load. False if there is nothing to load."""
        pipeline = self._warehouse.pipeline
        try:
            given = not package.wait() or package.gives
            if given:
                pipeline.extract(build_source(self._api, package.resources()), loader_file_format="parquet")
            rejected = {reader.endpoint.name: reader.take_rejected() for reader in package.readers}
            if any(rejected.values()):
                self._log.warning(f"{self._api.name}: rows without a complete key went to {REJECTED}")
                pipeline.extract(build_source(self._api, [rejected_resource(rejected)]))
            elif not given:
                return False
            pipeline.normalize()
        except PipelineStepFailed as error:
            raise _cause(error) from None
        return True


def _cursor(state: Mapping[str, Any]) -> datetime | None:
    return datetime.fromisoformat(state[CURSOR]) if CURSOR in state else None


class _SkippedError(IngestError):
    """An endpoint is not read, and that is no failure of its own."""

    def __init__(self, reason: str, *, alarming: bool = False) -> None:
        super().__init__(reason)
        self.alarming = alarming


def _cause(error: BaseException) -> BaseException:
    """The error of ours behind dlt's wrapping, or what dlt raised."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AuthenticationError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return error
