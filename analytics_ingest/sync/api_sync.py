"""Syncs one API: sets up the session, the warehouse and the threads, and closes them again."""

from __future__ import annotations

import uuid
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from analytics_ingest.config.api import load_settings, retired_settings, unprotected_key
from analytics_ingest.extract.sync_context import SyncContext
from analytics_ingest.extract.sync_options import SyncOptions
from analytics_ingest.extract.thread_pool import ReadPool
from analytics_ingest.http.session import ApiSession
from analytics_ingest.sync.sync_run import SyncRun
from analytics_ingest.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator

    from analytics_ingest.apis.model import Api
    from analytics_ingest.sync.result import EndpointResult


class ApiSync:
    """A sync of an API, or of some of its endpoints."""

    def __init__(
        self,
        api: Api,
        *,
        selected: set[str] | None = None,
        options: SyncOptions | None = None,
        run_id: str = "",
        log: logging.Logger,
    ) -> None:
        """Prepares a sync.

        Args:
            api: The API.
            selected: Names of the endpoints to sync; all by default.
            options: What to do beyond reading what changed.
            run_id: The run that it is part of, for the ledger; drawn by default.
            log: Gets progress and waits.
        """
        self._api = api
        self._options = options or SyncOptions()
        self._selected = set(api.by_name) if selected is None else selected
        if self._options.endpoints:
            self._selected &= self._options.endpoints
        self._run_id = run_id or uuid.uuid4().hex
        self._log = log

    def run(self) -> Iterator[EndpointResult]:
        """Syncs, and yields a result for each selected endpoint as soon as it is loaded.

        Raises:
            IngestError: Nothing (more) of this API can be read: a setting, the key.
            WarehouseError: The warehouse cannot be used.
            LockTimeoutError: Another sync of this API, or of this file, does not end.
        """
        api, log = self._api, self._log
        settings = load_settings(api)
        warehouse = Warehouse(api.name, log=log, lock_timeout=settings.lock_timeout)
        session = ApiSession(api, settings, log=log)
        for warning in filter(None, (unprotected_key(api, settings), retired_settings(api))):
            log.warning(f"{api.name}: {warning}")
        with (
            closing(session),
            warehouse.sync(),
            ReadPool(settings.max_in_flight, halt=session.close, clock=session.clock) as pool,
        ):
            context = SyncContext(
                session=session, options=self._options, started=datetime.now(UTC), log=log, run_id=self._run_id
            )
            yield from SyncRun(context, warehouse, pool, selected=self._selected).results()
            warehouse.publish()
