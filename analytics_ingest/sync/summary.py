"""What a sync has done, as text for its log: a line for each endpoint, and a table of all of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from analytics_ingest.sync.result import EndpointResult

STATUSES = ("failed", "skipped", "complete")
"""The statuses of results, in the order of the table."""
NOT_REACHED = "not reached"
"""The status of an endpoint that the sync did not come to."""


def result_line(result: EndpointResult, *, loads_again: bool) -> str:
    """The rows that an endpoint's part of a sync has loaded, marked as deleted and rejected, and what it cost.

    Args:
        result: The endpoint's result.
        loads_again: Whether rows that have not changed are loaded as well, so that those cannot be told from others.
    """
    *rows, requests, seconds = _numbers(result)
    counts = ", ".join(f"{number:,} {kind}" for number, kind in zip(rows, _kinds(loads_again=loads_again), strict=True))
    return f"rows: {counts}; {requests:,} {'request' if requests == 1 else 'requests'}, {seconds:,.1f} seconds"


def summarize(results: Collection[EndpointResult], unreached: Collection[str], *, loads_again: bool) -> str:
    """How many endpoints ended how, and below it a table of them with the sums of what adds up, as plain text.

    Args:
        results: The results, in the order in which they are shown after those that are not complete.
        unreached: Names of the endpoints that the sync did not come to.
        loads_again: See ``result_line``.
    """
    # first what Dagster's UI shows before it folds the text
    results = sorted(results, key=lambda result: STATUSES.index(result.status))
    counts = Counter((*(result.status for result in results), *[NOT_REACHED] * len(unreached)))
    title = ", ".join(f"{counts[status]} {status}" for status in (*STATUSES, NOT_REACHED) if counts[status])
    numbers = [_numbers(result) for result in results]
    # the endpoints are read at the same time, so their seconds do not add up
    sums = [f"{sum(column):,}" for column in list(zip(*numbers, strict=True))[:-1]]
    rows = [
        ("endpoint", "status", *_kinds(loads_again=loads_again), "requests", "seconds"),
        *(
            (result.endpoint.name, result.status, *(f"{each:,}" for each in whole), f"{seconds:,.1f}")
            for result, (*whole, seconds) in zip(results, numbers, strict=True)
        ),
        *((name, NOT_REACHED, *[""] * (len(sums) + 1)) for name in unreached),
        ("all", "", *sums, ""),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([title, *lines])


def _kinds(*, loads_again: bool) -> tuple[str, str, str, str]:
    """What the first four of ``_numbers`` are."""
    return ("new", "again" if loads_again else "changed", "deleted", "rejected")


def _numbers(result: EndpointResult) -> tuple[int, int, int, int, int, float]:
    """Rows that are new, that have changed, that were deleted and rejected; requests; seconds."""
    stats = result.stats
    if stats is None:
        return (0, 0, 0, 0, 0, 0.0)
    return (
        result.rows_new,
        stats.rows_loaded - result.rows_new,
        result.rows_deleted,
        stats.rows_rejected,
        stats.meter.requests,
        stats.seconds,
    )
