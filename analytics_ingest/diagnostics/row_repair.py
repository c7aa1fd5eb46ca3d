"""Repairs tables that differ from the API: reads the lists with rows that differ again, and loads these rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from analytics_ingest.config.api import load_setting
from analytics_ingest.extract.sync_options import EndpointRepair, SyncOptions
from analytics_ingest.sync.api_sync import ApiSync
from analytics_ingest.warehouse.history_names import VERIFICATIONS
from analytics_ingest.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection, Iterator, Mapping

    from analytics_ingest.apis.model import Api
    from analytics_ingest.sync.result import EndpointResult
    from analytics_ingest.warehouse.verification_table import Verification


def rows_to_repair(
    api: Api, *, selected: Collection[str] | None = None, log: logging.Logger
) -> Mapping[str, Verification]:
    """The endpoints with rows that the comparisons found to differ, also those seen once only.

    Args:
        api: The API.
        selected: Names of the endpoints; all by default.
        log: Gets waits for locks.

    Raises:
        WarehouseError: The warehouse cannot be used.
        LockTimeoutError: A sync of this API, or with the same database file, does not end.
    """
    warehouse = _warehouse(api, log)
    if not warehouse.keeps_history:
        return {}
    with warehouse.read() as tables:
        columns = tables.columns([VERIFICATIONS]).get(VERIFICATIONS, {})
        found = warehouse.verifications(lambda table: table.rows(columns)) if columns else {}
    return {
        name: each
        for name, each in found.items()
        if each.differences and name in api.by_name and (selected is None or name in selected)
    }


def repair(
    api: Api, found: Mapping[str, Verification], *, run_id: str = "", log: logging.Logger
) -> Iterator[EndpointResult]:
    """Syncs the endpoints, but only the lists with rows that differ; yields their results.

    What the table has of these rows does not count as known, so rows that come are loaded, and others are marked as
    deleted. Afterwards no difference counts until it is seen again.

    Args:
        api: The API.
        found: By endpoint the rows that differ, as ``rows_to_repair`` gives them.
        run_id: The run that it is part of, for the ledger; drawn by default.
        log: Gets progress and waits.

    Raises:
        IngestError: Nothing (more) of this API can be read: a setting, the key.
        WarehouseError: The warehouse cannot be used.
        LockTimeoutError: Another sync of this API, or of this file, does not end.
    """
    if not found:
        return
    repairs = {
        name: EndpointRepair(
            paths=frozenset(row.path for row in each.rows), keys=frozenset(row.key for row in each.rows)
        )
        for name, each in found.items()
    }
    started = datetime.now(UTC)
    options = SyncOptions(repairs=repairs, endpoints=frozenset(found))
    complete: list[str] = []
    for result in ApiSync(api, options=options, run_id=run_id, log=log).run():
        if result.status == "complete":
            complete.append(result.endpoint.name)
        yield result
    rows = [
        found[name].with_rows([replace(row, counts=False, seen_at=started) for row in found[name].rows])
        for name in complete
    ]
    warehouse = _warehouse(api, log)
    with warehouse.sync(), warehouse.open():
        warehouse.verifications(lambda table: table.replace(rows))


def _warehouse(api: Api, log: logging.Logger) -> Warehouse:
    return Warehouse(api.name, log=log, lock_timeout=load_setting(api, "lock_timeout"))
