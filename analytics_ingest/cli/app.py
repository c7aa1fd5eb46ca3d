"""The command line: the demo, the sandbox, and the commands that look without touching. Syncs are Dagster's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from analytics_ingest.cli.check_command import check
from analytics_ingest.cli.lines import complain
from analytics_ingest.cli.sandbox_command import Scale, sandbox
from analytics_ingest.cli.verify_command import verify
from analytics_ingest.terminal import open_console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # a traceback that shows variables would show keys
    pretty_exceptions_show_locals=False,
    help="Keeps a warehouse in step with five REST APIs. Syncs run in Dagster: `dagster dev`.",
)
app.command()(check)
app.command()(verify)
app.command()(sandbox)


@app.command()
def demo(
    scale: Scale = 1.0,
    folder: Annotated[Path, typer.Option(help="Where the DuckDB file goes.")] = Path("data"),
) -> None:
    """Syncs all five APIs from the sandbox into DuckDB through Dagster, lets a day pass, syncs again."""
    # Dagster takes seconds to import: not for --help
    from analytics_ingest.cli.demo import DemoError, run_demo  # noqa: PLC0415

    try:
        run_demo(folder=folder, scale=scale, console=open_console())
    except DemoError as error:
        complain(str(error))
        raise typer.Exit(1) from None
