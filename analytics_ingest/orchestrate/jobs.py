"""The jobs: one per API, and all five side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagster import AssetSelection, define_asset_job, multiprocess_executor

from analytics_ingest.orchestrate.runs import ALL_SYNC, API_TAG

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
    """``<api>_sync`` and ``<api>_full_refresh`` for each API, and ``all_sync``.

    Their selections leave out the op of the checks: the sync itself records them, also when it fails half-way.
    """
    jobs: list[Any] = []
    for api in apis:
        common: dict[str, Any] = {
            "selection": AssetSelection.groups(api.name).without_checks(),
            "tags": {API_TAG: api.name},
        }
        jobs += [
            define_asset_job(
                f"{api.name}_sync", description=f"{api.title}: reads what changed and loads it.", **common
            ),
            define_asset_job(
                f"{api.name}_full_refresh",
                description=f"{api.title}: reads everything and loads it again.",
                config={"ops": {api.name: {"config": {"full_refresh": True}}}},
                **common,
            ),
        ]
    everything = define_asset_job(
        ALL_SYNC,
        selection=AssetSelection.all().without_checks(),
        executor_def=SIDE_BY_SIDE,
        description="All APIs side by side, each in a process of its own.",
    )
    return [*jobs, everything]
