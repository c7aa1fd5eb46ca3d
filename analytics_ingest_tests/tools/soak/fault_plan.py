"""The plan of a soak: which fault, kill or jump of a clock comes when. The same seed gives the same plan."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.routes import ROUTES
from analytics_ingest_tests.tools.soak.changing_world import Account

PAGE = "<!DOCTYPE html><html><body><h1>We are working on it</h1></body></html>"
HTML = {"body": PAGE, "content_type": "text/html"}
ABSORBED: dict[str, dict[str, Any]] = {
    "429 with Retry-After": {"status": 429, "headers": {"Retry-After": "1"}},
    "500": {"status": 500},
    "502 with an HTML page": {"status": 502, **HTML},
    "503 with Retry-After": {"status": 503, "headers": {"Retry-After": "2"}},
    "connection reset": {"kind": "reset"},
    "no answer in time": {"kind": "hang", "status": 504, "seconds": 8.0},
    "late answer": {"kind": "delay", "seconds": 3.0},
    "slow body": {"kind": "drip", "seconds": 3.0},
    "connection closed within the body": {"kind": "truncate"},
    "half a body": {"kind": "half"},
    "empty body": {"status": 200, "body": b""},
    "body without rows": {"status": 200, "body": {"message": "try again"}},
}
"""Faults that retries absorb: no run may fail because of them, and none is told."""
READ_TIMEOUT = 5
"""Seconds to wait for the next bytes, shorter than ``no answer in time`` takes and longer than any other answer."""
TOLD: dict[str, dict[str, Any]] = {
    "403": {"status": 403},
    "401 at every endpoint": {"status": 401},
    "404 at a list": {"status": 404},
    "500 until it is told": {"status": 500},
    "connection reset until it is told": {"kind": "reset"},
    "HTML page with 200": {"status": 200, **HTML},
    "malformed JSON": {"status": 200, "body": '{"data": [}, "items": [}], "objects": [}]}'},
}
"""Faults that fail a run, which must be told. They end once a run has failed."""
RUN, DAEMON, CODE_LOCATION, WEBSERVER = "run", "daemon", "code location", "webserver"
SESSIONS = "warehouse sessions"
LARGEST_JUMP = 900
"""Seconds."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What happens at a time of the soak.

    Attributes:
        at: Seconds since the start.
        action: ``absorbed`` and ``told`` plant a fault, ``kill`` ends processes, ``upstream clock`` and ``own clock``
            set a clock forward or back, ``webhook`` lets the chat's webhook refuse messages.
        what: The kind of fault, or the kind of process.
        account: The account whose requests fail.
        endpoint: The endpoint whose requests fail.
        number: How many requests fail in a row, seconds until a kill, seconds of a jump, or seconds of an outage.
    """

    at: float
    action: str
    what: str = ""
    account: str = ""
    endpoint: str = ""
    number: float = 0.0


def path_of(account: Account, endpoint: str) -> str:
    """A regular expression for the requests of an endpoint."""
    path = ROUTES[account.api, endpoint].path
    return f"^{re.sub(r'{[^}]*}', '[^/]+', path)}$"


def fault_of(planned: Planned, account: Account) -> Fault:
    """The sandbox's fault for a planned one."""
    is_absorbed = planned.action == "absorbed"
    options = (ABSORBED if is_absorbed else TOLD)[planned.what]
    path = path_of(account, planned.endpoint) if planned.endpoint else ""
    return Fault(api=account.api, path=path, times=int(planned.number) if is_absorbed else None, **options)


def make_plan(seed: int, seconds: float, accounts: Sequence[Account]) -> list[Planned]:
    """Everything that happens in a soak, in order.

    The daemon, the code location and the webserver are killed in the first third only: after that their memory shows
    whether it grows.

    Args:
        seed: The seed.
        seconds: The length of the soak without its end.
        accounts: The accounts.
    """
    rng = random.Random(f"soak {seed}")
    planned: list[Planned] = []
    # in a short soak everything happens more often
    pace = min(1.0, max(0.1, seconds / 900))

    def times(every: float, *, first: float = 0.0, last: float = seconds) -> Iterator[float]:
        at = first + rng.uniform(0.2, 1.0) * every
        while at < last:
            yield at
            at += rng.uniform(0.5, 1.5) * every

    for account in accounts:
        endpoints = [name for api, name in ROUTES if api == account.api]
        planned += [
            Planned(
                at=at,
                action="absorbed",
                what=rng.choice(list(ABSORBED)),
                account=account.name,
                endpoint=rng.choice(endpoints),
                # two in a row are absorbed as well
                number=rng.choice((1, 1, 2)),
            )
            for at in times(25 * max(pace, 0.3))
        ]
    kinds: list[str] = []
    for at in times(140 * pace, last=seconds * 0.95):
        kinds = kinds or rng.sample(list(TOLD), len(TOLD))
        kind = kinds.pop()
        account = rng.choice(accounts)
        lists = [name for (api, name), route in ROUTES.items() if api == account.api and not route.columns]
        endpoint = "" if kind.startswith("401") else rng.choice(lists)
        planned.append(Planned(at=at, action="told", what=kind, account=account.name, endpoint=endpoint))
    third = seconds / 3
    for what, every, last in (
        (RUN, max(30, 75 * pace), seconds),
        (SESSIONS, 300 * pace, seconds),
        (DAEMON, 240 * pace, third),
        (CODE_LOCATION, 300 * pace, third),
        (WEBSERVER, 500 * pace, third),
    ):
        planned += [
            Planned(at=at, action="kill", what=what, number=round(rng.uniform(0.0, 8.0), 1))
            for at in times(every, last=last)
        ]
    for clock in ("upstream clock", "own clock"):
        for at in times(280 * pace, last=seconds * 0.9):
            jump = rng.choice((-1, 1)) * rng.uniform(30, LARGEST_JUMP)
            back = at + rng.uniform(60, 120) * pace
            planned += [
                Planned(at=at, action=clock, number=round(jump)),
                Planned(at=back, action=clock, number=-round(jump)),
            ]
    planned += [Planned(at=at, action="webhook", number=round(rng.uniform(20, 90) * pace)) for at in times(500 * pace)]
    return sorted(planned, key=lambda each: each.at)


def counts(planned: Sequence[Planned]) -> Counter[str]:
    """The number of planned events by action."""
    return Counter(each.action for each in planned)
