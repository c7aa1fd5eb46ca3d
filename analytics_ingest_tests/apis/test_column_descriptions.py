"""Every column that a declaration names, or that the sandbox serves, has a description."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache

import pytest

from analytics_ingest.apis.column_descriptions import COMMON, declared_columns, describe_columns
from analytics_ingest.apis.model import Api, Endpoint
from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.extract.column_names import column_name
from analytics_ingest.sandbox.world import World

DECLARATIONS = [*APIS.values(), *(profile for profiles in PROFILES.values() for profile in profiles.values())]


@pytest.mark.parametrize("api", DECLARATIONS, ids=lambda api: api.profile or api.name)
def test_every_declared_column_has_a_description(api: Api) -> None:
    missing = {
        endpoint.name: lacking
        for endpoint in api.endpoints
        if (lacking := [name for name in declared_columns(endpoint) if name not in describe_columns(api, endpoint)])
    }
    assert missing == {}


@pytest.mark.parametrize("api", DECLARATIONS, ids=lambda api: api.profile or api.name)
def test_descriptions_are_one_sentence_each(api: Api) -> None:
    for endpoint in api.endpoints:
        for name, text in describe_columns(api, endpoint).items():
            assert text.endswith("."), (endpoint.name, name)
            assert text[0].isupper() or text[0].isdigit(), (endpoint.name, name)
            assert "\n" not in text
            assert len(text) <= 200


@cache
def world() -> World:
    """A small world, with the rows that come and change in a day."""
    made = World(scale=0.05)
    made.advance(24)
    return made


def served_columns(api: Api, endpoint: Endpoint) -> set[str]:
    """The columns of the rows that the sandbox serves."""
    return {column_name(field) for row in world().expected(api.name, endpoint.name) for field in row}


@pytest.mark.parametrize("api", APIS.values(), ids=lambda api: api.name)
def test_every_column_that_the_sandbox_serves_has_a_description(api: Api) -> None:
    served = {endpoint.name: served_columns(api, endpoint) for endpoint in api.endpoints}
    missing = {
        endpoint.name: lacking
        for endpoint in api.endpoints
        if (lacking := sorted(served[endpoint.name] - describe_columns(api, endpoint).keys()))
    }

    assert missing == {}
    # the sandbox has no holdouts
    assert {name for name, columns in served.items() if not columns} <= {"holdouts"}


@pytest.mark.parametrize("api", APIS.values(), ids=lambda api: api.name)
def test_every_column_that_the_sandbox_serves_is_declared(api: Api) -> None:
    served = {endpoint.name: served_columns(api, endpoint) for endpoint in api.endpoints}

    missing = {
        endpoint.name: lacking
        for endpoint in api.endpoints
        if (lacking := sorted(served[endpoint.name] - set(declared_columns(endpoint))))
    }
    assert missing == {}
    common = {endpoint.name: set(endpoint.common_columns) - {"stats"} for endpoint in api.endpoints}
    assert {name: columns - served[name] for name, columns in common.items() if columns - served[name]} == {}


@pytest.mark.parametrize("api", DECLARATIONS, ids=lambda api: api.profile or api.name)
def test_common_columns_are_described_for_several_endpoints_or_for_every_api(api: Api) -> None:
    for endpoint in api.endpoints:
        assert set(endpoint.common_columns) <= {*COMMON, *api.columns}, endpoint.name
        assert not set(endpoint.common_columns) & set(endpoint.columns), endpoint.name


@pytest.mark.parametrize("api", APIS.values(), ids=lambda api: api.name)
def test_descriptions_are_of_columns_that_the_tables_have(api: Api) -> None:
    tables: Counter[str] = Counter()
    unknown = {}
    for endpoint in api.endpoints:
        known = served_columns(api, endpoint) | set(declared_columns(replace(endpoint, columns={})))
        tables.update(known)
        if beside := sorted(endpoint.columns.keys() - known):
            unknown[endpoint.name] = beside

    assert unknown == {}
    assert [name for name in api.columns if tables[name] < 2] == []
