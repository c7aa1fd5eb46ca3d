"""Translates an endpoint's dlt resource into an asset spec: key, dependencies, group, metadata, freshness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dagster import AssetSpec, MetadataValue
from dagster_dlt import DagsterDltTranslator

from analytics_ingest.apis.column_descriptions import describe_table
from analytics_ingest.orchestrate.account_assets import ACCOUNT_TAG
from analytics_ingest.orchestrate.code_references import code_references
from analytics_ingest.orchestrate.freshness import freshness_condition, freshness_policy
from analytics_ingest.orchestrate.metadata import column_schema, declared_columns, unrendered
from analytics_ingest.warehouse.destination import destination_name

if TYPE_CHECKING:
    from dagster_dlt.translator import DltResourceTranslatorData

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.config.schedule import ScheduleSettings
    from analytics_ingest.orchestrate.account_assets import AccountAssets


@dataclass
class ApiTranslator(DagsterDltTranslator):
    """Makes the asset specs of an account's resources."""

    account: AccountAssets
    schedule_settings: ScheduleSettings

    def get_asset_spec(self, data: DltResourceTranslatorData) -> AssetSpec:
        """The spec of ``<account>/<resource>``, which depends on the assets of its parents."""
        account, api = self.account, self.account.api
        endpoint = api.by_name[data.resource.name]
        return AssetSpec(
            key=account.key(endpoint.name),
            deps=[account.key(parent) for parent in endpoint.upstream],
            description=_description(account, endpoint),
            group_name=account.group,
            kinds={"dlt", destination_name()},
            freshness_policy=freshness_policy(self.schedule_settings),
            automation_condition=freshness_condition(
                may_be_missing=[account.key(name) for name in endpoint.upstream if api.by_name[name].withdrawal]
            ),
            owners=list(dict.fromkeys((*self.schedule_settings.owners, *account.owners))),
            tags={**account.tags, ACCOUNT_TAG: api.name, "api": api.name, "reads": _reads(endpoint)},
            code_version=endpoint.declaration,
            # a failed or skipped endpoint has no materialisation, the others of its op do
            skippable=True,
            metadata={
                "dagster/table_name": f"{api.name}.{endpoint.name}",
                "dagster/column_schema": column_schema(declared_columns(endpoint), describe_table(api, endpoint)),
                "dagster/storage_kind": destination_name(),
                "dagster/code_references": code_references(api, endpoint.name),
                "path": endpoint.path,
                **({"profile": api.profile} if api.profile else {}),
                **(
                    {"docs": MetadataValue.url(self.schedule_settings.docs_url)}
                    if self.schedule_settings.docs_url
                    else {}
                ),
                **({"configuration": "\n".join(account.obstacles)} if account.obstacles else {}),
                "primary_key": ", ".join(endpoint.primary_key) or "none: a snapshot, replaced by each sync",
                "cursor": endpoint.cursor_path[0] if endpoint.cursor_path else "none: compared by content",
            },
        )


def _description(account: AccountAssets, endpoint: Endpoint) -> str:
    """The endpoint's description in markdown, after what keeps the account from being synced."""
    notices = [f"**Not synced:** {unrendered(each)}" for each in account.obstacles]
    return "\n\n".join([*notices, endpoint.description])


def _reads(endpoint: Endpoint) -> str:
    """How the endpoint is read (``snapshot``, ``fan-out``, ``list``), as a tag to select assets by."""
    if not endpoint.primary_key:
        return "snapshot"
    return "fan-out" if endpoint.parents else "list"
