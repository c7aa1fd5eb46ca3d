"""``analytics-ingest changes``: prints what changed in the configuration of the APIs, a line per change."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from analytics_ingest.cli.lines import FAILED, NEITHER, Module, Names, console_log, declared_apis, line, print_error
from analytics_ingest.errors import IngestError, printable
from analytics_ingest.json_text import json_text
from analytics_ingest.terminal import open_console, symbol
from analytics_ingest.timestamps import to_utc

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from analytics_ingest.apis.model import Api
    from analytics_ingest.diagnostics.recorded_changes import Incident
    from analytics_ingest.warehouse.table_queries import Change

Since = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help="As long ago: 90s, 30m, 2h, 3d or 1w; 24h unless another way is chosen."),
]
From = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="From a date or time, such as 2026-01-31T12:00 (UTC).")
]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Up to a date or time, with --from.")]
BeforeIncident = Annotated[
    str | None,
    typer.Option(metavar="ID", help="The 24 hours before an incident started: its id, its number or its slug."),
]
DEFAULT = "24h"
BEFORE_INCIDENT = timedelta(hours=24)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
DURATION = re.compile(r"(?P<number>[1-9][0-9]{0,8})(?P<unit>[smhdw])")
UNRECORDED = "no sync has recorded changes yet"
OPERATIONS = ("insert", "update", "delete", "restore")
VALUE_LENGTH = 40
"""Characters of a value that a line shows."""
CONTEXT_LENGTH = 8
"""Characters that a line shows of a long value before the first that differs."""
NAME_LENGTH = 80
"""Characters of a key or a name that a line shows."""
MAX_FIELDS = 6
"""Changed fields that a line shows."""


def changes(
    apis: Names = None,
    since: Since = None,
    from_: From = None,
    to: To = None,
    before_incident: BeforeIncident = None,
    module: Module = None,
) -> None:
    """Prints what changed in the configuration of the APIs, a line per change, the oldest first. Reads no API.

    A change has the time that the vendor gives it, if that lies between two syncs; else the time of the sync that saw
    it. Times are in UTC.

    The exit code is 1 if an account could not be read, if an account that is named has no changes recorded yet, if
    nothing was read, or if no table has the incident.
    """
    start, end = _window(since, from_, to, before_incident)
    # dlt takes a second to import: not for --help
    from analytics_ingest.diagnostics.recorded_changes import has_histories, read_changes  # noqa: PLC0415
    from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError  # noqa: PLC0415

    console, log = open_console(highlight=False), console_log("changes", open_console(stderr=True))
    chosen = declared_apis(apis, module)
    if before_incident:
        incident = _incident(before_incident, chosen, log=log)
        start, end = incident.started_at - BEFORE_INCIDENT, incident.started_at
        console.print(Text(_described(incident), "bold"), soft_wrap=True)
    found: list[Change] = []
    failures: dict[str, str] = {}
    unread: dict[str, str] = {}
    for name, api in chosen.items():
        try:
            read = read_changes(api, since=start, until=end, log=log)
            if read is None:
                unread[name] = UNRECORDED if has_histories(api) else "no endpoint has a history"
        except (IngestError, WarehouseError, LockTimeoutError) as error:
            failures[name] = str(error)
            continue
        found += read or []
    for change in sorted(found, key=lambda each: each.at):
        # a line is a change: the terminal wraps it
        console.print(_line(change, chosen.get(change.api)), soft_wrap=True)
    for name, reason in failures.items():
        console.print(line(FAILED, name, reason))
    for name, reason in unread.items():
        console.print(line(NEITHER, name, reason))
    counts = Counter(change.operation for change in found)
    bounds = f"since {utc_time(start)}" if end is None else f"from {utc_time(start)} to {utc_time(end)}"
    console.print(f"{', '.join(f'{counts[name]} {name}' for name in OPERATIONS)} {bounds}")
    if before_incident and end:
        console.print(
            "A change to which the vendor gives no time has that of the next sync, which may be after the start:\n"
            f"analytics-ingest changes --from {utc_time(end)} --to {utc_time(end + timedelta(hours=1))}",
            soft_wrap=True,
        )
    nothing = len(chosen) == len(unread) + len(failures)
    missing = [name for name, reason in unread.items() if nothing or (name in (apis or ()) and reason == UNRECORDED)]
    if missing:
        console.print(f"Nothing was read of {', '.join(missing)}.", soft_wrap=True)
    raise typer.Exit(1 if failures or missing else 0)


def _window(
    since: str | None, from_: str | None, to: str | None, before_incident: str | None
) -> tuple[datetime, datetime | None]:
    """The start and the end of the options' window; an open end is ``None``."""
    ways = [since is not None, from_ is not None or to is not None, before_incident is not None]
    if sum(ways) > 1:
        raise typer.BadParameter("choose one of --since, --from with --to, and --before-incident")
    if to is not None and from_ is None:
        raise typer.BadParameter("it needs --from", param_hint="--to")
    if from_ is None:
        return _ago(DEFAULT if since is None else since), None
    start, end = _time(from_, "--from"), _time(to, "--to") if to is not None else None
    if end is not None and start >= end:
        raise typer.BadParameter(f"{from_} is not earlier than --to, {to}", param_hint="--from")
    return start, end


def _ago(text: str) -> datetime:
    """The time that is as long ago as a text says."""
    if match := DURATION.fullmatch(text):
        # a time before the year 1 is none
        with suppress(OverflowError):
            return datetime.now(UTC) - timedelta(**{UNITS[match["unit"]]: int(match["number"])})
    raise typer.BadParameter(
        f"{text!r} is no duration: write 90s, 30m, 2h, 3d or 1w (seconds, minutes, hours, days, weeks)",
        param_hint="--since",
    )


def _time(text: str, option: str) -> datetime:
    moment = to_utc(text)
    if not isinstance(moment, datetime):
        raise typer.BadParameter(
            f"{text!r} is no date or time: write 2026-01-31 or 2026-01-31T12:00:00Z", param_hint=option
        )
    return moment


def _incident(text: str, chosen: Mapping[str, Api], *, log: logging.Logger) -> Incident:
    """The incident, looked for in the chosen accounts that have incidents; in all of these if none is chosen."""
    from analytics_ingest.diagnostics.recorded_changes import (  # noqa: PLC0415
        INCIDENT_API,
        AmbiguousIncidentError,
        find_incident,
    )
    from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError  # noqa: PLC0415

    of_chosen = [api for api in chosen.values() if api.registered_name == INCIDENT_API]
    # a module's accounts are declared by now
    apis = of_chosen or declared_apis(None).values()
    try:
        return find_incident(apis, text, log=log)
    except AmbiguousIncidentError as error:
        raise typer.BadParameter(printable(str(error)), param_hint="--before-incident") from None
    except (IngestError, WarehouseError, LockTimeoutError) as error:
        print_error(printable(str(error)))
        raise typer.Exit(1) from None


def _described(incident: Incident) -> str:
    title = f" {json_text(incident.title)}" if incident.title else ""
    return printable(f"{incident.account} {incident.id}{title} started at {utc_time(incident.started_at)}")


def _line(change: Change, api: Api | None) -> Text:
    """A change on one line, without markup: when, which row, what happened, and which fields changed."""
    parts = [f"{change.api}/{change.endpoint}", row_name(change), change.operation, described_fields(change, api)]
    return Text.assemble((utc_time(change.at), "dim"), *(f"  {printable(part)}" for part in parts if part))


def row_name(change: Change) -> str:
    """The key of a changed row, after its name if it has another one."""
    key = _shortened(change.key, NAME_LENGTH)
    if not change.name or change.name == change.key:
        return key
    return f"{_shortened(change.name, NAME_LENGTH)} ({key})"


def described_fields(change: Change, api: Api | None = None) -> str:
    """The changed fields with their values before and after, as JSON and shortened; empty without any."""
    from analytics_ingest.diagnostics.recorded_changes import field_changes  # noqa: PLC0415

    fields = field_changes(change, api)
    shown = [f"{each.path}: {_values(each.before, each.after)}" for each in fields[:MAX_FIELDS]]
    more = len(fields) - len(shown)
    return ", ".join([*shown, *([f"and {more} more"] if more else [])])


def _values(before: Any, after: Any) -> str:
    """Two values, of long ones the part that differs."""
    one, other = json_text(before), json_text(after)
    start = 0
    if max(len(one), len(other)) > VALUE_LENGTH:
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
        start = max(0, same - CONTEXT_LENGTH)
    return f"{_part(one, start)} {symbol('→')} {_part(other, start)}"


def _part(text: str, start: int) -> str:
    dots = symbol("…")
    # an ellipsis in place of one character saves nothing
    begun = f"{dots}{text[start:]}" if start > 1 else text
    return _shortened(begun, VALUE_LENGTH)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + symbol("…")


def utc_time(moment: datetime) -> str:
    """A time as ``2026-01-31T12:00:00Z``."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
