"""Compares the rows of an API with those in its tables. Writes nothing.

It does not reuse the sync's cursors or counts: all pages of all partitions are read, parents come from this read and
not from the warehouse, and every key is compared, with the hash of its row. It shares the HTTP client and the
normalisation of rows. A value that was altered in the table under an unchanged hash is not found.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from heapq import nsmallest
from typing import TYPE_CHECKING, Any, Literal

from analytics_ingest.apis.parents import FromRenamed
from analytics_ingest.config.api import load_settings, page_limit
from analytics_ingest.diagnostics.row_comparison import Key, key_of
from analytics_ingest.errors import ConfigurationError, FailureKind
from analytics_ingest.extract.column_types import as_text
from analytics_ingest.extract.date_window import build_date_window
from analytics_ingest.extract.list_reader import ListReader
from analytics_ingest.extract.partitions import ParentRows, partitions_from
from analytics_ingest.extract.rows import DELETED_AT, ROW_HASH, sent_hash
from analytics_ingest.http.meter import Meter
from analytics_ingest.http.session import ApiSession
from analytics_ingest.sync.stored_tables import limits_of
from analytics_ingest.warehouse.destination_errors import is_transient
from analytics_ingest.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.apis.parents import DateWindow
    from analytics_ingest.extract.list_reader import PageResult
    from analytics_ingest.extract.partitions import Partition
    from analytics_ingest.extract.table_snapshot import Limits
    from analytics_ingest.warehouse.table_queries import DatasetTables

EXAMPLES = 3
"""Keys that a difference lists."""
CONVERT: Mapping[str, Callable[[Any], Any]] = {"text": as_text, "bigint": int, "double": float}
"""By type of a column how a value becomes one of it."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Rows that only one side has: their number, and up to ``EXAMPLES`` of their keys."""

    count: int = 0
    examples: Sequence[Key] = ()


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """The result of comparing one endpoint with its table.

    Attributes:
        endpoint: The endpoint.
        outcome: ``same``; ``differs``; ``failed``, if it could not be read and compared; ``left out``, if a setting
            skips it or its parent, or the API has withdrawn it.
        reason: Why it failed or was left out; without secrets.
        upstream: Keys that the API has; for a snapshot, rows.
        table: Rows in the table that are not marked as deleted.
        changed: Keys whose row in the table has another content.
        missing: Keys that only the API has.
        extra: Keys that only the table has.
        doubled: Rows in the table beyond one for each key.
        rejected: Rows that cannot be stored. They are not compared, as a sync does not load them.
        too_old: Rows older than ``START_DATE``. They are not compared, as a sync does not load them.
        short: Rows that the API's own totals state and that it did not send.
    """

    endpoint: Endpoint
    outcome: Literal["same", "differs", "failed", "left out"]
    reason: str = ""
    upstream: int = 0
    table: int = 0
    changed: Difference = Difference()
    missing: Difference = Difference()
    extra: Difference = Difference()
    doubled: int = 0
    rejected: int = 0
    too_old: int = 0
    short: int = 0


def verify_api(api: Api, *, selected: set[str] | None = None, log: logging.Logger) -> Iterator[VerifyResult]:
    """Compares an API with its tables, and yields a result for each selected endpoint, level by level.

    The lock that keeps syncs out is held while tables are read, but not while the API is read: a sync that ends in
    between shows as a difference.

    Args:
        api: The API.
        selected: The names of the endpoints to compare; all by default. Their parents are read as well.
        log: Gets waits for locks; its child ``requests`` gets the retries of requests.

    Raises:
        IngestError: A setting is missing or invalid, or the API refused the key.
        WarehouseError: The warehouse cannot be used.
        LockTimeoutError: A sync of this API, or with the same database file, does not end.
    """
    settings = load_settings(api)
    warehouse = Warehouse(api.name, log=log, lock_timeout=settings.lock_timeout)
    session = ApiSession(api, settings, log=log.getChild("requests"))
    names = set(api.by_name) if selected is None else selected
    parent_rows = ParentRows(api)
    window = build_date_window(settings, now=datetime.now(UTC))
    unread: dict[str, VerifyResult] = {}
    try:
        with warehouse.read() as tables:
            # the types of key columns decide which rows a sync stores
            columns = tables.columns(api.by_name)
            limits = limits_of(tables)
        for level in api.levels(_with_parents(api, names)):
            upstream: list[_UpstreamKeys] = []
            for endpoint in level:
                if result := _not_read(endpoint, settings.skip_endpoints, unread):
                    unread[endpoint.name] = result
                    continue
                prepared = _prepare(endpoint, session, parent_rows, window, warehouse, columns, limits)
                if isinstance(prepared, VerifyResult):
                    unread[endpoint.name] = prepared
                else:
                    upstream.append(prepared)
            _read(upstream, workers=settings.max_in_flight)
            withdrawn: dict[str, VerifyResult] = {}
            for each in upstream:
                name = each.endpoint.name
                if each.withdrawn:
                    withdrawn[name] = VerifyResult(endpoint=each.endpoint, outcome="left out", reason=each.withdrawn)
                    _add_stored(name, parent_rows, warehouse)
                elif failure := each.failure:
                    unread[name] = VerifyResult(endpoint=each.endpoint, outcome="failed", reason=failure)
            found = {**unread, **withdrawn}
            yield from (found[endpoint.name] for endpoint in level if endpoint.name in found.keys() & names)
            complete = [each for each in upstream if each.endpoint.name in names and each.endpoint.name not in found]
            yield from _compare(complete, warehouse, session)
    finally:
        session.close()


def _with_parents(api: Api, names: set[str]) -> set[str]:
    needed = set(names)
    for endpoint in reversed(api.endpoints):
        if endpoint.name in needed:
            needed.update(endpoint.after)
    return needed


def _not_read(endpoint: Endpoint, skipped: Sequence[str], unread: Mapping[str, VerifyResult]) -> VerifyResult | None:
    """The result of an endpoint that is skipped, or whose parent was not read; ``None`` if it can be read."""
    if endpoint.name in skipped:
        return VerifyResult(endpoint=endpoint, outcome="left out", reason="left out by SKIP_ENDPOINTS")
    for name in endpoint.upstream:
        if parent := unread.get(name):
            reason = f"it is requested for each row of {name}: {parent.reason}"
            return VerifyResult(endpoint=endpoint, outcome=parent.outcome, reason=reason)
    return None


def _prepare(
    endpoint: Endpoint,
    session: ApiSession,
    parent_rows: ParentRows,
    window: DateWindow,
    warehouse: Warehouse,
    columns: Mapping[str, Mapping[str, str]],
    limits: Limits,
) -> _UpstreamKeys | VerifyResult:
    """The lists of an endpoint, or the result if they are not known."""
    name, names_itself = endpoint.name, _names_itself(endpoint)
    if names_itself:
        _add_stored(name, parent_rows, warehouse)
    try:
        return _UpstreamKeys(endpoint, session, parent_rows, window, columns.get(name, {}), limits)
    except ConfigurationError as error:
        return VerifyResult(endpoint=endpoint, outcome="failed", reason=str(error))
    except Exception as error:  # noqa: BLE001 - one endpoint fails, the others are compared
        reason = f"{endpoint.path} {session.unexpected(error, name)}"
        return VerifyResult(endpoint=endpoint, outcome="failed", reason=reason)
    finally:
        if names_itself:
            # from here on as the API has them
            parent_rows.forget(name)


def _names_itself(endpoint: Endpoint) -> bool:
    """Whether an endpoint is requested for the rows of its own table, too."""
    source = endpoint.parents
    return isinstance(source, FromRenamed) and source.includes_named and source.table == endpoint.name


def _add_stored(name: str, parent_rows: ParentRows, warehouse: Warehouse) -> None:
    """Adds the rows of an endpoint's table to those of the parents that were read."""
    with warehouse.read() as tables:
        stored = tables.columns([name]).get(name, {})
        columns = [column for column in parent_rows.columns_of(name) if column in stored]
        if columns:
            live = DELETED_AT if DELETED_AT in stored else None
            rows = tables.read(name, columns, where_null=live)
            parent_rows.add(name, (dict(zip(columns, values, strict=True)) for values in rows))


class _UpstreamKeys:
    """The keys of one endpoint upstream, read by several threads.

    Attributes:
        partitions: The lists to read.
        covered_paths: The paths of the lists whose rows another endpoint's lists have: they are not compared.
        withdrawn: How the API answered for an endpoint that it withdraws; empty if it serves the endpoint.
        hashes: By key the hashes of rows that a sync loads.
        old_keys: The keys of rows older than ``START_DATE``.
        rows: The number of rows that can be stored.
        rejected: The hashes of rows that cannot be stored.
        short: The number of rows that totals state and that were not sent.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        session: ApiSession,
        parent_rows: ParentRows,
        window: DateWindow,
        columns: Mapping[str, str],
        limits: Limits,
    ) -> None:
        self.endpoint = endpoint
        found = [
            replace(each, params=_as_stored(each.params, columns))
            for each in partitions_from(endpoint, parent_rows.read, window)
        ]
        self.partitions = [partition for partition in found if not partition.covered]
        self.covered_paths = {partition.path for partition in found if partition.covered}
        self.withdrawn = ""
        self.hashes: dict[Key, set[int]] = {}
        self.old_keys: set[Key] = set()
        self.rejected: set[int] = set()
        self.rows = self.short = 0
        self._parent_rows = parent_rows
        self._start = session.settings.start_date if endpoint.primary_key else None
        self._reader = ListReader(
            endpoint,
            session,
            limit=page_limit(session.api, endpoint),
            meter=Meter(),
            columns=columns,
            limits=limits,
        )
        self._not_found = 0
        self._failure: str | None = None
        self._lock = threading.Lock()

    @property
    def compared_paths(self) -> set[str] | None:
        """The paths whose rows are compared; ``None`` for all paths in the table."""
        parents = self.endpoint.parents
        return {partition.path for partition in self.partitions} if parents and parents.open_ended else None

    @property
    def failure(self) -> str | None:
        """Why the endpoint was not read completely; ``None`` if it was."""
        none_found = 0 < self._not_found == len(self.partitions)
        if none_found and self.endpoint.on_404 == "parent gone":
            return f"{self.endpoint.path}: every one of {self._not_found} parents answered 404: is the path right?"
        return self._failure

    def read(self, partition: Partition) -> None:
        """Reads a list, unless the endpoint has failed already.

        Raises:
            AuthenticationError: The API refused the key.
        """
        if self._failure:
            return
        rows = 0
        for page in self._reader.read(partition):
            self._add(page)
            rows += len(page.rows)
            if page.starts_over:
                # all pages follow once more; without a key, rows that were counted cannot be recognised
                with self._lock:
                    self.rows -= rows
                rows = 0

    def _add(self, page: PageResult) -> None:
        recent, old = self._by_age(page.rows)
        hashes = [(key, row[ROW_HASH]) for key, row in zip(self._keys(recent), recent, strict=True)]
        old_keys = set(self._keys(old))
        rejected = {sent_hash(sent) for _, sent in page.rejected}
        with self._lock:
            for key, row_hash in hashes:
                self.hashes.setdefault(key, set()).add(row_hash)
            self.old_keys |= old_keys
            self.rows += len(page.rows)
            self.rejected |= rejected
            self.short += page.short
            # rows that are too old are no parents: a sync does not load them
            self._parent_rows.add(self.endpoint.name, recent)
            if page.failure and page.failure.kind is FailureKind.NOT_FOUND and self.endpoint.parents:
                self._not_found += 1
            elif page.failure and self.endpoint.is_withdrawn(page.failure.status):
                self.withdrawn = f"{page.partition.path} {page.failure}: {self.endpoint.withdrawal}"
            elif page.failure:
                self._failure = self._failure or f"{page.partition.path} {page.failure}"

    def _by_age(self, rows: Sequence[dict[str, Any]]) -> tuple[Sequence[dict[str, Any]], Sequence[dict[str, Any]]]:
        """The rows that a sync loads, and those older than ``START_DATE``."""
        if self._start is None:
            return rows, ()
        cursors = [(row, self._reader.normalizer.cursor(row)) for row in rows]
        old = [row for row, cursor in cursors if cursor is not None and cursor < self._start]
        return [row for row, cursor in cursors if cursor is None or cursor >= self._start], old

    def _keys(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Key]:
        """The keys of rows; empty ones for an endpoint without a key."""
        for row in rows:
            yield key_of(row[name] for name in self.endpoint.primary_key)


def _as_stored(params: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Path parameters as a sync takes them from the parents' table: the hash of a row tells 7 from '7'."""
    return {name: _of_type(columns.get(name, ""), value) for name, value in params.items()}


def _of_type(kind: str, value: Any) -> Any:
    """A value as a column of a type holds it; unchanged if it cannot."""
    convert = CONVERT.get(kind)
    if value is None or convert is None:
        return value
    try:
        return convert(value)
    except (TypeError, ValueError):
        return value


def _read(upstream: Sequence[_UpstreamKeys], *, workers: int) -> None:
    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            for future in as_completed([pool.submit(each.read, one) for each in upstream for one in each.partitions]):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _compare(upstream: Sequence[_UpstreamKeys], warehouse: Warehouse, session: ApiSession) -> list[VerifyResult]:
    if not upstream:
        return []
    results = []
    with warehouse.read() as tables:
        columns = tables.columns([each.endpoint.name for each in upstream])
        for each in upstream:
            try:
                results.append(_compare_table(each, tables, columns.get(each.endpoint.name, {})))
            except Exception as error:
                if is_transient(error):
                    raise
                reason = f"{each.endpoint.path} {session.unexpected(error, each.endpoint.name)}"
                results.append(VerifyResult(endpoint=each.endpoint, outcome="failed", reason=reason))
    return results


def _compare_table(upstream: _UpstreamKeys, tables: DatasetTables, columns: Mapping[str, str]) -> VerifyResult:
    endpoint = upstream.endpoint
    stored: dict[Key, set[int | None]] = {}
    rows = 0
    if endpoint.primary_key and columns:
        live = DELETED_AT if DELETED_AT in columns else None
        paths = upstream.compared_paths
        covered = upstream.covered_paths
        key, params = endpoint.primary_key, endpoint.path_params if paths is not None or covered else ()
        for values in tables.read(endpoint.name, [*key, *params, ROW_HASH], where_null=live):
            path = endpoint.path_for(dict(zip(params, values[len(key) : -1], strict=True))) if params else ""
            if (paths is None or path in paths) and path not in covered:
                stored.setdefault(key_of(values[: len(key)]), set()).add(values[-1])
                rows += 1
    elif columns:
        rows = tables.count(endpoint.name)
    if endpoint.primary_key:
        hashes = upstream.hashes
        missing = _difference(hashes.keys() - stored.keys())
        extra = _difference(stored.keys() - hashes.keys() - upstream.old_keys)
        changed = _difference({key for key in hashes.keys() & stored.keys() if not stored[key] & hashes[key]})
        doubled = rows - len(stored)
    else:
        missing = Difference(count=max(0, upstream.rows - rows))
        extra = Difference(count=max(0, rows - upstream.rows))
        doubled, changed = 0, Difference()
    return VerifyResult(
        endpoint=endpoint,
        outcome="differs" if missing.count or extra.count or changed.count or doubled else "same",
        upstream=len(upstream.hashes) if endpoint.primary_key else upstream.rows,
        table=rows,
        changed=changed,
        missing=missing,
        extra=extra,
        doubled=doubled,
        rejected=len(upstream.rejected),
        too_old=len(upstream.old_keys),
        short=upstream.short,
    )


def _difference(keys: set[Key]) -> Difference:
    return Difference(count=len(keys), examples=tuple(nsmallest(EXAMPLES, keys)))
