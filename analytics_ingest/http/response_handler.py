"""Decides what a response means: rows, a retry, or a failure whose text names the setting to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from analytics_ingest.config.lookup import environment_name
from analytics_ingest.errors import (
    AuthenticationError,
    FinalReadError,
    LimitReachedError,
    OversizedResponseError,
    ReadError,
    RetriableError,
    excerpt,
    printable,
)
from analytics_ingest.http.json_body import MalformedJSONError, parse_json
from analytics_ingest.http.notices import HEADERS
from analytics_ingest.http.retry_after import retry_after
from analytics_ingest.http.transport import (
    COMPLETE_STATUSES,
    CertificateError,
    NoResponseError,
    ResponseTimeoutError,
    ResponseTooLargeError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from analytics_ingest.apis.model import Api
    from analytics_ingest.config.api_settings import Settings
    from analytics_ingest.http.notices import Notices
    from analytics_ingest.http.rate_limit import Clock
    from analytics_ingest.http.selector import SelectedRows
    from analytics_ingest.http.transport import Response, TransportError
    from analytics_ingest.redaction import Redactor


class ResponseHandler:
    """Turns the responses of one API into rows, and its failures into errors.

    Each method that raises or returns an error chooses between ``RetriableError``, which another attempt may not meet,
    and the others, which end the request.
    """

    def __init__(self, api: Api, settings: Settings, *, redactor: Redactor, clock: Clock) -> None:
        """Keeps what errors name and mask.

        Args:
            api: The API.
            settings: Its settings.
            redactor: Masks the API's secrets.
            clock: The time from which a server's pause is counted.
        """
        self._api = api
        self._settings = settings
        self._redactor = redactor
        self._clock = clock

    def redacted_excerpt(self, text: str) -> str:
        """Text that a server or a library wrote: on one line, shortened, printable, and without secrets."""
        return printable(excerpt(text, redactor=self._redactor))

    def transport_error(self, error: TransportError) -> ReadError:
        """The error of a request without a complete response."""
        if isinstance(error, ResponseTooLargeError):
            return OversizedResponseError(
                f"the answer is larger than {self._setting('max_answer_bytes')} allows "
                f"({self._settings.max_answer_bytes:,} bytes): lower the rows per page, or raise the setting"
            )
        if isinstance(error, CertificateError):
            return FinalReadError(f"no answer: {self._certificate_advice(error)}")
        if isinstance(error, ResponseTimeoutError):
            return RetriableError(
                f"no answer: it was incomplete after {self._settings.answer_timeout:g} s, the time that "
                f"{self._setting('answer_timeout')} allows"
            )
        variable = error.proxy_variable if isinstance(error, NoResponseError) else ""
        proxy = f" (the proxy is set by {variable})" if variable else ""
        return RetriableError(f"no answer: {self.redacted_excerpt(str(error))}{proxy}")

    def check_status(self, response: Response, retry_codes: Collection[int]) -> None:
        """Returns if the response's status is one of success.

        Args:
            response: The response.
            retry_codes: Statuses to retry; those from 500 and incomplete successes are retried as well.

        Raises:
            AuthenticationError: 401.
            RetriableError: A status to retry.
            LimitReachedError: 429, and the server requests a pause longer than ``MAX_WAIT``.
            ReadError: Any other status, or a status to retry with such a pause.
        """
        status = response.status_code
        if status in COMPLETE_STATUSES or status == 204:
            return
        summary = self._summary(response)
        if status == 401:
            reason = f"401 {self.redacted_excerpt(response.reason)}".strip()
            raise AuthenticationError(
                f"{self._api.name} refused the key ({reason}): check {self._setting('api_key')}. "
                f"{self._auth_advice()}Response: {summary}"
            )
        if status in retry_codes or status >= 500:
            seconds = retry_after(response.headers, now=self._clock.now(), rate_limited=status == 429)
            if seconds > self._settings.max_wait:
                reason = (
                    f"answered {status} and requested a pause of {seconds:.0f} s, longer than "
                    f"{self._setting('max_wait')} ({self._settings.max_wait:.0f} s) allows: "
                )
                if status == 429:
                    rate = self._setting("requests_per_minute")
                    raise LimitReachedError(f"{reason}raise it, or lower {rate}", retry_after=seconds)
                raise ReadError(f"{reason}raise it, or sync later", status=status)
            raise RetriableError(f"answered {status}: {summary}", status=status, retry_after=seconds)
        if 200 <= status < 300:
            raise RetriableError(f"answered {status}, an incomplete answer: {summary}", status=status)
        if 300 <= status < 400:
            raise ReadError(
                f"answered {status}, a redirect {self._redirect_target(response)}; the key is not sent there: "
                f"check {self._setting('base_url')}",
                status=status,
            )
        raise ReadError(f"answered {status}: {summary}", status=status)

    def parse(self, response: Response, select: Callable[[Any], SelectedRows]) -> None:
        """Sets the response's ``body``, ``page`` and ``rows``, and drops its ``content``.

        Args:
            response: A response with a status of success.
            select: Selects the rows of a parsed body; raises ``ReadError`` if the body is not as declared.

        Raises:
            FinalReadError: The body is complete, and is not valid JSON.
            RetriableError: The body is empty, cut off, no JSON, or not as declared.
        """
        status = response.status_code
        try:
            response.body = parse_json(response.content)
            response.page, response.rows = select(response.body)
        except MalformedJSONError as error:
            if error.is_complete:
                near = self.redacted_excerpt(error.near)
                raise FinalReadError(
                    f"answered with a body that is not valid JSON: {error.reason} at character {error.position:,}, "
                    f"near {near!r}. Report it to the vendor; until it is fixed, {self._setting('skip_endpoints')} can "
                    "skip the endpoint",
                    status=status,
                ) from None
            what = "a body that is not JSON" if response.content.strip() else "an empty body"
            raise RetriableError(f"{what}: {self._summary(response)}", status=status) from None
        except ReadError as error:
            raise RetriableError(f"{error}: {self._summary(response)}", status=status) from None
        except (MemoryError, RecursionError) as error:
            raise RetriableError(f"a body that cannot be read ({type(error).__name__})", status=status) from None
        # the parsed body replaces it
        response.content = b""

    def notice(self, response: Response, notices: Notices, *, has_envelope: bool) -> None:
        """Notes what a response with rows says beside them; headers of the endpoint's first response only.

        Args:
            response: The response.
            notices: What the endpoint's responses said so far.
            has_envelope: Whether an object around the rows is an envelope, and not a row.
        """
        if notices.headers is None:
            notices.headers = {
                name: self.redacted_excerpt(value) for name in HEADERS if (value := response.headers.get(name))
            }
        if has_envelope and isinstance(response.body, dict) and not response.body.keys() <= notices.fields:
            notices.add_fields(response.body)

    def _summary(self, response: Response) -> str:
        """Status, content type and the start of the body."""
        content_type = self.redacted_excerpt(response.headers.get("Content-Type", "no content type"))
        text = excerpt(response.text, redactor=self._redactor)
        return f"{response.status_code}, {content_type}" + (f", {text!r}" if text else "")

    def _auth_advice(self) -> str:
        """The header that the key was sent in, and the others that it can be sent in; empty if there is one only."""
        used = self._settings.auth_header
        others = [each for each in self._api.auth_headers if each != used]
        if len(others) == len(self._api.auth_headers):
            return ""
        return f"It was sent in the header {used}, and {self._setting('auth_header')} can be {' or '.join(others)}. "

    def _certificate_advice(self, error: CertificateError) -> str:
        host = urlsplit(str(self._settings.base_url)).hostname
        problem = f"the certificate of {host} is not accepted ({self.redacted_excerpt(error.reason)}). "
        if error.is_other_host:
            return f"{problem}Check the host in {self._setting('base_url')}"
        return f"{problem}If an authority of your own signed it, set REQUESTS_CA_BUNDLE or SSL_CERT_FILE to its file"

    def _redirect_target(self, response: Response) -> str:
        """The target of a redirect, without its query."""
        location = response.headers.get("Location", "").strip()
        if not location:
            return "without a Location"
        try:
            target = urlsplit(location)
            host = target.hostname
        except ValueError:
            return f"to {self.redacted_excerpt(location)!r}, which is not a URL"
        if host:
            scheme = target.scheme or urlsplit(str(self._settings.base_url)).scheme
            return self.redacted_excerpt(f"to {scheme}://{host}")
        if target.scheme:
            return self.redacted_excerpt(f"to {target.scheme}:")
        return f"to {self.redacted_excerpt(target.path or '/')} on the same host"

    def _setting(self, field: str) -> str:
        return environment_name(self._api.name, field)
