"""The jobs: one per API, and all five side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagster import AssetSelection, define_asset_job, multiprocess_executor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analytics_ingest.apis import Api

SIDE_BY_SIDE = multiprocess_executor.configured(
    {
        "max_concurrent": 5,
        # a new process would import everything anew for each API
        "start_method": {"forkserver": {"preload_modules": ["analytics_ingest.definitions"]}},
    }
)
"""Each API in a process of its own. Only their writing into DuckDB is serial."""


def build_jobs(apis: Iterable[Api]) -> list[Any]:
    """``<api>_sync`` for each API, and ``all_sync``."""
    jobs: list[Any] = [
        define_asset_job(
            f"{api.name}_sync",
            selection=AssetSelection.groups(api.name),
            description=f"{api.title}: reads what changed and loads it.",
        )
        for api in apis
    ]
    everything = define_asset_job(
        "all_sync",
        selection=AssetSelection.all(),
        executor_def=SIDE_BY_SIDE,
        description="All APIs side by side, each in a process of its own.",
    )
    return [*jobs, everything]
