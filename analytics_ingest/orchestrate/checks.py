"""The asset checks, made from the registry: recorded by each sync, and executable by themselves."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    DagsterEventType,
    Failure,
    TableSchema,
    multi_asset_check,
)

from analytics_ingest.apis import Api, Endpoint
from analytics_ingest.apis.feeds import as_time
from analytics_ingest.apis.scope import Scope
from analytics_ingest.extract.errors import IngestError
from analytics_ingest.extract.rows import DELETED_AT
from analytics_ingest.extract.scope import load_options
from analytics_ingest.extract.settings import load_setting
from analytics_ingest.orchestrate.metadata import unrendered
from analytics_ingest.sync import findings as found
from analytics_ingest.sync.findings import Finding
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest.warehouse.errors import WarehouseError
from analytics_ingest.warehouse.locks import LockTimeoutError

if TYPE_CHECKING:
    from analytics_ingest.warehouse.tables import Tables

GRAVE = (found.KEY_UNIQUE, found.ROWS_NOT_COLLAPSED)
"""Checks whose failure is an error; that of the others is a warning."""


def build_checks(api: Api) -> AssetChecksDefinition:
    """The checks of an API's tables, as an op of their own, for a look without a sync.

    A sync does not need the op: it records the same checks itself (``evaluations``), as an op of their own would not
    run at all when another endpoint of the API has failed.
    """
    specs = [
        AssetCheckSpec(
            name,
            asset=AssetKey([api.name, endpoint.name]),
            description=description,
            # going on would read the children of what may not be true, and mark those of the rest as deleted
            blocking=name == found.ROWS_NOT_COLLAPSED and found.feeds_others(api, endpoint),
        )
        for endpoint in api.endpoints
        for name, description in found.checks_of(api, endpoint).items()
    ]

    @multi_asset_check(name=f"{api.name}_checks", specs=specs, can_subset=True)
    def checks(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
        wanted: dict[str, set[str]] = {}
        for key in context.selected_asset_check_keys:
            wanted.setdefault(key.asset_key.path[-1], set()).add(key.name)
        try:
            _forget_recorded(context, wanted)
            if wanted:
                yield from _look(context, api, wanted)
        except (IngestError, LockTimeoutError, WarehouseError) as error:
            raise Failure(description=str(error)) from None

    return checks


def evaluations(api: Api, result: EndpointResult) -> list[AssetCheckEvaluation]:
    """What a sync found about an endpoint's table, for Dagster's log of events."""
    return [
        AssetCheckEvaluation(
            asset_key=AssetKey([api.name, result.endpoint.name]),
            check_name=finding.check,
            passed=finding.passed,
            severity=_severity(finding.check),
            description=unrendered(finding.said),
            metadata=dict(finding.numbers),
            blocking=finding.check == found.ROWS_NOT_COLLAPSED and found.feeds_others(api, result.endpoint),
        )
        for finding in result.findings
    ]


def _forget_recorded(context: AssetCheckExecutionContext, wanted: dict[str, set[str]]) -> None:
    """Takes off ``wanted`` what the sync of this very run has recorded: it knows what was before, a look does not."""
    for entry in context.instance.all_logs(context.run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION):
        data = entry.dagster_event.event_specific_data if entry.dagster_event else None
        if isinstance(data, AssetCheckEvaluation):
            name = data.asset_key.path[-1]
            wanted.get(name, set()).discard(data.check_name)
            if not wanted.get(name):
                wanted.pop(name, None)


def _severity(check: str) -> AssetCheckSeverity:
    return AssetCheckSeverity.ERROR if check in GRAVE else AssetCheckSeverity.WARN


def _look(context: AssetCheckExecutionContext, api: Api, wanted: Mapping[str, set[str]]) -> Iterator[AssetCheckResult]:
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
            for finding in _findings(api, endpoint, tables, columns=columns, last=last, log=context.log):
                if finding.check in wanted[endpoint.name]:
                    yield AssetCheckResult(
                        asset_key=key,
                        check_name=finding.check,
                        passed=finding.passed,
                        severity=_severity(finding.check),
                        description=unrendered(finding.said),
                        metadata=dict(finding.numbers),
                    )


def _last_materialisation(context: AssetCheckExecutionContext, key: AssetKey) -> dict[str, Any]:
    event = context.instance.get_latest_materialization_event(key)
    materialisation = event.asset_materialization if event else None
    return {name: value.value for name, value in materialisation.metadata.items()} if materialisation else {}


def _findings(
    api: Api,
    endpoint: Endpoint,
    tables: "Tables",
    *,
    columns: Mapping[str, Mapping[str, str]],
    last: Mapping[str, Any],
    log: logging.Logger,
) -> Sequence[Finding]:
    """The findings about a table as it is, compared with what its last materialisation said of it."""
    from analytics_ingest.sync.parents import read_parents  # noqa: PLC0415

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
    if found.PARENTS_EXIST in found.checks_of(api, endpoint):
        scope = Scope(options=load_options(api))
        paths = {parent.path for parent in read_parents(api, endpoint, tables, scope, columns=columns, log=log)}
        made.append(found.parents_exist(endpoint, tables, paths))
    if endpoint.cursor_path:
        cursor = last.get("highest_cursor")
        before = datetime.fromtimestamp(cursor, tz=UTC) if isinstance(cursor, int | float) else None
        newest = (
            [as_time(tables.newest(name, each)) for each in endpoint.cursor_path if each in types] if before else []
        )
        made.append(found.newest_not_older(before, max(filter(None, newest), default=None)))
    return made
