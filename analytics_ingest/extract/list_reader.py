"""Reads the lists of one endpoint, page by page, into finished rows.

A sync, ``check``, ``verify`` and the change sensors share this loop and its rules.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analytics_ingest.errors import AuthenticationError, ReadError
from analytics_ingest.extract.list_stability import ListConsistency
from analytics_ingest.extract.rows import NO_COLUMNS, RowNormalizer, RowRejectedError, excluded_fields
from analytics_ingest.extract.stats import NO_LIMITS, Limits
from analytics_ingest.http.client import EndpointClient
from analytics_ingest.http.session import Pause

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping
    from datetime import datetime

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.extract.stats import Partition
    from analytics_ingest.http.client import RawPage
    from analytics_ingest.http.session import ApiSession, Meter


@dataclass
class PageResult:
    """One page of a list.

    Attributes:
        parent: In whose list the page is.
        over: Whether no other page of the list follows.
        again: Whether the list is read once more after this page.
        pages: 1 for a page that came, 0 where none did.
        read: Rows that came.
        size: Bytes of the answer that the rows came in, decoded.
        total: Rows that the list has, as the envelope states; ``None`` if it does not.
        short: Rows that the envelope states and that did not come; 0 before the last page.
        unsettled: Whether rows moved between the pages while the list was read, also when it was read again.
        rows: The rows, finished; of one key the newest alone.
        rejected: Rows that cannot be stored, as they came, each with the reason.
        rewrites: Columns to rewrite in place of rows that the table holds in a former form, by their stored hash.
        highest: The highest cursor value among the rows, no later than the start of the sync.
        failure: Why the list could not be read to its end.
    """

    parent: Partition
    over: bool = False
    again: bool = False
    pages: int = 0
    read: int = 0
    size: int = 0
    total: int | None = None
    short: int = 0
    unsettled: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[tuple[str, Any]] = field(default_factory=list)
    rewrites: dict[int, dict[str, Any]] = field(default_factory=dict)
    highest: datetime | None = None
    failure: ReadError | None = None


class ListReader:
    """Reads an endpoint's lists, one for each parent, from several threads at once if need be.

    Why not ``dlt.sources.rest_api``'s own resources: there the first request that fails ends the whole run, parents
    and siblings included. Here a failure stays with its list, and the rest goes on.

    Attributes:
        finisher: The rules by which elements of pages become rows.
        named: Paths of parents by the API's own name that answers to provisional names had.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        session: ApiSession,
        *,
        limit: int | None,
        meter: Meter,
        columns: Mapping[str, str] = NO_COLUMNS,
        remembered: Mapping[str, str] = NO_COLUMNS,
        limits: Limits = NO_LIMITS,
    ) -> None:
        """Prepares the reading of an endpoint; sends nothing.

        Args:
            endpoint: What to read.
            session: The API's session.
            limit: Rows to request per page; ``None`` if the API has no such parameter.
            meter: Counts requests, retries and seconds waited.
            columns: The table's columns and their types in dlt's terms; empty if there is no table yet.
            remembered: Columns of fields that earlier syncs decided on, see ``ColumnNames``.
            limits: What the destination can hold.

        Raises:
            ConfigurationError: ``EXCLUDE_COLUMNS`` names a column of the key.
        """
        settings = session.settings
        self._endpoint = endpoint
        self._session = session
        self._client = EndpointClient(endpoint, session, limit=limit, meter=meter)
        self.named: set[str] = set()
        self.finisher = RowNormalizer(
            endpoint,
            exclude=excluded_fields(endpoint, settings.exclude_columns),
            columns=columns,
            max_columns=settings.max_columns,
            remembered=remembered,
            max_name_length=limits.max_name_length,
            takes_nul=limits.takes_nul,
        )

    def read(self, parent: Partition) -> Generator[PageResult, None, None]:
        """What ``steps`` gives, with the pauses slept in the calling thread."""
        with closing(self.steps(parent)) as steps:
            yield from self._session.sleeping(steps)

    def steps(
        self,
        parent: Partition,
        *,
        params: Mapping[str, Any] | None = None,
        known_status: int | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Generator[PageResult | Pause, None, None]:
        """The pages of a parent's list, the last of which says that the list is over, and pauses before some of them.

        A list that moved while it was read is read once more; a page with ``again`` tells that all pages come anew.
        Any error is the ``failure`` of the last page, so that it ends this list and no other.

        Args:
            parent: The parent.
            params: Query parameters beside those that the endpoint declares.
            known_status: The code that the list's first page answered at the last sync, which is not retried.
            stopped: Whether to leave the pages unread that are left.

        Raises:
            AuthenticationError: The API refused the key.
        """
        try:
            yield from self._read(parent, {**self._endpoint.params, **(params or {})}, known_status, stopped)
        except AuthenticationError:
            raise
        except ReadError as error:
            yield PageResult(parent, over=True, failure=error)
        except Exception as error:  # noqa: BLE001 - one list fails, the others are read
            yield PageResult(parent, over=True, failure=self._session.unexpected(error, parent.path))

    def _read(
        self, parent: Partition, params: Mapping[str, Any], known_status: int | None, stopped: Callable[[], bool]
    ) -> Iterator[PageResult | Pause]:
        attempts = ListConsistency()
        pages = self._client.pages(parent.path, params, known_status=known_status)
        read, why = 0, ""
        stored = False
        while not stopped():
            page = next(pages)
            if isinstance(page, Pause):
                yield page
                continue
            paginator = page.paginator
            result = self._finish(page, parent, attempts)
            read, stored = read + result.read, stored or bool(result.rows)
            why = why or (result.rejected[0][0] if result.rejected else "")
            result.failure = paginator.problem
            if not paginator.has_next_page or paginator.problem:
                result.short, result.unsettled = attempts.short(paginator), attempts.moved(paginator)
                if not attempts.should_reread(paginator):
                    result.over = True
                    if read and not stored and not result.failure:
                        result.failure = ReadError(f"answered with {read} rows, none of which can be stored: {why}")
                    yield result
                    return
                result.short, result.unsettled, result.again = 0, False, True
                pages.close()
                pages = self._client.pages(parent.path, params)
            yield result
        pages.close()
        yield PageResult(parent, over=True)

    def _finish(self, page: RawPage, parent: Partition, attempts: ListConsistency) -> PageResult:
        """The page's rows as they go into the table; of a page that came twice none."""
        result = PageResult(parent, pages=1, size=page.size, total=page.paginator.total)
        if page.paginator.repeated:
            return result
        finisher = self.finisher
        finished: dict[Any, dict[str, Any]] = {}
        for sent in (row for element in page.rows for row in finisher.rows(element)):
            result.read += 1
            try:
                row = finisher.finish(sent, self._params(parent, sent))
            except RowRejectedError as error:
                result.rejected.append((str(error), finisher.kept_aside(sent)))
                continue
            key = finisher.key(row) or len(finished)
            # of two rows of one key on a page the newer one stays, in any order
            if key not in finished or not finisher.is_older(row, finished[key]):
                finished[key] = row
        if self._endpoint.primary_key:
            attempts.note(finished.keys(), last=not page.paginator.has_next_page)
        result.rows = list(finished.values())
        return result

    def _params(self, parent: Partition, sent: Any) -> Mapping[str, Any]:
        """The path parameters that a row gets: by the API's own name for the parent, if its answer tells it."""
        given = parent.naming.named_by
        if not given or not isinstance(sent, dict):
            return parent.params
        params = {**parent.params, **{name: sent[field] for name, field in given.items() if sent.get(field)}}
        self.named.add(self._endpoint.path_for(params))
        return params
