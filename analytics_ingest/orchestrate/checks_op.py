"""The op that executes an API's asset checks without a sync, by the tables and their last materialisations."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetCheckKey,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetKey,
    AssetObservation,
    Config,
    DagsterEventType,
    MetadataValue,
    Output,
    TableSchema,
    multi_asset_check,
)
from pydantic import Field

from analytics_ingest.apis.model import Api, Endpoint
from analytics_ingest.apis.parents import DateWindow, as_time
from analytics_ingest.config.accounts import check_graph_settings
from analytics_ingest.config.api import load_setting
from analytics_ingest.errors import IngestError
from analytics_ingest.extract.date_window import load_options
from analytics_ingest.extract.rows import DELETED_AT
from analytics_ingest.orchestrate.account_assets import AccountAssets, account_of, endpoint_of
from analytics_ingest.orchestrate.asset_checks import can_block, check_specs, evaluations
from analytics_ingest.orchestrate.parent_process import end_with_parent
from analytics_ingest.orchestrate.plain_failure import PlainFailureError
from analytics_ingest.sync.table_checks import CheckResult, TableFacts, check_table
from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError
from analytics_ingest.warehouse.history_names import VERIFICATIONS

if TYPE_CHECKING:
    from analytics_ingest.warehouse.table_queries import DatasetTables
    from analytics_ingest.warehouse.verification_table import Verification


class ChecksConfig(Config):
    """The run config of the op of an API's checks."""

    verify: bool = Field(
        default=False,
        description="Compare tables with the API first, with as many requests as the setting VERIFY_REQUESTS permits.",
    )


def build_checks(account: AccountAssets) -> AssetChecksDefinition:
    """The op ``<account>_checks``.

    A sync records the same checks itself, so it does not need the op: Dagster would not start the op if another
    endpoint of the API had failed.
    """
    api = account.api

    @multi_asset_check(name=f"{api.name}_checks", specs=check_specs(account), can_subset=True)
    def checks(
        context: AssetCheckExecutionContext, config: ChecksConfig
    ) -> Iterator[AssetCheckResult | AssetCheckEvaluation | Output[None]]:
        end_with_parent()
        # Dagster logs a warning about outputs that are left out: those of checks that the sync has recorded
        context.log.addFilter(_is_not_about_outputs)
        recorded = _recorded(context)
        selected: dict[AssetKey, set[str]] = {}
        for key in context.selected_asset_check_keys - recorded.keys():
            selected.setdefault(key.asset_key, set()).add(key.name)
        try:
            if config.verify:
                _verify(context, api, {endpoint_of(key): key for key in selected})
            if selected:
                for each in _execute(context, api, selected):
                    yield each
                    if isinstance(each, AssetCheckEvaluation):
                        recorded[each.asset_check_key] = each
        except (IngestError, LockTimeoutError, WarehouseError) as error:
            raise PlainFailureError(str(error)) from None
        yield from _outputs(context, api, recorded)

    return checks


def _verify(context: AssetCheckExecutionContext, api: Api, keys: Mapping[str, AssetKey]) -> None:
    """Compares tables with the API, and records an observation for each asset of which anything was compared.

    Args:
        context: The op's context.
        api: The API.
        keys: The assets by endpoint.
    """
    # not at the top: definitions load without dlt's destinations
    from analytics_ingest.diagnostics.verification import verify_some  # noqa: PLC0415

    check_graph_settings(api)
    budget = load_setting(api, "verify_requests")
    if not budget:
        context.log.info(f"{api.name}: no table is compared with the API: VERIFY_REQUESTS is 0")
        return
    verified = verify_some(api, requests=budget, selected=keys, log=context.log)
    for each in verified:
        found = each.verification
        metadata: dict[str, Any] = {
            "lists_compared": each.lists,
            "requests": each.requests,
            "rows_that_differ": len(found.counting),
            "rows_that_differed_once": len(found.rows) - len(found.counting),
        }
        if found.verified_at:
            metadata["verified_at"] = MetadataValue.timestamp(found.verified_at)
        if found.reason:
            metadata["reason"] = MetadataValue.text(found.reason)
            context.log.warning(f"{api.name}/{each.endpoint.name} was not compared completely: {found.reason}")
        context.op_execution_context.log_event(AssetObservation(asset_key=keys[each.endpoint.name], metadata=metadata))
    lists, requests = sum(each.lists for each in verified), sum(each.requests for each in verified)
    context.log.info(f"{api.name}: {lists} lists compared with {requests} of {budget} requests")


def _is_not_about_outputs(record: logging.LogRecord) -> bool:
    return "did not yield or return expected outputs" not in record.getMessage()


def _recorded(context: AssetCheckExecutionContext) -> dict[AssetCheckKey, AssetCheckEvaluation]:
    """The evaluations by the sync in the same run, which compared the table with that before the sync."""
    entries = context.instance.all_logs(context.run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION)
    events = [entry.dagster_event.event_specific_data for entry in entries if entry.dagster_event]
    evaluated = {each.asset_check_key: each for each in events if isinstance(each, AssetCheckEvaluation)}
    return {key: each for key, each in evaluated.items() if key in context.selected_asset_check_keys}


def _outputs(
    context: AssetCheckExecutionContext, api: Api, recorded: Mapping[AssetCheckKey, AssetCheckEvaluation]
) -> Iterator[Output[None]]:
    """The outputs for which assets of other ops in this run wait: Dagster skips an asset whose output is missing.

    Args:
        context: The op's context.
        api: The API.
        recorded: The evaluations that have no output yet.

    Raises:
        Failure: A table that such assets depend on has collapsed.
    """
    # internal to Dagster: its public API does not give the other assets of a run
    layer = context.job_def.asset_layer
    others = {key for key in layer.selected_asset_keys if account_of(key) != api.name}
    collapsed = []
    for key, evaluation in recorded.items():
        if not can_block(api, api.by_name[endpoint_of(key.asset_key)], key.name):
            continue
        if waiting := layer.asset_graph.get(key.asset_key).child_keys & others:
            if evaluation.blocking and not evaluation.passed:
                names = ", ".join(sorted(each.to_user_string() for each in waiting))
                collapsed.append(f"{key.asset_key.to_user_string()}: {evaluation.description}; skipped: {names}")
            else:
                yield Output(None, output_name=layer.get_op_output_name(key))
    if collapsed:
        raise PlainFailureError("\n".join(collapsed), allow_retries=False)


def _execute(
    context: AssetCheckExecutionContext, api: Api, selected: Mapping[AssetKey, set[str]]
) -> Iterator[AssetCheckResult | AssetCheckEvaluation]:
    """Executes the selected checks.

    Args:
        context: The op's context.
        api: The API.
        selected: By asset the names of its checks to execute.
    """
    # not at the top: definitions load without dlt's destinations
    from analytics_ingest.warehouse.warehouse import Warehouse  # noqa: PLC0415

    timeout = load_setting(api, "lock_timeout")
    warehouse = Warehouse(api.name, log=context.log, lock_timeout=timeout)
    with warehouse.sync(), warehouse.open() as tables:
        columns = tables.columns([*api.by_name, VERIFICATIONS])
        known = columns.get(VERIFICATIONS, {})
        verifications = warehouse.verifications(lambda table: table.rows(known)) if known else {}
        for key in sorted(selected):
            endpoint = api.by_name[endpoint_of(key)]
            if endpoint.name not in columns:
                for check in sorted(selected[key]):
                    yield AssetCheckResult(
                        asset_key=key,
                        check_name=check,
                        passed=False,
                        severity=AssetCheckSeverity.WARN,
                        description="no table yet: materialise it first",
                    )
                continue
            last = _last_materialisation(context, key)
            verification = verifications.get(endpoint.name)
            results = _results(
                api, endpoint, tables, columns=columns, last=last, verification=verification, log=context.log
            )
            for each in evaluations(api, endpoint, results, key=key):
                if each.check_name not in selected[key]:
                    continue
                if each.blocking != can_block(api, endpoint, each.check_name):
                    # a result has no ``blocking`` of its own, but that of the check's spec
                    yield each
                    continue
                yield AssetCheckResult(
                    asset_key=key,
                    check_name=each.check_name,
                    passed=each.passed,
                    severity=each.severity,
                    description=each.description,
                    metadata=each.metadata,
                )


def _last_materialisation(context: AssetCheckExecutionContext, key: AssetKey) -> dict[str, Any]:
    """The metadata of the asset's last materialisation; empty if there is none."""
    event = context.instance.get_latest_materialization_event(key)
    materialisation = event.asset_materialization if event else None
    return {name: value.value for name, value in materialisation.metadata.items()} if materialisation else {}


def _results(
    api: Api,
    endpoint: Endpoint,
    tables: "DatasetTables",
    *,
    columns: Mapping[str, Mapping[str, str]],
    last: Mapping[str, Any],
    verification: "Verification | None",
    log: logging.Logger,
) -> Sequence[CheckResult]:
    """The results of the table checks, which compare the table with its last materialisation.

    Args:
        api: The API.
        endpoint: The endpoint.
        tables: The API's tables.
        columns: By table its columns and their types.
        last: The metadata of the last materialisation.
        verification: How the table compares with the API; ``None`` if it was never compared.
        log: Gets what the reading of parents logs.
    """
    from analytics_ingest.sync.stored_tables import StoredTables  # noqa: PLC0415

    name, types = endpoint.name, columns[endpoint.name]
    counts = tables.counts(name, endpoint.primary_key, where_null=DELETED_AT if DELETED_AT in types else None)
    schema = last.get("dagster/column_schema")
    withheld = int(last.get("rows_withheld", 0))
    cursor = _time(last.get("highest_cursor"))
    newest = [as_time(tables.newest(name, each)) for each in endpoint.cursor_path if each in types] if cursor else []

    def paths() -> set[str]:
        window = DateWindow(options=load_options(api))
        stored = StoredTables(api=api, tables=tables, columns=columns)
        return {each.path for each in stored.partitions(endpoint, window, log=log)}

    return check_table(
        TableFacts(
            api=api,
            endpoint=endpoint,
            tables=tables,
            counts=counts,
            rows_before=max(int(last.get(each, counts.live)) for each in ("rows_live", "rows_before")),
            rows_now=counts.live - withheld,
            min_share=load_setting(api, "min_rows_share"),
            rows_withheld=withheld,
            rows_short=int(last.get("rows_short", 0)),
            keys_ambiguous=int(last.get("keys_ambiguous", 0)),
            lists_unsettled=int(last.get("lists_unsettled", 0)),
            rows_rejected=int(last.get("rows_rejected", 0)),
            unproven_since=_time(last.get("deletions_unproven_since")),
            newest_before=cursor,
            newest=max(filter(None, newest), default=None),
            columns_before={each.name: each.type for each in schema.columns} if isinstance(schema, TableSchema) else {},
            columns=types,
            drift=last.get("drift", ()),
            paths=paths,
            verification=verification,
            verify_requests=load_setting(api, "verify_requests"),
        )
    )


def _time(value: Any) -> datetime | None:
    """A time in a materialisation's metadata, where times are epoch seconds."""
    return datetime.fromtimestamp(value, tz=UTC) if isinstance(value, int | float) else None
