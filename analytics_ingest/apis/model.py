"""The terms in which an API is declared: what to read, and nothing about how.

Names are those of dlt's ``RESTAPIConfig`` (``path``, ``data_selector``, ``paginator``, ``params``,
``primary_key``, ``write_disposition``, ``cursor_path``) wherever dlt has the term. What dlt has no term for
(the parents that feed a child, an API's retry policy) is declared beside them.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from analytics_ingest.apis.parents import FromRenamed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from analytics_ingest.apis.paginators import Paginator
    from analytics_ingest.apis.parents import ParentSource


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: one dlt resource, one table, one asset.

    Attributes:
        name: Name of the resource, the table and the last part of the asset key.
        path: Path below the API's base URL, with a query if need be; ``{placeholders}`` are bound to ``parents``
            and percent-encoded, ``{name:path}`` without its slashes.
        data_selector: JSONPath to the rows in the body. ``$`` is the whole body: an array is its rows, an
            object is one row. The part before the first wildcard must be there.
        fallback_selector: Where the rows are in bodies that do not have the first; ``$`` there fits arrays only.
        yield_map: Turns an element of a page, as sent, into its rows: one with more or other fields, or several.
        paginator: How the endpoint pages.
        description: One sentence for people, shown as the asset's description.
        primary_key: Columns that identify a row; empty for a snapshot, whose table is replaced.
        parents: Where the path's placeholders get their values; ``None`` for an endpoint without any.
        cursor_path: Dotted paths of the field that moves when a row changes, the first that has a value
            counts; empty if there is none.
        timestamps: Dotted paths of fields that are turned into UTC timestamps.
        timestamps_as_sent: Columns of times that are compared as sent: the same time written otherwise is a change. For
            times that are declared later than the endpoint, so that no row is loaded again for it. A date alone stays
            text.
        params: Query parameters sent with every request.
        start_param: Query parameter by which the API itself filters on the cursor; ``None`` if it cannot.
        convert: Turns a UTC time into what ``start_param`` takes; ISO 8601 by default.
        on_404: What a 404 for one parent means: its row is gone, or this child is not defined there.
        retry_status_codes: Status codes retried here beside those of the API.
        secrets: Names of fields that hold secrets: left out of every row at any depth, and masked in errors.
        final_when: A column and the values of it after which a row no longer changes. The parents of all other rows are
            requested at each sync, even if they are settled (see ``parents.FromTable``).
        retired: Columns that the API no longer serves, or soon will not: they are neither compared nor loaded, and
            values that the table has in them stay. Of endpoints with a key only.
    """

    name: str
    path: str
    data_selector: str
    paginator: Paginator
    description: str = field(kw_only=True)
    primary_key: tuple[str, ...] = field(default=("id",), kw_only=True)
    fallback_selector: str | None = field(default=None, kw_only=True)
    yield_map: Callable[[Any], Iterable[Any]] | None = field(default=None, kw_only=True)
    parents: ParentSource | None = field(default=None, kw_only=True)
    cursor_path: tuple[str, ...] = field(default=(), kw_only=True)
    timestamps: tuple[str, ...] = field(default=("created_at", "updated_at"), kw_only=True)
    timestamps_as_sent: tuple[str, ...] = field(default=(), kw_only=True)
    params: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    on_404: Literal["parent gone", "not defined"] = field(default="parent gone", kw_only=True)
    retry_status_codes: tuple[int, ...] = field(default=(), kw_only=True)
    start_param: str | None = field(default=None, kw_only=True)
    convert: Callable[[datetime], str | int] = field(default=datetime.isoformat, kw_only=True)
    final_when: tuple[str, frozenset[str]] | None = field(default=None, kw_only=True)
    secrets: tuple[str, ...] = field(default=(), kw_only=True)
    retired: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if self.retired and (not self.primary_key or set(self.retired) & set(self.primary_key)):
            raise ValueError(f"{self.name}: {self.retired} cannot be retired: stored values are kept by the key")

    @property
    def write_disposition(self) -> Literal["merge", "replace"]:
        """``merge`` by key, so that a fetch that fails half-way keeps what was there; else ``replace``."""
        return "merge" if self.primary_key else "replace"

    @cached_property
    def times(self) -> frozenset[str]:
        """The columns that are declared to hold times."""
        return frozenset((*(path for path in self.timestamps if "." not in path), *self.timestamps_as_sent))

    @cached_property
    def path_params(self) -> tuple[str, ...]:
        """Names of the placeholders in the path, in order."""
        return tuple(name for _, name, _, _ in self._parts if name)

    @cached_property
    def slashed_params(self) -> frozenset[str]:
        """Names of the placeholders whose values keep their slashes, so that they are several segments of the path."""
        return frozenset(name for _, name, kind, _ in self._parts if name and kind == "path")

    def path_for(self, values: Mapping[str, Any]) -> str:
        """The path with ``values`` in place of its placeholders, percent-encoded: also ``/``, ``?`` and ``#``."""
        return "".join(
            text + (quote(str(values[name]), safe="/" if kind == "path" else "") if name else "")
            for text, name, kind, _ in self._parts
        )

    @cached_property
    def _parts(self) -> tuple[tuple[str, str | None, str | None, str | None], ...]:
        return tuple(string.Formatter().parse(self.path))

    @property
    def upstream(self) -> tuple[str, ...]:
        """Names of the resources whose tables feed this one, in the order of their declaration."""
        return self.parents.resources if self.parents else ()

    @property
    def lookups(self) -> tuple[str, ...]:
        """Names of other resources whose tables tell names for the path; none of them has to be read for it."""
        source = self.parents
        return (source.table,) if isinstance(source, FromRenamed) and source.table != self.name else ()

    @property
    def after(self) -> tuple[str, ...]:
        """Names of the resources that are read before it, if they are read."""
        return (*self.upstream, *self.lookups)


@dataclass(frozen=True, kw_only=True)
class ChangeProbe:
    """A list that shows whether an API has changed, by one request, or one for each of its first parents.

    Attributes:
        endpoint: The list. Its first page is compared with what it was, and the total that its envelope states.
        concerns: The endpoints to sync when it has changed.
        blind: What happens at the API without showing there, for people.
        params: Query parameters of this look that differ from the endpoint's, such as an order with the newest first.
    """

    endpoint: str
    concerns: tuple[str, ...]
    blind: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When and how often a request is sent again.

    Attributes:
        status_codes: Codes that are retried. 5xx, connection errors and time-outs are retried as well.
        max_retries: Tries after the first.
        limit_retries: Tries after a 429, counted by themselves, for an API that does not say how long its limit holds;
            ``None``: a 429 counts like any other failure.
        backoff_factor: Seconds before the first retry.
        constant: True waits ``backoff_factor`` each time; else each wait is twice the one before.
    """

    status_codes: tuple[int, ...] = (429,)
    max_retries: int = 3
    backoff_factor: float = 2
    constant: bool = False
    limit_retries: int | None = None

    @property
    def without_retries(self) -> RetryPolicy:
        """The same, without any retry."""
        return replace(self, max_retries=0, limit_retries=None)

    def backoff_seconds(self, attempt: int) -> float:
        """Seconds to wait after the failure of an attempt, counted from 1."""
        return self.backoff_factor if self.constant else self.backoff_factor * 2 ** (attempt - 1)


@dataclass(frozen=True, kw_only=True)
class Api:
    """One API: one pipeline, one dataset, one asset group, one op.

    Attributes:
        name: Name of the group, the dataset, the op and the settings' section.
        title: Name for people.
        auth: dlt's ``AuthConfig`` without the secret, which comes from the settings in the run.
        retry: The API's retry policy.
        endpoints: Every endpoint, parents before their children.
        headers: Headers sent with every request.
        cron: When it is synced unless a setting says otherwise: often enough for its kind of data.
        full_refresh_cron: When every row is loaded again, at a time of its own.
        docs_url: Where it is documented; empty if that is not known.
        profile: The vendor's name if it is declared as that vendor serves it; else empty.
        base_url: Where the vendor serves it; empty if only a setting can say.
        versions: Endings of a base URL, as vendors document it, that its paths begin with.
        requests_per_minute: What the vendor permits; a setting can say otherwise.
        probes: The lists in which changes show first; for one or two requests in all.
    """

    name: str
    title: str
    auth: Mapping[str, str]
    retry: RetryPolicy
    endpoints: tuple[Endpoint, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    cron: str
    full_refresh_cron: str
    docs_url: str = ""
    profile: str = ""
    base_url: str = ""
    versions: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    probes: tuple[ChangeProbe, ...] = ()

    def __post_init__(self) -> None:
        if self.auth.get("type") not in ("bearer", "api_key") or self.auth.get("location", "header") != "header":
            raise ValueError(f"{self.name}: its auth is not supported: use a bearer token, or an API key in a header")
        seen: set[str] = set()
        for endpoint in self.endpoints:
            unknown = set(endpoint.after) - seen
            if endpoint.name in seen or unknown:
                raise ValueError(
                    f"{self.name}/{endpoint.name}: declared twice, or before its parents {sorted(unknown)}"
                )
            given = set(endpoint.parents.params) if endpoint.parents else set()
            if not set(endpoint.path_params) <= given:
                raise ValueError(
                    f"{self.name}/{endpoint.name}: the path asks for {endpoint.path_params}, "
                    f"the parents give {sorted(given)}"
                )
            seen.add(endpoint.name)
        for probe in self.probes:
            if unknown := {probe.endpoint, *probe.concerns} - seen:
                raise ValueError(
                    f"{self.name}: the probe of {probe.endpoint} names {sorted(unknown)}, which is not there"
                )

    @cached_property
    def by_name(self) -> Mapping[str, Endpoint]:
        """The endpoints by name."""
        return {endpoint.name: endpoint for endpoint in self.endpoints}

    def levels(self, selected: set[str] | None = None) -> list[list[Endpoint]]:
        """The selected endpoints (default: all) in groups: parents in an earlier group than their children.

        A child's level is one more than the highest of its parents, selected or not.
        """
        level: dict[str, int] = {}
        for endpoint in self.endpoints:
            level[endpoint.name] = 1 + max((level[name] for name in endpoint.after), default=-1)
        groups: list[list[Endpoint]] = [[] for _ in range(1 + max(level.values()))]
        for endpoint in self.endpoints:
            if selected is None or endpoint.name in selected:
                groups[level[endpoint.name]].append(endpoint)
        return [group for group in groups if group]
