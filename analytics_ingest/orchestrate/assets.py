"""The assets: one ``@dlt_assets`` definition per API, from which a run can select single endpoints."""

import gc
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetObservation,
    AssetsDefinition,
    Config,
    Failure,
    MaterializeResult,
    MetadataValue,
    TableMetadataValue,
)
from dagster_dlt import dlt_assets
from pydantic import Field

from analytics_ingest.apis.model import Api
from analytics_ingest.config.accounts import check_graph_settings
from analytics_ingest.config.lookup import lookup
from analytics_ingest.config.schedule import ScheduleSettings
from analytics_ingest.errors import ConfigurationError, FailureKind, IngestError, excerpt, redacted_traceback
from analytics_ingest.extract.dlt_source import declared_source
from analytics_ingest.extract.sync_options import INCREMENTAL, SyncOptions, parse_sync_options
from analytics_ingest.orchestrate.account_assets import AccountAssets, endpoint_of
from analytics_ingest.orchestrate.asset_checks import evaluations
from analytics_ingest.orchestrate.metadata import result_metadata, text_table
from analytics_ingest.orchestrate.parent_process import end_with_parent
from analytics_ingest.orchestrate.plain_failure import PlainFailureError
from analytics_ingest.orchestrate.process_folder import process_folder
from analytics_ingest.orchestrate.result_order import ResultOrder
from analytics_ingest.orchestrate.run_tags import disable_retry
from analytics_ingest.orchestrate.translator import ApiTranslator
from analytics_ingest.redaction import Redactor
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest.sync.summary import result_line, summarize
from analytics_ingest.warehouse.destination import build_destination, describing_pipeline
from analytics_ingest.warehouse.destination_errors import secrets_of
from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError

REPAIR = "repair"
"""In place of ``SyncOptions.mode`` in a run that repairs tables."""


class SyncConfig(Config):
    """The run config of an API's op; without it a run reads and loads the rows that changed."""

    full_refresh: bool = Field(default=False, description="Load all rows again, also those that have not changed.")
    updated_from: str | None = Field(
        default=None,
        description="Load again the rows updated since this time, such as 2026-01-31 or 2026-01-31T12:00:00Z (UTC). "
        "Such a run moves no cursor and marks no row as deleted.",
    )
    updated_to: str | None = Field(default=None, description="Load again the rows updated until this time, included.")
    repair: bool = Field(
        default=False,
        description="Read only the lists with rows that differ from the API, as the job <api>_verify has found, and "
        "load these rows again.",
    )
    endpoints: list[str] = Field(default=[], description="Only these endpoints of those selected; all by default.")


def build_assets(account: AccountAssets, schedule_settings: ScheduleSettings) -> AssetsDefinition:
    """The account's assets. Needs the cadence only: a run reads the other settings, and opens connections."""
    api = account.api

    source, pipeline = declared_source(api), describing_pipeline(api.name, folder=process_folder())

    @dlt_assets(
        dlt_source=source,
        dlt_pipeline=pipeline,
        name=api.name,
        dagster_dlt_translator=ApiTranslator(account, schedule_settings),
    )
    def assets(
        context: AssetExecutionContext, config: SyncConfig
    ) -> Iterator[MaterializeResult[None] | AssetObservation]:
        yield from materialize(context, api, config)

    # names in place of the objects that ``@dlt_assets`` adds, which Dagster's UI cannot show
    names = {"source": source.name, "pipeline": pipeline.pipeline_name, "translator": ApiTranslator.__name__}
    metadata = {f"dagster_dlt/{name}": value for name, value in names.items()}
    return assets.map_asset_specs(lambda spec: spec.merge_attributes(metadata=metadata))


@cache
def freeze_imports() -> None:
    """Excludes all objects that exist by now from garbage collection, once in a process.

    Dagster's and dlt's modules are a million objects. Collecting them again and again while rows are read, and once
    more as the process ends, takes a tenth of a run's CPU.
    """
    gc.freeze()


def materialize(
    context: AssetExecutionContext, api: Api, config: SyncConfig
) -> Iterator[MaterializeResult[None] | AssetObservation]:
    """Syncs the selected endpoints, and materialises each one that was read completely and loaded.

    ``DagsterDltResource.run()`` is not used: it restores the pipeline at each call and extracts and loads in one go, so
    it can neither read level by level nor keep the rows of other endpoints when one fails.

    Raises:
        Failure: An endpoint was not read completely; the others are materialised by then.
    """
    # not at the top: dlt's destinations and HTTP take as long to import as Dagster, and definitions load without them
    from analytics_ingest.sync.api_sync import ApiSync  # noqa: PLC0415

    end_with_parent()
    freeze_imports()
    # by Dagster's keys, as a host project may have given them another prefix
    keys = {endpoint_of(key): key for key in context.selected_asset_keys}
    selected = set(keys)
    wanted = selected.intersection(config.endpoints or selected)
    record = _Record(context, api, keys)
    failure: Failure | None = None
    order = ResultOrder(api, wanted)
    try:
        check_graph_settings(api)
        options = parse_sync_options(api, **config.model_dump(exclude={"repair"}))
        record.begin(REPAIR if config.repair else options.mode, wanted)
        if config.repair:
            results = _repair(context, api, selected, options)
        else:
            results = ApiSync(api, selected=selected, options=options, run_id=context.run_id, log=context.log).run()
        for result in results:
            for each in order.add(result):
                yield from record.add(each)
    except (IngestError, LockTimeoutError, WarehouseError) as error:
        if isinstance(error, IngestError):
            disable_retry(context.instance, context.run, api.name)
        failure = PlainFailureError(str(error), allow_retries=isinstance(error, LockTimeoutError))
    except Exception as error:  # noqa: BLE001 - an unexpected error must not cost the results before it
        failure = _unexpected(context, api, error)
    for each in order.remaining():
        yield from record.add(each)
    yield from record.end()
    if failure := failure or _failure_of(context, api, record.failed):
        raise failure


def _repair(
    context: AssetExecutionContext, api: Api, selected: set[str], options: SyncOptions
) -> Iterator[EndpointResult]:
    """Repairs the selected endpoints whose rows differ from the API; yields their results.

    Raises:
        ConfigurationError: The run config has an option beside it that reads something else.
    """
    # not at the top, as above
    from analytics_ingest.diagnostics.row_repair import repair, rows_to_repair  # noqa: PLC0415

    if options.full_refresh or options.windowed:
        raise ConfigurationError("repair reads single lists: leave full_refresh, updated_from and updated_to out")
    names = selected & options.endpoints if options.endpoints else selected
    found = rows_to_repair(api, selected=names, log=context.log)
    if not found:
        context.log.info(f"{api.name}: nothing to repair: no comparison with the API has found a difference")
    yield from repair(api, found, run_id=context.run_id, log=context.log)


def _failure_of(context: AssetExecutionContext, api: Api, failed: Sequence[EndpointResult]) -> Failure | None:
    """The failure of a sync with endpoints that were not read completely; ``None`` if it does not fail."""
    if any(result.status == "failed" or result.alarming for result in failed):
        if all(_is_refused(result) for result in failed):
            disable_retry(context.instance, context.run, api.name)
        return PlainFailureError(_summary(api, failed), metadata={"endpoints": _table(failed)})
    return None


class _Record:
    """Records the results of a run in its events and its log.

    Attributes:
        failed: The results of the endpoints that were not read completely.
    """

    def __init__(self, context: AssetExecutionContext, api: Api, keys: Mapping[str, AssetKey]) -> None:
        """Records nothing yet.

        Args:
            context: The op's context.
            api: The API.
            keys: The selected assets by endpoint.
        """
        self.failed: list[EndpointResult] = []
        self._context = context
        self._api = api
        self._keys = keys
        self._wanted: Collection[str] = ()
        self._results: list[EndpointResult] = []
        self._mode = ""

    def begin(self, mode: str, wanted: Collection[str]) -> None:
        """Logs the first line of a run.

        Args:
            mode: Which rows the sync loads.
            wanted: Names of the endpoints that it syncs.
        """
        self._mode, self._wanted = mode, wanted
        count = f"{len(wanted)} endpoint{'' if len(wanted) == 1 else 's'}"
        self._context.log.info(f"{self._api.name}: {mode}, {count}")

    def add(self, result: EndpointResult) -> Iterator[MaterializeResult[None]]:
        """Materialises an endpoint that is complete, with its checks; logs one line for each endpoint."""
        name, api, log = f"{self._api.name}/{result.endpoint.name}", self._api, self._context.log
        self._results.append(result)
        if result.status != "complete":
            log.warning(f"{name} {result.status}: {result.reason}")
            self.failed.append(result)
            return
        key = self._keys[result.endpoint.name]
        log.info(f"{name}: {result_line(result, loads_again=self._loads_again)}")
        yield MaterializeResult(asset_key=key, metadata=result_metadata(api, result, self._mode))
        for evaluation in evaluations(api, result.endpoint, result.checks, key=key):
            self._context.log_event(evaluation)

    def end(self) -> Iterator[AssetObservation]:
        """Observes the assets that were not materialised, for their pages, and logs a table of all endpoints."""
        for result in self.failed:
            yield AssetObservation(
                asset_key=self._keys[result.endpoint.name],
                metadata={"status": result.status, "reason": MetadataValue.text(result.reason)},
            )
        if self._results:
            order = [endpoint.name for endpoint in self._api.endpoints]
            results = sorted(self._results, key=lambda result: order.index(result.endpoint.name))
            done = {result.endpoint.name for result in results}
            # a repair reads the tables that differ alone
            unreached = [] if self._mode == REPAIR else [each for each in order if each in {*self._wanted} - done]
            summary = summarize(results, unreached, loads_again=self._loads_again)
            self._context.log.info(f"{self._api.name}: {self._mode}, {summary}")

    @property
    def _loads_again(self) -> bool:
        return self._mode != INCREMENTAL


def _unexpected(context: AssetExecutionContext, api: Api, error: Exception) -> Failure:
    """The failure of an unexpected error, with its traceback, which is logged as well."""
    redactor = Redactor(_secrets(api))
    stack = redacted_traceback(error, redactor)
    context.log.error(stack)
    kind = type(error).__name__
    reason = excerpt(str(error), redactor=redactor)
    return PlainFailureError(
        f"{api.name}: the sync ended with an unexpected {kind}{': ' if reason else ''}{reason}. "
        "Endpoints loaded before are materialised; the traceback is in the run's log. "
        "Run the sync again, and report the traceback if it fails again",
        stack=stack,
    )


def _secrets(api: Api) -> set[str]:
    """The API's key, and the values in the destination's settings that are secret."""
    secrets = set()
    # the file of the key may have gone since the sync has read it
    with suppress(ConfigurationError):
        secrets = {str(key)} if (key := lookup(api, "api_key")) else set()
    # a destination that cannot be set up has no secrets to find, and its error must not hide the one to report
    with suppress(Exception):
        destination = build_destination()
        configuration: Any = destination.configuration(destination.spec(), accept_partial=True)
        secrets |= secrets_of(configuration.credentials)
    return secrets


def _is_refused(result: EndpointResult) -> bool:
    """Whether the endpoint was skipped, or failed only because the key lacks a permission."""
    failures = result.stats.failures if result.stats else []
    return result.status == "skipped" or {failure.kind for failure in failures} == {FailureKind.FORBIDDEN}


def _summary(api: Api, failed: Sequence[EndpointResult]) -> str:
    if len(failed) == 1:
        return failed[0].reason
    lines = [f"  {result.endpoint.name} {result.status}: {result.reason}" for result in failed]
    return "\n".join([f"{len(failed)} endpoints of {api.name} were not read completely:", *lines])


def _table(failed: Sequence[EndpointResult]) -> TableMetadataValue:
    rows = [{"endpoint": result.endpoint.name, "status": result.status, "reason": result.reason} for result in failed]
    return text_table(rows, cell=None)
