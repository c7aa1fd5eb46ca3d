"""Whether something has changed at an API, found out with a request or two. Writes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from analytics_ingest.extract.errors import ReadError
from analytics_ingest.extract.reading import Parent
from analytics_ingest.extract.rows import ROW_HASH, content_hash
from analytics_ingest.extract.scope import build_scope
from analytics_ingest.extract.session import ApiSession
from analytics_ingest.extract.settings import load_settings, page_limit
from analytics_ingest.sync.pages import FeedRows, Page, PageReader, asks

if TYPE_CHECKING:
    import logging

    from analytics_ingest.apis import Api, Endpoint
    from analytics_ingest.apis.probe import Probe

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
    shorter = {name: min(getattr(settings, name), LONGEST_ANSWER) for name in ("read_timeout", "answer_timeout")}
    settings = settings.model_copy(update=shorter)
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
        rows.add(name, _first_page(api, parent, session, Parent(path=parent.path, params={})).rows)
    looked = replace(endpoint, params={**endpoint.params, **probe.params})
    found = []
    for ask in islice(asks(endpoint, rows.read, build_scope(session.settings, now=datetime.now(UTC))), MOST_PARENTS):
        page = _first_page(api, looked, session, ask)
        hashes = [row[ROW_HASH] for row in (*page.rows, *page.too_old)] + list(page.rejected)
        found.append({"path": ask.path, "total": page.total, "rows": sorted(hashes)})
    return f"{content_hash({'found': found}):x}"


def _first_page(api: Api, endpoint: Endpoint, session: ApiSession, ask: Parent) -> Page:
    try:
        return next(PageReader(endpoint, session, limit=page_limit(api, endpoint)).pages(ask))
    except ReadError as error:
        raise ReadError(f"{api.name}: {ask.path} {error}", status=error.status) from None
