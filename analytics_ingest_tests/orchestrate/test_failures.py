"""The failure sensor: real failed runs, a real webhook."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from dagster import AssetKey, DagsterEvent, DagsterInstance, build_sensor_context
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._utils.error import serializable_error_info_from_exc_info

from analytics_ingest.definitions import defs
from analytics_ingest.orchestrate.plain_failure import PlainFailureError
from analytics_ingest.orchestrate.sensors import failures
from analytics_ingest.orchestrate.sensors.failures import send_report
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.orchestrate.chat_webhook import SECRET_PATH, ChatWebhook
from analytics_ingest_tests.orchestrate.test_failure_message import runs


def tick(instance: DagsterInstance, cursor: str | None) -> SensorExecutionData:
    repository = defs.get_repository_def()
    context = build_sensor_context(
        instance=instance, cursor=cursor, repository_def=repository, sensor_name="failure_sensor"
    )
    return repository.get_sensor_def("failure_sensor").evaluate_tick(context)


def run(instance: DagsterInstance, api: str, *names: str) -> str:
    """A run of some endpoints, all by default; gives its id."""
    job = defs.resolve_job_def(f"{api}_sync")
    keys = [AssetKey([api, name]) for name in names] or None
    return job.execute_in_process(instance=instance, raise_on_error=False, asset_selection=keys).run_id


def fail_runs(instance: DagsterInstance, count: int, reason: str = "killed") -> list[str]:
    job = defs.resolve_job_def("incident_response_sync")
    ids = []
    for _ in range(count):
        failed = instance.create_run_for_job(job, tags=job.run_tags)
        instance.report_run_failed(failed, reason)
        ids.append(failed.run_id)
    return ids


def test_runs_that_failed_since_the_last_tick_are_reported_in_one_message(
    sandbox: SandboxServer, instance: DagsterInstance, webhook: ChatWebhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_WEBHOOK_URL", webhook.url)
    monkeypatch.setenv("ANALYTICS_INGEST_UI_URL", "https://dagster.example.com/")
    sandbox.options.faults = [
        Fault(api="incident_response", path="^/incidents$", status=403, body={"error": "no plan"}),
        Fault(api="experimentation", path="^/v1/gates$", status=404),
    ]
    before = run(instance, "incident_response", "incidents")
    first = tick(instance, None)
    assert first.skip_message == "failures are reported from now on"
    assert tick(instance, first.cursor).skip_message == "no run has failed since the last tick"
    failed = [run(instance, "incident_response"), run(instance, "experimentation", "gates", "gates_rules")]
    sandbox.options.faults.clear()
    assert run(instance, "incident_response", "incidents")
    done = tick(instance, first.cursor)

    assert done.skip_message == f"reported 2 failed runs to 127.0.0.1: {failed[1][:8]}, {failed[0][:8]}"
    assert len(webhook.received) == 1
    title, incidents, gates = webhook.received[0].split("\n\n")
    assert title == "2 runs of analytics_ingest failed"
    assert incidents.startswith(
        "incident_response: not materialised: incident_response/incidents\n```\n/incidents answered 403: 403, "
    )
    assert incidents.endswith(f"\n```\nhttps://dagster.example.com/runs/{failed[0]}")
    assert "not materialised: experimentation/gates, experimentation/gates_rules\n" in gates
    assert "gates failed: /v1/gates answered 404" in gates
    assert gates.endswith(f"/runs/{failed[1]}")
    assert before not in webhook.received[0]
    assert tick(instance, done.cursor).skip_message == "no run has failed since the last tick"


def test_comparison_that_failed_is_reported(
    sandbox: SandboxServer, instance: DagsterInstance, webhook: ChatWebhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_WEBHOOK_URL", webhook.url)
    run(instance, "incident_response")
    cursor = tick(instance, None).cursor
    sandbox.options.faults = [Fault(api="incident_response", status=401)]
    job = defs.resolve_job_def("incident_response_verify")
    failed = job.execute_in_process(instance=instance, raise_on_error=False).run_id
    tick(instance, cursor)
    [text] = webhook.received

    assert "incident_response_verify" in text
    assert "401" in text
    assert text.endswith(f"run {failed}")


@pytest.mark.parametrize("kind", ["refuses", "is not there"])
def test_message_that_the_webhook_did_not_receive_is_sent_again(
    instance: DagsterInstance, webhook: ChatWebhook, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_WEBHOOK_URL", webhook.url)
    cursor = tick(instance, None).cursor
    (failed,) = fail_runs(instance, 1)
    if kind == "refuses":
        webhook.status = 410
    else:
        monkeypatch.setenv("ANALYTICS_INGEST_WEBHOOK_URL", f"http://127.0.0.1:1{SECRET_PATH}")
    reason = "answered 410" if kind == "refuses" else "cannot be reached: ConnectionError"
    with pytest.raises(PlainFailureError, match=reason) as error:
        tick(instance, cursor)
    # what the tick shows in the UI
    shown = serializable_error_info_from_exc_info((error.type, error.value, error.tb))
    assert (shown.message, shown.stack, shown.cause, shown.context) == (f"{error.value}\n", [], None, None)
    assert "ANALYTICS_INGEST_WEBHOOK_URL" in str(error.value)
    assert "s3cret" not in str(error.getrepr(style="long", showlocals=False, chain=True).reprcrash)
    webhook.status = 200
    monkeypatch.setenv("ANALYTICS_INGEST_WEBHOOK_URL", webhook.url)
    tick(instance, cursor)

    assert len(webhook.received) == 1
    assert webhook.received[0].endswith(f"run {failed}")


def test_failed_run_that_gets_a_tag_is_not_reported_again(
    instance: DagsterInstance, webhook: ChatWebhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_WEBHOOK_URL", webhook.url)
    (before,) = fail_runs(instance, 1)
    cursor = tick(instance, None).cursor
    (failed,) = fail_runs(instance, 1)
    cursor = tick(instance, cursor).cursor
    # as the daemon does when it retries a run
    for run_id in (before, failed):
        instance.add_run_tags(run_id, {"dagster/auto_retry_run_id": "the-retry"})
    assert tick(instance, cursor).skip_message == "no run has failed since the last tick"
    (later,) = fail_runs(instance, 1)
    tick(instance, cursor)

    assert [text.rpartition("run ")[2] for text in webhook.received] == [failed, later]


def test_failure_that_is_stored_after_a_later_one_was_reported_is_reported(
    instance: DagsterInstance, webhook: ChatWebhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_WEBHOOK_URL", webhook.url)
    job = defs.resolve_job_def("incident_response_sync")
    cursor = tick(instance, None).cursor
    late = instance.create_run_for_job(job, tags=job.run_tags)
    failure = DagsterEvent(event_type_value="PIPELINE_FAILURE", job_name=job.name, message="killed")
    ended = datetime.now(UTC)
    fail_runs(instance, 1)
    cursor = tick(instance, cursor).cursor
    # an event has the time at which it happened
    instance.run_storage.handle_run_event(late.run_id, failure, ended)
    done = tick(instance, cursor)

    assert webhook.received[1].endswith(f"run {late.run_id}")
    assert tick(instance, done.cursor).skip_message == "no run has failed since the last tick"


def test_cursor_of_an_earlier_version_is_a_time(
    instance: DagsterInstance, webhook: ChatWebhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_WEBHOOK_URL", webhook.url)
    fail_runs(instance, 1)
    cursor = datetime.now(UTC).isoformat()
    (failed,) = fail_runs(instance, 1)
    tick(instance, cursor)

    assert [text.rpartition("run ")[2] for text in webhook.received] == [failed]


def test_without_a_webhook_the_message_is_logged(instance: DagsterInstance, caplog: pytest.LogCaptureFixture) -> None:
    cursor = tick(instance, None).cursor
    (failed,) = fail_runs(instance, 1)
    done = tick(instance, cursor)

    assert done.cursor != cursor
    assert f"run {failed}" in (done.skip_message or "")
    assert done.skip_message in [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("status", [400, 413])
def test_a_message_that_is_refused_for_its_size_is_cut_and_not_repeated(
    webhook: ChatWebhook, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    webhook.status = status
    outcome = send_report(webhook.url, runs(3), 3)

    assert webhook.requests == 3
    assert webhook.sizes == sorted(webhook.sizes, reverse=True)
    assert "3 failed runs, reported in the log" in outcome
    assert "3 runs of analytics_ingest failed" in caplog.text
    assert "s3cret" not in outcome


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_failure_and_not_followed(webhook: ChatWebhook, status: int) -> None:
    webhook.status = status
    with pytest.raises(RuntimeError, match=f"answered {status}, a redirect, which is not followed"):
        send_report(webhook.url, runs(1), 1)
    assert webhook.requests == 1


def test_a_run_whose_events_are_gone_is_reported_with_the_others(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursor = tick(instance, None).cursor
    first, second = fail_runs(instance, 2)
    plain = DagsterInstance.all_logs

    def gone(self: DagsterInstance, run_id: str, *arguments: Any, **options: Any) -> Any:
        if run_id == first:
            raise KeyError(run_id)
        return plain(self, run_id, *arguments, **options)

    monkeypatch.setattr(DagsterInstance, "all_logs", gone)
    text = tick(instance, cursor).skip_message or ""

    assert "the events of this run cannot be read (KeyError)" in text
    assert f"run {second}" in text


def test_after_an_outage_of_the_webhook_one_message_has_the_newest_runs_and_the_number_of_all(
    instance: DagsterInstance, webhook: ChatWebhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_WEBHOOK_URL", webhook.url)
    monkeypatch.setattr(failures, "MAX_RUNS_PER_MESSAGE", 4)
    cursor = tick(instance, None).cursor
    ids = fail_runs(instance, 7)
    webhook.status = 503
    for _ in range(2):
        with pytest.raises(PlainFailureError, match="answered 503: the next tick sends the message again"):
            tick(instance, cursor)
    ids += fail_runs(instance, 1)
    webhook.status = 200
    done = tick(instance, cursor)

    newest = ", ".join(each[:8] for each in reversed(ids[-4:]))
    assert done.skip_message == f"reported 8 failed runs to 127.0.0.1: {newest} and 4 more"
    text = webhook.received[0]
    assert len(webhook.received) == 1
    assert text.startswith("8 runs of analytics_ingest failed\n\nthe 4 earlier ones are not shown")
    assert text.endswith(f"run {ids[-1]}")
    assert [run_id for run_id in ids if run_id in text] == ids[-4:]
    assert tick(instance, done.cursor).skip_message == "no run has failed since the last tick"


def test_without_a_webhook_each_run_is_in_the_log(instance: DagsterInstance, caplog: pytest.LogCaptureFixture) -> None:
    cursor = tick(instance, None).cursor
    ids = fail_runs(instance, 12, "killed " * 500)
    tick(instance, cursor)

    assert [run_id for run_id in ids if f"run {run_id}" not in caplog.text] == []


@pytest.mark.parametrize("status", [413, 429])
def test_an_error_that_teams_puts_into_the_body_of_a_200_is_one(webhook: ChatWebhook, status: int) -> None:
    webhook.body = (
        b"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error %d with ContextId x"
        % status
    )
    if status == 413:
        assert "refused a short message too (413): 1 failed run" in send_report(webhook.url, runs(1), 1)
        assert webhook.requests == 3
    else:
        with pytest.raises(RuntimeError, match="answered 429: the next tick sends the message again"):
            send_report(webhook.url, runs(1), 1)
    webhook.body = b"1"
    assert send_report(webhook.url, runs(1), 1) == "reported 1 failed run to 127.0.0.1: run-0"


def test_failures_are_reported_even_if_dead_runs_cannot_be_found(
    instance: DagsterInstance, webhook: ChatWebhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("gone")

    monkeypatch.setenv("ANALYTICS_INGEST_WEBHOOK_URL", webhook.url)
    monkeypatch.setattr(failures, "poll_dead_runs", broken)
    cursor = tick(instance, None).cursor
    (failed,) = fail_runs(instance, 1)
    assert tick(instance, cursor).skip_message == f"reported 1 failed run to 127.0.0.1: {failed[:8]}"
