"""The settings of an API, and the profile that it is read with. They are looked up when a sync starts."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl, PositiveInt, SecretStr

from analytics_ingest.apis.registry import PROFILES, vendor_declaration
from analytics_ingest.config.lookup import environment_name, lookup, refuse_folders
from analytics_ingest.config.validation import Bytes, Reference, Rows, Seconds, UtcTime, Words, load_model
from analytics_ingest.errors import ConfigurationError, NotConfiguredError

if TYPE_CHECKING:
    from analytics_ingest.apis.model import Api, Endpoint

NO_PROFILE = "none"
"""The value of ``PROFILE`` for an API as it is declared without a vendor."""
RETIRED = ("<endpoint>.shards",)
"""Settings of an API that have no effect any more; ``<endpoint>`` stands for the name of each endpoint."""


def _plain_url(value: HttpUrl) -> HttpUrl:
    """A base URL that paths can follow."""
    parts = {"user or password": value.username or value.password, "query": value.query, "fragment": value.fragment}
    if held := [name for name, part in parts.items() if part is not None]:
        raise ValueError(f"holds a {held[0]}: write only scheme, host and path; the key goes into API_KEY")
    return value


def _header_value(value: SecretStr) -> SecretStr:
    """A key without the line break at the end of a file of secrets."""
    text = value.get_secret_value().strip()
    if not text.isascii() or not text.isprintable():
        raise ValueError("holds characters that no HTTP header can carry, such as a line break: write the key alone")
    return SecretStr(text)


class OptionalSettings(BaseModel):
    """The settings of an API that have a default, ``SOURCES__<API>__<FIELD>``."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    profile: Annotated[str, Reference("name")] = Field(
        NO_PROFILE,
        description="The vendor that serves the API, such as `split`; `none`: the API as it is declared without a "
        "vendor. Read when the code location loads.",
    )
    max_in_flight: Annotated[PositiveInt, Reference("requests")] = Field(
        16, description="Requests that may be in flight at once."
    )
    requests_per_minute: Annotated[PositiveInt | None, Reference("requests", default="the vendor's")] = Field(
        None,
        description="Requests sent per minute at most, spread evenly. A profile has its vendor's limit; without a "
        "profile there is none.",
    )
    connect_timeout: Seconds = Field(10, description="How long to wait for a connection.")
    read_timeout: Seconds = Field(60, description="How long to wait for the next bytes of a response.")
    answer_timeout: Seconds = Field(
        300,
        description="How long one whole response may take, from the request to its last byte, however steadily its "
        "bytes come.",
    )
    max_answer_bytes: Bytes = Field(
        67_108_864,
        description="Size of one response, decoded. A larger one fails its endpoint without retries.",
    )
    max_bytes_in_flight: Bytes = Field(
        33_554_432,
        description="Size of all responses in memory at once. The oldest one may be larger; the others wait.",
    )
    max_wait: Seconds = Field(
        900,
        description="The longest pause that a server may request. If it requests a longer one, the request fails at "
        "once.",
    )
    max_pages: Annotated[PositiveInt, Reference("pages")] = Field(
        100_000, description="Pages of one list. Reading a list that has more of them fails."
    )
    max_columns: Annotated[PositiveInt, Reference("columns")] = Field(
        1_000,
        description="Columns that a table may have. An endpoint whose rows need more fails: raise it, or use "
        "`EXCLUDE_COLUMNS`.",
    )
    max_package_bytes: Bytes = Field(
        33_554_432, description="Size of the responses whose rows go into one load package, approximately."
    )
    fan_out_chunk: Annotated[PositiveInt, Reference("parents")] = Field(
        1_000,
        description="Parents whose children are read between two load packages, over all endpoints; up to twice as "
        "many if they are read fast.",
    )
    fan_out: Literal["all", "changed"] = Field(
        "all",
        description="Parents whose children a sync reads: `all`, or `changed`: those that changed since the last "
        "complete fan-out, new ones, those that failed, and those without `updated_at`.",
    )
    resume_within: Seconds = Field(
        86_400, description="How long after its start an interrupted fan-out is resumed. After that it starts anew."
    )
    start_date: Annotated[UtcTime | None, Reference("date or time")] = Field(
        None, description="Rows whose cursor is earlier are not loaded. `2026-01-31`, or with a time."
    )
    window_days: Annotated[PositiveInt, Reference("days")] = Field(
        7,
        description="Days, today included, that each sync reads again from an API that neither filters nor tells what "
        "changed (Statsig, CircleCI).",
    )
    org_slugs: Words = Field(
        (),
        description="Organisations to read, such as `gh/acme, circleci/...` (CircleCI). Unless set, all that the key "
        "may read.",
    )
    search_query: Words = Field(
        ("is:unstarted", "is:started", "is:done"),
        description="Queries whose results are the table `search_epics` (Shortcut).",
    )
    lookback: Seconds = Field(
        3_600, description="How far before the highest cursor a sync starts to read, from an API that filters by time."
    )
    exclude_columns: Words = Field(
        (),
        description="Fields that are not loaded, such as `users.email, members.profile`, within lists too. Set it "
        "before the first sync: rows that are gone upstream keep the values that they have.",
    )
    mark_deleted: bool = Field(True, description="Whether rows that are gone upstream get a time in `_deleted_at`.")
    min_rows_share: Annotated[float, Reference("0 to 1")] = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the last sync's rows below which a table counts as collapsed: the check `table_sound` "
        "fails, and no row is marked as deleted until the next sync finds the same.",
    )
    sample_rows: Rows = Field(
        0,
        description="Rows of each table that its materialisations show in Dagster, to everybody with access to it.",
    )
    lock_timeout: Seconds = Field(
        3_600, description="How long to wait for another sync of the same API, or for the DuckDB file."
    )
    progress_interval: Seconds = Field(5, description="Time between two lines of progress in the run's log.")
    skip_endpoints: Words = Field(
        (), description="Endpoints that this account may not read. Their assets are skipped with this reason."
    )


class Settings(OptionalSettings):
    """All settings of an API that can be read, ``SOURCES__<API>__<FIELD>``."""

    base_url: Annotated[HttpUrl, AfterValidator(_plain_url), Reference("URL", default="the vendor's")] = Field(
        description="Where the API is, without the paths of its endpoints. A profile has its vendor's; without a "
        "profile it must be set."
    )
    api_key: Annotated[SecretStr, AfterValidator(_header_value), Reference("secret", default="must be set")] = Field(
        description="The key. It is sent to this API only, and is never logged, loaded or shown."
    )


class EndpointSettings(BaseModel):
    """The settings of one endpoint, ``SOURCES__<API>__<ENDPOINT>__<FIELD>``."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    limit: Annotated[PositiveInt | None, Reference("rows", default="as declared")] = Field(
        None, description="Rows of one page, such as `SEARCH_EPICS__LIMIT=250` (declared: 1)."
    )


def missing_settings(api: Api) -> list[str]:
    """Environment variables that must be set before the API can be read; empty if it is configured."""
    needed = ("api_key",) if api.base_url else ("base_url", "api_key")
    return [environment_name(api.name, field) for field in needed if lookup(api, field) is None]


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
        ConfigurationError: A value is not valid.
    """
    # first, as a wrong profile may be why the base URL is missing
    choose_profile(api)
    if missing := missing_settings(api):
        refuse_folders()
        raise NotConfiguredError(
            f"{api.name} is not configured: set {' and '.join(missing)} (or [sources.{api.name}] in .dlt/secrets.toml)"
        )

    def find(field: str) -> Any:
        value = lookup(api, field)
        return _without_version(api, value) if field == "base_url" and value is not None else value

    settings = load_model(
        Settings,
        lookup=find,
        variable=partial(environment_name, api.name),
        declared={"base_url": api.base_url, "requests_per_minute": api.requests_per_minute},
    )
    if unknown := sorted(set(settings.skip_endpoints) - set(api.by_name)):
        name = environment_name(api.name, "skip_endpoints")
        raise ConfigurationError(f"{name} names {', '.join(unknown)}, which {api.name} does not have")
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
    return load_model(
        EndpointSettings,
        lookup=lambda field: lookup(api, f"{endpoint.name}.{field}"),
        variable=lambda field: environment_name(api.name, f"{endpoint.name}.{field}"),
        declared={"limit": endpoint.paginator.limit},
    ).limit


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
