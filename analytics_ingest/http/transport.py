"""HTTP below the session: requests' adapter for proxies and certificates, urllib3 for each request.

Requests looks all of it up again for each request, which costs as much as the request itself.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException
from requests.utils import get_encoding_from_headers, select_proxy
from urllib3 import Retry, Timeout
from urllib3.exceptions import HTTPError, ProxyError

from analytics_ingest.errors import SCANNED_LENGTH, ConfigurationError
from analytics_ingest.http.byte_budget import ByteBudget, Claim
from analytics_ingest.http.deadline import Deadline, Watchdog, WatchedHTTPConnection, WatchedHTTPSConnection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics_ingest.config.api import Settings

NO_RETRY = Retry(total=False)
ACCEPT_ENCODING = "gzip, deflate"
"""Codings whose decoder stops at a size. urllib3 decodes others where a package for them happens to be installed."""
UNASKED = {"br", "zstd"}
STEP = 65_536
"""Bytes that are read at once; most answers are smaller."""
OF_AN_ERROR = 65_536
"""Bytes of the body of an answer without rows that are read, as only its beginning is shown."""
WITH_ROWS = {200, 201, 203}
"""Statuses of an answer whose body is the whole of what was requested."""


class NoResponseError(Exception):
    """No answer came, or not all of it. The text is a library's, and may hold anything.

    Attributes:
        proxy_variable: The environment variable of the proxy that failed; empty if none did.
    """

    def __init__(self, reason: str = "", *, proxy_variable: str = "") -> None:
        super().__init__(reason)
        self.proxy_variable = proxy_variable


class ResponseTimeoutError(NoResponseError):
    """The answer was not complete in time."""


class ResponseTooLargeError(Exception):
    """The answer has more bytes than it may have."""


class CertificateError(Exception):
    """The server's certificate is not accepted.

    Attributes:
        reason: Why, in OpenSSL's words.
        is_other_host: Whether it is another host's.
    """

    def __init__(self, reason: str, *, is_other_host: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_other_host = is_other_host


class Request:
    """A GET request, ready to be sent."""

    method = "GET"

    def __init__(self, url: str, params: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """Joins the query's parameters to ``url``; those without a value are left out."""
        query = urlencode([(name, value) for name, value in params.items() if value is not None], doseq=True)
        self.url = f"{url}{'&' if '?' in url else '?'}{query}" if query else url
        self.headers = dict(headers)


class Response:
    """An answer, read to its end. The session adds what is in the body.

    Its bytes count as in memory until ``release`` is called.

    Attributes:
        content: The body's bytes; empty once it is parsed.
        size: How many they were.
        body: The parsed body.
        page: The elements of its page.
        rows: The rows in them.
    """

    def __init__(self, answer: Any, content: bytes, claim: Claim) -> None:
        """Takes over urllib3's answer.

        Args:
            answer: urllib3's answer.
            content: What was read of its body, decoded.
            claim: The bytes that it takes.
        """
        self.status_code: int = answer.status
        self.reason: str = answer.reason or ""
        self.headers: Mapping[str, str] = answer.headers
        self.content: bytes = content
        self.size = len(content)
        self.body: Any = None
        self.page: list[Any] = []
        self.rows: list[Any] = []
        self._claim = claim

    @property
    def text(self) -> str:
        """The beginning of the body as text; what is not valid in its encoding is replaced."""
        beginning = self.content[: 4 * SCANNED_LENGTH]
        try:
            return beginning.decode(get_encoding_from_headers(self.headers) or "utf-8", "replace")
        except (LookupError, ValueError):
            # an encoding that Python has not, or that is none of text
            return beginning.decode("utf-8", "replace")

    def json(self) -> Any:
        """The parsed body, for dlt's paginators."""
        return self.body

    def release(self) -> None:
        """Reports that the answer's rows have been handed on, so that others may be read; once is enough."""
        self._claim.release()


class Transport(HTTPAdapter):
    """The connections to one base URL, by the environment's proxies and certificates as they are at the start."""

    def __init__(self, settings: Settings) -> None:
        """Opens no connection.

        Args:
            settings: The base URL, timeouts, bounds of an answer and the number of connections.

        Raises:
            ConfigurationError: The environment names a proxy or a certificate file that cannot be used.
        """
        super().__init__(pool_maxsize=settings.max_in_flight)
        self._base = str(settings.base_url)
        self._timeout = Timeout(connect=settings.connect_timeout, read=settings.read_timeout)
        self._max_bytes = settings.max_answer_bytes
        self._small = min(STEP, self._max_bytes)
        self._budget = ByteBudget(settings.max_bytes_in_flight)
        self._watchdog = Watchdog(settings.answer_timeout)
        probe = requests.Request("GET", self._base).prepare()
        with requests.Session() as session:
            found: Any = session.merge_environment_settings(self._base, {}, None, None, None)
        if self._base.startswith("https"):
            _check_certificates(found["verify"])
        proxy = select_proxy(self._base, found["proxies"])
        self._proxy_variable = _variable_of(proxy) if proxy else ""
        try:
            pool: Any = self.get_connection_with_tls_context(
                probe, found["verify"], proxies=found["proxies"], cert=found["cert"]
            )
            # a proxy for plain HTTP wants the whole URL
            self._whole = self.request_url(probe, found["proxies"]).startswith("http")
        except (RequestException, HTTPError, ValueError) as error:
            raise ConfigurationError(_proxy_problem(self._proxy_variable, proxy or "", error)) from None
        pool.ConnectionCls = WatchedHTTPSConnection if self._base.startswith("https") else WatchedHTTPConnection
        self._pool = pool

    def get(self, request: Request) -> Response:
        """Sends a request to the base URL's host; a redirect is not followed, as the key would go with it.

        Raises:
            AnswerTimeoutError: The answer was not complete in time.
            AnswerTooLargeError: It has too many bytes.
            CertificateError: The server's certificate is not accepted.
            NoAnswerError: No answer came, or not all of it.
        """
        target = request.url
        if not self._whole:
            scheme, host, *_ = urlsplit(target)
            target = target[len(scheme) + len("://") + len(host) :]
        deadline = self._watchdog.watch()
        try:
            answer = self._pool.urlopen(
                request.method,
                target,
                headers=request.headers,
                timeout=self._timeout,
                retries=NO_RETRY,
                redirect=False,
                # behind a proxy the URL's host is not the pool's
                assert_same_host=False,
                preload_content=False,
            )
            return self._read(answer, deadline)
        except (ResponseTooLargeError, ResponseTimeoutError):
            raise
        # urllib3, http.client, ssl, zlib and codecs let errors of a dozen kinds through, all for what a server sent
        except Exception as error:
            if self._watchdog.is_closed:
                raise NoResponseError("the sync has ended") from None
            if deadline.expired:
                raise ResponseTimeoutError from None
            if refused := _certificate_error(error):
                raise refused from None
            failed = self._proxy_variable if isinstance(error, ProxyError) else ""
            raise NoResponseError(str(error) or type(error).__name__, proxy_variable=failed) from error
        finally:
            self._watchdog.end(deadline)

    def close(self) -> None:
        """Closes the connections; requests that are under way end at once."""
        self._watchdog.close()
        self._budget.close()
        super().close()

    def _read(self, answer: Any, deadline: Deadline) -> Response:
        """Reads the body to its end, or to what may be read of it."""
        coding = answer.headers.get("Content-Encoding")
        if coding and UNASKED & {name.strip() for name in coding.lower().split(",")}:
            answer.close()
            raise NoResponseError("it has a Content-Encoding that was not asked for")
        length = answer.length_remaining
        claim: Claim | None = None
        try:
            if length is not None and length <= self._small and not coding:
                # most answers, in half the time
                content = answer.read()
                claim = self._budget.claim_now(len(content))
                if not claim:
                    claim = self._budget.claim()
                    self._take(claim, len(content), deadline)
                    claim.end_reading()
            else:
                claim = self._budget.claim()
                content = self._read_steps(answer, claim, deadline)
                claim.end_reading()
        except BaseException:
            answer.close()
            if claim:
                claim.release()
            raise
        if deadline.expired:
            # the end of the body was the end of the connection
            claim.release()
            raise ResponseTimeoutError
        return Response(answer, content, claim)

    def _read_steps(self, answer: Any, claim: Claim, deadline: Deadline) -> bytes:
        has_rows = answer.status in WITH_ROWS
        limit = self._max_bytes if has_rows else OF_AN_ERROR
        parts, size = [], 0
        while size <= limit and (part := answer.read(STEP)):
            self._take(claim, len(part), deadline)
            parts.append(part)
            size += len(part)
        if size > limit:
            answer.close()
            if has_rows:
                raise ResponseTooLargeError
        return b"".join(parts)

    def _take(self, claim: Claim, size: int, deadline: Deadline) -> None:
        if not claim.take_now(size):
            with deadline.paused():
                claim.take(size)


def _certificate_error(error: BaseException) -> CertificateError | None:
    """The error of a certificate within ``error``, if there is one: it stays the same however often one tries."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        each = waiting.pop()
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, ssl.SSLCertVerificationError):
            reason = each.verify_message or str(each)
            return CertificateError(reason, is_other_host="mismatch" in reason or "doesn't match" in reason)
        waiting += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    return None


def _check_certificates(verify: Any) -> None:
    """Loads the file or folder of certificates that the environment names, if it names one."""
    if not isinstance(verify, str):
        return
    name = next(
        name for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "") if os.environ.get(name) == verify or not name
    )
    name = name or "REQUESTS_CA_BUNDLE"
    advice = "it must be a PEM file with the certificates of the authorities that you trust, or a folder of such files"
    if not os.path.exists(verify):  # noqa: PTH110 - may hold what no path can
        raise ConfigurationError(f"{name} names {verify!r}, which does not exist: {advice}")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(**{"capath" if os.path.isdir(verify) else "cafile": verify})  # noqa: PTH112
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise ConfigurationError(f"{name} names {verify!r}, which cannot be loaded ({reason}): {advice}") from None


def _variable_of(proxy: str) -> str:
    """The environment variable that sets this proxy."""
    names = [name for name, value in os.environ.items() if name.lower().endswith("_proxy") and value == proxy]
    return min(names, key=lambda name: (name.lower() == "all_proxy", name), default="the proxy of this machine")


def _proxy_problem(variable: str, proxy: str, error: Exception) -> str:
    """Why a proxy cannot be used, without its URL, which may hold a password."""
    if "socks" in str(error).lower():
        return f"{variable} names a SOCKS proxy, which needs the package PySocks: install it, or name an HTTP proxy"
    if not proxy:
        return f"the base URL cannot be used: {type(error).__name__}"
    return f"{variable} is no URL of a proxy: write http://host:port ({type(error).__name__})"
