"""``analytics-ingest settings``: prints the settings that are in force, where they come from, and what is wrong."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from analytics_ingest.cli.lines import FAILED, NEITHER, Module, Names, declared_apis, line, title
from analytics_ingest.terminal import open_console

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType

    from analytics_ingest.apis.model import Api
    from analytics_ingest.config.in_force import SettingInForce


def settings(apis: Names = None, module: Module = None) -> None:
    """Prints the settings that are in force, and where each comes from. Reads no API and no warehouse.

    Secrets are printed as ***. Without names, the deployment and its destination are printed too, and an account
    without any setting is left to its defaults.

    What is wrong is printed at the end; the exit code is 1 then.
    """
    # dlt takes a second to import: not for --help
    from analytics_ingest.config.api import retired_settings  # noqa: PLC0415

    console = open_console(highlight=False)
    chosen = declared_apis(apis, module, tolerant=True)
    for part in _parts(chosen.values(), everything=not apis):
        console.print(part)
    problems = _problems(chosen.values())
    retired = [(api.name, warning) for api in chosen.values() if (warning := retired_settings(api))]
    if problems or retired:
        console.print(Text("problems", "bold"))
    for subject, warning in retired:
        console.print(line(NEITHER, subject, f"warning: {warning}"))
    for subject, problem in problems:
        console.print(line(FAILED, subject, problem))
    raise typer.Exit(1 if problems else 0)


def _parts(apis: Iterable[Api], *, everything: bool) -> Iterator[RenderableType]:
    from analytics_ingest.config.in_force import account_settings, deployment_settings  # noqa: PLC0415
    from analytics_ingest.config.problems import has_settings  # noqa: PLC0415
    from analytics_ingest.errors import ConfigurationError  # noqa: PLC0415
    from analytics_ingest.warehouse.destination import configured_destination  # noqa: PLC0415
    from analytics_ingest.warehouse.destination_settings import destination_settings  # noqa: PLC0415
    from analytics_ingest.warehouse.exceptions import WarehouseError  # noqa: PLC0415

    if everything:
        yield Text("deployment", "bold")
        yield _table(deployment_settings(), "ANALYTICS_INGEST_<SETTING>")
        # an error is one of the problems
        with suppress(ConfigurationError, WarehouseError):
            destination = configured_destination()
            listed = destination_settings(destination)
            yield Text(f"destination {destination.name}", "bold")
            yield _table(listed, f"DESTINATION__{destination.name.upper()}__<SETTING>")
    for api in apis:
        yield title(api)
        if everything and not has_settings(api):
            yield Text("  nothing is set\n", "dim")
        else:
            yield _table(account_settings(api), f"SOURCES__{api.name.upper()}__<SETTING>")


def _table(listed: Iterable[SettingInForce], variable: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=variable, title_justify="left", title_style="dim")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", no_wrap=True)
    for each in listed:
        # as ``Text``, so that brackets in a value are not markup
        table.add_row(each.name, Text(each.value), each.place)
    return table


def _problems(apis: Iterable[Api]) -> list[tuple[str, str]]:
    """What is wrong, each with the part that it is about."""
    from analytics_ingest.config.api import wrong_limits  # noqa: PLC0415
    from analytics_ingest.config.problems import account_problems, shared_problems  # noqa: PLC0415
    from analytics_ingest.errors import ConfigurationError  # noqa: PLC0415
    from analytics_ingest.warehouse.destination import configured_destination  # noqa: PLC0415
    from analytics_ingest.warehouse.destination_errors import explained  # noqa: PLC0415
    from analytics_ingest.warehouse.destination_settings import unknown_destination_settings  # noqa: PLC0415
    from analytics_ingest.warehouse.exceptions import WarehouseError  # noqa: PLC0415

    problems = [("deployment", each) for each in shared_problems()]
    try:
        destination = configured_destination()
        with explained(destination):
            problems += [("destination", each) for each in unknown_destination_settings(destination)]
    except (ConfigurationError, WarehouseError) as error:
        problems.append(("destination", str(error)))
    return problems + [(api.name, each) for api in apis for each in (*account_problems(api), *wrong_limits(api))]
