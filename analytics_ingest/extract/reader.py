"""Reading one endpoint: its pages, its parents one by one, and what of it is new.

Why not ``dlt.sources.rest_api``'s own resources: there the first request that fails ends the whole run, parents
and siblings included. Here a failure is caught where it happens, and the rest goes on. Requests, paging and
selecting are dlt's ``RESTClient`` all the same, and dlt's extract workers run them.
"""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import dlt

from analytics_ingest.extract.attempt import Attempts
from analytics_ingest.extract.client import EndpointClient
from analytics_ingest.extract.errors import ReadError
from analytics_ingest.extract.patience import PROBATION, Patience
from analytics_ingest.extract.progress import Progress
from analytics_ingest.extract.reading import CURSOR, PROFILE, Failure, Reading, Stored, Taken, is_of
from analytics_ingest.extract.rows import ROW_HASH, KeyTypes, RowFinisher, RowRejectedError, excluded_fields
from analytics_ingest.extract.tables import first_columns, schema_only
from analytics_ingest.extract.wanted import Wanted

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from dlt.sources.helpers.rest_client.client import PageData

    from analytics_ingest.apis import Endpoint
    from analytics_ingest.extract.mode import Mode
    from analytics_ingest.extract.paginator import GuardedPaginator
    from analytics_ingest.extract.reading import Parent
    from analytics_ingest.extract.session import ApiSession
    from analytics_ingest.extract.sweep import Sweep


class EndpointReader:
    """Reads one endpoint in one sync. Requests run in dlt's workers, everything else in the calling thread.

    Attributes:
        stored: What the warehouse holds of the endpoint.
        gave: Whether there is anything to load: rows, a new table, a cursor that moved.
        reads_everything: Whether all rows are asked for: no window, no filter of the API's.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        session: ApiSession,
        *,
        limit: int | None,
        stored: Stored,
        sweep: Sweep,
        mode: Mode,
        started: datetime,
        log: logging.Logger,
    ) -> None:
        """Prepares the reading of an endpoint.

        Args:
            endpoint: What to read.
            session: The API's session.
            limit: Rows per page.
            stored: What the warehouse holds of it.
            sweep: The parents to ask.
            mode: What the sync is asked to do.
            started: When the sync began.
            log: Gets a line of progress now and then.
        """
        self.endpoint = endpoint
        self.sweep = sweep
        self.reading = Reading(parents=len(sweep.parents))
        self._name = f"{session.api.name}/{endpoint.name}"
        self._session = session
        self.stored = stored
        self._unseen: dict[int, str | None] = dict(stored.hashes)
        self._mode = mode
        self._wanted = Wanted(endpoint, mode, session.settings, cursor=stored.cursor)
        self.reads_everything = self._wanted.everything
        self._started = started
        self._log = log
        settings = session.settings
        self._finisher = RowFinisher(endpoint, exclude=excluded_fields(endpoint, settings.exclude_columns))
        self._key_types = KeyTypes(endpoint, stored.columns)
        self._client = EndpointClient(endpoint, session, limit=limit, meter=self.reading.meter)
        self._snapshot: list[dict[str, Any]] = []
        self._rejected: list[tuple[str, Any]] = []
        self._table_ready = bool(stored.columns)
        self.gave = False
        self._outstanding = 0
        self._patience = Patience(len(sweep.parents))
        self._stopped = False
        self._whole: set[str] = set()
        self._begun = time.monotonic()
        self._progress = Progress(
            self._name, log, interval=settings.progress_interval, counts_parents=endpoint.parents is not None
        )

    @property
    def complete(self) -> bool:
        """True once every parent was asked and nothing failed."""
        return self.reading.parents_done == self.reading.parents and not self.reading.failures

    def take_vanished(self) -> list[int]:
        """Hashes of stored rows that the parents read completely since the last call did not give.

        Only once the rows that changed are loaded: the hash that such a row had is among them.
        """
        if not self.endpoint.primary_key or not self._wanted.everything:
            return []
        # rows of a parent that is gone: of none in the feed, whichever of these were asked
        there = self.sweep.paths if self.complete else None
        vanished = [
            value
            for value, path in self._unseen.items()
            if path is not None and (path in self._whole or (there is not None and path not in there))
        ]
        self._whole.clear()
        return vanished

    def take_rejected(self) -> list[tuple[str, Any]]:
        """Rows rejected since the last call, with the reason."""
        rejected, self._rejected = self._rejected, []
        return rejected

    def items(self, parents: Sequence[Parent]) -> Iterator[Any]:
        """What dlt extracts for some of the parents: callables for its workers, and what these come to."""
        reading = self.reading
        last = reading.parents_done + len(parents)
        for parent in parents:
            while reading.parents_done < PROBATION <= reading.parents_done + self._outstanding:
                yield None
            if self._stopped:
                reading.parents_done += 1
                continue
            self._outstanding += 1
            yield partial(self._next_page, parent, None, Attempts())
        while reading.parents_done < last:
            yield None
        if reading.parents_done == reading.parents:
            yield from self._close()
        elif not self._stopped:
            self.gave = True
            self.sweep.reach(self._state(), parents[-1].path)

    def _pages(self, parent: Parent) -> Iterator[PageData[Any]]:
        params = dict(self.endpoint.params)
        if self.endpoint.start_param and self._wanted.since:
            params[self.endpoint.start_param] = self.endpoint.convert(self._wanted.since)
        return self._client.pages(parent.path, params)

    def _next_page(self, parent: Parent, pages: Iterator[PageData[Any]] | None, attempts: Attempts) -> Iterator[Any]:
        """Reads one page, in a worker."""
        if self._stopped:
            return self._hand_over(Taken(), parent)
        pages = pages or self._pages(parent)
        try:
            page = next(pages)
        except ReadError as error:
            return self._hand_over(Taken(failure=error), parent)
        paginator = cast("GuardedPaginator", page.paginator)
        taken = Taken(pages=1) if paginator.repeated else self._take(page, parent, attempts)
        taken.failure = paginator.problem
        if paginator.has_next_page and not paginator.problem:
            return self._hand_over(taken, parent, following=partial(self._next_page, parent, pages, attempts))
        taken.short, taken.unsettled = attempts.short(paginator), attempts.moved(paginator)
        if attempts.start_again(paginator):
            taken.short, taken.unsettled = 0, False
            if not self.endpoint.primary_key:
                taken.rows = self._snapshot = []
            return self._hand_over(taken, parent, following=partial(self._next_page, parent, None, attempts))
        return self._hand_over(taken, parent)

    def _take(self, page: PageData[Any], parent: Parent, attempts: Attempts) -> Taken:
        """The page's rows as they go into the table, without those that are there already."""
        taken = Taken(pages=1)
        finished: dict[Any, dict[str, Any]] = {}
        for sent in (row for element in page for row in self._finisher.rows(element)):
            taken.read += 1
            try:
                row = self._finisher.finish(sent, parent.params)
                self._key_types.check(row)
            except RowRejectedError as error:
                taken.rejected.append((str(error), self._finisher.without_excluded(sent)))
                continue
            key = self._finisher.key(row) or len(finished)
            # of one key twice on a page the later row stays, whichever comes first
            if key not in finished or not self._finisher.is_older(row, finished[key]):
                finished[key] = row
        if self.endpoint.primary_key:
            attempts.note(finished.keys(), last=not page.paginator.has_next_page)
        for row in finished.values():
            value = self._finisher.cursor(row)
            if value is not None and value <= self._started and (not taken.highest or value > taken.highest):
                taken.highest = value
            stored = row[ROW_HASH] in self._unseen
            self._unseen[row[ROW_HASH]] = None
            if self._wanted.holds(value, stored=stored):
                taken.rows.append(row)
        return taken

    def _hand_over(
        self, taken: Taken, parent: Parent, *, following: Callable[[], Iterator[Any]] | None = None
    ) -> Iterator[Any]:
        """Books a page and gives its rows to dlt, in the calling thread; then the page after it to a worker."""
        reading = self.reading
        reading.pages += taken.pages
        reading.rows_read += taken.read
        reading.rows_rejected += len(taken.rejected)
        self._rejected += taken.rejected
        reading.rows_short += taken.short
        reading.lists_unsettled += taken.unsettled
        reading.highest = max(filter(None, (reading.highest, taken.highest)), default=None)
        if not self.endpoint.primary_key:
            self._snapshot += taken.rows
        elif taken.rows:
            reading.rows_loaded += len(taken.rows)
            self.gave = True
            yield self._with_columns(taken.rows)
        if following:
            yield following
        else:
            self._ended(parent, taken)
        self._progress.tell(reading)

    def _ended(self, parent: Parent, taken: Taken) -> None:
        """Books the end of one parent's pages."""
        reading = self.reading
        self._outstanding -= 1
        reading.parents_done += 1
        if taken.failure and not (self.endpoint.parents and taken.failure.status == 404):
            self._failed(parent, taken.failure)
            return
        self._patience.answered()
        if taken.failure:
            reading.parents_missing += 1
        self.sweep.failed.discard(parent.path)
        if not (taken.short or taken.unsettled or self._stopped):
            self._whole.add(parent.path)

    def _failed(self, parent: Parent, error: ReadError) -> None:
        reading = self.reading
        reading.failures.append(Failure(parent.path, str(error), error.status))
        self.sweep.failed.add(parent.path)
        if self._patience.is_over(error.status, done=reading.parents_done):
            self._stopped = reading.given_up = True

    def _state(self) -> dict[str, Any]:
        state = dlt.current.resource_state(self.endpoint.name)
        if not is_of(self._session.api, state):
            state.clear()
        if self._session.api.profile:
            state[PROFILE] = self._session.api.profile
        return state

    def _close(self) -> Iterator[Any]:
        """What is left to do when all was asked: the snapshot, the empty table, the cursor."""
        reading = self.reading
        reading.seconds = time.monotonic() - self._begun
        gone = reading.parents_missing
        if gone and gone == reading.parents and self.sweep.whole and self.endpoint.missing == "parent gone":
            why = f"every one of {gone} parents answered 404: is the path right?"
            reading.failures.append(Failure(self.endpoint.path, why, 404))
        self._progress.end(reading, complete=self.complete)
        if reading.doubt:
            self._log.warning(f"{self._name}: {reading.doubt}")
        if self.endpoint.parents and not self._stopped and self.sweep.end(self._state()):
            self.gave = True
        if not self.complete:
            return
        stored = self.stored
        if not self.endpoint.primary_key and (
            self._mode.full_refresh or Counter(row[ROW_HASH] for row in self._snapshot) != Counter(stored.rows)
        ):
            reading.rows_loaded = len(self._snapshot)
            replace = dlt.mark.make_hints(write_disposition="replace")
            rows: Any = self._snapshot or dlt.mark.materialize_table_schema()
            self.gave = self._table_ready = True
            yield dlt.mark.with_hints(rows, replace)
        if not self._table_ready:
            self.gave = True
            yield schema_only(self.endpoint, [parent.params for parent in self.sweep.parents[:1]])
        highest = max(filter(None, (reading.highest, stored.cursor)), default=None)
        if highest is not None and highest != stored.cursor and not self._mode.windowed:
            self.gave = True
            self._state()[CURSOR] = highest.isoformat()

    def _with_columns(self, rows: list[dict[str, Any]]) -> Any:
        """The rows, with the types of key columns in front of the first of all (see ``first_columns``)."""
        if self._table_ready:
            return rows
        self._table_ready = True
        return dlt.mark.with_hints(rows, dlt.mark.make_hints(columns=first_columns(self.endpoint, rows[0])))
