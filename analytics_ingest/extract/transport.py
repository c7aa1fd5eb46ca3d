"""HTTP below the session: requests' adapter for proxies and certificates, urllib3 for each request.

Requests looks all of it up again for each request, which costs as much as the request itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_encoding_from_headers
from urllib3 import Retry, Timeout
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics_ingest.extract.settings import Settings

BROKEN = (HTTPError, OSError)
"""What ``Transport.get`` raises where no whole answer comes."""
NO_RETRY = Retry(total=False)


class Request:
    """A GET request, ready to be sent."""

    method = "GET"

    def __init__(self, url: str, params: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """Joins the query's parameters to ``url``; those without a value are left out."""
        query = urlencode([(name, value) for name, value in params.items() if value is not None], doseq=True)
        self.url = f"{url}{'&' if '?' in url else '?'}{query}" if query else url
        self.headers = dict(headers)


class Answer:
    """An answer, read to its end. The session adds what is in the body.

    Attributes:
        body: The parsed body.
        page: The elements of its page.
        rows: The rows in them.
    """

    def __init__(self, answer: Any) -> None:
        """Takes over urllib3's answer."""
        self.status_code: int = answer.status
        self.reason: str = answer.reason or ""
        self.headers: Mapping[str, str] = answer.headers
        self.content: bytes = answer.data
        self.body: Any = None
        self.page: list[Any] = []
        self.rows: list[Any] = []

    @property
    def text(self) -> str:
        """The body as text; what is not valid in its encoding is replaced."""
        return self.content.decode(get_encoding_from_headers(self.headers) or "utf-8", "replace")

    def json(self) -> Any:
        """The parsed body, for dlt's paginators."""
        return self.body


class Transport(HTTPAdapter):
    """The connections to one base URL, by the environment's proxies and certificates as they are at the start."""

    def __init__(self, settings: Settings) -> None:
        """Opens no connection.

        Args:
            settings: The base URL, timeouts and the number of connections.
        """
        super().__init__(pool_maxsize=settings.max_in_flight)
        self._base = str(settings.base_url)
        self._timeout = Timeout(connect=settings.connect_timeout, read=settings.read_timeout)
        probe = requests.Request("GET", self._base).prepare()
        with requests.Session() as session:
            found: Any = session.merge_environment_settings(self._base, {}, None, None, None)
        self._pool: Any = self.get_connection_with_tls_context(
            probe, found["verify"], proxies=found["proxies"], cert=found["cert"]
        )
        # a proxy for plain HTTP wants the whole URL
        self._whole = self.request_url(probe, found["proxies"]).startswith("http")

    def get(self, request: Request) -> Answer:
        """Sends a request to the base URL's host; a redirect is not followed, as the key would go with it.

        Raises:
            HTTPError: No answer came, or not all of it.
            OSError: The connection broke.
        """
        target = request.url
        if not self._whole:
            scheme, host, *_ = urlsplit(target)
            target = target[len(scheme) + len("://") + len(host) :]
        answer = self._pool.urlopen(
            request.method,
            target,
            headers=request.headers,
            timeout=self._timeout,
            retries=NO_RETRY,
            redirect=False,
            # behind a proxy the URL's host is not the pool's
            assert_same_host=False,
        )
        return Answer(answer)
