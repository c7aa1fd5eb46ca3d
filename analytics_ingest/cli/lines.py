"""Arguments, logging and output lines that the commands share."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Never

import typer
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from analytics_ingest.apis.registry import APIS
from analytics_ingest.terminal import symbol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from dagster import RepositoryDefinition
    from rich.console import Console

    from analytics_ingest.apis.model import Api


Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="API", help="Names of APIs, or of other accounts; all by default."),
]
Module = Annotated[
    str | None,
    typer.Option(
        "--module",
        "-m",
        metavar="MODULE",
        help="The module of a project's definitions, if its accounts are declared in code or in defs.yaml.",
    ),
]
FINE, FAILED, NEITHER = Text("✓", "green"), Text("✗", "red"), Text("–", "dim")  # noqa: RUF001 - a dash
INDENT = 2
NAME_WIDTH = 1 + max(len(endpoint.name) for api in APIS.values() for endpoint in api.endpoints)


def declared_apis(names: Sequence[str] | None, module: str | None = None, *, tolerant: bool = False) -> dict[str, Api]:
    """The named accounts, each once, as their vendors serve them; all if ``names`` is empty.

    Args:
        names: Names of APIs and other accounts. An unknown name, or a wrong section or profile, ends the command.
        module: A module whose definitions declare accounts.
        tolerant: Whether an account with a wrong profile is given without it, and wrong sections are left out.
    """
    from analytics_ingest.config.accounts import choose_accounts, named_accounts, profile_or_neutral  # noqa: PLC0415
    from analytics_ingest.errors import ConfigurationError, UnknownAccountError  # noqa: PLC0415

    if module:
        load_definitions(module)
    try:
        if tolerant:
            return {name: profile_or_neutral(api) for name, api in named_accounts(names or ()).items()}
        return choose_accounts(names or ())
    except UnknownAccountError as error:
        raise typer.BadParameter(str(error), param_hint="API") from None
    except ConfigurationError as error:
        print_error(str(error))
        raise typer.Exit(1) from None


def load_definitions(module: str) -> list[RepositoryDefinition]:
    """Loads a project's definitions, which declare the settings of their accounts as they load.

    A module that cannot be loaded ends the command.
    """
    from importlib import import_module  # noqa: PLC0415

    # not public: Dagster's own way to load a module's definitions, also those that are made by a function
    from dagster._core.definitions.reconstruct import repository_def_from_target_def  # noqa: PLC0415
    from dagster._core.workspace.autodiscovery import loadable_targets_from_loaded_module  # noqa: PLC0415

    # Dagster's command line does the same: a project need not be installed
    sys.path.insert(0, str(Path.cwd()))
    try:
        targets = loadable_targets_from_loaded_module(import_module(module))
        found = (repository_def_from_target_def(target.target_definition) for target in targets)
        return [repository for repository in found if repository]
    except Exception as error:  # noqa: BLE001 - anything can be wrong with a project's own code
        print_error(f"the definitions of {module} cannot be loaded: {type(error).__name__}: {error}")
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


def end(
    console: Console, named: Collection[str] | None, unconfigured: Sequence[str], *, read: int, failed: int
) -> Never:
    """Ends a command, with exit code 1 if something failed or if it has not read what it should, which it prints.

    Args:
        console: Where it prints.
        named: The APIs that the user has named.
        unconfigured: The APIs among those chosen that are not configured.
        read: The number of endpoints that were read.
        failed: The number of failures.
    """
    reason = ""
    if missing := ", ".join(name for name in unconfigured if not read or name in (named or ())):
        reason = f"No request was sent to {missing}: not configured."
    elif not read:
        reason = "No request was sent: every endpoint is left out."
    if reason:
        console.print(reason)
    raise typer.Exit(1 if failed or reason else 0)


def print_error(message: str) -> None:
    """Prints why a command cannot run."""
    typer.secho(message, fg="red", err=True)
