"""The control endpoints: what was asked of the APIs, what they hold, how they behave. They need no key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import Response
from starlette.routing import Route

from analytics_ingest.sandbox.routes import BASE_PATHS, ROUTES

if TYPE_CHECKING:
    from starlette.requests import Request

    from analytics_ingest.sandbox.journal import Journal
    from analytics_ingest.sandbox.options import Options
    from analytics_ingest.sandbox.world import World

_MOST_HOURS = 100_000


class Control:
    """Answers `/` and what lies below `/_sandbox`, over one world, its options and its record of requests."""

    def __init__(self, world: World, options: Options, journal: Journal) -> None:
        self._world = world
        self._options = options
        self._journal = journal

    def routes(self) -> list[Route]:
        """Give the routes of the control endpoints."""
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
        return _json(
            {
                "what": "a sandbox of five REST APIs with made-up data",
                "now": self._world.now.isoformat(),
                "base_urls": {api: root + path for api, path in BASE_PATHS.items()},
            }
        )

    async def _health(self, _: Request) -> Response:
        return _json({"status": "ok"})

    async def _requests(self, _: Request) -> Response:
        journal = self._journal
        return _json(
            {
                "total": len(journal),
                "endpoints": journal.counts(),
                "max_in_flight": dict(journal.max_in_flight),
            }
        )

    async def _advance(self, request: Request) -> Response:
        try:
            hours, seed = _step(await _body(request))
        except ValueError as error:
            return _json({"error": str(error)}, 400)
        changes = self._world.advance(hours, seed=seed)
        return _json({"changes": changes.as_dict(), "now": self._world.now.isoformat()})

    async def _settings(self, request: Request) -> Response:
        if request.method == "POST":
            try:
                self._options.update(await _body(request))
            except ValueError as error:
                return _json({"error": str(error)}, 400)
        return _json(self._options.simple())

    async def _expected(self, request: Request) -> Response:
        api, endpoint = request.path_params["api"], request.path_params["endpoint"]
        if (api, endpoint) not in ROUTES:
            return _json({"error": f"no such endpoint: {api}/{endpoint}"}, 404)
        return _json(self._world.expected(api, endpoint, slug_prefix=self._options.slug_prefix))


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")


async def _body(request: Request) -> dict[str, Any]:
    """Read a JSON object; an empty body is an empty one. Raises `ValueError` for anything else."""
    text = await request.body()
    content = orjson.loads(text) if text else {}
    if not isinstance(content, dict):
        raise ValueError("the body must be a JSON object")  # noqa: TRY004
    return content


def _step(body: dict[str, Any]) -> tuple[float, int | None]:
    """Read by how many hours to advance, and with which seed; raises `ValueError` for wrong values."""
    hours, seed = body.get("hours", 24), body.get("seed")
    if type(hours) in {int, float} and 0 < hours <= _MOST_HOURS and type(seed) in {int, type(None)}:
        return hours, seed
    raise ValueError(f"hours must be a number above 0 and at most {_MOST_HOURS}, seed a whole number")
