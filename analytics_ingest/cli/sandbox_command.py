"""``analytics-ingest sandbox``: serves the five APIs with made-up data on this machine."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from analytics_ingest.cli.lines import print_error

if TYPE_CHECKING:
    from analytics_ingest.sandbox.server import SandboxServer

POLL_SECONDS = 0.1
Scale = Annotated[float, typer.Option(min=0.01, help="Amount of data: 1 is about 20,000 rows.")]


def sandbox(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 for a free one.")] = 8700,
    scale: Scale = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the data.")] = 7,
    hours: Annotated[float, typer.Option(help="Hours of changes in the data.")] = 0,
    latency: Annotated[float, typer.Option(help="Seconds before each response.")] = 0,
    rate_limit: Annotated[int | None, typer.Option(help="Requests per second and API; more are answered 429.")] = None,
    run: Annotated[
        str | None,
        typer.Option(help="A command to run with the sandbox as its upstream; the sandbox stops when it ends."),
    ] = None,
) -> None:
    """Serves the five APIs with made-up data, as an upstream for trying things out."""
    require_sandbox()
    from analytics_ingest.sandbox.options import Options  # noqa: PLC0415
    from analytics_ingest.sandbox.server import SandboxServer, stop_signals  # noqa: PLC0415
    from analytics_ingest.sandbox.world import World  # noqa: PLC0415

    world = World(seed=seed, scale=scale)
    if hours:
        world.advance(hours)
    server = SandboxServer(world, Options(latency=latency, rate_limit=rate_limit), port=port)
    try:
        with server:
            if run is not None:
                _print_settings(server)
                sys.exit(_run(run, server))
            # before the output, as a caller that has read it may stop the sandbox
            with stop_signals() as stopped:
                _print_settings(server)
                stopped.wait()
    except OSError as error:
        print_error(f"port {port} cannot be used ({error.strerror}): choose another with --port")
        raise typer.Exit(1) from None


def require_sandbox() -> None:
    """Exits with 1, and with the command that installs them, if the packages of the extra ``sandbox`` are missing."""
    if missing := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
        print_error(f"the sandbox needs {' and '.join(missing)}: pip install 'analytics-ingest[sandbox]'")
        raise typer.Exit(1)


def _print_settings(server: SandboxServer) -> None:
    typer.echo(f"The sandbox runs at {server.url}. To use it as the upstream of all five APIs:")
    for name, value in server.environment().items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def _run(command: str, server: SandboxServer) -> int:
    from analytics_ingest.config.accounts import find_accounts  # noqa: PLC0415
    from analytics_ingest.config.api import missing_settings  # noqa: PLC0415

    if configured := [name for name, api in find_accounts()[0].items() if len(missing_settings(api)) < 2]:
        print_error(f"{configured[0]} has settings of its own: run `{command}` without the sandbox")
        return 1
    # the caller's own command
    environment = {**os.environ, **server.environment()}
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # as by a shell that runs this in the background; Dagster's commands inherit it, and handle SIGTERM alike
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(shlex.split(command), env=environment) as process:  # noqa: S603
        # Ctrl-C reaches the command by itself
        before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            # not in one wait: Python handles a signal that another thread has received between two instructions only
            while (code := process.poll()) is None:
                time.sleep(POLL_SECONDS)
            return code
        finally:
            signal.signal(signal.SIGTERM, before)
