"""The demo: two runs of the job ``all_sync`` from the sandbox into a DuckDB file, with a day in between."""

from __future__ import annotations

import os
import sys
import threading
import uuid
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from dagster import DagsterInstance, DagsterRun, JobDefinition, RunsFilter, reconstructable

# internal to Dagster: its public API executes a job in this process as one that belongs to no code location
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from analytics_ingest.apis.registry import APIS
from analytics_ingest.cli.demo_figures import figures_table, materialisations, run_figures
from analytics_ingest.cli.demo_incident import events_table, incident_events
from analytics_ingest.extract.rows import DELETED_AT
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sandbox.world import World
from analytics_ingest.warehouse.destination_errors import DESTINATION_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from analytics_ingest.cli.demo_figures import ApiFigures
    from analytics_ingest.cli.demo_incident import IncidentEvent
    from analytics_ingest.sandbox.world import Changes

FILE = "analytics_ingest.duckdb"
LOG = "demo.log"
MARKER = ".demo"
"""File beside the DuckDB file that the demo has written, and may replace."""
TAG = "analytics_ingest/demo"
JOB, LOCATION = "all_sync", "analytics_ingest.definitions"
"""The job, and its code location as ``workspace.yaml`` names it."""
POLL_SECONDS = 0.3
HOURS = 24
QUERY = """\
SELECT e.name AS epic, count(DISTINCT s.id) AS stories, count(DISTINCT c.id) AS comments
FROM project_planning.epics e
JOIN project_planning.epics_stories s ON s.epic_id = e.id AND s._deleted_at IS NULL
LEFT JOIN project_planning.stories_comments c ON c.story_id = s.id AND c._deleted_at IS NULL
WHERE e._deleted_at IS NULL
GROUP BY e.id, e.name ORDER BY comments DESC, epic LIMIT 5"""


class DemoError(RuntimeError):
    """The demo failed. The message has the reason and what to do."""


def all_sync() -> JobDefinition:
    """The job ``all_sync``; a function, so that the processes of the job's steps can load it again."""
    from analytics_ingest.definitions import defs  # noqa: PLC0415

    return defs.resolve_job_def(JOB)


def create_run(instance: DagsterInstance, *, tag: str) -> DagsterRun:
    """Creates a run of the code location's job ``all_sync``, so that the UI shows it with the runs of its jobs.

    Args:
        instance: The Dagster instance.
        tag: The value of the run's tag ``TAG``.
    """
    job = reconstructable(all_sync)
    definition = job.get_definition()
    location = ManagedGrpcPythonEnvCodeLocationOrigin(
        loadable_target_origin=LoadableTargetOrigin(executable_path=sys.executable, module_name=LOCATION),
        location_name=LOCATION,
    )
    repository = RemoteRepositoryOrigin(code_location_origin=location, repository_name="__repository__")
    return instance.create_run_for_job(
        definition,
        # the bars show the progress; the log is in the Dagster UI
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        tags={**definition.run_tags, TAG: tag},
        job_code_origin=job.get_python_origin(),
        remote_job_origin=RemoteJobOrigin(repository_origin=repository, job_name=JOB),
    )


def run_demo(*, folder: Path, scale: float, console: Console) -> None:
    """Runs a sync, advances the sandbox by a day, runs another sync, and prints a table of both and an incident.

    Raises:
        DemoError: The demo did not write the file, a run failed, or a table differs from the sandbox.
    """
    file = _fresh_file(folder)
    os.environ.setdefault("DAGSTER_HOME", str(Path.cwd()))
    os.environ.pop(DESTINATION_VARIABLE, None)
    os.environ["DESTINATION__DUCKDB__CREDENTIALS"] = str(file)
    with DagsterInstance.get() as instance, SandboxServer(World(scale=scale)) as server:
        os.environ.update(server.environment())
        console.print(f"The sandbox serves five APIs at {server.url}; their rows go into {file}", soft_wrap=True)
        first = _sync(instance, console, "First sync", folder / LOG)
        changes = server.world.advance(HOURS)
        console.print(f"{HOURS} hours pass in the sandbox: {_summary(changes)}")
        second = _sync(instance, console, "Second sync", folder / LOG)
        rows = _check(file, server.world)
        events = _incident(file, server.world)
    console.print(figures_table(first, second, rows))
    path = os.path.relpath(file)
    console.print("Every table has exactly the rows that the sandbox serves.\n")
    console.print("[bold]An incident of that day, and what came before it[/bold] (times of the sandbox)\n")
    console.print(events_table(events))
    console.print(
        "\n[bold]What to try next[/bold]\n\n"
        "The same in the Dagster UI, with the graph, the runs and each asset's plots:\n\n  make dev\n\n"
        "What changed in the configuration of the five APIs:\n\n"
        f"  DESTINATION__DUCKDB__CREDENTIALS={path} .venv/bin/analytics-ingest changes --since 24h\n\n"
        "The epics with the most comments, from the DuckDB file:\n\n"
        f"  .venv/bin/python -c \"import duckdb; duckdb.connect('{path}').sql('''\n{QUERY}''').show()\"",
        soft_wrap=True,
        highlight=False,
    )


@contextmanager
def _stderr_to(file: Path) -> Iterator[None]:
    """Redirects standard error of this process and its children into ``file``: it would break the progress bars."""
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with file.open("ab") as log:
            os.dup2(log.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _fresh_file(folder: Path) -> Path:
    """The path of the DuckDB file, without the file of an earlier demo."""
    file = (folder / FILE).absolute()
    marker = folder / MARKER
    if file.exists() and not marker.exists():
        raise DemoError(
            f"{file} contains data that the demo did not write: move it away, or choose another folder with --folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    marker.touch()
    for path in (file, file.with_name(file.name + ".wal")):
        path.unlink(missing_ok=True)
    return file


def _sync(instance: DagsterInstance, console: Console, title: str, log: Path) -> dict[str, ApiFigures]:
    """Runs ``all_sync`` with a progress bar per API; gives the run's figures."""
    tag = uuid.uuid4().hex
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description:24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("endpoints"),
        TimeElapsedColumn(),
        console=console,
    )
    done = threading.Event()
    with progress:
        updates = threading.Thread(target=_update_progress, args=(instance, tag, progress, done), daemon=True)
        updates.start()
        console.print(f"[bold]{title}[/bold]")
        with (
            _stderr_to(log),
            execute_run(reconstructable(all_sync), create_run(instance, tag=tag), instance) as result,
        ):
            succeeded, run_id = result.success, result.run_id
        done.set()
        updates.join()
    if not succeeded:
        raise DemoError(f"run {run_id} failed: see the run in the Dagster UI (`make dev`), or {log}")
    return run_figures(instance, run_id)


def _update_progress(instance: DagsterInstance, tag: str, progress: Progress, done: threading.Event) -> None:
    """Updates the progress bars by the materialisations in the run's event log, until ``done`` is set."""
    tasks = {api.name: progress.add_task(api.title, total=len(api.endpoints)) for api in APIS.values()}
    last = False
    while not last:
        last = done.wait(POLL_SECONDS)
        run = _run(instance, tag)
        if run is None:
            continue
        counts = Counter(str(key[0]) for key, _ in materialisations(instance, run.run_id))
        for name, task in tasks.items():
            if counts[name] != progress.tasks[task].completed:
                progress.update(task, completed=counts[name])
            if progress.tasks[task].finished:
                progress.stop_task(task)


def _run(instance: DagsterInstance, tag: str) -> DagsterRun | None:
    return next(iter(instance.get_runs(RunsFilter(tags={TAG: tag}), limit=1)), None)


def _check(file: Path, world: World) -> dict[str, int]:
    """Compares all tables with the sandbox; gives the rows per API.

    Raises:
        DemoError: A table does not have exactly the sandbox's rows.
    """
    rows: Counter[str] = Counter()
    with duckdb.connect(str(file), read_only=True) as connection:
        for api in APIS.values():
            for endpoint in api.endpoints:
                expected = world.expected(api.name, endpoint.name)
                names = ", ".join(f'"{name}"' for name in endpoint.primary_key) or "count(*)"
                where = f"WHERE {DELETED_AT} IS NULL" if endpoint.primary_key else ""
                found = connection.sql(f'SELECT {names} FROM {api.name}."{endpoint.name}" {where}').fetchall()  # noqa: S608
                keys = [tuple(row[name] for name in endpoint.primary_key) for row in expected]
                same = Counter(found) == Counter(keys) if endpoint.primary_key else found == [(len(expected),)]
                if not same:
                    raise DemoError(f"{api.name}.{endpoint.name} does not have the sandbox's rows: this is a bug")
                rows[api.name] += len(expected)
    return rows


def _incident(file: Path, world: World) -> list[IncidentEvent]:
    """The incident of the sandbox's day, and what came before it.

    Raises:
        DemoError: The tables lack a part of it.
    """
    incident = world.story.incident if world.story else ""
    with duckdb.connect(str(file), read_only=True) as connection:
        try:
            return incident_events(connection, incident)
        except LookupError as error:
            raise DemoError(f"this query finds nothing, which is a bug: {error}") from None


def _summary(changes: Changes) -> str:
    counts = changes.endpoints.values()
    added, changed, removed = (sum(getattr(each, name) for each in counts) for name in ("added", "changed", "removed"))
    return f"{added} rows are added, {changed} change, {removed} are removed"
