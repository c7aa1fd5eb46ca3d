"""Every endpoint of the sandbox, read whole: its rows are the expected ones, in any order, page size and form."""

import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.sandbox.expected_rows import KEYS
from analytics_ingest.sandbox.options import Options
from analytics_ingest.sandbox.routes import ROUTES
from analytics_ingest.sandbox.world import World
from analytics_ingest_tests.sandbox.reader import STORIES, Reader


@pytest.fixture(scope="module")
def whole(module_sandbox):
    return Reader(module_sandbox)


def as_set(rows):
    return sorted(repr(sorted(row.items())) for row in rows)


def test_every_endpoint_that_is_declared_is_served():
    declared = {(api.name, endpoint.name) for api in APIS.values() for endpoint in api.endpoints}
    assert ROUTES.keys() == KEYS.keys() == declared


@pytest.mark.parametrize(("api", "endpoint"), ROUTES)
def test_a_complete_read_gives_the_expected_rows(module_sandbox, whole, api, endpoint):
    rows = whole.read(api, endpoint)
    assert as_set(rows) == as_set(module_sandbox.world.expected(api, endpoint))


@pytest.mark.parametrize(("api", "endpoint"), ROUTES)
def test_every_row_has_a_key_of_its_own(module_sandbox, api, endpoint):
    key = KEYS[api, endpoint]
    rows = module_sandbox.world.expected(api, endpoint)
    if key:
        keys = {tuple(row[name] for name in key) for row in rows}
        assert len(keys) == len(rows)
        assert all(part is not None for each in keys for part in each)


@pytest.mark.parametrize(
    "options",
    [
        Options(order="shuffled"),
        Options(order="updated_desc"),
        Options(page_cap=7),
        Options(totals="absent"),
        Options(totals="null"),
    ],
    ids=["shuffled", "updated_desc", "page_cap", "no_totals", "null_totals"],
)
@pytest.mark.parametrize(
    ("api", "endpoint"),
    [
        ("experimentation", "audit_logs"),
        ("experimentation", "gates_rules"),
        ("incident_response", "incidents"),
        ("project_planning", "search_epics"),
        ("continuous_integration", "workflow_jobs"),
        ("feature_management", "feature_flags"),
        ("feature_management", "segments_keys"),
    ],
)
def test_the_same_rows_come_in_any_order_page_size_and_envelope(shared_sandbox, reader, options, api, endpoint):
    shared_sandbox.options.update(options.simple())
    assert as_set(reader.read(api, endpoint)) == as_set(shared_sandbox.world.expected(api, endpoint))


def test_a_sync_at_scale_1_is_as_large_as_planned():
    world = World()
    stories = {row["id"] for name in STORIES for row in world.expected("project_planning", name)}
    assert len(stories) == 1000
    assert 19_000 <= world.rows() <= 23_000


def test_a_sync_at_a_small_scale_needs_few_requests(shared_sandbox, reader):
    for api, endpoint in ROUTES:
        reader.read(api, endpoint)
    assert 250 <= len(shared_sandbox.requests) <= 400
