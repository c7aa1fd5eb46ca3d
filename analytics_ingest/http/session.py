"""The HTTP session of one API: its retries, limits and pauses, and the checks that an answer must pass.

One session serves all endpoints of an API, from many threads.
"""

from __future__ import annotations

import logging
import math
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from analytics_ingest.config.lookup import environment_name
from analytics_ingest.errors import (
    AuthenticationError,
    FailureKind,
    FinalReadError,
    ReadError,
    RetriableError,
    excerpt,
    printable,
    redacted_traceback,
    root_cause,
)
from analytics_ingest.http.json_body import MalformedJSONError, parse_json
from analytics_ingest.http.rate_limit import Clock, RequestThrottle, RequestTicket
from analytics_ingest.http.transport import (
    WITH_ROWS,
    CertificateError,
    NoResponseError,
    Request,
    Response,
    ResponseTimeoutError,
    ResponseTooLargeError,
    Transport,
)
from analytics_ingest.redaction import Redactor
from analytics_ingest.timestamps import to_utc

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from analytics_ingest.apis.model import Api
    from analytics_ingest.config.api import Settings
    from analytics_ingest.http.selector import SelectedRows

T = TypeVar("T")

EPOCH = 1_000_000_000
"""A reset header above this is a time in epoch seconds (or milliseconds); below, it is seconds to go."""
RESET_HEADERS = ("ratelimit-reset", "x-ratelimit-reset")


@dataclass
class Meter:
    """What one endpoint's reading cost. Filled from several threads."""

    requests: int = 0
    retries: int = 0
    wait_seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, *, requests: int = 0, retries: int = 0, wait_seconds: float = 0.0) -> None:
        """Adds to the counts."""
        with self._lock:
            self.requests += requests
            self.retries += retries
            self.wait_seconds += wait_seconds


@dataclass(frozen=True, kw_only=True)
class Pause:
    """A wait before a request is sent again. The caller sleeps, or reads another list meanwhile.

    Attributes:
        seconds: How long to wait.
        expected: Whether the answer was one to be expected, so that it says nothing about the API's other requests.
    """

    seconds: float
    expected: bool


class ApiSession:
    """Sends the requests of all endpoints of one API."""

    def __init__(self, api: Api, settings: Settings, *, log: logging.Logger, clock: Clock | None = None) -> None:
        """Opens no connection.

        Args:
            api: The API.
            settings: Its settings.
            log: Gets each wait for a retry.
            clock: Time, so that tests can fake it.

        Raises:
            ConfigurationError: The environment names a proxy or a certificate file that cannot be used.
        """
        self.api = api
        self.settings = settings
        self.clock = clock or Clock()
        self._log = log
        self._throttle = RequestThrottle(settings)
        self._redactor = Redactor(
            [settings.api_key.get_secret_value()],
            fields=[*settings.exclude_columns, *(name for each in api.endpoints for name in each.secrets)],
        )
        self._http = Transport(settings)

    def close(self) -> None:
        """Closes the connections and ends the limiter. Requests that are under way or wait for bytes end at once."""
        self._throttle.shut(ReadError("the sync has ended"))
        self._http.close()
        self._throttle.dispose()

    def unexpected(self, error: Exception, where: str) -> ReadError:
        """An error that no code expects, as the failure of what it happened to; the traceback goes to the log.

        Args:
            error: The error.
            where: The path of the list, or the table, for the log.
        """
        self._log.error(f"{self.api.name}: {where}: unexpected error\n{redacted_traceback(error, self._redactor)}")
        cause = root_cause(error)
        return ReadError(
            f"failed with {type(cause).__name__}: {self.foreign(str(cause)) or 'no message'}. "
            "The log has the traceback: please report it; SKIP_ENDPOINTS leaves the endpoint out meanwhile"
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
        """Sends a request, and sends it again by the API's retry policy; gives each pause, and returns the answer.

        Args:
            request: The request.
            meter: Counts every try.
            select: Takes the rows out of the parsed body; raises ``ReadError`` if it is not what the endpoint declares.
            status_codes: Codes retried beside those of the API's policy; such an answer is one to be expected.
            known_status: The code that the same request had at the last sync: it is not retried.

        Raises:
            AuthenticationError: 401.
            ReadError: Any other answer that is no success, or none at all, after the last try.

        ``release`` the answer as soon as its rows have been handed on: until then its bytes count as in memory.
        """
        ticket = RequestTicket()
        codes = {*self.api.retry.status_codes, *status_codes} - {known_status}
        tries = 0
        try:
            while True:
                tries += 1
                try:
                    return self._try(request, ticket=ticket, meter=meter, select=select, codes=codes)
                except RetriableError as error:
                    if self._is_last(tries, error, ticket):
                        raise
                    failure = error
                seconds = max(failure.retry_after, self.api.retry.seconds(tries))
                meter.add(retries=1, wait_seconds=seconds)
                expected = failure.status in status_codes
                self._log_retry(failure, request, tries=tries, seconds=seconds, expected=expected)
                if self._throttle.waits_for(ticket):
                    # no other request may be sent meanwhile, so there is nothing else to do
                    self.clock.sleep(seconds)
                else:
                    yield Pause(seconds=seconds, expected=expected)
        finally:
            self._throttle.give_back(ticket)

    def sleeping(self, steps: Iterator[T | Pause]) -> Iterator[T]:
        """The steps without their pauses, which are slept in the calling thread."""
        for step in steps:
            if isinstance(step, Pause):
                self.clock.sleep(step.seconds)
            else:
                yield step

    def _try(
        self,
        request: Request,
        *,
        ticket: RequestTicket,
        meter: Meter,
        select: Callable[[Any], SelectedRows],
        codes: set[int],
    ) -> Response:
        while True:
            with self._throttle.slot(ticket) as left_after:
                meter.add(requests=1)
                answer = self._answer(request, ticket)
            if answer.status_code != 429 or self._throttle.pause_for(ticket, left_after=left_after):
                break
            answer.release()
            # another request is the probe: this 429 tells nothing new, so it does not count as a try
            meter.add(retries=1)
        try:
            self._check_status(answer, ticket, codes)
            self._parse(answer, select)
        except BaseException:
            answer.release()
            raise
        return answer

    def _answer(self, request: Request, ticket: RequestTicket) -> Response:
        try:
            return self._http.get(request)
        except ResponseTooLargeError:
            self._throttle.resume(ticket)
            raise FinalReadError(
                f"the answer is larger than {self._setting('max_answer_bytes')} allows "
                f"({self.settings.max_answer_bytes:,} bytes): lower the rows per page, or raise the setting"
            ) from None
        except ResponseTimeoutError:
            self._throttle.no_response(ticket)
            raise RetriableError(
                f"no answer: it was not complete after {self.settings.answer_timeout:g} s, which is all that "
                f"{self._setting('answer_timeout')} allows"
            ) from None
        except CertificateError as error:
            self._throttle.no_response(ticket)
            raise FinalReadError(f"no answer: {self._certificate_advice(error)}") from None
        except NoResponseError as error:
            self._throttle.no_response(ticket)
            proxy = f" (the proxy is set by {error.proxy_variable})" if error.proxy_variable else ""
            raise RetriableError(f"no answer: {self.foreign(str(error))}{proxy}") from None

    def _certificate_advice(self, error: CertificateError) -> str:
        host = urlsplit(str(self.settings.base_url)).hostname
        refused = f"the certificate of {host} is not accepted ({self.foreign(error.reason)}). "
        if error.is_other_host:
            return f"{refused}Check the host in {self._setting('base_url')}"
        return f"{refused}If an authority of your own signed it, set REQUESTS_CA_BUNDLE or SSL_CERT_FILE to its file"

    def foreign(self, text: str) -> str:
        """What a server or a library wrote, on one line, bounded and without secrets."""
        return printable(excerpt(text, redactor=self._redactor))

    def _setting(self, field: str) -> str:
        return environment_name(self.api.name, field)

    def _check_status(self, answer: Response, ticket: RequestTicket, codes: set[int]) -> None:
        status = answer.status_code
        if status in WITH_ROWS or status == 204:
            self._throttle.resume(ticket)
            return
        said = self._described(answer)
        if status == 401:
            refused = AuthenticationError(
                f"{self.api.name} refused the key ({f'401 {self.foreign(answer.reason)}'.strip()}): "
                f"check {self._setting('api_key')}. It said: {said}"
            )
            self._throttle.shut(refused)
            raise refused
        if status != 429:
            self._throttle.resume(ticket)
        if status in codes or status >= 500:
            after = self._pause(answer.headers, limited=status == 429)
            if after > self.settings.max_wait:
                raise ReadError(
                    f"answered {status} and asks for a pause of {after:.0f} s, longer than "
                    f"{self._setting('max_wait')} ({self.settings.max_wait:.0f} s) allows",
                    status=status,
                )
            raise RetriableError(f"answered {status}: {said}", status=status, retry_after=after)
        if 200 <= status < 300:
            raise RetriableError(f"answered {status}, which is not the whole answer: {said}", status=status)
        if 300 <= status < 400:
            raise ReadError(
                f"answered {status}, a redirect {self._target(answer)}; the key is not sent there: "
                f"check {self._setting('base_url')}",
                status=status,
            )
        raise ReadError(f"answered {status}: {said}", status=status)

    def _target(self, answer: Response) -> str:
        """Where a redirect leads to, without the query."""
        location = answer.headers.get("Location", "").strip()
        if not location:
            return "without a Location"
        try:
            to = urlsplit(location)
            host = to.hostname
        except ValueError:
            return f"to {self.foreign(location)!r}, which is no URL"
        if host:
            scheme = to.scheme or urlsplit(str(self.settings.base_url)).scheme
            return self.foreign(f"to {scheme}://{host}")
        if to.scheme:
            return self.foreign(f"to {to.scheme}:")
        return f"to {self.foreign(to.path or '/')} on the same host"

    def _parse(self, answer: Response, select: Callable[[Any], SelectedRows]) -> None:
        try:
            answer.body = parse_json(answer.content)
            answer.page, answer.rows = select(answer.body)
        except MalformedJSONError as error:
            if error.is_complete:
                near = self.foreign(error.near)
                raise FinalReadError(
                    f"answered with a body that is not valid JSON: {error.reason} at character {error.place:,}, "
                    f"near {near!r}. Report it to the vendor; {self._setting('skip_endpoints')} leaves the endpoint "
                    "out meanwhile",
                    status=answer.status_code,
                ) from None
            what = "a body that is not JSON" if answer.content.strip() else "an empty body"
            raise RetriableError(f"{what}: {self._described(answer)}", status=answer.status_code) from None
        except ReadError as error:
            raise RetriableError(f"{error}: {self._described(answer)}", status=answer.status_code) from None
        except (MemoryError, RecursionError) as error:
            name = type(error).__name__
            raise RetriableError(f"a body that cannot be read ({name})", status=answer.status_code) from None
        # parsed, it need not be kept twice
        answer.content = b""

    def _described(self, answer: Response) -> str:
        kind = self.foreign(answer.headers.get("Content-Type", "no content type"))
        text = excerpt(answer.text, redactor=self._redactor)
        return f"{answer.status_code}, {kind}, {text!r}" if text else f"{answer.status_code}, {kind}"

    def _pause(self, headers: Mapping[str, str], *, limited: bool) -> float:
        """Seconds that the server asks to wait, in any of the dialects in use; 0 if it does not say.

        The headers that tell when a limit is reset come with any answer: they count only where it is ``limited``.
        """
        waits = [0.0]
        for name, value in headers.items():
            lower = name.lower()
            resets = lower in RESET_HEADERS or lower.startswith("x-ratelimit-reset-seconds")
            if lower == "retry-after" or (resets and limited):
                waits.append(self._seconds(value))
        return max(waits)

    def _seconds(self, value: str) -> float:
        """From seconds to go, epoch seconds, epoch milliseconds, an HTTP date or an ISO date to seconds to go."""
        now = self.clock.now()
        try:
            number = float(value)
        except ValueError:
            moment = _date(value)
            return moment.timestamp() - now if moment else 0.0
        if math.isnan(number):
            return 0.0
        if number > 1000 * EPOCH:
            number /= 1000
        return number - now if number > EPOCH else number

    def _is_last(self, tries: int, failure: RetriableError, ticket: RequestTicket) -> bool:
        """Whether the failure of the try, counted from 1, is the last; counts those by a limit on the ticket."""
        retry = self.api.retry
        if retry.limit_retries is None:
            return tries > retry.max_retries
        if failure.kind is FailureKind.RATE_LIMITED:
            ticket.limited += 1
            return ticket.limited > retry.limit_retries
        return tries - ticket.limited > retry.max_retries

    def _log_retry(
        self, failure: RetriableError, request: Request, *, tries: int, seconds: float, expected: bool
    ) -> None:
        retry = self.api.retry
        most = 1 + (
            retry.limit_retries
            if retry.limit_retries and failure.kind is FailureKind.RATE_LIMITED
            else retry.max_retries
        )
        self._log.log(
            logging.INFO if expected else logging.WARNING,
            f"{self.api.name}: waiting {seconds:.1f} s after try {tries} of {most} of "
            f"{request.method} {urlsplit(str(request.url)).path}: {failure}",
        )


def _date(value: str) -> datetime | None:
    """An HTTP date or one in ISO form; without a zone it is UTC."""
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        moment = to_utc(value)
    if not isinstance(moment, datetime):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
