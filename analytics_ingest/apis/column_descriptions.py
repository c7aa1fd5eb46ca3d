"""Descriptions of columns, for people: as declared, and of path parameters and keys by what they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics_ingest.apis.model import TIMESTAMPS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics_ingest.apis.model import Api, Endpoint

COMMON: Mapping[str, str] = {
    "id": "Identifier of the row, given by the API.",
    "name": "Name, as people see it.",
    "created_at": "When it was created, UTC.",
    "updated_at": "When it was last changed, UTC.",
}
"""Columns that mean the same in every API. An endpoint where one means something else declares its own text."""

OWN_COLUMNS: Mapping[str, str] = {
    "_deleted_at": "When a sync found that the row was deleted upstream; null while it exists.",
    "_row_hash": "Hash of the row's content; it differs if the row has changed.",
    "_dlt_load_id": "The load that wrote the row: see the table _dlt_loads.",
    "_dlt_id": "dlt's identifier of the row.",
}
"""The columns that no API sends: the product's and dlt's."""


def declared_columns(endpoint: Endpoint) -> list[str]:
    """The columns that the declaration of an endpoint names, the key and the path parameters first."""
    given = endpoint.parents.params if endpoint.parents else ()
    cursors = (path for path in endpoint.cursor_path if "." not in path)
    undeclared = TIMESTAMPS if endpoint.timestamps == TIMESTAMPS else ()
    times = (name for name in sorted(endpoint.times) if name not in undeclared)
    final = endpoint.final_when[:1] if endpoint.final_when else ()
    measured = (path for path in endpoint.unversioned if "." not in path)
    names = (
        *(*endpoint.primary_key, *given, *cursors, *times, *endpoint.timestamps_as_sent),
        *(*final, *measured, *endpoint.retired, *endpoint.common_columns, *endpoint.columns),
    )
    return list(dict.fromkeys(names))


def describe_columns(api: Api, endpoint: Endpoint) -> dict[str, str]:
    """The description of each column of an endpoint's table that has one; the vendor's columns only."""
    return {**COMMON, **api.columns, **_from_parents(endpoint), **endpoint.columns}


def describe_table(api: Api, endpoint: Endpoint) -> dict[str, str]:
    """The description of each column of an endpoint's table that has one, the product's and dlt's included."""
    return {**describe_columns(api, endpoint), **OWN_COLUMNS}


def _from_parents(endpoint: Endpoint) -> dict[str, str]:
    """Descriptions of path parameters that are a column of a parent's table."""
    source = endpoint.parents
    return {
        param: f"The {column} of the row of {name} that it belongs to."
        for name in endpoint.upstream
        for param, column in (source.columns_of(name) if source else {}).items()
    }
