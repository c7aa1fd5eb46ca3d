"""Sends one HTTP request: requests' adapter sets up proxies and certificates once, urllib3 sends each request.

A session of requests would look proxies and certificates up for each request, which costs as much as the request.
"""

from __future__ import annotations

import os
import ssl
from json import dumps
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

    from analytics_ingest.config.api_settings import Settings

NO_RETRY = Retry(total=False)
ACCEPT_ENCODING = "gzip, deflate"
"""Codings whose decoder stops at a size; the decoders of ``UNREQUESTED_CODINGS`` do not."""
UNREQUESTED_CODINGS = {"br", "zstd"}
"""Codings that urllib3 decodes if a package for them is installed."""
CHUNK_SIZE = 65_536
"""Bytes to read at once; most responses are smaller."""
MAX_ERROR_BYTES = 65_536
"""Bytes to read of a response without rows: errors show its start only."""
COMPLETE_STATUSES = {200, 201, 203}
"""Statuses of a response whose body is all that was requested."""


class TransportError(Exception):
    """There is no complete response."""


class NoResponseError(TransportError):
    """The connection, the proxy or the response failed. The text is a library's: it may contain secrets.

    Attributes:
        proxy_variable: The environment variable of the proxy that failed; empty if none did.
    """

    def __init__(self, reason: str = "", *, proxy_variable: str = "") -> None:
        super().__init__(reason)
        self.proxy_variable = proxy_variable


class ResponseTimeoutError(NoResponseError):
    """The response was incomplete at its deadline."""


class ResponseTooLargeError(TransportError):
    """The response has more bytes than ``MAX_ANSWER_BYTES``."""


class CertificateError(TransportError):
    """The server's certificate is not accepted.

    Attributes:
        reason: OpenSSL's reason.
        is_other_host: Whether the certificate belongs to another host.
    """

    def __init__(self, reason: str, *, is_other_host: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_other_host = is_other_host


class Request:
    """A request that reads: a GET, or a POST with a JSON body."""

    def __init__(
        self, url: str, params: Mapping[str, Any], headers: Mapping[str, str], *, json: Mapping[str, Any] | None = None
    ) -> None:
        """Builds the URL and the body.

        Args:
            url: The URL, which may have a query.
            params: Query parameters to append, except those that are ``None``.
            headers: The headers.
            json: The body, which makes it a POST; ``None`` for a GET.
        """
        query = urlencode([(name, value) for name, value in params.items() if value is not None], doseq=True)
        self.url = f"{url}{'&' if '?' in url else '?'}{query}" if query else url
        self.headers = dict(headers)
        self.method = "GET" if json is None else "POST"
        self.body: bytes | None = None
        if json is not None:
            self.body = dumps(json).encode()
            self.headers["Content-Type"] = "application/json"


class Response:
    """A response that was read to its end.

    Its bytes count as in memory until ``release`` is called.

    Attributes:
        content: The bytes of the body, decoded; empty once it is parsed.
        size: The number of these bytes.
        body: The parsed body; ``None`` before.
        page: The elements of the page in the body; empty before it is parsed.
        rows: The rows in these elements; empty before the body is parsed.
    """

    def __init__(self, raw: Any, content: bytes, claim: Claim) -> None:
        """Takes over urllib3's response.

        Args:
            raw: urllib3's response.
            content: The bytes that were read of its body, decoded.
            claim: The claim on these bytes.
        """
        self.status_code: int = raw.status
        self.reason: str = raw.reason or ""
        self.headers: Mapping[str, str] = raw.headers
        self.content: bytes = content
        self.size = len(content)
        self.body: Any = None
        self.page: list[Any] = []
        self.rows: list[Any] = []
        self._claim = claim

    @property
    def text(self) -> str:
        """The start of the body as text, with U+FFFD in place of bytes that are invalid in its encoding."""
        start = self.content[: 4 * SCANNED_LENGTH]
        try:
            return start.decode(get_encoding_from_headers(self.headers) or "utf-8", "replace")
        except (LookupError, ValueError):
            # Python does not know the encoding, or it is not one of text
            return start.decode("utf-8", "replace")

    def json(self) -> Any:
        """The parsed body, for dlt's paginators."""
        return self.body

    def release(self) -> None:
        """Stops counting the bytes as in memory. Further calls do nothing."""
        self._claim.release()


class Transport(HTTPAdapter):
    """The connections to one base URL, with the proxies and certificates that the environment names at the start."""

    def __init__(self, settings: Settings) -> None:
        """Opens no connection.

        Args:
            settings: The base URL, timeouts, limits of a response and the number of connections.

        Raises:
            ConfigurationError: The environment names a proxy or a certificate file that cannot be used.
        """
        super().__init__(pool_maxsize=settings.max_in_flight)
        self._base = str(settings.base_url)
        self._timeout = Timeout(connect=settings.connect_timeout, read=settings.read_timeout)
        self._max_bytes = settings.max_answer_bytes
        self._small_size = min(CHUNK_SIZE, self._max_bytes)
        self._budget = ByteBudget(settings.max_bytes_in_flight)
        self._watchdog = Watchdog(settings.answer_timeout)
        sample = requests.Request("GET", self._base).prepare()
        with requests.Session() as session:
            environment: Any = session.merge_environment_settings(self._base, {}, None, None, None)
        verify, proxies = environment["verify"], environment["proxies"]
        if self._base.startswith("https"):
            _check_certificates(verify)
        proxy = select_proxy(self._base, proxies)
        self._proxy_variable = _proxy_variable(proxy) if proxy else ""
        try:
            pool: Any = self.get_connection_with_tls_context(sample, verify, proxies=proxies, cert=environment["cert"])
            # a proxy for plain HTTP needs the full URL
            self._sends_full_url = self.request_url(sample, proxies).startswith("http")
        except (RequestException, HTTPError, ValueError) as error:
            raise ConfigurationError(_proxy_problem(self._proxy_variable, proxy or "", error)) from None
        pool.ConnectionCls = WatchedHTTPSConnection if self._base.startswith("https") else WatchedHTTPConnection
        self._pool = pool

    def send_once(self, request: Request) -> Response:
        """Sends a request to the base URL's host. Redirects are not followed: the key would be sent to their target.

        Raises:
            ResponseTimeoutError: The response was incomplete at its deadline.
            ResponseTooLargeError: The response has too many bytes.
            CertificateError: The server's certificate is not accepted.
            NoResponseError: The connection, the proxy or the response failed.
        """
        target = request.url
        if not self._sends_full_url:
            scheme, host, *_ = urlsplit(target)
            target = target[len(scheme) + len("://") + len(host) :]
        deadline = self._watchdog.watch()
        try:
            raw = self._pool.urlopen(
                request.method,
                target,
                body=request.body,
                headers=request.headers,
                timeout=self._timeout,
                retries=NO_RETRY,
                redirect=False,
                # behind a proxy, the pool's host is the proxy's
                assert_same_host=False,
                preload_content=False,
            )
            return self._read(raw, deadline)
        except (ResponseTooLargeError, ResponseTimeoutError):
            raise
        # urllib3, http.client, ssl, zlib and codecs raise exceptions of a dozen classes for what a server sends
        except Exception as error:
            if self._watchdog.is_closed:
                raise NoResponseError("the sync has ended") from None
            if deadline.expired:
                raise ResponseTimeoutError from None
            if certificate_error := _certificate_error(error):
                raise certificate_error from None
            variable = self._proxy_variable if isinstance(error, ProxyError) else ""
            raise NoResponseError(str(error) or type(error).__name__, proxy_variable=variable) from error
        finally:
            self._watchdog.end(deadline)

    def close(self) -> None:
        """Closes the connections; requests in flight fail at once."""
        self._watchdog.close()
        self._budget.close()
        super().close()

    def _read(self, raw: Any, deadline: Deadline) -> Response:
        """Reads the body to its end, or to its limit."""
        coding = raw.headers.get("Content-Encoding")
        if coding and UNREQUESTED_CODINGS & {name.strip() for name in coding.lower().split(",")}:
            raw.close()
            raise NoResponseError("it has a Content-Encoding that was not requested")
        length = raw.length_remaining
        claim: Claim | None = None
        try:
            if length is not None and length <= self._small_size and not coding:
                # a fast path for most responses: it takes half the time of reading in chunks
                content = raw.read()
                claim = self._budget.try_claim(len(content))
                if not claim:
                    claim = self._budget.claim()
                    self._add(claim, len(content), deadline)
                    claim.end_reading()
            else:
                claim = self._budget.claim()
                content = self._read_chunks(raw, claim, deadline)
                claim.end_reading()
        except BaseException:
            raw.close()
            if claim:
                claim.release()
            raise
        if deadline.expired:
            # without a length, the end of the connection looks like the end of the body
            claim.release()
            raise ResponseTimeoutError
        return Response(raw, content, claim)

    def _read_chunks(self, raw: Any, claim: Claim, deadline: Deadline) -> bytes:
        has_rows = raw.status in COMPLETE_STATUSES
        limit = self._max_bytes if has_rows else MAX_ERROR_BYTES
        chunks, size = [], 0
        while size <= limit and (chunk := raw.read(CHUNK_SIZE)):
            self._add(claim, len(chunk), deadline)
            chunks.append(chunk)
            size += len(chunk)
        if size > limit:
            raw.close()
            if has_rows:
                raise ResponseTooLargeError
        return b"".join(chunks)

    def _add(self, claim: Claim, size: int, deadline: Deadline) -> None:
        if not claim.try_add(size):
            with deadline.paused():
                claim.add(size)


def _certificate_error(error: BaseException) -> CertificateError | None:
    """The failed check of a certificate among the causes of ``error``, if there is one: retries do not mend it."""
    seen: set[int] = set()
    pending: list[Any] = [error]
    while pending:
        each = pending.pop()
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, ssl.SSLCertVerificationError):
            reason = each.verify_message or str(each)
            return CertificateError(reason, is_other_host="mismatch" in reason or "doesn't match" in reason)
        pending += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    return None


def _check_certificates(verify: Any) -> None:
    """Checks that the file or folder of certificates that the environment names, if any, can be loaded."""
    if not isinstance(verify, str):
        return
    name = next(
        name for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "") if os.environ.get(name) == verify or not name
    )
    name = name or "REQUESTS_CA_BUNDLE"
    advice = "it must be a PEM file with the certificates of the authorities that you trust, or a folder of such files"
    if not os.path.exists(verify):  # noqa: PTH110 - Path raises for names that are too long
        raise ConfigurationError(f"{name} names {verify!r}, which does not exist: {advice}")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(**{"capath" if os.path.isdir(verify) else "cafile": verify})  # noqa: PTH112
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise ConfigurationError(f"{name} names {verify!r}, which cannot be loaded ({reason}): {advice}") from None


def _proxy_variable(proxy: str) -> str:
    """The environment variable that sets a proxy."""
    names = [name for name, value in os.environ.items() if name.lower().endswith("_proxy") and value == proxy]
    return min(names, key=lambda name: (name.lower() == "all_proxy", name), default="the proxy of this machine")


def _proxy_problem(variable: str, proxy: str, error: Exception) -> str:
    """Why a proxy cannot be used, without its URL, which may contain a password."""
    if "socks" in str(error).lower():
        return f"{variable} names a SOCKS proxy, which needs the package PySocks: install it, or name an HTTP proxy"
    if not proxy:
        return f"the base URL cannot be used: {type(error).__name__}"
    return f"{variable} is not the URL of a proxy: write http://host:port ({type(error).__name__})"
