"""Where a run's steps are executed: the run's own process, processes beside it, or Celery's workers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dagster import in_process_executor, multiprocess_executor

from analytics_ingest.extract.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagster import ExecutorDefinition

EXECUTOR = "ANALYTICS_INGEST_EXECUTOR"
BROKER = "ANALYTICS_INGEST_CELERY_BROKER"
BACKEND = "ANALYTICS_INGEST_CELERY_BACKEND"
DEFAULT_BACKEND = "rpc://"
"""Celery's results through the broker itself."""
CELERY_OPTIONS: dict[str, Any] = {
    # a step is taken off the queue once it is over: that of a worker that dies goes to another one
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    # a worker takes no step that it cannot begin
    "worker_prefetch_multiplier": 1,
    # seconds; for Redis as broker: when a step counts as that of a dead worker, so longer than any sync
    "broker_transport_options": {"visibility_timeout": 86_400},
}
"""Of the run and of the workers, which must agree."""
SIDE_BY_SIDE = multiprocess_executor.configured(
    {
        "max_concurrent": 5,
        # a new process would import everything anew for each API
        "start_method": {"forkserver": {"preload_modules": ["analytics_ingest.definitions"]}},
    }
)
"""Each API in a process of its own. Only their writing into DuckDB is serial."""


def build_executors() -> tuple[ExecutorDefinition, ExecutorDefinition]:
    """The executor of runs as the environment picks it, and that of ``all_sync``.

    Raises:
        ConfigurationError: There is no such executor, or a setting or a package that it needs is missing.
    """
    name = os.environ.get(EXECUTOR, "").strip() or "in_process"
    if name == "in_process":
        return in_process_executor, SIDE_BY_SIDE
    if name == "multiprocess":
        return SIDE_BY_SIDE, SIDE_BY_SIDE
    if name == "celery":
        executor = _celery_executor()
        return executor, executor
    raise ConfigurationError(f"{EXECUTOR} is {name!r}: it must be 'in_process', 'multiprocess' or 'celery'")


def celery_settings() -> dict[str, str]:
    """Celery's broker and its backend of results, from the environment.

    Raises:
        ConfigurationError: No broker is set, or a URL cannot work.
    """
    broker = os.environ.get(BROKER, "").strip()
    if not broker:
        raise ConfigurationError(f"{BROKER} is not set: the URL of RabbitMQ, amqp://..., or of Redis, redis://...")
    backend = os.environ.get(BACKEND, "").strip() or DEFAULT_BACKEND
    try:
        from celery.app.backends import by_url  # noqa: PLC0415 - an extra
        from kombu.connection import Connection  # noqa: PLC0415 - an extra
    except ImportError:
        # reported by those who need the package
        return {"broker": broker, "backend": backend}
    _check_url(BROKER, broker, lambda url: Connection(url).get_transport_cls())
    _check_url(BACKEND, backend, by_url)
    return {"broker": broker, "backend": backend}


def _check_url(variable: str, value: str, resolve: Callable[[str], object]) -> None:
    """Refuses a URL that cannot work, without showing any of it: where it is wrong, a password may stand anywhere.

    Args:
        variable: The variable that it comes from.
        value: One URL, or several with semicolons between.
        resolve: Finds what Celery uses the URL with.

    Raises:
        ConfigurationError: It cannot work.
    """
    reason = ""
    try:
        for url in value.split(";"):
            # a port that is no number is found out here
            _ = urlsplit(url).port
            resolve(url)
    except ValueError:
        reason = "it is no valid URL; in a password, characters such as @ : / [ must be percent-encoded"
    except Exception:  # noqa: BLE001 - whatever the transport's module raises
        reason = "Celery has no such transport, or the transport's package is not installed"
    if reason:
        # outside of the handler, so that no context repeats the URL
        raise ConfigurationError(
            f"{variable} cannot be used: {reason}. It must be the URL of RabbitMQ, amqp://..., or of Redis, redis://..."
            if variable == BROKER
            else f"{variable} cannot be used: {reason}. It must be the URL of Celery's results, rpc:// or redis://..."
        )


def _celery_executor() -> ExecutorDefinition:
    settings = celery_settings()
    try:
        from dagster_celery import celery_executor  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigurationError(
            f"{EXECUTOR} is celery, which needs a package more: pip install 'analytics-ingest[celery]'"
        ) from None
    # by the variables' names: their values hold passwords
    backend: Any = DEFAULT_BACKEND if settings["backend"] == DEFAULT_BACKEND else {"env": BACKEND}
    executor: ExecutorDefinition = celery_executor.configured(
        {"broker": {"env": BROKER}, "backend": backend, "config_source": CELERY_OPTIONS}, name="celery"
    )
    return executor
