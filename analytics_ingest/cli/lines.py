"""Arguments, logging and output lines that the commands ``check`` and ``verify`` share."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

import typer
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from analytics_ingest.apis.registry import APIS
from analytics_ingest.terminal import symbol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from analytics_ingest.apis.model import Api


def known_apis(names: list[str] | None) -> list[str]:
    """The named APIs, each once; all if ``names`` is empty."""
    if unknown := sorted(set(names or ()) - set(APIS)):
        raise typer.BadParameter(f"there is no API {', '.join(unknown)}; there are {', '.join(APIS)}")
    return list(dict.fromkeys(names or APIS))


Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="API", help="Names of APIs; all five by default.", callback=known_apis),
]
FINE, FAILED, NEITHER = Text("✓", "green"), Text("✗", "red"), Text("–", "dim")  # noqa: RUF001 - a dash
INDENT = 2
NAME_WIDTH = 1 + max(len(endpoint.name) for api in APIS.values() for endpoint in api.endpoints)


def declared_apis(names: Sequence[str]) -> dict[str, Api]:
    """The APIs as their profiles declare them; an unknown profile ends the command."""
    from analytics_ingest.config.api import choose_profile  # noqa: PLC0415
    from analytics_ingest.errors import ConfigurationError  # noqa: PLC0415

    try:
        return {name: choose_profile(APIS[name]) for name in names}
    except ConfigurationError as error:
        print_error(str(error))
        raise typer.Exit(1) from None


def title(api: Api) -> Text:
    """The heading of an API: its name, and that of its profile."""
    return Text(f"{api.name} ({api.profile})" if api.profile else api.name, "bold")


def console_log(command: str, console: Console) -> logging.Logger:
    """A logger that prints waits for locks, and warnings about requests, to the console."""
    log = logging.getLogger(f"analytics_ingest.{command}")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = [RichHandler(console=console, show_level=False, show_path=False)]
    # retries after a likely response, such as a 404 of a child that may not be defined, are logged as information
    log.getChild("requests").setLevel(logging.WARNING)
    return log


def name_width(api: Api) -> int:
    """Characters of the column of names: enough for this API's endpoints, and for those of the neutral APIs."""
    return max(NAME_WIDTH, *(1 + len(endpoint.name) for endpoint in api.endpoints))


def printable(outcome: Text) -> Text:
    """A symbol that the terminal can print."""
    return Text(symbol(outcome.plain), outcome.style)


def line(outcome: Text, subject: str, message: str, *, width: int = NAME_WIDTH) -> Table:
    """One line: the mark, the subject, and the message, which is folded into its column."""
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_column(width=INDENT + 1, justify="right")
    line.add_column(width=width)
    line.add_column(overflow="fold")
    # as ``Text``, so that brackets in a message are not markup
    line.add_row(printable(outcome), subject, Text(message))
    return line


def print_error(message: str) -> None:
    """Prints why a command cannot run."""
    typer.secho(message, fg="red", err=True)
