"""dlt resources and sources of endpoints, with the columns that are known before a row comes."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import dlt
import orjson

from analytics_ingest.extract.column_names import DELETED_AT, ROW_HASH
from analytics_ingest.extract.rows import sent_hash
from analytics_ingest.json_text import REPLACEMENT, json_text, without_nul

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dlt.common.schema.typing import TColumnSchema
    from dlt.sources import DltResource, DltSource

    from analytics_ingest.apis.model import Api, Endpoint

REJECTED = "_rejected_rows"
"""Table of rows that could not be stored, with endpoint, reason and the row as JSON."""
MAX_REJECTED = 1_000_000
"""Characters of a rejected row that are kept."""


def table_columns(endpoint: Endpoint, path_params: Mapping[str, Any] | None = None) -> dict[str, TColumnSchema]:
    """The columns that the endpoint's table has without a row, in order.

    The key, the path parameters, declared cursors, and the product's own. dlt would create no column of the key for a
    table without rows. Every other column is made when a row has a value for it.

    Args:
        endpoint: The endpoint.
        path_params: The path parameters of one of its partitions, which show the types of these columns; text for
            those that it lacks.
    """
    columns: dict[str, TColumnSchema] = {}
    for name in first_columns(endpoint):
        value = (path_params or {}).get(name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        columns[name] = {"data_type": "bigint" if whole else "text"}
        if name in endpoint.primary_key:
            columns[name]["nullable"] = False
    for name in endpoint.cursor_path:
        if name in endpoint.times:
            columns.setdefault(name, {"data_type": "timestamp"})
    if endpoint.primary_key:
        columns[DELETED_AT] = {"data_type": "timestamp"}
    columns[ROW_HASH] = {"data_type": "bigint"}
    return columns


def first_columns(endpoint: Endpoint) -> list[str]:
    """The first columns of the endpoint's table: those of the key, then the path parameters."""
    given = endpoint.parents.params if endpoint.parents else ()
    return list(dict.fromkeys((*endpoint.primary_key, *given)))


def build_resource(
    endpoint: Endpoint, items: Iterator[Any], types: Mapping[str, str], *, replaces: bool = False
) -> DltResource:
    """The endpoint's dlt resource, with its hints, over ``items``.

    Args:
        endpoint: The endpoint.
        items: Arrow tables, or dlt's marker that makes the table without a row.
        types: The type of each new column of the table, in dlt's terms and in order.
        replaces: Whether the items replace all rows of the table, as a snapshot does.
    """
    # if a package has a key twice, the later row wins
    moves = next((name for name in (*endpoint.cursor_path, "updated_at") if name in endpoint.times), None)
    columns: dict[str, TColumnSchema] = {name: {"data_type": kind} for name, kind in types.items()}  # type: ignore[typeddict-item]
    columns["_dlt_load_id"] = {"data_type": "text", "nullable": False}
    columns["_dlt_id"] = {"data_type": "text", "nullable": False, "unique": True, "row_key": True}
    for name in endpoint.primary_key:
        columns.setdefault(name, {})["nullable"] = False
    if moves in columns:
        columns[moves]["dedup_sort"] = "desc"
    resource: DltResource = dlt.resource(
        # not a generator, whose module dlt searches for among all that are imported
        chain(items),
        name=endpoint.name,
        primary_key=endpoint.primary_key,
        # a snapshot's table is replaced only by the rows of a complete read: with "replace", dlt empties the table of a
        # resource that yields nothing
        write_disposition="merge" if endpoint.primary_key else "replace" if replaces else "append",
        columns=columns,
    )
    return resource


def build_source(api: Api, resources: Iterable[DltResource]) -> DltSource:
    """A source named after the API: the schema that its pipeline keeps. Lists and objects become JSON columns."""

    @dlt.source(name=api.name, section=api.name, max_table_nesting=0)
    def source() -> Iterator[DltResource]:
        yield from resources

    return source()


def declared_source(api: Api) -> DltSource:
    """The API's resources without data, which describe its tables. Needs no settings and no connection."""

    def resource(endpoint: Endpoint) -> DltResource:
        return build_resource(endpoint, iter([dlt.mark.materialize_table_schema()]), empty_types(endpoint))

    return build_source(api, [resource(endpoint) for endpoint in api.endpoints])


def empty_types(endpoint: Endpoint, path_params: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The types of ``table_columns``, in dlt's terms."""
    return {name: str(column["data_type"]) for name, column in table_columns(endpoint, path_params).items()}


def _as_json(sent: Any) -> str:
    """A rejected row as JSON text that any destination takes, shortened if it is too long."""
    # PostgreSQL takes no NUL in JSON
    text = without_nul(json_text(sent))
    if len(text) > MAX_REJECTED:
        return orjson.dumps({"sent": text[:MAX_REJECTED], "characters": len(text)}).decode()
    return f'{{"sent":{text}}}'


def rejected_resource(rejected: Mapping[str, Sequence[tuple[str, Any]]]) -> DltResource:
    """The rejected rows of a sync by endpoint; a row that comes several times is stored once."""
    # imported here: definitions load without Arrow
    from analytics_ingest.extract.arrow import arrow_table  # noqa: PLC0415

    rows = [
        {
            "endpoint": endpoint,
            "reason": reason.replace("\0", REPLACEMENT),
            "row": _as_json(sent),
            ROW_HASH: sent_hash(sent),
        }
        for endpoint, sents in rejected.items()
        for reason, sent in sents
    ]
    types = {"endpoint": "text", "reason": "text", "row": "json", ROW_HASH: "bigint"}
    # the rows are JSON text already
    table = arrow_table(rows, types, required=("endpoint", ROW_HASH), is_native=lambda _name, _kind: True)
    resource: DltResource = dlt.resource(
        iter([table]),
        name=REJECTED,
        write_disposition="merge",
        primary_key=["endpoint", ROW_HASH],
        columns={"row": {"data_type": "json"}},
    )
    return resource
