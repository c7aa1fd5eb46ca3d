"""Looks up and validates the settings of an API, and the profile that it is read with, when a sync starts."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.registry import PROFILES, vendor_declaration, whole_declaration
from analytics_ingest.config.api_settings import NO_PROFILE, RETIRED, EndpointSettings, OptionalSettings, Settings
from analytics_ingest.config.lookup import environment_name, found_settings, lookup, refuse_folders
from analytics_ingest.config.spelling import nearest
from analytics_ingest.config.unknown_settings import unknown_settings, unknown_shared_settings
from analytics_ingest.config.validation import load_model
from analytics_ingest.errors import ConfigurationError, NotConfiguredError, SecretFileError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from analytics_ingest.apis.model import Api, Endpoint


def missing_settings(api: Api) -> list[str]:
    """Environment variables that must be set before the API can be read; empty if it is configured."""
    needed = ("api_key",) if api.base_url else ("base_url", "api_key")
    return [environment_name(api.name, field) for field in needed if not _is_set(api, field)]


def _is_set(api: Api, field: str) -> bool:
    """Whether something is set for a field; also if that cannot be read, which ``load_settings`` reports."""
    try:
        return lookup(api, field) is not None
    except SecretFileError:
        return True


def not_configured(api: Api) -> str:
    """Which settings must be set before the API can be read, in one line; empty if it is configured."""
    missing = missing_settings(api)
    if not missing:
        return ""
    base_url = environment_name(api.name, "base_url")
    if profiles := PROFILES.get(api.registered_name):
        vendor = f"{environment_name(api.name, 'profile')} to {' or '.join(profiles)} (or {base_url})"
        missing = [vendor if each == base_url else each for each in missing]
    return f"{api.name} is not configured: set {' and '.join(missing)}"


def choose_profile(api: Api) -> Api:
    """The API as its vendor serves it, by the setting ``PROFILE``; unless that is set, the API as it is.

    Raises:
        ConfigurationError: There is no such profile.
    """
    name = load_setting(api, "profile")
    if name == NO_PROFILE:
        return api
    profiles = PROFILES[api.registered_name]
    if name not in profiles:
        setting, known = environment_name(api.name, "profile"), " or ".join([*profiles, NO_PROFILE])
        raise ConfigurationError(f"{setting} is {name!r}: it must be {known}")
    return vendor_declaration(api, name)


def load_settings(api: Api) -> Settings:
    """Looks up and validates the settings of ``api``.

    Raises:
        NotConfiguredError: The base URL or the key is missing.
        ConfigurationError: A value is not valid, or nothing reads a setting.
    """
    # first, as a wrong profile, or a name that is misspelt, may be why the base URL is missing
    declared = choose_profile(api)
    found = found_settings()
    if problems := [*unknown_settings(declared, found), *unknown_shared_settings(found)]:
        raise ConfigurationError("; ".join(problems))
    if reason := not_configured(api):
        refuse_folders()
        raise NotConfiguredError(f"{reason}; or write them below [sources.{api.name}] in .dlt/secrets.toml")
    return _validated(api, declared, {"base_url": api.base_url})


def wrong_values(api: Api, fields: Collection[str]) -> str:
    """What is wrong with the values that are set for an API, whatever is missing; empty if nothing is.

    Args:
        api: The API.
        fields: The names of the settings that are set.
    """
    defaults = {"base_url": api.base_url or "http://localhost", "api_key": "none"}
    try:
        _validated(api, api, defaults, fields=Settings.model_fields.keys() & fields)
    except ConfigurationError as error:
        return str(error)
    return ""


def wrong_limits(api: Api) -> list[str]:
    """What is wrong with the settings of an API's endpoints, each of which only that endpoint needs."""
    problems = []
    for endpoint in api.endpoints:
        for load in (page_limit, has_history):
            try:
                load(api, endpoint)
            except ConfigurationError as error:
                problems.append(str(error))
    return problems


def _validated(
    api: Api, declared: Api, defaults: Mapping[str, str], *, fields: Collection[str] | None = None
) -> Settings:
    """The settings of an API.

    Args:
        api: The API.
        declared: The same with the profile that is set, for the names of its endpoints.
        defaults: Values in place of those that are not set.
        fields: The settings to look up; all by default.
    """

    def find(field: str) -> Any:
        value = lookup(api, field)
        return _without_version(api, value) if field == "base_url" and value is not None else value

    settings = load_model(
        Settings,
        lookup=find,
        variable=partial(environment_name, api.name),
        declared={**defaults, "requests_per_minute": api.requests_per_minute},
        fields=fields,
    )
    known = whole_declaration(declared).by_name
    if unknown := sorted(set(settings.skip_endpoints) - set(known)):
        name = environment_name(api.name, "skip_endpoints")
        meant = [each for each in dict.fromkeys(nearest(name, known) for name in unknown) if each]
        hint = f": did you mean {', '.join(meant)}?" if meant else ""
        raise ConfigurationError(f"{name} names {', '.join(unknown)}, which {api.name} does not have{hint}")
    return settings


def _without_version(api: Api, base_url: Any) -> Any:
    """The base URL without the version at its end that the paths of the API begin with."""
    text = str(base_url).rstrip("/")
    return next((text.removesuffix(each) for each in api.versions if text.endswith(each)), base_url)


def load_setting(api: Api, field: str) -> Any:
    """One of the ``OptionalSettings``, also of an API that is not configured.

    Raises:
        ConfigurationError: The value is not valid.
    """
    settings = load_model(
        OptionalSettings, lookup=partial(lookup, api), variable=partial(environment_name, api.name), fields=[field]
    )
    return getattr(settings, field)


def page_limit(api: Api, endpoint: Endpoint) -> int | None:
    """Rows to request per page, as set or as declared; ``None`` if the endpoint has no such parameter.

    Raises:
        ConfigurationError: The value is not valid.
    """
    if endpoint.paginator.limit is None:
        return None
    return _endpoint_settings(api, endpoint, "limit", endpoint.paginator.limit).limit


def has_history(api: Api, endpoint: Endpoint, *, default: bool = True) -> bool:
    """Whether the versions of an endpoint's rows are kept.

    Args:
        api: The API.
        endpoint: The endpoint.
        default: Whether they are for the endpoints that are declared so.

    Raises:
        ConfigurationError: The value is not valid, or the endpoint has no key.
    """
    chosen = _endpoint_settings(api, endpoint, "history", None).history
    if chosen and not endpoint.primary_key:
        raise ConfigurationError(
            f"{environment_name(api.name, f'{endpoint.name}.history')} is set, and {endpoint.name} has no key: "
            "its table is replaced as a whole, and no row of it can be told from another one's next version. Remove it"
        )
    return default and endpoint.history if chosen is None else chosen


def _endpoint_settings(api: Api, endpoint: Endpoint, field: str, declared: Any) -> EndpointSettings:
    """The settings of an endpoint, of which only one is looked up."""
    return load_model(
        EndpointSettings,
        lookup=lambda each: lookup(api, f"{endpoint.name}.{each}"),
        variable=lambda each: environment_name(api.name, f"{endpoint.name}.{each}"),
        declared={field: declared},
        fields=[field],
    )


def unprotected_key(api: Api, settings: Settings) -> str:
    """A warning if the key is sent to another machine without encryption; else empty."""
    host = settings.base_url.host or ""
    if settings.base_url.scheme != "http" or _is_this_machine(host):
        return ""
    return f"the key is sent to {host} unencrypted: write https:// in {environment_name(api.name, 'base_url')}"


def _is_this_machine(host: str) -> bool:
    if host.rstrip(".") == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def retired_settings(api: Api) -> str:
    """A warning that names the settings that are set and have no effect any more; empty if there are none."""
    fields = [field.replace("<endpoint>", each.name) for field in RETIRED for each in api.endpoints]
    # once each: a setting of the whole API comes for every endpoint
    found = [field for field in dict.fromkeys(fields) if lookup(api, field) is not None]
    names = ", ".join(environment_name(api.name, field) for field in found)
    return f"{names} {'have' if len(found) > 1 else 'has'} no effect any more and can be removed" if found else ""
