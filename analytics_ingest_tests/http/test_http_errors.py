"""What an API refuses: the key, an endpoint, a parent; and where a key is never sent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import pytest

from analytics_ingest.errors import AuthenticationError, FailureKind, IngestError, ReadError
from analytics_ingest.sandbox.options import Fault
from analytics_ingest_tests.conftest import expected_keys, live_keys, sync
from analytics_ingest_tests.fake_server import KEY, Response

API = "experimentation"
STORIES = ("epics", "epics_stories", "groups", "groups_stories", "iterations", "iterations_stories", "stories_comments")
METRICS = r"^/v1/events/[^/]+/metrics$"
KEYS = r"^/v2/segments/[^/]+/[^/]+/keys$"
UP_TO_KEYS = ("workspaces", "environments", "segments", "segments_keys")


@pytest.mark.parametrize(
    ("api", "given"),
    [(API, "***"), ("incident_response", "Bearer ***")],
)
def test_a_refused_key_ends_the_sync_after_one_request(shared_sandbox, monkeypatch, api, given):
    name = f"SOURCES__{api.upper()}__API_KEY"
    monkeypatch.setenv(name, "a-wrong-k3y")
    with pytest.raises(AuthenticationError) as error:
        sync(api)
    assert [record.status for record in shared_sandbox.requests] == [401]
    said = f'{{"error":"invalid API key: {given}","status":401}}'
    assert str(error.value) == (
        f"{api} refused the key (401 Unauthorized): check {name}. Response: 401, application/json, {said!r}"
    )


def test_a_refused_key_is_sent_once_however_many_workers_there_are(fake_server, client):
    server = fake_server(Response(status=401, body={"error": KEY}))
    asking = client(API, server.url, max_in_flight=32)
    with ThreadPoolExecutor(32) as pool:
        errors = [pool.submit(asking.get).exception(timeout=10) for _ in range(32)]
    assert len(server.asked) == 1
    assert {type(error) for error in errors} == {AuthenticationError}
    assert not any(KEY in str(error) for error in errors)


def test_after_a_key_was_withdrawn_nothing_is_asked_any_more(fake_server, client, clock):
    server = fake_server(Response(), Response(status=401))
    asking = client(API, server.url)
    assert asking.get() == {"data": []}
    for _ in range(3):
        with pytest.raises(AuthenticationError):
            asking.get()
    assert (len(server.asked), clock.slept) == (2, [])


def test_a_key_that_no_header_can_carry_is_not_shown(sandbox, monkeypatch):
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__API_KEY", f"{KEY}\n")
    with pytest.raises(IngestError) as error:
        sync(API, "gates")
    assert KEY not in str(error.value)


def test_a_key_that_is_escaped_in_json_is_masked_too(fake_server, client):
    server = fake_server(Response(status=401, body='{"error": "no such key: ab\\/cd-s3cret"}'))
    with pytest.raises(AuthenticationError) as error:
        client(API, server.url, api_key="ab/cd-s3cret").get()
    assert "cd-s3cret" not in str(error.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_the_key_goes_nowhere_else(fake_server, client, clock, status):
    other = fake_server(Response())
    server = fake_server(Response(status=status, body=b"", headers={"Location": f"{other.url}/rows?key=x"}))
    with pytest.raises(ReadError) as error:
        client(API, server.url).get()
    assert (len(server.asked), other.asked, clock.slept) == (1, [], [])
    assert error.value.status == status
    assert str(error.value) == (
        f"answered {status}, a redirect to http://127.0.0.1; the key is not sent there: "
        "check SOURCES__EXPERIMENTATION__BASE_URL"
    )


def test_a_list_that_is_forbidden_fails_at_its_first_request_and_alone(tmp_path, shared_sandbox):
    shared_sandbox.options.faults = [Fault(api=API, path="^/v1/gates$", status=403)]
    results = sync(API, "gates", "users")
    assert {name: result.status for name, result in results.items()} == {
        "gates": "failed",
        "users": "complete",
    }
    assert results["gates"].reason == (
        '/v1/gates answered 403: 403, application/json, \'{"error":"Forbidden","status":403}\''
    )
    assert shared_sandbox.requests.count(API, "gates") == 1
    assert live_keys(tmp_path, API, "users") == expected_keys(shared_sandbox.world, API, "users")


def test_a_first_sync_that_reads_nothing_says_why(shared_sandbox):
    shared_sandbox.options.faults = [Fault(api=API, path="^/v1/gates$", status=403)]
    result = sync(API, "gates")["gates"]
    assert (result.status, result.table_rows) == ("failed", None)


def test_children_that_are_forbidden_for_every_parent_are_given_up_after_five(shared_sandbox):
    shared_sandbox.options.faults = [Fault(api=API, path=METRICS, status=403)]
    result = sync(API, "events", "events_metrics")["events_metrics"]
    assert shared_sandbox.requests.count(API, "events_metrics") == 5
    assert result.status == "failed"
    assert [failure.kind for failure in result.stats.failures] == [FailureKind.FORBIDDEN] * 5
    assert result.reason.endswith(" (and 4 more like it); after so many in a row the other parents were not requested")


def test_few_parents_that_are_all_forbidden_are_asked_once_each(shared_sandbox):
    shared_sandbox.options.faults = [Fault(api=API, path="^/v1/segments/[^/]+/id_list$", status=403)]
    result = sync(API, "segments", "segments_ids")["segments_ids"]
    assert (result.status, shared_sandbox.requests.count(API, "segments_ids")) == ("failed", 3)


def test_children_that_are_forbidden_for_some_parents_are_read_for_the_others(tmp_path, shared_sandbox):
    shared_sandbox.options.faults = [Fault(api=API, path=METRICS, status=403, skip=1, times=5)]
    result = sync(API, "events", "events_metrics")["events_metrics"]
    assert (result.status, result.stats.parents_done, len(result.stats.failures)) == ("failed", 8, 5)
    refused = {unquote(failure.path.split("/")[3]) for failure in result.stats.failures}
    assert live_keys(tmp_path, API, "events_metrics") == [
        key for key in expected_keys(shared_sandbox.world, API, "events_metrics") if key[0] not in refused
    ]


def test_children_of_a_parent_that_is_gone_are_skipped_and_counted(shared_sandbox):
    shared_sandbox.options.faults = [Fault(api=API, path=METRICS, status=404, times=1)]
    result = sync(API, "events", "events_metrics")["events_metrics"]
    assert (result.status, result.stats.failures) == ("complete", [])
    assert (result.stats.parents_missing, result.stats.parents_done) == (1, 8)
    assert shared_sandbox.requests.count(API, "events_metrics", 404) == 1


def test_children_that_no_parent_has_are_a_failure(shared_sandbox, clock):
    shared_sandbox.options.faults = [Fault(api=API, path=METRICS, status=404)]
    result = sync(API, "events", "events_metrics")["events_metrics"]
    assert (result.status, result.stats.parents_missing) == ("failed", 8)
    assert result.reason == ("/v1/events/{event_name}/metrics every one of 8 parents answered 404: is the path right?")
    assert (shared_sandbox.requests.count(API, "events_metrics"), clock.slept) == (8, [])


def test_a_segment_that_is_not_defined_in_an_environment_is_skipped_after_the_retries(tmp_path, shared_sandbox, clock):
    api = "feature_management"
    result = sync(api, *UP_TO_KEYS)["segments_keys"]
    assert (result.status, result.stats.parents, result.stats.parents_missing) == ("complete", 8, 1)
    assert (shared_sandbox.requests.count(api, "segments_keys", 404), clock.slept) == (4, [2, 4, 8])
    assert live_keys(tmp_path, api, "segments_keys") == expected_keys(shared_sandbox.world, api, "segments_keys")


def test_segments_that_are_defined_nowhere_are_no_failure(shared_sandbox, clock):
    api = "feature_management"
    shared_sandbox.options.faults = [Fault(api=api, path=KEYS, status=404)]
    result = sync(api, *UP_TO_KEYS)["segments_keys"]
    assert (result.status, result.stats.parents_missing, result.table_rows) == ("complete", 8, 0)
    assert shared_sandbox.requests.count(api, "segments_keys") == 8 * 4
    assert sorted(clock.slept) == [2] * 8 + [4] * 8 + [8] * 8


def test_parents_that_all_fail_are_given_up_after_twenty_in_a_row(shared_sandbox, monkeypatch, tmp_path):
    monkeypatch.setenv("SOURCES__PROJECT_PLANNING__MAX_IN_FLIGHT", "1")
    comments = "^/v1/stories/[^/]+/comments$"
    shared_sandbox.options.faults = [Fault(api="project_planning", path=comments, status=500, skip=10)]
    result = sync("project_planning", *STORIES)["stories_comments"]
    assert result.stats.parents > 40
    assert (result.status, result.stats.parents_done) == ("failed", 10 + 20)
    assert shared_sandbox.requests.count("project_planning", "stories_comments") == 10 + 20 * 4
    assert result.reason.endswith(" (and 19 more like it); after so many in a row the other parents were not requested")
    left = result.stats.parents - 10
    shared_sandbox.options.faults = []
    shared_sandbox.requests.reset()
    result = sync("project_planning", "stories_comments")["stories_comments"]
    assert (result.status, result.stats.parents, shared_sandbox.requests.count()) == ("complete", left, left)
    expected = expected_keys(shared_sandbox.world, "project_planning", "stories_comments")
    assert live_keys(tmp_path, "project_planning", "stories_comments") == expected
