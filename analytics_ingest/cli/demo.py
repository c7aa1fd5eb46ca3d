"""The demo: the main job end to end, on the embedded sandbox and a DuckDB file of its own."""

from __future__ import annotations

import os
import sys
import threading
import uuid
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from dagster import (
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    JobDefinition,
    RunsFilter,
    execute_job,
    reconstructable,
)
from rich import box
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from analytics_ingest.apis.registry import APIS
from analytics_ingest.extract.rows import DELETED_AT
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sandbox.world import World
from analytics_ingest.warehouse.destination_errors import DESTINATION_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

FILE = "analytics_ingest.duckdb"
LOG = "demo.log"
MARK = ".demo"
"""Beside the DuckDB file: it holds the demo's data and nothing else, so the demo may replace it."""
TAG = "analytics_ingest/demo"
POLL_SECONDS = 0.3
HOURS = 24
QUERY = """\
SELECT e.name AS epic, count(*) AS stories, count(DISTINCT c.id) AS comments
FROM project_planning.epics e
JOIN project_planning.epics_stories s ON s.epic_id = e.id
LEFT JOIN project_planning.stories_comments c ON c.story_id = s.id
GROUP BY ALL ORDER BY comments DESC LIMIT 5"""


class DemoError(RuntimeError):
    """The demo cannot go on. The message says why and what to do."""


@dataclass
class ApiFigures:
    """What one run did for one API: rows loaded, requests, seconds."""

    loaded: int = 0
    requests: int = 0
    seconds: float = 0.0
    endpoints: set[str] = field(default_factory=set)


def all_sync() -> JobDefinition:
    """The job ``all_sync``, in a form that its processes can load again."""
    from analytics_ingest.definitions import defs  # noqa: PLC0415

    return defs.resolve_job_def("all_sync")


def run_demo(*, folder: Path, scale: float, console: Console) -> None:
    """Runs the demo: first sync, a day passes, second sync, a table of both.

    Raises:
        DemoError: The file is not the demo's, a run failed, or a table does not hold the sandbox's rows.
    """
    file = _fresh_file(folder)
    os.environ.setdefault("DAGSTER_HOME", str(Path.cwd()))
    os.environ.pop(DESTINATION_VARIABLE, None)
    os.environ["DESTINATION__DUCKDB__CREDENTIALS"] = str(file)
    with DagsterInstance.get() as instance, SandboxServer(World(scale=scale)) as server:
        os.environ.update(server.environment())
        console.print(f"The sandbox serves five APIs at {server.url}; they go into {file}", soft_wrap=True)
        first = _sync(instance, console, "First sync", folder / LOG)
        changes = server.world.advance(HOURS)
        console.print(f"{HOURS} hours pass in the sandbox: {_told(changes)}")
        second = _sync(instance, console, "Second sync", folder / LOG)
        live = _check(file, server.world)
    console.print(_table(first, second, live))
    shown = os.path.relpath(file)
    console.print(
        "Every table holds exactly the rows that the sandbox serves.\n\n"
        "[bold]What to try next[/bold]\n\n"
        "The same in the Dagster UI, with the graph, the runs and each asset's plots:\n\n  make dev\n\n"
        "The epics that are talked about most, straight from the file:\n\n"
        f"  .venv/bin/python -c \"import duckdb; duckdb.connect('{shown}').sql('''\n{QUERY}''').show()\"",
        soft_wrap=True,
        highlight=False,
    )


@contextmanager
def _stderr_to(file: Path) -> Iterator[None]:
    """Sends what this process and its children write to standard error into ``file``: it would tear the bars."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with file.open("ab") as log:
            os.dup2(log.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _fresh_file(folder: Path) -> Path:
    file = (folder / FILE).absolute()
    mark = folder / MARK
    if file.exists() and not mark.exists():
        raise DemoError(
            f"{file} holds data that the demo did not write: move it away, or give the demo another --folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    mark.touch()
    for path in (file, file.with_name(file.name + ".wal")):
        path.unlink(missing_ok=True)
    return file


def _sync(instance: DagsterInstance, console: Console, title: str, log: Path) -> dict[str, ApiFigures]:
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
        watcher = threading.Thread(target=_watch, args=(instance, tag, progress, done), daemon=True)
        watcher.start()
        console.print(f"[bold]{title}[/bold]")
        with (
            _stderr_to(log),
            execute_job(
                reconstructable(all_sync),
                instance=instance,
                tags={TAG: tag},
                # the bars tell the progress here; the log is in the Dagster UI
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            ) as result,
        ):
            succeeded, run_id = result.success, result.run_id
        done.set()
        watcher.join()
    if not succeeded:
        raise DemoError(f"run {run_id} failed: `make dev` shows why, and so does {log}")
    return _figures(instance, run_id)


def _watch(instance: DagsterInstance, tag: str, progress: Progress, done: threading.Event) -> None:
    """Moves the bars by the materialisations in the run's event log."""
    tasks = {api.name: progress.add_task(api.title, total=len(api.endpoints)) for api in APIS.values()}
    last = False
    while not last:
        last = done.wait(POLL_SECONDS)
        run = _run(instance, tag)
        if run is None:
            continue
        counts = Counter(str(key[0]) for key, _ in _materialisations(instance, run.run_id))
        for name, task in tasks.items():
            if counts[name] != progress.tasks[task].completed:
                progress.update(task, completed=counts[name])
            if progress.tasks[task].finished:
                progress.stop_task(task)


def _run(instance: DagsterInstance, tag: str) -> DagsterRun | None:
    return next(iter(instance.get_runs(RunsFilter(tags={TAG: tag}), limit=1)), None)


def _materialisations(instance: DagsterInstance, run_id: str) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    found = []
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION):
        if event := entry.asset_materialization:
            values = {name: value.value for name, value in event.metadata.items()}
            found.append((tuple(event.asset_key.path), values))
    return found


def _figures(instance: DagsterInstance, run_id: str) -> dict[str, ApiFigures]:
    figures = {name: ApiFigures() for name in APIS}
    for key, values in _materialisations(instance, run_id):
        figure = figures[key[0]]
        figure.endpoints.add(key[-1])
        figure.loaded += int(values["rows_loaded"])
        figure.requests += int(values["requests"])
    for step in instance.get_run_step_stats(run_id):
        if step.start_time and step.end_time:
            figures[step.step_key].seconds = step.end_time - step.start_time
    return figures


def _check(file: Path, world: World) -> dict[str, int]:
    """Rows per API that are there upstream.

    Raises:
        DemoError: A table does not hold exactly the sandbox's rows.
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
                    raise DemoError(f"{api.name}.{endpoint.name} does not hold the sandbox's rows: this is a bug")
                rows[api.name] += len(expected)
    return rows


def _told(changes: Any) -> str:
    total: Counter[str] = Counter()
    for endpoints in changes.as_dict().values():
        for counts in endpoints.values():
            total.update(counts)
    return f"{total['added']} rows appear, {total['changed']} change, {total['removed']} vanish"


def _table(first: dict[str, ApiFigures], second: dict[str, ApiFigures], live: dict[str, int]) -> Table:
    table = Table(title="Two syncs of five APIs", show_footer=True, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("API", footer="all", no_wrap=True)
    sums = {
        "endpoints": sum(len(figure.endpoints) for figure in first.values()),
        "rows": sum(live.values()),
        "changed by\nsecond sync": sum(figure.loaded for figure in second.values()),
        "requests": sum(figure.requests for run in (first, second) for figure in run.values()),
    }
    for name, value in sums.items():
        table.add_column(name, footer=f"{value:,}", justify="right", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    for name, api in APIS.items():
        one, two = first[name], second[name]
        table.add_row(
            api.title,
            str(len(one.endpoints)),
            f"{live[name]:,}",
            f"{two.loaded:,}",
            f"{one.requests + two.requests:,}",
            f"{one.seconds:.0f} + {two.seconds:.0f}",
        )
    return table
