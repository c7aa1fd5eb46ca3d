"""What real servers vary: order, page sizes, totals, slugs, forms of timestamps. The rows are exact all the same."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from analytics_ingest.apis import APIS
from analytics_ingest_tests.conftest import expected_keys, live_keys, query, sync

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from analytics_ingest.sandbox.server import SandboxServer
    from analytics_ingest_tests.conftest import FakeClock

Serve = "Callable[..., SandboxServer]"
PAGED = ("experimentation", "incident_response", "feature_management")


def assert_exact(tmp_path: Path, server: SandboxServer, api: str, **truth: Any) -> None:
    results = sync(api)
    assert {result.status for result in results.values()} == {"complete"}
    for name, endpoint in APIS[api].by_name.items():
        if endpoint.primary_key:
            assert live_keys(tmp_path, api, name) == expected_keys(server.world, api, name, **truth), name


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("order", ["shuffled", "updated_desc"])
def test_order_of_rows(
    tmp_path: Path, serve: Callable[..., SandboxServer], clock: FakeClock, api: str, order: str
) -> None:
    assert_exact(tmp_path, serve(order=order), api)


@pytest.mark.parametrize("api", PAGED)
@pytest.mark.parametrize("totals", ["right", "absent", "null", "low", "high"])
def test_page_size_capped_below_the_one_asked_for(
    tmp_path: Path, serve: Callable[..., SandboxServer], clock: FakeClock, api: str, totals: str
) -> None:
    server = serve(page_cap=30, totals=totals)

    assert_exact(tmp_path, server, api)


@pytest.mark.parametrize("api", PAGED)
@pytest.mark.parametrize("totals", ["absent", "null", "low", "high"])
def test_totals_that_are_missing_or_wrong(
    tmp_path: Path, serve: Callable[..., SandboxServer], clock: FakeClock, api: str, totals: str
) -> None:
    assert_exact(tmp_path, serve(totals=totals), api)


def test_slugs_without_the_name_of_the_version_control(
    tmp_path: Path, serve: Callable[..., SandboxServer], clock: FakeClock
) -> None:
    server = serve(slug_prefix=False)

    assert_exact(tmp_path, server, "continuous_integration", slug_prefix=False)
    slugs = {row[0] for row in query(tmp_path, "SELECT DISTINCT project_slug FROM continuous_integration.jobs")}
    assert slugs
    assert {slug.count("/") for slug in slugs} == {1}


@pytest.mark.parametrize(
    ("api", "name"), [("experimentation", "segments_ids"), ("feature_management", "segments_keys")]
)
def test_lists_of_bare_values_become_rows(
    tmp_path: Path, serve: Callable[..., SandboxServer], clock: FakeClock, api: str, name: str
) -> None:
    server = serve(bare_values=True)
    sync(api)

    assert live_keys(tmp_path, api, name) == expected_keys(server.world, api, name)


@pytest.mark.parametrize("form", ["offset", "epoch_ms", "epoch_s"])
@pytest.mark.parametrize(
    ("api", "name"),
    [("experimentation", "gates"), ("incident_response", "incidents"), ("project_planning", "epics")],
)
def test_every_form_of_timestamp_is_the_same_moment_in_utc(
    tmp_path: Path, serve: Callable[..., SandboxServer], clock: FakeClock, api: str, name: str, form: str
) -> None:
    moments = f"SELECT id, created_at, updated_at FROM {api}.{name}"
    serve()
    cursor = sync(api, name)[name].cursor
    assert cursor is not None
    before = Counter(query(tmp_path, moments))
    serve(timestamps=form)
    again = sync(api, name)[name]

    truncated = {(key, made.replace(microsecond=0), moved.replace(microsecond=0)) for key, made, moved in before}
    after = query(tmp_path, moments)
    assert {(key, made.replace(microsecond=0), moved.replace(microsecond=0)) for key, made, moved in after} == truncated
    assert again.cursor is not None
    assert again.cursor.replace(microsecond=0) == cursor.replace(microsecond=0)
