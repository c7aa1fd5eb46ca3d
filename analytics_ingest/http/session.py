"""The HTTP session of one API: retries, limits and connections that all endpoints and threads share."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from analytics_ingest.errors import (
    AuthenticationError,
    FailureKind,
    LimitReachedError,
    ReadError,
    RetriableError,
    redacted_traceback,
    root_cause,
)
from analytics_ingest.http.rate_limit import Clock, RequestThrottle, RequestTicket
from analytics_ingest.http.response_handler import ResponseHandler
from analytics_ingest.http.transport import Request, Response, ResponseTooLargeError, Transport, TransportError
from analytics_ingest.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator

    from analytics_ingest.apis.model import Api
    from analytics_ingest.config.api_settings import Settings
    from analytics_ingest.http.meter import Meter
    from analytics_ingest.http.notices import Notices
    from analytics_ingest.http.selector import SelectedRows

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Pause:
    """The back-off before a request is retried. The caller sleeps, or reads another list meanwhile.

    Attributes:
        seconds: Seconds to wait.
        expected: Whether the endpoint declares the failure's status, so that it indicates nothing about the API's
            other requests.
    """

    seconds: float
    expected: bool


class ApiSession:
    """Sends the requests of all endpoints of one API, and retries them."""

    def __init__(self, api: Api, settings: Settings, *, log: logging.Logger, clock: Clock | None = None) -> None:
        """Opens no connection.

        Args:
            api: The API.
            settings: Its settings.
            log: Gets each retry.
            clock: Time, so that tests can fake it.

        Raises:
            ConfigurationError: The environment names a proxy or a certificate file that cannot be used.
        """
        self.api = api
        self.settings = settings
        self.clock = clock or Clock()
        self._log = log
        self._throttle = RequestThrottle(settings)
        self._limit_reached: tuple[float, LimitReachedError] | None = None
        self._redactor = Redactor(
            [settings.api_key.get_secret_value()],
            fields=[*settings.exclude_columns, *(name for each in api.endpoints for name in each.secrets)],
        )
        self._responses = ResponseHandler(api, settings, redactor=self._redactor, clock=self.clock)
        self._transport = Transport(settings)

    def close(self) -> None:
        """Closes the connections and stops the limiter. Requests in flight, and those that wait, fail at once."""
        self._throttle.shut(ReadError("the sync has ended"))
        self._transport.close()
        self._throttle.close()

    def redacted_excerpt(self, text: str) -> str:
        """Text that a server or a library wrote: on one line, shortened, printable, and without secrets."""
        return self._responses.redacted_excerpt(text)

    def unexpected(self, error: Exception, where: str) -> ReadError:
        """Turns an exception that no code handles into a failure of one list or table, and logs its traceback.

        Args:
            error: The exception.
            where: The path of the list, or the table, for the log.
        """
        self._log.error(f"{self.api.name}: {where}: unexpected error\n{redacted_traceback(error, self._redactor)}")
        cause = root_cause(error)
        return ReadError(
            f"failed with {type(cause).__name__}: {self.redacted_excerpt(str(cause)) or 'no message'}. "
            "The log has the traceback: please report it; until it is fixed, SKIP_ENDPOINTS can skip the endpoint"
        )

    def send(
        self,
        request: Request,
        *,
        meter: Meter,
        select: Callable[[Any], SelectedRows],
        status_codes: tuple[int, ...] = (),
        known_status: int | None = None,
    ) -> Generator[Pause, None, Response]:
        """Sends a request and retries it according to the API's policy; yields each pause, and returns the response.

        Call ``release`` on the response once its rows have been handed on: until then its bytes count as in memory.

        Args:
            request: The request.
            meter: Counts every attempt.
            select: Selects the rows of the parsed body; raises ``ReadError`` if the body is not as declared.
            status_codes: Codes to retry beside those of the API's policy; their pauses are ``expected``.
            known_status: The code that the same request had at the last sync: it is not retried.

        Raises:
            AuthenticationError: The API refused the key (401).
            LimitReachedError: The API's limit is reset later than ``MAX_WAIT`` allows. Until then, no request is sent.
            ReadError: The last attempt failed, or one failed for a reason that no retry mends.
        """
        ticket = RequestTicket()
        retry_codes = {*self.api.retry.status_codes, *status_codes} - {known_status}
        attempts = rate_limited = 0
        try:
            while True:
                try:
                    return self._attempt(request, ticket=ticket, meter=meter, select=select, retry_codes=retry_codes)
                except RetriableError as error:
                    attempts += 1
                    rate_limited += error.kind is FailureKind.RATE_LIMITED
                    if not self._may_retry(error, attempts=attempts, rate_limited=rate_limited):
                        raise
                    failure = error
                seconds = max(failure.retry_after, self.api.retry.backoff_seconds(attempts))
                meter.add(retries=1, wait_seconds=seconds)
                expected = failure.status in status_codes
                self._log_retry(failure, request, attempts=attempts, seconds=seconds, expected=expected)
                if self._throttle.is_trial(ticket):
                    # the throttle holds back every other request meanwhile, so there is nothing else to do
                    self.clock.sleep(seconds)
                else:
                    yield Pause(seconds=seconds, expected=expected)
        finally:
            self._throttle.release(ticket)

    def notice(self, response: Response, notices: Notices, *, has_envelope: bool) -> None:
        """See ``ResponseHandler.notice``."""
        self._responses.notice(response, notices, has_envelope=has_envelope)

    def sleeping(self, steps: Iterator[T | Pause]) -> Iterator[T]:
        """The steps without their pauses, for which the calling thread sleeps."""
        for step in steps:
            if isinstance(step, Pause):
                self.clock.sleep(step.seconds)
            else:
                yield step

    def _attempt(
        self,
        request: Request,
        *,
        ticket: RequestTicket,
        meter: Meter,
        select: Callable[[Any], SelectedRows],
        retry_codes: Collection[int],
    ) -> Response:
        while True:
            with self._throttle.slot(ticket) as pauses_seen:
                self._check_limit()
                meter.add(requests=1)
                response = self._send_once(request, ticket)
            if response.status_code != 429 or self._throttle.pause(ticket, pauses_seen=pauses_seen):
                break
            response.release()
            # another request is the trial: this 429 repeats what is known, so it does not count as an attempt
            meter.add(retries=1)
        try:
            if response.status_code not in (401, 429):
                self._throttle.resume(ticket)
            self._responses.check_status(response, retry_codes)
            self._responses.parse(response, select)
        except BaseException as error:
            response.release()
            if isinstance(error, AuthenticationError):
                self._throttle.shut(error)
            if isinstance(error, LimitReachedError):
                self._limit_reached = self.clock.now() + error.retry_after, error
            raise
        return response

    def _check_limit(self) -> None:
        """Raises the error of the request that reached the API's limit, until the limit is reset."""
        if self._limit_reached and self.clock.now() < self._limit_reached[0]:
            raise self._limit_reached[1]

    def _send_once(self, request: Request, ticket: RequestTicket) -> Response:
        try:
            return self._transport.send_once(request)
        except ResponseTooLargeError as error:
            self._throttle.resume(ticket)
            raise self._responses.transport_error(error) from None
        except TransportError as error:
            self._throttle.no_response(ticket)
            raise self._responses.transport_error(error) from None

    def _may_retry(self, failure: RetriableError, *, attempts: int, rate_limited: int) -> bool:
        """Whether the policy allows another attempt.

        Args:
            failure: The failure of the last attempt.
            attempts: Attempts so far.
            rate_limited: Those among them that were answered by 429.
        """
        retry = self.api.retry
        if retry.limit_retries is None:
            return attempts <= retry.max_retries
        if failure.kind is FailureKind.RATE_LIMITED:
            return rate_limited <= retry.limit_retries
        return attempts - rate_limited <= retry.max_retries

    def _log_retry(
        self, failure: RetriableError, request: Request, *, attempts: int, seconds: float, expected: bool
    ) -> None:
        retry = self.api.retry
        by_limit = retry.limit_retries if failure.kind is FailureKind.RATE_LIMITED else None
        retries = by_limit or retry.max_retries
        self._log.log(
            logging.INFO if expected else logging.WARNING,
            f"{self.api.name}: waiting {seconds:.1f} s after try {attempts} of {1 + retries} of "
            f"{request.method} {urlsplit(str(request.url)).path}: {failure}",
        )
