"""One sync of one API: level by level, parents before children, each level extracted together and loaded."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from functools import cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from dlt.pipeline.exceptions import PipelineStepFailed

from analytics_ingest.extract.errors import AuthenticationError, IngestError
from analytics_ingest.extract.mode import Mode
from analytics_ingest.extract.reader import EndpointReader
from analytics_ingest.extract.reading import CURSOR, Parent, Stored, is_of
from analytics_ingest.extract.rows import DELETED_AT, ROW_HASH
from analytics_ingest.extract.scope import build_scope
from analytics_ingest.extract.session import ApiSession
from analytics_ingest.extract.settings import load_settings, page_limit
from analytics_ingest.extract.sweep import SWEPT, Sweep, plan_sweep
from analytics_ingest.extract.tables import REJECTED, build_resource, build_source, rejected_resource
from analytics_ingest.sync.findings import Before
from analytics_ingest.sync.parents import changing_paths, chunks, read_parents
from analytics_ingest.sync.result import EndpointResult, build_result
from analytics_ingest.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, Mapping, Sequence

    from analytics_ingest.apis import Api, Endpoint
    from analytics_ingest.extract.settings import Settings
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
        self._blocking: dict[str, EndpointResult] = {}

    def run(self) -> Iterator[EndpointResult]:
        """Syncs, and gives a result for each selected endpoint as soon as its level is loaded.

        Raises:
            IngestError: Nothing (more) of this API can be read: a setting, the key.
            WarehouseError: The warehouse cannot be used.
            LockTimeoutError: Another sync of this API, or of this file, does not end.
        """
        settings = load_settings(self._api)
        warehouse = Warehouse(self._api.name, log=self._log, lock_timeout=settings.lock_timeout)
        session = ApiSession(self._api, settings, log=self._log)
        try:
            with warehouse.sync():
                self._started = datetime.now(UTC)
                for level in self._api.levels(self._selected):
                    yield from self._level(level, warehouse, session)
        finally:
            session.close()

    def _level(self, level: Sequence[Endpoint], warehouse: Warehouse, session: ApiSession) -> Iterator[EndpointResult]:
        readers: list[EndpointReader] = []
        before: dict[str, Before] = {}
        unread: list[EndpointResult] = []
        with warehouse.open() as tables:
            columns = tables.columns([name for endpoint in level for name in (endpoint.name, *endpoint.upstream)])
            for endpoint in level:
                try:
                    self._check_readable(endpoint, session.settings)
                    scope = build_scope(
                        session.settings,
                        self._mode,
                        now=self._started,
                        first=SWEPT not in self._state(endpoint, warehouse),
                    )
                    parents = read_parents(self._api, endpoint, tables, scope, columns=columns, log=self._log)
                    reader = EndpointReader(
                        endpoint,
                        session,
                        limit=page_limit(self._api, endpoint),
                        stored=self._stored(endpoint, tables, columns, warehouse),
                        sweep=self._sweep(endpoint, parents, warehouse, session.settings, tables, columns),
                        mode=self._mode,
                        started=self._started,
                        log=self._log,
                    )
                    readers.append(reader)
                    before[endpoint.name] = self._before(reader, columns, parents)
                except _SkippedError as error:
                    unread.append(
                        EndpointResult(endpoint=endpoint, status="skipped", reason=str(error), alarming=error.alarming)
                    )
                except IngestError as error:
                    unread.append(EndpointResult(endpoint=endpoint, status="failed", reason=str(error)))
        yield from self._noted(unread)
        if not readers:
            return
        parts = [chunks(reader.sweep.parents, session.settings.fan_out_chunk) for reader in readers]
        deleted: Counter[str] = Counter()
        for turn in zip_longest(*parts):
            package = [(reader, part) for reader, part in zip(readers, turn, strict=True) if part is not None]
            to_load = self._extract(package, warehouse, session.settings)
            with warehouse.open() as tables:
                if to_load:
                    warehouse.load()
                for reader, _ in package if session.settings.mark_deleted else ():
                    name, vanished = reader.endpoint.name, reader.take_vanished()
                    deleted[name] += tables.stamp(name, DELETED_AT, self._started, key=ROW_HASH, values=vanished)
        with warehouse.open() as tables:
            there = tables.columns([reader.endpoint.name for reader in readers])
            # read once: the property parses the stored schema at each access
            schema = warehouse.pipeline.default_schema if there else None
            results = [
                build_result(
                    self._api,
                    reader,
                    tables,
                    before=before[reader.endpoint.name],
                    columns=schema.get_table_columns(reader.endpoint.name)
                    if schema and reader.endpoint.name in there
                    else None,
                    cursor=self._cursor(reader.endpoint, warehouse),
                    deleted=deleted[reader.endpoint.name],
                    types=there.get(reader.endpoint.name, {}),
                    settings=session.settings,
                    log=self._log,
                )
                for reader in readers
            ]
        yield from self._noted(results)

    def _noted(self, results: Sequence[EndpointResult]) -> Iterator[EndpointResult]:
        """The results, once it is noted what they keep from being read."""
        for result in results:
            if result.blocks(self._api):
                self._blocking[result.endpoint.name] = result
            yield result

    def _check_readable(self, endpoint: Endpoint, settings: Settings) -> None:
        if endpoint.name in settings.skip_endpoints:
            raise _SkippedError("left out by SKIP_ENDPOINTS")
        for name in endpoint.upstream:
            if parent := self._blocking.get(name):
                # what a setting leaves out, or what has failed itself, needs no alarm of its children's
                raise _SkippedError(parent.blocks(self._api), alarming=parent.status == "complete")

    def _before(
        self, reader: EndpointReader, columns: Mapping[str, Mapping[str, str]], parents: Sequence[Parent]
    ) -> Before:
        stored = reader.stored
        return Before(
            rows=len(stored.hashes) or len(stored.rows),
            cursor=stored.cursor,
            columns=columns.get(reader.endpoint.name, {}),
            paths={parent.path for parent in parents},
        )

    def _stored(
        self,
        endpoint: Endpoint,
        tables: Tables,
        columns: Mapping[str, Mapping[str, str]],
        warehouse: Warehouse,
    ) -> Stored:
        there = columns.get(endpoint.name, {})
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
        return Stored(hashes=hashes, columns=there, cursor=self._cursor(endpoint, warehouse))

    def _sweep(
        self,
        endpoint: Endpoint,
        parents: Sequence[Parent],
        warehouse: Warehouse,
        settings: Settings,
        tables: Tables,
        columns: Mapping[str, Mapping[str, str]],
    ) -> Sweep:
        mode: str = settings.fan_out
        if self._mode.full_refresh or self._mode.windowed:
            mode = f"{self._mode.full_refresh} {self._mode.updated_from} {self._mode.updated_to}"
        return plan_sweep(
            endpoint,
            parents,
            self._state(endpoint, warehouse),
            mode=mode,
            now=datetime.now(UTC),
            resume_within=settings.resume_within,
            changing=changing_paths(endpoint, tables, columns.get(endpoint.name, {})),
            windowed=self._mode.windowed,
        )

    def _state(self, endpoint: Endpoint, warehouse: Warehouse) -> dict[str, Any]:
        sources: Any = warehouse.pipeline.state.get("sources", {})
        state: dict[str, Any] = sources.get(self._api.name, {}).get("resources", {}).get(endpoint.name, {})
        return state if is_of(self._api, state) else {}

    def _cursor(self, endpoint: Endpoint, warehouse: Warehouse) -> datetime | None:
        state = self._state(endpoint, warehouse)
        return datetime.fromisoformat(state[CURSOR]) if CURSOR in state else None

    def _extract(
        self,
        package: Sequence[tuple[EndpointReader, Sequence[Parent]]],
        warehouse: Warehouse,
        settings: Settings,
    ) -> bool:
        """Reads a package and makes it ready to load. False if there is nothing to load."""

        def resource(reader: EndpointReader, part: Sequence[Parent]) -> Any:
            return build_resource(reader.endpoint, lambda: reader.items(part))

        pipeline = warehouse.pipeline
        source = build_source(self._api, [resource(reader, part) for reader, part in package])
        try:
            pipeline.extract(
                source,
                workers=settings.max_in_flight,
                max_parallel_items=2 * settings.max_in_flight,
                loader_file_format="parquet",
            )
            rejected = {reader.endpoint.name: reader.take_rejected() for reader, _ in package}
            if any(rejected.values()):
                self._log.warning(f"{self._api.name}: rows without a complete key went to {REJECTED}")
                pipeline.extract(build_source(self._api, [rejected_resource(rejected)]))
            if not any(rejected.values()) and not any(reader.gave for reader, _ in package):
                pipeline.abort_packages()
                return False
            pipeline.normalize()
        except PipelineStepFailed as error:
            raise _cause(error) from None
        for reader, _ in package:
            reader.gave = False
        return True


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
