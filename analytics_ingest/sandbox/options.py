"""How the server behaves on purpose: keys, latency, rate limits, formats and faults.

``Options`` are read anew at each request, so that a test can change them while the server runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from analytics_ingest.sandbox.routes import APIS

if TYPE_CHECKING:
    from collections.abc import Mapping

RateHeaders = Literal["retry-after", "retry-after-date", "x-ratelimit-reset", "x-ratelimit-reset-delta", "none"]
Order = Literal["stable", "shuffled", "restless", "updated_desc"]
Totals = Literal["right", "absent", "null", "low", "high"]
Timestamps = Literal["iso", "offset", "epoch_ms", "epoch_s"]
FaultKind = Literal["status", "reset", "hang", "truncate", "half", "delay", "drip"]


def _default_keys() -> dict[str, str]:
    return {api: f"sandbox-{api}-key" for api in APIS}


@dataclass(kw_only=True)
class Fault:
    """A failure of the requests of one API whose path matches.

    Attributes:
        api: The API.
        path: A regular expression that is searched in the request's path below the API's base URL, percent-encoded
            as sent and with a leading slash (``/v1/gates``, ``/incidents``).
        kind: ``status``: the response has ``status``, ``body`` and ``headers``. ``hang``: the same after ``seconds``.
            ``delay``: the right response after ``seconds``. ``drip``: the right response in ten pieces, spread over
            ``seconds``. ``reset``: the connection is closed without a response.
            ``truncate``: the headers announce the whole right response, and the connection is closed half-way.
            ``half``: the first half of the right response, as if it were whole.
        status: The HTTP status.
        times: How many matching requests fail after those of ``skip``; ``None`` for all.
        skip: How many matching requests get the right response before the first one fails.
        body: The body; a dictionary is sent as JSON, ``None`` is a JSON error.
        content_type: The header ``content-type`` of ``body``.
        headers: More headers.
        seconds: Seconds to wait, for ``hang`` and ``delay``, or to send, for ``drip``.
        hits: Requests that failed so far.
        matched: Requests that matched so far.
    """

    api: str
    path: str = ""
    kind: FaultKind = "status"
    status: int = 500
    times: int | None = None
    skip: int = 0
    body: bytes | str | dict[str, Any] | None = None
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 1.0
    hits: int = field(default=0, init=False)
    matched: int = field(default=0, init=False)

    def applies(self, api: str, path: str) -> bool:
        """Counts a request, and gives whether it fails."""
        if api != self.api or not re.search(self.path, path):
            return False
        self.matched += 1
        if self.matched <= self.skip or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True


@dataclass(kw_only=True)
class Options:
    """How the server behaves; the defaults are those of a healthy server.

    Attributes:
        api_keys: The key of each API.
        latency: Seconds before each response.
        rate_limit: Requests that each API allows in a window; beyond it the response is 429. ``None`` for no limit.
        rate_window: Seconds of a window.
        rate_headers: The headers in which a 429 states the time to wait.
        order: The order of rows: ``stable``: as stored. ``shuffled``: another one at each full read. ``restless``:
            another one at each request. ``updated_desc``: newest first.
        page_cap: The largest page size, also if a request has a larger one; ``None`` for the API's own.
        totals: What the envelopes state as the number of rows.
        slug_prefix: Whether project slugs start with ``gh/``.
        bare_values: Whether the rows of lists of ids and of keys are bare strings.
        ignore_offset: Whether each page (by offset or number) is the first one.
        repeat_cursor: Whether each page has the first page's cursor as the next one.
        timestamps: The format of every timestamp in the rows; epoch seconds have decimals where the row has them.
        faults: Failures; the first one that applies to a request decides its response.
    """

    api_keys: dict[str, str] = field(default_factory=_default_keys)
    latency: float = 0.0
    rate_limit: int | None = None
    rate_window: float = 1.0
    rate_headers: RateHeaders = "retry-after"
    order: Order = "stable"
    page_cap: int | None = None
    totals: Totals = "right"
    slug_prefix: bool = True
    bare_values: bool = False
    ignore_offset: bool = False
    repeat_cursor: bool = False
    timestamps: Timestamps = "iso"
    faults: list[Fault] = field(default_factory=list)

    def simple(self) -> dict[str, Any]:
        """The options that are plain values: all but the keys and the faults."""
        names = {each.name for each in fields(self)} - {"api_keys", "faults"}
        return {name: getattr(self, name) for name in sorted(names)}

    def update(self, values: Mapping[str, Any]) -> None:
        """Sets plain options by name, all or none.

        Raises:
            ValueError: A name or a value is wrong.
        """
        kinds = get_type_hints(Options)
        for name, value in values.items():
            if name not in self.simple():
                raise ValueError(f"unknown option: {name}")
            if not _fits(kinds[name], value):
                raise ValueError(f"wrong value for option {name}: {value!r}")
        for name, value in values.items():
            setattr(self, name, value)

    def fault_for(self, api: str, path: str) -> Fault | None:
        """The first fault that applies to a request, or ``None``."""
        return next((fault for fault in self.faults if fault.applies(api, path)), None)


def _fits(kind: Any, value: Any) -> bool:
    """Whether a JSON value suits the annotation of a plain option."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is bool:
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind is float:
        return isinstance(value, (int, float)) and value >= 0
    return value is None or (isinstance(value, int) and value > 0)
