"""Every column that a declaration names has a description."""

from __future__ import annotations

import pytest

from analytics_ingest.apis.column_descriptions import declared_columns, describe_columns
from analytics_ingest.apis.model import Api
from analytics_ingest.apis.registry import APIS, PROFILES

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
