"""The control endpoints: the requests so far, the expected rows, the options, and the clock. They need no key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from starlette.routing import Route

from analytics_ingest.sandbox.responses import json_response
from analytics_ingest.sandbox.routes import BASE_PATHS, ROUTES

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from analytics_ingest.sandbox.options import Options
    from analytics_ingest.sandbox.request_log import RequestLog
    from analytics_ingest.sandbox.world import World

MAX_HOURS = 100_000
"""The most hours of one request to ``/_sandbox/advance``."""


class Control:
    """Serves ``/`` and the paths below ``/_sandbox``, for one world, its options and its log of requests."""

    def __init__(self, world: World, options: Options, request_log: RequestLog) -> None:
        self._world = world
        self._options = options
        self._request_log = request_log

    def routes(self) -> list[Route]:
        """The routes of the control endpoints."""
        return [
            Route("/", self._about),
            Route("/_sandbox/health", self._health),
            Route("/_sandbox/requests", self._requests),
            Route("/_sandbox/advance", self._advance, methods=["POST"]),
            Route("/_sandbox/options", self._settings, methods=["GET", "POST"]),
            Route("/_sandbox/expected/{api}/{endpoint}", self._expected),
        ]

    async def _about(self, request: Request) -> Response:
        root = str(request.base_url).rstrip("/")
        return json_response(
            {
                "what": "a sandbox of five REST APIs with made-up data",
                "now": self._world.now.isoformat(),
                "base_urls": {api: root + path for api, path in BASE_PATHS.items()},
            }
        )

    async def _health(self, _: Request) -> Response:
        return json_response({"status": "ok"})

    async def _requests(self, _: Request) -> Response:
        return json_response(
            {
                "total": len(self._request_log),
                "endpoints": self._request_log.counts(),
                "max_in_flight": dict(self._request_log.max_in_flight),
            }
        )

    async def _advance(self, request: Request) -> Response:
        try:
            hours, seed = _advance_parameters(await _body(request))
        except ValueError as error:
            return json_response({"error": str(error)}, 400)
        changes = self._world.advance(hours, seed=seed)
        return json_response({"changes": changes.as_dict(), "now": self._world.now.isoformat()})

    async def _settings(self, request: Request) -> Response:
        if request.method == "POST":
            try:
                self._options.update(await _body(request))
            except ValueError as error:
                return json_response({"error": str(error)}, 400)
        return json_response(self._options.simple())

    async def _expected(self, request: Request) -> Response:
        api, endpoint = request.path_params["api"], request.path_params["endpoint"]
        if (api, endpoint) not in ROUTES:
            return json_response({"error": f"no such endpoint: {api}/{endpoint}"}, 404)
        return json_response(self._world.expected(api, endpoint, slug_prefix=self._options.slug_prefix))


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body; an empty body is an empty object.

    Raises:
        ValueError: It is anything else.
    """
    text = await request.body()
    content = orjson.loads(text) if text else {}
    if not isinstance(content, dict):
        raise ValueError("the body must be a JSON object")  # noqa: TRY004
    return content


def _advance_parameters(body: dict[str, Any]) -> tuple[float, int | None]:
    """The hours to advance by, and the seed.

    Raises:
        ValueError: A value is wrong.
    """
    hours, seed = body.get("hours", 24), body.get("seed")
    if type(hours) in {int, float} and 0 < hours <= MAX_HOURS and type(seed) in {int, type(None)}:
        return hours, seed
    raise ValueError(f"hours must be a number above 0 and at most {MAX_HOURS}, seed a whole number")
