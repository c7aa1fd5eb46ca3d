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
from urllib.parse import quote

import dlt
from dlt.sources.helpers.rest_client.client import RESTClient
from dlt.sources.rest_api.config_setup import create_auth

from analytics_ingest.extract.errors import ReadError
from analytics_ingest.extract.paginator import GuardedPaginator
from analytics_ingest.extract.reading import Failure, Reading, Stored, Taken
from analytics_ingest.extract.rows import ROW_HASH, RowFinisher, RowRejectedError
from analytics_ingest.extract.selector import RowSelector
from analytics_ingest.extract.session import EndpointSession
from analytics_ingest.extract.tables import first_columns, schema_only

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from dlt.sources.helpers.rest_client.client import PageData
    from dlt.sources.rest_api.typing import AuthConfig

    from analytics_ingest.apis import Endpoint
    from analytics_ingest.extract.session import ApiSession

Params = dict[str, Any]
PROBATION = 5
"""Parents asked first: if each of them answers 403, the endpoint is not for this account."""
CURSOR = "cursor"
"""Key in the resource's state: the highest cursor value seen, ISO 8601 in UTC."""


class EndpointReader:
    """Reads one endpoint in one sync. Requests run in dlt's workers, everything else in the calling thread.

    Attributes:
        gave: Whether there is anything to load: rows, a new table, a cursor that moved.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        session: ApiSession,
        *,
        limit: int | None,
        stored: Stored,
        started: datetime,
        parents: Sequence[Params],
        log: logging.Logger,
    ) -> None:
        """Prepares the reading of an endpoint.

        Args:
            endpoint: What to read.
            session: The API's session.
            limit: Rows per page.
            stored: What the warehouse holds of it.
            started: When the sync began.
            parents: The feed's rows; one empty row for an endpoint without parents.
            log: Gets a line of progress now and then.
        """
        self.endpoint = endpoint
        self.reading = Reading(parents=len(parents))
        self.parents = parents
        self._session = session
        self._limit = limit
        self._stored = stored
        self._known = dict.fromkeys(stored.hashes, False)
        self._started = started
        self._log = log
        self._finisher = RowFinisher(endpoint)
        given = endpoint.parents.params if endpoint.parents else ()
        own_key = tuple(name for name in endpoint.primary_key if name not in given)
        self._selector = RowSelector(endpoint.data_selector, record_key=own_key)
        self._client = RESTClient(
            base_url=str(session.settings.base_url),
            auth=create_auth(auth_config(session)),
            session=EndpointSession(
                session,
                meter=self.reading.meter,
                check=self._check,
                status_codes=endpoint.retry_status_codes,
            ),
        )
        self._snapshot: list[dict[str, Any]] = []
        self._table_ready = bool(stored.columns)
        self.gave = False
        self._outstanding = 0
        self._forbidden = 0
        self._stopped = False
        self._begun = time.monotonic()
        self._reported = self._begun

    @property
    def complete(self) -> bool:
        """True once every parent was asked and nothing failed."""
        return self.reading.parents_done == self.reading.parents and not self.reading.failures

    @property
    def vanished(self) -> list[int]:
        """Hashes of stored rows that a complete read did not give, once the rows that changed are loaded."""
        if not self.complete or self.reading.rows_short or not self.endpoint.primary_key:
            return []
        return [value for value, seen in self._known.items() if not seen]

    def items(self, parents: Sequence[Params]) -> Iterator[Any]:
        """What dlt extracts for some of the parents: callables for its workers, and what these come to."""
        reading = self.reading
        last = reading.parents_done + len(parents)
        for params in parents:
            while reading.parents_done < PROBATION <= reading.parents_done + self._outstanding:
                yield None
            if self._stopped:
                reading.parents_done += 1
                continue
            self._outstanding += 1
            yield partial(self._next_page, params, None)
        while reading.parents_done < last:
            yield None
        if reading.parents_done == reading.parents:
            yield from self._close()

    def path(self, params: Params) -> str:
        """The endpoint's path for one parent, percent-encoded."""
        return self.endpoint.path.format_map({name: quote(str(value), safe="") for name, value in params.items()})

    def _pages(self, params: Params) -> Iterator[PageData[Any]]:
        return self._client.paginate(
            self.path(params),
            params=dict(self.endpoint.params),
            paginator=GuardedPaginator(
                self.endpoint.paginator,
                self._selector,
                limit=self._limit,
                max_pages=self._session.settings.max_pages,
            ),
            data_selector=self._selector,
            # the session judges answers itself
            hooks={"response": []},
        )

    def _next_page(self, params: Params, pages: Iterator[PageData[Any]] | None) -> Iterator[Any]:
        """Reads one page, in a worker."""
        if self._stopped:
            return self._hand_over(Taken(), params)
        pages = pages or self._pages(params)
        try:
            page = next(pages)
        except ReadError as error:
            return self._hand_over(Taken(failure=error), params)
        paginator = cast("GuardedPaginator", page.paginator)
        taken = Taken(pages=1) if paginator.repeated else self._take(page, params)
        taken.failure = paginator.problem
        if paginator.has_next_page and not paginator.problem:
            return self._hand_over(taken, params, following=partial(self._next_page, params, pages))
        taken.short = paginator.short
        return self._hand_over(taken, params)

    def _take(self, page: PageData[Any], params: Params) -> Taken:
        """The page's rows as they go into the table, without those that are there already."""
        taken = Taken(pages=1, read=len(page))
        for sent in page:
            try:
                row = self._finisher.finish(sent, params)
            except RowRejectedError as error:
                taken.rejected.append((str(error), sent))
                continue
            value = self._finisher.cursor(row)
            if value is not None and value <= self._started and (not taken.highest or value > taken.highest):
                taken.highest = value
            stored = row[ROW_HASH] in self._known
            self._known[row[ROW_HASH]] = True
            if not stored or not self.endpoint.primary_key:
                taken.rows.append(row)
        return taken

    def _hand_over(
        self, taken: Taken, params: Params, *, following: Callable[[], Iterator[Any]] | None = None
    ) -> Iterator[Any]:
        """Books a page and gives its rows to dlt, in the calling thread; then the page after it to a worker."""
        reading = self.reading
        reading.pages += taken.pages
        reading.rows_read += taken.read
        reading.rejected += taken.rejected
        reading.rows_short += taken.short
        reading.highest = max(filter(None, (reading.highest, taken.highest)), default=None)
        if taken.failure:
            self._failed(params, taken.failure)
        if not self.endpoint.primary_key:
            self._snapshot += taken.rows
        elif taken.rows:
            reading.rows_loaded += len(taken.rows)
            self.gave = True
            yield self._with_columns(taken.rows)
        if following:
            yield following
        else:
            self._outstanding -= 1
            reading.parents_done += 1
        self._report()

    def _failed(self, params: Params, error: ReadError) -> None:
        child = self.endpoint.parents is not None
        if child and error.status == 404:
            self.reading.parents_missing += 1
            return
        self.reading.failures.append(Failure(self.path(params), str(error), error.status))
        if error.status == 403:
            self._forbidden += 1
            all_forbidden = self._forbidden == self.reading.parents_done + 1
            self._stopped = self._stopped or (all_forbidden and self._forbidden >= min(PROBATION, self.reading.parents))

    def _close(self) -> Iterator[Any]:
        """What is left to do when all was asked: the snapshot, the empty table, the cursor."""
        reading = self.reading
        reading.seconds = time.monotonic() - self._begun
        gone = reading.parents_missing
        if gone and gone == reading.parents and self.endpoint.missing == "parent gone":
            reading.failures.append(
                Failure(self.endpoint.path, f"every one of {gone} parents answered 404: is the path right?", 404)
            )
        self._report(final=True)
        if reading.rows_short:
            self._log.warning(
                f"{self._session.api.name}/{self.endpoint.name}: {reading.rows_short} rows fewer came than the API "
                "states; no row is marked as deleted"
            )
        if not self.complete:
            return
        stored = self._stored
        if not self.endpoint.primary_key and Counter(row[ROW_HASH] for row in self._snapshot) != Counter(stored.hashes):
            reading.rows_loaded = len(self._snapshot)
            replace = dlt.mark.make_hints(write_disposition="replace")
            rows: Any = self._snapshot or dlt.mark.materialize_table_schema()
            self.gave = self._table_ready = True
            yield dlt.mark.with_hints(rows, replace)
        if not self._table_ready:
            self.gave = True
            yield schema_only(self.endpoint, self.parents)
        highest = max(filter(None, (reading.highest, stored.cursor)), default=None)
        if highest is not None and highest != stored.cursor:
            self.gave = True
            dlt.current.resource_state(self.endpoint.name)[CURSOR] = highest.isoformat()

    def _with_columns(self, rows: list[dict[str, Any]]) -> Any:
        """The rows, with the types of key columns in front of the first of all (see ``first_columns``)."""
        if self._table_ready:
            return rows
        self._table_ready = True
        return dlt.mark.with_hints(rows, dlt.mark.make_hints(columns=first_columns(self.endpoint, rows[0])))

    def _check(self, body: Any) -> None:
        self._selector.page(body)

    def _report(self, *, final: bool = False) -> None:
        now = time.monotonic()
        if not final and now - self._reported < self._session.settings.progress_interval:
            return
        self._reported = now
        reading = self.reading
        of = f"{reading.parents_done} of {reading.parents} parents, " if self.endpoint.parents else ""
        self._log.info(
            f"{self._session.api.name}/{self.endpoint.name}: {of}{reading.pages} pages, "
            f"{reading.rows_read} rows{', done' if final and self.complete else ''}"
        )


def auth_config(session: ApiSession) -> AuthConfig:
    """The API's auth in dlt's terms, with the key from the settings."""
    declared = session.api.auth
    secret = session.settings.api_key.get_secret_value()
    return cast("AuthConfig", {**declared, "token" if declared["type"] == "bearer" else "api_key": secret})
