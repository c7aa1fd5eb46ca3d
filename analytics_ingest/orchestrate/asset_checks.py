"""The two asset checks of each asset, ``table_sound`` and ``table_watched``, and their evaluations by a sync."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import AssetCheckEvaluation, AssetCheckSeverity, AssetCheckSpec, MetadataValue

from analytics_ingest.orchestrate.metadata import unrendered
from analytics_ingest.sync.table_checks import ROWS_NOT_COLLAPSED, TABLE_CHECKS, checks_for, has_children

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagster import AssetKey

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.orchestrate.account_assets import AccountAssets
    from analytics_ingest.sync.table_checks import CheckResult

TABLE_SOUND = "table_sound"
TABLE_WATCHED = "table_watched"
ASSET_CHECKS = {
    TABLE_SOUND: (AssetCheckSeverity.ERROR, {check.name for check in TABLE_CHECKS if check.is_error}),
    TABLE_WATCHED: (AssetCheckSeverity.WARN, {check.name for check in TABLE_CHECKS if not check.is_error}),
}
"""By asset check the severity of its failure, and the names of its table checks.

Two asset checks hold all table checks, as each asset check costs an asset two events in each run (Dagster 1.13).
"""


def check_specs(account: AccountAssets) -> list[AssetCheckSpec]:
    """The specs of the asset checks of an account's assets."""
    return [
        AssetCheckSpec(
            check,
            asset=account.key(endpoint.name),
            description="\n".join(
                f"- `{each.name}`: {description}" for each, description in descriptions.items() if each.name in names
            ),
            blocking=can_block(account.api, endpoint, check),
        )
        for endpoint in account.api.endpoints
        for descriptions in [checks_for(account.api, endpoint)]
        for check, (_, names) in ASSET_CHECKS.items()
    ]


def can_block(api: Api, endpoint: Endpoint, check: str) -> bool:
    """Whether a failure of the check can keep assets that depend on the table from being materialised.

    It does if the table has collapsed: otherwise its children would be read by rows that may be wrong, and the other
    children's rows would be marked as deleted.
    """
    return check == TABLE_SOUND and has_children(api, endpoint)


def evaluations(
    api: Api, endpoint: Endpoint, results: Sequence[CheckResult], *, key: AssetKey
) -> list[AssetCheckEvaluation]:
    """The evaluations of the checks of the asset ``key``, for Dagster's event log; none without results."""
    if not results:
        return []
    evaluated = []
    for check, (severity, names) in ASSET_CHECKS.items():
        of_check = [each for each in results if each.name in names]
        failed = [each for each in of_check if not each.passed]
        collapsed = any(each.name == ROWS_NOT_COLLAPSED.name for each in failed)
        numbers = {name: value for each in of_check for name, value in each.numbers.items()}
        evaluated.append(
            AssetCheckEvaluation(
                asset_key=key,
                check_name=check,
                passed=not failed,
                severity=severity,
                description=unrendered(
                    "\n".join(f"{each.name}: {each.message}" for each in failed)
                    or "; ".join(each.message for each in of_check)
                ),
                metadata={
                    each.name: MetadataValue.text(f"{'passed' if each.passed else 'failed'}: {each.message}")
                    for each in of_check
                }
                | numbers,
                blocking=can_block(api, endpoint, check) and (collapsed or not failed),
            )
        )
    return evaluated
