"""An API's settings, from dlt's configuration: environment, ``.dlt/secrets.toml``, ``.dlt/config.toml``.

They are looked up when a sync runs, never when definitions load, and only under ``sources.<api>``: dlt's own
resolution would fall back to a bare ``api_key`` and so send one vendor's key to another.
"""

from __future__ import annotations

import json
import logging
import re
import tomllib
from datetime import date, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import dlt
from dlt.common.configuration.providers.toml import TomlProviderReadException
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    TypeAdapter,
    ValidationError,
)

from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.errors import ConfigurationError, NotConfiguredError
from analytics_ingest.timestamps import to_utc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics_ingest.apis.model import Api, Endpoint

LOG = logging.getLogger(__name__)
NO_PROFILE = "none"
"""What ``PROFILE`` says for the API as it is declared without a vendor."""
RETIRED = ("<endpoint>.shards",)
"""Settings of an API that have no effect any more; ``<endpoint>`` stands for the name of each endpoint."""


def _words(value: Any) -> Any:
    """A list given as text, as an environment variable must: JSON, or names separated by commas."""
    if isinstance(value, str):
        text = value.strip()
        if not text.startswith("["):
            return [word.strip() for word in text.split(",") if word.strip()]
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError('no list: write a, b or ["a", "b"]') from None
    return value


def _plain_url(value: HttpUrl) -> HttpUrl:
    """A base URL that paths can follow."""
    parts = {"user or password": value.username or value.password, "query": value.query, "fragment": value.fragment}
    if held := [name for name, part in parts.items() if part is not None]:
        raise ValueError(f"it holds a {held[0]}: write only scheme, host and path; the key goes into API_KEY")
    return value


def _header_value(value: SecretStr) -> SecretStr:
    """A key without the line break that files of secrets end in."""
    text = value.get_secret_value().strip()
    if not text.isascii() or not text.isprintable():
        raise ValueError("the key holds characters that no HTTP header can carry, such as a line break")
    return SecretStr(text)


def _moment(value: Any) -> Any:
    moment = to_utc(value.isoformat() if isinstance(value, date) else value)
    if not isinstance(moment, datetime):
        raise ValueError("no date or time: write 2026-01-31 or 2026-01-31T12:00:00Z")  # noqa: TRY004 - pydantic's way
    return moment


UtcTime = Annotated[datetime, BeforeValidator(_moment)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


class Settings(BaseModel):
    """Everything that can be set for one API under ``SOURCES__<API>__``; counts are whole, times in seconds."""

    model_config = ConfigDict(frozen=True)

    base_url: Annotated[HttpUrl, AfterValidator(_plain_url)] = Field(
        description="Where the API is, without the endpoints' paths."
    )
    api_key: Annotated[SecretStr, AfterValidator(_header_value)] = Field(
        description="The key that is sent with every request."
    )
    max_in_flight: PositiveInt = Field(16, description="Requests that may be under way at once.")
    requests_per_minute: PositiveInt | None = Field(
        None, description="Requests sent per minute at most, spread evenly; no limit of ours if not set."
    )
    connect_timeout: PositiveFloat = Field(10, description="Seconds to wait for a connection.")
    read_timeout: PositiveFloat = Field(60, description="Seconds to wait for the next bytes of an answer.")
    answer_timeout: PositiveFloat = Field(300, description="Seconds for one whole answer, from the request on.")
    max_answer_bytes: PositiveInt = Field(
        67_108_864, description="Bytes that one answer may have, decoded; a larger one fails its endpoint."
    )
    max_bytes_in_flight: PositiveInt = Field(
        33_554_432, description="Bytes of all answers in memory at once; the oldest may have more."
    )
    max_wait: PositiveFloat = Field(
        900, description="Seconds: a server that asks for a longer pause than this fails the request at once."
    )
    max_pages: PositiveInt = Field(100_000, description="Pages of one list after which reading it fails.")
    max_columns: PositiveInt = Field(
        1_000, description="Columns that a table may have; an endpoint whose rows need more fails."
    )
    max_package_bytes: PositiveInt = Field(
        32 * 1024 * 1024, description="Bytes of the answers whose rows go into one load package, about."
    )
    fan_out_chunk: PositiveInt = Field(
        1000,
        description="Parents asked, of all endpoints, between two load packages (twice as many where they come fast).",
    )
    fan_out: Literal["all", "changed"] = Field(
        "all", description="Which parents a sync asks for their children: every one, or those that changed."
    )
    resume_within: PositiveFloat = Field(
        86_400, description="Seconds within which a fan-out that was killed is gone on with."
    )
    start_date: UtcTime | None = Field(None, description="Rows whose cursor is earlier are not loaded.")
    window_days: PositiveInt = Field(
        7, description="Days, today included, that are read again where an API neither filters nor says what changed."
    )
    org_slugs: Words = Field((), description="Organisations to read, such as gh/acme; all of the key's by default.")
    search_query: Words = Field(
        ("is:unstarted", "is:started", "is:done"), description="Queries of a search whose results are a table."
    )
    lookback: PositiveFloat = Field(
        3_600, description="Seconds before the highest cursor from which an API that filters is asked again."
    )
    exclude_columns: Words = Field((), description="Fields that stay out of the warehouse.")
    mark_deleted: bool = Field(True, description="Whether rows that are gone upstream get a time in _deleted_at.")
    min_rows_share: float = Field(
        0.5, ge=0, le=1, description="Share of the last sync's rows below which a table counts as collapsed."
    )
    sample_rows: NonNegativeInt = Field(0, description="Rows of each table that its materialisations show.")
    lock_timeout: PositiveFloat = Field(3_600, description="Seconds to wait for another sync of the same API to end.")
    progress_interval: PositiveFloat = Field(5, description="Seconds between two lines of progress in the log.")
    skip_endpoints: Words = Field((), description="Endpoints that this account may not read.")


def environment_name(api: str, field: str) -> str:
    """The environment variable that sets ``field`` of an API."""
    return f"SOURCES__{api}__{field}".upper()


def lookup(api: Api, field: str) -> Any:
    """What is set for ``sources.<api>.<field>``; ``None`` if nothing is, or blank.

    Raises:
        ConfigurationError: A file of settings cannot be read.
    """
    try:
        # dlt.secrets, also for what is none: values looked up through dlt.config end up in dlt's trace file
        value: Any = dlt.secrets.get(f"sources.{api.name}.{field}")
    except TomlProviderReadException as error:
        raise ConfigurationError(_file_problem([Path(path) for path in error.full_paths])) from None
    return None if isinstance(value, str) and not value.strip() else value


def _file_problem(paths: Sequence[Path]) -> str:
    """Which file of settings cannot be read, where and why, without anything that is in it."""
    for path in paths:
        if not path.exists():
            continue
        try:
            content = path.read_bytes()
            tomllib.loads(content.decode())
        except UnicodeDecodeError as error:
            line = 1 + content.count(b"\n", 0, error.start)
            return f"{path} cannot be read: line {line} is not UTF-8. Save the file as UTF-8"
        except tomllib.TOMLDecodeError as error:
            place = re.search(r"line [0-9]+", str(error))
            return f"{path} cannot be read: {place[0] if place else 'its end'} is not valid TOML"
        except OSError as error:
            return f"{path} cannot be read: {error.strerror}"
    names = " or ".join(str(path) for path in paths)
    return f"{names} cannot be read: it is not valid TOML"


def _refuse_folders() -> None:
    """Fails where a folder has the name of a file of settings: dlt passes over it."""
    for name in ("secrets.toml", "config.toml"):
        path = Path(dlt.current.run_context().settings_dir) / name
        if path.is_dir():
            raise ConfigurationError(f"{path} is a folder: it must be a TOML file")


def missing_settings(api: Api) -> list[str]:
    """Environment variables that must be set before the API can be read; empty if it is configured."""
    needed = ("api_key",) if api.base_url else ("base_url", "api_key")
    return [environment_name(api.name, field) for field in needed if lookup(api, field) is None]


def choose_profile(api: Api) -> Api:
    """The API as the setting ``PROFILE`` wants it declared; by default as it is.

    Raises:
        ConfigurationError: There is no such profile.
    """
    name = lookup(api, "profile")
    if name is None or name == NO_PROFILE:
        return api
    profiles = PROFILES[api.name]
    if name not in profiles:
        setting, known = environment_name(api.name, "profile"), " or ".join([*profiles, NO_PROFILE])
        raise ConfigurationError(f"{setting} is {name!r}: it must be {known}")
    return profiles[name]


def profile_or_neutral(api: Api) -> Api:
    """The API as ``PROFILE`` wants it declared; as it is, with a warning, if there is no such profile."""
    try:
        return choose_profile(api)
    except ConfigurationError as error:
        LOG.warning(f"{error}. Until that is right, {api.name} is not synced")
        return api


def chosen_apis() -> dict[str, Api]:
    """Every API in the registry, by name, with the profile that is set."""
    return {name: profile_or_neutral(api) for name, api in APIS.items()}


def load_settings(api: Api) -> Settings:
    """Looks up and validates the settings of ``api``.

    Raises:
        NotConfiguredError: The base URL or the key is missing.
        ConfigurationError: A value is not valid.
    """
    # first, as a profile says which settings are missing
    choose_profile(api)
    if missing := missing_settings(api):
        _refuse_folders()
        raise NotConfiguredError(
            f"{api.name} is not configured: set {' and '.join(missing)} (or [sources.{api.name}] in .dlt/secrets.toml)"
        )
    declared = {"base_url": api.base_url, "requests_per_minute": api.requests_per_minute}
    values = declared | {field: value for field in Settings.model_fields if (value := lookup(api, field)) is not None}
    values["base_url"] = _without_version(api, values["base_url"])
    try:
        settings = Settings.model_validate(values)
    except (ValidationError, ValueError) as error:
        raise ConfigurationError(explain(api, error)) from None
    if unknown := sorted(set(settings.skip_endpoints) - set(api.by_name)):
        name = environment_name(api.name, "skip_endpoints")
        raise ConfigurationError(f"{name} names {', '.join(unknown)}, which {api.name} does not have")
    return settings


def _without_version(api: Api, base_url: Any) -> Any:
    """The base URL without the version that it may end in, where the paths begin with theirs."""
    text = str(base_url).rstrip("/")
    return next((text.removesuffix(each) for each in api.versions if text.endswith(each)), base_url)


def load_setting(api: Api, field: str) -> Any:
    """One of the settings that have a default, also for an API that is not configured.

    Raises:
        ConfigurationError: The value is not valid.
    """
    info = Settings.model_fields[field]
    value = lookup(api, field)
    if value is None:
        return info.default
    declared: Any = Annotated[info.annotation, *info.metadata]
    try:
        return TypeAdapter(declared).validate_python(value)
    except ValidationError as error:
        name, message = environment_name(api.name, field), error.errors(include_input=False)[0]["msg"]
        raise ConfigurationError(f"settings of {api.name} are not valid: {name}: {message}") from None


def unprotected_key(api: Api, settings: Settings) -> str:
    """A warning if the key is sent to another machine in the clear; empty if it is not."""
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
    # once each, as one without an endpoint's name comes for every endpoint
    found = [field for field in dict.fromkeys(fields) if lookup(api, field) is not None]
    names = ", ".join(environment_name(api.name, field.replace(".", "__")) for field in found)
    return f"{names} {'have' if len(found) > 1 else 'has'} no effect any more and can be removed" if found else ""


def page_limit(api: Api, endpoint: Endpoint) -> int | None:
    """Rows to ask for per page: ``SOURCES__<API>__<ENDPOINT>__LIMIT``, or what the endpoint declares.

    Raises:
        ConfigurationError: The value is no whole number above zero.
    """
    declared = endpoint.paginator.limit
    value = None if declared is None else lookup(api, f"{endpoint.name}.limit")
    if value is None:
        return declared
    try:
        return TypeAdapter(PositiveInt).validate_python(value)
    except ValidationError:
        name = environment_name(api.name, f"{endpoint.name}__limit")
        raise ConfigurationError(f"{name} must be a whole number above zero, not {value!r}") from None


def explain(api: Api, error: ValueError) -> str:
    """What is wrong with an API's settings, each by the name of its variable, and without its value."""
    if not isinstance(error, ValidationError):
        return f"a setting of {api.name} cannot be read: {error}"
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        name = environment_name(api.name, str(problem["loc"][0]))
        lines.append(f"{name}: {problem['msg']}")
    return f"settings of {api.name} are not valid: " + "; ".join(lines)
