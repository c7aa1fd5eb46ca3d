"""Vendor profiles: the changes to a neutral declaration, which stays unchanged, and the rules for each profile."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from analytics_ingest.apis.model import Endpoint
from analytics_ingest.apis.paginators import SINGLE_PAGE
from analytics_ingest.apis.parents import FromTable
from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.apis.vendors.overlay import EndpointChanges, overlay

EVERY = [api for profiles in PROFILES.values() for api in profiles.values()]
every_profile = pytest.mark.parametrize("api", EVERY, ids=[api.profile for api in EVERY])
NEUTRAL = APIS["feature_management"]
PAGES = Path(__file__).parents[2] / "docs" / "vendors"


def overlaid(**more):
    given = {"every": {}, "endpoints": {}, "profile": "shop", "base_url": "https://shop.example"}
    return overlay(NEUTRAL, **{**given, **more})


@every_profile
def test_the_page_of_a_profile_names_its_address_and_its_endpoints(api):
    page = (PAGES / f"{api.profile}.md").read_text()
    assert f"`{api.base_url}`" in page
    assert [name for name in api.by_name if f"`{name}`" not in page] == []


@every_profile
def test_a_profile_has_all_that_the_api_has(api):
    neutral = APIS[api.name]
    assert neutral.profile == neutral.base_url == ""
    assert set(neutral.by_name) <= set(api.by_name)
    assert (api.cron, api.full_refresh_cron) == (neutral.cron, neutral.full_refresh_cron)
    assert api.docs_url.startswith("https://")


@every_profile
def test_every_key_and_cursor_is_named_as_its_column(api):
    for endpoint in api.endpoints:
        for name in (*endpoint.primary_key, *endpoint.cursor_path, *endpoint.timestamps):
            assert re.fullmatch(r"[a-z_]+(\.\w+)*", name), (endpoint.name, name)
        assert set(endpoint.cursor_path) <= set(endpoint.timestamps), endpoint.name


@every_profile
def test_a_probe_names_endpoints_that_exist_and_changes_it_cannot_see(api):
    assert 1 <= len(api.probes) <= 3
    for probe in api.probes:
        assert probe.endpoint in probe.concerns
        assert probe.blind
        # a parent is requested first
        assert all(api.by_name[parent].parents is None for parent in api.by_name[probe.endpoint].upstream)


def test_fields_that_differ_are_changed_and_the_others_stay():
    api = overlaid(
        prefix="/v2",
        every={"timestamps": ()},
        endpoints={"groups": {"primary_key": ("name",), "timestamps": ("created_at",)}},
    )
    groups, users = api.by_name["groups"], api.by_name["users"]
    neutral = {name: replace(NEUTRAL.by_name[name], common_columns=()) for name in ("groups", "users")}
    assert groups == replace(neutral["groups"], path="/groups", primary_key=("name",), timestamps=("created_at",))
    assert users == replace(neutral["users"], path="/users", timestamps=())
    assert api.by_name["flag_sets"].path == "/v3/flag-sets"
    assert NEUTRAL.by_name["groups"].path == "/v2/groups"


def test_parents_come_before_their_children_in_whichever_order_they_are_named():
    added = Endpoint("kinds", "/kinds", "data", SINGLE_PAGE, description="Kinds.")
    api = overlaid(
        endpoints={"users": {"path": "/kinds/{kind}/users", "parents": FromTable("kinds", kind="id")}}, added=(added,)
    )
    names = list(api.by_name)
    assert names.index("kinds") < names.index("users")
    assert [name for name in names if name not in ("kinds", "users")] == [
        name for name in NEUTRAL.by_name if name != "users"
    ]


def test_a_change_of_an_endpoint_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"^shop: feature_management has no endpoint walls$"):
        overlaid(endpoints={"walls": {}})


@pytest.mark.parametrize("argument", [{"columns": {"walls": {}}}, {"common_columns": {"walls": ("name",)}}])
def test_columns_of_an_endpoint_that_does_not_exist_are_refused(argument):
    with pytest.raises(ValueError, match=r"^shop: columns of walls are described, which is no endpoint$"):
        overlaid(**argument)


def test_descriptions_are_added_replaced_and_removed():
    neutral = NEUTRAL.by_name["users"].columns
    users = overlaid(
        columns={"users": {"status": "Its status.", "email": "", "badge": "Its badge."}},
        common_columns={"users": ("name",)},
    ).by_name["users"]

    kept = {name: text for name, text in neutral.items() if name not in ("status", "email")}
    assert users.columns == {**kept, "status": "Its status.", "badge": "Its badge."}
    assert users.common_columns == ("name",)


def test_parents_in_a_cycle_are_refused():
    cycle = {
        "users": {"path": "/g/{g}", "parents": FromTable("groups", g="id")},
        "groups": {"path": "/u/{u}", "parents": FromTable("users", u="id")},
    }
    with pytest.raises(ValueError, match=r"^shop: the parents of (users, groups|groups, users) form a cycle$"):
        overlaid(endpoints=cycle)


def test_an_endpoint_that_the_vendor_does_not_have_is_removed():
    api = overlaid(removed=("users",))

    assert list(api.by_name) == [name for name in NEUTRAL.by_name if name != "users"]


@pytest.mark.parametrize(
    ("removed", "endpoints", "reason"),
    [
        (("walls",), {}, "shop: feature_management has no endpoint walls"),
        (("users",), {"users": {"timestamps": ()}}, "shop: users is both changed and removed"),
        (("groups",), {"users": {"path": "/g/{g}", "parents": FromTable("groups", g="id")}}, "shop: users is read for"),
    ],
)
def test_a_removal_that_makes_no_sense_is_refused(removed, endpoints, reason):
    with pytest.raises(ValueError, match=f"^{reason}"):
        overlaid(removed=removed, endpoints=endpoints)


def test_a_vendor_can_change_every_field_of_an_endpoint():
    assert set(EndpointChanges.__annotations__) == {each.name for each in fields(Endpoint)} - {"name"}
