"""Fingerprints a few lists of an API, so that a sensor can detect changes with one or two requests. Writes nothing."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from analytics_ingest.config.api import load_settings, page_limit
from analytics_ingest.errors import AuthenticationError, IngestError, ReadError
from analytics_ingest.extract.date_window import build_date_window
from analytics_ingest.extract.list_reader import ListReader, PageResult
from analytics_ingest.extract.partitions import ParentRows, Partition, partitions_from
from analytics_ingest.extract.rows import ROW_HASH, content_hash, sent_hash
from analytics_ingest.http.meter import Meter
from analytics_ingest.http.session import ApiSession

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from analytics_ingest.apis.model import Api, ChangeProbe, Endpoint

MAX_RESPONSE_SECONDS = 20.0
"""Seconds that a response may take: Dagster ends a sensor's evaluation after a minute."""
MAX_PARENTS = 6
"""Parents for which a probe requests its list, so that a probe sends few requests."""


@dataclass(frozen=True, kw_only=True)
class ListFingerprints:
    """The fingerprints of the lists that an API's probes name.

    Attributes:
        fingerprints: The fingerprint of each list that was read, by endpoint. It changes with a row on the first page
            and with the total that the envelope states, and does not depend on the order of rows.
        failures: Why each other list could not be read, by endpoint; without secrets.
    """

    fingerprints: Mapping[str, str]
    failures: Mapping[str, str]


def fingerprint_lists(api: Api, *, log: logging.Logger) -> ListFingerprints:
    """Sends one request for each of the API's probes, or one for each of a probe's first parents, without retries.

    Args:
        api: The API.
        log: Gets the log lines of the API's session.

    Raises:
        IngestError: No list can be read: a setting is missing or invalid, or the API refused the key.
    """
    settings = load_settings(api)
    shorter = {name: min(getattr(settings, name), MAX_RESPONSE_SECONDS) for name in ("read_timeout", "answer_timeout")}
    settings = settings.model_copy(update=shorter)
    session = ApiSession(replace(api, retry=api.retry.without_retries), settings, log=log)
    fingerprints: dict[str, str] = {}
    failures: dict[str, str] = {}
    try:
        for probe in api.probes:
            if probe.endpoint in settings.skip_endpoints:
                continue
            try:
                fingerprints[probe.endpoint] = _fingerprint(api, probe, session)
            except AuthenticationError:
                raise
            except IngestError as error:
                failures[probe.endpoint] = str(error)
            except Exception as error:  # noqa: BLE001 - one list fails, the others are read
                failures[probe.endpoint] = f"{api.name}: {probe.endpoint} {session.unexpected(error, probe.endpoint)}"
    finally:
        session.close()
    return ListFingerprints(fingerprints=fingerprints, failures=failures)


def _fingerprint(api: Api, probe: ChangeProbe, session: ApiSession) -> str:
    endpoint = api.by_name[probe.endpoint]
    rows = ParentRows(api)
    for name in endpoint.upstream:
        parent = api.by_name[name]
        rows.add(name, _first_page(api, parent, session, Partition(path=parent.path, params={})).rows)
    probed = replace(endpoint, params={**endpoint.params, **probe.params})
    now = datetime.now(UTC)
    window = build_date_window(session.settings, now=now)
    filters = _recent(probe, endpoint, now)
    first_pages = []
    for partition in islice(partitions_from(endpoint, rows.read, window), MAX_PARENTS):
        page = _first_page(api, probed, session, partition, filters)
        hashes = [row[ROW_HASH] for row in page.rows] + [sent_hash(sent) for _, sent in page.rejected]
        first_pages.append({"path": partition.path, "total": page.total, "rows": sorted(hashes)})
    return f"{content_hash({'found': first_pages}):x}"


def _recent(probe: ChangeProbe, endpoint: Endpoint, now: datetime) -> dict[str, Any]:
    """What has the API give recent changes only: since midnight, so that the fingerprint changes with rows alone."""
    if probe.recent_days is None or not endpoint.start_param:
        return {}
    start = datetime.combine(now.date() - timedelta(days=probe.recent_days), time(), UTC)
    return {endpoint.start_param: endpoint.convert(start)}


def _first_page(
    api: Api,
    endpoint: Endpoint,
    session: ApiSession,
    partition: Partition,
    filters: Mapping[str, Any] | None = None,
) -> PageResult:
    reader = ListReader(endpoint, session, limit=page_limit(api, endpoint), meter=Meter())
    with closing(reader.read(partition, filters=filters)) as pages:
        page = next(pages)
    if page.failure and not page.rejected:
        raise ReadError(f"{api.name}: {partition.path} {page.failure}", status=page.failure.status)
    return page
