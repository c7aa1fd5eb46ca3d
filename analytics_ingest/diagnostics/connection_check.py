"""Whether an API can be read: settings, connection, key, and one request to each endpoint. Writes nothing."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from analytics_ingest.config.api import (
    load_settings,
    page_limit,
    retired_settings,
    unprotected_key,
)
from analytics_ingest.config.lookup import environment_name
from analytics_ingest.errors import (
    AuthenticationError,
    ConfigurationError,
    FailureKind,
    FinalReadError,
    NotConfiguredError,
    RetriableError,
)
from analytics_ingest.extract.date_window import build_date_window
from analytics_ingest.extract.list_reader import ListReader
from analytics_ingest.extract.partitions import ParentRows, partitions_from
from analytics_ingest.http.meter import Meter
from analytics_ingest.http.selector import WILDCARD
from analytics_ingest.http.session import ApiSession

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.config.api import Settings
    from analytics_ingest.errors import ReadError
    from analytics_ingest.extract.partitions import Partition


@dataclass(frozen=True, kw_only=True)
class ConnectionCheckResult:
    """What one check found.

    Attributes:
        subject: ``settings``, ``connection``, ``key``, or the name of an endpoint.
        outcome: ``fine``, ``failed``, or ``not tried``, which is no failure.
        said: What came back, and what to do about it if it failed; holds no secret.
    """

    subject: str
    outcome: Literal["fine", "failed", "not tried"]
    said: str


def check_api(api: Api, *, log: logging.Logger) -> Iterator[ConnectionCheckResult]:
    """Checks an API, and gives each finding as soon as it is known.

    Each endpoint gets one request for one row, once. A child is asked for the first row that its parents' own
    requests gave. The first answer of 401, or none to the first request, ends the check of the API.

    Args:
        api: The API.
        log: Gets what the API's session logs.
    """
    try:
        settings = load_settings(api)
        session = ApiSession(replace(api, retry=api.retry.without_retries), settings, log=log)
    except NotConfiguredError as error:
        yield ConnectionCheckResult(subject="settings", outcome="not tried", said=str(error))
        return
    except ConfigurationError as error:
        yield ConnectionCheckResult(subject="settings", outcome="failed", said=str(error))
        return
    try:
        yield ConnectionCheckResult(subject="settings", outcome="fine", said=_shown(settings))
        for warning in filter(None, (unprotected_key(api, settings), retired_settings(api))):
            yield ConnectionCheckResult(subject="settings", outcome="not tried", said=f"warning: {warning}")
        yield from _Check(api, session).run()
    finally:
        session.close()


class _UnreachableError(Exception):
    """Nothing has answered so far, and the request that was sent got no answer either."""


class _Check:
    """The check of one configured API."""

    def __init__(self, api: Api, session: ApiSession) -> None:
        self._api = api
        self._session = session
        self._rows = ParentRows(api)
        self._window = build_date_window(session.settings, now=datetime.now(UTC))
        self._unread: set[str] = set()
        self._reached = False

    def run(self) -> Iterator[ConnectionCheckResult]:
        told = accepted = False
        for endpoint in self._api.endpoints:
            try:
                checked = self._isolated(endpoint)
            except _UnreachableError as error:
                yield ConnectionCheckResult(subject="connection", outcome="failed", said=str(error))
                return
            except AuthenticationError as error:
                if not told:
                    yield ConnectionCheckResult(subject="connection", outcome="fine", said="the API answers")
                said = f"{error}. Nothing more was asked of this API"
                yield ConnectionCheckResult(subject="key", outcome="failed", said=said)
                return
            if self._reached and not told:
                told = True
                yield ConnectionCheckResult(subject="connection", outcome="fine", said="the API answers")
            if checked.outcome == "fine" and not accepted:
                accepted = True
                yield ConnectionCheckResult(subject="key", outcome="fine", said="accepted")
            if checked.outcome != "fine":
                self._unread.add(endpoint.name)
            yield checked
        if self._reached and not accepted:
            said = "no endpoint answered as declared, so whether the key is accepted is not known"
            yield ConnectionCheckResult(subject="key", outcome="not tried", said=said)

    def _isolated(self, endpoint: Endpoint) -> ConnectionCheckResult:
        """The finding about an endpoint; an error that no code expects is one too."""
        try:
            return self._endpoint(endpoint)
        except (_UnreachableError, AuthenticationError):
            raise
        except Exception as error:  # noqa: BLE001 - one endpoint fails, the others are checked
            said = f"{endpoint.path} {self._session.unexpected(error, endpoint.name)}"
            return ConnectionCheckResult(subject=endpoint.name, outcome="failed", said=said)

    def _endpoint(self, endpoint: Endpoint) -> ConnectionCheckResult:
        name = endpoint.name
        if name in self._session.settings.skip_endpoints:
            return ConnectionCheckResult(
                subject=name, outcome="not tried", said=f"left out by {self._setting('skip_endpoints')}"
            )
        ask = next(partitions_from(endpoint, self._rows.read, self._window), None)
        if ask is None:
            return ConnectionCheckResult(subject=name, outcome="not tried", said=f"not tried: {self._lacks(endpoint)}")
        try:
            reader = ListReader(endpoint, self._session, limit=self._limit(endpoint), meter=Meter())
        except ConfigurationError as error:
            return ConnectionCheckResult(subject=name, outcome="failed", said=str(error))
        with closing(reader.read(ask)) as pages:
            page = next(pages)
        if page.failure and not page.rejected:
            return self._failed(endpoint, ask, page.failure)
        self._reached = True
        self._rows.add(name, page.rows)
        if page.rejected and not page.rows:
            why = page.rejected[0][0]
            said = f"{ask.path} answers with rows that cannot be stored ({why}): {self._declaration()}"
            return ConnectionCheckResult(subject=name, outcome="failed", said=said)
        said = "answers with rows" if page.rows else "answers, and has no rows"
        return ConnectionCheckResult(subject=name, outcome="fine", said=said)

    def _limit(self, endpoint: Endpoint) -> int | None:
        limit = page_limit(self._api, endpoint)
        # of a page whose elements hold the rows, one element alone need not have any
        return limit if limit is None or WILDCARD.search(endpoint.data_selector) else 1

    def _lacks(self, endpoint: Endpoint) -> str:
        names = ", ".join(name for name in endpoint.upstream if name in self._unread)
        if names:
            return f"it is asked for rows of {names}, which gave none"
        return f"it is asked for rows of {', '.join(endpoint.upstream)}, and no row for it came first there"

    def _failed(self, endpoint: Endpoint, ask: Partition, error: ReadError) -> ConnectionCheckResult:
        silent = isinstance(error, RetriableError) and error.kind is FailureKind.NO_STATUS
        if silent and not self._reached:
            raise _UnreachableError(
                f"{ask.path} got {error}. Is {self._setting('base_url')} right, and can this machine reach it? "
                "Nothing more was asked of this API"
            )
        self._reached = self._reached or not silent
        if error.kind is FailureKind.NOT_FOUND and endpoint.parents and endpoint.on_404 == "not defined":
            said = "answers 404: not defined for this one, which is no failure"
            return ConnectionCheckResult(subject=endpoint.name, outcome="fine", said=said)
        advice = "" if isinstance(error, FinalReadError) else self._advice(endpoint, error)
        said = f"{ask.path} {error}. {advice}".rstrip()
        return ConnectionCheckResult(subject=endpoint.name, outcome="failed", said=said)

    def _advice(self, endpoint: Endpoint, error: ReadError) -> str:
        base_url, skip = self._setting("base_url"), self._setting("skip_endpoints")
        known = {
            FailureKind.FORBIDDEN: "The key may not read this: ask for the permission, "
            f"or put {endpoint.name} on {skip}",
            FailureKind.NOT_FOUND: f"Is {base_url} right, without the endpoints' paths? "
            f"If so, this account has no such endpoint: put {endpoint.name} on {skip}",
            FailureKind.RATE_LIMITED: "Too many requests were made with this key: wait and check again, or set "
            f"{self._setting('requests_per_minute')}",
        }
        if error.kind in known:
            return known[error.kind]
        status = error.status
        if status is None or error.kind is FailureKind.SERVER_ERROR:
            return "The API fails at this by itself: try again later, and ask those who run it if it stays so"
        if status < 300:
            return f"Is {base_url} the API itself? If so, {self._declaration()}"
        # a redirect's error says itself what to do
        return f"The API does not take this request: {self._declaration()}" if status >= 400 else ""

    def _declaration(self) -> str:
        return f"compare the API's documentation with analytics_ingest/apis/{self._module()}.py"

    def _module(self) -> str:
        return f"vendors/{self._api.profile}" if self._api.profile else self._api.name

    def _setting(self, name: str) -> str:
        return environment_name(self._api.name, name)


def _shown(settings: Settings) -> str:
    """The base URL without user and password, which a URL may hold."""
    parts = urlsplit(str(settings.base_url))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
