"""Asking one endpoint: dlt's ``RESTClient`` over the API's session, with the paginator and selector as declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from dlt.sources.helpers.rest_client.client import RESTClient
from dlt.sources.rest_api.config_setup import create_auth

from analytics_ingest.extract.paginator import GuardedPaginator
from analytics_ingest.extract.selector import RowSelector
from analytics_ingest.extract.session import EndpointSession

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dlt.sources.helpers.rest_client.client import PageData
    from dlt.sources.rest_api.typing import AuthConfig

    from analytics_ingest.apis import Endpoint
    from analytics_ingest.extract.session import ApiSession, Meter


class EndpointClient:
    """One endpoint, ready to be asked, from several threads at once if need be."""

    def __init__(self, endpoint: Endpoint, session: ApiSession, *, limit: int | None, meter: Meter) -> None:
        """Prepares the asking of an endpoint; sends nothing.

        Args:
            endpoint: What to ask for.
            session: The API's session.
            limit: Rows to ask for per page; ``None`` if the API has no such parameter.
            meter: Counts requests, retries and seconds waited.
        """
        self._endpoint = endpoint
        self._limit = limit
        self._max_pages = session.settings.max_pages
        given = endpoint.parents.params if endpoint.parents else ()
        own_key = tuple(name for name in endpoint.primary_key if name not in given)
        self._selector = RowSelector(endpoint.data_selector, record_key=own_key, otherwise=endpoint.data_selector_else)
        self._client = RESTClient(
            base_url=str(session.settings.base_url),
            auth=create_auth(auth_config(session)),
            session=EndpointSession(session, meter=meter, check=self._check, status_codes=endpoint.retry_status_codes),
        )

    def pages(self, path: str, params: Mapping[str, Any]) -> Iterator[PageData[Any]]:
        """The pages at ``path``, one request each; the ``paginator`` of each is the ``GuardedPaginator``.

        Args:
            path: The endpoint's path with the parent's values in it, percent-encoded.
            params: Query parameters, without those of paging.

        Raises:
            AuthenticationError: The API refused the key.
            ReadError: A page did not come, or not as declared.
        """
        return self._client.paginate(
            path,
            params=dict(params),
            paginator=GuardedPaginator(
                self._endpoint.paginator, self._selector, limit=self._limit, max_pages=self._max_pages
            ),
            data_selector=self._selector,
            # the session judges answers itself
            hooks={"response": []},
        )

    def _check(self, body: Any) -> None:
        self._selector.page(body)


def auth_config(session: ApiSession) -> AuthConfig:
    """The API's auth in dlt's terms, with the key from the settings."""
    declared = session.api.auth
    secret = session.settings.api_key.get_secret_value()
    return cast("AuthConfig", {**declared, "token" if declared["type"] == "bearer" else "api_key": secret})
