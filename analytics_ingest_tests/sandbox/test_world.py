"""The sandbox's rows: the hard cases that they hold at every scale, and that they fit together."""

from collections import Counter, defaultdict
from datetime import UTC, datetime

import orjson
import pytest

from analytics_ingest.sandbox.expected_rows import PARTITIONS, listed
from analytics_ingest.sandbox.routes import ROUTES
from analytics_ingest.sandbox.world import World


@pytest.fixture(scope="module", params=[0.05, pytest.param(1, marks=pytest.mark.extended)])
def world(request):
    return World(scale=request.param)


def dump(world):
    return {each: orjson.dumps(world.expected(*each)) for each in ROUTES}


def test_the_same_seed_gives_the_same_rows():
    assert dump(World(scale=0.05)) == dump(World(scale=0.05))
    assert dump(World(scale=0.05)) != dump(World(8, 0.05))


def test_rows_grow_with_the_scale():
    half, whole = World(scale=0.3).rows(), World(scale=0.6).rows()
    assert 1.7 < whole / half < 2.1


def test_now_may_be_given():
    world = World(scale=0.05, now=datetime(2025, 3, 1, tzinfo=UTC))
    assert max(row["updated_at"] for row in world.expected("incident_response", "incidents")) <= "2025-03-01T00"


def test_no_row_is_served_twice_under_one_key(world):
    for api, endpoint in ROUTES:
        assert len(list(listed(world.store, api, endpoint))) == len(world.expected(api, endpoint))


def test_times_are_in_order_and_not_in_the_future(world):
    forms = set()
    for each in ROUTES:
        for row in world.expected(*each):
            times = [row[name] for name in ("created_at", "updated_at") if row.get(name)]
            moments = [datetime.fromisoformat(time) for time in times]
            assert moments == sorted(moments)
            assert all(moment <= world.now for moment in moments)
            assert all(time.endswith("Z") for time in times)
            forms |= {"." in time for time in times}
    assert forms == {True, False}


def test_versions_share_the_id_of_their_config(world):
    for config in world.expected("experimentation", "dynamic_configs"):
        versions = world.collection("experimentation", "dynamic_configs_versions")[config["id"],]
        assert {row["id"] for row in versions} == {config["id"]}
        assert [row["version"] for row in versions] == list(range(1, config["version"] + 1))
    assert max(map(len, world.collection("experimentation", "dynamic_configs_versions").values())) > 100


def test_one_rule_id_is_under_several_gates_and_configs(world):
    for endpoint in ("gates_rules", "dynamic_configs_rules"):
        rules = world.expected("experimentation", endpoint)
        assert Counter(row["id"] for row in rules)["everyone"] >= 3


def test_the_first_page_of_one_gate_has_no_rules_and_a_later_one_has(world):
    elements = world.collection("experimentation", "gates_rules")[world.expected("experimentation", "gates")[0]["id"],]
    assert not any(element["rules"] for element in elements[:100])
    assert all(element["rules"] for element in elements[110:])
    assert len(elements) > 200


def test_some_gates_have_no_rules(world):
    assert [{"rules": []}] in world.collection("experimentation", "gates_rules").values()


@pytest.mark.parametrize(
    ("child", "parent"),
    [
        ("objectives_epics", "objective_id"),
        ("milestones_epics", "milestone_id"),
        ("categories_milestones", "category_id"),
        ("categories_objectives", "category_id"),
    ],
)
def test_one_row_is_under_two_parents(world, child, parent):
    parents = defaultdict(set)
    for row in world.expected("project_planning", child):
        parents[row["id"]].add(row[parent])
    assert max(map(len, parents.values())) >= 2


def test_job_number_1_is_in_two_projects(world):
    rows = world.expected("continuous_integration", "jobs")
    assert len({row["project_slug"] for row in rows if row["number"] == 1}) >= 2


def test_approvals_have_no_job_number(world):
    rows = world.expected("continuous_integration", "workflow_jobs")
    assert {row["type"] for row in rows if "job_number" not in row} == {"approval"}
    assert "approval" not in {row["type"] for row in rows if "job_number" in row}


def test_a_workflow_has_more_jobs_than_a_page(world):
    assert max(map(len, world.collection("continuous_integration", "workflow_jobs").values())) > 20


def test_names_repeat_over_workspaces_but_ids_do_not(world):
    segments = world.expected("feature_management", "segments")
    assert max(Counter(row["name"] for row in segments).values()) >= 2
    environments = world.expected("feature_management", "environments")
    assert max(Counter(row["name"] for row in environments).values()) >= 2
    assert max(Counter(row["id"] for row in environments).values()) == 1


def test_names_have_characters_that_paths_must_encode(world):
    names = "".join(row["name"] for row in world.expected("experimentation", "events"))
    assert set("/?# ü%+") <= set(names)
    assert any("/" in row["name"] for row in world.expected("feature_management", "segments"))


def test_stories_are_found_in_one_place_only(world):
    places = {
        name: {row["id"] for row in world.expected("project_planning", f"{name}_stories")}
        for name in ("epics", "groups", "iterations")
    }
    for name, own in places.items():
        others = set().union(*(stories for other, stories in places.items() if other != name))
        assert own - others


def test_one_history_entry_is_in_several_stories(world):
    rows = world.expected("project_planning", "story_history")
    assert max(Counter(row["id"] for row in rows).values()) == 3


def test_sizes_that_meet_the_page_size(world):
    assert len(world.expected("experimentation", "tags")) == 100
    assert len(world.expected("feature_management", "groups")) == 50
    assert world.expected("experimentation", "holdouts") == []
    assert max(map(len, world.collection("feature_management", "feature_flags").values())) == 120


def test_a_segment_is_not_defined_in_an_environment(world):
    stored = world.collection("feature_management", "segments_keys")
    pairs = [tuple(each.values()) for each in PARTITIONS["feature_management", "segments_keys"](world.store)]
    assert 1 <= sum(pair not in stored for pair in pairs) <= 3
    assert max(map(len, stored.values())) > 100


def test_a_row_lacks_its_time_of_change(world):
    assert [row["updated_at"] for row in world.expected("experimentation", "autotunes")].count(None) == 1


def test_authors_are_members(world):
    members = {row["id"] for row in world.expected("project_planning", "members")}
    for endpoint in ("epics_comments", "stories_comments"):
        assert {row["author_id"] for row in world.expected("project_planning", endpoint)} <= members


def test_children_of_a_parent_that_is_gone_are_not_expected():
    world = World(scale=0.05)
    gate = world.collection("experimentation", "gates").pop()
    assert gate["id"] not in {row["gate_id"] for row in world.expected("experimentation", "gates_rules")}
