"""Where a run's steps are executed: the run's own process, processes beside it, or Celery's workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dagster import (
    DagsterUnmetExecutorRequirementsError,
    Executor,
    executor,
    in_process_executor,
    multiprocess_executor,
)

# not public: whether a run can be continued in another process at all
from dagster._core.definitions.executor_definition import check_cross_process_constraints

from analytics_ingest.apis.registry import APIS
from analytics_ingest.config.deployment import DEFAULT_BACKEND, environment_variable, load_deployment_setting
from analytics_ingest.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from dagster import DagsterEvent, ExecutorDefinition, InitExecutorContext
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan
    from dagster._core.execution.retries import RetryMode

EXECUTOR = environment_variable("executor")
BROKER = environment_variable("celery_broker")
BACKEND = environment_variable("celery_backend")
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
PRELOADED = (
    "analytics_ingest.definitions",
    "analytics_ingest.sync.api_sync",
    # not public: half a second in each process that opens an instance in SQLite; one that is missing is passed over
    "dagster._core.storage.sqlite_storage",
)
"""What each step's process needs, imported once, before they are forked."""
PROCESSES: dict[str, Any] = {
    "max_concurrent": 5,
    "start_method": {"forkserver": {"preload_modules": list(PRELOADED)}},
}
SIDE_BY_SIDE = multiprocess_executor.configured(PROCESSES)
"""Each API in a process of its own. Only their writing into DuckDB is serial."""


class PerApiExecutor(Executor):
    """Executes a run of one API in the run's own process, and a run of several with a process for each step.

    A process for each step costs a run seconds, which only pays where several APIs are read at the same time.
    """

    def __init__(self, in_process: Executor, side_by_side: Executor | None, apis: Collection[str]) -> None:
        """Prepares both ways.

        Args:
            in_process: Executes the steps one after the other, in this process.
            side_by_side: Executes them in processes of their own; ``None`` if the run cannot be divided.
            apis: Names of the steps that sync an API.
        """
        self._in_process = in_process
        self._side_by_side = side_by_side
        self._apis = frozenset(apis)

    @property
    def retries(self) -> RetryMode:
        """How steps are retried."""
        return self._in_process.retries

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        """Executes the steps of a run."""
        several = len(self._apis.intersection(execution_plan.step_keys_to_execute)) > 1
        chosen = self._side_by_side if several and self._side_by_side else self._in_process
        yield from chosen.execute(plan_context, execution_plan)


# a run's config may say the same as for the executor that Dagster has for one process
RETRIES: Any = in_process_executor.config_schema


@executor(name="per_api", config_schema=RETRIES)
def per_api_executor(context: InitExecutorContext) -> PerApiExecutor:
    """What executes runs by default."""
    side_by_side = context._replace(
        executor_def=multiprocess_executor, executor_config={**PROCESSES, "retries": context.executor_config["retries"]}
    )
    return PerApiExecutor(
        _executor(context._replace(executor_def=in_process_executor)),
        _executor(side_by_side) if _can_be_divided(side_by_side) else None,
        APIS,
    )


def _executor(context: InitExecutorContext) -> Executor:
    create = context.executor_def.executor_creation_fn
    if create is None:
        raise RuntimeError(f"{context.executor_def.name} makes no executor")
    return create(context)


def _can_be_divided(context: InitExecutorContext) -> bool:
    """Whether other processes can load the run's job and have its instance."""
    try:
        check_cross_process_constraints(context)
    except DagsterUnmetExecutorRequirementsError:
        return False
    return True


def build_executors() -> tuple[ExecutorDefinition, ExecutorDefinition]:
    """The executor of runs as the environment picks it, and that of ``all_sync``.

    Raises:
        ConfigurationError: There is no such executor, or a setting or a package that it needs is missing.
    """
    name = load_deployment_setting("executor")
    if name == "celery":
        executor = _celery_executor()
        return executor, executor
    if name == "multiprocess":
        return SIDE_BY_SIDE, SIDE_BY_SIDE
    return in_process_executor if name == "in_process" else per_api_executor, SIDE_BY_SIDE


def celery_settings() -> dict[str, str]:
    """Celery's broker and its backend of results, from the environment.

    Raises:
        ConfigurationError: No broker is set, or a URL cannot work.
    """
    broker = load_deployment_setting("celery_broker").get_secret_value()
    if not broker:
        raise ConfigurationError(f"{BROKER} is not set: the URL of RabbitMQ, amqp://..., or of Redis, redis://...")
    backend = load_deployment_setting("celery_backend").get_secret_value()
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
