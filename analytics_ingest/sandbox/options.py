"""What the server does on purpose: keys, speed, limits, dialects and faults.

An `Options` object is read anew at each request, so a test may change it while the server runs.
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
FaultKind = Literal["status", "reset", "hang", "truncate", "half", "delay"]


def _default_keys() -> dict[str, str]:
    return {api: f"sandbox-{api}-key" for api in APIS}


@dataclass(kw_only=True)
class Fault:
    """What goes wrong with the requests of one API whose path matches.

    `path` is a regular expression that is searched in the request's path below the API's base URL,
    percent-encoded as it was sent and with a leading slash (`/v1/gates`, `/incidents`). The first `skip`
    matching requests are answered rightly, the next `times` (`None`: all) are hit. `hits` counts the
    requests that were hit.

    Kinds: `status` answers `status` with `body` (`None`: a JSON error; a dict: as JSON) and `headers`;
    `hang` does the same after `seconds`; `delay` gives the right answer after `seconds`; `reset` closes the
    connection without an answer; `truncate` announces the whole right answer and closes the connection
    half-way; `half` gives the first half of the right answer as if it were whole.
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
    seen: int = field(default=0, init=False)

    def strikes(self, api: str, path: str) -> bool:
        """Count a request and tell whether it is hit."""
        if api != self.api or not re.search(self.path, path):
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True


@dataclass(kw_only=True)
class Options:
    """How the server behaves; the defaults are those of a healthy server.

    `latency` is in seconds a request. `rate_limit` requests are allowed in each window of `rate_window`
    seconds, per API; beyond it the answer is 429 with the time to wait in the dialect of `rate_headers`.
    `order` is the order of rows: as stored, another one at each full read, another one at each
    request, or newest first. `page_cap` caps
    the page size below what was asked. `totals` says what the envelopes state as the number of rows.
    `slug_prefix` puts `gh/` before project slugs. `bare_values` makes the rows of id and key lists bare
    strings. `ignore_offset` answers each page (by offset or number) with the first one; `repeat_cursor`
    hands out the first page's cursor for ever. `timestamps` is the form of every timestamp in the rows;
    epoch seconds have decimals where the row has them.
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
        """Give the options that are plain values: all but the keys and the faults."""
        names = {each.name for each in fields(self)} - {"api_keys", "faults"}
        return {name: getattr(self, name) for name in sorted(names)}

    def update(self, values: Mapping[str, Any]) -> None:
        """Set plain options by name, all or none; raises `ValueError` for a wrong name or value."""
        kinds = get_type_hints(Options)
        for name, value in values.items():
            if name not in self.simple():
                raise ValueError(f"unknown option: {name}")
            if not _fits(kinds[name], value):
                raise ValueError(f"wrong value for option {name}: {value!r}")
        for name, value in values.items():
            setattr(self, name, value)

    def strike(self, api: str, path: str) -> Fault | None:
        """Give the first fault that hits this request, or `None`."""
        return next((fault for fault in self.faults if fault.strikes(api, path)), None)


def _fits(kind: Any, value: Any) -> bool:
    """Tell whether a JSON value suits the annotation of a plain option."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is bool:
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind is float:
        return isinstance(value, (int, float)) and value >= 0
    return value is None or (isinstance(value, int) and value > 0)
