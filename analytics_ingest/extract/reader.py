"""Reading one endpoint: what its lists come to is booked, and given to dlt package by package."""

from __future__ import annotations

import copy
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dlt

from analytics_ingest.extract.kept import Kept
from analytics_ingest.extract.pages import ListPages
from analytics_ingest.extract.patience import PROBATION, Patience
from analytics_ingest.extract.progress import Progress
from analytics_ingest.extract.reading import CURSOR, PROFILE, Failure, Reading, Taken
from analytics_ingest.extract.rows import ROW_HASH
from analytics_ingest.extract.tables import first_rows, schema_only
from analytics_ingest.extract.wanted import Wanted

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from analytics_ingest.apis import Endpoint
    from analytics_ingest.extract.errors import ReadError
    from analytics_ingest.extract.mode import Mode
    from analytics_ingest.extract.reading import Parent, Stored
    from analytics_ingest.extract.session import ApiSession
    from analytics_ingest.extract.sweep import Sweep

BATCH = 1_000
"""Rows that are given to dlt at once: each batch has a cost of its own."""
PLACE_SECONDS = 60.0
"""How old the place that a sweep would go on from may become while there is no row to load it with."""


class EndpointReader:
    """Reads one endpoint in one sync. ``next_parent`` and ``read`` are for other threads, the rest for one.

    Attributes:
        stored: What the warehouse holds of the endpoint.
        reads_everything: Whether all rows are asked for: no window, no filter of the API's.
        closed: Whether all there is was asked for and settled.
        admitted: Whether a list has ended otherwise than by 403, so that more are asked for than those on probation.
        kept: What the feeds of its children need of the rows that are to be loaded.
        table_ready: Whether there is a table, or one on its way, so that the types of key columns are settled.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        session: ApiSession,
        *,
        limit: int | None,
        stored: Stored,
        state: Mapping[str, Any],
        sweep: Sweep,
        mode: Mode,
        started: datetime,
        log: logging.Logger,
        keep: Sequence[str] = (),
        reading: Reading | None = None,
    ) -> None:
        """Prepares the reading of an endpoint.

        Args:
            endpoint: What to read.
            session: The API's session.
            limit: Rows per page.
            stored: What the warehouse holds of it.
            state: The resource's state, as the last sync left it; empty if that was of another profile.
            sweep: The parents to ask.
            mode: What the sync is asked to do.
            started: When the sync began.
            log: Gets a line of progress now and then.
            keep: The columns that the feeds of its children need; none, if it has none.
            reading: What others have read of it in this sync.
        """
        self.endpoint = endpoint
        self.sweep = sweep
        self.stored = stored
        self.reading = reading or Reading(parents=len(sweep.parents))
        self._name = f"{session.api.name}/{endpoint.name}"
        self._mode = mode
        wanted = Wanted(endpoint, mode, session.settings, cursor=stored.cursor)
        self.reads_everything = wanted.everything
        self._log = log
        self._pages = ListPages(
            endpoint, session, limit=limit, meter=self.reading.meter, stored=stored, wanted=wanted, started=started
        )
        self._state: dict[str, Any] = copy.deepcopy(dict(state))
        if session.api.profile:
            self._state[PROFILE] = session.api.profile
        self._committed = copy.deepcopy(self._state)
        self._rows: list[dict[str, Any]] = []
        self._snapshot: list[dict[str, Any]] = []
        self._rejected: list[tuple[str, Any]] = []
        self._rewrites: dict[int, dict[str, Any]] = dict(stored.former.moved)
        self._last: list[Any] = []
        self.table_ready, self._stopped = bool(stored.columns), False
        self._patience = Patience(len(sweep.parents))
        # those that others have read come first
        self._asked = self._reached = self.reading.parents_done
        self._late = sum(parent.naming.late for parent in sweep.parents)
        self._ended_early = self._asked
        self._over: set[str] = set()
        self._whole: set[str] = set()
        self.admitted, self.closed = self._asked > 0, False
        self.kept = Kept(endpoint.primary_key, keep)
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
        return (self._asked if self._stopped else self.reading.parents) - self.reading.parents_done

    @property
    def complete(self) -> bool:
        """True once every parent was asked and nothing failed."""
        return self.reading.parents_done == self.reading.parents and not self.reading.failures

    @property
    def full(self) -> bool:
        """Whether there are rows enough for dlt."""
        return len(self._rows) >= BATCH

    def next_parent(self) -> Parent | None:
        """The parent to read next; ``None`` if there is none, or none as long as it is not known how others end."""
        with self._lock:
            parents = self.sweep.parents
            probation = self._asked >= PROBATION and not self.admitted
            early = len(parents) - self._late
            # whether a late one is requested depends on the answers to all others
            held = self._asked >= early > self._ended_early
            if probation or held or self._stopped or self._asked == len(parents):
                return None
            self._asked += 1
            return parents[self._asked - 1]

    def read(self, parent: Parent, *, stopped: Callable[[], bool]) -> Iterator[Taken]:
        """Reads a parent's list, page by page, until that is over or ``stopped``.

        Raises:
            AuthenticationError: The API refused the key.
        """
        if parent.naming.late and parent.path in self._pages.named:
            yield Taken(parent, over=True)
            return
        for taken in self._pages.read(parent, stopped=lambda: self._stopped or stopped()):
            if taken.over:
                with self._lock:
                    self._ended_early += not parent.naming.late
            # here, as the calling thread may be busy with a load
            self.admitted |= taken.over and (taken.failure is None or taken.failure.status != 403)
            yield taken

    @property
    def holds_back(self) -> bool:
        """Whether some parents are read only once others have ended."""
        return bool(self._late)

    @property
    def named(self) -> Collection[str]:
        """Paths of parents by the API's own name that answers to provisional names had."""
        return self._pages.named

    def book(self, taken: Taken) -> None:
        """Books a page."""
        reading = self.reading
        reading.pages += taken.pages
        reading.rows_read += taken.read
        reading.rows_rejected += len(taken.rejected)
        self._rejected += taken.rejected
        self._rewrites |= taken.rewrites
        reading.rows_short += taken.short
        reading.lists_unsettled += taken.unsettled
        reading.highest = max(filter(None, (reading.highest, taken.highest)), default=None)
        if self.endpoint.primary_key:
            reading.rows_loaded += len(taken.rows)
            self._rows += taken.rows
            self.kept.note(taken.rows)
        elif taken.again:
            self._snapshot = []
        else:
            self._snapshot += taken.rows
        if taken.over:
            self._ended(taken)
        if self.over:
            self._all_ended()
        else:
            self._progress.tell(reading)

    def settle(self) -> bool:
        """Ends the reader's part of a package. True if there is anything to load."""
        if not self.over:
            self._reach()
        elif not self.closed:
            self._close()
        return bool(self._rows or self._last or self._rejected or self._state != self._committed)

    def batch(self) -> Any:
        """The rows that have come since the last batch, for dlt."""
        rows, self._rows = self._rows, []
        ready, self.table_ready = self.table_ready, True
        return rows if ready else first_rows(self.endpoint, rows)

    def rest(self) -> Iterator[Any]:
        """What is left for dlt at the end of a package, and the resource's state, within an extraction."""
        if self._rows:
            yield self.batch()
        last, self._last = self._last, []
        yield from last
        self.sweep.loaded(self._state, datetime.now(UTC))
        if self._state != self._committed:
            state = dlt.current.resource_state(self.endpoint.name)
            state.clear()
            state.update(copy.deepcopy(self._state))
            self._committed = copy.deepcopy(self._state)

    def take_vanished(self) -> list[int]:
        """Hashes of stored rows that the parents read completely since the last call did not give.

        Only once the rows that changed are loaded: the hash that such a row had is among them.
        """
        vanished, self._whole = self.vanished(), set()
        return vanished

    def vanished(self) -> list[int]:
        """What ``take_vanished`` will give."""
        if not self.endpoint.primary_key or not self.reads_everything:
            return []
        # rows of a parent that is gone: of none in the feed, whichever of these were asked
        there = self.sweep.paths if self.complete else None
        if not self._whole and there is None:
            return []
        unseen, whole = self._pages.unseen(), self._whole
        return [value for value, path in unseen if path in whole or (there is not None and path not in there)]

    def take_rejected(self) -> list[tuple[str, Any]]:
        """Rows rejected since the last call, with the reason."""
        rejected, self._rejected = self._rejected, []
        return rejected

    def take_rewrites(self) -> Mapping[int, Mapping[str, Any]]:
        """Columns to rewrite in place, by the stored hash of their row, of the rows read since the last call."""
        rewrites, self._rewrites = self._rewrites, {}
        return rewrites

    def _ended(self, taken: Taken) -> None:
        """Books the end of one parent's pages."""
        reading, path = self.reading, taken.parent.path
        reading.parents_done += 1
        self._over.add(path)
        if taken.failure and not (self.endpoint.parents and taken.failure.status == 404):
            self._failed(path, taken.failure)
            return
        self._patience.answered()
        if taken.failure:
            reading.parents_missing += 1
        self.sweep.failed.discard(path)
        if not (taken.short or taken.unsettled or self._stopped):
            self._whole.add(path)

    def _failed(self, path: str, error: ReadError) -> None:
        reading = self.reading
        reading.failures.append(Failure(path, str(error), error.status))
        self.sweep.failed.add(path)
        if self._patience.is_over(error.status, done=reading.parents_done):
            with self._lock:
                self._stopped = reading.given_up = True

    def _all_ended(self) -> None:
        reading = self.reading
        reading.seconds += time.monotonic() - self._begun
        gone = reading.parents_missing
        if gone and gone == reading.parents and self.sweep.whole and self.endpoint.missing == "parent gone":
            why = f"every one of {gone} parents answered 404: is the path right?"
            reading.failures.append(Failure(self.endpoint.path, why, 404))
        self._progress.end(reading, complete=self.complete)
        if reading.doubt:
            self._log.warning(f"{self._name}: {reading.doubt}")

    def _reach(self) -> None:
        """Notes how far a sweep has come that goes on: those before are read, those after it may be."""
        parents, reached = self.sweep.parents, self._reached
        while parents[reached].path in self._over:
            reached += 1
        worth = self._rows or time.monotonic() - self._placed >= PLACE_SECONDS
        if reached > self._reached and worth and not self._stopped:
            self._reached, self._placed = reached, time.monotonic()
            self.sweep.reach(self._state, parents[reached - 1].path)

    def _close(self) -> None:
        """What is left to do when all was asked: the snapshot, the empty table, the cursor."""
        self.closed = True
        if self.endpoint.parents and not self._stopped:
            self.sweep.end(self._state)
        if not self.complete:
            return
        reading, stored = self.reading, self.stored
        if not self.endpoint.primary_key and (
            self._mode.full_refresh or Counter(row[ROW_HASH] for row in self._snapshot) != Counter(stored.rows)
        ):
            reading.rows_loaded = len(self._snapshot)
            replace = dlt.mark.make_hints(write_disposition="replace")
            rows: Any = self._snapshot or dlt.mark.materialize_table_schema()
            self.table_ready = True
            self._last.append(dlt.mark.with_hints(rows, replace))
        if not self.table_ready and not self._rows:
            self._last.append(schema_only(self.endpoint, [parent.params for parent in self.sweep.parents[:1]]))
        highest = max(filter(None, (reading.highest, stored.cursor)), default=None)
        if highest is not None and highest != stored.cursor and not self._mode.windowed:
            self._state[CURSOR] = highest.isoformat()
