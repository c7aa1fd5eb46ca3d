"""``analytics-ingest verify``: compares every row of an API with the tables."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from analytics_ingest.cli.lines import (
    FAILED,
    FINE,
    INDENT,
    NEITHER,
    Module,
    Names,
    console_log,
    declared_apis,
    end,
    line,
    name_width,
    printable,
    title,
)
from analytics_ingest.terminal import open_console

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from analytics_ingest.apis.model import Api
    from analytics_ingest.diagnostics.verify import Difference, VerifyResult

Endpoints = Annotated[
    list[str] | None, typer.Option("--endpoint", metavar="NAME", help="Only this endpoint; may be repeated.")
]


def verify(apis: Names = None, endpoint: Endpoints = None, module: Module = None) -> None:
    """Reads all rows from the APIs and compares their keys and contents with the tables. Changes nothing.

    All pages of all parents are read, which takes as long as a first sync.

    Syncs have to wait only while tables are read: changes by a sync in between show as differences.

    The exit code is 1 if anything differs, if an endpoint could not be read, if an API that is named is not configured,
    or if nothing was compared.
    """
    # dlt takes a second to import: not for --help
    from analytics_ingest.diagnostics.verify import verify_api  # noqa: PLC0415
    from analytics_ingest.errors import IngestError, NotConfiguredError  # noqa: PLC0415
    from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError  # noqa: PLC0415

    console, progress = open_console(highlight=False), open_console(stderr=True)
    log = console_log("verify", progress)
    counts: Counter[str] = Counter()
    unconfigured: list[str] = []
    chosen = declared_apis(apis, module)
    for name, selected in select_endpoints(chosen, endpoint).items():
        api = chosen[name]
        results: list[VerifyResult] = []
        problem = None
        try:
            with progress.status(f"reading {name}", spinner="line") as status:
                for verified in verify_api(api, selected=selected, log=log):
                    results.append(verified)
                    status.update(f"reading {name}: {len(results)} of {len(selected)} endpoints compared")
        except NotConfiguredError as error:
            problem = line(NEITHER, "settings", str(error))
            unconfigured.append(name)
        except (IngestError, WarehouseError, LockTimeoutError) as error:
            problem = line(FAILED, "stopped", str(error))
            counts["failed"] += 1
        console.print(title(api))
        results.sort(key=lambda verified: [each.name for each in api.endpoints].index(verified.endpoint.name))
        if results:
            console.print(_table(results))
        for verified in results:
            counts[verified.outcome] += 1
            for detail in _details(verified, width=name_width(api)):
                console.print(detail)
        if problem:
            console.print(problem)
    summary = [f"{counts['same']} the same", f"{counts['differs']} different"]
    summary += [f"{counts[name]} {name}" for name in ("left out", "failed")]
    console.print(", ".join([*summary, f"{len(unconfigured)} not configured"]))
    if counts["differs"]:
        console.print("Run a sync and verify again. If a difference remains, please report a bug.")
    read = counts["same"] + counts["differs"] + counts["failed"]
    end(console, apis, unconfigured, read=read, failed=counts["differs"] + counts["failed"])


def select_endpoints(apis: Mapping[str, Api], endpoints: Sequence[str] | None) -> dict[str, set[str]]:
    """The endpoints to compare, by API; an API without any of the named endpoints is left out.

    Raises:
        BadParameter: No API has one of the endpoints.
    """
    if not endpoints:
        return {name: set(api.by_name) for name, api in apis.items()}
    known = {name for api in apis.values() for name in api.by_name}
    if unknown := sorted(set(endpoints) - known):
        raise typer.BadParameter(
            f"there is no endpoint {', '.join(unknown)} in {', '.join(apis)}", param_hint="--endpoint"
        )
    selected = {name: set(endpoints) & set(api.by_name) for name, api in apis.items()}
    return {name: names for name, names in selected.items() if names}


def _table(results: Sequence[VerifyResult]) -> Table:
    marks = {"same": FINE, "differs": FAILED, "failed": FAILED, "left out": NEITHER}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", width=INDENT + 1, justify="right")
    table.add_column("endpoint", no_wrap=True)
    for name in ("upstream", "table", "missing", "extra", "changed"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in results:
        compared = each.outcome in ("same", "differs")
        numbers = (each.upstream, each.table, each.missing.count, each.extra.count, each.changed.count)
        cells = [f"{number:,}" if compared else "" for number in numbers]
        table.add_row(printable(marks[each.outcome]), each.endpoint.name, *cells)
    return table


def _details(verified: VerifyResult, *, width: int) -> Iterator[Table]:
    """The lines below the table: why an endpoint was not compared, examples of differences, other counts."""
    name = verified.endpoint.name
    detail = partial(line, width=width)
    if verified.reason:
        yield detail(NEITHER if verified.outcome == "left out" else FAILED, name, verified.reason)
    for kind, difference in (("missing", verified.missing), ("extra", verified.extra), ("changed", verified.changed)):
        if difference.examples:
            yield detail(FAILED, name, f"{kind}: {_shown(verified, difference)}")
    if verified.doubled:
        yield detail(FAILED, name, f"rows of the table with the key of another one: {verified.doubled:,}")
    numbers = {
        "rows without a complete key, which go to _rejected_rows": verified.rejected,
        "rows older than START_DATE, which are not loaded": verified.too_old,
        "rows that the API states but did not send": verified.short,
    }
    for description, number in numbers.items():
        if number:
            yield detail(NEITHER, name, f"{description}: {number:,}")


def _shown(verified: VerifyResult, difference: Difference) -> str:
    names = verified.endpoint.primary_key
    keys = [" ".join(f"{name}={part}" for name, part in zip(names, key, strict=True)) for key in difference.examples]
    more = difference.count - len(keys)
    return "; ".join(keys) + (f"; and {more:,} more" if more else "")
