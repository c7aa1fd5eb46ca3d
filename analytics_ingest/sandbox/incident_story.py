"""What leads to an incident in each advance of the sandbox: a deployment, then a feature flag that is rolled out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from analytics_ingest.sandbox.data import (
    continuous_integration_data,
    feature_management_data,
    incident_response_data,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics_ingest.sandbox.expected_rows import Store
    from analytics_ingest.sandbox.random_values import RandomValues

DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class IncidentStory:
    """The rows of the story, by their ids.

    Attributes:
        pipeline: The pipeline whose workflow ``deploy`` ended first, in ``continuous_integration``.
        flag: The flag of the deployed service that was rolled out next, in ``feature_management``.
        incident: The incident of that service that started minutes later, in ``incident_response``.
    """

    pipeline: str
    flag: str
    incident: str


def add_incident_story(store: Store, rngs: Mapping[str, RandomValues]) -> IncidentStory:
    """Adds the rows of the story to the last advance, all of them in its second half.

    In a day the flag is rolled out 20 to 60 minutes after the deployment; the incident starts 6 to 17 minutes later.
    The gaps are shorter in a shorter advance.

    Args:
        store: The rows by API.
        rngs: The random values by API, after the advance.
    """
    rng = rngs["incident_response"]
    whole = rng.now - rng.since
    day = min(whole, DAY)
    started = rng.between(rng.since + whole * 0.55, rng.since + whole * 0.6)
    stopped = rng.between(started + day * 0.004, started + day * 0.01)
    released = rng.between(stopped + day * 0.014, stopped + day * 0.042)
    noticed = rng.between(released + day * 0.004, released + day * 0.012)
    api = "continuous_integration"
    pipeline = continuous_integration_data.deploy(store[api], rngs[api], started=started, stopped=stopped)
    service = pipeline["project_slug"].rpartition("/")[2].removesuffix("-service")
    api = "feature_management"
    flag = feature_management_data.release_flag(store[api], rngs[api], area=service, moment=released)
    area, theme, _ = flag["name"].split("_", 2)
    incident = incident_response_data.start_incident(
        store["incident_response"], rng, area=area, theme=theme, moment=noticed
    )
    return IncidentStory(pipeline=pipeline["id"], flag=flag["id"], incident=incident["id"])
