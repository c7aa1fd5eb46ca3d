"""The executors of runs: the run's own process, a process per step, or Celery workers."""

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

# not public: checks that other processes can execute steps of a run
from dagster._core.definitions.executor_definition import check_cross_process_constraints

from analytics_ingest.config.accounts import find_accounts
from analytics_ingest.config.deployment import environment_variable, load_deployment_setting
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
    # a step is removed from the queue when it has ended: if its worker dies, another one gets it
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    # a worker takes only as many steps as it can start
    "worker_prefetch_multiplier": 1,
    # seconds until Redis gives a step to another worker: longer than any sync
    "broker_transport_options": {"visibility_timeout": 86_400},
}
"""Options of the run and of the workers, which must agree."""
PRELOADED = (
    "analytics_ingest.definitions",
    "analytics_ingest.sync.api_sync",
    # not public: half a second in each process that opens an instance in SQLite; a missing module is ignored
    "dagster._core.storage.sqlite_storage",
)
"""Modules that each step's process needs, imported once before the processes are forked."""
PROCESSES: dict[str, Any] = {
    "max_concurrent": 5,
    "start_method": {"forkserver": {"preload_modules": list(PRELOADED)}},
}
SIDE_BY_SIDE = multiprocess_executor.configured(PROCESSES)
"""Executes each API in a process of its own. Only their loads into DuckDB are serial."""


class PerApiExecutor(Executor):
    """Executes a run of one API in the run's own process, and a run of several with a process for each step.

    A process for each step costs a run seconds, which pays only if several APIs are read at the same time.
    """

    def __init__(self, in_process: Executor, side_by_side: Executor | None, apis: Collection[str]) -> None:
        """Takes both executors.

        Args:
            in_process: Executes the steps one after the other, in this process.
            side_by_side: Executes each step in a process of its own; ``None`` if other processes cannot load the run.
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


# the same run config as that of Dagster's in_process_executor
RETRIES: Any = in_process_executor.config_schema


@executor(name="per_api", config_schema=RETRIES)
def per_api_executor(context: InitExecutorContext) -> PerApiExecutor:
    """The default executor."""
    side_by_side = context._replace(
        executor_def=multiprocess_executor, executor_config={**PROCESSES, "retries": context.executor_config["retries"]}
    )
    return PerApiExecutor(
        _executor(context._replace(executor_def=in_process_executor)),
        _executor(side_by_side) if _can_use_processes(side_by_side) else None,
        list(find_accounts()[0]),
    )


def _executor(context: InitExecutorContext) -> Executor:
    create = context.executor_def.executor_creation_fn
    if create is None:
        raise RuntimeError(f"{context.executor_def.name} has no executor_creation_fn")
    return create(context)


def _can_use_processes(context: InitExecutorContext) -> bool:
    """Whether other processes can load the run's job and open its instance."""
    try:
        check_cross_process_constraints(context)
    except DagsterUnmetExecutorRequirementsError:
        return False
    return True


def build_executors() -> tuple[ExecutorDefinition, ExecutorDefinition]:
    """The default executor, as the environment names it, and the executor of ``all_sync``.

    Raises:
        ConfigurationError: There is no such executor, or it lacks a setting or a package.
    """
    name = load_deployment_setting("executor")
    if name == "celery":
        executor = _celery_executor()
        return executor, executor
    if name == "multiprocess":
        return SIDE_BY_SIDE, SIDE_BY_SIDE
    return in_process_executor if name == "in_process" else per_api_executor, SIDE_BY_SIDE


def celery_settings() -> dict[str, str]:
    """Celery's broker and result backend, from the environment, or from the files that it names.

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
        # reported where the package is needed
        return {"broker": broker, "backend": backend}
    _check_url(BROKER, broker, lambda url: Connection(url).get_transport_cls())
    _check_url(BACKEND, backend, by_url)
    return {"broker": broker, "backend": backend}


def _check_url(variable: str, value: str, resolve: Callable[[str], object]) -> None:
    """Refuses a URL that cannot work, without showing any of it: a wrong URL can have its password anywhere.

    Args:
        variable: The environment variable of the URL.
        value: One URL, or several with semicolons between.
        resolve: Finds Celery's transport or backend for the URL.

    Raises:
        ConfigurationError: It cannot work.
    """
    reason = ""
    try:
        for url in value.split(";"):
            # raises ValueError if the port is not a number
            _ = urlsplit(url).port
            resolve(url)
    except ValueError:
        reason = "it is no valid URL; in a password, characters such as @ : / [ must be percent-encoded"
    except Exception:  # noqa: BLE001 - a transport's module can raise anything
        reason = "Celery has no such transport, or the transport's package is not installed"
    if reason:
        # outside of the handler, whose exception would show the URL as the context of this one
        raise ConfigurationError(
            f"{variable} cannot be used: {reason}. It must be the URL of RabbitMQ, amqp://..., or of Redis, redis://..."
            if variable == BROKER
            else f"{variable} cannot be used: {reason}. It must be the URL of Celery's results, rpc:// or redis://..."
        )


def _celery_executor() -> ExecutorDefinition:
    # a broker that is missing is reported as the code location loads
    celery_settings()
    try:
        from dagster_celery import celery_executor  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigurationError(
            f"{EXECUTOR} is celery, which needs one more package: pip install 'analytics-ingest[celery]'"
        ) from None
    # looked up by the process that executes the run, as their values contain passwords
    executor: ExecutorDefinition = celery_executor.configured(
        lambda _: {**celery_settings(), "config_source": CELERY_OPTIONS}, config_schema={}, name="celery"
    )
    return executor
