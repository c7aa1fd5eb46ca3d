"""Split: the header that the key is sent in, as the setting ``AUTH_HEADER`` has it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from analytics_ingest.diagnostics.connection_check import check_api
from analytics_ingest.errors import AuthenticationError, ConfigurationError
from analytics_ingest_tests.vendors.split import Split

LOG = logging.getLogger("test")
SETTING = "SOURCES__FEATURE_MANAGEMENT__AUTH_HEADER"


def split(*, takes_harness_tokens: bool) -> Split:
    vendor = Split()
    vendor.takes_harness_tokens = takes_harness_tokens
    return vendor


def test_key_is_sent_as_bearer_token_by_default(vendor_server: Callable[..., Split]) -> None:
    vendor = vendor_server(split(takes_harness_tokens=False))
    result = vendor.sync("groups")["groups"]

    assert (result.status, result.table_rows) == ("complete", 230)
    assert {asked.headers["Authorization"] for asked in vendor.asked} == {f"Bearer {vendor.KEY}"}
    assert not any("x-api-key" in asked.headers for asked in vendor.asked)


def test_token_of_a_harness_account_is_sent_as_x_api_key(vendor_server: Callable[..., Split]) -> None:
    vendor = vendor_server(split(takes_harness_tokens=True), AUTH_HEADER="x-api-key")
    result = vendor.sync("groups")["groups"]

    assert (result.status, result.table_rows) == ("complete", 230)
    assert {asked.headers["x-api-key"] for asked in vendor.asked} == {vendor.KEY}
    assert not any("Authorization" in asked.headers for asked in vendor.asked)


def test_another_header_is_refused_before_any_request(vendor_server: Callable[..., Split]) -> None:
    vendor = vendor_server(split(takes_harness_tokens=True), AUTH_HEADER="bearer")
    with pytest.raises(ConfigurationError) as refused:
        vendor.sync("groups")

    assert str(refused.value) == f"{SETTING} must be 'authorization' or 'x-api-key'"
    assert vendor.asked == []


@pytest.mark.parametrize(
    ("takes_harness_tokens", "used", "other"),
    [(True, "authorization", "x-api-key"), (False, "x-api-key", "authorization")],
)
def test_check_and_sync_report_the_header_of_a_refused_key(
    vendor_server: Callable[..., Split], takes_harness_tokens: bool, used: str, other: str
) -> None:
    vendor = vendor_server(split(takes_harness_tokens=takes_harness_tokens), AUTH_HEADER=used)
    found = {each.subject: each for each in check_api(vendor.api, log=LOG)}

    advice = f"It was sent in the header {used}, and {SETTING} can be {other}. "
    assert found["key"].outcome == "failed"
    assert advice in found["key"].message
    assert vendor.KEY not in found["key"].message
    with pytest.raises(AuthenticationError) as refused:
        vendor.sync("groups")
    assert advice in str(refused.value)
    assert vendor.KEY not in str(refused.value)
