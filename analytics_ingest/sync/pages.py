"""Reading endpoints without loading them: what ``check`` and ``verify`` share. No table is read or written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analytics_ingest.extract.attempt import Attempts
from analytics_ingest.extract.client import EndpointClient
from analytics_ingest.extract.reading import Parent
from analytics_ingest.extract.rows import RowFinisher, RowRejectedError, content_hash, excluded_fields
from analytics_ingest.extract.session import Meter
from analytics_ingest.sync.parents import feed_columns, path_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from analytics_ingest.apis import Api, Endpoint
    from analytics_ingest.apis.feeds import ReadTable
    from analytics_ingest.apis.scope import Scope
    from analytics_ingest.extract.session import ApiSession


@dataclass(kw_only=True)
class Page:
    """One page as it would go into the table.

    Attributes:
        rows: The rows, finished.
        too_old: Rows whose cursor value is earlier than ``START_DATE``: a sync does not load them.
        rejected: Why rows were rejected, by their hash.
        short: Rows that the envelope states and that did not come; 0 before the last page.
        total: How many rows there are, as the envelope states; ``None`` if it does not.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    too_old: list[dict[str, Any]] = field(default_factory=list)
    rejected: dict[int, str] = field(default_factory=dict)
    short: int = 0
    total: int | None = None


class PageReader:
    """Reads one endpoint's pages, from several threads at once if need be."""

    def __init__(self, endpoint: Endpoint, session: ApiSession, *, limit: int | None) -> None:
        """Prepares the reading of an endpoint; sends nothing.

        Args:
            endpoint: What to read.
            session: The API's session.
            limit: Rows to ask for per page; ``None`` if the API has no such parameter.

        Raises:
            ConfigurationError: ``EXCLUDE_COLUMNS`` names a column of the key.
        """
        settings = session.settings
        self._endpoint = endpoint
        self._start = settings.start_date if endpoint.primary_key else None
        self._finisher = RowFinisher(endpoint, exclude=excluded_fields(endpoint, settings.exclude_columns))
        self._client = EndpointClient(endpoint, session, limit=limit, meter=Meter())

    def pages(self, ask: Parent) -> Iterator[Page]:
        """The pages for one parent, one request each.

        Raises:
            AuthenticationError: The API refused the key.
            ReadError: A page did not come, or not as declared.
        """
        attempts = Attempts()
        again = True
        while again:
            for page in self._client.pages(ask.path, self._endpoint.params):
                paginator = page.paginator
                finished = self._finish([] if paginator.repeated else page.rows, ask.params)
                finished.total = paginator.total
                last = not paginator.has_next_page
                if key := self._endpoint.primary_key:
                    attempts.note({tuple(row[name] for name in key) for row in finished.rows}, last=last)
                if last:
                    finished.short = attempts.short(paginator)
                    again = bool(key) and attempts.start_again(paginator)
                    finished.short *= not again
                yield finished
                if paginator.problem:
                    raise paginator.problem

    def _finish(self, sent: Iterable[Any], params: Mapping[str, Any]) -> Page:
        page = Page()
        for element in (row for each in sent for row in self._finisher.rows(each)):
            try:
                row = self._finisher.finish(element, params)
            except RowRejectedError as error:
                page.rejected[content_hash({"sent": element})] = str(error)
                continue
            cursor = self._finisher.cursor(row) if self._start else None
            old = cursor is not None and self._start is not None and cursor < self._start
            (page.too_old if old else page.rows).append(row)
        return page


class FeedRows:
    """What the feeds of an API's children need of rows that were just read: these columns, and no more."""

    def __init__(self, api: Api) -> None:
        self._columns = feed_columns(api)
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in self._columns}

    def add(self, resource: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keeps what feeds need of finished rows."""
        if resource in self._rows:
            self._rows[resource] += ({name: row.get(name) for name in self._columns[resource]} for row in rows)

    def read(self, resource: str, columns: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        """See ``feeds.ReadTable``."""
        return (tuple(row[name] for name in columns) for row in self._rows[resource])


def asks(endpoint: Endpoint, read: ReadTable, scope: Scope) -> Iterator[Parent]:
    """One for each parent that has values for the path, each once; one in all for an endpoint without parents."""
    if endpoint.parents is None:
        yield Parent(path=endpoint.path, params={})
        return
    seen: set[tuple[str, str]] = set()
    for row in endpoint.parents.rows(read, scope):
        params = {name: row[name] for name in endpoint.parents.params}
        path = path_of(endpoint, params)
        if path is not None and (path, str(params)) not in seen:
            seen.add((path, str(params)))
            yield Parent(path=path, params=params)
