"""Whether something has changed at an API, found out with a request or two. Writes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from analytics_ingest.extract.client import EndpointClient
from analytics_ingest.extract.errors import ReadError
from analytics_ingest.extract.rows import ROW_HASH, RowFinisher, RowRejectedError, content_hash
from analytics_ingest.extract.session import ApiSession, Meter
from analytics_ingest.extract.settings import load_settings, page_limit

if TYPE_CHECKING:
    import logging

    from analytics_ingest.apis import Api
    from analytics_ingest.apis.probe import Probe
    from analytics_ingest.extract.paginator import GuardedPaginator

LONGEST_ANSWER = 20.0
"""Seconds to wait for an answer: a sensor's evaluation has to end within a minute."""


def look(api: Api, *, log: logging.Logger) -> dict[str, str]:
    """One request for each of the API's probes, without retries.

    Returns:
        For each probed list a fingerprint: of the rows on its first page, in any order, and of the total that the
        envelope states. It is another one if any of these is.

    Raises:
        IngestError: A setting is missing or wrong, or the API did not answer as declared.
    """
    settings = load_settings(api)
    settings = settings.model_copy(update={"read_timeout": min(settings.read_timeout, LONGEST_ANSWER)})
    session = ApiSession(replace(api, retry=replace(api.retry, max_retries=0)), settings, log=log)
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
    client = EndpointClient(endpoint, session, limit=page_limit(api, endpoint), meter=Meter())
    try:
        page = next(client.pages(endpoint.path, endpoint.params))
    except ReadError as error:
        raise ReadError(f"{api.name}: {endpoint.path} {error}", status=error.status) from None
    total = cast("GuardedPaginator", page.paginator).total
    finisher = RowFinisher(endpoint)
    hashes = []
    for sent in page:
        try:
            hashes.append(finisher.finish(sent, {})[ROW_HASH])
        except RowRejectedError:
            hashes.append(content_hash({"sent": sent}))
    return f"{content_hash({'total': total, 'rows': sorted(hashes)}):x}"
