"""The settings of an API's schedules and assets: when it is synced, how old its tables may be, and who owns them.

They shape the graph, and are looked up when definitions load.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from croniter import CroniterBadDateError, croniter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from analytics_ingest.config.lookup import environment_name, lookup
from analytics_ingest.config.validation import Reference, Words, load_model
from analytics_ingest.errors import ConfigurationError

if TYPE_CHECKING:
    from analytics_ingest.apis.model import Api

OWNER = re.compile(r"team:.+|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")
"""The owners that Dagster accepts."""
LONGEST_WINDOW = 10 * 365 * 86_400
"""Seconds: ten years."""
HORIZON = timedelta(days=8)
"""How far ahead ``longest_interval`` follows a cron expression: a week has every kind of day."""
WARN_MISSED, FAIL_MISSED = 2, 4
"""Missed syncs after which a table counts as late, and as stale."""


def _cron(value: str) -> str:
    # Dagster takes five fields, or a word such as @hourly
    if not croniter.is_valid(value) or (len(value.split()) != 5 and not value.startswith("@")):
        raise ValueError(
            f"is {value!r}, which is no cron expression: write minute, hour, day, month, weekday, such as '20 * * * *'"
        )
    try:
        croniter(value, datetime(2026, 1, 1, tzinfo=UTC)).get_next(datetime)
    except CroniterBadDateError:
        raise ValueError(f"is {value!r}, which names a day that never comes: write one that does") from None
    return value


def _owners(value: tuple[str, ...]) -> tuple[str, ...]:
    if wrong := [each for each in value if not OWNER.fullmatch(each)]:
        raise ValueError(f"names {wrong[0]!r}, which is no owner: write a mail address, or team:name")
    return value


Cron = Annotated[str, AfterValidator(_cron), Reference("cron expression", default="by the API")]


class ScheduleSettings(BaseModel):
    """The settings of an API's schedules and assets, ``SOURCES__<API>__<FIELD>``."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    cron: Cron = Field(description="When the API is synced: minute, hour, day, month, weekday.")
    full_refresh_cron: Cron = Field(description="When all rows of the API are loaded again.")
    verify_cron: Cron = Field("40 3 * * *", description="When tables are compared with the API.")
    warn_after: Annotated[float | None, Reference("seconds", default="two missed syncs")] = Field(
        None, ge=60, le=LONGEST_WINDOW, description="Age from which a table counts as late."
    )
    fail_after: Annotated[float | None, Reference("seconds", default="four missed syncs")] = Field(
        None, ge=60, le=LONGEST_WINDOW, description="Age from which a table counts as stale."
    )
    change_interval: Annotated[float, Reference("seconds")] = Field(
        60, ge=10, le=LONGEST_WINDOW, description="Time between two ticks of the change sensor, at least."
    )
    owners: Annotated[Words, AfterValidator(_owners)] = Field(
        (), description="Who owns the assets: `someone@example.com, team:data`."
    )
    docs_url: Annotated[str, Reference("URL", default="the vendor's")] = Field(
        "",
        description="Where the API is documented, for a link on each asset. A profile has its vendor's; without a "
        "profile there is none.",
    )

    @property
    def windows(self) -> tuple[timedelta, timedelta]:
        """The ages from which a table counts as late and as stale, by default after two and four missed syncs."""
        interval = longest_interval(self.cron).total_seconds()
        warn = self.warn_after or WARN_MISSED * interval
        fail = self.fail_after or max(FAIL_MISSED * interval, warn)
        return timedelta(seconds=warn), timedelta(seconds=fail)


def load_schedule_settings(api: Api) -> ScheduleSettings:
    """Looks up and validates the schedule settings of ``api``.

    Raises:
        ConfigurationError: A value is not valid.
    """
    schedule_settings = load_model(
        ScheduleSettings,
        lookup=partial(lookup, api),
        variable=partial(environment_name, api.name),
        declared=_declared(api),
    )
    warn, fail = schedule_settings.windows
    if warn > fail:
        raise ConfigurationError(
            f"{environment_name(api.name, 'warn_after')} is longer than {environment_name(api.name, 'fail_after')}"
        )
    return schedule_settings


def declared_schedule_settings(api: Api) -> ScheduleSettings:
    """The schedule settings that ``api`` declares, whatever is set."""
    return ScheduleSettings.model_validate(_declared(api))


def _declared(api: Api) -> dict[str, str]:
    return {"cron": api.cron, "full_refresh_cron": api.full_refresh_cron, "docs_url": api.docs_url}


def schedule_settings_or_declared(api: Api) -> ScheduleSettings:
    """The schedule settings of ``api``; the declared ones, if a setting is not valid."""
    try:
        return load_schedule_settings(api)
    except ConfigurationError:
        return declared_schedule_settings(api)


@cache
def longest_interval(cron: str) -> timedelta:
    """The longest time between two ticks of a cron expression within a week; between the next two if it ticks less."""
    minutes, *others = cron.split()
    if others == ["*"] * 4:
        # the usual case, the same minutes of every hour, needs no walk through a week
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
