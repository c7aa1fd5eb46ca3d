"""Reading one endpoint: what its lists come to is booked, and given to dlt package by package."""

from __future__ import annotations

import copy
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dlt

from analytics_ingest.errors import AuthenticationError, FailureKind, ReadError
from analytics_ingest.extract.arrow import arrow_table
from analytics_ingest.extract.column_types import as_text
from analytics_ingest.extract.deletions import Deletions
from analytics_ingest.extract.dlt_source import build_resource, empty_types
from analytics_ingest.extract.failure_budget import PROBATION, FailureBudget
from analytics_ingest.extract.list_reader import ListReader, PageResult
from analytics_ingest.extract.parent_row_buffer import ParentRowBuffer
from analytics_ingest.extract.progress import Progress
from analytics_ingest.extract.row_filter import RowFilter
from analytics_ingest.extract.rows import ROW_HASH
from analytics_ingest.extract.stats import (
    COLLAPSED,
    CURSOR,
    FIELDS,
    PROFILE,
    UNDEFINED,
    UNPROVEN,
    ReadFailure,
    ReadStats,
)
from analytics_ingest.http.session import Pause

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from dlt.sources import DltResource

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.extract.fan_out import FanOutPlan
    from analytics_ingest.extract.stats import Partition, TableSnapshot
    from analytics_ingest.extract.sync_options import SyncOptions
    from analytics_ingest.http.session import ApiSession

CHECKPOINT_SECONDS = 60.0
"""How old the place that a sweep would go on from may become while there is no row to load it with."""


class EndpointReader:
    """Reads one endpoint in one sync. ``next_parent`` and ``read`` are for other threads, the rest for one.

    Attributes:
        stored: What the warehouse holds of the endpoint.
        reads_everything: Whether all rows are asked for: no window, no filter of the API's.
        closed: Whether all there is was asked for and settled.
        admitted: Whether a list has ended otherwise than by 403, so that more are asked for than those on probation.
        kept: What the feeds of its children need of the rows that are to be loaded.
        types: The types of the columns, by the table and by what has come.
        broken: Whether its rows cannot be loaded, so that nothing more of it is read.
        deletions: Which stored rows are gone upstream.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        session: ApiSession,
        *,
        limit: int | None,
        stored: TableSnapshot,
        state: Mapping[str, Any],
        fan_out_plan: FanOutPlan,
        mode: SyncOptions,
        started: datetime,
        log: logging.Logger,
        keep: Sequence[str] = (),
    ) -> None:
        """Prepares the reading of an endpoint.

        Args:
            endpoint: What to read.
            session: The API's session.
            limit: Rows per page.
            stored: What the warehouse holds of it.
            state: The resource's state, as the last sync left it; empty if that was of another profile.
            fan_out_plan: The parents to ask.
            mode: What the sync is asked to do.
            started: When the sync began.
            log: Gets a line of progress now and then.
            keep: The columns that the feeds of its children need; none, if it has none.
        """
        self.endpoint = endpoint
        self.fan_out_plan = fan_out_plan
        self.stored = stored
        self.stats = ReadStats(parents=len(fan_out_plan.parents))
        self._name = f"{session.api.name}/{endpoint.name}"
        self._mode = mode
        self._session = session
        self._started = started
        self._filter = RowFilter(endpoint, mode, session.settings, stored=stored, started=started)
        self.reads_everything = self._filter.is_full_read
        self._log = log
        self._state: dict[str, Any] = copy.deepcopy(dict(state))
        self._lists = ListReader(
            endpoint,
            session,
            limit=limit,
            meter=self.stats.meter,
            columns=stored.columns,
            remembered=self._state.get(FIELDS, {}),
            limits=stored.limits,
        )
        # of the last sync, and those of this one
        self._undefined = frozenset(state.get(UNDEFINED, ()))
        self._undefined_now: set[str] = set()
        self.types = self._lists.finisher.types
        # the types by which a package is made, while more rows come
        self._types: dict[str, str] = {}
        if session.api.profile:
            self._state[PROFILE] = session.api.profile
        self._committed = self._loaded = copy.deepcopy(self._state)
        rows = len(stored.hashes) if endpoint.primary_key else len(stored.rows)
        self.deletions = Deletions(
            stored=rows, before=state.get(COLLAPSED, rows), share=session.settings.min_rows_share
        )
        self._marks_deleted = bool(endpoint.primary_key) and self.reads_everything and session.settings.mark_deleted
        self._vanished: list[int] = []
        self._rows: list[dict[str, Any]] = []
        self._loading_bytes = 0
        self._snapshot: list[dict[str, Any]] = []
        self._rejected: list[tuple[str, Any]] = []
        self._rewrites: dict[int, dict[str, Any]] = dict(stored.former.moved)
        # whether the table of a snapshot is to be replaced, or an empty table to be made
        self._replaces = self._makes_table = False
        # what dlt was given of the package that is not loaded yet
        self._given: list[dict[str, Any]] = []
        self._given_rejected: list[tuple[str, Any]] = []
        self._stopped = False
        self._failure_budget = FailureBudget(len(fan_out_plan.parents))
        self._asked = self._reached = 0
        self._late = sum(parent.naming.late for parent in fan_out_plan.parents)
        self._ended_early = self._ended_lists = 0
        self._over: set[str] = set()
        self.admitted = self.closed = self.broken = False
        self.parent_rows = ParentRowBuffer(endpoint.primary_key, keep)
        self._begun = self._placed = time.monotonic()
        self._progress = Progress(
            self._name, log, interval=session.settings.progress_interval, counts_parents=endpoint.parents is not None
        )
        self._lock = threading.Lock()
        if self.over:
            self._all_ended()

    @property
    def over(self) -> bool:
        """Whether every list that is to be read has ended."""
        return not self.left

    @property
    def left(self) -> int:
        """Lists that are still to be read, or being read."""
        return (self._asked if self._stopped else self.stats.parents) - self.stats.parents_done

    @property
    def complete(self) -> bool:
        """True once every parent was asked and nothing failed."""
        return self.stats.parents_done == self.stats.parents and not self.stats.failures

    @property
    def loading_bytes(self) -> int:
        """Bytes of the answers whose rows came since the last load, about."""
        return self._loading_bytes

    @property
    def exhausted(self) -> bool:
        """Whether ``next_parent`` will never give a parent again."""
        return self._stopped or self._asked == len(self.fan_out_plan.parents)

    def next_parent(self) -> Partition | None:
        """The parent to read next; ``None`` if there is none, or none as long as it is not known how others end."""
        with self._lock:
            parents = self.fan_out_plan.parents
            probation = self._asked >= PROBATION and not self.admitted
            early = len(parents) - self._late
            # whether a late one is requested depends on the answers to all others
            held = self._asked >= early > self._ended_early
            if probation or held or self.exhausted:
                return None
            self._asked += 1
            return parents[self._asked - 1]

    def read(self, parent: Partition, *, stopped: Callable[[], bool]) -> Iterator[PageResult | Pause]:
        """Reads a parent's list, page by page, until that is over or ``stopped``; gives the pauses of its retries too.

        Raises:
            AuthenticationError: The API refused the key.
        """
        if parent.naming.late and parent.path in self._lists.named:
            yield PageResult(parent, over=True)
            return
        steps = self._lists.steps(
            parent,
            params=self._filter.params,
            known_status=404 if not self._undefined.isdisjoint((parent.path, parent.former)) else None,
            stopped=lambda: self._stopped or stopped(),
        )
        try:
            for page in steps:
                if isinstance(page, Pause):
                    yield page
                    continue
                if page.over:
                    self._count(page)
                # here, as the calling thread may be busy with a load
                self.admitted |= page.over and (page.failure is None or page.failure.kind is not FailureKind.FORBIDDEN)
                yield self._filter.apply(page, self._lists.finisher)
        except AuthenticationError:
            raise
        except Exception as error:  # noqa: BLE001 - one list fails, the others are read
            page = PageResult(parent, over=True, failure=self._session.unexpected(error, parent.path))
            self._count(page)
            yield page

    def _count(self, page: PageResult) -> None:
        """Counts the end of a list, here and not as it is booked: the calling thread may be busy with a load."""
        error = page.failure
        with self._lock:
            self._ended_early += not page.parent.naming.late
            self._ended_lists += 1
            if error is None or self._is_absence(error):
                self._failure_budget.answered()
            elif self._failure_budget.is_exhausted(error.kind, done=self._ended_lists):
                self._stopped = self.stats.given_up = True

    def _is_absence(self, error: ReadError) -> bool:
        """Whether a list could not be read as its parent is gone, or does not have it."""
        return self.endpoint.parents is not None and error.kind is FailureKind.NOT_FOUND

    @property
    def holds_back(self) -> bool:
        """Whether some parents are read only once others have ended."""
        return bool(self._late)

    @property
    def named(self) -> Collection[str]:
        """Paths of parents by the API's own name that answers to provisional names had."""
        return self._lists.named

    def book(self, page: PageResult) -> None:
        """Books a page; an error ends the endpoint."""
        try:
            self._book(page)
        except Exception as error:  # noqa: BLE001 - one endpoint fails, the others are read
            self.fail(self._session.unexpected(error, page.parent.path))
            if page.over and page.parent.path not in self._over:
                self._over.add(page.parent.path)
                self.stats.parents_done += 1

    def _book(self, page: PageResult) -> None:
        stats = self.stats
        stats.pages += page.pages
        stats.rows_read += page.read
        stats.rows_short += page.short
        stats.lists_unsettled += page.unsettled
        stats.highest = max(filter(None, (stats.highest, page.highest)), default=None)
        if page.rejected and not self.broken:
            self._reject(page.rejected)
            self.deletions.reject(page.parent.path)
        self._rewrites |= page.rewrites
        if self.broken:
            # what comes after a load that failed cannot be loaded either
            page.rows = []
        size = page.size * len(page.rows) // max(page.read, 1)
        if self.endpoint.primary_key:
            stats.rows_loaded += len(page.rows)
            self._rows += page.rows
            self._loading_bytes += size
            self.parent_rows.note(page.rows)
        elif page.again:
            self._snapshot = []
        else:
            self._snapshot += page.rows
        if page.over:
            self._ended(page)
        if self.over:
            self._all_ended()
        else:
            self._progress.log_if_due(stats)

    def finish_package(self) -> bool:
        """Ends the reader's part of a package. True if there is anything to load."""
        if not self.over:
            self._reach()
            self._find_vanished(None)
        elif not self.closed:
            self._close()
        if decided := self._lists.finisher.names.decided:
            self._state[FIELDS] = dict(decided)
        return bool(
            self._rows or self._rejected or self._replaces or self._makes_table or self._state != self._committed
        )

    def fix_types(self) -> tuple[Mapping[str, tuple[str, str]], Mapping[str, str]]:
        """Fixes the types by which the next package is made, and gives what has to change about the table for them.

        Returns:
            By column its type in the table and the one that it needs; by column of the table its new name.
        """
        self._types, stored = self.types.now(), self.types.stored
        types = {
            name: (stored[name], kind) for name, kind in self._types.items() if name in stored and stored[name] != kind
        }
        return types, self._lists.finisher.names.renamed(stored)

    @property
    def widened(self) -> Sequence[str]:
        """Which columns have become wider, from what, and by which row's value: a sentence for each, no secrets."""
        return [self._session.foreign(str(each)) for each in self.types.widened]

    def masked(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Rows to be shown, without secrets in their texts."""
        return [
            {
                name: self._session.foreign(as_text(value)) if isinstance(value, str | dict | list) else value
                for name, value in row.items()
            }
            for row in rows
        ]

    @property
    def has_changes(self) -> bool:
        """Whether the table has to change for what has come."""
        return any(self.fix_types())

    def changed(self, types: Mapping[str, str], *, renamed: Mapping[str, str], dropped: Collection[str]) -> None:
        """Takes note that the table's columns were changed.

        Args:
            types: The types that columns have now, in dlt's terms.
            renamed: By the name that a column had its name now.
            dropped: Columns that are there no more.
        """
        self.types.rename(renamed)
        self.types.drop(dropped)
        self.types.store(types)

    def resource(self, *, ends: bool) -> DltResource:
        """What dlt extracts of the endpoint, by the types that were fixed last.

        Args:
            ends: Whether it is the endpoint's last part of the package, with its state and with what ends it.
        """
        types, stored = self._types, self.types.stored
        new = {name: kind for name, kind in types.items() if name not in stored}
        if not stored:
            new = {**empty_types(self.endpoint, [parent.params for parent in self.fan_out_plan.parents[:1]]), **new}
        hints = new | {name: kind for name, kind in types.items() if kind == "json"}
        return build_resource(self.endpoint, self._items(ends=ends), hints, replaces=ends and self._replaces)

    def _items(self, *, ends: bool) -> Iterator[Any]:
        """The rows that have come since the last package; and the resource's state, within an extraction."""
        rows, self._rows = self._rows, []
        self._given += rows
        if rows:
            yield self._arrow(rows)
        if not ends:
            return
        if self._replaces and self._snapshot:
            yield self._arrow(self._snapshot)
        elif self._replaces or (self._makes_table and not rows):
            yield dlt.mark.materialize_table_schema()
        self.fan_out_plan.loaded(self._state, datetime.now(UTC))
        # dlt forgets the state of a resource that it replaces
        if self._replaces or self._state != self._committed:
            state = dlt.current.resource_state(self.endpoint.name)
            state.clear()
            state.update(copy.deepcopy(self._state))
            self._committed = copy.deepcopy(self._state)

    def _arrow(self, rows: Sequence[dict[str, Any]]) -> Any:
        # the key first, then what comes with it from the parent
        first = (*self.endpoint.primary_key, *(self.endpoint.parents.params if self.endpoint.parents else ()))
        names = dict.fromkeys((*first, *(name for row in rows for name in row)))
        types = {name: self._types[name] for name in names if name in self._types and name != ROW_HASH}
        return arrow_table(
            rows,
            {**types, ROW_HASH: "bigint"},
            required=self.endpoint.primary_key,
            is_native=self.types.fit_natively,
            takes_nul=self.stored.limits.takes_nul,
        )

    def loaded(self, *, ends: bool = True) -> None:
        """Notes that all that dlt was given is loaded.

        Args:
            ends: Whether what ends the endpoint's part of the package is among it.
        """
        if self._given or self._replaces or self._makes_table:
            known = empty_types(self.endpoint, [parent.params for parent in self.fan_out_plan.parents[:1]])
            self.types.store(
                {name: kind for name, kind in {**known, **self._types}.items() if name not in self.types.stored}
            )
        if self.closed and ends:
            self._replaces = self._makes_table = False
        self._given, self._given_rejected = [], []
        self._loaded = self._committed
        self._loading_bytes = 0

    def take_back(self) -> None:
        """Takes back what dlt was given since the last load, as that load has failed."""
        self._rows = self._given + self._rows
        self._rejected = self._given_rejected + self._rejected
        self._given, self._given_rejected = [], []
        self._committed = self._loaded

    def take_rows(self) -> list[dict[str, Any]]:
        """The rows that dlt was not given yet; the reader forgets them."""
        rows, self._rows = self._rows, []
        return rows

    def give_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        """Has rows go to dlt with the next batch."""
        self._rows += rows

    def reject(self, row: Mapping[str, Any], reason: str) -> None:
        """Rejects a row that the destination does not take; of this endpoint nothing is marked as deleted then."""
        self.stats.rows_loaded -= 1
        self._reject([(reason, {name: value for name, value in row.items() if name != ROW_HASH})])
        self._vanished, self._marks_deleted = [], False
        self.deletions.reject(self.endpoint.path)
        self._note_unproven()

    def fail(self, error: ReadError) -> None:
        """Ends the endpoint, as its rows cannot be loaded: nothing more of it is read, loaded or marked."""
        with self._lock:
            self._stopped = self.broken = True
        self._marks_deleted = False
        self.stats.failures.insert(0, ReadFailure(self.endpoint.path, str(error), error.kind))
        self.stats.rows_loaded -= len(self._rows) + len(self._given)
        self._rows, self._rejected, self._vanished, self._snapshot = [], [], [], []
        self._given, self._given_rejected = [], []
        self._replaces = self._makes_table = False
        self._loading_bytes = 0
        self._state = copy.deepcopy(self._loaded)
        self._committed = self._loaded
        if self.over and not self.closed:
            self.closed = True

    def unexpected(self, error: Exception) -> ReadError:
        """An error that no code expects, as the failure of this endpoint; the traceback goes to the log."""
        return self._session.unexpected(error, self.endpoint.name)

    def pop_deleted_hashes(self) -> list[int]:
        """Hashes of stored rows to mark as deleted.

        Only once the rows that changed are loaded: the hash that such a row had is among them.
        """
        vanished, self._vanished = self._vanished, []
        return vanished

    def vanished(self) -> list[int]:
        """Hashes of stored rows that the lists read since the last package did not give."""
        return self.deletions.find(self._filter.unseen(), self._there) if self._marks_deleted else []

    def pop_rejected(self) -> list[tuple[str, Any]]:
        """Rows rejected since the last call, with the reason."""
        rejected, self._rejected = self._rejected, []
        self._given_rejected += rejected
        return rejected

    def pop_rewrites(self) -> Mapping[int, Mapping[str, Any]]:
        """Columns to rewrite in place, by the stored hash of their row, of the rows read since the last call."""
        rewrites, self._rewrites = self._rewrites, {}
        return rewrites

    @property
    def _there(self) -> frozenset[str] | None:
        """Paths of all parents, once every one was read completely: rows of another one are gone with it."""
        return self.fan_out_plan.paths if self.complete else None

    def _find_vanished(self, there: frozenset[str] | None) -> None:
        if self._marks_deleted:
            self._vanished += self.deletions.take(self._filter.unseen(), there, added=self._filter.added)

    def _reject(self, rejected: list[tuple[str, Any]]) -> None:
        self.stats.rows_rejected += len(rejected)
        self.stats.rejected_reason = self.stats.rejected_reason or rejected[0][0]
        self._rejected += rejected

    def _ended(self, page: PageResult) -> None:
        """Books the end of one parent's pages."""
        stats, path = self.stats, page.parent.path
        stats.parents_done += 1
        self._over.add(path)
        if page.failure and not self._is_absence(page.failure):
            stats.failures.append(ReadFailure(path, str(page.failure), page.failure.kind))
            self.fan_out_plan.failed.add(path)
            return
        if page.failure:
            stats.parents_missing += 1
            self._undefined_now.add(path)
        self.fan_out_plan.failed.discard(path)
        if not (page.short or page.unsettled or self._stopped):
            self.deletions.prove(path)

    def _all_ended(self) -> None:
        stats = self.stats
        stats.seconds = time.monotonic() - self._begun
        gone = stats.parents_missing
        if gone and gone == stats.parents and self.fan_out_plan.whole and self.endpoint.on_404 == "parent gone":
            why = f"every one of {gone} parents answered 404: is the path right?"
            stats.failures.append(ReadFailure(self.endpoint.path, why, FailureKind.NOT_FOUND))
        self._progress.end(stats, complete=self.complete)
        finisher = self._lists.finisher
        for field, column in sorted({**finisher.renamed, **finisher.names.apart}.items()):
            self._log.warning(
                f"{self._name}: the API sends its own {field!r}, whose name is that of another column: its value goes "
                f"to the column {column}"
            )
        for widened in self.widened:
            self._log.warning(f"{self._name}: {widened}")
        if stats.doubt:
            self._log.warning(f"{self._name}: {stats.doubt}")

    def _reach(self) -> None:
        """Notes how far a sweep has come that goes on: those before are read, those after it may be."""
        parents, reached = self.fan_out_plan.parents, self._reached
        while parents[reached].path in self._over:
            reached += 1
        worth = self._rows or time.monotonic() - self._placed >= CHECKPOINT_SECONDS
        if reached > self._reached and worth and not self._stopped:
            self._reached, self._placed = reached, time.monotonic()
            self.fan_out_plan.reach(self._state, parents[reached - 1].path)

    def _close(self) -> None:
        """Does what is left once every list was read: the snapshot, the empty table, the state."""
        self.closed = True
        if self.endpoint.parents and not self._stopped:
            self.fan_out_plan.end(self._state)
        self._note_undefined()
        self._find_vanished(self._there)
        if not self.complete:
            return
        stats, stored = self.stats, self.stored
        if not self.endpoint.primary_key:
            self.deletions.compare(len(self._snapshot))
        self._note_collapse()
        self._note_unproven()
        if self._replaces_snapshot():
            stats.rows_loaded = len(self._snapshot)
            self._replaces = True
        self._makes_table = not self.types.stored
        highest = max(filter(None, (stats.highest, stored.cursor)), default=None)
        if highest is not None and highest != stored.cursor and not self._mode.windowed:
            self._state[CURSOR] = highest.isoformat()

    def _replaces_snapshot(self) -> bool:
        """Whether the table of a snapshot is replaced: it differs, and does not collapse."""
        if self.endpoint.primary_key or self.deletions.collapsed:
            return False
        return self._mode.full_refresh or (
            Counter(row[ROW_HASH] for row in self._snapshot) != Counter(self.stored.rows)
        )

    def _note_undefined(self) -> None:
        """Notes in the state which parents have no such child, so that the next sync believes their 404 at once."""
        if self.endpoint.on_404 != "not defined":
            return
        known = self._undefined if self.fan_out_plan.paths is None else self._undefined & self.fan_out_plan.paths
        if now := sorted((known - self._over) | self._undefined_now):
            self._state[UNDEFINED] = now
        else:
            self._state.pop(UNDEFINED, None)

    def _note_collapse(self) -> None:
        """Notes in the state how many rows are left, so that the next sync that finds the same takes it as true."""
        if self.deletions.collapsed:
            self._state[COLLAPSED] = self.deletions.remaining
        elif self.reads_everything and self.fan_out_plan.whole:
            self._state.pop(COLLAPSED, None)

    def _note_unproven(self) -> None:
        """Notes in the state since when rejected rows keep deletions from being marked."""
        if not (self.endpoint.primary_key and self.reads_everything and self._session.settings.mark_deleted):
            return
        if self.deletions.unproven:
            self._state.setdefault(UNPROVEN, self._started.isoformat())
        elif self.fan_out_plan.whole:
            self._state.pop(UNPROVEN, None)
        since = self._state.get(UNPROVEN)
        self.stats.unproven_since = datetime.fromisoformat(since) if since else None
