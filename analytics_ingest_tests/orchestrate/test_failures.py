"""The failure sensor: real failed runs, a real webhook."""

from __future__ import annotations

import json
import threading
import traceback
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from dagster import AssetKey, DagsterInstance, build_sensor_context

from analytics_ingest.apis.registry import APIS
from analytics_ingest.definitions import defs
from analytics_ingest.orchestrate.sensors import failures
from analytics_ingest.orchestrate.sensors.failures import FailedRun, message
from analytics_ingest.sandbox.options import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagster._core.definitions.sensor_definition import SensorExecutionData

    from analytics_ingest.sandbox.server import SandboxServer

SECRET_PATH = "/services/T0/B0/s3cret"


class Webhook:
    """Takes messages, or answers as told."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.status = 200
        self.body = b""
        self.sizes: list[int] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                hook.sizes.append(len(content))
                body = json.loads(content)
                if hook.status == 200:
                    assert self.path == SECRET_PATH
                    hook.taken.append(body["text"])
                self.send_response(hook.status)
                if 300 <= hook.status < 400:
                    self.send_header("Location", f"{hook.url}/elsewhere")
                self.send_header("Content-Length", str(len(hook.body)))
                self.end_headers()
                self.wfile.write(hook.body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}{SECRET_PATH}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def requests(self) -> int:
        return len(self.sizes)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


def look(instance: DagsterInstance, cursor: str | None) -> SensorExecutionData:
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
        failed = instance.create_run_for_job(job)
        instance.report_run_failed(failed, reason)
        ids.append(failed.run_id)
    return ids


def test_runs_that_failed_since_the_last_look_come_in_one_message(
    sandbox: SandboxServer, instance: DagsterInstance, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_WEBHOOK_URL", webhook.url)
    monkeypatch.setenv("ANALYTICS_INGEST_UI_URL", "https://dagster.example.com/")
    sandbox.options.faults = [
        Fault(api="incident_response", path="^/incidents$", status=403, body={"error": "no plan"}),
        Fault(api="experimentation", path="^/v1/gates$", status=404),
    ]
    before = run(instance, "incident_response", "incidents")
    first = look(instance, None)
    assert first.skip_message == "looks from now on"
    assert look(instance, first.cursor).skip_message == "no run has failed since the last look"
    failed = [run(instance, "incident_response"), run(instance, "experimentation", "gates", "gates_rules")]
    sandbox.options.faults.clear()
    assert run(instance, "incident_response", "incidents")
    done = look(instance, first.cursor)

    assert done.skip_message == "told of 2 failed runs"
    assert len(webhook.taken) == 1
    title, incidents, gates = webhook.taken[0].split("\n\n")
    assert title == "2 runs of analytics_ingest failed"
    assert incidents.startswith(
        "incident_response: not materialised: incident_response/incidents\n```\n/incidents answered 403: 403, "
    )
    assert incidents.endswith(f"\n```\nhttps://dagster.example.com/runs/{failed[0]}")
    assert "not materialised: experimentation/gates, experimentation/gates_rules\n" in gates
    assert "gates failed: /v1/gates answered 404" in gates
    assert gates.endswith(f"/runs/{failed[1]}")
    assert before not in webhook.taken[0]
    assert look(instance, done.cursor).skip_message == "no run has failed since the last look"


@pytest.mark.parametrize("kind", ["refuses", "is not there"])
def test_webhook_that_does_not_take_it_is_tried_again(
    instance: DagsterInstance, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_WEBHOOK_URL", webhook.url)
    cursor = look(instance, None).cursor
    (failed,) = fail_runs(instance, 1)
    if kind == "refuses":
        webhook.status = 410
    else:
        monkeypatch.setenv("ANALYTICS_INGEST_WEBHOOK_URL", f"http://127.0.0.1:1{SECRET_PATH}")
    said = "answered 410" if kind == "refuses" else "cannot be reached: ConnectionError"
    with pytest.raises(RuntimeError, match=said) as error:
        look(instance, cursor)
    assert "ANALYTICS_INGEST_WEBHOOK_URL" in str(error.value)
    assert "s3cret" not in str(error.getrepr(style="long", showlocals=False, chain=True).reprcrash)
    webhook.status = 200
    monkeypatch.setenv("ANALYTICS_INGEST_WEBHOOK_URL", webhook.url)
    look(instance, cursor)

    assert len(webhook.taken) == 1
    assert webhook.taken[0].endswith(f"run {failed}")


def test_without_a_webhook_the_message_is_logged(instance: DagsterInstance, caplog: pytest.LogCaptureFixture) -> None:
    cursor = look(instance, None).cursor
    (failed,) = fail_runs(instance, 1)
    done = look(instance, cursor)

    assert done.cursor != cursor
    assert f"run {failed}" in (done.skip_message or "")
    assert done.skip_message in [record.getMessage() for record in caplog.records]


MENTIONS = "<!channel> <http://127.0.0.1/x|pay here> @all ![x](http://127.0.0.1/y) ``` &amp;"


def runs(count: int, reason: str = "it failed") -> list[FailedRun]:
    endpoints = [f"experimentation/{name}" for name in APIS["experimentation"].by_name]
    return [
        FailedRun(run_id=f"run-{n}", job="j", apis=["experimentation"], endpoints=endpoints, reason=reason)
        for n in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2, 60])
@pytest.mark.parametrize(
    "text",
    ["x" * 5_000, "\u4e2d" * 5_000, "\U0001f600" * 5_000, MENTIONS * 200],
    ids=["long", "wide", "wider", "marks"],
)
@pytest.mark.parametrize("place", ["reason", "names", "many names", "job"])
def test_a_message_is_bounded_whatever_failed(count: int, text: str, place: str) -> None:
    names = {"names": [text] * 3, "many names": [f"{n}{text[:9]}" for n in range(300)]}.get(place, [])
    failed = [
        FailedRun(
            run_id=f"run-{n}",
            job=text if place == "job" else "j",
            apis=names,
            endpoints=names,
            reason=text if place == "reason" else "it failed",
        )
        for n in range(count)
    ]
    for most in (8_000, 2_000, 500):
        sent = message(failed, most=most)
        assert len(json.dumps({"text": sent})) <= most
        assert sent.startswith(f"{count} run")
        shown = sent.count("\nrun run-")
        assert shown >= 1
        assert sent.count("```") == 2 * shown
        assert (f"the {count - shown} earlier ones are not shown" in sent) == (shown < count)


def test_foreign_text_has_no_effect_in_a_chat() -> None:
    text = message(runs(1, MENTIONS))
    reason = text.split("```")[1]

    assert not {"<", ">", "`"} & set(reason)
    assert "@all" not in reason
    assert "](" not in reason
    assert "&lt;!channel&gt;" in reason


def test_names_of_other_code_locations_and_control_characters_have_no_effect_in_a_chat() -> None:
    foreign = FailedRun(
        run_id="r", job="j", apis=["<!here>"], endpoints=["![x](a)\n@all"], reason="\x1b[31m\ud800\u202ea"
    )
    text = message([foreign])

    assert not {"<", ">", "\x1b", "\ud800", "\u202e"} & set(text)
    assert "](" not in text
    assert "@all" not in text


@pytest.mark.parametrize("status", [400, 413])
def test_a_message_that_is_refused_for_its_size_is_cut_and_not_repeated(
    webhook: Webhook, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    webhook.status = status
    said = failures._tell(webhook.url, runs(3), 3)

    assert webhook.requests == 3
    assert webhook.sizes == sorted(webhook.sizes, reverse=True)
    assert "3 failed runs, reported in the log" in said
    assert "3 runs of analytics_ingest failed" in caplog.text
    assert "s3cret" not in said


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_failure_and_not_followed(webhook: Webhook, status: int) -> None:
    webhook.status = status
    with pytest.raises(RuntimeError, match=f"answered {status}, a redirect, which is not followed"):
        failures._tell(webhook.url, runs(1), 1)
    assert webhook.requests == 1


def test_a_run_whose_events_are_gone_is_told_with_the_others(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursor = look(instance, None).cursor
    first, second = fail_runs(instance, 2)
    plain = DagsterInstance.all_logs

    def gone(self: DagsterInstance, run_id: str, *arguments: Any, **options: Any) -> Any:
        if run_id == first:
            raise KeyError(run_id)
        return plain(self, run_id, *arguments, **options)

    monkeypatch.setattr(DagsterInstance, "all_logs", gone)
    text = look(instance, cursor).skip_message or ""

    assert "the events of this run cannot be read (KeyError)" in text
    assert f"run {second}" in text


def test_after_an_outage_of_the_webhook_one_message_has_the_newest_runs_and_the_number_of_all(
    instance: DagsterInstance, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_WEBHOOK_URL", webhook.url)
    monkeypatch.setattr(failures, "MAX_RUNS_PER_MESSAGE", 4)
    cursor = look(instance, None).cursor
    ids = fail_runs(instance, 7)
    webhook.status = 503
    for _ in range(2):
        with pytest.raises(RuntimeError, match="answered 503: the next look sends the message again"):
            look(instance, cursor)
    ids += fail_runs(instance, 1)
    webhook.status = 200
    done = look(instance, cursor)

    assert done.skip_message == "told of 8 failed runs"
    text = webhook.taken[0]
    assert len(webhook.taken) == 1
    assert text.startswith("8 runs of analytics_ingest failed\n\nthe 4 earlier ones are not shown")
    assert text.endswith(f"run {ids[-1]}")
    assert [run_id for run_id in ids if run_id in text] == ids[-4:]
    assert look(instance, done.cursor).skip_message == "no run has failed since the last look"


def test_without_a_webhook_each_run_is_in_the_log(instance: DagsterInstance, caplog: pytest.LogCaptureFixture) -> None:
    cursor = look(instance, None).cursor
    ids = fail_runs(instance, 12, "killed " * 500)
    look(instance, cursor)

    assert [run_id for run_id in ids if f"run {run_id}" not in caplog.text] == []


@pytest.mark.parametrize("status", [413, 429])
def test_an_error_that_teams_puts_into_the_body_of_a_200_is_one(webhook: Webhook, status: int) -> None:
    webhook.body = (
        b"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error %d with ContextId x"
        % status
    )
    if status == 413:
        assert "refused a short message too (413): 1 failed run" in failures._tell(webhook.url, runs(1), 1)
        assert webhook.requests == 3
    else:
        with pytest.raises(RuntimeError, match="answered 429: the next look sends the message again"):
            failures._tell(webhook.url, runs(1), 1)
    webhook.body = b"1"
    assert failures._tell(webhook.url, runs(1), 1) == "told of 1 failed run"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1",
        "http://" + "a" * 70 + ".example",
        "http://[::1",
        "ftp://127.0.0.1",
        "127.0.0.1",
        "http://\u00a0",
    ],
)
def test_the_url_is_never_shown(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"), pytest.raises(RuntimeError, match="cannot be reached") as error:
        failures._send(f"{url}{SECRET_PATH}", "text")
    assert "s3cret" not in "".join(traceback.format_exception(error.value))
    assert "s3cret" not in caplog.text


def test_the_path_is_not_logged_when_a_message_is_taken(webhook: Webhook, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        assert failures._send(webhook.url, "text") == 200
    assert "s3cret" not in caplog.text


def test_a_look_for_dead_runs_that_fails_keeps_no_message_back(
    instance: DagsterInstance, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("gone")

    monkeypatch.setenv("ANALYTICS_INGEST_WEBHOOK_URL", webhook.url)
    monkeypatch.setattr(failures, "look_for_dead_runs", broken)
    cursor = look(instance, None).cursor
    fail_runs(instance, 1)
    assert look(instance, cursor).skip_message == "told of 1 failed run"
