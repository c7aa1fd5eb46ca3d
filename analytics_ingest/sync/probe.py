"""Whether something has changed at an API, found out with a request or two. Writes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from analytics_ingest.extract.client import EndpointClient
from analytics_ingest.extract.errors import ReadError
from analytics_ingest.extract.reading import Parent
from analytics_ingest.extract.rows import ROW_HASH, RowFinisher, RowRejectedError, content_hash
from analytics_ingest.extract.scope import build_scope
from analytics_ingest.extract.session import ApiSession, Meter
from analytics_ingest.extract.settings import load_settings, page_limit
from analytics_ingest.sync.pages import FeedRows, asks

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from analytics_ingest.apis import Api, Endpoint
    from analytics_ingest.apis.probe import Probe
    from analytics_ingest.extract.paginator import GuardedPaginator

LONGEST_ANSWER = 20.0
"""Seconds to wait for an answer: a sensor's evaluation has to end within a minute."""
MOST_PARENTS = 6
"""Parents for which a probed list is looked at: a look is for a few requests."""


def look(api: Api, *, log: logging.Logger) -> dict[str, str]:
    """One request for each of the API's probes, or for each of its first parents, without retries.

    Returns:
        For each probed list a fingerprint: of the rows on its first page, in any order, and of the total that the
        envelope states. It is another one if any of these is.

    Raises:
        IngestError: A setting is missing or wrong, or the API did not answer as declared.
    """
    settings = load_settings(api)
    settings = settings.model_copy(update={"read_timeout": min(settings.read_timeout, LONGEST_ANSWER)})
    session = ApiSession(replace(api, retry=api.retry.never), settings, log=log)
    try:
        return {
            probe.endpoint: _fingerprint(api, probe, session)
            for probe in api.probes
            if probe.endpoint not in settings.skip_endpoints
        }
    finally:
        session.close()


def _fingerprint(api: Api, probe: Probe, session: ApiSession) -> str:
    endpoint = api.by_name[probe.endpoint]
    rows = FeedRows(api)
    for name in endpoint.upstream:
        parent = api.by_name[name]
        finisher = RowFinisher(parent)
        _, sent = _first_page(api, parent, session, Parent(path=parent.path, params={}))
        rows.add(name, [finisher.finish(row, {}) for row in sent])
    found = []
    for ask in islice(asks(endpoint, rows.read, build_scope(session.settings, now=datetime.now(UTC))), MOST_PARENTS):
        total, sent = _first_page(api, endpoint, session, ask, params=probe.params)
        found.append({"path": ask.path, "total": total, "rows": sorted(_hash(endpoint, row, ask) for row in sent)})
    return f"{content_hash({'found': found}):x}"


def _first_page(
    api: Api, endpoint: Endpoint, session: ApiSession, ask: Parent, *, params: Mapping[str, Any] | None = None
) -> tuple[int | None, list[Any]]:
    """The total that the first page states, and its rows."""
    client = EndpointClient(endpoint, session, limit=page_limit(api, endpoint), meter=Meter())
    try:
        page = next(client.pages(ask.path, {**endpoint.params, **(params or {})}))
    except ReadError as error:
        raise ReadError(f"{api.name}: {ask.path} {error}", status=error.status) from None
    finisher = RowFinisher(endpoint)
    return cast("GuardedPaginator", page.paginator).total, [row for sent in page for row in finisher.rows(sent)]


def _hash(endpoint: Endpoint, row: Any, ask: Parent) -> int:
    try:
        found: int = RowFinisher(endpoint).finish(row, ask.params)[ROW_HASH]
    except RowRejectedError:
        return content_hash({"sent": row})
    return found
