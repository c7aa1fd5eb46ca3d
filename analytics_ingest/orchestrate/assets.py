"""The assets: one ``@dlt_assets`` definition per API, subsettable down to one endpoint."""

import atexit
import gc
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
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
from analytics_ingest.config.lookup import lookup
from analytics_ingest.config.schedule import ScheduleSettings, check_graph_settings
from analytics_ingest.errors import FailureKind, IngestError, excerpt, redacted_traceback
from analytics_ingest.extract.dlt_source import declared_source
from analytics_ingest.extract.sync_options import parse_sync_options
from analytics_ingest.orchestrate.asset_checks import evaluations
from analytics_ingest.orchestrate.metadata import result_metadata, text_table
from analytics_ingest.orchestrate.result_order import ResultOrder
from analytics_ingest.orchestrate.run_tags import disable_retry
from analytics_ingest.orchestrate.translator import ApiTranslator
from analytics_ingest.redaction import Redactor
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest.warehouse.destination import build_destination, describing_pipeline
from analytics_ingest.warehouse.destination_errors import WarehouseError, secrets_of
from analytics_ingest.warehouse.locks import LockTimeoutError

FOLDER_PREFIX = "analytics_ingest-"
"""Begins the name of the temporary folder of each process that loads definitions; its id follows."""


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


def build_assets(api: Api, schedule_settings: ScheduleSettings) -> AssetsDefinition:
    """The API's assets. Opens no connection, and needs no settings but the cadence: the rest is the run's."""

    @dlt_assets(
        dlt_source=declared_source(api),
        dlt_pipeline=describing_pipeline(api.name, folder=_definitions_folder()),
        name=api.name,
        dagster_dlt_translator=ApiTranslator(api, schedule_settings),
    )
    def assets(
        context: AssetExecutionContext, config: SyncConfig
    ) -> Iterator[MaterializeResult[None] | AssetObservation]:
        yield from materialize(context, api, config)

    return assets


@cache
def freeze_imports() -> None:
    """Has the garbage collector pass over what there is by now, once in a process.

    Dagster's and dlt's modules are a million objects, which it would walk again and again while rows come and go, and
    once more as the process ends: a tenth of a run's CPU.
    """
    gc.freeze()


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
    from analytics_ingest.sync.api_sync import ApiSync  # noqa: PLC0415

    freeze_imports()
    selected = {key.path[-1] for key in context.selected_asset_keys}
    failed: list[EndpointResult] = []
    failure: Failure | None = None
    order = ResultOrder(api, selected.intersection(config.endpoints or selected))
    try:
        check_graph_settings(api)
        options = parse_sync_options(api, **config.model_dump())
        for result in ApiSync(api, selected=selected, options=options, log=context.log).run():
            for settled in order.add(result):
                yield from _record(context, api, settled, failed)
    except (IngestError, LockTimeoutError, WarehouseError) as error:
        if isinstance(error, IngestError):
            disable_retry(context.instance, context.run, api.name)
        failure = Failure(description=str(error), allow_retries=isinstance(error, LockTimeoutError))
    except Exception as error:  # noqa: BLE001 - what no one foresaw must not cost the results that are there
        failure = _unexpected(context, api, error)
    for settled in order.rest():
        yield from _record(context, api, settled, failed)
    for result in failed:
        # for the asset's page; and what was logged is written with the event that comes after it only
        yield AssetObservation(
            asset_key=AssetKey([api.name, result.endpoint.name]),
            metadata={"status": result.status, "reason": MetadataValue.text(result.reason)},
        )
    if failure := failure or _failure_of(context, api, failed):
        raise failure


def _failure_of(context: AssetExecutionContext, api: Api, failed: Sequence[EndpointResult]) -> Failure | None:
    """What a sync that ended fails with, because of endpoints that were not read completely."""
    if any(result.status == "failed" or result.alarming for result in failed):
        if all(_is_refused(result) for result in failed):
            disable_retry(context.instance, context.run, api.name)
        return Failure(description=_summary(api, failed), metadata={"endpoints": _table(failed)})
    return None


def _record(
    context: AssetExecutionContext, api: Api, result: EndpointResult, failed: list[EndpointResult]
) -> Iterator[MaterializeResult[None]]:
    """Materialises an endpoint that is complete, with its checks; notes and logs one that is not."""
    if result.status == "complete":
        yield MaterializeResult(
            asset_key=AssetKey([api.name, result.endpoint.name]), metadata=result_metadata(api, result)
        )
        for evaluation in evaluations(api, result):
            context.log_event(evaluation)
    else:
        context.log.warning(f"{api.name}/{result.endpoint.name} {result.status}: {result.reason}")
        failed.append(result)


def _unexpected(context: AssetExecutionContext, api: Api, error: Exception) -> Failure:
    """One line for an error that is not made for users; its traceback goes to the log."""
    redactor = Redactor(_secrets(api))
    context.log.error(redacted_traceback(error, redactor))
    kind = type(error).__name__
    reason = excerpt(str(error), redactor=redactor)
    return Failure(
        description=f"{api.name}: the sync ended with an unexpected {kind}{': ' if reason else ''}{reason}. "
        "Endpoints loaded before are materialised; the traceback is in the run's log. "
        "Run the sync again, and report the traceback if it fails again"
    )


def _secrets(api: Api) -> set[str]:
    """The API's key, and the values in the destination's settings that are secret."""
    key = lookup(api, "api_key")
    secrets = {str(key)} if key else set()
    # a destination that cannot be set up has no secrets to find, and must not hide the error that is to be shown
    with suppress(Exception):
        destination = build_destination()
        configuration: Any = destination.configuration(destination.spec(), accept_partial=True)
        secrets |= secrets_of(configuration.credentials)
    return secrets


def _is_refused(result: EndpointResult) -> bool:
    """Whether the key lacks a permission, and nothing else was wrong."""
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


@cache
def _definitions_folder() -> Path:
    """A working folder for pipelines that only describe assets, apart from those that run; named by this process.

    A killed process leaves its folder behind: those of this user's processes that are gone are removed here.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*-*"):
        pid = left.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        if pid.isdigit() and _is_gone(int(pid)) and _is_mine(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _is_gone(pid: int) -> bool:
    """Whether no process of this machine has the id; of other users' processes that is not certain, so no."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False


def _is_mine(folder: Path) -> bool:
    """Whether the folder is this user's, and no link to another one."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
