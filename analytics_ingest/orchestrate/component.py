"""The Dagster component ``RestApiSync``: one account of an API, declared in a ``defs.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dagster import Component, Scaffolder, scaffold_component, scaffold_with
from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator

from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.config.api_settings import EndpointSettings, OptionalSettings, Settings
from analytics_ingest.config.lookup import declare_settings
from analytics_ingest.config.schedule import ScheduleSettings
from analytics_ingest.config.validation import load_model
from analytics_ingest.errors import ConfigurationError
from analytics_ingest.orchestrate.builder import build_definitions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dagster import ComponentLoadContext, Definitions
    from dagster.components.scaffold.scaffold import ScaffoldRequest

TEMPLATE = "{{"
"""Start of a template in a value, such as ``{{ env.STATSIG_KEY }}``, which Dagster resolves later."""
PLACEMENT = ("api", "account", "key_prefix", "group_name", "endpoints", "endpoint_settings", "tags")
"""Attributes that are no settings."""


class _Attributes(BaseModel):
    """The attributes that are not settings."""

    model_config = ConfigDict(extra="forbid")

    api: Literal[tuple(APIS)] = Field(description="The API.")  # type: ignore[valid-type]
    account: str = Field("", description="The account's name, if it is not that of the API.")
    key_prefix: str | list[str] = Field("", description="Parts of the asset keys before the account's name.")
    group_name: str = Field("", description="The asset group; by default the account's name.")
    endpoints: list[str] | None = Field(
        None, description="The endpoints to include, with their parents; all by default."
    )
    endpoint_settings: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Settings of endpoints, such as `gates: {limit: 50}`."
    )
    tags: dict[str, str] = Field(default_factory=dict, description="Tags of the assets.")

    @field_validator("*", mode="before")
    @classmethod
    def validate_setting(cls, value: Any, info: Any) -> Any:
        """Validates a setting as a sync does, so that Dagster reports its line in the file."""
        name = info.field_name
        if name not in PLACEMENT and value is not None and not (isinstance(value, str) and TEMPLATE in value):
            for model in (OptionalSettings, ScheduleSettings):
                if name in model.model_fields:
                    try:
                        load_model(model, lookup=lambda _: value, variable=str, declared=DECLARED_CRON, fields=[name])
                    except ConfigurationError as error:
                        raise ValueError(str(error)) from None
        return value

    @field_validator("endpoint_settings")
    @classmethod
    def validate_endpoint_settings(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Refuses settings that no endpoint has."""
        for name, settings in value.items():
            if unknown := sorted(settings.keys() - EndpointSettings.model_fields.keys()):
                known = ", ".join(EndpointSettings.model_fields)
                raise ValueError(f"{name}: there is no setting {', '.join(unknown)}; there is {known}")
        return value


NOT_A_LITERAL = "\0"
"""A character that keeps a template's result a text: Dagster would make a number of a key that consists of digits."""


def _resolved(context: ComponentLoadContext, name: str, value: Any) -> Any:
    """An attribute with its templates resolved; anything without a template stays as it is written."""
    resolve = context.resolution_context.resolve_value
    if isinstance(value, dict):
        return {key: _resolved(context, key, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_resolved(context, name, each) for each in value]
    if not (isinstance(value, str) and TEMPLATE in value):
        return value
    return str(resolve(value + NOT_A_LITERAL)).removesuffix(NOT_A_LITERAL) if name == "api_key" else resolve(value)


DECLARED_CRON = {"cron": "@hourly", "full_refresh_cron": "@weekly"}
"""Stands for the cron expressions that an API declares, while another setting is validated."""

SETTING_FIELDS: dict[str, Any] = {
    name: (Any, Field(None, description=info.description))
    for model in (Settings, ScheduleSettings)
    for name, info in model.model_fields.items()
}
ATTRIBUTES: type[BaseModel] = create_model("RestApiSyncAttributes", __base__=_Attributes, **SETTING_FIELDS)
"""The attributes in ``defs.yaml``: the account's settings, and where its assets are in the graph."""


class RestApiSyncParams(BaseModel):
    """What ``dg scaffold defs`` asks for."""

    api: Literal[tuple(APIS)] = Field(description="The API.")  # type: ignore[valid-type]
    profile: str = Field("", description="The vendor that serves it; by default the one that is supported.")


class RestApiSyncScaffolder(Scaffolder[RestApiSyncParams]):
    """Writes a ``defs.yaml`` for an account with the name of its folder."""

    @classmethod
    def get_scaffold_params(cls) -> type[RestApiSyncParams]:
        """The parameters of the command line."""
        return RestApiSyncParams

    def scaffold(self, request: ScaffoldRequest[RestApiSyncParams]) -> None:
        """Writes the file."""
        account = request.target_path.name
        attributes: dict[str, Any] = {"api": request.params.api}
        if account != request.params.api:
            attributes["account"] = account
        attributes["profile"] = request.params.profile or next(iter(PROFILES[request.params.api]))
        attributes["api_key"] = f"{{{{ env.{account.upper()}_API_KEY }}}}"
        scaffold_component(request, yaml_attributes=attributes)


@scaffold_with(RestApiSyncScaffolder)
@dataclass(kw_only=True)
class RestApiSync(Component):
    """Syncs one account of an API into the warehouse: an asset for each endpoint, with jobs, schedules and sensors.

    Example:
        ``defs/statsig_eu/defs.yaml``::

            type: analytics_ingest.RestApiSync
            attributes:
              api: experimentation
              account: statsig_eu
              profile: statsig
              api_key: "{{ env.STATSIG_EU_API_KEY }}"

    Attributes:
        api: The API.
        account: The account's name, if it is not that of the API.
        settings: The account's settings, by their names in lower case.
        key_prefix: Parts of the asset keys before the account's name.
        group_name: The asset group; by default the account's name.
        endpoints: The endpoints to include, with their parents; all by default.
        tags: Tags of the assets.
    """

    api: str
    account: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    key_prefix: str | Sequence[str] = ()
    group_name: str = ""
    endpoints: Sequence[str] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The model of the attributes."""
        return ATTRIBUTES

    @classmethod
    def load(cls, attributes: Any, context: ComponentLoadContext) -> RestApiSync:
        """Makes the component of the attributes in a file, with their templates resolved."""
        given = {name: getattr(attributes, name) for name in attributes.model_fields_set}
        values = {name: _resolved(context, name, value) for name, value in given.items()}
        placement = {name: values.pop(name) for name in PLACEMENT if name in values}
        settings = {name: value for name, value in values.items() if value is not None}
        settings |= placement.pop("endpoint_settings", {})
        return cls(settings=settings, **placement)

    def build_defs(self, context: ComponentLoadContext) -> Definitions:  # noqa: ARG002
        """The definitions of the account."""
        name = self.account or self.api
        declare_settings(name, {**self.settings, **({"api": self.api} if name != self.api else {})})
        return build_definitions(
            accounts=[name],
            endpoints={name: self.endpoints} if self.endpoints is not None else None,
            key_prefix=self.key_prefix,
            group_name=self.group_name,
            tags=self.tags,
            name_prefix=name,
        )
