"""One endpoint in one sync: its lists are read by threads, its rows are given to dlt package by package."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

import dlt

from analytics_ingest.errors import AuthenticationError, FailureKind, ReadError
from analytics_ingest.extract.column_types import as_text
from analytics_ingest.extract.deletions import Deletions
from analytics_ingest.extract.dlt_source import build_resource
from analytics_ingest.extract.drift import DriftDetector
from analytics_ingest.extract.endpoint_columns import EndpointColumns
from analytics_ingest.extract.list_reader import ListReader, PageResult
from analytics_ingest.extract.parent_row_buffer import ParentRowBuffer
from analytics_ingest.extract.partition_queue import PartitionQueue, QueueState
from analytics_ingest.extract.progress import Progress
from analytics_ingest.extract.resource_state import (
    COLLAPSED,
    CURSOR,
    FIELDS,
    UNDEFINED,
    UNPROVEN,
    WHOLE,
    ResourceState,
    is_whole_due,
)
from analytics_ingest.extract.row_buffer import RowBuffer
from analytics_ingest.extract.row_filter import RowFilter
from analytics_ingest.extract.rows import ROW_HASH
from analytics_ingest.extract.stats import ReadFailure, ReadStats
from analytics_ingest.http.session import Pause

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from dlt.sources import DltResource

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.extract.fan_out import FanOutPlan
    from analytics_ingest.extract.partitions import Partition
    from analytics_ingest.extract.row_buffer import RejectedRow
    from analytics_ingest.extract.sync_context import SyncContext
    from analytics_ingest.extract.table_snapshot import TableSnapshot

CHECKPOINT_SECONDS = 60.0
"""Seconds after which the place that an interrupted fan-out resumes from is loaded, also without a row beside it."""

TABLE_STAYS = "Its table stays as it is, and its rows still name what is read for each of them"
"""What becomes of the rows of an endpoint that the API has withdrawn."""


class ReaderState(Enum):
    """How far the reading of an endpoint has come."""

    READING = "reading"
    """Lists are still to be read, or being read."""
    READ = "read"
    """Every list has ended; its last rows, its state and its deletions are not in a package yet."""
    FINISHED = "finished"
    """All that it has is in a package, or loaded."""
    FAILED = "failed"
    """Its rows cannot be loaded: lists under way end, and nothing more is loaded."""


class EndpointReader:
    """Reads one endpoint in one sync.

    Threads take partitions from ``queue`` and ``read`` them. The calling thread does the rest: it records pages with
    ``process_page``; ends its part of a load package with ``finish_package``; gives ``resource`` to dlt; and reports
    ``mark_loaded``, or ``load_failed``.

    Attributes:
        endpoint: The endpoint.
        plan: The partitions to read.
        stored: What the warehouse held of the endpoint before.
        stats: What reading it gave and cost so far.
        queue: Its partitions, for the threads.
        columns: The columns of its table.
        parent_rows: What the partitions of its children need of rows that are not loaded yet.
        deletions: Which stored rows are gone upstream.
        reads_everything: Whether all rows are requested: no window, no filter by the API.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        context: SyncContext,
        *,
        plan: FanOutPlan,
        stored: TableSnapshot,
        state: Mapping[str, Any],
        limit: int | None,
        columns_for_children: Sequence[str] = (),
    ) -> None:
        """Prepares the reading; sends nothing.

        Args:
            endpoint: The endpoint.
            context: The sync.
            plan: The partitions to read.
            stored: What the warehouse holds of it.
            state: The resource's state, as the last sync left it; empty if that was of another profile.
            limit: Rows per page; ``None`` if the API has no such parameter.
            columns_for_children: The columns that the partitions of its children need; none if it has no children.
        """
        self.endpoint = endpoint
        self.plan = plan
        self.stored = stored
        self.stats = ReadStats(parents=len(plan.partitions))
        self.queue = PartitionQueue([*plan.partitions, *self._second_readings()])
        self.parent_rows = ParentRowBuffer(endpoint.primary_key, columns_for_children)
        self._name = f"{context.api.name}/{endpoint.name}"
        self._context = context
        self._session = context.session
        settings = context.settings
        reads_whole = is_whole_due(endpoint, state, context.started)
        self._filter = RowFilter(endpoint, context, stored=stored, reads_whole=reads_whole)
        self.reads_everything = self._filter.is_full_read
        self._state = ResourceState(state, profile=context.api.profile)
        self._lists = ListReader(
            endpoint,
            context.session,
            limit=limit,
            meter=self.stats.meter,
            columns=stored.columns,
            remembered=state.get(FIELDS, {}),
            limits=stored.limits,
        )
        self._drift = DriftDetector(
            endpoint, stored.columns, state, notices=self._lists.notices, masked=context.session.redacted_excerpt
        )
        self.columns = EndpointColumns(
            endpoint,
            self._lists.normalizer,
            path_params=plan.partitions[0].params if plan.partitions else {},
            takes_nul=stored.limits.takes_nul,
        )
        rows = len(stored.hashes) if endpoint.primary_key else len(stored.rows)
        self.deletions = Deletions(stored=rows, before=state.get(COLLAPSED, rows), share=settings.min_rows_share)
        self._proves_deletions = bool(endpoint.primary_key) and self.reads_everything and settings.mark_deleted
        self._marks_deletions = self._proves_deletions
        self._deleted_hashes: list[int] = []
        self._buffer = RowBuffer(self._lists.normalizer)
        self._rewrites: dict[int, dict[str, Any]] = dict(stored.former.moved)
        # whether the table of a snapshot is to be replaced, or an empty table to be made
        self._replaces_table = self._makes_table = False
        self._lists_ended = 0
        self._ended: set[str] = set()
        self._ended_again: set[str] = set()
        self._unread: set[str] = set()
        self._undefined_before: frozenset[str] = frozenset(state.get(UNDEFINED, ()))
        self._undefined: set[str] = set()
        self._resumable = 0
        self._reader_state = ReaderState.READING
        self._started = self._checkpoint = time.monotonic()
        self._progress = Progress(
            self._name,
            context.log,
            interval=settings.progress_interval,
            counts_parents=endpoint.parents is not None,
        )
        if not self.left:
            self._all_lists_ended()

    # what the sync waits for

    @property
    def left(self) -> int:
        """Lists that are still to be read, or being read."""
        return self.queue.expected - self._lists_ended

    @property
    def is_read(self) -> bool:
        """Whether every list that is to be read has ended."""
        if self._reader_state is ReaderState.FAILED:
            return not self.left
        return self._reader_state is not ReaderState.READING

    @property
    def is_finished(self) -> bool:
        """Whether every list has ended, and what ends the endpoint is in a package."""
        return self._reader_state is ReaderState.FINISHED or (self.has_failed and self.is_read)

    @property
    def has_failed(self) -> bool:
        """Whether its rows cannot be loaded."""
        return self._reader_state is ReaderState.FAILED

    @property
    def is_complete(self) -> bool:
        """Whether every partition was read, and nothing failed."""
        return self.stats.parents_done == self.stats.parents and not self.left and not self.stats.failures

    @property
    def has_read_all(self) -> bool:
        """Whether all rows of the endpoint were requested, and every list was read completely."""
        of_some_days = self.endpoint.parents is not None and self.endpoint.parents.open_ended
        return self.is_complete and self.reads_everything and self.plan.whole and not of_some_days

    @property
    def loading_bytes(self) -> int:
        """Bytes of the responses whose rows came since the last load, about."""
        return self._buffer.size

    @property
    def fields_not_met(self) -> Collection[tuple[str, ...]]:
        """Paths of excluded fields that no row had so far."""
        return self._lists.normalizer.not_met

    @property
    def provisional_paths_named(self) -> Collection[str]:
        """Paths by the API's own name of partitions that were requested under a provisional name."""
        return self._lists.named

    # reading, in any thread

    def read(self, partition: Partition, *, stopped: Callable[[], bool]) -> Iterator[PageResult | Pause]:
        """Reads a partition's list, page by page, to its end or until ``stopped``; yields the pauses of its retries.

        Raises:
            AuthenticationError: The API refused the key.
        """
        is_named = partition.naming.late and partition.path in self._lists.named
        if is_named or (partition.again and not self._misses_rows):
            yield PageResult(partition, is_last=True)
            return
        was_undefined = not self._undefined_before.isdisjoint((partition.path, partition.former))
        steps = self._lists.steps(
            partition,
            filters=self._filter.filters,
            known_status=404 if was_undefined else None,
            stopped=lambda: self.queue.state is QueueState.STOPPED or stopped(),
        )
        try:
            for page in steps:
                if isinstance(page, Pause):
                    yield page
                    continue
                rows = page.rows
                filtered = self._filter.apply(page, self._lists.normalizer)
                self._drift.add_rows(rows, new=filtered.rows, columns=self._lists.normalizer.columns)
                if filtered.is_last:
                    # here, as the calling thread may be busy with a load
                    self._list_ended(filtered)
                yield filtered
        except AuthenticationError:
            raise
        except Exception as error:  # noqa: BLE001 - one list fails, the others are read
            page = PageResult(partition, is_last=True, failure=self._session.unexpected(error, partition.path))
            self._list_ended(page)
            yield page

    def _second_readings(self) -> list[Partition]:
        """All lists once more, of an endpoint whose rows move from one list to another.

        A row that moves into a list that was read from one that was not comes in neither: it is not gone.
        """
        source, partitions = self.endpoint.parents, self.plan.partitions
        if source is None or not source.moves_rows or not self.plan.whole or len(partitions) < 2:
            return []
        return [replace(each, again=True) for each in partitions]

    @property
    def _misses_rows(self) -> bool:
        """Whether stored rows did not come, which would be marked as deleted."""
        return self._marks_deletions and not self.stats.failures and any(True for _ in self._filter.unseen())

    def _list_ended(self, page: PageResult) -> None:
        failed = page.failure is not None and not self._is_absence(page.failure)
        if not self.queue.list_ended(page.partition, page.failure.kind if page.failure and failed else None):
            self.stats.given_up = True

    def _is_absence(self, error: ReadError) -> bool:
        """Whether a list could not be read because its parent is gone, or has no such list."""
        return self.endpoint.parents is not None and error.kind is FailureKind.NOT_FOUND

    # recording what came

    def process_page(self, page: PageResult) -> None:
        """Records a page; an error fails the endpoint."""
        try:
            self._process_page(page)
        except Exception as error:  # noqa: BLE001 - one endpoint fails, the others are read
            self.fail(self._session.unexpected(error, page.partition.path))
            if page.is_last and page.partition.path not in self._ended_of(page.partition):
                self._count_end(page.partition)

    def _process_page(self, page: PageResult) -> None:
        stats = self.stats
        stats.pages += page.pages
        stats.rows_read += page.read
        stats.rows_short += page.short
        stats.lists_unsettled += page.unsettled
        stats.keys_ambiguous += page.ambiguous
        stats.highest = max(filter(None, (stats.highest, page.highest)), default=None)
        self._rewrites |= page.rewrites
        # what comes after a load that failed cannot be loaded either
        if not self.has_failed:
            self._keep_rows(page)
        if page.is_last:
            self._process_end(page)
        if self.left:
            self._progress.log_if_due(stats)
        else:
            self._all_lists_ended()

    def _keep_rows(self, page: PageResult) -> None:
        if page.rejected:
            self._reject(page.rejected)
            self.deletions.reject(page.partition.path)
        if not self.endpoint.primary_key:
            if page.starts_over:
                self._buffer.snapshot = []
            else:
                self._buffer.snapshot += page.rows
            return
        self.stats.rows_loaded += len(page.rows)
        self._buffer.add(page.rows, size=page.size * len(page.rows) // max(page.read, 1))
        self.parent_rows.add(page.rows)

    def _process_end(self, page: PageResult) -> None:
        """Records the end of a partition's list."""
        stats, path = self.stats, page.partition.path
        self._count_end(page.partition)
        if page.is_cut:
            self._unread.add(path)
            return
        if page.failure and not self._is_absence(page.failure):
            stats.failures.append(ReadFailure(path, str(page.failure), page.failure.kind))
            if self.endpoint.is_withdrawn(page.failure.status):
                stats.withdrawn = f"{path} {page.failure}: {self.endpoint.withdrawal}. {TABLE_STAYS}"
            self.plan.failed.add(path)
            self._unread.add(path)
            return
        if page.failure and not page.partition.again:
            stats.parents_missing += 1
            self._undefined.add(path)
        self.plan.failed.discard(path)
        if not (page.short or page.unsettled or self.queue.state is QueueState.STOPPED):
            self.deletions.prove(path)

    def _count_end(self, partition: Partition) -> None:
        self._lists_ended += 1
        self.stats.parents_done += not partition.again
        self._ended_of(partition).add(partition.path)

    def _ended_of(self, partition: Partition) -> set[str]:
        """The paths of the lists that have ended, at the same reading as a partition's."""
        return self._ended_again if partition.again else self._ended

    def _all_lists_ended(self) -> None:
        stats = self.stats
        if not self.has_failed:
            self._reader_state = ReaderState.READ
        stats.seconds, stats.ended = time.monotonic() - self._started, datetime.now(UTC)
        gone = stats.parents_missing
        if gone and gone == stats.parents and self.plan.whole and self.endpoint.on_404 == "parent gone":
            why = f"every one of {gone} parents answered 404: is the path right?"
            stats.failures.append(ReadFailure(self.endpoint.path, why, FailureKind.NOT_FOUND))
        self._progress.end(stats, complete=self.is_complete)
        normalizer = self._lists.normalizer
        for field, column in sorted({**normalizer.renamed, **normalizer.names.apart}.items()):
            self._warn(
                f"the API sends its own {field!r}, whose name is that of another column: its value goes to the column "
                f"{column}"
            )
        for each in (*self.widened, stats.doubt):
            if each:
                self._warn(each)

    def _warn(self, text: str) -> None:
        self._context.log.warning(f"{self._name}: {text}")

    # one load package

    def finish_package(self) -> bool:
        """Ends the endpoint's part of a package. True if there is anything to load."""
        if self._reader_state is ReaderState.READING:
            self._save_progress()
            self._find_deleted(None)
        elif self._reader_state is ReaderState.READ:
            self._finish()
        if decided := self._lists.normalizer.names.decided:
            self._state.values[FIELDS] = dict(decided)
        ends = self._replaces_table or self._makes_table or self._state.is_changed
        return bool(self._buffer.rows or self._buffer.has_rejected or ends)

    def resource(self, *, ends: bool) -> DltResource:
        """What dlt extracts of the endpoint, by the types that ``columns`` fixed last.

        Args:
            ends: Whether it is the endpoint's last part of the package: with its state, and with what replaces or makes
                its table.
        """
        replaces = ends and self._replaces_table
        return build_resource(self.endpoint, self._items(ends=ends), self.columns.hints(), replaces=replaces)

    def _items(self, *, ends: bool) -> Iterator[Any]:
        waiting = len(self._buffer)
        rows = self._buffer.extract_rows()
        self.stats.rows_loaded -= waiting - len(self._buffer)
        if rows:
            yield self.columns.arrow(rows)
        if not ends:
            return
        if self._replaces_table and self._buffer.snapshot:
            yield self.columns.arrow(self._buffer.snapshot)
        elif self._replaces_table or (self._makes_table and not rows):
            yield dlt.mark.materialize_table_schema()
        self.plan.record_load(self._state.values, datetime.now(UTC))
        # dlt forgets the state of a resource that it replaces
        if self._replaces_table or self._state.is_changed:
            self._state.extract(self.endpoint.name)

    def extract_rejected(self) -> list[RejectedRow]:
        """The rows rejected since the last package, to give them to dlt."""
        return self._buffer.extract_rejected()

    def mark_loaded(self, *, ends: bool = True) -> None:
        """Records that all that dlt was given is loaded.

        Args:
            ends: Whether the endpoint's last part of the package was among it.
        """
        if self._buffer.is_loading or self._replaces_table or self._makes_table:
            self.columns.mark_loaded()
        if self.is_finished and ends:
            self._replaces_table = self._makes_table = False
        self._buffer.mark_loaded()
        self._state.mark_loaded()

    def load_failed(self) -> None:
        """Takes back what dlt was given since the last load."""
        self._buffer.load_failed()
        self._state.load_failed()

    def take_rows(self) -> list[dict[str, Any]]:
        """The rows that dlt was not given yet; the reader forgets them."""
        return self._buffer.take_rows()

    def give_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        """Adds rows to those that dlt is given next."""
        self._buffer.add(rows)

    def reject(self, row: Mapping[str, Any], reason: str) -> None:
        """Rejects a row that the destination does not take; nothing of the endpoint is marked as deleted then."""
        self.stats.rows_loaded -= 1
        self._reject([(reason, {name: value for name, value in row.items() if name != ROW_HASH})])
        self._deleted_hashes, self._marks_deletions = [], False
        self.deletions.reject(self.endpoint.path)
        self._record_unproven()

    def _reject(self, rejected: Sequence[RejectedRow]) -> None:
        self.stats.rows_rejected += len(rejected)
        self.stats.rejected_reason = self.stats.rejected_reason or rejected[0][0]
        self._buffer.reject(rejected)

    def fail(self, error: ReadError) -> None:
        """Fails the endpoint, as its rows cannot be loaded: nothing more of it is read, loaded or marked."""
        self.queue.stop()
        self._reader_state = ReaderState.FAILED
        self.stats.failures.insert(0, ReadFailure(self.endpoint.path, str(error), error.kind))
        self.stats.rows_loaded -= len(self._buffer)
        self._buffer.clear()
        self._deleted_hashes, self._marks_deletions = [], False
        self._replaces_table = self._makes_table = False
        self._state.discard_changes()

    def unexpected(self, error: Exception) -> ReadError:
        """An error that no code expects, as the failure of this endpoint; the traceback goes to the log."""
        return self._session.unexpected(error, self.endpoint.name)

    # what changes in the table beside the load

    def pop_rewrites(self) -> Mapping[int, Mapping[str, Any]]:
        """Columns to rewrite in place, by the stored hash of their row, of the rows read since the last call."""
        rewrites, self._rewrites = self._rewrites, {}
        return rewrites

    def pop_deleted_hashes(self) -> list[int]:
        """Hashes of stored rows to mark as deleted.

        Only once the rows that changed are loaded: the hash that such a row had is among them.
        """
        hashes, self._deleted_hashes = self._deleted_hashes, []
        return hashes

    def find_deleted_hashes(self) -> list[int]:
        """Hashes of stored rows that the lists read since the last package did not give."""
        return self.deletions.find(self._filter.unseen(), self._present_paths) if self._marks_deletions else []

    @property
    def _present_paths(self) -> frozenset[str] | None:
        """Paths of all partitions, once every one was read completely: rows of another one are gone with it."""
        return self.plan.paths if self.is_complete else None

    def _find_deleted(self, present: frozenset[str] | None) -> None:
        if self._marks_deletions:
            unseen = self._filter.unseen()
            self._deleted_hashes += self.deletions.take(unseen, present, added=self._filter.added)

    # what is shown of it

    @property
    def widened(self) -> Sequence[str]:
        """Which columns became wider, from what, and by which row's value: a sentence for each, without secrets."""
        return [self._session.redacted_excerpt(str(each)) for each in self.columns.types.widened]

    @property
    def drift(self) -> Sequence[str]:
        """Signs that the API changes the endpoint, or is about to: a sentence for each, without secrets."""
        return [f"{self._name}, {self._context.started:%Y-%m-%d}: {each}" for each in self._drift.found]

    def masked(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Rows to show, without secrets in their texts."""
        return [
            {
                name: self._session.redacted_excerpt(as_text(value)) if isinstance(value, str | dict | list) else value
                for name, value in row.items()
            }
            for row in rows
        ]

    # the end of a package, and of the endpoint

    def _save_progress(self) -> None:
        """Saves in the state how far a fan-out that goes on has come: an interrupted one resumes there."""
        partitions, resumable = self.plan.partitions, self._resumable
        while resumable < len(partitions) and partitions[resumable].path in self._ended:
            resumable += 1
        is_due = self._buffer.rows or time.monotonic() - self._checkpoint >= CHECKPOINT_SECONDS
        if resumable > self._resumable and is_due and self.queue.state is not QueueState.STOPPED:
            self._resumable, self._checkpoint = resumable, time.monotonic()
            self.plan.record_progress(self._state.values, partitions[resumable - 1].path)

    def _save_place(self) -> None:
        """Saves in the state where a fan-out that was given up goes on, if any of it was read."""
        partitions, place = self.plan.partitions, self._resumable
        read = self._ended - self._unread
        while place < len(partitions) and partitions[place].path in read:
            place += 1
        if place:
            self.plan.record_progress(self._state.values, partitions[place - 1].path)

    def _finish(self) -> None:
        """Prepares what is left once every list has ended: the snapshot, the empty table, the state."""
        self._reader_state = ReaderState.FINISHED
        if self.endpoint.parents:
            if self.queue.state is QueueState.STOPPED:
                self._save_place()
            else:
                self.plan.record_end(self._state.values)
        self._record_undefined()
        self._find_deleted(self._present_paths)
        if not self.is_complete:
            self._drift.record_filled(self._state.values)
            return
        stats, stored = self.stats, self.stored
        if not self.endpoint.primary_key:
            self.deletions.compare(len(self._buffer.snapshot))
        self._record_collapse()
        self._record_unproven()
        if self.endpoint.whole_every is not None and self.reads_everything:
            self._state.values[WHOLE] = self._context.started.isoformat()
        self._record_drift()
        if self._snapshot_differs():
            stats.rows_loaded = len(self._buffer.snapshot)
            self._replaces_table = True
        self._makes_table = not self.columns.types.stored
        highest = max(filter(None, (stats.highest, stored.cursor)), default=None)
        if highest is not None and highest != stored.cursor and not self._context.options.windowed:
            self._state.values[CURSOR] = highest.isoformat()

    def _snapshot_differs(self) -> bool:
        """Whether the table of a snapshot is replaced: its rows differ, and it does not collapse."""
        if self.endpoint.primary_key or self.deletions.collapsed:
            return False
        rows = Counter(row[ROW_HASH] for row in self._buffer.snapshot)
        return self._context.options.full_refresh or rows != Counter(self.stored.rows)

    def _record_undefined(self) -> None:
        """Records in the state which partitions answered 404, so that the next sync does not retry them."""
        if self.endpoint.on_404 != "not defined":
            return
        paths, before = self.plan.paths, self._undefined_before
        still_there = before if paths is None else before & paths
        self._state.set_or_remove(UNDEFINED, sorted((still_there - self._ended) | self._undefined))

    def _record_collapse(self) -> None:
        """Records in the state how many rows are left, so that the next sync that finds the same accepts it."""
        if self.deletions.collapsed:
            self._state.values[COLLAPSED] = self.deletions.remaining
        elif self.reads_everything and self.plan.whole:
            self._state.values.pop(COLLAPSED, None)

    def _record_unproven(self) -> None:
        """Records in the state since when rejected rows keep deletions from being marked."""
        if not self._proves_deletions:
            return
        state = self._state.values
        if self.deletions.unproven:
            state.setdefault(UNPROVEN, self._context.started.isoformat())
        elif self.plan.whole:
            state.pop(UNPROVEN, None)
        since = state.get(UNPROVEN)
        self.stats.unproven_since = datetime.fromisoformat(since) if since else None

    def _record_drift(self) -> None:
        """Detects drift, and records in the state what the next sync compares with."""
        stats = self.stats
        self._drift.finish(
            self._state.values,
            reads_all=self.has_read_all and stats.rows_read > 0 and not (stats.rows_rejected or stats.doubt),
            left_out=self._lists.normalizer.left_out,
        )
        for each in self.drift:
            self._context.log.warning(each)
