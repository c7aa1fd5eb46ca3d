"""The settings of an API that there are, each with its description: ``SOURCES__<API>__<SETTING>``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl, NonNegativeInt, PositiveInt, SecretStr

from analytics_ingest.config.validation import MAX_SECONDS, Bytes, Reference, Rows, Seconds, UtcTime, Words

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

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

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
        "once, and if that was for the API's limit, so do all others until the limit is reset.",
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
        le=MAX_SECONDS // 86_400,
        description="Days, today included, that each sync reads again from an API that neither filters nor tells what "
        "changed (Statsig, CircleCI, and Rootly's shifts and escalation policies).",
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
    auth_header: Literal["authorization", "x-api-key"] = Field(
        "authorization",
        description="The header in which the key is sent (Split): `authorization`, as `Authorization: Bearer`, or "
        "`x-api-key`, for tokens of Harness accounts.",
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
    history: bool = Field(
        True,
        description="Whether the versions of rows are kept, for the endpoints that are declared so "
        "([history.md](history.md)).",
    )
    history_retention: Annotated[PositiveInt | None, Reference("days", default="for ever")] = Field(
        None,
        le=MAX_SECONDS // 86_400,
        description="How long versions are kept that another one has replaced.",
    )
    ledger_retention: Annotated[PositiveInt, Reference("days")] = Field(
        90,
        le=MAX_SECONDS // 86_400,
        description="How long the rows of the table `_syncs` are kept; the last complete sync of an endpoint stays.",
    )
    verify_requests: Annotated[NonNegativeInt, Reference("requests")] = Field(
        500,
        description="Requests that a run of the job `<api>_verify` sends at most to compare tables with the API. "
        "Once all tables were compared, a table is compared again after a week. `0` turns it off.",
    )
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

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    limit: Annotated[PositiveInt | None, Reference("rows", default="as declared")] = Field(
        None, description="Rows of one page, such as `SEARCH_EPICS__LIMIT=250` (declared: 1)."
    )
    history: Annotated[bool | None, Reference("true or false", default="as declared")] = Field(
        None, description="Whether the versions of its rows are kept, such as `USERS__HISTORY=true`. Needs a key."
    )
