"""The jobs: a sync, a full refresh and a verification per API, and a sync of all APIs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagster import define_asset_job

from analytics_ingest.orchestrate.account_assets import prefixed, selection_of
from analytics_ingest.orchestrate.run_tags import ALL_SYNC, ALL_TAG, API_TAG, RETRY_TAGS, VERIFY_TAG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagster import ExecutorDefinition

    from analytics_ingest.orchestrate.account_assets import AccountAssets


def build_jobs(
    accounts: Sequence[AccountAssets], *, name_prefix: str = "", side_by_side: ExecutorDefinition | None = None
) -> list[Any]:
    """``<account>_sync``, ``<account>_full_refresh`` and ``<account>_verify`` for each account, and ``all_sync``.

    The selections of syncs leave out the op of the checks: a sync records the checks itself, even if it fails half-way.

    Args:
        accounts: The accounts.
        name_prefix: A prefix of the name of ``all_sync``, which a single account with a prefix does not need.
        side_by_side: The executor of ``all_sync``; ``None`` for that of the code location.
    """
    jobs: list[Any] = []
    for account in accounts:
        api = account.api
        common: dict[str, Any] = {
            "selection": account.selection.without_checks(),
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
            define_asset_job(
                f"{api.name}_verify",
                # the checks alone
                selection=account.selection - account.selection.without_checks(),
                config={"ops": {f"{api.name}_checks": {"config": {"verify": True}}}},
                tags={VERIFY_TAG: api.name},
                description=f"{api.title}: compares tables with the API, within the budget VERIFY_REQUESTS.",
            ),
        ]
    if name_prefix and len(accounts) == 1:
        return jobs
    everything = define_asset_job(
        prefixed(name_prefix, ALL_SYNC),
        selection=selection_of(accounts).without_checks(),
        executor_def=side_by_side,
        tags={ALL_TAG: "true", **RETRY_TAGS},
        description="All APIs in parallel, each in a process of its own.",
    )
    return [*jobs, everything]
