"""Time that passes in the sandbox: which rows are new, changed and gone afterwards."""

from datetime import timedelta

import orjson
import pytest

from analytics_ingest.sandbox.expected_rows import KEYS
from analytics_ingest.sandbox.routes import APIS, ROUTES
from analytics_ingest.sandbox.world import World


def by_key(world, each):
    rows = world.expected(*each)
    return {tuple(row[name] for name in KEYS[each]): orjson.dumps(row) for row in rows}


@pytest.mark.parametrize("steps", [1, 3])
def test_changes_are_as_reported(steps):
    world = World(scale=0.05)
    for _ in range(steps - 1):
        world.advance()
    before = {each: by_key(world, each) for each in ROUTES if KEYS[each]}
    changes = world.advance()
    for each, old in before.items():
        new = by_key(world, each)
        counts = changes.endpoints.get(each)
        found = (
            len(new.keys() - old.keys()),
            sum(old[key] != new[key] for key in old.keys() & new.keys()),
            len(old.keys() - new.keys()),
        )
        assert found == ((counts.added, counts.changed, counts.removed) if counts else (0, 0, 0))


@pytest.mark.parametrize(("scale", "days"), [(0.05, 5), pytest.param(1, 1, marks=pytest.mark.extended)])
def test_every_api_gains_changes_and_loses_rows(scale, days):
    world = World(scale=scale)
    for _ in range(days):
        rows = {api: world.rows(api) for api in APIS}
        changes = world.advance()
        for api in APIS:
            counts = changes.of(api)
            assert counts.added
            assert counts.changed
            assert counts.removed
            assert scale < 1 or counts.total < rows[api] * 0.06


def test_what_is_removed():
    world = World(scale=0.05)
    changes = world.advance()
    for each in (
        ("experimentation", "gates_rules"),
        ("experimentation", "segments_ids"),
        ("project_planning", "objectives_epics"),
        ("project_planning", "stories_comments"),
        ("feature_management", "feature_flags"),
        ("feature_management", "segments_keys"),
    ):
        assert changes.of(*each).removed == 1


def test_children_change_under_parents_that_do_not():
    world = World(scale=0.05)
    gates = {row["id"]: row["updated_at"] for row in world.expected("experimentation", "gates")}
    rows = world.expected("experimentation", "gates_rules")
    rules = {(row["gate_id"], row["id"]): orjson.dumps(row) for row in rows}
    comments = {row["id"]: row["text"] for row in world.expected("project_planning", "stories_comments")}
    world.advance()
    still = {
        row["id"] for row in world.expected("experimentation", "gates") if gates.get(row["id"]) == row["updated_at"]
    }
    changed = {
        row["gate_id"]
        for row in world.expected("experimentation", "gates_rules")
        if rules.get((row["gate_id"], row["id"]), orjson.dumps(row)) != orjson.dumps(row)
    }
    assert still & changed
    texts = {row["id"]: row["text"] for row in world.expected("project_planning", "stories_comments")}
    assert any(texts[comment] != text for comment, text in comments.items() if comment in texts)


def test_an_advance_is_the_same_each_time():
    first, second, other = World(scale=0.05), World(scale=0.05), World(scale=0.05)
    assert first.advance(6).as_dict() == second.advance(6).as_dict()
    other.advance(6, seed=99)
    rows = [orjson.dumps([world.expected(*each) for each in ROUTES]) for world in (first, second, other)]
    assert rows[0] == rows[1] != rows[2]


def test_changed_rows_are_newer_and_now_moves_on():
    world = World(scale=0.05)
    then = world.now
    before = by_key(world, ("incident_response", "incidents"))
    world.advance(12)
    assert world.now == then + timedelta(hours=12)
    for row in world.expected("incident_response", "incidents"):
        if before.get((row["id"],)) != orjson.dumps(row):
            assert then.isoformat()[:19] <= row["updated_at"][:19] <= world.now.isoformat()[:19]


def test_a_small_world_outlives_many_advances():
    world = World(scale=0.01)
    for _ in range(25):
        assert world.advance().endpoints
