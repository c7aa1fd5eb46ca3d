"""Checks whether an API can be read: settings, connection, key, and one request to each endpoint. Writes nothing."""

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
from analytics_ingest.config.problems import account_problems, shared_problems
from analytics_ingest.config.unknown_settings import unknown_shared_settings
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
from analytics_ingest.sync.excluded_columns import refuse_misspelt_endpoints
from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError
from analytics_ingest.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.config.api_settings import Settings
    from analytics_ingest.errors import ReadError
    from analytics_ingest.extract.partitions import Partition

NO_FURTHER_REQUEST = "No further request was sent to this API"


@dataclass(frozen=True, kw_only=True)
class ConnectionCheckResult:
    """The result of one check.

    Attributes:
        subject: ``settings``, ``destination``, ``connection``, ``key``, or the name of an endpoint.
        outcome: ``fine``, ``failed``, or ``not tried``, which does not count as a failure.
        message: What came back, and what to do about a failure; without secrets.
    """

    subject: str
    outcome: Literal["fine", "failed", "not tried"]
    message: str


def check_deployment(apis: Iterable[Api], *, log: logging.Logger) -> Iterator[ConnectionCheckResult]:
    """Checks the settings that accounts share, and those of the destination. Opens no connection.

    Args:
        apis: The accounts' APIs, each of which has a dataset.
        log: Gets the log lines of the destination.
    """
    problems = shared_problems()
    for problem in problems:
        yield ConnectionCheckResult(subject="settings", outcome="failed", message=problem)
    if not problems:
        yield ConnectionCheckResult(subject="settings", outcome="fine", message="those of the deployment are valid")
    places: dict[str, Literal["fine", "failed"]] = {}
    for api in apis:
        try:
            places[Warehouse(api.name, log=log, lock_timeout=0).check_settings()] = "fine"
        except (ConfigurationError, WarehouseError) as error:
            places[str(error)] = "failed"
    for message, outcome in places.items():
        yield ConnectionCheckResult(subject="destination", outcome=outcome, message=message)


def check_api(api: Api, *, log: logging.Logger) -> Iterator[ConnectionCheckResult]:
    """Checks an API, and yields each result as soon as it is known.

    Each endpoint gets one request for one row, without retries. A child is requested for a row of its parents' own
    requests. A response of 401, or no response to the first request, ends the check.

    Args:
        api: The API.
        log: Gets the log lines of the API's session.
    """
    if problems := account_problems(api):
        for problem in problems:
            yield ConnectionCheckResult(subject="settings", outcome="failed", message=problem)
        return
    if unknown_shared_settings():
        message = "no request is sent until the settings that all accounts share are right"
        yield ConnectionCheckResult(subject="connection", outcome="not tried", message=message)
        return
    try:
        settings = load_settings(api)
        _refuse_misspelt_endpoints(api, settings, log)
        session = ApiSession(replace(api, retry=api.retry.without_retries), settings, log=log)
    except NotConfiguredError as error:
        yield ConnectionCheckResult(subject="settings", outcome="not tried", message=str(error))
        return
    except (ConfigurationError, LockTimeoutError, WarehouseError) as error:
        yield ConnectionCheckResult(subject="settings", outcome="failed", message=str(error))
        return
    try:
        yield ConnectionCheckResult(subject="settings", outcome="fine", message=_shown(settings))
        for warning in filter(None, (unprotected_key(api, settings), retired_settings(api))):
            yield ConnectionCheckResult(subject="settings", outcome="not tried", message=f"warning: {warning}")
        yield from _Check(api, session).run()
    finally:
        session.close()


def _refuse_misspelt_endpoints(api: Api, settings: Settings, log: logging.Logger) -> None:
    def stored(tables: Collection[str]) -> Mapping[str, Collection[str]]:
        with Warehouse(api.name, log=log, lock_timeout=settings.lock_timeout).read() as found:
            return found.columns(tables)

    refuse_misspelt_endpoints(api, settings.exclude_columns, stored)


class _UnreachableError(Exception):
    """No request has been answered, including this one."""


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
        connection_reported = key_reported = False
        for endpoint in self._api.endpoints:
            try:
                result = self._isolated(endpoint)
            except _UnreachableError as error:
                yield ConnectionCheckResult(subject="connection", outcome="failed", message=str(error))
                return
            except AuthenticationError as error:
                if not connection_reported:
                    yield ConnectionCheckResult(subject="connection", outcome="fine", message="the API answers")
                message = f"{error}. {NO_FURTHER_REQUEST}"
                yield ConnectionCheckResult(subject="key", outcome="failed", message=message)
                return
            if self._reached and not connection_reported:
                connection_reported = True
                yield ConnectionCheckResult(subject="connection", outcome="fine", message="the API answers")
            if result.outcome == "fine" and not key_reported:
                key_reported = True
                yield ConnectionCheckResult(subject="key", outcome="fine", message="accepted")
            if result.outcome != "fine":
                self._unread.add(endpoint.name)
            yield result
        if self._reached and not key_reported:
            message = "no endpoint answered as declared, so whether the key is accepted is unknown"
            yield ConnectionCheckResult(subject="key", outcome="not tried", message=message)

    def _isolated(self, endpoint: Endpoint) -> ConnectionCheckResult:
        """The result for an endpoint; an unexpected error fails this endpoint only."""
        try:
            return self._endpoint(endpoint)
        except (_UnreachableError, AuthenticationError):
            raise
        except Exception as error:  # noqa: BLE001 - one endpoint fails, the others are checked
            message = f"{endpoint.path} {self._session.unexpected(error, endpoint.name)}"
            return ConnectionCheckResult(subject=endpoint.name, outcome="failed", message=message)

    def _endpoint(self, endpoint: Endpoint) -> ConnectionCheckResult:
        name = endpoint.name
        if name in self._session.settings.skip_endpoints:
            message = f"left out by {self._setting('skip_endpoints')}"
            return ConnectionCheckResult(subject=name, outcome="not tried", message=message)
        partition = next(partitions_from(endpoint, self._rows.read, self._window), None)
        if partition is None:
            message = f"not tried: {self._missing_parents(endpoint)}"
            return ConnectionCheckResult(subject=name, outcome="not tried", message=message)
        try:
            reader = ListReader(endpoint, self._session, limit=self._limit(endpoint), meter=Meter())
        except ConfigurationError as error:
            return ConnectionCheckResult(subject=name, outcome="failed", message=str(error))
        with closing(reader.read(partition)) as pages:
            page = next(pages)
        if page.failure and not page.rejected:
            return self._failed(endpoint, partition, page.failure)
        self._reached = True
        self._rows.add(name, page.rows)
        if page.rejected and not page.rows:
            reason = page.rejected[0][0]
            message = f"{partition.path} answers with rows that cannot be stored ({reason}): {self._declaration()}"
            return ConnectionCheckResult(subject=name, outcome="failed", message=message)
        message = f"answers {'with' if page.rows else 'without'} rows"
        return ConnectionCheckResult(subject=name, outcome="fine", message=message)

    def _limit(self, endpoint: Endpoint) -> int | None:
        limit = page_limit(self._api, endpoint)
        # the first element of a page may have no rows in it
        return limit if limit is None or WILDCARD.search(endpoint.data_selector) else 1

    def _missing_parents(self, endpoint: Endpoint) -> str:
        if names := ", ".join(name for name in endpoint.upstream if name in self._unread):
            return f"it needs rows of {names}, which could not be read"
        return f"no row on the first page of {', '.join(endpoint.upstream)} has values for its path"

    def _failed(self, endpoint: Endpoint, partition: Partition, error: ReadError) -> ConnectionCheckResult:
        no_response = isinstance(error, RetriableError) and error.kind is FailureKind.NO_STATUS
        if no_response and not self._reached:
            raise _UnreachableError(
                f"{partition.path} got {error}. Is {self._setting('base_url')} right, and can this machine reach it? "
                f"{NO_FURTHER_REQUEST}"
            )
        self._reached = self._reached or not no_response
        if error.kind is FailureKind.NOT_FOUND and endpoint.parents and endpoint.on_404 == "not defined":
            message = "answers 404: it is not defined for this parent, which is expected"
            return ConnectionCheckResult(subject=endpoint.name, outcome="fine", message=message)
        if endpoint.is_withdrawn(error.status):
            message = f"{partition.path} {error}: {endpoint.withdrawal}. It is skipped, and its table stays"
            return ConnectionCheckResult(subject=endpoint.name, outcome="not tried", message=message)
        advice = "" if isinstance(error, FinalReadError) else self._advice(endpoint, error)
        message = f"{partition.path} {error}. {advice}".rstrip()
        return ConnectionCheckResult(subject=endpoint.name, outcome="failed", message=message)

    def _advice(self, endpoint: Endpoint, error: ReadError) -> str:
        base_url, skip = self._setting("base_url"), self._setting("skip_endpoints")
        known = {
            FailureKind.FORBIDDEN: "The key has no permission to read this: request the permission, "
            f"or add {endpoint.name} to {skip}",
            FailureKind.NOT_FOUND: f"Is {base_url} right, without the endpoints' paths? "
            f"If so, this account has no such endpoint: add {endpoint.name} to {skip}",
            FailureKind.RATE_LIMITED: "The key's rate limit is exceeded: wait and check again, or set "
            f"{self._setting('requests_per_minute')}",
        }
        if error.kind in known:
            return known[error.kind]
        status = error.status
        if status is None or error.kind is FailureKind.SERVER_ERROR:
            return "The failure is the API's own: try again later, and contact its vendor if it persists"
        if status < 300:
            return f"Is {base_url} the API itself? If so, {self._declaration()}"
        # the error of a redirect contains its own advice
        return f"The API rejects this request: {self._declaration()}" if status >= 400 else ""

    def _declaration(self) -> str:
        return f"compare the API's documentation with analytics_ingest/apis/{self._module()}.py"

    def _module(self) -> str:
        return f"vendors/{self._api.profile}" if self._api.profile else self._api.name

    def _setting(self, name: str) -> str:
        return environment_name(self._api.name, name)


def _shown(settings: Settings) -> str:
    """The base URL without the user and the password that a URL may contain."""
    parts = urlsplit(str(settings.base_url))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
