"""The five APIs and the control endpoints as one ASGI application."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from starlette.applications import Starlette
from starlette.datastructures import Headers

from analytics_ingest.sandbox import paging
from analytics_ingest.sandbox.answers import Answer, RateLimit, error_answer, fault_answer, send_answer
from analytics_ingest.sandbox.control import Control
from analytics_ingest.sandbox.dialects import conversion
from analytics_ingest.sandbox.journal import Journal
from analytics_ingest.sandbox.options import Options
from analytics_ingest.sandbox.routes import APIS, BASE_PATHS, BEARER_APIS, Route, Router

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from analytics_ingest.sandbox.journal import Record
    from analytics_ingest.sandbox.world import World


class _Api:
    """One API: authentication, limits, faults, and the rows."""

    def __init__(self, api: str, world: World, options: Options, journal: Journal) -> None:
        self.api = api
        self._world = world
        self._options = options
        self._journal = journal
        self._router = Router(api)
        self._limit = RateLimit()
        self._base = BASE_PATHS[api].rstrip("/")
        self._depth = self._base.count("/")
        self._reads: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and record it."""
        raw = scope["raw_path"].decode("latin-1")
        parts = raw.split("/")[1:]
        inside = raw == self._base or raw.startswith(f"{self._base}/")
        found = self._router.find(tuple(unquote(part) for part in parts[self._depth :])) if inside else None
        record = self._journal.begin(
            api=self.api,
            method=scope["method"],
            path=raw,
            query=scope["query_string"].decode("latin-1"),
            endpoint=found[0].name if found else None,
        )
        try:
            await self._answer(record, found, scope, receive, send)
        finally:
            self._journal.end(record)

    async def _answer(
        self,
        record: Record,
        found: tuple[Route, tuple[str, ...]] | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        options = self._options
        if options.latency:
            await asyncio.sleep(options.latency)
        refusal = self._unauthorised(Headers(scope=scope)) or self._limit.refuse(options)
        if refusal is not None:
            await send_answer(record, refusal, send)
            return
        below = record.path.removeprefix(self._base) or "/"
        fault = options.strike(self.api, below)
        late = fault is not None and fault.kind in {"hang", "delay"}
        if fault is not None and late and not await _pause(fault.seconds, receive):
            return
        if fault is not None and fault.kind == "reset":
            scope["sandbox.transport"].abort()
            await _gone(receive)
        elif fault is not None and fault.kind in {"status", "hang"}:
            await send_answer(record, fault_answer(fault), send)
        else:
            answer = self._resource(record, found)
            if fault is not None and fault.kind == "truncate":
                await send_answer(record, answer, send, part=answer.half)
                scope["sandbox.transport"].close()
                await _gone(receive)
                return
            if fault is not None and fault.kind == "half":
                answer.body = answer.body[: answer.half]
            await send_answer(record, answer, send)

    def _unauthorised(self, headers: Headers) -> Answer | None:
        """Give the 401, which repeats the key that came as some real servers do, unless the key is right."""
        key = self._options.api_keys[self.api]
        if self.api in BEARER_APIS:
            given, right = headers.get("authorization"), f"Bearer {key}"
        else:
            given, right = headers.get("api_key"), key
        if given == right:
            return None
        return error_answer(401, f"invalid API key: {given}" if given else "no API key")

    def _resource(self, record: Record, found: tuple[Route, tuple[str, ...]] | None) -> Answer:
        if found is None:
            return error_answer(404, f"no such path: {record.path}")
        if record.method != "GET":
            answer = error_answer(405, f"method not allowed: {record.method}")
            answer.headers["allow"] = "GET"
            return answer
        route, values = found
        stored = self._world.store[self.api][route.name]
        if values:
            stored = stored.get(values)
            if stored is None:
                return error_answer(404, f"not found: {'/'.join(values)}")
        try:
            asked = paging.window(
                route, dict(parse_qsl(record.query, keep_blank_values=True)), record.path, self._options
            )
        except paging.BadPagingError as error:
            return error_answer(400, str(error))
        convert = conversion(route.name, self._options)
        if route.single:
            row = stored if values else stored[0]
            row = convert(row) if convert else row
            return Answer(200, row if route.rows == "$" else {route.rows: row})
        ordered = self._ordered(stored, record.path, first=asked.start == 0)
        start = 0 if self._options.ignore_offset and route.paging != "cursor" else asked.start
        rows = ordered if asked.size is None else ordered[start : start + asked.size]
        if convert:
            rows = [convert(row) for row in rows]
        return Answer(
            200,
            paging.envelope(route, rows, asked=asked, total=len(ordered), path=record.path, options=self._options),
        )

    def _ordered(self, rows: list[Any], path: str, *, first: bool) -> list[Any]:
        """Give the rows in the order of the options; `shuffled` shuffles anew at each first page."""
        if self._options.order == "stable":
            return rows
        if self._options.order == "updated_desc":
            # Without the Z, a whole second comes before its fractions.
            return sorted(rows, key=lambda row: (row.get("updated_at") or "").rstrip("Z"), reverse=True)
        if first or self._options.order == "restless":
            self._reads[path] = self._reads.get(path, 0) + 1
        mixed = list(rows)
        random.Random(f"{path} {self._reads.get(path, 0)}").shuffle(mixed)
        return mixed


async def _pause(seconds: float, receive: Receive) -> bool:
    """Wait, and tell whether the client is still there."""
    gone = asyncio.ensure_future(_gone(receive))
    done, _ = await asyncio.wait({gone}, timeout=seconds)
    gone.cancel()
    return not done


async def _gone(receive: Receive) -> None:
    """Wait until the connection is closed; the server answers 500 if it has not noticed before."""
    while (await receive())["type"] != "http.disconnect":
        pass


class SandboxApp(Starlette):
    """The APIs below their base paths, control endpoints below `/_sandbox`.

    The APIs are served before Starlette's routing, which would decode `%2F` in a path value to a separator.
    `world`, `options` and `journal` are those that requests use and fill.
    """

    def __init__(self, world: World, options: Options) -> None:
        self.world = world
        self.options = options
        self.journal = Journal()
        self._apis: dict[str, Callable[[Scope, Receive, Send], Awaitable[None]]] = {
            api: _Api(api, world, options, self.journal) for api in APIS
        }
        super().__init__(routes=Control(world, options, self.journal).routes())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of an API, or leave it to the control endpoints."""
        if scope["type"] == "http":
            api = self._apis.get(scope["raw_path"].decode("latin-1").lstrip("/").split("/", 1)[0])
            if api is not None:
                # uvicorn hands out no transport, but `send` is a method of the object that has it.
                scope["sandbox.transport"] = getattr(getattr(send, "__self__", None), "transport", None)
                await api(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


def create_app(world: World, options: Options | None = None) -> SandboxApp:
    """Give the application that serves a world's rows; the faults that close connections need uvicorn."""
    return SandboxApp(world, options or Options())
