"""What is measured: each scenario gives one table. Ratios are of medians of one run."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from rich.table import Table

from analytics_ingest_tests.bench.measure import IN_FLIGHT, Place, median, sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from analytics_ingest_tests.bench.measure import Cost, Sandbox

API = "project_planning"
TIMES = 3
numbers = count()


def table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left")
    for column in columns:
        made.add_column(column, justify="left" if not column else "right")
    return made


def fresh(folder: Path, upstream: Sandbox, **settings: str) -> Place:
    return Place(folder / f"place-{next(numbers)}", upstream, **settings)


def full_sync(folder: Path) -> list[Table]:
    """A first sync against what an asyncio client, and bare requests sessions, make of the same requests."""
    made = []
    with sandbox() as upstream:
        urls = folder / "urls.txt"
        fresh(folder, upstream).run("record", api=API, file=str(urls))
        for latency in (0.05, 0.0):
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
