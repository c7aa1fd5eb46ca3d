"""When each API is synced, and how old its tables may be: settings that shape the graph, read when definitions load."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from croniter import CroniterBadDateError, croniter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from analytics_ingest.apis.registry import APIS
from analytics_ingest.config.api import Words, choose_profile, environment_name, explain, lookup
from analytics_ingest.errors import ConfigurationError

if TYPE_CHECKING:
    from analytics_ingest.apis.model import Api

LOG = logging.getLogger(__name__)
OWNER = re.compile(r"team:.+|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")
"""What Dagster takes for an owner."""
LONGEST_WINDOW = 10 * 365 * 86_400
"""Seconds: ten years."""
HORIZON = timedelta(days=8)
"""How far ahead ticks are looked at for the longest time between two: a week has every kind of day."""
WARN_MISSED, FAIL_MISSED = 2, 4
"""Syncs that may be missed before a table counts as late, and as stale."""


def _cron(value: str) -> str:
    # Dagster takes five fields, or a word such as @hourly
    if not croniter.is_valid(value) or (len(value.split()) != 5 and not value.startswith("@")):
        raise ValueError(
            f"{value!r} is no cron expression: write minute, hour, day, month, weekday, such as '20 * * * *'"
        )
    try:
        croniter(value, datetime(2026, 1, 1, tzinfo=UTC)).get_next(datetime)
    except CroniterBadDateError:
        raise ValueError(f"{value!r} names a day that never comes") from None
    return value


def _owners(value: tuple[str, ...]) -> tuple[str, ...]:
    if wrong := [each for each in value if not OWNER.fullmatch(each)]:
        raise ValueError(f"{wrong[0]!r} is no owner: write a mail address, or team:name")
    return value


class ScheduleSettings(BaseModel):
    """What can be set under ``SOURCES__<API>__`` about an API's schedule and its assets' looks; times in seconds."""

    model_config = ConfigDict(frozen=True)

    cron: Annotated[str, AfterValidator(_cron)] = Field(description="When the API is synced.")
    full_refresh_cron: Annotated[str, AfterValidator(_cron)] = Field(description="When everything is loaded again.")
    warn_after: float | None = Field(
        None, ge=60, le=LONGEST_WINDOW, description="Age of a table from which it counts as late."
    )
    fail_after: float | None = Field(
        None, ge=60, le=LONGEST_WINDOW, description="Age of a table from which it counts as stale."
    )
    change_interval: float = Field(
        60, ge=10, le=LONGEST_WINDOW, description="Seconds between two looks of the change sensor, at least."
    )
    owners: Annotated[Words, AfterValidator(_owners)] = Field(
        (), description="Owners that Dagster shows: mail addresses, or names such as team:data."
    )
    docs_url: str = Field("", description="Where the API is documented, for the link on each asset.")

    @property
    def windows(self) -> tuple[timedelta, timedelta]:
        """The ages from which a table counts as late, and as stale: two and four missed syncs unless set."""
        interval = longest_interval(self.cron).total_seconds()
        warn = self.warn_after or WARN_MISSED * interval
        fail = self.fail_after or max(FAIL_MISSED * interval, warn)
        return timedelta(seconds=warn), timedelta(seconds=fail)


def load_schedule_settings(api: Api) -> ScheduleSettings:
    """Looks up and validates the cadence of ``api``.

    Raises:
        ConfigurationError: A value is not valid.
    """
    values = {field: value for field in ScheduleSettings.model_fields if (value := lookup(api, field)) is not None}
    try:
        schedule_settings = ScheduleSettings.model_validate(_declared(api) | values)
    except ValidationError as error:
        raise ConfigurationError(explain(api, error)) from None
    warn, fail = schedule_settings.windows
    if warn > fail:
        raise ConfigurationError(
            f"{environment_name(api.name, 'warn_after')} is longer than {environment_name(api.name, 'fail_after')}"
        )
    return schedule_settings


def declared_schedule_settings(api: Api) -> ScheduleSettings:
    """The cadence that ``api`` declares, whatever is set."""
    return ScheduleSettings.model_validate(_declared(api))


def _declared(api: Api) -> dict[str, str]:
    return {"cron": api.cron, "full_refresh_cron": api.full_refresh_cron, "docs_url": api.docs_url}


def schedule_settings_or_declared(api: Api) -> ScheduleSettings:
    """The cadence of ``api``; the declared one, with a warning, if a setting is wrong: the other APIs go on."""
    try:
        return load_schedule_settings(api)
    except ConfigurationError as error:
        LOG.warning(f"{error}. Until that is right, {api.name} is not synced")
        return declared_schedule_settings(api)


def check_graph_settings(api: Api) -> None:
    """Checks the settings of an API that shape the graph.

    Raises:
        ConfigurationError: One is not valid.
    """
    load_schedule_settings(choose_profile(APIS[api.name]))


@cache
def longest_interval(cron: str) -> timedelta:
    """The longest time between two ticks of a cron expression within a week, or its next two if they are rarer."""
    minutes, *others = cron.split()
    if others == ["*"] * 4:
        # the usual case, without a walk through a week: the same minutes of every hour
        found = sorted({*range(60)} if minutes == "*" else {int(each) for each in croniter.expand(cron)[0][0]})
        return timedelta(minutes=max(b - a for a, b in pairwise([*found, found[0] + 60])))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ticks = croniter(cron, start)
    longest, last = timedelta(), ticks.get_next(datetime)
    first = last
    while last - first < HORIZON:
        following = ticks.get_next(datetime)
        longest, last = max(longest, following - last), following
    return longest
