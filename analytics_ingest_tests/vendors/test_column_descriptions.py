"""Descriptions of columns beside the vendors' servers: every column of a served row has one."""

from __future__ import annotations

import pytest

from analytics_ingest.apis.column_descriptions import declared_columns, describe_columns
from analytics_ingest.extract.column_names import column_name
from analytics_ingest_tests.vendors.registry import VENDORS

GENERIC = {"rootly": {"name", "position"}}
"""By profile the fields that the server of the tests gives to every record, also where the vendor has none."""


@pytest.mark.parametrize("profile", VENDORS)
def test_every_column_of_a_vendors_rows_has_a_description(profile: str) -> None:
    vendor = VENDORS[profile]()
    missing = {}
    for endpoint in vendor.api.endpoints:
        columns = {column_name(field) for row in vendor.expected(endpoint.name) for field in row}
        assert columns, endpoint.name
        if lacking := columns - describe_columns(vendor.api, endpoint).keys():
            missing[endpoint.name] = sorted(lacking)
    assert missing == {}


@pytest.mark.parametrize("profile", VENDORS)
def test_every_column_of_a_vendors_rows_is_declared(profile: str) -> None:
    vendor = VENDORS[profile]()
    missing = {}
    for endpoint in vendor.api.endpoints:
        columns = {column_name(field) for row in vendor.expected(endpoint.name) for field in row}
        known = {*declared_columns(endpoint), *GENERIC.get(profile, ())}
        if lacking := columns - known:
            missing[endpoint.name] = sorted(lacking)
    assert missing == {}
