"""One setting picks where steps are executed."""

from __future__ import annotations

import importlib
import importlib.util
import traceback
from collections import Counter
from multiprocessing import forkserver

import pytest
from dagster import AssetKey, DagsterInstance, execute_job
from dagster._core.definitions.reconstruct import ReconstructableRepository

from analytics_ingest.errors import ConfigurationError
from analytics_ingest.orchestrate.executors import PRELOADED, build_executors, celery_settings
from analytics_ingest.sandbox.server import SandboxServer


@pytest.mark.parametrize(
    ("name", "executors"),
    [
        (None, ("per_api", "multiprocess")),
        (" ", ("per_api", "multiprocess")),
        ("in_process", ("in_process", "multiprocess")),
        ("multiprocess", ("multiprocess", "multiprocess")),
        ("celery", ("celery", "celery")),
    ],
)
def test_executor_of_runs_and_of_all_sync(
    monkeypatch: pytest.MonkeyPatch, name: str | None, executors: tuple[str, str]
) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_CELERY_BROKER", "amqp://host")
    if name is not None:
        monkeypatch.setenv("ANALYTICS_INGEST_EXECUTOR", name)

    assert tuple(executor.name for executor in build_executors()) == executors


@pytest.fixture
def own_forkserver() -> None:
    """Ends the forkserver that an earlier test of this process started: it keeps that test's environment."""
    # nothing public ends it
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("own_forkserver")
@pytest.mark.parametrize("apis", [["experimentation"], ["experimentation", "incident_response"]])
def test_run_of_one_api_stays_in_its_process_and_one_of_several_gives_each_a_process(
    sandbox: SandboxServer, instance: DagsterInstance, apis: list[str]
) -> None:
    assets = [AssetKey(["experimentation", "tags"]), AssetKey(["incident_response", "dashboards"])][: len(apis)]
    # the job behind "Materialize all", in a form that other processes can load
    job = ReconstructableRepository.for_module("analytics_ingest.definitions", "defs").get_reconstructable_job(
        "__ASSET_JOB"
    )
    with execute_job(job, instance, asset_selection=assets) as done:
        assert done.success
    events = Counter(
        (event.step_key, event.event_type_value)
        for event in (entry.dagster_event for entry in instance.all_logs(done.run_id))
        if event
    )
    for api in apis:
        assert events[api, "ASSET_MATERIALIZATION"] == 1
        assert events[api, "STEP_WORKER_STARTING"] == (1 if len(apis) > 1 else 0)
    assert events[None, "PIPELINE_SUCCESS"] == 1


@pytest.mark.parametrize("name", PRELOADED)
def test_modules_that_are_preloaded_are_there(name: str) -> None:
    # a forkserver passes over one that is missing: each step's process would import it again
    assert importlib.util.find_spec(name)


def test_executor_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_EXECUTOR", "kubernetes")
    message = (
        r"^ANALYTICS_INGEST_EXECUTOR is 'kubernetes': it must be 'per_api', 'in_process', 'multiprocess' or 'celery'$"
    )

    with pytest.raises(ConfigurationError, match=message):
        build_executors()


def test_celery_without_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_EXECUTOR", "celery")

    with pytest.raises(ConfigurationError, match=r"^ANALYTICS_INGEST_CELERY_BROKER is not set: the URL of RabbitMQ"):
        build_executors()


def test_the_celery_app_is_found_by_its_former_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_CELERY_BROKER", "amqp://host")
    former, now = (importlib.import_module(f"analytics_ingest.{name}") for name in ("worker", "celery_app"))

    assert former.app is now.app


def test_results_come_through_the_broker_unless_a_setting_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_CELERY_BROKER", "redis://host/1")
    assert celery_settings() == {"broker": "redis://host/1", "backend": "rpc://"}

    monkeypatch.setenv("ANALYTICS_INGEST_CELERY_BACKEND", "redis://host/2")
    assert celery_settings() == {"broker": "redis://host/1", "backend": "redis://host/2"}


SECRET = "pa55-of-the-broker"


@pytest.mark.parametrize("variable", ["ANALYTICS_INGEST_CELERY_BROKER", "ANALYTICS_INGEST_CELERY_BACKEND"])
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"nonsense://u:{SECRET}@host", "Celery has no such transport, or "),
        (f"{SECRET}://host", "Celery has no such transport, or "),
        (f"redis://u:{SECRET}@host:port/0", "it is no valid URL; "),
        (f"redis://u:[{SECRET}@host/0", "it is no valid URL; "),
        (f"redis://host/1;nonsense://u:{SECRET}@host", "Celery has no such transport, or "),
    ],
)
def test_url_that_cannot_work(monkeypatch: pytest.MonkeyPatch, variable: str, url: str, reason: str) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_EXECUTOR", "celery")
    monkeypatch.setenv("ANALYTICS_INGEST_CELERY_BROKER", "redis://host/1")
    monkeypatch.setenv(variable, url)

    with pytest.raises(ConfigurationError) as error:
        build_executors()

    assert str(error.value).startswith(f"{variable} cannot be used: {reason}")
    assert "pa55" not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize(
    ("broker", "backend"),
    [
        ("amqp://u:p%40ss@host:5672//", "rpc://"),
        ("amqp://a;amqp://b", "db+sqlite:///results.sqlite"),
        ("rediss://:p@host/1", "rediss://:p@host/2"),
        ("sentinel://a:1;sentinel://b:2", "sentinel://a:1;sentinel://b:2"),
        ("redis://host", "rpc"),
        ("redis+socket:///run/redis.sock", "cache+memory://"),
    ],
)
def test_urls_that_work(monkeypatch: pytest.MonkeyPatch, broker: str, backend: str) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_CELERY_BROKER", broker)
    monkeypatch.setenv("ANALYTICS_INGEST_CELERY_BACKEND", backend)

    assert celery_settings() == {"broker": broker, "backend": backend}
