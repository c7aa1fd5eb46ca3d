"""The figures of the demo's two syncs: materialisations and durations from Dagster's event log, as a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dagster import DagsterEventType
from rich import box
from rich.table import Table

from analytics_ingest.apis.registry import APIS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagster import DagsterInstance


@dataclass
class ApiFigures:
    """The figures of one API in one run.

    Attributes:
        loaded: Rows loaded.
        requests: Requests sent.
        seconds: Duration.
        endpoints: The endpoints that were materialised.
    """

    loaded: int = 0
    requests: int = 0
    seconds: float = 0.0
    endpoints: set[str] = field(default_factory=set)


def materialisations(instance: DagsterInstance, run_id: str) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """The key and the metadata of each asset that a run has materialised so far."""
    found = []
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION):
        if event := entry.asset_materialization:
            values = {name: value.value for name, value in event.metadata.items()}
            found.append((tuple(event.asset_key.path), values))
    return found


def run_figures(instance: DagsterInstance, run_id: str) -> dict[str, ApiFigures]:
    """The figures of a run by API."""
    figures = {name: ApiFigures() for name in APIS}
    for key, values in materialisations(instance, run_id):
        figure = figures[key[0]]
        figure.endpoints.add(key[-1])
        figure.loaded += int(values["rows_loaded"])
        figure.requests += int(values["requests"])
    for step in instance.get_run_step_stats(run_id):
        if step.start_time and step.end_time:
            figures[step.step_key].seconds = step.end_time - step.start_time
    return figures


def figures_table(first: Mapping[str, ApiFigures], second: Mapping[str, ApiFigures], rows: Mapping[str, int]) -> Table:
    """A table with a line per API.

    Args:
        first: The figures of the first sync.
        second: The figures of the second sync.
        rows: Rows that each API has upstream.
    """
    table = Table(title="Two syncs of five APIs", show_footer=True, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("API", footer="all", no_wrap=True)
    sums = {
        "endpoints": sum(len(figure.endpoints) for figure in first.values()),
        "rows": sum(rows.values()),
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
            f"{rows[name]:,}",
            f"{two.loaded:,}",
            f"{one.requests + two.requests:,}",
            f"{one.seconds:.0f} + {two.seconds:.0f}",
        )
    return table
