"""CircleCI: its limits on requests, and its probe."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from analytics_ingest.diagnostics.change_probe import fingerprint_lists
from analytics_ingest_tests.conftest import FakeClock
from analytics_ingest_tests.fake_server import Response
from analytics_ingest_tests.vendors import circleci_rows as make
from analytics_ingest_tests.vendors.circleci import (
    CLOUD,
    ENGINE,
    Circleci,
)
from analytics_ingest_tests.vendors.server import Limit

LOG = logging.getLogger("test")


@pytest.fixture
def fresh_circleci(vendor_server: Callable[..., Circleci]) -> Circleci:
    return vendor_server(Circleci())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "11"}, 11),
        ({"X-RateLimit-Reset": "13"}, 13),
        ({"RateLimit-Reset": "17"}, 17),
        ({"Retry-After": "23", "X-RateLimit-Reset": "19"}, 23),
    ],
)
def test_a_refusal_is_waited_out_as_long_as_it_says(
    fresh_circleci: Circleci, clock: FakeClock, headers: dict[str, str], seconds: int
) -> None:
    fresh_circleci.faults["self_ids"] = [Response(status=429, body={"message": "Rate limit exceeded"}, headers=headers)]
    result = fresh_circleci.sync("self_ids")["self_ids"]

    assert (result.status, result.table_rows) == ("complete", 1)
    assert (result.stats.meter.requests, result.stats.meter.retries) == (2, 1)
    assert clock.slept == [seconds]


@pytest.mark.extended
def test_the_limit_is_ridden_out(fresh_circleci: Circleci, clock: FakeClock) -> None:
    fresh_circleci.limit = Limit(requests=30, seconds=20, now=clock.now)
    results = fresh_circleci.sync()

    assert results.keys() == fresh_circleci.api.by_name.keys()
    assert {result.status for result in results.values()} == {"complete"}
    # 6 + 6 + 4 of one, 3 of the two projects that no organisation's list has pipelines of, 41 of pipelines; what the
    # workflows and jobs come to is in the store
    workflows, jobs = len(fresh_circleci.store["workflow"]), len(fresh_circleci.store["jobs"])
    answered = 6 + 6 + 4 + 3 + 41 + workflows + (workflows + 1) + jobs + 3 * 6
    # trends, workflows' insights and their jobs', tests, flaky tests, schedules and variables
    answered += 5 + 6 + 18 + 17 + 5 + 7 + 30
    assert fresh_circleci.requests.total() - fresh_circleci.limit.refused == answered
    # all in a window come at its beginning, as only a wait moves the clock
    assert clock.slept == [20] * ((answered - 1) // 30)


def test_the_limit_is_ridden_out_where_no_refusal_says_retry_after(fresh_circleci: Circleci, clock: FakeClock) -> None:
    fresh_circleci.retry_after = False
    fresh_circleci.limit = Limit(requests=20, seconds=20, now=clock.now)
    wanted = ("self_collaborations", "projects", "pipelines", "project_pipelines", "pipeline_workflows")
    results = fresh_circleci.sync(*wanted)

    assert {name: result.status for name, result in results.items()} == dict.fromkeys(wanted, "complete")
    # of the five projects the lists of organisations have three
    assert fresh_circleci.requests.total() - fresh_circleci.limit.refused == 1 + 1 + 6 + 3 + 41
    assert clock.slept == [20] * 2


def test_the_probe_looks_at_the_first_page_of_each_organisations_pipelines(fresh_circleci: Circleci) -> None:
    first = fingerprint_lists(fresh_circleci.api, log=LOG)

    assert (first.fingerprints.keys(), first.failures) == ({"pipelines"}, {})
    assert fresh_circleci.requests == {"self_collaborations": 1, "pipelines": 4}
    assert sorted(each.query["org-slug"] for each in fresh_circleci.asked[1:]) == sorted(
        ["gh/acme", "bb/basalt", CLOUD, "gh/ada"]
    )
    assert not any("page-token" in each.query for each in fresh_circleci.asked)
    # on the third page, where nobody looks
    fresh_circleci.rows("pipelines", "gh/acme")[22]["state"] = "errored"
    assert fingerprint_lists(fresh_circleci.api, log=LOG) == first
    fresh_circleci.add_pipeline(ENGINE, make.LONG_AGO)
    assert fingerprint_lists(fresh_circleci.api, log=LOG) != first


def test_the_probe_passes_over_an_organisation_that_cannot_be_asked_for(fresh_circleci: Circleci) -> None:
    fresh_circleci.rows("self_collaborations")[0].pop("slug")

    seen = fingerprint_lists(fresh_circleci.api, log=LOG)
    assert (seen.fingerprints.keys(), seen.failures) == ({"pipelines"}, {})
    assert fresh_circleci.requests == {"self_collaborations": 1, "pipelines": 3}
