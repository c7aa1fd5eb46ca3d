"""Reads the changes of configuration that syncs have recorded, and finds the incident that they may have led to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from analytics_ingest.config.api import has_history, load_setting
from analytics_ingest.errors import IngestError
from analytics_ingest.extract.column_names import column_name
from analytics_ingest.timestamps import to_utc
from analytics_ingest.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Iterator, Mapping

    from analytics_ingest.apis.model import Api
    from analytics_ingest.warehouse.table_queries import Change, DatasetTables

INCIDENT_API = "incident_response"
INCIDENTS = "incidents"
"""The table of an account of ``INCIDENT_API`` that has its incidents."""
IDENTIFIERS = ("id", "sequential_id", "slug")
"""Fields by which people name an incident, in order of precedence."""
START = ("started_at", "created_at")
"""Fields with the time of an incident's start; the first with a value wins."""
TITLE = ("title",)
ATTRIBUTES = "attributes"
"""The column that has an incident's fields, without a profile."""
UPDATED = "updated_at"
"""The time of a row's last change, also where the endpoint has no cursor."""
MAX_DEPTH = 4
"""Levels of objects within each other in which a changed field is looked for."""


@dataclass(frozen=True, kw_only=True)
class FieldChange:
    """A changed field of a row.

    Attributes:
        path: Its name; for a field within a JSON column the dotted path.
        before: Its value before; ``None`` if it was null or absent.
        after: Its value after; ``None`` if it is null or absent.
    """

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, kw_only=True)
class Incident:
    """An incident of an account.

    Attributes:
        account: The account.
        id: Its id.
        title: Its title; empty without one.
        started_at: The time of its start, UTC; if that is null, of its creation.
    """

    account: str
    id: str
    title: str
    started_at: datetime


class UnknownIncidentError(IngestError):
    """No table has the incident, or the time of its start. The message names the tables."""


class AmbiguousIncidentError(IngestError):
    """Several incidents have the number. The message names them."""


def read_changes(
    api: Api, *, since: datetime, until: datetime | None = None, log: logging.Logger
) -> list[Change] | None:
    """The changes of an account, the oldest first; ``None`` if no sync has recorded any yet.

    A sync of the account does not keep them from being read.

    Args:
        api: The account.
        since: A time with its zone, included.
        until: A time with its zone, not included; open if ``None``.
        log: Gets waits for locks.

    Raises:
        ConfigurationError: A setting is not valid.
        WarehouseError: The warehouse cannot be used, or its destination has no view of changes.
        LockTimeoutError: A load into the same database file does not end.
    """
    warehouse = _warehouse(api, log)
    warehouse.require_changes()
    with warehouse.read(during_sync=True) as tables:
        return tables.changes(since, until)


def has_histories(api: Api) -> bool:
    """Whether an endpoint of an account has a history, so that its syncs record changes.

    Raises:
        ConfigurationError: A setting is not valid.
    """
    default = load_setting(api, "history")
    return any(has_history(api, endpoint, default=default) for endpoint in api.endpoints)


def field_changes(change: Change, api: Api | None = None) -> list[FieldChange]:
    """The changed fields of a row, those within JSON objects each by itself; sorted by name.

    The endpoint's cursor, and ``updated_at``, are left out if other fields changed.

    Args:
        change: The change.
        api: The account, whose declaration names the cursor.
    """
    found = [
        each
        for name, values in sorted(change.fields.items())
        for each in _leaves(name, values.get("before"), values.get("after"), depth=1)
    ]
    endpoint = api.by_name.get(change.endpoint) if api else None
    cursors = {UPDATED, *(map(_column_path, endpoint.cursor_path) if endpoint else ())}
    return [each for each in found if each.path not in cursors] or found


def find_incident(apis: Iterable[Api], text: str, *, log: logging.Logger) -> Incident:
    """The incident that an id, a number or a slug names.

    Args:
        apis: The accounts to look in; only those of ``INCIDENT_API`` have incidents.
        text: The id, number or slug.
        log: Gets waits for locks.

    Raises:
        UnknownIncidentError: No table has it.
        AmbiguousIncidentError: Several incidents have the number.
        ConfigurationError: A setting is not valid.
        WarehouseError: The warehouse cannot be used.
        LockTimeoutError: A load into the same database file does not end.
    """
    looked_at: list[str] = []
    found: list[tuple[int, Incident]] = []
    for api in apis:
        if api.registered_name != INCIDENT_API:
            continue
        with _warehouse(api, log).read(during_sync=True) as tables:
            columns = tables.columns([INCIDENTS]).get(INCIDENTS, {})
            looked_at.append(f"{api.name}.{INCIDENTS}" + ("" if columns else " (which no sync has made yet)"))
            found += _incidents(api.name, tables, columns, text)
    if not found:
        where = f"looked at {', '.join(looked_at)}" if looked_at else f"there is no account of {INCIDENT_API}"
        raise UnknownIncidentError(f"no table has an incident whose id, number or slug is {text!r}: {where}")
    best = min(rank for rank, _ in found)
    incidents = [incident for rank, incident in found if rank == best]
    if len(incidents) > 1:
        listed = ", ".join(f"{each.account} {each.id}" for each in incidents)
        raise AmbiguousIncidentError(
            f"{text!r} names {len(incidents)} incidents: {listed}; name it by its id, or name one of the accounts"
        )
    return incidents[0]


def _warehouse(api: Api, log: logging.Logger) -> Warehouse:
    # of an account that is not configured too: its rows may have been loaded elsewhere
    return Warehouse(api.name, log=log, lock_timeout=load_setting(api, "lock_timeout"))


def _incidents(
    account: str, tables: DatasetTables, columns: Mapping[str, str], text: str
) -> Iterator[tuple[int, Incident]]:
    """The incidents of a table that a text names, with the place in ``IDENTIFIERS`` of the field that has it."""
    among, start, title = (_paths(columns, names) for names in (IDENTIFIERS, START, TITLE))
    if not among:
        return
    for row in tables.find(INCIDENTS, [*among, *start, *title], among=list(among), text=text):
        values = dict(zip([*among, *start, *title], row, strict=True))
        rank = min(IDENTIFIERS.index(field) for path, field in among.items() if str(values[path]) == text)
        moments = (to_utc(values[path]) for path in start)
        # some vendors write a time that is not known as 0001-01-01
        moment = next((each for each in moments if isinstance(each, datetime) and each.year > 1), None)
        if moment is None:
            raise UnknownIncidentError(
                f"the incident {text!r} has no start in {account}.{INCIDENTS}: {' and '.join(START)} are null"
            )
        yield (
            rank,
            Incident(
                account=account,
                id=str(values[next(iter(among))]),
                title=str(next((values[path] for path in title if values[path]), "")),
                started_at=(moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC),
            ),
        )


def _paths(columns: Mapping[str, str], fields: Iterable[str]) -> dict[str, str]:
    """Where a table has some fields, by path: in a column, or in the column ``ATTRIBUTES``; in the fields' order."""
    nested = columns.get(ATTRIBUTES) == "json"
    found: dict[str, str] = {}
    for field in fields:
        if field in columns:
            found[field] = field
        if nested:
            found[f"{ATTRIBUTES}.{field}"] = field
    return found


def _leaves(path: str, before: Any, after: Any, *, depth: int) -> Iterator[FieldChange]:
    """The changes between two values, in objects those of their fields."""
    names: list[str] = []
    if depth < MAX_DEPTH and isinstance(before, dict) and isinstance(after, dict):
        names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    for name in names:
        yield from _leaves(f"{path}.{name}", before.get(name), after.get(name), depth=depth + 1)
    if not names:
        yield FieldChange(path=path, before=before, after=after)


def _column_path(path: str) -> str:
    """The path in a table of a field's path: a field is a column, and what is within it stays as it was sent."""
    field, dot, rest = path.partition(".")
    return f"{column_name(field)}{dot}{rest}"
