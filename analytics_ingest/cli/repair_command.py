"""``analytics-ingest repair``: reads the lists with rows that differ from the API again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from analytics_ingest.cli.lines import FAILED, FINE, NEITHER, Module, Names, console_log, declared_apis, line, title
from analytics_ingest.cli.verify_command import Endpoints, select_endpoints
from analytics_ingest.terminal import open_console

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection, Iterator

    from rich.table import Table

    from analytics_ingest.apis.model import Api


def repair(apis: Names = None, endpoint: Endpoints = None, module: Module = None) -> None:
    """Reads the lists with rows that differ from the API again, loads these rows, and compares them once more.

    The job `<api>_verify` finds these rows. Those that are gone upstream are marked as deleted. No other list is read.

    The exit code is 1 if rows differ still, if an endpoint could not be read, or if an API that is named is not
    configured.
    """
    # dlt takes a second to import: not for --help
    from analytics_ingest.errors import IngestError, NotConfiguredError  # noqa: PLC0415
    from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError  # noqa: PLC0415

    console, log = open_console(highlight=False), console_log("repair", open_console(stderr=True))
    chosen = declared_apis(apis, module)
    unconfigured: list[str] = []
    done = failed = 0
    for name, selected in select_endpoints(chosen, endpoint).items():
        console.print(title(chosen[name]))
        try:
            for is_repaired, shown in _repair(chosen[name], selected, log=log):
                console.print(shown)
                done += is_repaired
                failed += not is_repaired
        except NotConfiguredError as error:
            console.print(line(NEITHER, "settings", str(error)))
            unconfigured.append(name)
        except (IngestError, WarehouseError, LockTimeoutError) as error:
            console.print(line(FAILED, "stopped", str(error)))
            failed += 1
    console.print(f"{done} repaired, {failed} not repaired, {len(unconfigured)} not configured")
    named = [name for name in unconfigured if name in (apis or ())]
    raise typer.Exit(1 if failed or named else 0)


def _repair(api: Api, selected: Collection[str], *, log: logging.Logger) -> Iterator[tuple[bool, Table]]:
    """A line for each endpoint that is repaired, and whether its rows are as the API has them now."""
    from analytics_ingest.config.api import load_settings  # noqa: PLC0415
    from analytics_ingest.diagnostics.row_repair import repair as repair_tables  # noqa: PLC0415
    from analytics_ingest.diagnostics.row_repair import rows_to_repair  # noqa: PLC0415
    from analytics_ingest.diagnostics.verification import verify_some  # noqa: PLC0415
    from analytics_ingest.sync.table_checks import count_of_rows, describe_differences  # noqa: PLC0415

    load_settings(api)
    found = rows_to_repair(api, selected=selected, log=log)
    results = {result.endpoint.name: result for result in repair_tables(api, found, log=log)}
    compared = {
        each.endpoint.name: each
        for each in verify_some(api, requests=None, selected=found.keys(), only_again=True, log=log)
    }
    for name, before in found.items():
        result, after = results[name], compared.get(name)
        left = after.verification.rows if after else before.rows
        reason = result.reason or (after.verification.reason if after else None)
        if reason:
            yield False, line(FAILED, name, reason)
        elif left:
            yield False, line(FAILED, name, f"{count_of_rows(left)}: {describe_differences(api.by_name[name], left)}")
        else:
            loaded = result.stats.rows_loaded if result.stats else 0
            yield (
                True,
                line(FINE, name, f"{loaded} rows loaded, {result.rows_deleted} marked as deleted"),
            )
