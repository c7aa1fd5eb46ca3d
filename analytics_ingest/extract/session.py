"""The HTTP session of one API: its retries, limits and pauses, and the checks that an answer must pass.

One session serves all endpoints of an API, from many threads. ``EndpointSession`` is one endpoint's view of it,
in the shape that dlt's ``RESTClient`` asks for.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
import requests
from requests.adapters import HTTPAdapter
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from analytics_ingest.extract.errors import AuthenticationError, ReadError, excerpt
from analytics_ingest.extract.gate import Clock, Gate, Ticket
from analytics_ingest.extract.settings import environment_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from analytics_ingest.apis import Api
    from analytics_ingest.extract.settings import Settings

BROKEN = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)
EPOCH = 1_000_000_000
"""A reset header above this is a time in epoch seconds (or milliseconds); below, it is seconds to go."""
RESETS = ("ratelimit-reset", "x-ratelimit-reset")


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


class RetriableError(ReadError):
    """A failure that the next try may not meet. ``after`` is the pause in seconds that the server asked for."""

    def __init__(self, reason: str, *, status: int | None = None, after: float = 0.0) -> None:
        super().__init__(reason, status=status)
        self.after = after


class ApiSession:
    """The requests session behind all endpoints of one API."""

    def __init__(self, api: Api, settings: Settings, *, log: logging.Logger, clock: Clock | None = None) -> None:
        self.api = api
        self.settings = settings
        self._log = log
        self._clock = clock or Clock()
        self._gate = Gate(settings)
        self._secret = settings.api_key.get_secret_value()
        self._http = requests.Session()
        adapter = HTTPAdapter(pool_maxsize=settings.max_in_flight)
        self._http.mount("http://", adapter)
        self._http.mount("https://", adapter)
        self.environment = self._http.merge_environment_settings(str(settings.base_url), {}, None, None, None)

    def close(self) -> None:
        """Closes the connections and ends the limiter."""
        self._http.close()
        self._gate.dispose()

    def send(
        self,
        request: requests.PreparedRequest,
        *,
        meter: Meter,
        check: Callable[[Any], None],
        status_codes: tuple[int, ...] = (),
        **kwargs: Any,
    ) -> requests.Response:
        """Sends a request until it is answered as it should be, by the API's retry policy.

        Args:
            request: The request.
            meter: Counts every try.
            check: Gets the parsed body; raises ``ReadError`` if it is not what the endpoint declares.
            status_codes: Codes retried beside those of the API's policy.
            kwargs: What ``requests.Session.send`` takes.

        Raises:
            AuthenticationError: 401.
            ReadError: Any other answer that is no success, or none at all, after the last try.
        """
        ticket = Ticket()
        retry = self.api.retry
        codes = {*retry.status_codes, *status_codes}
        retrying = Retrying(
            retry=retry_if_exception_type(RetriableError),
            stop=lambda state: self._is_last(state, ticket),
            wait=self._wait,
            before_sleep=lambda state: self._announce(state, request, meter),
            sleep=self._clock.sleep,
            reraise=True,
        )
        try:
            response: requests.Response = retrying(
                self._try, request, ticket=ticket, meter=meter, check=check, codes=codes, **kwargs
            )
        finally:
            self._gate.abandon(ticket)
        return response

    def _try(
        self,
        request: requests.PreparedRequest,
        *,
        ticket: Ticket,
        meter: Meter,
        check: Callable[[Any], None],
        codes: set[int],
        **kwargs: Any,
    ) -> requests.Response:
        while True:
            with self._gate.slot(ticket) as left_after:
                meter.add(requests=1)
                try:
                    response = self._http.send(request, **kwargs)
                except BROKEN as error:
                    self._gate.unanswered(ticket)
                    raise RetriableError(f"no answer: {excerpt(str(error), self._secret)}") from None
            if response.status_code != 429 or self._gate.close_for(ticket, left_after=left_after):
                break
            # another request is the probe: this 429 tells nothing new, so it does not count as a try
            meter.add(retries=1)
        self._judge(response, ticket, codes)
        self._parse(response, check)
        return response

    def _judge(self, response: requests.Response, ticket: Ticket, codes: set[int]) -> None:
        status = response.status_code
        if 200 <= status < 300:
            self._gate.reopen(ticket)
            return
        said = self._described(response)
        if status == 401:
            name = environment_name(self.api.name, "api_key")
            refused = AuthenticationError(
                f"{self.api.name} refused the key (401 {response.reason}): check {name}. It said: {said}"
            )
            self._gate.refuse(refused)
            raise refused
        if status != 429:
            self._gate.reopen(ticket)
        if status in codes or status >= 500:
            after = self._pause(response.headers, limited=status == 429)
            if after > self.settings.max_wait:
                name = environment_name(self.api.name, "max_wait")
                raise ReadError(
                    f"answered {status} and asks for a pause of {after:.0f} s, longer than "
                    f"{name} ({self.settings.max_wait:.0f} s) allows",
                    status=status,
                )
            raise RetriableError(f"answered {status}: {said}", status=status, after=after)
        if 300 <= status < 400:
            to = urlsplit(response.headers.get("Location", ""))
            name = environment_name(self.api.name, "base_url")
            raise ReadError(
                f"answered {status}, a redirect to {to.scheme}://{to.hostname}; the key is not sent there: "
                f"check {name}",
                status=status,
            )
        raise ReadError(f"answered {status}: {said}", status=status)

    def _parse(self, response: requests.Response, check: Callable[[Any], None]) -> None:
        try:
            body = orjson.loads(response.content)
            check(body)
        except orjson.JSONDecodeError:
            what = "a body that is not JSON" if response.content.strip() else "an empty body"
            raise RetriableError(f"{what}: {self._described(response)}", status=response.status_code) from None
        except ReadError as error:
            raise RetriableError(f"{error}: {self._described(response)}", status=response.status_code) from None
        # parsed once, for the selector and the paginator alike
        response.json = lambda **_: body  # type: ignore[method-assign]

    def _described(self, response: requests.Response) -> str:
        kind = response.headers.get("Content-Type", "no content type")
        text = excerpt(response.text, self._secret)
        return f"{response.status_code}, {kind}, {text!r}" if text else f"{response.status_code}, {kind}"

    def _pause(self, headers: Mapping[str, str], *, limited: bool) -> float:
        """Seconds that the server asks to wait, in any of the dialects in use; 0 if it does not say.

        The headers that tell when a limit is reset come with any answer: they count only where it is ``limited``.
        """
        waits = [0.0]
        for name, value in headers.items():
            lower = name.lower()
            resets = lower in RESETS or lower.startswith("x-ratelimit-reset-seconds")
            if lower == "retry-after" or (resets and limited):
                waits.append(self._seconds(value))
        return max(waits)

    def _seconds(self, value: str) -> float:
        """From seconds to go, epoch seconds, epoch milliseconds or an HTTP date to seconds to go."""
        now = self._clock.now()
        try:
            number = float(value)
        except ValueError:
            try:
                return parsedate_to_datetime(value).timestamp() - now
            except ValueError:
                return 0.0
        if number > 1000 * EPOCH:
            number /= 1000
        return number - now if number > EPOCH else number

    def _is_last(self, state: RetryCallState, ticket: Ticket) -> bool:
        """Whether the failure was the last that is retried; counts those by a limit on the ticket."""
        retry = self.api.retry
        if retry.limit_retries is None:
            return state.attempt_number > retry.max_retries
        if _is_limited(state):
            ticket.limited += 1
            return ticket.limited > retry.limit_retries
        return state.attempt_number - ticket.limited > retry.max_retries

    def _wait(self, state: RetryCallState) -> float:
        failure = _failure(state)
        asked = failure.after if isinstance(failure, RetriableError) else 0.0
        return max(asked, self.api.retry.seconds(state.attempt_number))

    def _announce(self, state: RetryCallState, request: requests.PreparedRequest, meter: Meter) -> None:
        seconds = state.next_action.sleep if state.next_action else 0.0
        meter.add(retries=1, wait_seconds=seconds)
        failure = _failure(state)
        retry = self.api.retry
        tries = 1 + (retry.limit_retries if retry.limit_retries and _is_limited(state) else retry.max_retries)
        # where a 404 is retried it is a likely answer, not one to look into
        expected = isinstance(failure, ReadError) and failure.status == 404
        self._log.log(
            logging.INFO if expected else logging.WARNING,
            f"{self.api.name}: waiting {seconds:.1f} s after try {state.attempt_number} of {tries} of "
            f"{request.method} {urlsplit(str(request.url)).path}: {failure}",
        )


def _failure(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _is_limited(state: RetryCallState) -> bool:
    failure = _failure(state)
    return isinstance(failure, RetriableError) and failure.status == 429


class EndpointSession(requests.Session):
    """One endpoint's view of its API's session: what dlt's ``RESTClient`` takes for a requests session."""

    def __init__(
        self,
        session: ApiSession,
        *,
        meter: Meter,
        check: Callable[[Any], None],
        status_codes: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self._session = session
        self._meter = meter
        self._check = check
        self._status_codes = status_codes
        self.headers.update(session.api.headers)

    def merge_environment_settings(self, *_: Any, **__: Any) -> Any:
        """The proxies and certificates of the environment, looked up once: requests walks through it each time."""
        return dict(self._session.environment)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Sends through the API's session; redirects are not followed, as the key would go with them."""
        settings = self._session.settings
        kwargs |= {"timeout": (settings.connect_timeout, settings.read_timeout), "allow_redirects": False}
        return self._session.send(
            request, meter=self._meter, check=self._check, status_codes=self._status_codes, **kwargs
        )
