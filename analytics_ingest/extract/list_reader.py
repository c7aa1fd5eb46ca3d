"""Reads the lists of one endpoint, page by page, into normalised rows.

A sync, ``check``, ``verify`` and the change sensors share this loop and its rules.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analytics_ingest.errors import AuthenticationError, ReadError
from analytics_ingest.extract.list_stability import ListStability
from analytics_ingest.extract.rows import NO_COLUMNS, ROW_HASH, RowNormalizer, RowRejectedError, excluded_fields
from analytics_ingest.extract.table_snapshot import NO_LIMITS, Limits
from analytics_ingest.http.client import EndpointClient
from analytics_ingest.http.session import Pause

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Iterator, Mapping
    from datetime import datetime

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.extract.partitions import Partition
    from analytics_ingest.http.client import RawPage
    from analytics_ingest.http.meter import Meter
    from analytics_ingest.http.session import ApiSession


@dataclass
class PageResult:
    """One page of a list.

    Attributes:
        partition: The partition that the page belongs to.
        is_last: Whether no other page of the list follows.
        is_cut: Whether the rest of the list was left unread.
        starts_over: Whether the list is read once more, from its first page, after this page.
        pages: 1 for a page that came, 0 for an end without one.
        read: Rows that came.
        size: Bytes of the response that the rows came in, decoded.
        total: Rows that the list has, as the envelope states; ``None`` if it does not.
        short: Rows that the envelope states and that did not come; 0 before the last page.
        unsettled: Whether rows moved between the pages while the list was read, also when it was read again.
        rows: The rows, normalised; if a key came twice on the page, only the newest row of it.
        differing: Keys of rows that came with other contents on an earlier page, at a second reading. The row on this
            page is the newest, or the last.
        ambiguous: Keys that came twice with different contents, on this page, or on two pages without a newer one.
        rejected: Rows that cannot be stored, as they came, each with the reason.
        rewrites: By the stored hash of a row that the table holds in a former form, its columns to rewrite in place.
        highest: The highest cursor value among the rows, UTC, no later than the start of the sync.
        failure: Why the list could not be read to its end.
    """

    partition: Partition
    is_last: bool = False
    is_cut: bool = False
    starts_over: bool = False
    pages: int = 0
    read: int = 0
    size: int = 0
    total: int | None = None
    short: int = 0
    unsettled: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    differing: frozenset[Hashable] = frozenset()
    ambiguous: int = 0
    rejected: list[tuple[str, Any]] = field(default_factory=list)
    rewrites: dict[int, dict[str, Any]] = field(default_factory=dict)
    highest: datetime | None = None
    failure: ReadError | None = None


class ListReader:
    """Reads an endpoint's lists, one for each partition; several threads may do so at once.

    Why not ``dlt.sources.rest_api``'s own resources: there the first request that fails ends the whole run, parents
    and siblings included. Here a failure concerns its list only.

    Attributes:
        normalizer: Makes rows of a page's elements.
        named: Paths by the API's own name of partitions that were requested under a provisional name.
        notices: What the responses say beside their rows.
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
        """Prepares the reading of the lists; sends nothing.

        Args:
            endpoint: The endpoint.
            session: The API's session.
            limit: Rows to request per page; ``None`` if the API has no such parameter.
            meter: Counts requests, retries and seconds waited.
            columns: The table's columns and their types in dlt's terms; empty if there is no table yet.
            remembered: Columns of fields that earlier syncs chose, see ``ColumnNames``.
            limits: What the destination can hold.

        Raises:
            ConfigurationError: ``EXCLUDE_COLUMNS`` names a column of the key.
        """
        settings = session.settings
        self._endpoint = endpoint
        self._session = session
        self._client = EndpointClient(endpoint, session, limit=limit, meter=meter)
        self.notices = self._client.notices
        self.named: set[str] = set()
        self.normalizer = RowNormalizer(
            endpoint,
            exclude=excluded_fields(endpoint, settings.exclude_columns),
            columns=columns,
            max_columns=settings.max_columns,
            remembered=remembered,
            max_name_length=limits.max_name_length,
            takes_nul=limits.takes_nul,
        )

    def read(
        self, partition: Partition, *, filters: Mapping[str, Any] | None = None
    ) -> Generator[PageResult, None, None]:
        """The pages of ``steps``; the calling thread sleeps through its pauses."""
        with closing(self.steps(partition, filters=filters)) as steps:
            yield from self._session.sleeping(steps)

    def steps(
        self,
        partition: Partition,
        *,
        filters: Mapping[str, Any] | None = None,
        known_status: int | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Generator[PageResult | Pause, None, None]:
        """Yields the pages of a partition's list, the last one with ``is_last``, and pauses before some of them.

        A list that moved while it was read is read once more: all pages come anew after a page with ``starts_over``. An
        error is the ``failure`` of the last page, so that it ends this list and no other.

        Args:
            partition: The partition.
            filters: What has the API filter, beside the parameters that the endpoint declares.
            known_status: The status of the list's first page at the last sync, which is not retried.
            stopped: Whether to leave the remaining pages unread.

        Raises:
            AuthenticationError: The API refused the key.
        """
        try:
            yield from self._read(partition, filters or {}, known_status, stopped)
        except AuthenticationError:
            raise
        except ReadError as error:
            yield PageResult(partition, is_last=True, failure=error)
        except Exception as error:  # noqa: BLE001 - one list fails, the others are read
            yield PageResult(partition, is_last=True, failure=self._session.unexpected(error, partition.path))

    def _read(
        self, partition: Partition, filters: Mapping[str, Any], known_status: int | None, stopped: Callable[[], bool]
    ) -> Iterator[PageResult | Pause]:
        stability = ListStability()
        pages = self._client.pages(partition.path, filters, known_status=known_status)
        read, first_reason = 0, ""
        any_stored = False
        while not stopped():
            page = next(pages)
            if isinstance(page, Pause):
                yield page
                continue
            paginator = page.paginator
            result = self._normalize(page, partition, stability)
            read, any_stored = read + result.read, any_stored or bool(result.rows)
            first_reason = first_reason or (result.rejected[0][0] if result.rejected else "")
            result.failure = paginator.error
            if not paginator.has_next_page or paginator.error:
                result.short, result.unsettled = stability.short(paginator), stability.moved(paginator)
                if not stability.should_reread(paginator):
                    result.is_last = True
                    if read and not any_stored and not result.failure:
                        result.failure = ReadError(
                            f"answered with {read} rows, none of which can be stored: {first_reason}"
                        )
                    yield result
                    return
                result.short, result.unsettled, result.starts_over = 0, False, True
                pages.close()
                pages = self._client.pages(partition.path, filters)
            yield result
        pages.close()
        yield PageResult(partition, is_last=True, is_cut=True)

    def _normalize(self, page: RawPage, partition: Partition, stability: ListStability) -> PageResult:
        """The page's rows as they go into the table; none if the same page came before."""
        result = PageResult(partition, pages=1, size=page.size, total=page.paginator.total)
        if page.paginator.repeated:
            return result
        normalizer = self.normalizer
        by_key: dict[Any, dict[str, Any]] = {}
        ambiguous: set[Any] = set()
        for sent in (row for element in page.rows for row in normalizer.rows(element)):
            result.read += 1
            try:
                row = normalizer.normalize(sent, self._params(partition, sent))
            except RowRejectedError as error:
                result.rejected.append((str(error), normalizer.rejected_form(sent)))
                continue
            key = normalizer.key(row) or len(by_key)
            before = by_key.get(key)
            if before is not None and before[ROW_HASH] != row[ROW_HASH]:
                ambiguous.add(key)
            # if a page has a key twice, the newer row wins, in whatever order they come
            by_key[key] = normalizer.newest(before, row)
        if self._endpoint.primary_key:
            differing = stability.choose_rows(by_key, normalizer.is_older)
            ambiguous |= {key for key, is_newer in differing.items() if not is_newer}
            result.differing, result.ambiguous = frozenset(differing), len(ambiguous)
            stability.add_page(by_key.keys(), is_last=not page.paginator.has_next_page)
        result.rows = list(by_key.values())
        return result

    def _params(self, partition: Partition, sent: Any) -> Mapping[str, Any]:
        """The path parameters of a row: with the API's own name for the parent, if the row has it."""
        given = partition.naming.named_by
        if not given or not isinstance(sent, dict):
            return partition.params
        params = {**partition.params, **{name: sent[field] for name, field in given.items() if sent.get(field)}}
        self.named.add(self._endpoint.path_for(params))
        return params
