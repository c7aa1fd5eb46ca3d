"""Compares an API's tables with the API, some lists in each run, within a budget of requests.

A table differs from the API whenever something has changed there since the last sync. So a difference counts once it
is seen twice, with the same content on both sides, and

- a complete sync of the endpoint lies in between, which should have removed it; or
- the table is not as the last sync left it: the ledger has the sum of its hashes (``LedgerRow.rows_hash``).
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from analytics_ingest.config.api import load_settings, page_limit
from analytics_ingest.diagnostics.endpoint_comparison import EndpointComparison
from analytics_ingest.diagnostics.row_comparison import UpstreamRows, find_differences
from analytics_ingest.errors import ConfigurationError, FailureKind, IngestError
from analytics_ingest.extract.date_window import build_date_window
from analytics_ingest.extract.list_reader import ListReader
from analytics_ingest.extract.partition_queue import FailureBudget
from analytics_ingest.extract.rows import DELETED_AT, ROW_HASH
from analytics_ingest.http.session import ApiSession
from analytics_ingest.sync.ledger_writer import declaration_of
from analytics_ingest.sync.stored_tables import StoredTables, limits_of
from analytics_ingest.warehouse.destination_errors import is_transient
from analytics_ingest.warehouse.history_names import SYNCS, VERIFICATIONS
from analytics_ingest.warehouse.sync_ledger import LastSync
from analytics_ingest.warehouse.verification_table import Verification
from analytics_ingest.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.errors import ReadError
    from analytics_ingest.extract.partitions import Partition
    from analytics_ingest.extract.table_snapshot import Limits
    from analytics_ingest.warehouse.table_queries import DatasetTables


@dataclass(frozen=True, kw_only=True)
class VerifiedEndpoint:
    """What a run found of one endpoint.

    Attributes:
        endpoint: The endpoint.
        verification: How its table compares with the API by now.
        lists: The lists that were compared in this run.
        requests: The requests that they took, retries included.
    """

    endpoint: Endpoint
    verification: Verification
    lists: int = 0
    requests: int = 0


class RequestBudget:
    """The requests that may still be sent."""

    def __init__(self, requests: int | None) -> None:
        """Starts with ``requests``; ``None`` for any number."""
        self._left = requests
        self.sent = 0
        self.refused = False

    def take(self) -> bool:
        """Takes a request from the budget; false if there is none left."""
        if self._left is not None and self.sent >= self._left:
            self.refused = True
            return False
        self.sent += 1
        return True

    @property
    def is_spent(self) -> bool:
        """Whether there is no request left."""
        return self._left is not None and self.sent >= self._left


def verify_some(
    api: Api,
    *,
    requests: int | None,
    selected: Collection[str] | None = None,
    only_again: bool = False,
    log: logging.Logger,
) -> list[VerifiedEndpoint]:
    """Compares lists of an API with its tables until the budget is spent or every table was compared within a week.

    First come the lists with rows that differed before, then the tables whose comparison has begun, then those that
    were compared the longest ago. Writes what it found into ``_verifications`` and the ledger, and nothing else.

    Args:
        api: The API.
        requests: The budget; ``None`` for any number of requests.
        selected: Names of the endpoints; all by default.
        only_again: Whether to compare only the lists with rows that differed before.
        log: Gets progress and waits.

    Returns:
        The endpoints of which anything was compared, or which could not be compared; none if the destination has no
        ledger.

    Raises:
        IngestError: A setting is missing or invalid, or the API refused the key.
        WarehouseError: The warehouse cannot be used.
        LockTimeoutError: A sync of this API, or with the same database file, does not end.
    """
    settings = load_settings(api)
    warehouse = Warehouse(api.name, log=log, lock_timeout=settings.lock_timeout)
    if not warehouse.keeps_history:
        log.info(f"{api.name}: no table is compared with the API some lists at a time: the destination has no ledger")
        return []
    with closing(ApiSession(api, settings, log=log)) as session:
        run = _Run(api, warehouse, session, RequestBudget(requests), log=log)
        return run.results(api.by_name.keys() if selected is None else selected, only_again=only_again)


class _Run:
    """One run of the comparison."""

    def __init__(
        self,
        api: Api,
        warehouse: Warehouse,
        session: ApiSession,
        budget: RequestBudget,
        *,
        log: logging.Logger,
    ) -> None:
        self._api = api
        self._warehouse = warehouse
        self._session = session
        self._settings = session.settings
        self._budget = budget
        self._log = log
        self._now = datetime.now(UTC)

    def results(self, selected: Collection[str], *, only_again: bool) -> list[VerifiedEndpoint]:
        works = self._plan(selected)
        for work in works:
            if work.again and not work.reason:
                self._read(work, [each for each in work.partitions if each.path in work.again], in_pass=False)
        due = [] if only_again else [work for work in works if work.is_due(self._now, too_large=self._too_large)]
        for work in sorted(due, key=lambda each: each.order):
            if self._budget.is_spent:
                break
            self._go_on(work)
        compared = [work for work in works if work.is_read]
        self._compare(compared)
        self._look_again(work for work in compared if work.found and not work.is_as_left)
        results = [
            VerifiedEndpoint(
                endpoint=work.endpoint,
                verification=work.verification(self._now),
                lists=work.lists,
                requests=work.meter.requests,
            )
            for work in works
            if work.is_read or (work.reason and not only_again)
        ]
        self._write([each.verification for each in results])
        return results

    # what to compare

    def _plan(self, selected: Collection[str]) -> list[EndpointComparison]:
        """The endpoints with their lists, by the parents' tables."""
        works: list[EndpointComparison] = []
        api = self._api
        with self._warehouse.read() as tables:
            columns = tables.columns([*api.by_name, SYNCS, VERIFICATIONS])
            before, last = self._records(columns)
            # a clock that was set back must not put this run before the syncs whose tables it reads
            starts = [each.started_at + timedelta(microseconds=1) for each in last.values() if each.started_at]
            self._now = max([self._now, *starts])
            limits = limits_of(tables)
            for endpoint in api.endpoints:
                name = endpoint.name
                if name not in selected or name in self._settings.skip_endpoints:
                    continue
                work = EndpointComparison(
                    endpoint, before.get(name, Verification(endpoint=name)), last.get(name, LastSync())
                )
                work.again = {each.path for each in work.before.rows}
                works.append(work)
                if not (reason := self._not_comparable(work, columns)):
                    reason = self._prepare(work, tables, columns, limits)
                work.reason = reason
        return works

    def _records(
        self, columns: Mapping[str, Mapping[str, str]]
    ) -> tuple[Mapping[str, Verification], Mapping[str, LastSync]]:
        """The comparisons so far, and the last syncs, by endpoint."""
        seen, syncs = columns.get(VERIFICATIONS, {}), columns.get(SYNCS, {})
        before = self._warehouse.verifications(lambda table: table.rows(seen)) if seen else {}
        return before, self._warehouse.ledger(lambda ledger: ledger.last_syncs(syncs)) if syncs else {}

    def _not_comparable(self, work: EndpointComparison, columns: Mapping[str, Mapping[str, str]]) -> str:
        """Why a table differs from the API whatever its rows are; empty if it does not."""
        declaration = declaration_of(self._api, work.endpoint, self._settings.exclude_columns)
        if ROW_HASH not in columns.get(work.endpoint.name, {}):
            return "it has no table yet: materialise it first"
        if work.last.started_at is None:
            return "no complete sync is in the ledger yet"
        if work.last.declaration != declaration:
            return "its declaration or EXCLUDE_COLUMNS has changed since its last complete sync"
        return ""

    def _prepare(
        self, work: EndpointComparison, tables: DatasetTables, columns: Mapping[str, Mapping[str, str]], limits: Limits
    ) -> str:
        """Finds the lists of an endpoint; gives the reason if that fails."""
        endpoint = work.endpoint
        try:
            found = self._partitions(endpoint, tables, columns)
            work.partitions = [partition for partition in found if not partition.covered]
            work.reader = ListReader(
                endpoint,
                self._session,
                limit=page_limit(self._api, endpoint),
                meter=work.meter,
                columns=columns[endpoint.name],
                limits=limits,
            )
        except (ConfigurationError, IngestError) as error:
            return str(error)
        except Exception as error:
            if is_transient(error):
                raise
            return f"{endpoint.path} {self._session.unexpected(error, endpoint.name)}"
        return ""

    def _partitions(
        self, endpoint: Endpoint, tables: DatasetTables, columns: Mapping[str, Mapping[str, str]]
    ) -> list[Partition]:
        stored = StoredTables(api=self._api, tables=tables, columns=columns)
        window = build_date_window(self._settings, now=self._now)
        return stored.partitions(endpoint, window, log=self._log)

    @property
    def _too_large(self) -> str:
        return f"one of its lists takes more than VERIFY_REQUESTS={self._settings.verify_requests} permits"

    # reading

    def _go_on(self, work: EndpointComparison) -> None:
        """Goes on with the pass of an endpoint, or begins one."""
        is_first = self._budget.sent == 0
        has_key = bool(work.endpoint.primary_key)
        work.path = (work.before.pass_path or "") if has_key else ""
        left = [each for each in work.partitions if each.path > work.path or not work.path]
        self._read(work, left, in_pass=True)
        work.ended = work.path is not None and (not left or work.path == left[-1].path)
        if work.ended or work.reason:
            return
        if is_first and not (has_key and work.lists) and not work.unread:
            work.reason = self._too_large
        if not has_key:
            # a snapshot is compared as a whole
            work.upstream = work.path = None

    def _read(self, work: EndpointComparison, partitions: Iterable[Partition], *, in_pass: bool) -> None:
        """Reads lists, until the budget is spent or so many fail that the others would."""
        work.upstream = upstream = work.upstream or UpstreamRows(work.endpoint, start=self._settings.start_date)
        failures = FailureBudget(len(work.partitions))
        for partition in partitions:
            if partition.path not in upstream.paths:
                if self._budget.is_spent:
                    break
                failure = self._read_list(work, partition, upstream)
                if self._budget.refused:
                    break
                failures.record(failure.kind if failure else None)
                if failure and (failures.is_exhausted or not work.has_other_lists):
                    work.reason = f"{partition.path} {failure}"
                    break
                if failure:
                    work.unread = work.unread or f"{partition.path} {failure}"
                else:
                    work.lists += 1
            if in_pass:
                work.path = partition.path
        gone = work.not_found
        if gone and gone == len(work.partitions) and work.endpoint.on_404 == "parent gone" and not work.reason:
            work.give_up(f"every one of {gone} parents answered 404: is the path right?")

    def _read_list(self, work: EndpointComparison, partition: Partition, upstream: UpstreamRows) -> ReadError | None:
        """Reads a list; gives its failure. Nothing of it counts then, nor if the budget does not suffice."""
        if work.reader is None:
            raise RuntimeError(f"{work.endpoint.name} was not prepared")
        self._budget.refused = False
        rows: list[dict[str, object]] = []
        is_whole = True
        known_status = 404 if work.endpoint.on_404 == "not defined" else None
        steps = work.reader.steps(partition, known_status=known_status, stopped=lambda: not self._budget.take())
        with closing(steps):
            for page in self._session.sleeping(steps):
                if page.failure and page.failure.kind is FailureKind.NOT_FOUND and work.endpoint.parents:
                    work.not_found += 1
                elif page.failure:
                    return page.failure
                rows += page.rows
                is_whole = is_whole and not (page.rejected or page.short or page.unsettled)
                if page.starts_over:
                    rows, is_whole = [], True
        if self._budget.refused:
            return None
        upstream.add(partition.path, rows, cursor=work.reader.normalizer.cursor)
        if not is_whole:
            work.unproven.add(partition.path)
        return None

    # comparing

    def _compare(self, works: Sequence[EndpointComparison]) -> None:
        """Compares the rows that were read with the tables."""
        if not works:
            return
        with self._warehouse.read() as tables:
            columns = tables.columns([*self._api.by_name, SYNCS, VERIFICATIONS])
            # a sync may have ended since
            _, last = self._records(columns)

            @cache  # several children have the same parent
            def is_as_left(name: str) -> bool:
                return _is_as_left(name, tables, columns, last)

            for work in works:
                work.last = last.get(work.endpoint.name, work.last)
                try:
                    self._compare_table(work, tables, columns)
                    work.is_as_left = is_as_left(work.endpoint.name)
                    work.parents_are_as_left = all(map(is_as_left, work.endpoint.upstream))
                except Exception as error:
                    if is_transient(error):
                        raise
                    work.give_up(f"{work.endpoint.path} {self._session.unexpected(error, work.endpoint.name)}")

    def _compare_table(
        self, work: EndpointComparison, tables: DatasetTables, columns: Mapping[str, Mapping[str, str]]
    ) -> None:
        endpoint, upstream = work.endpoint, work.upstream
        if upstream is None or (not endpoint.primary_key and len(upstream.paths) < len(work.partitions)):
            return
        types = columns.get(endpoint.name, {})
        present = None
        if endpoint.parents and not endpoint.parents.open_ended:
            # as they are by now: a sync may have ended since
            present = {each.path for each in self._partitions(endpoint, tables, columns)}
        found = find_differences(
            endpoint,
            upstream,
            tables,
            types,
            current=StoredTables(api=self._api, tables=tables, columns=columns).renaming(endpoint),
            present=present,
            now=self._now,
        )
        work.found = [each for each in found if each.path not in work.unproven]

    def _look_again(self, works: Iterable[EndpointComparison]) -> None:
        """Reads the lists with differences once more, of tables that something else than a sync has changed."""
        pairs: list[tuple[EndpointComparison, EndpointComparison]] = []
        for work in works:
            known = work.known
            paths = {each.path for each in work.found if each.identity not in known}
            upstream = UpstreamRows(work.endpoint, start=self._settings.start_date)
            second = replace(work, upstream=upstream, found=())
            lists = [each for each in work.partitions if each.path in paths or not work.endpoint.primary_key]
            for each in lists if paths else ():
                self._read_list(second, each, upstream)
            if paths and all(each.path in upstream.paths for each in lists):
                pairs.append((work, second))
        self._compare([second for _, second in pairs])
        for work, second in pairs:
            seen = work.known | {each.identity for each in second.found}
            work.found = [each for each in work.found if each.identity in seen]
            requested = {each.path for each in work.partitions}
            # a row without a list has lost its parent, which may be missing in the table of the parents alone
            work.confirmed = {
                each.identity
                for each in second.found
                if not second.is_as_left and (each.path in requested or second.parents_are_as_left)
            }

    def _write(self, verifications: Sequence[Verification]) -> None:
        if not verifications:
            return
        with self._warehouse.sync():
            with self._warehouse.open() as tables:
                columns = tables.columns([SYNCS, VERIFICATIONS])
                self._warehouse.verifications(lambda table: table.fit(columns.get(VERIFICATIONS, {})))
                self._warehouse.verifications(lambda table: table.replace(verifications))
                self._warehouse.ledger(lambda ledger: ledger.fit(columns.get(SYNCS, {})))
                for each in verifications:
                    if each.verified_at:
                        moment, name = each.verified_at, each.endpoint
                        self._warehouse.ledger(lambda ledger: ledger.set_verified(name, moment))  # noqa: B023
            self._warehouse.publish()


def _is_as_left(
    name: str, tables: DatasetTables, columns: Mapping[str, Mapping[str, str]], last: Mapping[str, LastSync]
) -> bool:
    """Whether a table is as the last sync left it; true also if that is not known."""
    known, types = last.get(name, LastSync()).rows_hash, columns.get(name, {})
    if known is None or ROW_HASH not in types:
        return True
    return known == tables.sum_of(name, ROW_HASH, where_null=DELETED_AT if DELETED_AT in types else None)
