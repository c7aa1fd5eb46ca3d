"""The command line ``analytics-ingest``: checks, comparisons, repairs, the sandbox, the demo. Syncs run in Dagster."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from analytics_ingest.cli.changes_command import changes
from analytics_ingest.cli.check_command import check
from analytics_ingest.cli.dbt_sources_command import dbt_sources
from analytics_ingest.cli.lines import print_error
from analytics_ingest.cli.repair_command import repair
from analytics_ingest.cli.sandbox_command import Scale, require_sandbox, sandbox
from analytics_ingest.cli.settings_command import settings
from analytics_ingest.cli.verify_command import verify
from analytics_ingest.terminal import open_console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # a traceback that shows variables would show keys
    pretty_exceptions_show_locals=False,
    help="Keeps a warehouse in step with five REST APIs. Syncs run in Dagster: `dg dev`.",
)


def print_version(wanted: bool) -> None:
    """Prints the version and ends the command, if that is wanted."""
    if wanted:
        typer.echo(f"analytics-ingest {metadata.version('analytics-ingest')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version.")
    ] = False,
) -> None:
    """Options that need no command."""


app.command()(check)
app.command()(verify)
app.command()(repair)
app.command()(changes)
app.command()(dbt_sources)
app.command()(settings)
app.command()(sandbox)


@app.command()
def demo(
    scale: Scale = 1.0,
    folder: Annotated[Path, typer.Option(help="Folder of the DuckDB file.")] = Path("data"),
) -> None:
    """Syncs all five APIs from the sandbox into DuckDB with Dagster, before and after a day of changes."""
    require_sandbox()
    # Dagster takes seconds to import: not for --help
    from analytics_ingest.cli.demo import DemoError, run_demo  # noqa: PLC0415

    try:
        run_demo(folder=folder, scale=scale, console=open_console())
    except DemoError as error:
        print_error(str(error))
        raise typer.Exit(1) from None
