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
from analytics_ingest.sync import table_checks as found
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest.sync.table_checks import CheckResult
from analytics_ingest.warehouse.destination_errors import WarehouseError
from analytics_ingest.warehouse.locks import LockTimeoutError

if TYPE_CHECKING:
    from analytics_ingest.warehouse.table_queries import DatasetTables

TABLE_SOUND = "table_sound"
TABLE_WATCHED = "table_watched"
CHECKS = {
    TABLE_SOUND: (AssetCheckSeverity.ERROR, found.SOUND),
    TABLE_WATCHED: (AssetCheckSeverity.WARN, found.WATCHED),
}
"""The two checks of each asset: how grave a failure is, and the findings that make it up.

Two, and not one for each finding: every check costs an asset two events in each run (Dagster 1.13).
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
            description="\n".join(f"- `{name}`: {said}" for name, said in described.items() if name in names),
            blocking=_may_block(api, endpoint, check),
        )
        for endpoint in api.endpoints
        for described in [found.findings_of(api, endpoint)]
        for check, (_, names) in CHECKS.items()
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
    return _evaluations(api, result.endpoint, result.findings) if result.findings else []


def _evaluations(api: Api, endpoint: Endpoint, findings: Sequence[CheckResult]) -> list[AssetCheckEvaluation]:
    made = []
    for check, (severity, names) in CHECKS.items():
        of_check = [finding for finding in findings if finding.name in names]
        failed = [finding for finding in of_check if not finding.passed]
        collapsed = any(finding.name == found.ROWS_NOT_COLLAPSED for finding in failed)
        numbers = {name: value for finding in of_check for name, value in finding.numbers.items()}
        made.append(
            AssetCheckEvaluation(
                asset_key=AssetKey([api.name, endpoint.name]),
                check_name=check,
                passed=not failed,
                severity=severity,
                description=unrendered(
                    "\n".join(f"{finding.name}: {finding.said}" for finding in failed)
                    or "; ".join(finding.said for finding in of_check)
                ),
                metadata={
                    finding.name: MetadataValue.text(f"{'passed' if finding.passed else 'failed'}: {finding.said}")
                    for finding in of_check
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
    return check == TABLE_SOUND and found.feeds_others(api, endpoint)


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
            findings = _findings(api, endpoint, tables, columns=columns, last=last, log=context.log)
            for each in _evaluations(api, endpoint, findings):
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


def _findings(
    api: Api,
    endpoint: Endpoint,
    tables: "DatasetTables",
    *,
    columns: Mapping[str, Mapping[str, str]],
    last: Mapping[str, Any],
    log: logging.Logger,
) -> Sequence[CheckResult]:
    """The findings about a table as it is, compared with what its last materialisation said of it."""
    from analytics_ingest.sync.stored_parents import read_partitions  # noqa: PLC0415

    name, types = endpoint.name, columns[endpoint.name]
    counts = tables.counts(name, endpoint.primary_key, where_null=DELETED_AT if DELETED_AT in types else None)
    schema = last.get("dagster/column_schema")
    then = {each.name: each.type for each in schema.columns} if isinstance(schema, TableSchema) else {}
    before_sync = max(int(last.get(each, counts.live)) for each in ("rows_live", "rows_before"))
    withheld, unproven = int(last.get("rows_withheld", 0)), last.get("deletions_unproven_since")
    made = [
        found.rows_not_collapsed(
            before_sync, counts.live - withheld, share=load_setting(api, "min_rows_share"), withheld=withheld
        ),
        found.rows_as_stated(
            int(last.get("rows_short", 0)),
            int(last.get("lists_unsettled", 0)),
            rejected=int(last.get("rows_rejected", 0)),
            unproven_since=datetime.fromtimestamp(unproven, tz=UTC) if isinstance(unproven, int | float) else None,
        ),
        found.schema_unchanged(then, types),
    ]
    if endpoint.primary_key:
        made.append(found.key_unique(endpoint, counts.doubled, counts.lacking))
    if found.PARENTS_EXIST in found.findings_of(api, endpoint):
        scope = DateWindow(options=load_options(api))
        paths = {parent.path for parent in read_partitions(api, endpoint, tables, scope, columns=columns, log=log)}
        made.append(found.parents_exist(endpoint, tables, paths))
    if endpoint.cursor_path:
        cursor = last.get("highest_cursor")
        before = datetime.fromtimestamp(cursor, tz=UTC) if isinstance(cursor, int | float) else None
        newest = (
            [as_time(tables.newest(name, each)) for each in endpoint.cursor_path if each in types] if before else []
        )
        made.append(found.newest_not_older(before, max(filter(None, newest), default=None)))
    return made
