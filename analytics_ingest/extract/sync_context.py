"""What all endpoints of one sync have in common."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

    from analytics_ingest.apis.model import Api
    from analytics_ingest.config.api_settings import Settings
    from analytics_ingest.extract.sync_options import SyncOptions
    from analytics_ingest.http.session import ApiSession


@dataclass(kw_only=True)
class SyncContext:
    """What all endpoints of one sync have in common.

    Attributes:
        session: Sends the API's requests.
        options: What the sync does beyond reading what changed.
        started: When it started, UTC; always later than the sync before it.
        log: Gets progress, waits and warnings.
        run_id: The run that it is part of.
    """

    session: ApiSession
    options: SyncOptions
    started: datetime
    log: logging.Logger
    run_id: str

    def start_after(self, moment: datetime) -> None:
        """Puts the start after that of another sync: a clock that was set back must not change the order of syncs."""
        self.started = max(self.started, moment + timedelta(microseconds=1))

    @property
    def api(self) -> Api:
        """The API."""
        return self.session.api

    @property
    def settings(self) -> Settings:
        """The API's settings."""
        return self.session.settings
