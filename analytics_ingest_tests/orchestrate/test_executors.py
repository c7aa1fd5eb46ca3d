"""One setting picks where steps are executed."""

from __future__ import annotations

import pytest

from analytics_ingest.extract.errors import ConfigurationError
from analytics_ingest.orchestrate.executors import build_executors, celery_settings


@pytest.mark.parametrize(
    ("name", "executors"),
    [
        (None, ("in_process", "multiprocess")),
        (" ", ("in_process", "multiprocess")),
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


def test_executor_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_EXECUTOR", "kubernetes")
    said = r"^ANALYTICS_INGEST_EXECUTOR is 'kubernetes': it must be 'in_process', 'multiprocess' or 'celery'$"

    with pytest.raises(ConfigurationError, match=said):
        build_executors()


def test_celery_without_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_EXECUTOR", "celery")

    with pytest.raises(ConfigurationError, match=r"^ANALYTICS_INGEST_CELERY_BROKER is not set: the URL of RabbitMQ"):
        build_executors()


def test_results_come_through_the_broker_unless_a_setting_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_INGEST_CELERY_BROKER", "redis://host/1")
    assert celery_settings() == {"broker": "redis://host/1", "backend": "rpc://"}

    monkeypatch.setenv("ANALYTICS_INGEST_CELERY_BACKEND", "redis://host/2")
    assert celery_settings() == {"broker": "redis://host/1", "backend": "redis://host/2"}
