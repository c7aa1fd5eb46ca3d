"""Asking one endpoint over the API's session, with dlt's auth and paginator and the selector as declared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import requests
from dlt.sources.rest_api.config_setup import create_auth

from analytics_ingest.http.paginator import GuardedPaginator
from analytics_ingest.http.selector import RowSelector
from analytics_ingest.http.transport import ACCEPT_ENCODING, Request

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from dlt.sources.rest_api.typing import AuthConfig

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.http.session import ApiSession, Meter, Pause


@dataclass(frozen=True)
class RawPage:
    """One page: what the selector gives of it, the bytes of its answer, and the paginator as it stands after it."""

    rows: list[Any]
    size: int
    paginator: GuardedPaginator


class EndpointClient:
    """One endpoint, ready to be asked, from several threads at once if need be.

    Why not dlt's ``RESTClient``: what it does beside the paginators is a third of our part of a request.
    """

    def __init__(self, endpoint: Endpoint, session: ApiSession, *, limit: int | None, meter: Meter) -> None:
        """Prepares the asking of an endpoint; sends nothing.

        Args:
            endpoint: What to ask for.
            session: The API's session.
            limit: Rows to ask for per page; ``None`` if the API has no such parameter.
            meter: Counts requests, retries and seconds waited.
        """
        self._endpoint = endpoint
        self._session = session
        self._limit = limit
        self._meter = meter
        self._base = str(session.settings.base_url).rstrip("/")
        given = endpoint.parents.params if endpoint.parents else ()
        own_key = tuple(name for name in endpoint.primary_key if name not in given)
        self._selector = RowSelector(endpoint.data_selector, record_key=own_key, otherwise=endpoint.fallback_selector)
        standard = {**requests.utils.default_headers(), "Accept-Encoding": ACCEPT_ENCODING}
        signed: Any = Request(self._base, {}, {**standard, **session.api.headers})
        auth = create_auth(auth_config(session))
        if auth:
            auth(signed)
        self._headers = signed.headers

    def pages(
        self, path: str, params: Mapping[str, Any], *, known_status: int | None = None
    ) -> Generator[RawPage | Pause, None, None]:
        """The pages at ``path``, one request each, and the pauses before a request is sent again.

        Args:
            path: The endpoint's path with the parent's values in it, percent-encoded.
            params: Query parameters, without those of paging.
            known_status: The code that the path answered at the last sync, which is not retried.

        Raises:
            AuthenticationError: The API refused the key.
            ReadError: A page did not come, or not as declared.
        """
        # in dlt's terms, as its paginators change it from page to page
        request = requests.Request("GET", self._base + path, params=dict(params))
        paginator = GuardedPaginator(
            self._endpoint.paginator, limit=self._limit, max_pages=self._session.settings.max_pages
        )
        paginator.init_request(request)
        while True:
            answer = yield from self._session.send(
                Request(str(request.url), request.params, self._headers),
                meter=self._meter,
                select=self._selector.select,
                status_codes=self._endpoint.retry_status_codes,
                known_status=known_status,
            )
            try:
                paginator.update_state(answer)
                paginator.update_request(request)
                yield RawPage(answer.rows, answer.size, paginator)
            finally:
                # by now the rows have been handed on, or nobody wants them
                answer.release()
            if not paginator.has_next_page:
                return


def auth_config(session: ApiSession) -> AuthConfig:
    """The API's auth in dlt's terms, with the key from the settings."""
    declared = session.api.auth
    secret = session.settings.api_key.get_secret_value()
    return cast("AuthConfig", {**declared, "token" if declared["type"] == "bearer" else "api_key": secret})
