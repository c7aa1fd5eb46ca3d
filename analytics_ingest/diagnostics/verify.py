"""Whether the tables hold what the API has: every key read afresh and compared. Writes nothing.

It shares no shortcut with the sync: all pages of all parents are read, parents come from this same read and not
from the warehouse, and keys are compared, not hashes, cursors or counts that someone kept.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import nsmallest
from typing import TYPE_CHECKING, Any, Literal

from analytics_ingest.config.api import load_settings, page_limit
from analytics_ingest.errors import ConfigurationError, FailureKind
from analytics_ingest.extract.column_types import as_text
from analytics_ingest.extract.date_window import build_date_window
from analytics_ingest.extract.list_reader import ListReader
from analytics_ingest.extract.partitions import ParentRows, partitions_from
from analytics_ingest.extract.rows import DELETED_AT, sent_hash
from analytics_ingest.http.meter import Meter
from analytics_ingest.http.session import ApiSession
from analytics_ingest.sync.stored_tables import limits_of
from analytics_ingest.warehouse.destination_errors import is_transient
from analytics_ingest.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.apis.parents import DateWindow
    from analytics_ingest.extract.list_reader import PageResult
    from analytics_ingest.extract.partitions import Partition
    from analytics_ingest.extract.table_snapshot import Limits
    from analytics_ingest.warehouse.table_queries import DatasetTables

Key = tuple[str, ...]
EXAMPLES = 3
"""Keys that a difference shows."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Rows that one side has and the other has not: how many, and up to ``EXAMPLES`` of their keys."""

    count: int = 0
    examples: Sequence[Key] = ()


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """What the comparison of one endpoint with its table found.

    Attributes:
        endpoint: The endpoint.
        outcome: ``same``; ``differs``; ``failed``: it could not be read, so nothing was compared; ``left out``:
            a setting says not to read it, or its parent.
        reason: Why it failed or was left out; holds no secret.
        upstream: Keys that the API has; of a snapshot rows.
        table: Rows in the table that are not marked as deleted.
        missing: Keys that the API has and the table has not.
        extra: Keys that the table has and the API has not.
        doubled: Rows in the table whose key another row has as well.
        rejected: Rows that cannot be stored: a sync keeps them apart, so they are not compared.
        too_old: Rows older than ``START_DATE``: a sync does not load them, so they are not compared.
        short: Rows that the API's own totals state and that did not come.
    """

    endpoint: Endpoint
    outcome: Literal["same", "differs", "failed", "left out"]
    reason: str = ""
    upstream: int = 0
    table: int = 0
    missing: Difference = Difference()
    extra: Difference = Difference()
    doubled: int = 0
    rejected: int = 0
    too_old: int = 0
    short: int = 0


def verify_api(api: Api, *, selected: set[str] | None = None, log: logging.Logger) -> Iterator[VerifyResult]:
    """Compares an API with its tables, and gives a result for each selected endpoint once its level is read.

    The lock that keeps syncs out is held while tables are read, not while the API is: a sync that ends in between
    shows as a difference.

    Args:
        api: The API.
        selected: Names of the endpoints to compare; all by default. What feeds them is read as well.
        log: Gets waits for locks; its child ``requests`` gets those of requests.

    Raises:
        IngestError: Nothing (more) of this API can be read: a setting, the key.
        WarehouseError: The warehouse cannot be used.
        LockTimeoutError: A sync of this API, or of this file, does not end.
    """
    settings = load_settings(api)
    warehouse = Warehouse(api.name, log=log, lock_timeout=settings.lock_timeout)
    session = ApiSession(api, settings, log=log.getChild("requests"))
    names = set(api.by_name) if selected is None else selected
    rows = ParentRows(api)
    window = build_date_window(settings, now=datetime.now(UTC))
    unread: dict[str, VerifyResult] = {}
    try:
        with warehouse.read() as tables:
            # the types of key columns decide which rows a sync stores
            columns = tables.columns(api.by_name)
            limits = limits_of(tables)
        for level in api.levels(_with_parents(api, names)):
            fresh: list[_UpstreamKeys] = []
            for endpoint in level:
                if obstacle := _obstacle(endpoint, settings.skip_endpoints, unread):
                    unread[endpoint.name] = obstacle
                    continue
                try:
                    fresh.append(_UpstreamKeys(endpoint, session, rows, window, columns.get(endpoint.name, {}), limits))
                except ConfigurationError as error:
                    unread[endpoint.name] = VerifyResult(endpoint=endpoint, outcome="failed", reason=str(error))
                except Exception as error:  # noqa: BLE001 - one endpoint fails, the others are compared
                    reason = f"{endpoint.path} {session.unexpected(error, endpoint.name)}"
                    unread[endpoint.name] = VerifyResult(endpoint=endpoint, outcome="failed", reason=reason)
            _read(fresh, workers=settings.max_in_flight)
            for each in fresh:
                if failure := each.failure:
                    unread[each.endpoint.name] = VerifyResult(endpoint=each.endpoint, outcome="failed", reason=failure)
            yield from (unread[endpoint.name] for endpoint in level if endpoint.name in unread.keys() & names)
            chosen = [each for each in fresh if each.endpoint.name in names and not each.failure]
            yield from _compare(chosen, warehouse, session)
    finally:
        session.close()


def _with_parents(api: Api, names: set[str]) -> set[str]:
    needed = set(names)
    for endpoint in reversed(api.endpoints):
        if endpoint.name in needed:
            needed.update(endpoint.after)
    return needed


def _obstacle(endpoint: Endpoint, skipped: Sequence[str], unread: Mapping[str, VerifyResult]) -> VerifyResult | None:
    if endpoint.name in skipped:
        return VerifyResult(endpoint=endpoint, outcome="left out", reason="left out by SKIP_ENDPOINTS")
    for name in endpoint.upstream:
        if parent := unread.get(name):
            reason = f"it is asked for each row of {name}: {parent.reason}"
            return VerifyResult(endpoint=endpoint, outcome=parent.outcome, reason=reason)
    return None


class _UpstreamKeys:
    """What one endpoint has upstream: its keys, filled from several threads.

    Attributes:
        keys: The keys that came.
        old_keys: Keys of rows older than ``START_DATE``.
        rows: Rows that came with a complete key.
        rejected: Hashes of those that cannot be stored.
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
        self.asks = list(partitions_from(endpoint, parent_rows.read, window))
        self.keys: set[Key] = set()
        self.old_keys: set[Key] = set()
        self.rejected: set[int] = set()
        self.rows = self.short = 0
        self._feeds = parent_rows
        self._start = session.settings.start_date if endpoint.primary_key else None
        self._reader = ListReader(
            endpoint,
            session,
            limit=page_limit(session.api, endpoint),
            meter=Meter(),
            columns=columns,
            limits=limits,
        )
        self._absent = 0
        self._failure: str | None = None
        self._lock = threading.Lock()

    @property
    def asked(self) -> set[str] | None:
        """The paths whose rows are compared; ``None`` for all there are."""
        feed = self.endpoint.parents
        return {ask.path for ask in self.asks} if feed and feed.open_ended else None

    @property
    def failure(self) -> str | None:
        """Why the endpoint was not read completely; ``None`` if it was."""
        every = 0 < self._absent == len(self.asks)
        if every and self.endpoint.on_404 == "parent gone":
            return f"{self.endpoint.path}: every one of {self._absent} parents answered 404: is the path right?"
        return self._failure

    def read(self, ask: Partition) -> None:
        """Reads everything for one parent, unless the endpoint has failed already.

        Raises:
            AuthenticationError: The API refused the key.
        """
        if self._failure:
            return
        rows = 0
        for page in self._reader.read(ask):
            self._take(page)
            rows += len(page.rows)
            if page.starts_over:
                # of a snapshot no key tells rows that come again from others
                with self._lock:
                    self.rows -= rows
                rows = 0

    def _take(self, page: PageResult) -> None:
        fresh, old = self._by_age(page.rows)
        keys, old_keys = set(self._keys(fresh)), set(self._keys(old))
        rejected = {sent_hash(sent) for _, sent in page.rejected}
        with self._lock:
            self.keys |= keys
            self.old_keys |= old_keys
            self.rows += len(page.rows)
            self.rejected |= rejected
            self.short += page.short
            # rows that are too old feed no child: a sync does not load them
            self._feeds.add(self.endpoint.name, fresh)
            if page.failure and page.failure.kind is FailureKind.NOT_FOUND and self.endpoint.parents:
                self._absent += 1
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
        if self.endpoint.primary_key:
            for row in rows:
                yield _key(row[name] for name in self.endpoint.primary_key)


def _key(values: Iterable[Any]) -> Key:
    # a column has one type: what JSON sends as 1 may be '1' in the table, and is the same key
    return tuple(map(as_text, values))


def _read(fresh: Sequence[_UpstreamKeys], *, workers: int) -> None:
    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            for future in as_completed([pool.submit(each.read, ask) for each in fresh for ask in each.asks]):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _compare(fresh: Sequence[_UpstreamKeys], warehouse: Warehouse, session: ApiSession) -> list[VerifyResult]:
    if not fresh:
        return []
    results = []
    with warehouse.read() as tables:
        there = tables.columns([each.endpoint.name for each in fresh])
        for each in fresh:
            try:
                results.append(_verified(each, tables, there.get(each.endpoint.name, {})))
            except Exception as error:
                if is_transient(error):
                    raise
                reason = f"{each.endpoint.path} {session.unexpected(error, each.endpoint.name)}"
                results.append(VerifyResult(endpoint=each.endpoint, outcome="failed", reason=reason))
    return results


def _verified(fresh: _UpstreamKeys, tables: DatasetTables, columns: Mapping[str, str]) -> VerifyResult:
    endpoint = fresh.endpoint
    stored: set[Key] = set()
    rows = 0
    if endpoint.primary_key and columns:
        live = DELETED_AT if DELETED_AT in columns else None
        asked = fresh.asked
        key, params = endpoint.primary_key, endpoint.path_params if asked is not None else ()
        for values in tables.read(endpoint.name, [*key, *params], where_null=live):
            if asked is None or endpoint.path_for(dict(zip(params, values[len(key) :], strict=True))) in asked:
                stored.add(_key(values[: len(key)]))
                rows += 1
    elif columns:
        rows = tables.count(endpoint.name)
    if endpoint.primary_key:
        missing = _difference(fresh.keys - stored)
        extra = _difference(stored - fresh.keys - fresh.old_keys)
        doubled = rows - len(stored)
    else:
        missing = Difference(count=max(0, fresh.rows - rows))
        extra = Difference(count=max(0, rows - fresh.rows))
        doubled = 0
    return VerifyResult(
        endpoint=endpoint,
        outcome="differs" if missing.count or extra.count or doubled else "same",
        upstream=len(fresh.keys) if endpoint.primary_key else fresh.rows,
        table=rows,
        missing=missing,
        extra=extra,
        doubled=doubled,
        rejected=len(fresh.rejected),
        too_old=len(fresh.old_keys),
        short=fresh.short,
    )


def _difference(keys: set[Key]) -> Difference:
    return Difference(count=len(keys), examples=tuple(nsmallest(EXAMPLES, keys)))
