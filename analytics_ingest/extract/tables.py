"""The tables that endpoints are loaded into: columns known beforehand, and resources that carry them."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import dlt
import orjson

from analytics_ingest.extract.rows import DELETED_AT, ROW_HASH, json_text, sent_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dlt.common.schema.typing import TColumnSchema
    from dlt.sources import DltResource, DltSource

    from analytics_ingest.apis import Api, Endpoint

REJECTED = "_rejected_rows"
"""Table of rows that could not be stored, with endpoint, reason and the row as JSON."""
MAX_REJECTED = 1_000_000
"""Characters of a rejected row that are kept."""


def known_columns(endpoint: Endpoint) -> dict[str, TColumnSchema]:
    """Columns whose type does not depend on what comes: timestamps in UTC, the content hash, the mark of deletion."""
    columns: dict[str, TColumnSchema] = {
        name: {"data_type": "timestamp"} for name in endpoint.timestamps if "." not in name
    }
    moves = next((name for name in (*endpoint.cursor_path, "updated_at") if name in columns), None)
    if moves:
        # of two rows with one key in a package, the later one stays
        columns[moves]["dedup_sort"] = "desc"
    columns[ROW_HASH] = {"data_type": "bigint"}
    if endpoint.primary_key:
        columns[DELETED_AT] = {"data_type": "timestamp"}
    return columns


def first_columns(endpoint: Endpoint, row: Mapping[str, Any]) -> dict[str, TColumnSchema]:
    """Types of the key's columns and the path parameters, as ``row`` has them; text where it has none.

    dlt would take a key that looks like a date for a timestamp, and create no column at all for a table
    without rows.
    """
    given = endpoint.parents.params if endpoint.parents else ()
    columns: dict[str, TColumnSchema] = {}
    for name in dict.fromkeys((*endpoint.primary_key, *given)):
        value = row.get(name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        columns[name] = {"data_type": "bigint" if whole else "text"}
        if name in endpoint.primary_key:
            columns[name]["nullable"] = False
    return columns


def first_rows(endpoint: Endpoint, rows: Sequence[Mapping[str, Any]]) -> Any:
    """The first rows of a table, with the types of key columns in front of them."""
    return dlt.mark.with_hints(rows, dlt.mark.make_hints(columns=first_columns(endpoint, rows[0])))


def schema_only(endpoint: Endpoint, parents: Sequence[Mapping[str, Any]]) -> Any:
    """An item that makes the endpoint's table with the columns known beforehand, and no row."""
    # known columns are named again: an endpoint without a key has no others, and no columns at all take the known away
    columns = known_columns(endpoint) | first_columns(endpoint, parents[0] if parents else {})
    hints = dlt.mark.make_hints(columns=columns)
    return dlt.mark.with_hints(dlt.mark.materialize_table_schema(), hints)


def build_resource(endpoint: Endpoint, items: Iterator[Any]) -> DltResource:
    """The endpoint's dlt resource, with its hints, over ``items``."""
    resource: DltResource = dlt.resource(
        # of a generator dlt looks for the module that it is from, among all that are imported
        chain(items),
        name=endpoint.name,
        primary_key=endpoint.primary_key,
        # a snapshot's table is replaced only by the rows of a complete read (dlt empties the table of a
        # resource marked so that yields nothing), which then say so themselves
        write_disposition="merge" if endpoint.primary_key else "append",
        columns=known_columns(endpoint),
    )
    return resource


def build_source(api: Api, resources: Iterable[DltResource]) -> DltSource:
    """A source named after the API: the schema that its pipeline keeps. Lists and objects become JSON columns."""

    @dlt.source(name=api.name, section=api.name, max_table_nesting=0)
    def source() -> Iterator[DltResource]:
        yield from resources

    return source()


def declared_source(api: Api) -> DltSource:
    """The API's resources without data: extracted, they make its tables. Needs no settings and no connection."""

    def resource(endpoint: Endpoint) -> DltResource:
        return build_resource(endpoint, iter([schema_only(endpoint, [])]))

    return build_source(api, [resource(endpoint) for endpoint in api.endpoints])


def _as_json(sent: Any) -> dict[str, Any]:
    """A rejected row as any destination takes it in a JSON column: as JSON text where it is too deep or too long."""
    # PostgreSQL takes no NUL in JSON
    text = json_text(sent).replace("\\u0000", "\ufffd")
    if len(text) > MAX_REJECTED:
        return {"sent": text[:MAX_REJECTED], "characters": len(text)}
    try:
        orjson.dumps({"sent": sent})
    except TypeError:
        return {"sent": text}
    return {"sent": orjson.loads(text)}


def rejected_resource(rejected: Mapping[str, Sequence[tuple[str, Any]]]) -> DltResource:
    """The rejected rows of a sync by endpoint, each kept once however often it comes."""

    def items() -> Iterator[Any]:
        for endpoint, rows in rejected.items():
            for reason, sent in rows:
                yield {"endpoint": endpoint, "reason": reason, "row": _as_json(sent), ROW_HASH: sent_hash(sent)}

    resource: DltResource = dlt.resource(
        items(),
        name=REJECTED,
        write_disposition="merge",
        primary_key=["endpoint", ROW_HASH],
        columns={"row": {"data_type": "json"}},
    )
    return resource
