"""The assets: one ``@dlt_assets`` definition per API, subsettable down to one endpoint."""

import atexit
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetObservation,
    AssetsDefinition,
    Config,
    Failure,
    MaterializeResult,
    MetadataValue,
)
from dagster_dlt import dlt_assets
from pydantic import Field

from analytics_ingest.apis import Api
from analytics_ingest.extract.errors import IngestError
from analytics_ingest.extract.mode import parse_mode
from analytics_ingest.extract.tables import declared_source
from analytics_ingest.orchestrate.cadence import Cadence
from analytics_ingest.orchestrate.checks import evaluations
from analytics_ingest.orchestrate.metadata import result_metadata
from analytics_ingest.orchestrate.runs import spare_retry
from analytics_ingest.orchestrate.translator import ApiTranslator
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest.warehouse.destination import describing_pipeline
from analytics_ingest.warehouse.errors import WarehouseError
from analytics_ingest.warehouse.locks import LockTimeoutError


class SyncConfig(Config):
    """What a run can be asked to do beyond reading what changed; each API's op takes it."""

    full_refresh: bool = Field(
        default=False, description="Load every row again, also those that the table holds as they are."
    )
    updated_from: str | None = Field(
        default=None,
        description="Load again what was updated from this time on, such as 2026-01-31 or 2026-01-31T12:00:00Z (UTC). "
        "With a window no cursor moves and no row is marked as deleted.",
    )
    updated_to: str | None = Field(default=None, description="The window's end, included.")
    endpoints: list[str] = Field(default=[], description="Only these endpoints of those selected; all by default.")


def build_assets(api: Api, cadence: Cadence) -> AssetsDefinition:
    """The API's assets. Opens no connection, and needs no settings but the cadence: the rest is the run's."""

    @dlt_assets(
        dlt_source=declared_source(api),
        dlt_pipeline=describing_pipeline(api.name, folder=_definitions_folder()),
        name=api.name,
        dagster_dlt_translator=ApiTranslator(api, cadence),
    )
    def assets(
        context: AssetExecutionContext, config: SyncConfig
    ) -> Iterator[MaterializeResult[None] | AssetObservation]:
        yield from materialize(context, api, config)

    return assets


def materialize(
    context: AssetExecutionContext, api: Api, config: SyncConfig
) -> Iterator[MaterializeResult[None] | AssetObservation]:
    """Syncs what is selected, and gives a result for each endpoint that was read completely and loaded.

    Why not ``DagsterDltResource.run()``: it restores the pipeline at each call and joins extraction to the load,
    so it can neither go level by level nor keep what was read when one endpoint fails.

    Raises:
        Failure: An endpoint was not read completely; the others are materialised by then.
    """
    # here, as dlt's destinations and HTTP take as long to import as Dagster: definitions load without them
    from analytics_ingest.sync.sync import ApiSync  # noqa: PLC0415

    selected = {key.path[-1] for key in context.selected_asset_keys}
    failed: list[EndpointResult] = []
    try:
        mode = parse_mode(api, **config.model_dump())
        for result in ApiSync(api, selected=selected, mode=mode, log=context.log).run():
            key = AssetKey([api.name, result.endpoint.name])
            if result.status == "complete":
                yield MaterializeResult(asset_key=key, metadata=result_metadata(api, result))
                for evaluation in evaluations(api, result):
                    context.log_event(evaluation)
            else:
                context.log.warning(f"{api.name}/{result.endpoint.name} {result.status}: {result.reason}")
                failed.append(result)
        for result in failed:
            # for the asset's page; and what was logged is written with the event that comes after it only
            yield AssetObservation(
                asset_key=AssetKey([api.name, result.endpoint.name]),
                metadata={"status": result.status, "reason": result.reason},
            )
    except (IngestError, LockTimeoutError, WarehouseError) as error:
        if isinstance(error, IngestError):
            spare_retry(context.instance, context.run, api.name)
        raise Failure(description=str(error), allow_retries=isinstance(error, LockTimeoutError)) from None
    if any(result.status == "failed" or result.alarming for result in failed):
        if all(_is_refused(result) for result in failed):
            spare_retry(context.instance, context.run, api.name)
        raise Failure(description=_summary(api, failed), metadata={"endpoints": MetadataValue.md(_table(failed))})


def _is_refused(result: EndpointResult) -> bool:
    """Whether the key lacks a permission, and nothing else was wrong."""
    failures = result.reading.failures if result.reading else []
    return result.status == "skipped" or {failure.status for failure in failures} == {403}


def _summary(api: Api, failed: Sequence[EndpointResult]) -> str:
    if len(failed) == 1:
        return failed[0].reason
    lines = [f"  {result.endpoint.name} {result.status}: {result.reason}" for result in failed]
    return "\n".join([f"{len(failed)} endpoints of {api.name} were not read completely:", *lines])


def _table(failed: Sequence[EndpointResult]) -> str:
    rows = [f"| {result.endpoint.name} | {result.status} | {result.reason} |" for result in failed]
    return "\n".join(["| endpoint | | why |", "|---|---|---|", *rows])


@cache
def _definitions_folder() -> Path:
    """A working folder for pipelines that only describe assets, apart from those that run."""
    folder = Path(tempfile.mkdtemp(prefix="analytics_ingest-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
