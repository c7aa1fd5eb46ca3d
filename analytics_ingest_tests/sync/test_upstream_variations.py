"""What real servers vary: order, page sizes, totals, slugs, forms of timestamps. The rows are exact all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import FakeClock, expected_keys, live_keys, query, sync

LISTS = {
    "experimentation": ("tags", "audit_logs", "segments", "segments_ids"),
    "incident_response": ("incidents", "dashboards"),
    "feature_management": ("workspaces", "feature_flags", "groups"),
}
"""For each kind of pages of which envelopes state a number of rows: lists of several pages, children's among them."""
TOTALS = ("right", "absent", "null", "low", "high")


JOBS = (
    *("projects", "specific_project", "insights_metrics", "insights_branches"),
    *("pipelines", "pipeline_workflows", "workflow_jobs", "jobs"),
)
"""The endpoints of continuous integration whose paths or keys have to do with slugs."""


def some_of(values: Iterable[str], *usual: str) -> list[Any]:
    """Values of a parameter, of which the usual ones are those of `make test`."""
    return [pytest.param(value, marks=[] if value in usual else pytest.mark.extended) for value in values]


def assert_exact(tmp_path: Path, server: SandboxServer, api: str, *names: str, **truth: Any) -> None:
    results = sync(api, *names)
    assert {result.status for result in results.values()} == {"complete"}
    for name in names or APIS[api].by_name:
        if APIS[api].by_name[name].primary_key:
            assert live_keys(tmp_path, api, name) == expected_keys(server.world, api, name, **truth), name


@pytest.mark.parametrize("api", some_of(APIS, "incident_response"))
@pytest.mark.parametrize("order", ["shuffled", "updated_desc"])
def test_order_of_rows(
    tmp_path: Path, start_sandbox: Callable[..., SandboxServer], clock: FakeClock, api: str, order: str
) -> None:
    assert_exact(tmp_path, start_sandbox(order=order), api)


@pytest.mark.parametrize("api", some_of(LISTS, "experimentation"))
@pytest.mark.parametrize("totals", some_of(TOTALS, "right", "low", "high"))
def test_page_size_capped_below_the_one_asked_for(
    tmp_path: Path, start_sandbox: Callable[..., SandboxServer], clock: FakeClock, api: str, totals: str
) -> None:
    assert_exact(tmp_path, start_sandbox(page_cap=30, totals=totals), api, *LISTS[api])


@pytest.mark.extended
@pytest.mark.parametrize("api", LISTS)
def test_page_size_capped_below_the_one_asked_for_in_every_list(
    tmp_path: Path, start_sandbox: Callable[..., SandboxServer], clock: FakeClock, api: str
) -> None:
    assert_exact(tmp_path, start_sandbox(page_cap=30, totals="low"), api)


@pytest.mark.parametrize("api", some_of(LISTS, "incident_response"))
@pytest.mark.parametrize("totals", some_of(TOTALS[1:], "low", "high"))
def test_totals_that_are_missing_or_wrong(
    tmp_path: Path, start_sandbox: Callable[..., SandboxServer], clock: FakeClock, api: str, totals: str
) -> None:
    assert_exact(tmp_path, start_sandbox(totals=totals), api, *LISTS[api])


def test_slugs_without_the_name_of_the_version_control(
    tmp_path: Path, start_sandbox: Callable[..., SandboxServer], clock: FakeClock
) -> None:
    server = start_sandbox(slug_prefix=False)

    assert_exact(tmp_path, server, "continuous_integration", *JOBS, slug_prefix=False)
    slugs = {row[0] for row in query(tmp_path, "SELECT DISTINCT project_slug FROM continuous_integration.jobs")}
    assert slugs
    assert {slug.count("/") for slug in slugs} == {1}


@pytest.mark.parametrize(
    ("api", "parents", "name"),
    [
        pytest.param("experimentation", ["segments"], "segments_ids", marks=pytest.mark.extended),
        ("feature_management", ["workspaces", "environments", "segments"], "segments_keys"),
    ],
)
def test_lists_of_bare_values_become_rows(
    tmp_path: Path,
    start_sandbox: Callable[..., SandboxServer],
    clock: FakeClock,
    api: str,
    parents: list[str],
    name: str,
) -> None:
    assert_exact(tmp_path, start_sandbox(bare_values=True), api, *parents, name)


@pytest.mark.parametrize(
    ("api", "name"),
    [
        ("experimentation", "gates"),
        pytest.param("incident_response", "incidents", marks=pytest.mark.extended),
        pytest.param("project_planning", "epics", marks=pytest.mark.extended),
    ],
)
def test_every_form_of_timestamp_is_the_same_moment_in_utc(
    tmp_path: Path, start_sandbox: Callable[..., SandboxServer], clock: FakeClock, api: str, name: str
) -> None:
    server = start_sandbox()
    cursor = sync(api, name)[name].cursor
    assert cursor is not None
    moments = f"SELECT id, created_at, updated_at FROM {api}.{name}"
    before = Counter(query(tmp_path, moments))
    truncated = {(key, made.replace(microsecond=0), moved.replace(microsecond=0)) for key, made, moved in before}
    for form in ("offset", "epoch_ms", "epoch_s"):
        server.options.timestamps = form
        again = sync(api, name)[name]

        after = query(tmp_path, moments)
        found = {(key, made.replace(microsecond=0), moved.replace(microsecond=0)) for key, made, moved in after}
        assert found == truncated, form
        assert again.cursor is not None
        assert again.cursor.replace(microsecond=0) == cursor.replace(microsecond=0)
