"""The jobs: a sync and a full refresh per API, and a sync of all APIs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagster import AssetSelection, define_asset_job

from analytics_ingest.orchestrate.run_tags import ALL_SYNC, API_TAG, RETRY_TAGS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dagster import ExecutorDefinition

    from analytics_ingest.apis.model import Api


def build_jobs(apis: Iterable[Api], *, side_by_side: ExecutorDefinition) -> list[Any]:
    """``<api>_sync`` and ``<api>_full_refresh`` for each API, and ``all_sync``.

    Their selections leave out the op of the checks: the sync itself records the checks, even if it fails half-way.

    Args:
        apis: The APIs.
        side_by_side: The executor of ``all_sync``.
    """
    jobs: list[Any] = []
    for api in apis:
        common: dict[str, Any] = {
            "selection": AssetSelection.groups(api.name).without_checks(),
            "tags": {API_TAG: api.name, **RETRY_TAGS},
        }
        jobs += [
            define_asset_job(f"{api.name}_sync", description=f"{api.title}: loads the rows that changed.", **common),
            define_asset_job(
                f"{api.name}_full_refresh",
                description=f"{api.title}: loads all rows again.",
                config={"ops": {api.name: {"config": {"full_refresh": True}}}},
                **common,
            ),
        ]
    everything = define_asset_job(
        ALL_SYNC,
        selection=AssetSelection.all().without_checks(),
        executor_def=side_by_side,
        tags=RETRY_TAGS,
        description="All APIs in parallel, each in a process of its own.",
    )
    return [*jobs, everything]
