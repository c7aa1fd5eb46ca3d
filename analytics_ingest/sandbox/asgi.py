"""The five APIs and the control endpoints as one ASGI application."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from starlette.applications import Starlette
from starlette.datastructures import Headers

from analytics_ingest.sandbox.control import Control
from analytics_ingest.sandbox.paging import BadPagingError, envelope, parse_page_request
from analytics_ingest.sandbox.request_log import RequestLog
from analytics_ingest.sandbox.responses import (
    RateLimit,
    drip_response,
    error_response,
    fault_response,
    json_response,
    send_response,
)
from analytics_ingest.sandbox.routes import APIS, BASE_PATHS, BEARER_APIS, Route, Router
from analytics_ingest.sandbox.row_formats import conversion

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from analytics_ingest.sandbox.options import Options
    from analytics_ingest.sandbox.request_log import RequestRecord
    from analytics_ingest.sandbox.world import World


class ApiApp:
    """One API: authentication, rate limit, faults and rows."""

    def __init__(self, api: str, world: World, options: Options, request_log: RequestLog) -> None:
        self.api = api
        self._world = world
        self._options = options
        self._request_log = request_log
        self._router = Router(api)
        self._rate_limit = RateLimit()
        self._base = BASE_PATHS[api].rstrip("/")
        self._depth = self._base.count("/")
        self._reads: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Responds to one request, and logs it."""
        raw = scope["raw_path"].decode("latin-1")
        parts = raw.split("/")[1:]
        inside = raw == self._base or raw.startswith(f"{self._base}/")
        found = self._router.find(tuple(unquote(part) for part in parts[self._depth :])) if inside else None
        record = self._request_log.start(
            api=self.api,
            method=scope["method"],
            path=raw,
            query=scope["query_string"].decode("latin-1"),
            endpoint=found[0].name if found else None,
        )
        try:
            await self._respond(record, found, scope, receive, send)
        finally:
            self._request_log.finish(record)

    async def _respond(
        self,
        record: RequestRecord,
        found: tuple[Route, tuple[str, ...]] | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        options = self._options
        if options.latency:
            await asyncio.sleep(options.latency)
        refusal = self._unauthorised(Headers(scope=scope)) or self._rate_limit.refuse(options)
        if refusal is not None:
            await send_response(record, refusal, send)
            return
        below = record.path.removeprefix(self._base) or "/"
        fault = options.fault_for(self.api, below)
        late = fault is not None and fault.kind in {"hang", "delay"}
        if fault is not None and late and not await _pause(fault.seconds, receive):
            return
        if fault is not None and fault.kind == "reset":
            scope["sandbox.transport"].abort()
            await _disconnected(receive)
        elif fault is not None and fault.kind in {"status", "hang"}:
            await send_response(record, fault_response(fault), send)
        else:
            response = self._resource(record, found)
            half = len(response.body) // 2
            if fault is not None and fault.kind == "truncate":
                await send_response(record, response, send, part=half)
                scope["sandbox.transport"].close()
                await _disconnected(receive)
                return
            if fault is not None and fault.kind == "half":
                response.body = response.body[:half]
                response.headers["content-length"] = str(half)
            if fault is not None and fault.kind == "drip":
                await drip_response(record, response, send, seconds=fault.seconds)
                return
            await send_response(record, response, send)

    def _unauthorised(self, headers: Headers) -> Response | None:
        """The 401, which repeats the key that came as some real servers do; ``None`` if the key is right."""
        key = self._options.api_keys[self.api]
        if self.api in BEARER_APIS:
            given, right = headers.get("authorization"), f"Bearer {key}"
        else:
            given, right = headers.get("api_key"), key
        if given == right:
            return None
        return error_response(401, f"invalid API key: {given}" if given else "no API key")

    def _resource(self, record: RequestRecord, found: tuple[Route, tuple[str, ...]] | None) -> Response:
        if found is None:
            return error_response(404, f"no such path: {record.path}")
        if record.method != "GET":
            return error_response(405, f"method not allowed: {record.method}", headers={"allow": "GET"})
        route, values = found
        stored = self._world.store[self.api][route.name]
        if values:
            stored = stored.get(values)
            if stored is None:
                return error_response(404, f"not found: {'/'.join(values)}")
        query = dict(parse_qsl(record.query, keep_blank_values=True))
        try:
            requested = parse_page_request(route, query, record.path, self._options)
        except BadPagingError as error:
            return error_response(400, str(error))
        convert = conversion(route.name, self._options)
        if route.single:
            row = stored if values else stored[0]
            row = convert(row) if convert else row
            return json_response(row if route.rows == "$" else {route.rows: row})
        ordered = self._ordered(stored, record.path, first=requested.start == 0)
        start = 0 if self._options.ignore_offset and route.paging != "cursor" else requested.start
        rows = ordered if requested.size is None else ordered[start : start + requested.size]
        if convert:
            rows = [convert(row) for row in rows]
        return json_response(
            envelope(route, rows, requested=requested, total=len(ordered), path=record.path, options=self._options)
        )

    def _ordered(self, rows: list[Any], path: str, *, first: bool) -> list[Any]:
        """The rows in the order of the options; ``shuffled`` shuffles anew at each first page."""
        if self._options.order == "stable":
            return rows
        if self._options.order == "updated_desc":
            # without the Z, a whole second comes before its fractions
            return sorted(rows, key=lambda row: (row.get("updated_at") or "").rstrip("Z"), reverse=True)
        if first or self._options.order == "restless":
            self._reads[path] = self._reads.get(path, 0) + 1
        mixed = list(rows)
        random.Random(f"{path} {self._reads.get(path, 0)}").shuffle(mixed)
        return mixed


async def _pause(seconds: float, receive: Receive) -> bool:
    """Waits, and gives whether the client is still connected."""
    disconnected = asyncio.ensure_future(_disconnected(receive))
    done, _ = await asyncio.wait({disconnected}, timeout=seconds)
    disconnected.cancel()
    return not done


async def _disconnected(receive: Receive) -> None:
    """Waits until the connection is closed: uvicorn sends a 500 if the application ends before that."""
    while (await receive())["type"] != "http.disconnect":
        pass


class SandboxApp(Starlette):
    """The APIs below their base paths, control endpoints below ``/_sandbox``.

    Starlette's routing would decode ``%2F`` in a path value to a separator, so the APIs are served before it. The
    faults that close connections need uvicorn.

    Attributes:
        world: The rows.
        options: How the server behaves.
        request_log: The requests that reached an API.
    """

    def __init__(self, world: World, options: Options) -> None:
        self.world = world
        self.options = options
        self.request_log = RequestLog()
        self._apis: dict[str, Callable[[Scope, Receive, Send], Awaitable[None]]] = {
            api: ApiApp(api, world, options, self.request_log) for api in APIS
        }
        super().__init__(routes=Control(world, options, self.request_log).routes())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request to its API, or to the control endpoints."""
        if scope["type"] == "http":
            api = self._apis.get(scope["raw_path"].decode("latin-1").lstrip("/").split("/", 1)[0])
            if api is not None:
                # uvicorn gives no transport, but ``send`` is a method of the object that has it
                scope["sandbox.transport"] = getattr(getattr(send, "__self__", None), "transport", None)
                await api(scope, receive, send)
                return
        await super().__call__(scope, receive, send)
