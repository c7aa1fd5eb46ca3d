"""Declares the tables of accounts as sources for dbt, as YAML: columns, tests, freshness, and Dagster's asset keys.

dbt 1.11 reads it. The tests are those that dbt brings, and run on DuckDB and PostgreSQL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from analytics_ingest.apis.column_descriptions import declared_columns, describe_columns
from analytics_ingest.apis.parents import Constants, FromRenamed
from analytics_ingest.config.api import load_setting
from analytics_ingest.config.schedule import load_schedule_settings
from analytics_ingest.extract.column_names import DELETED_AT
from analytics_ingest.warehouse.destination import configured_destination
from analytics_ingest.warehouse.destination_errors import explained
from analytics_ingest.warehouse.destinations import refuse_without_ledger
from analytics_ingest.warehouse.history_names import SYNCS
from analytics_ingest.warehouse.sync_ledger import COMPLETE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from analytics_ingest.apis.model import Api, Endpoint

Declaration = dict[str, Any]

HEAD = "# Written by `analytics-ingest dbt-sources`: the next call replaces the file, and edits with it.\n"
LOADED_AT = (
    f"select max(read_completely_at) from {{{{ this.incorporate(path={{'identifier': '{SYNCS}'}}) }}}} "  # noqa: S608
    f"where endpoint = '{{{{ model.name }}}}' and status = '{COMPLETE}'"
)
"""When a table was last read completely. dbt fills in the ledger beside the table, and the table's name."""
PERIODS = {"day": 24 * 60, "hour": 60, "minute": 1}
"""dbt's periods in minutes, the longest first."""
JINJA = re.compile(r"\{[{%#]")
"""What begins an expression, a statement or a comment in dbt's templates."""
PRESENT = {"where": f"{DELETED_AT} is null"}
"""The configuration of a test of the rows that exist upstream."""
DELETED_AT_TEXT = "When a sync found that the row was deleted upstream, UTC; null while it exists."


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where dbt finds the tables.

    Attributes:
        database: The database, if a connection can have several of them; else empty.
        file: The DuckDB file to attach, the published copy if there is one; ``None`` with another destination.
    """

    database: str = ""
    file: Path | None = None


def find_place(api: Api) -> Place:
    """Where dbt finds the tables of an account. Opens no connection.

    Raises:
        ConfigurationError: A setting is not valid.
        WarehouseError: The destination's settings cannot work, or it keeps no ledger.
    """
    destination = configured_destination()
    refuse_without_ledger(destination)
    with explained(destination):
        configuration = destination.configuration()
        return Place(
            database=destination.attached_as(configuration), file=destination.reader_file(configuration, api.name)
        )


def write_sources(declarations: Iterable[Declaration]) -> str:
    """The text of a ``sources.yml``, the same for the same declarations."""
    document = {"version": 2, "sources": list(declarations)}
    # lines are not folded, as each is a sentence or a query
    text: str = yaml.safe_dump(document, sort_keys=False, width=float("inf"))
    return HEAD + text


def declare_source(
    api: Api, *, database: str = "", asset_key: Callable[[Api, Endpoint], Sequence[str]] | None = None
) -> Declaration:
    """The source of an account, with a table for each endpoint that its syncs read.

    Args:
        api: The account's API.
        database: The database of the dataset, unless it is the one that dbt connects to.
        asset_key: Gives the key of an endpoint's asset; by default the account and the endpoint.

    Raises:
        ConfigurationError: A setting is not valid.
    """
    read = _endpoints_read(api)
    names = {endpoint.name for endpoint in read}
    warn, fail = load_schedule_settings(api).windows
    limits = {"warn_after": warn, "error_after": fail} if warn < fail else {"error_after": fail}
    return {
        "name": api.name,
        "description": _without_jinja(f"{api.title}."),
        **({"database": database} if database else {}),
        "schema": api.name,
        "config": {
            "freshness": {name: _threshold(limit) for name, limit in limits.items()},
            "loaded_at_query": LOADED_AT,
        },
        "tables": [
            _table(api, endpoint, key=asset_key(api, endpoint) if asset_key else (api.name, endpoint.name), among=names)
            for endpoint in read
        ],
    }


def _endpoints_read(api: Api) -> list[Endpoint]:
    """The endpoints that have a table: neither they nor a parent of theirs is left out by a setting."""
    skipped = set(load_setting(api, "skip_endpoints"))
    for endpoint in api.endpoints:
        # parents come before their children
        if not skipped.isdisjoint(endpoint.upstream):
            skipped.add(endpoint.name)
    return [endpoint for endpoint in api.endpoints if endpoint.name not in skipped]


def _table(api: Api, endpoint: Endpoint, *, key: Sequence[str], among: set[str]) -> Declaration:
    texts, parents = describe_columns(api, endpoint), _parent_columns(endpoint)
    columns = [
        _column(name, texts.get(name, ""), list(_tests_of_column(api, endpoint, name, parents.get(name, {}), among)))
        for name in declared_columns(endpoint)
    ]
    if endpoint.primary_key:
        columns.append(_column(DELETED_AT, DELETED_AT_TEXT, []))
    tests = list(_tests_of_table(api, endpoint))
    return {
        "name": endpoint.name,
        "description": _without_jinja(endpoint.description),
        "config": {"meta": {"dagster": {"asset_key": list(key)}}},
        **({"data_tests": tests} if tests else {}),
        "columns": columns,
    }


def _column(name: str, text: str, tests: Sequence[Any]) -> Declaration:
    return {
        "name": name,
        "quote": True,
        **({"description": _without_jinja(text)} if text else {}),
        **({"data_tests": tests} if tests else {}),
    }


def _tests_of_table(api: Api, endpoint: Endpoint) -> Iterator[Any]:
    if len(endpoint.primary_key) > 1:
        test = f"unique_{api.name}__{endpoint.name}__key"
        yield {"unique": {"name": test, "arguments": {"column_name": _joined(endpoint.primary_key)}}}


def _tests_of_column(
    api: Api, endpoint: Endpoint, name: str, parents: Mapping[str, str], among: set[str]
) -> Iterator[Any]:
    if name in endpoint.primary_key:
        yield "not_null"
        if len(endpoint.primary_key) == 1:
            yield "unique"
    if not parents or not among.issuperset(parents):
        return
    tables = {resource: f"source('{api.name}', '{resource}')" for resource in parents}
    present = {"config": dict(PRESENT)} if endpoint.primary_key else {}
    if len(parents) == 1:
        ((resource, column),) = parents.items()
        yield {"relationships": {"arguments": {"to": tables[resource], "field": _quoted(column)}, **present}}
        return
    selects = (
        f"select {_quoted(parents[each])} as value from {{{{ {table} }}}}"  # noqa: S608
        for each, table in tables.items()
    )
    to = f"({' union all '.join(selects)}) as parents"
    test = f"relationships_{api.name}__{endpoint.name}__{name}"
    yield {"relationships": {"name": test, "arguments": {"to": to, "field": "value"}, **present}}


def _parent_columns(endpoint: Endpoint) -> dict[str, dict[str, str]]:
    """By path parameter the columns of parents that have its value, one in each table; any of them has it."""
    source = endpoint.parents
    # a setting can name values that no parent has
    if source is None or isinstance(source, Constants):
        return {}
    found: dict[str, dict[str, str]] = {}
    for resource in source.resources:
        for param, column in source.columns_of(resource).items():
            # the API may have another name for the parent than the parent's table
            if param in source.params and not (isinstance(source, FromRenamed) and param == source.param):
                found.setdefault(param, {})[resource] = column
    return found


def _joined(columns: Sequence[str]) -> str:
    """SQL for the parts of a key as one text, another one for each key: each part but the last follows its length."""
    texts = [f"cast({_quoted(name)} as text)" for name in columns]
    parts = [part for text in texts[:-1] for part in (f"cast(length({text}) as text)", "':'", text, "'/'")]
    return " || ".join([*parts, texts[-1]])


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _threshold(window: timedelta) -> Declaration:
    """A limit of freshness in dbt's whole periods, at least a minute and not longer than the window."""
    minutes = max(1, int(window.total_seconds() // 60))
    period, length = next(each for each in PERIODS.items() if minutes % each[1] == 0)
    return {"count": minutes // length, "period": period}


def _without_jinja(text: str) -> str:
    """A text that dbt's templates render as it is."""
    return JINJA.sub(lambda match: f"{{{{ '{match[0]}' }}}}", text)
