"""The classes that declare an API: ``Api``, ``Endpoint``, ``RetryPolicy`` and ``ChangeProbe``.

Fields have the names of dlt's ``RESTAPIConfig`` where dlt has the term: ``path``, ``data_selector``, ``paginator``,
``params``, ``primary_key``, ``write_disposition``, ``cursor_path``. The other fields, such as ``parents``, have no
counterpart in dlt.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from analytics_ingest.apis.parents import FromRenamed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from analytics_ingest.apis.paginators import Paginator
    from analytics_ingest.apis.parents import ParentSource

WITHDRAWN = frozenset({404, 410})
"""Status codes by which an API answers for an endpoint that it has withdrawn."""

TIMESTAMPS = ("created_at", "updated_at")
"""The times of endpoints that declare no others; an endpoint may have neither."""


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: one dlt resource, one table, one asset.

    Attributes:
        name: The name of the resource, of the table, and of the last part of the asset key.
        path: The path below the API's base URL, which may have a query. The values of ``{placeholders}`` come from
            ``parents`` and are percent-encoded; those of ``{name:path}`` keep their slashes.
        data_selector: JSONPath to the rows in the body. The part before the first wildcard must be in the body. ``$``
            selects the whole body: the elements of an array, or an object as one row.
        fallback_selector: JSONPath to the rows in bodies that ``data_selector`` does not match; here ``$`` matches
            arrays only.
        yield_map: Maps an element of a page, as sent, to its rows, for example to rename fields or to flatten lists.
        paginator: How the endpoint pages.
        description: One sentence for people, shown as the asset's description.
        primary_key: The columns that identify a row. Empty for a snapshot, whose table is replaced.
        parents: The source of the values in the path; ``None`` for a path without placeholders.
        cursor_path: Dotted paths of the field that changes with the row; the first with a value wins. Empty if there is
            no such field.
        timestamps: Dotted paths of the fields to parse into UTC timestamps.
        timestamps_as_sent: Columns of times that are compared as sent, so that the same time in another form is a
            change. It is for times that are declared after rows were loaded: no row is loaded again for them. A date
            without a time stays text.
        doubles: Columns of numbers that the API sends with and without a fraction. They are ``double`` from the first
            value on; stored columns of whole numbers are widened.
        params: Query parameters sent with every request.
        json: The JSON body sent with every request, which is a POST then: a search whose arguments are in the body. It
            reads and changes nothing upstream, so it is retried like a GET. ``None`` for a GET.
        start_param: The query parameter by which the API filters on the cursor, or the field of ``json`` if that is
            set; ``None`` if it cannot filter.
        convert: Formats a UTC time for ``start_param``; ISO 8601 by default.
        whole_every: For an endpoint with ``start_param``: the time after which a sync reads the whole list once more
            and compares it with the table. It shows deletions, and changes that the filter does not; ``None`` to leave
            them to full refreshes.
        on_404: The meaning of a 404 for one parent: the parent is gone, or the child is not defined for it.
        retry_status_codes: Status codes to retry for this endpoint beside those of the API.
        secrets: Names of fields that contain secrets: removed from rows at any depth, and masked in errors.
        final_when: A column, and its values after which a row changes no more. While a parent has rows with other
            values, its list is requested at each sync, even if it is settled (see ``parents.FromTable``).
        withdrawal: What is known of the withdrawal of an endpoint, with its date; empty for one that stays. If its list
            answers 404 or 410, it is skipped with this reason, its table stays as it is, and its children are read by
            the rows that the table has. Only for endpoints without parents.
        retired: Columns that the API does not serve any more, or soon will not. They are neither compared nor loaded,
            and stored values stay. Only for endpoints with a key.
        history: Whether the versions of its rows are kept, unless a setting says otherwise. Only for endpoints with a
            key.
        unversioned: Columns with measurements, such as the time of the last request: a change of these alone makes no
            version.
        columns: By column one sentence for people, beside those in ``Api.columns``.
        common_columns: Columns of its rows that are described in ``Api.columns``, or for every API.
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
    timestamps: tuple[str, ...] = field(default=TIMESTAMPS, kw_only=True)
    timestamps_as_sent: tuple[str, ...] = field(default=(), kw_only=True)
    doubles: tuple[str, ...] = field(default=(), kw_only=True)
    params: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    on_404: Literal["parent gone", "not defined"] = field(default="parent gone", kw_only=True)
    retry_status_codes: tuple[int, ...] = field(default=(), kw_only=True)
    start_param: str | None = field(default=None, kw_only=True)
    convert: Callable[[datetime], str | int] = field(default=datetime.isoformat, kw_only=True)
    final_when: tuple[str, frozenset[str]] | None = field(default=None, kw_only=True)
    secrets: tuple[str, ...] = field(default=(), kw_only=True)
    withdrawal: str = field(default="", kw_only=True)
    retired: tuple[str, ...] = field(default=(), kw_only=True)
    history: bool = field(default=False, kw_only=True)
    unversioned: tuple[str, ...] = field(default=(), kw_only=True)
    columns: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    common_columns: tuple[str, ...] = field(default=(), kw_only=True)
    json: Mapping[str, Any] | None = field(default=None, kw_only=True)
    whole_every: timedelta | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.json is None and self.paginator.config["type"] == "time_windows":
            raise ValueError(f"{self.name} cannot page by time windows: they are fields of a JSON body")
        if self.whole_every is not None and not self.start_param:
            raise ValueError(f"{self.name} is always read as a whole: there is no start_param")
        if self.retired and (not self.primary_key or set(self.retired) & set(self.primary_key)):
            raise ValueError(f"{self.name}: {self.retired} cannot be retired: there is no key, or it contains them")
        if self.withdrawal and self.parents:
            raise ValueError(f"{self.name}: a 404 of one of its parents is no sign that it is withdrawn")
        if self.history and not self.primary_key:
            raise ValueError(f"{self.name} cannot have a history: there is no key")

    @cached_property
    def declaration(self) -> str:
        """A fingerprint of the declaration, 16 hexadecimal digits; it differs if a field differs that rows depend on.

        Functions count by their names, so a change in the body of one goes undetected.
        """
        beside = ["description", "history", "unversioned", "columns", "common_columns", "doubles"]
        beside += ["whole_every", "withdrawal"]
        if self.json is None:
            # fingerprints of endpoints without a body stay as they were before there was one
            beside.append("json")
        text = repr(
            {each.name: _declared(getattr(self, each.name)) for each in fields(self) if each.name not in beside}
        )
        return blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def method(self) -> Literal["GET", "POST"]:
        """The method of its requests."""
        return "GET" if self.json is None else "POST"

    @property
    def write_disposition(self) -> Literal["merge", "replace"]:
        """``merge`` for endpoints with a key, so that an incomplete read deletes no row; ``replace`` for snapshots."""
        return "merge" if self.primary_key else "replace"

    @cached_property
    def times(self) -> frozenset[str]:
        """The columns that are declared as times."""
        return frozenset((*(path for path in self.timestamps if "." not in path), *self.timestamps_as_sent))

    @cached_property
    def path_params(self) -> tuple[str, ...]:
        """The names of the placeholders in the path, in order."""
        return tuple(name for _, name, _, _ in self._parts if name)

    @cached_property
    def slashed_params(self) -> frozenset[str]:
        """The names of the placeholders whose values keep their slashes, and so may be several segments of the path."""
        return frozenset(name for _, name, kind, _ in self._parts if name and kind == "path")

    def is_withdrawn(self, status: int | None) -> bool:
        """Whether a response with this status means that the API serves the endpoint no more."""
        return bool(self.withdrawal) and status in WITHDRAWN

    def path_for(self, values: Mapping[str, Any]) -> str:
        """The path with ``values`` in place of its placeholders, percent-encoded, including ``/``, ``?`` and ``#``."""
        return "".join(
            text + (quote(str(values[name]), safe="/" if kind == "path" else "") if name else "")
            for text, name, kind, _ in self._parts
        )

    @cached_property
    def _parts(self) -> tuple[tuple[str, str | None, str | None, str | None], ...]:
        return tuple(string.Formatter().parse(self.path))

    @property
    def upstream(self) -> tuple[str, ...]:
        """The names of the parents, in the order of their declaration."""
        return self.parents.resources if self.parents else ()

    @property
    def lookups(self) -> tuple[str, ...]:
        """The names of other resources whose tables map names in the path; they need not be read first."""
        source = self.parents
        return tuple(name for name in source.lookups if name != self.name) if isinstance(source, FromRenamed) else ()

    @property
    def after(self) -> tuple[str, ...]:
        """The names of the resources that are read before this one, if a sync reads them."""
        return (*self.upstream, *self.lookups)


def _declared(value: Any) -> Any:
    """A value of a declaration in a form whose ``repr`` is the same in each process."""
    found = value
    if isinstance(value, partial):
        found = _declared([value.func, value.args, value.keywords])
    elif isinstance(value, type) or callable(value):
        found = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"
    elif isinstance(value, dict):
        found = {name: _declared(each) for name, each in value.items()}
    elif isinstance(value, set | frozenset):
        found = sorted(map(str, value))
    elif isinstance(value, list | tuple):
        found = [_declared(each) for each in value]
    elif hasattr(value, "__dict__"):
        # a paginator or a parent source; of a dataclass no cached property
        names = sorted(getattr(value, "__dataclass_fields__", vars(value)))
        found = type(value).__name__, [(name, _declared(getattr(value, name))) for name in names]
    return found


@dataclass(frozen=True, kw_only=True)
class ChangeProbe:
    """A list whose first page indicates whether an API has changed; one request, or one for each of its first parents.

    Attributes:
        endpoint: The list. Its first page, and the total that its envelope states, are compared with the last ones.
        concerns: The endpoints to sync when they differ.
        blind: The changes that do not show there, for people.
        params: Query parameters of the probe that differ from the endpoint's, such as a descending order.
        recent_days: For an endpoint with ``start_param``, the days before today, UTC, whose changes are requested;
            ``None`` for the first page of the whole list.
    """

    endpoint: str
    concerns: tuple[str, ...]
    blind: str
    params: Mapping[str, Any] = field(default_factory=dict)
    recent_days: int | None = None


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Which failures of a request are retried, how often, and after which back-off.

    Attributes:
        status_codes: The status codes to retry. 5xx, connection errors and time-outs are always retried.
        max_retries: Attempts after the first.
        limit_retries: Attempts after a 429, counted separately, for an API that does not state how long its limit
            lasts; ``None`` counts a 429 like any other failure.
        backoff_factor: Seconds before the first retry.
        constant: Whether each back-off is ``backoff_factor``; else each is twice the one before.
    """

    status_codes: tuple[int, ...] = (429,)
    max_retries: int = 3
    backoff_factor: float = 2
    constant: bool = False
    limit_retries: int | None = None

    @property
    def without_retries(self) -> RetryPolicy:
        """The policy without retries."""
        return replace(self, max_retries=0, limit_retries=None)

    def backoff_seconds(self, attempt: int) -> float:
        """Seconds to wait after the failure of an attempt, counted from 1."""
        return self.backoff_factor if self.constant else self.backoff_factor * 2 ** (attempt - 1)


@dataclass(frozen=True, kw_only=True)
class Api:
    """One API: one pipeline, one dataset, one asset group, one op.

    Attributes:
        name: The name of the asset group, the dataset, the op and the settings' section.
        title: The name for people.
        account_of: For another account of an API, the name of that API; empty for the API itself.
        auth: dlt's ``AuthConfig`` without the secret, which comes from the settings at run time.
        auth_headers: By value of the setting ``AUTH_HEADER`` what replaces ``auth``; empty if there is one way only.
        retry: The retry policy.
        endpoints: Every endpoint, parents before their children.
        headers: Headers sent with every request.
        cron: The cron expression of syncs; a setting overrides it.
        full_refresh_cron: The cron expression of full refreshes.
        docs_url: The URL of the API's documentation; empty if unknown.
        profile: The vendor's name; empty for the neutral declaration.
        base_url: The vendor's base URL; empty if only a setting can give it.
        versions: Endings of a documented base URL with which the endpoints' paths start.
        requests_per_minute: The vendor's limit; a setting overrides it.
        probes: The lists in which changes show first, for one to three requests in all.
        columns: By column one sentence for people, for columns that mean the same in several endpoints.
    """

    name: str
    title: str
    auth: Mapping[str, str]
    retry: RetryPolicy
    endpoints: tuple[Endpoint, ...]
    auth_headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    cron: str
    full_refresh_cron: str
    docs_url: str = ""
    profile: str = ""
    base_url: str = ""
    versions: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    probes: tuple[ChangeProbe, ...] = ()
    account_of: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for auth in (self.auth, *self.auth_headers.values()):
            if auth.get("type") not in ("bearer", "api_key") or auth.get("location", "header") != "header":
                raise ValueError(
                    f"{self.name}: its auth is not supported: use a bearer token, or an API key in a header"
                )
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
                    f"{self.name}/{endpoint.name}: the path needs {endpoint.path_params}, "
                    f"the parents give {sorted(given)}"
                )
            seen.add(endpoint.name)
        for probe in self.probes:
            if unknown := {probe.endpoint, *probe.concerns} - seen:
                raise ValueError(
                    f"{self.name}: the probe of {probe.endpoint} names {sorted(unknown)}, which is not declared"
                )

    @property
    def registered_name(self) -> str:
        """The name of the API in the registry: its own, or that of the API that it is an account of."""
        return self.account_of or self.name

    def account(self, name: str) -> Api:
        """The same API for another account, under a name of its own."""
        return replace(self, name=name, account_of=self.registered_name, title=f"{self.title} ({name})")

    @cached_property
    def by_name(self) -> Mapping[str, Endpoint]:
        """The endpoints by name."""
        return {endpoint.name: endpoint for endpoint in self.endpoints}

    def levels(self, selected: set[str] | None = None) -> list[list[Endpoint]]:
        """The endpoints in groups, each parent in an earlier group than its children.

        A child's level is one more than the highest level of its parents, selected or not. Empty groups are left out.

        Args:
            selected: The names of the endpoints; all by default.
        """
        level: dict[str, int] = {}
        for endpoint in self.endpoints:
            level[endpoint.name] = 1 + max((level[name] for name in endpoint.after), default=-1)
        groups: list[list[Endpoint]] = [[] for _ in range(1 + max(level.values()))]
        for endpoint in self.endpoints:
            if selected is None or endpoint.name in selected:
                groups[level[endpoint.name]].append(endpoint)
        return [group for group in groups if group]
