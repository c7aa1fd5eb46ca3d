"""The days and option values that one sync of an endpoint covers, from settings and the sync's options."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

from analytics_ingest.apis.parents import DateWindow
from analytics_ingest.apis.registry import APIS
from analytics_ingest.apis.vendors import VENDORS
from analytics_ingest.config.api import load_setting
from analytics_ingest.extract.sync_options import SyncOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics_ingest.apis.model import Api
    from analytics_ingest.config.api_settings import Settings

OPTIONS = frozenset(
    name
    for api in (*APIS.values(), *VENDORS)
    for endpoint in api.endpoints
    if endpoint.parents
    for name in endpoint.parents.settings
)
"""Settings whose values parent sources take, as these are declared."""


def build_date_window(
    settings: Settings, options: SyncOptions | None = None, *, now: datetime, first: bool = False
) -> DateWindow:
    """The days that one sync of an endpoint covers.

    They are the last ``WINDOW_DAYS``; those of the sync's window if it has one; and at the first sync and at a full
    refresh those since ``START_DATE``, if it is set.

    Args:
        settings: The API's settings.
        options: The sync's options.
        now: When it started, UTC.
        first: Whether no sync has read the endpoint to its end yet.
    """
    options = options or SyncOptions()
    today = now.date()
    begin = recent = today - timedelta(days=settings.window_days - 1)
    if settings.start_date and (first or options.full_refresh):
        begin = min(begin, settings.start_date.date())
    settled_before = None if options.full_refresh else datetime.combine(begin, time(), now.tzinfo)
    last = today
    if options.windowed:
        begin = options.updated_from.date() if options.updated_from else begin
        last = min(options.updated_to.date(), today) if options.updated_to else today
    return DateWindow(
        first_day=begin,
        last_day=last,
        recent_day=recent,
        today=today,
        settled_before=settled_before,
        options={name: getattr(settings, name) for name in OPTIONS},
        skipped=frozenset(settings.skip_endpoints),
    )


def load_options(api: Api) -> dict[str, Sequence[str]]:
    """The values that parent sources may take from settings, also for an API that is not configured.

    Raises:
        ConfigurationError: A value is not valid.
    """
    return {name: load_setting(api, name) for name in OPTIONS}
