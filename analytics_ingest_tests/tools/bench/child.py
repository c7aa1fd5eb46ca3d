"""What runs in a process of its own, so that its CPU time and memory are its own; prints what it cost as JSON.

Process start and imports are not counted: each job begins its own count.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

OF_ASSETS = {
    *("ASSET_MATERIALIZATION_PLANNED", "ASSET_MATERIALIZATION", "STEP_OUTPUT"),
    *("ASSET_CHECK_EVALUATION_PLANNED", "ASSET_CHECK_EVALUATION", "ASSET_OBSERVATION"),
}
QUIET = logging.getLogger("bench")


def counted(job: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a job says of itself, with seconds on the clock, seconds of CPU and the peak of its memory in MB."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    begun, spent = time.perf_counter(), usage.ru_utime + usage.ru_stime
    said = job()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    wall, cpu = time.perf_counter() - begun, usage.ru_utime + usage.ru_stime - spent
    return {"wall": wall, "cpu": cpu, "rss": usage.ru_maxrss / 1024, **said}


def sync(api: str, endpoints: list[str], *, full_refresh: bool = False) -> dict[str, Any]:
    """One sync; how often it asked, and what it loaded.

    Raises:
        RuntimeError: An endpoint was not read: what was measured then is something else.
    """
    from analytics_ingest.apis.registry import APIS
    from analytics_ingest.extract.sync_options import SyncOptions
    from analytics_ingest.sync.api_sync import ApiSync

    run = ApiSync(
        APIS[api], selected=set(endpoints) or None, options=SyncOptions(full_refresh=full_refresh), log=QUIET
    ).run()
    results = list(run)
    if failed := [f"{result.endpoint.name}: {result.reason}" for result in results if result.status == "failed"]:
        raise RuntimeError("; ".join(failed))
    readings = [result.stats for result in results if result.stats]
    return {
        "requests": sum(stats.meter.requests for stats in readings),
        "retries": sum(stats.meter.retries for stats in readings),
        "rows": sum(stats.rows_read for stats in readings),
        "loaded": sum(stats.rows_loaded for stats in readings),
        "packages": packages(api),
    }


def packages(api: str) -> int | None:
    """Load packages of an API so far, in a DuckDB file."""
    import duckdb

    if os.environ.get("ANALYTICS_INGEST_DESTINATION"):
        return None
    with duckdb.connect(os.environ["DESTINATION__DUCKDB__CREDENTIALS"], read_only=True) as connection:
        found = connection.execute(f"SELECT count(*) FROM {api}._dlt_loads").fetchone()
    return found[0] if found else 0


def run_of(job: str) -> dict[str, Any]:
    """A run of ``all_sync`` or ``materialise_all``.

    Returns:
        The seconds from its first step's beginning to its last step's end, and its events for each asset, as Dagster
        counts them: planned, materialised, output, and those of the checks.
    """
    from dagster import DagsterInstance, execute_job
    from dagster._core.definitions.reconstruct import ReconstructableRepository

    repository = ReconstructableRepository.for_module("analytics_ingest.definitions", "defs")
    name = {"all_sync": "all_sync", "materialise_all": "__ASSET_JOB"}[job]
    with DagsterInstance.local_temp() as instance:
        done = execute_job(repository.get_reconstructable_job(name), instance)
        steps = instance.get_run_step_stats(done.run_id)
        entries = instance.all_logs(done.run_id)
    if not done.success:
        raise RuntimeError(f"{job} failed")
    times = [(step.start_time or 0.0, step.end_time or 0.0) for step in steps]
    kinds = [entry.dagster_event.event_type_value for entry in entries if entry.dagster_event]
    assets = kinds.count("ASSET_MATERIALIZATION")
    return {
        "seconds": max(end for _, end in times) - min(start for start, _ in times),
        "events": sum(kind in OF_ASSETS for kind in kinds) / assets,
    }


def record(api: str, file: str) -> dict[str, Any]:
    """One sync whose URLs are written down, for those that ask for the same."""
    from analytics_ingest.http.transport import Request, Response, Transport

    asked: list[str] = []
    get = Transport.send_once

    def noted(self: Transport, request: Request) -> Response:
        asked.append(request.url)
        return get(self, request)

    Transport.send_once = noted
    said = sync(api, [])
    Path(file).write_text("\n".join(asked))
    return said


def bulk_load(bodies: list[Any], file: str) -> int:
    """Writes the rows of all bodies into one table, in one go; how many there are."""
    import duckdb
    import orjson
    import pyarrow as pa

    rows: list[Any] = []
    for body in bodies:
        found = body.get("data", body.get("items", body.get("objects", body))) if isinstance(body, dict) else body
        rows += found if isinstance(found, list) else [found]
    # one table for all: each row as it came, beside its key
    everything = pa.table({"id": [str(row.get("id")) for row in rows], "row": [orjson.dumps(row) for row in rows]})
    with duckdb.connect(file) as connection:
        connection.execute("CREATE TABLE rows AS SELECT * FROM everything")
    return len(everything)


def with_asyncio(urls: str, header: str, key: str, in_flight: int, file: str) -> dict[str, Any]:
    """The floor: the same requests by an asyncio client, and one bulk load."""
    import aiohttp
    import orjson

    left = deque(Path(urls).read_text().splitlines())
    bodies: list[Any] = []

    async def worker(session: aiohttp.ClientSession) -> None:
        from yarl import URL

        while left:
            async with session.get(URL(left.popleft(), encoded=True)) as answer:
                bodies.append(orjson.loads(await answer.read()))

    async def run() -> None:
        connector = aiohttp.TCPConnector(limit=in_flight)
        async with aiohttp.ClientSession(headers={header: key}, connector=connector) as session:
            await asyncio.gather(*(worker(session) for _ in range(in_flight)))

    count = len(left)
    asyncio.run(run())
    return {"requests": count, "rows": bulk_load(bodies, file)}


def with_requests(urls: str, header: str, key: str, in_flight: int, file: str) -> dict[str, Any]:
    """The same requests by bare requests sessions, one for each of as many threads, and one bulk load."""
    import requests

    left = deque(Path(urls).read_text().splitlines())
    bodies: list[Any] = []

    def worker() -> None:
        with requests.Session() as session:
            session.headers[header] = key
            while left:
                try:
                    url = left.popleft()
                except IndexError:
                    return
                bodies.append(session.get(url, timeout=60).json())

    count = len(left)
    threads = [threading.Thread(target=worker) for _ in range(in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"requests": count, "rows": bulk_load(bodies, file)}


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    job.__name__: job for job in (sync, run_of, record, with_asyncio, with_requests)
}

if __name__ == "__main__":
    name, arguments = sys.argv[1], json.loads(sys.argv[2])
    # imports are not counted: all that the job itself would import
    import dlt.common.libs.pyarrow
    import dlt.destinations.impl.duckdb.duck
    import dlt.destinations.impl.postgres.postgres  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import sqlalchemy  # noqa: F401

    import analytics_ingest.sync.api_sync  # noqa: F401

    sys.stdout.write(f"{json.dumps(counted(lambda: JOBS[name](**arguments)))}\n")
