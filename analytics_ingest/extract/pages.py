"""Reading the pages of one list, from any thread, and what of their rows is new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytics_ingest.extract.attempt import Attempts
from analytics_ingest.extract.client import EndpointClient, Fetched
from analytics_ingest.extract.errors import ReadError
from analytics_ingest.extract.reading import Taken
from analytics_ingest.extract.rows import ROW_HASH, KeyTypes, RowFinisher, RowRejectedError, excluded_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from analytics_ingest.apis import Endpoint
    from analytics_ingest.extract.reading import Parent, Stored
    from analytics_ingest.extract.session import ApiSession, Meter
    from analytics_ingest.extract.wanted import Wanted

CAME = ""
"""In place of the path of a stored row's parent: the row has come again."""


class ListPages:
    """The pages of an endpoint's lists, one list for each parent.

    Why not ``dlt.sources.rest_api``'s own resources: there the first request that fails ends the whole run, parents
    and siblings included. Here a failure is caught where it happens, and the rest goes on.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        session: ApiSession,
        *,
        limit: int | None,
        meter: Meter,
        stored: Stored,
        wanted: Wanted,
        started: datetime,
    ) -> None:
        """Prepares the reading; sends nothing.

        Args:
            endpoint: What to read.
            session: The API's session.
            limit: Rows per page.
            meter: Counts requests.
            stored: What the warehouse holds of the endpoint.
            wanted: Which rows are loaded.
            started: When the sync began: no cursor goes beyond it.
        """
        self._endpoint = endpoint
        self._client = EndpointClient(endpoint, session, limit=limit, meter=meter)
        settings = session.settings
        self._finisher = RowFinisher(endpoint, exclude=excluded_fields(endpoint, settings.exclude_columns))
        self._key_types = KeyTypes(endpoint, stored.columns)
        self._stored = stored.hashes
        self._former = stored.former
        self._new: set[int] = set()
        self.named: set[str] = set()
        """Paths of parents by the API's own name that answers to provisional names had."""
        self._wanted = wanted
        self._started = started

    def unseen(self) -> Iterator[tuple[int, str]]:
        """The hashes of stored rows that have not come so far, each with the path of its parent."""
        return ((value, path) for value, path in self._stored.items() if path != CAME)

    def read(self, parent: Parent, *, stopped: Callable[[], bool]) -> Iterator[Taken]:
        """What each page of a parent's list comes to; the last one says that it is over.

        Args:
            parent: The parent.
            stopped: Whether the pages that are left are to be left unread.

        Raises:
            AuthenticationError: The API refused the key.
        """
        attempts = Attempts()
        pages = self._pages(parent)
        while not stopped():
            try:
                page = next(pages)
            except ReadError as error:
                yield Taken(parent, over=True, failure=error)
                return
            paginator = page.paginator
            taken = Taken(parent, pages=1) if paginator.repeated else self._take(page, parent, attempts)
            taken.failure = paginator.problem
            if not paginator.has_next_page or paginator.problem:
                taken.short, taken.unsettled = attempts.short(paginator), attempts.moved(paginator)
                if not attempts.start_again(paginator):
                    taken.over = True
                    yield taken
                    return
                taken.short, taken.unsettled, taken.again = 0, False, True
                pages = self._pages(parent)
            yield taken
        yield Taken(parent, over=True)

    def _pages(self, parent: Parent) -> Iterator[Fetched]:
        params = dict(self._endpoint.params)
        if self._endpoint.start_param and self._wanted.since:
            params[self._endpoint.start_param] = self._endpoint.convert(self._wanted.since)
        return self._client.pages(parent.path, params)

    def _take(self, page: Fetched, parent: Parent, attempts: Attempts) -> Taken:
        """The page's rows as they go into the table, without those that are there already."""
        taken = Taken(parent, pages=1)
        finished: dict[Any, dict[str, Any]] = {}
        for sent in (row for element in page.rows for row in self._finisher.rows(element)):
            taken.read += 1
            try:
                row = self._finisher.finish(sent, self._params(parent, sent))
                self._key_types.check(row)
            except RowRejectedError as error:
                taken.rejected.append((str(error), self._finisher.without_excluded(sent)))
                continue
            key = self._finisher.key(row) or len(finished)
            # of one key twice on a page the later row stays, whichever comes first
            if key not in finished or not self._finisher.is_older(row, finished[key]):
                finished[key] = row
        if self._endpoint.primary_key:
            attempts.note(finished.keys(), last=not page.paginator.has_next_page)
        for row in finished.values():
            value = self._finisher.cursor(row)
            if value is not None and value <= self._started and (not taken.highest or value > taken.highest):
                taken.highest = value
            hashed = row[ROW_HASH]
            stored = hashed in self._stored or hashed in self._new
            if not stored and self._former and (found := self._former.recognised(self._finisher.key(row), row)):
                former, rewrite = found
                taken.rewrites[former] = rewrite
                self._stored[former] = CAME
                stored = True
            if hashed in self._stored:
                # in place: a set of its own would have each of millions of hashes twice
                self._stored[hashed] = CAME
            else:
                self._new.add(hashed)
            if self._wanted.holds(value, stored=stored):
                taken.rows.append(self._with_retired(row) if self._former else row)
        return taken

    def _params(self, parent: Parent, sent: Any) -> Mapping[str, Any]:
        """The path parameters that a row gets: by the API's own name for the parent, if its answer tells it."""
        given = parent.naming.named_by
        if not given or not isinstance(sent, dict):
            return parent.params
        params = {**parent.params, **{name: sent[field] for name, field in given.items() if sent.get(field)}}
        self.named.add(self._endpoint.path_for(params))
        return params

    def _with_retired(self, row: dict[str, Any]) -> Any:
        """A row to load with the stored values of retired columns, as the stored row is replaced."""
        return self._finisher.without_excluded({**row, **self._former.retired(self._finisher.key(row))})
