"""The settings of the deployment, which hold for all APIs: variables ``ANALYTICS_INGEST_<FIELD>`` of the environment.

Each is looked up when it is used, some when definitions load and some in each tick or sync. So a value that is not
valid only stops what uses it.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from analytics_ingest.config.secret_files import ENVIRONMENT, find_secret
from analytics_ingest.config.validation import Reference, Words, load_model, secret_fields

DEFAULT_BACKEND = "rpc://"
"""Celery's results through the broker itself."""


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):
        raise ValueError(f"is {value!r}, which is no time zone: write Europe/Berlin, or UTC") from None
    return value


class DeploymentSettings(BaseModel):
    """The settings of the deployment, ``ANALYTICS_INGEST_<FIELD>``."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    automation: Annotated[Literal["running", "stopped"], BeforeValidator(str.lower)] = Field(
        "stopped",
        description="`running`: all schedules and sensors run, unless they are stopped in the UI. Read when the code "
        "location loads.",
    )
    timezone: Annotated[str, AfterValidator(_timezone), Reference("time zone")] = Field(
        "UTC",
        description="Time zone of `CRON` and `FULL_REFRESH_CRON`, such as `Europe/Berlin`. Read when the code location "
        "loads.",
    )
    apis: Annotated[Words, Reference("list", default="all five")] = Field(
        (),
        description="The APIs in the asset graph, such as `experimentation, feature_management`; accounts of their own "
        "section are added. Read when the code location loads.",
    )
    executor: Literal["per_api", "in_process", "multiprocess", "celery"] = Field(
        "per_api",
        description="Where the steps of runs are executed ([operations.md](operations.md#which-executor)). Read when "
        "the code location loads.",
    )
    celery_broker: Annotated[SecretStr, Reference("URL")] = Field(
        SecretStr(""),
        description="Celery's broker, which the executor `celery` needs: RabbitMQ (`amqp://...`) or Redis "
        "(`redis://...`). Also for the workers.",
    )
    celery_backend: Annotated[SecretStr, Reference("URL")] = Field(
        SecretStr(DEFAULT_BACKEND),
        description="Where Celery keeps results: in the broker itself (`rpc://`), or in Redis (`redis://...`), which a "
        "broker in Redis needs. Also for the workers.",
    )
    destination: Annotated[str, Reference("name")] = Field(
        "duckdb",
        description="Where rows go: `duckdb`, `postgres`, a data lake (`ducklake`), or another of dlt's destinations "
        "([destinations.md](destinations.md)).",
    )
    publish: Annotated[str, Reference("path")] = Field(
        "",
        description="A DuckDB file, below the project unless absolute, that a sync replaces by a copy of the "
        "warehouse's file once that has changed: for readers, who are never refused and never stop a sync "
        "([destinations.md](destinations.md#a-published-copy)). Needs the destination `duckdb`.",
    )
    webhook_url: Annotated[SecretStr, Reference("URL")] = Field(
        SecretStr(""),
        description='Where the failure sensor sends `{"text": ...}` (Slack, Mattermost, Teams). Unless it is set, the '
        "messages go to the log.",
    )
    ui_url: Annotated[str, Reference("URL")] = Field(
        "", description="Where the Dagster UI is, for the links in these messages."
    )

    @property
    def running(self) -> bool:
        """Whether schedules and sensors run unless they are stopped in the UI."""
        return self.automation == "running"


def environment_variable(field: str) -> str:
    """The variable of the environment that sets ``field`` of the deployment."""
    return f"ANALYTICS_INGEST_{field}".upper()


def load_deployment_settings(*, secrets: bool = True) -> DeploymentSettings:
    """Looks up and validates the settings of the deployment.

    Args:
        secrets: Whether those that are secret are looked up too.

    Raises:
        ConfigurationError: A value is not valid, or the file of a secret cannot be read.
    """
    left_out = frozenset() if secrets else secret_fields(DeploymentSettings)
    fields = [name for name in DeploymentSettings.model_fields if name not in left_out]
    return load_model(DeploymentSettings, lookup=_lookup, variable=environment_variable, fields=fields)


def load_deployment_setting(field: str) -> Any:
    """One of the ``DeploymentSettings``, whatever the others are.

    Raises:
        ConfigurationError: The value is not valid, or the file of a secret cannot be read.
    """
    return getattr(load_model(DeploymentSettings, lookup=_lookup, variable=environment_variable, fields=[field]), field)


def deployment_place(field: str) -> str:
    """Where a setting of the deployment is set: ``environment``, or the path of a secret's file; empty if it is not.

    Raises:
        SecretFileError: The file of a secret cannot be read.
    """
    return _found(field)[1]


def _lookup(field: str) -> str | None:
    """The value of a variable without the blanks around it; ``None`` if it is not set, or blank."""
    value = _found(field)[0]
    return None if value is None else value.strip()


def _found(field: str) -> tuple[str | None, str]:
    """The value of a setting, ``None`` if it is not set or blank, and its place."""
    variable = environment_variable(field)
    if field in secret_fields(DeploymentSettings):
        return find_secret(variable)
    value = os.environ.get(variable, "")
    return (value, ENVIRONMENT) if value.strip() else (None, "")
