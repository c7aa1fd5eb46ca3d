"""What is measured: each scenario gives one table. Ratios are of medians of one run."""

from __future__ import annotations

import os
import sys
import time
from itertools import count
from typing import TYPE_CHECKING

from analytics_ingest.apis.registry import APIS
from analytics_ingest_tests.stores import duckdb_store, postgres_store
from analytics_ingest_tests.tools.bench.measure import IN_FLIGHT, Cost, Place, incidents, median, sandbox, table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from rich.table import Table

    from analytics_ingest_tests.stores import Store
    from analytics_ingest_tests.tools.bench.measure import Sandbox

API = "project_planning"
LIMITED = "continuous_integration"
"""An API of some 600 requests: three minutes at the limit."""
PER_MINUTE = 200
LATENCY = 0.05
SCALE = 1.27
"""What gives a full sync of ``API`` some 2,900 requests."""
TIMES = 3
EMPTY = """
from dagster import asset, Definitions

@asset
def empty() -> None:
    pass

defs = Definitions([empty])
"""
numbers = count()


def fresh(folder: Path, upstream: Sandbox, **settings: str) -> Place:
    return Place(folder / f"place-{next(numbers)}", upstream.environment, **settings)


def full_sync(folder: Path) -> list[Table]:
    """A first sync against what an asyncio client, and bare requests sessions, make of the same requests."""
    made = []
    with sandbox(scale=SCALE) as upstream:
        urls = folder / "urls.txt"
        fresh(folder, upstream).run("record", api=API, file=str(urls))
        for latency in (LATENCY, 0.0):
            upstream.set(latency=latency)

            def client(job: str) -> Cost:
                place = fresh(folder, upstream)
                return place.run(
                    job,
                    urls=str(urls),
                    header="api_key",
                    key=upstream.setting(API, "API_KEY"),
                    in_flight=IN_FLIGHT,
                    file=str(place.folder / "bulk.duckdb"),
                )

            # in turns, so that all meet the same machine
            turns = [
                (
                    client("with_asyncio"),
                    client("with_requests"),
                    fresh(folder, upstream).run("sync", api=API, endpoints=[]),
                )
                for _ in range(TIMES)
            ]
            floor, bare, ours = (median(costs) for costs in zip(*turns, strict=True))
            said = table(
                f"Full sync of {API}: {ours['requests']:,} requests of {1000 * latency:.0f} ms, {IN_FLIGHT} in flight",
                *("", "wall s", "wall ratio", "CPU s", "CPU ratio", "peak MB"),
            )
            for name, cost in (
                ("asyncio client, bulk load", floor),
                ("requests sessions, bulk load", bare),
                ("sync", ours),
            ):
                said.add_row(
                    name,
                    f"{cost.wall:.2f}",
                    f"{cost.wall / floor.wall:.2f}",
                    f"{cost.cpu:.2f}",
                    f"{cost.cpu / bare.cpu:.2f}",
                    f"{cost.rss:.0f}",
                )
            made.append(said)
    return made


def all_apis(folder: Path) -> list[Table]:
    """Each API on its own, for the first time and without changes; and all of them by one run."""
    with sandbox() as upstream:
        upstream.set(latency=LATENCY)
        alone, again = {}, {}
        for api in APIS:
            places = [fresh(folder, upstream) for _ in range(TIMES)]
            alone[api], again[api] = (
                median([place.run("sync", api=api, endpoints=[]) for place in places]) for _ in range(2)
            )
        together = {
            job: median([Cost(each["seconds"], each.cpu, each.rss, each.said) for each in costs])
            for job in ("all_sync", "materialise_all")
            for costs in [[fresh(folder, upstream).run("run_of", job=job) for _ in range(TIMES)]]
        }
    slowest, cores = max(cost.wall for cost in alone.values()), os.cpu_count() or 1
    spread = sum(cost.cpu for cost in alone.values()) / cores
    made = table(
        f"All APIs: {1000 * LATENCY:.0f} ms, {IN_FLIGHT} in flight",
        *("", "requests", "wall s", "CPU s", "again: wall s", "CPU s "),
    )
    for api, cost in alone.items():
        quiet = again[api]
        made.add_row(
            api,
            f"{cost['requests']:,}",
            f"{cost.wall:.2f}",
            f"{cost.cpu:.2f}",
            f"{quiet.wall:.2f}",
            f"{quiet.cpu:.2f}",
        )
    made.add_row("CPU of all, over the cores", "", f"{spread:.2f}")
    for job, cost in together.items():
        times = cost.wall / max(slowest, spread)
        made.add_row(f"{job}, from its first step to its last", "", f"{cost.wall:.2f}")
        made.add_row("  of the slowest or the CPU, whichever is more", "", f"{times:.2f} times")
        made.add_row("  events an asset", "", f"{cost['events']:.1f}")
    return [made]


def incremental(folder: Path) -> list[Table]:
    """What a sync costs where nothing changed, and where little did; also with four times the data."""
    return [_incremental(folder, scale=SCALE), _incremental(folder, scale=4 * SCALE)]


def _incremental(folder: Path, *, scale: float) -> Table:
    turns = []
    with sandbox(scale=scale) as upstream:
        for _ in range(TIMES):
            place = fresh(folder, upstream)
            first = place.run("sync", api=API, endpoints=[])
            quiet = place.run("sync", api=API, endpoints=[])
            changed = Place(
                place.folder,
                upstream.environment,
                SOURCES__PROJECT_PLANNING__FAN_OUT="changed",
                SOURCES__PROJECT_PLANNING__SEARCH_EPICS__LIMIT="25",
            )
            # the first sync in this mode asks every parent, as it cannot know what changed before
            between = changed.run("sync", api=API, endpoints=[])
            few = changed.run("sync", api=API, endpoints=[])
            upstream.advance(24)
            some = changed.run("sync", api=API, endpoints=[])
            turns.append((first, quiet, between, few, some))
    costs = [median(each) for each in zip(*turns, strict=True)]
    first = costs[0]
    made = table(
        f"{API} again, {first['rows']:,} rows: 0 ms, {IN_FLIGHT} in flight",
        *("", "requests", "of the first", "rows loaded", "packages", "CPU s", "of the first "),
    )
    names = ("first sync", "nothing changed", "", "nothing changed, fan_out: changed", "a day later, fan_out: changed")
    before = 0
    for name, cost in zip(names, costs, strict=True):
        if name:
            made.add_row(
                name,
                f"{cost['requests']:,}",
                f"{cost['requests'] / first['requests']:.1%}",
                f"{cost['loaded']:,}",
                f"{cost['packages'] - before}",
                f"{cost.cpu:.2f}",
                f"{cost.cpu / first.cpu:.0%}",
            )
        before = cost["packages"]
    return made


def limited(folder: Path) -> list[Table]:
    """Against a limit of so many requests per minute: one that a setting states, and one that the server tells."""
    made = table(
        f"{LIMITED} at {PER_MINUTE} requests per minute",
        "",
        "requests",
        "429",
        "s",
        "least s",
        "of the limit",
    )
    with sandbox() as upstream:
        upstream.set(rate_limit=PER_MINUTE, rate_window=60.0)
        for name, settings in (
            ("by REQUESTS_PER_MINUTE", {f"SOURCES__{LIMITED.upper()}__REQUESTS_PER_MINUTE": str(PER_MINUTE)}),
            ("by the server's answers", {}),
        ):
            cost = fresh(folder, upstream, **settings).run("sync", api=LIMITED, endpoints=[])
            time.sleep(60)  # the last window is over
            asked = cost["requests"] - cost["retries"]
            # spread over the minute, or in one go as soon as a window begins
            least = 60 * asked / PER_MINUTE if settings else 60 * ((asked - 1) // PER_MINUTE)
            made.add_row(
                name,
                f"{asked:,}",
                f"{cost['retries']}",
                f"{cost.wall:.1f}",
                f"{least:.1f}",
                f"{least / cost.wall:.1%}",
            )
    return [made]


def memory(folder: Path) -> list[Table]:
    """Ten and a hundred times the rows."""
    return [_rows(folder, "DuckDB", duckdb_store, (10_000, 100_000, 1_000_000))]


def postgres(folder: Path) -> list[Table]:
    """The same into PostgreSQL, in a database of its own on the server of ``PGHOST`` and its kin."""
    return [_rows(folder, "PostgreSQL", postgres_store, (100_000, 1_000_000))]


def _rows(
    folder: Path, name: str, destination: Callable[[Path], AbstractContextManager[Store]], sizes: Sequence[int]
) -> Table:
    title = f"Rows of one endpoint into {name}, first sync"
    made = table(title, "", "wall s", "rows/s", "CPU s", "CPU ms a row", "peak MB")
    for rows in sizes:
        own = folder / f"place-{next(numbers)}"
        with incidents(rows) as upstream, destination(own) as store:
            place = Place(own, upstream, **store.settings)
            cost = place.run("sync", api="incident_response", endpoints=["incidents"])
            again = place.run("sync", api="incident_response", endpoints=["incidents"], full_refresh=True)
        for said, each in ((f"{rows:,} rows", cost), (f"{rows:,} rows, full refresh", again)):
            if each["loaded"] != rows:
                raise RuntimeError(f"{each['loaded']} of {rows} rows were loaded")
            made.add_row(
                said,
                f"{each.wall:.1f}",
                f"{rows / each.wall:,.0f}",
                f"{each.cpu:.1f}",
                f"{1000 * each.cpu / rows:.3f}",
                f"{each.rss:.0f}",
            )
    return made


def materialise(folder: Path) -> list[Table]:
    """``dagster asset materialize`` of one small asset, and of an asset that does nothing."""
    made = table("dagster asset materialize, the whole command", "", "wall s", "CPU s", "more than empty, s")
    with sandbox() as upstream:
        place = fresh(folder, upstream)
        home = place.folder / "dagster"
        home.mkdir()
        place.environment["DAGSTER_HOME"] = str(home)
        (place.folder / "empty.py").write_text(EMPTY)
        command = (sys.executable, "-m", "dagster", "asset", "materialize")
        empty, ours = [], []
        for _ in range(1 + TIMES):
            empty.append(place.time(*command, "-f", "empty.py", "--select", "empty"))
            ours.append(
                place.time(
                    *command, "-m", "analytics_ingest.definitions", "--select", 'key:"incident_response/dashboards"'
                )
            )
    # the first of each makes files that the others find
    nothing, small = median(empty[1:]), median(ours[1:])
    made.add_row("an asset that does nothing", f"{nothing.wall:.2f}", f"{nothing.cpu:.2f}", "")
    made.add_row(
        "incident_response/dashboards", f"{small.wall:.2f}", f"{small.cpu:.2f}", f"{small.wall - nothing.wall:.2f}"
    )
    return [made]


def materialise_api(folder: Path) -> list[Table]:
    """``dagster asset materialize`` of an API, against an asset that does nothing and an asyncio client together."""
    made = table(
        f"dagster asset materialize of {API}, the whole command",
        *("", "empty s", "asyncio s", "first s", "of both", "again s", "of both "),
    )
    command = (sys.executable, "-m", "dagster", "asset", "materialize")
    with sandbox(scale=SCALE) as upstream:
        urls = folder / "urls-of-an-api.txt"
        fresh(folder, upstream).run("record", api=API, file=str(urls))
        for latency in (LATENCY, 0.0):
            upstream.set(latency=latency)
            turns = []
            for _ in range(TIMES):
                place = fresh(folder, upstream)
                home = place.folder / "dagster"
                home.mkdir()
                place.environment["DAGSTER_HOME"] = str(home)
                (place.folder / "empty.py").write_text(EMPTY)
                empty = (*command, "-f", "empty.py", "--select", "empty")
                ours = (*command, "-m", "analytics_ingest.definitions", "--select", f"group:{API}")
                # makes the files of Dagster's instance
                place.time(*empty)
                floor = place.run(
                    "with_asyncio",
                    urls=str(urls),
                    header="api_key",
                    key=upstream.setting(API, "API_KEY"),
                    in_flight=IN_FLIGHT,
                    file=str(place.folder / "bulk.duckdb"),
                )
                turns.append((place.time(*empty), floor, place.time(*ours), place.time(*ours)))
            nothing, copied, first, again = (median(costs).wall for costs in zip(*turns, strict=True))
            least = nothing + copied
            made.add_row(
                f"{1000 * latency:.0f} ms",
                f"{nothing:.2f}",
                f"{copied:.2f}",
                f"{first:.2f}",
                f"{first / least:.2f}",
                f"{again:.2f}",
                f"{again / least:.2f}",
            )
    return [made]
