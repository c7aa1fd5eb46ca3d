"""The commands that look without touching: ``check`` asks the APIs, ``verify`` compares them with the warehouse."""

from __future__ import annotations

import logging
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from analytics_ingest.apis import APIS
from analytics_ingest.terminal import mark, open_console

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

    from analytics_ingest.apis import Api
    from analytics_ingest.diagnostics.verify import Difference, Verified


def _known(names: list[str] | None) -> list[str]:
    """The APIs named, each once; all if none is."""
    if unknown := sorted(set(names or ()) - set(APIS)):
        raise typer.BadParameter(f"there is no API {', '.join(unknown)}; there are {', '.join(APIS)}")
    return list(dict.fromkeys(names or APIS))


Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="API", help="Names of APIs; all five by default.", callback=_known),
]
Endpoints = Annotated[
    list[str] | None, typer.Option("--endpoint", metavar="NAME", help="Only this endpoint; may be repeated.")
]
FINE, FAILED, NEITHER = Text("✓", "green"), Text("✗", "red"), Text("–", "dim")  # noqa: RUF001 - a dash
INDENT = 2
NAME_WIDTH = 1 + max(len(endpoint.name) for api in APIS.values() for endpoint in api.endpoints)


def check(apis: Names = None) -> None:
    """Asks each API for one row of each endpoint: settings, key, permissions, shape. Changes nothing.

    A child is asked for one row of its parent. An API that is not configured is no failure.

    Anything that failed makes the exit code 1, and says what to do.
    """
    # dlt takes a second to import: not for --help
    from analytics_ingest.diagnostics.connection_check import check_api  # noqa: PLC0415

    console, log = open_console(highlight=False), _log("check", open_console(stderr=True))
    marks = {"fine": FINE, "failed": FAILED, "not tried": NEITHER}
    found: Counter[str] = Counter()
    for api in _chosen(apis or list(APIS)).values():
        console.print(_title(api))
        for checked in check_api(api, log=log):
            found[checked.outcome] += checked.subject in api.by_name or checked.outcome == "failed"
            found["not configured"] += checked.subject == "settings" and checked.outcome == "not tried"
            console.print(_line(marks[checked.outcome], checked.subject, checked.said, width=_width(api)))
    console.print(", ".join(f"{found[name]} {name}" for name in ("fine", "not tried", "failed", "not configured")))
    raise typer.Exit(1 if found["failed"] else 0)


def verify(apis: Names = None, endpoint: Endpoints = None) -> None:
    """Reads every key afresh from the APIs and compares them with the tables. Changes nothing.

    All pages of all parents are read, as by a first sync, and it takes as long.

    Syncs are kept out only while tables are read: what one moves meanwhile shows as a difference.

    Any difference, or an endpoint that could not be read, makes the exit code 1.
    """
    # dlt takes a second to import: not for --help
    from analytics_ingest.diagnostics.verify import verify_api  # noqa: PLC0415
    from analytics_ingest.errors import IngestError, NotConfiguredError  # noqa: PLC0415
    from analytics_ingest.warehouse.destination_errors import WarehouseError  # noqa: PLC0415
    from analytics_ingest.warehouse.locks import LockTimeoutError  # noqa: PLC0415

    console, progress = open_console(highlight=False), open_console(stderr=True)
    log = _log("verify", progress)
    found: Counter[str] = Counter()
    chosen = _chosen(apis or list(APIS))
    for name, selected in _selected(chosen, endpoint).items():
        api = chosen[name]
        results: list[Verified] = []
        problem = None
        try:
            with progress.status(f"reading {name}", spinner="line") as status:
                for verified in verify_api(api, selected=selected, log=log):
                    results.append(verified)
                    status.update(f"reading {name}: {len(results)} of {len(selected)} endpoints compared")
        except NotConfiguredError as error:
            problem = _line(NEITHER, "settings", str(error))
            found["not configured"] += 1
        except (IngestError, WarehouseError, LockTimeoutError) as error:
            problem = _line(FAILED, "stopped", str(error))
            found["failed"] += 1
        console.print(_title(api))
        results.sort(key=lambda verified: [each.name for each in api.endpoints].index(verified.endpoint.name))
        if results:
            console.print(_table(results))
        for verified in results:
            found[verified.outcome] += 1
            for note in _notes(verified, width=_width(api)):
                console.print(note)
        if problem:
            console.print(problem)
    told = [f"{found['same']} the same", f"{found['differs']} different"]
    told += [f"{found[name]} {name}" for name in ("left out", "failed", "not configured")]
    console.print(", ".join(told))
    if found["differs"]:
        console.print("Sync what differs and verify again: what a sync does not mend is a bug.")
    raise typer.Exit(1 if found["differs"] or found["failed"] else 0)


def _chosen(names: Sequence[str]) -> dict[str, Api]:
    """The APIs as their profiles declare them; an unknown profile ends the command."""
    from analytics_ingest.config.api import choose_profile  # noqa: PLC0415
    from analytics_ingest.errors import ConfigurationError  # noqa: PLC0415

    try:
        return {name: choose_profile(APIS[name]) for name in names}
    except ConfigurationError as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from None


def _title(api: Api) -> Text:
    return Text(f"{api.name} ({api.profile})" if api.profile else api.name, "bold")


def _selected(apis: Mapping[str, Api], endpoints: Sequence[str] | None) -> dict[str, set[str]]:
    """The endpoints to compare, by API; an API that has none of those named is left out."""
    if not endpoints:
        return {name: set(api.by_name) for name, api in apis.items()}
    known = {name for api in apis.values() for name in api.by_name}
    if unknown := sorted(set(endpoints) - known):
        raise typer.BadParameter(
            f"there is no endpoint {', '.join(unknown)} in {', '.join(apis)}", param_hint="--endpoint"
        )
    selected = {name: set(endpoints) & set(api.by_name) for name, api in apis.items()}
    return {name: names for name, names in selected.items() if names}


def _log(command: str, console: Console) -> logging.Logger:
    """A logger to the console: waits for locks, and the retries of requests that are warnings."""
    log = logging.getLogger(f"analytics_ingest.{command}")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = [RichHandler(console=console, show_level=False, show_path=False)]
    # answers that are likely, such as a 404 where a child may not be defined, are retried as information
    log.getChild("requests").setLevel(logging.WARNING)
    return log


def _width(api: Api) -> int:
    return max(NAME_WIDTH, *(1 + len(endpoint.name) for endpoint in api.endpoints))


def _printable(outcome: Text) -> Text:
    return Text(mark(outcome.plain), outcome.style)


def _line(outcome: Text, subject: str, said: str, *, width: int = NAME_WIDTH) -> Table:
    """One line: the mark, the subject, and what is said of it, which is folded into its column."""
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_column(width=INDENT + 1, justify="right")
    line.add_column(width=width)
    line.add_column(overflow="fold")
    # Text: brackets in a message are not markup
    line.add_row(_printable(outcome), subject, Text(said))
    return line


def _table(results: Sequence[Verified]) -> Table:
    marks = {"same": FINE, "differs": FAILED, "failed": FAILED, "left out": NEITHER}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", width=INDENT + 1, justify="right")
    table.add_column("endpoint", no_wrap=True)
    for name in ("upstream", "table", "missing", "extra"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in results:
        compared = each.outcome in ("same", "differs")
        numbers = (each.upstream, each.table, each.missing.count, each.extra.count)
        cells = [f"{number:,}" if compared else "" for number in numbers]
        table.add_row(_printable(marks[each.outcome]), each.endpoint.name, *cells)
    return table


def _notes(verified: Verified, *, width: int) -> Iterator[Table]:
    name = verified.endpoint.name
    line = partial(_line, width=width)
    if verified.reason:
        yield line(NEITHER if verified.outcome == "left out" else FAILED, name, verified.reason)
    for title, difference in (("missing", verified.missing), ("extra", verified.extra)):
        if difference.examples:
            yield line(FAILED, name, f"{title}: {_shown(verified, difference)}")
    if verified.doubled:
        yield line(FAILED, name, f"rows of the table with the key of another one: {verified.doubled:,}")
    remarks = {
        "rows without a complete key, which go to _rejected_rows": verified.rejected,
        "rows older than START_DATE, which are not loaded": verified.too_old,
        "rows that the API states and did not send": verified.short,
    }
    for remark, number in remarks.items():
        if number:
            yield line(NEITHER, name, f"{remark}: {number:,}")


def _shown(verified: Verified, difference: Difference) -> str:
    names = verified.endpoint.primary_key
    keys = [" ".join(f"{name}={part}" for name, part in zip(names, key, strict=True)) for key in difference.examples]
    more = difference.count - len(keys)
    return "; ".join(keys) + (f"; and {more:,} more" if more else "")
