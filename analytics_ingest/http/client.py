"""Requests the pages of one endpoint over the API's session, with dlt's auth and paginators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import requests
from dlt.sources.rest_api.config_setup import create_auth

from analytics_ingest.errors import OversizedResponseError
from analytics_ingest.http.notices import Notices
from analytics_ingest.http.paginator import GuardedPaginator
from analytics_ingest.http.selector import RowSelector
from analytics_ingest.http.transport import ACCEPT_ENCODING, Request

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from dlt.sources.rest_api.typing import AuthConfig

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.http.meter import Meter
    from analytics_ingest.http.session import ApiSession, Pause


@dataclass(frozen=True)
class RawPage:
    """One page as sent.

    Attributes:
        rows: The selected rows.
        size: Bytes of the response, decoded.
        paginator: The paginator, in its state after this page.
    """

    rows: list[Any]
    size: int
    paginator: GuardedPaginator


class EndpointClient:
    """Requests the lists of one endpoint, page by page. Several threads may share it.

    Attributes:
        notices: What its responses say beside their rows.

    Why not dlt's ``RESTClient``: apart from its paginators, which are used here, it does a third of the work of a
    request.
    """

    def __init__(self, endpoint: Endpoint, session: ApiSession, *, limit: int | None, meter: Meter) -> None:
        """Compiles the selector and signs the headers; sends nothing.

        Args:
            endpoint: The endpoint.
            session: The API's session.
            limit: Rows to request per page; ``None`` if the API has no such parameter.
            meter: Counts requests, retries and seconds waited.
        """
        self.notices = Notices()
        self._endpoint = endpoint
        self._session = session
        self._limit = limit
        self._meter = meter
        self._base = str(session.settings.base_url).rstrip("/")
        params = endpoint.parents.params if endpoint.parents else ()
        own_key = tuple(name for name in endpoint.primary_key if name not in params)
        self._selector = RowSelector(endpoint.data_selector, record_key=own_key, fallback=endpoint.fallback_selector)
        defaults = {**requests.utils.default_headers(), "Accept-Encoding": ACCEPT_ENCODING}
        signed: Any = Request(self._base, {}, {**defaults, **session.api.headers})
        auth = create_auth(auth_config(session))
        if auth:
            auth(signed)
        self._headers = signed.headers

    def pages(
        self, path: str, filters: Mapping[str, Any], *, known_status: int | None = None
    ) -> Generator[RawPage | Pause, None, None]:
        """Yields the pages of the list at ``path``, one request each, and the pauses before a request is retried.

        Args:
            path: The endpoint's path with its values filled in, percent-encoded.
            filters: What is sent beside the declared parameters: as query parameters, or in the body of a POST.
            known_status: The code that the path answered at the last sync: it is not retried.

        Raises:
            AuthenticationError: The API refused the key.
            ReadError: A page could not be read, or is not as declared.
        """
        endpoint = self._endpoint
        # dlt's paginators change a request of requests from page to page
        request = requests.Request(endpoint.method, self._base + path, params={**endpoint.params})
        if endpoint.json is None:
            request.params |= filters
        else:
            request.json = {**endpoint.json, **filters}
        paginator = GuardedPaginator(endpoint.paginator, limit=self._limit, max_pages=self._session.settings.max_pages)
        paginator.init_request(request)
        while True:
            try:
                response = yield from self._session.send(
                    Request(str(request.url), request.params, self._headers, json=request.json),
                    meter=self._meter,
                    select=self._selector.select,
                    status_codes=endpoint.retry_status_codes,
                    known_status=known_status,
                )
            except OversizedResponseError:
                if not paginator.halve(request):
                    raise
                continue
            try:
                self._session.notice(response, self.notices, has_envelope=self._selector.has_envelope)
                paginator.update_state(response)
                paginator.update_request(request)
                yield RawPage(response.rows, response.size, paginator)
            finally:
                # the caller has processed the page, or stopped reading
                response.release()
            if not paginator.has_next_page:
                return


def auth_config(session: ApiSession) -> AuthConfig:
    """The API's auth as dlt's ``AuthConfig``, with the key from the settings."""
    declared = session.api.auth_headers.get(session.settings.auth_header, session.api.auth)
    secret = session.settings.api_key.get_secret_value()
    return cast("AuthConfig", {**declared, "token" if declared["type"] == "bearer" else "api_key": secret})
