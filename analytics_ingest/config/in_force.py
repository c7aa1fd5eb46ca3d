"""The settings that are in force, and where each value comes from, for people: secrets are masked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from analytics_ingest.apis.registry import neutral_declaration
from analytics_ingest.config.api import page_limit
from analytics_ingest.config.api_settings import EndpointSettings, Settings
from analytics_ingest.config.deployment import DeploymentSettings, deployment_place, load_deployment_setting
from analytics_ingest.config.lookup import environment_name, look_up_with_place
from analytics_ingest.config.schedule import ScheduleSettings
from analytics_ingest.config.secret_files import ENVIRONMENT
from analytics_ingest.config.unknown_settings import is_used
from analytics_ingest.config.validation import Reference, load_model
from analytics_ingest.errors import ConfigurationError, SecretFileError
from analytics_ingest.redaction import MASK

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from analytics_ingest.apis.model import Api

DEFAULT, PROFILE = "default", "profile"
"""Places of values that are not set."""
NOT_SET = "not set"
NOT_VALID = "not valid"
"""In place of a value that is refused, as it may be a key in the wrong setting."""
USER_INFO = re.compile(r"(?<=://).*@", re.DOTALL)
QUERY = re.compile(r"\?.*", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class SettingInForce:
    """A setting and its value.

    Attributes:
        name: The name, as the reference page has it.
        value: The value as text; ``***`` for a secret.
        place: ``environment``, a file of settings, the path of a secret's file, ``code``, ``profile`` or ``default``;
            empty if it must be set.
    """

    name: str
    value: str
    place: str


def account_settings(api: Api) -> list[SettingInForce]:
    """The settings of an account: all of its own, and those of its endpoints that are set.

    Args:
        api: The account's API, as its vendor serves it.

    Raises:
        ConfigurationError: A file of settings cannot be read.
    """
    listed = []
    for model in (Settings, ScheduleSettings):
        # what must be set comes first
        fields = sorted(model.model_fields.items(), key=lambda each: not each[1].is_required())
        listed += [_setting(api, model, name, field) for name, field in fields if is_used(api, name)]
    for endpoint in api.endpoints:
        for name in EndpointSettings.model_fields:
            value, place = look_up_with_place(api, f"{endpoint.name}.{name}")
            if value is not None:
                shown = _text(partial(page_limit, api, endpoint))
                listed.append(SettingInForce(name=f"{endpoint.name}__{name}".upper(), value=shown, place=place))
    return listed


def deployment_settings() -> list[SettingInForce]:
    """The settings of the deployment."""
    listed = []
    for name, field in DeploymentSettings.model_fields.items():
        try:
            place = deployment_place(name)
        except SecretFileError:
            place = ENVIRONMENT
        value = _text(partial(load_deployment_setting, name)) if place else _default(field)
        place = place or DEFAULT
        listed.append(SettingInForce(name=name.upper(), value=value, place=place))
    return listed


def _setting(api: Api, model: type[BaseModel], name: str, field: FieldInfo) -> SettingInForce:
    try:
        value, place = look_up_with_place(api, name)
    except SecretFileError:
        return SettingInForce(name=name.upper(), value=NOT_VALID, place=ENVIRONMENT)
    if value is None:
        # the field has the same name in the declaration, if that has one
        value, place = getattr(api, name, None) or None, DEFAULT
        if value is not None and value != getattr(neutral_declaration(api), name):
            place = PROFILE
    if value is None:
        if field.is_required():
            return SettingInForce(name=name.upper(), value=NOT_SET, place="")
        # in words, unless the API's declaration is what these are about
        text = "none" if hasattr(api, name) else _default(field)
        return SettingInForce(name=name.upper(), value=text, place=DEFAULT)

    def validated() -> Any:
        needed = {"base_url": "http://localhost", "api_key": "none", "cron": api.cron, "full_refresh_cron": api.cron}
        variable = partial(environment_name, api.name)
        found = load_model(model, lookup=lambda _: value, variable=variable, declared=needed, fields=[name])
        return getattr(found, name)

    return SettingInForce(name=name.upper(), value=_text(validated), place=place)


def _default(field: FieldInfo) -> str:
    """The default of a field, in words if its description has it so."""
    words = [each.default for each in field.metadata if isinstance(each, Reference) and each.default]
    default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    return words[0] if words else _text(lambda: default)


def _text(value: Callable[[], Any]) -> str:
    """A value as it is written in a setting."""
    try:
        found = value()
    except ConfigurationError:
        return NOT_VALID
    if isinstance(found, SecretStr):
        found = MASK if found.get_secret_value() else None
    if found in (None, "", ()):
        return "none"
    if isinstance(found, bool):
        return str(found).lower()
    if isinstance(found, tuple):
        return ", ".join(map(str, found))
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    return masked_url(found.isoformat() if isinstance(found, datetime) else str(found))


def masked_url(value: str) -> str:
    """A text in which the user, the password and the query of a URL are masked."""
    if "://" not in value:
        return value
    return QUERY.sub(f"?{MASK}", USER_INFO.sub(f"{MASK}@", value))
