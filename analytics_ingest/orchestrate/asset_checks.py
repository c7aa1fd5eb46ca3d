"""The asset checks, made from the registry: recorded by each sync, and executable by themselves."""

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
    AssetCheckSpec,
    AssetKey,
    DagsterEventType,
    Failure,
    MetadataValue,
    Output,
    TableSchema,
    multi_asset_check,
)

from analytics_ingest.apis.model import Api, Endpoint
from analytics_ingest.apis.parents import DateWindow, as_time
from analytics_ingest.config.api import load_setting
from analytics_ingest.errors import IngestError
from analytics_ingest.extract.date_window import load_options
from analytics_ingest.extract.rows import DELETED_AT
from analytics_ingest.orchestrate.metadata import unrendered
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest.sync.table_checks import (
    ROWS_NOT_COLLAPSED,
    TABLE_CHECKS,
    CheckResult,
    TableFacts,
    check_table,
    checks_for,
    has_children,
)
from analytics_ingest.warehouse.destination_errors import WarehouseError
from analytics_ingest.warehouse.locks import LockTimeoutError

if TYPE_CHECKING:
    from analytics_ingest.warehouse.table_queries import DatasetTables

TABLE_SOUND = "table_sound"
TABLE_WATCHED = "table_watched"
ASSET_CHECKS = {
    TABLE_SOUND: (AssetCheckSeverity.ERROR, {check.name for check in TABLE_CHECKS if check.is_error}),
    TABLE_WATCHED: (AssetCheckSeverity.WARN, {check.name for check in TABLE_CHECKS if not check.is_error}),
}
"""The two asset checks of each asset: how grave a failure is, and the names of the table checks that it has.

Two, and not one for each table check: every asset check costs an asset two events in each run (Dagster 1.13).
"""


def build_checks(api: Api) -> AssetChecksDefinition:
    """The checks of an API's tables, as an op of their own, for a look without a sync.

    A sync does not need the op: it records the same checks itself (``evaluations``), as an op of their own would not
    run at all when another endpoint of the API has failed.
    """
    specs = [
        AssetCheckSpec(
            check,
            asset=AssetKey([api.name, endpoint.name]),
            description="\n".join(f"- `{each.name}`: {said}" for each, said in described.items() if each.name in names),
            blocking=_may_block(api, endpoint, check),
        )
        for endpoint in api.endpoints
        for described in [checks_for(api, endpoint)]
        for check, (_, names) in ASSET_CHECKS.items()
    ]

    @multi_asset_check(name=f"{api.name}_checks", specs=specs, can_subset=True)
    def checks(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult | AssetCheckEvaluation | Output[None]]:
        # Dagster names the outputs that are left out, which are those that the sync has recorded
        context.log.addFilter(_is_not_about_outputs)
        recorded = _recorded(context)
        wanted: dict[str, set[str]] = {}
        for key in context.selected_asset_check_keys - recorded.keys():
            wanted.setdefault(key.asset_key.path[-1], set()).add(key.name)
        try:
            if wanted:
                for each in _look(context, api, wanted):
                    yield each
                    if isinstance(each, AssetCheckEvaluation):
                        recorded[each.asset_check_key] = each
        except (IngestError, LockTimeoutError, WarehouseError) as error:
            raise Failure(description=str(error)) from None
        yield from _release(context, api, recorded)

    return checks


def evaluations(api: Api, result: EndpointResult) -> list[AssetCheckEvaluation]:
    """What a sync found about an endpoint's table, for Dagster's log of events."""
    return _evaluations(api, result.endpoint, result.checks) if result.checks else []


def _evaluations(api: Api, endpoint: Endpoint, results: Sequence[CheckResult]) -> list[AssetCheckEvaluation]:
    made = []
    for check, (severity, names) in ASSET_CHECKS.items():
        of_check = [each for each in results if each.name in names]
        failed = [each for each in of_check if not each.passed]
        collapsed = any(each.name == ROWS_NOT_COLLAPSED.name for each in failed)
        numbers = {name: value for each in of_check for name, value in each.numbers.items()}
        made.append(
            AssetCheckEvaluation(
                asset_key=AssetKey([api.name, endpoint.name]),
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
                blocking=_may_block(api, endpoint, check) and (collapsed or not failed),
            )
        )
    return made


def _may_block(api: Api, endpoint: Endpoint, check: str) -> bool:
    """Whether what depends on the asset is not to run after the check has failed, as its table has collapsed.

    Going on would read the children of what may not be true, and mark those of the rest as deleted.
    """
    return check == TABLE_SOUND and has_children(api, endpoint)


def _is_not_about_outputs(record: logging.LogRecord) -> bool:
    return "did not yield or return expected outputs" not in record.getMessage()


def _recorded(context: AssetCheckExecutionContext) -> dict[AssetCheckKey, AssetCheckEvaluation]:
    """What the sync of this very run has recorded: it knows what was before, a look does not."""
    entries = context.instance.all_logs(context.run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION)
    events = [entry.dagster_event.event_specific_data for entry in entries if entry.dagster_event]
    evaluated = {each.asset_check_key: each for each in events if isinstance(each, AssetCheckEvaluation)}
    return {key: each for key, each in evaluated.items() if key in context.selected_asset_check_keys}


def _release(
    context: AssetCheckExecutionContext, api: Api, recorded: Mapping[AssetCheckKey, AssetCheckEvaluation]
) -> Iterator[Output[None]]:
    """Gives the outputs for which assets of other ops in this run wait: Dagster skips an asset whose output is missing.

    Args:
        context: The op's context.
        api: The API.
        recorded: The evaluations that have no output yet.

    Raises:
        Failure: A table that such assets depend on has collapsed.
    """
    # internal to Dagster: its public API does not give the other assets of a run
    layer = context.job_def.asset_layer
    others = layer.selected_asset_keys - {AssetKey([api.name, name]) for name in api.by_name}
    collapsed = []
    for key, evaluation in recorded.items():
        if not _may_block(api, api.by_name[key.asset_key.path[-1]], key.name):
            continue
        if waiting := layer.asset_graph.get(key.asset_key).child_keys & others:
            if evaluation.blocking and not evaluation.passed:
                names = ", ".join(sorted(each.to_user_string() for each in waiting))
                collapsed.append(f"{key.asset_key.to_user_string()}: {evaluation.description}; skipped: {names}")
            else:
                yield Output(None, output_name=layer.get_op_output_name(key))
    if collapsed:
        raise Failure(description="\n".join(collapsed), allow_retries=False)


def _look(
    context: AssetCheckExecutionContext, api: Api, wanted: Mapping[str, set[str]]
) -> Iterator[AssetCheckResult | AssetCheckEvaluation]:
    # here, as in the sync of the assets: definitions load without dlt's destinations
    from analytics_ingest.warehouse.warehouse import Warehouse  # noqa: PLC0415

    timeout = load_setting(api, "lock_timeout")
    warehouse = Warehouse(api.name, log=context.log, lock_timeout=timeout)
    with warehouse.sync(), warehouse.open() as tables:
        columns = tables.columns(api.by_name)
        for endpoint in (each for each in api.endpoints if each.name in wanted):
            key = AssetKey([api.name, endpoint.name])
            if endpoint.name not in columns:
                for check in sorted(wanted[endpoint.name]):
                    said = "no table yet: materialise it first"
                    yield AssetCheckResult(
                        asset_key=key,
                        check_name=check,
                        passed=False,
                        severity=AssetCheckSeverity.WARN,
                        description=said,
                    )
                continue
            last = _last_materialisation(context, key)
            results = _results(api, endpoint, tables, columns=columns, last=last, log=context.log)
            for each in _evaluations(api, endpoint, results):
                if each.check_name not in wanted[endpoint.name]:
                    continue
                if each.blocking != _may_block(api, endpoint, each.check_name):
                    # a result takes that from the check's declaration
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
    log: logging.Logger,
) -> Sequence[CheckResult]:
    """What the checks say of a table as it is, compared with what its last materialisation said of it."""
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
            lists_unsettled=int(last.get("lists_unsettled", 0)),
            rows_rejected=int(last.get("rows_rejected", 0)),
            unproven_since=_time(last.get("deletions_unproven_since")),
            newest_before=cursor,
            newest=max(filter(None, newest), default=None),
            columns_before={each.name: each.type for each in schema.columns} if isinstance(schema, TableSchema) else {},
            columns=types,
            paths=paths,
        )
    )


def _time(value: Any) -> datetime | None:
    """A time off a materialisation's metadata, which are epoch seconds there."""
    return datetime.fromtimestamp(value, tz=UTC) if isinstance(value, int | float) else None
