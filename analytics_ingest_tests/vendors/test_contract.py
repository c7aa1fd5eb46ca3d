"""The contract over every endpoint of every profile, against the vendor's server."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest

from analytics_ingest.apis.registry import PROFILES
from analytics_ingest.diagnostics.verification import VerifiedEndpoint, verify_some
from analytics_ingest.diagnostics.verify import VerifyResult, verify_api
from analytics_ingest_tests.conftest import ROOT
from analytics_ingest_tests.contract import CHECKS, Pass, Passes, one_pass
from analytics_ingest_tests.stores import Table, duckdb_store
from analytics_ingest_tests.vendors.conftest import configured
from analytics_ingest_tests.vendors.first_queries import FIRST_QUERIES
from analytics_ingest_tests.vendors.registry import VENDORS

PROFILED = {name: api for profiles in PROFILES.values() for name, api in profiles.items()}
ENDPOINTS = [(profile, endpoint.name) for profile in VENDORS for endpoint in PROFILED[profile].endpoints]
every_endpoint = pytest.mark.parametrize(("profile", "name"), ENDPOINTS, ids=[f"{p}/{e}" for p, e in ENDPOINTS])


@pytest.fixture(scope="module")
def verified() -> dict[str, dict[str, VerifyResult]]:
    """What ``verify`` finds after the last sync, by profile and endpoint; filled by ``passes_of``."""
    return {}


@pytest.fixture(scope="module")
def compared() -> dict[str, dict[str, VerifiedEndpoint]]:
    """What the comparison of the job finds after the last sync, by profile and endpoint; filled by ``passes_of``."""
    return {}


@pytest.fixture(scope="module")
def first_queries() -> dict[str, Table]:
    """What the query of each vendor's page gives after the last sync, by profile; filled by ``passes_of``."""
    return {}


@pytest.fixture(scope="module")
def passes_of(
    tmp_path_factory: pytest.TempPathFactory,
    verified: dict[str, dict[str, VerifyResult]],
    compared: dict[str, dict[str, VerifiedEndpoint]],
    first_queries: dict[str, Table],
) -> Callable[[str], Passes]:
    made: dict[str, Passes | Exception] = {}

    def passes_of(profile: str) -> Passes:
        if profile not in made:
            try:
                made[profile] = three_passes(profile)
            except Exception as error:  # noqa: BLE001 - told to every case, and not tried again by each
                made[profile] = error
        found = made[profile]
        if isinstance(found, Exception):
            raise found
        return found

    def three_passes(profile: str) -> Passes:
        folder = tmp_path_factory.mktemp(profile)
        with VENDORS[profile]() as vendor, configured(vendor, folder), duckdb_store(folder) as store:

            def once() -> Pass:
                return one_pass(
                    vendor.api,
                    store,
                    requests=vendor.requests.__getitem__,
                    truth=vendor.expected,
                    reset=vendor.requests.clear,
                )

            first, unchanged = once(), once()
            vendor.advance()
            passes = Passes(vendor.api, first, unchanged, once())
            verified[profile] = {
                each.endpoint.name: each for each in verify_api(vendor.api, log=logging.getLogger("test"))
            }
            compared[profile] = {
                each.endpoint.name: each
                for each in verify_some(vendor.api, requests=None, log=logging.getLogger("test"))
            }
            page = (ROOT / "docs" / "vendors" / f"{profile}.md").read_text()
            with store.reading() as run:
                # the last one on the page: others have tests of their own
                query = page.rpartition("```sql\n")[2].partition("```")[0]
                first_queries[profile] = run(query)
        return passes

    return passes_of


def test_every_profile_has_a_server_at_its_path() -> None:
    paths = {name: urlsplit(api.base_url).path for name, api in PROFILED.items()}
    assert paths == {name: vendor.prefix for name, vendor in VENDORS.items()}


@every_endpoint
@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
def test_contract(
    passes_of: Callable[[str], Passes], check: Callable[[Passes, str], None], profile: str, name: str
) -> None:
    check(passes_of(profile), name)


@every_endpoint
def test_verify_finds_the_same(
    passes_of: Callable[[str], Passes], verified: dict[str, dict[str, VerifyResult]], profile: str, name: str
) -> None:
    truth = passes_of(profile).later.truth[name]
    found = verified[profile][name]

    assert (found.outcome, found.reason, found.upstream, found.table) == ("same", "", len(truth), len(truth))


@every_endpoint
def test_comparison_of_the_job_finds_the_same(
    passes_of: Callable[[str], Passes], compared: dict[str, dict[str, VerifiedEndpoint]], profile: str, name: str
) -> None:
    passes_of(profile)
    found = compared[profile][name].verification

    assert (found.rows, found.reason, found.verified_at) == ([], None, found.compared_at)
    assert found.compared_at


@pytest.mark.parametrize("profile", VENDORS)
def test_the_first_query_of_a_vendors_page_finds_what_the_server_has(
    passes_of: Callable[[str], Passes], first_queries: dict[str, Table], profile: str
) -> None:
    expected = FIRST_QUERIES[profile](passes_of(profile).later.truth)
    found = [
        tuple(value.astimezone(UTC) if isinstance(value, datetime) else value for value in row)
        for row in first_queries[profile][1]
    ]

    assert found != []
    assert Counter(found) == Counter(expected)


@pytest.mark.parametrize("profile", VENDORS)
def test_every_list_has_more_than_one_page(passes_of: Callable[[str], Passes], profile: str) -> None:
    """Of those that page at all: then the last page is not the only one that is read."""
    first = passes_of(profile).first
    single = []
    for endpoint in PROFILED[profile].endpoints:
        stats = first.results[endpoint.name].stats
        assert stats is not None
        if stats.pages <= stats.parents - stats.parents_missing:
            single.append(endpoint.name)
    assert sorted(single) == sorted(VENDORS[profile].UNPAGED)
