"""The story of an advance: a deployment, a flag that is rolled out, and an incident."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from analytics_ingest.sandbox.world import World


def by_id(world: World, api: str, endpoint: str) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in world.expected(api, endpoint)}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize("hours", [0.001, 6, 24, 1000])
@pytest.mark.parametrize("scale", [0.01, 0.3])
def test_a_deployment_and_a_flag_come_before_the_incident(scale: float, hours: float) -> None:
    world = World(scale=scale)
    assert world.story is None
    before = {
        each: by_id(world, *each)
        for each in (
            ("continuous_integration", "pipelines"),
            ("feature_management", "feature_flags"),
            ("incident_response", "incidents"),
        )
    }
    since = world.now
    world.advance(hours)

    assert world.story is not None
    pipelines, flags, incidents = (by_id(world, *each) for each in before)
    pipeline, incident = pipelines[world.story.pipeline], incidents[world.story.incident]
    flag, flag_before = flags[world.story.flag], before["feature_management", "feature_flags"][world.story.flag]
    assert pipeline["id"] not in before["continuous_integration", "pipelines"]
    assert incident["id"] not in before["incident_response", "incidents"]
    assert flag["rolloutStatus"]["name"] in ("Ramping", "100% released")
    assert flag["rolloutStatus"] != flag_before["rolloutStatus"]
    assert flag["rolloutStatusTimestamp"] == flag["updated_at"]
    started, attributes = incident["attributes"]["started_at"], incident["attributes"]
    times = [pipeline["created_at"], pipeline["updated_at"], flag["updated_at"], started]
    moments = [since, *map(at, times), world.now]
    assert moments == sorted(moments)
    assert moments[4] - moments[3] < timedelta(minutes=20)
    assert moments[4] - moments[1] < timedelta(hours=2)
    area, theme = flag["name"].split("_")[:2]
    assert attributes["title"] == f"Errors in {area} after a change to {theme}"
    assert attributes["services"] == [{"name": area}]
    assert (attributes["status"], attributes["kind"], attributes["private"]) == ("started", "normal", False)
    assert attributes["severity"]["data"]["slug"] == "sev1"


def test_the_deployment_is_a_workflow_of_the_service() -> None:
    world = World(scale=0.05)
    world.advance()
    assert world.story
    [workflow] = world.collection("continuous_integration", "pipeline_workflows")[world.story.pipeline,]
    pipeline = by_id(world, "continuous_integration", "pipelines")[world.story.pipeline]
    jobs = world.collection("continuous_integration", "workflow_jobs")[workflow["id"],]

    assert (workflow["name"], workflow["status"]) == ("deploy", "success")
    assert workflow["stopped_at"] == pipeline["updated_at"]
    assert pipeline["vcs"]["branch"] == "main"
    assert [job["name"] for job in jobs] == ["build-image", "integration-tests", "deploy-staging", "deploy-production"]
    flag = by_id(world, "feature_management", "feature_flags")[world.story.flag]
    assert pipeline["project_slug"].endswith(f"/{flag['name'].split('_')[0]}-service")


@pytest.mark.extended
def test_each_advance_has_a_story_of_its_own() -> None:
    world, stories = World(scale=0.05), []
    for _ in range(150):
        world.advance()
        stories.append(world.story)

    assert len({story.incident for story in stories if story}) == 150
    assert len({story.flag for story in stories if story}) > 1


def test_the_story_is_the_same_each_time() -> None:
    first, second, other = World(scale=0.05), World(scale=0.05), World(8, 0.05)
    for world in (first, second, other):
        world.advance()

    assert first.story == second.story != other.story
