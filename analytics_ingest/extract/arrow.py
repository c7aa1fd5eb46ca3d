"""Makes Arrow tables of rows, with the column types of the warehouse.

Why not let dlt normalise the rows: it types a column by its first value and puts other values into columns beside it,
reads texts that start with characters of Unicode's private use area as numbers and times, and takes four times as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.normalizers.utils import generate_dlt_ids

from analytics_ingest.extract.column_types import CONVERSIONS
from analytics_ingest.json_text import REPLACEMENT, without_nul

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

ARROW: Mapping[str, pa.DataType] = {
    "bigint": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "text": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
    "json": pa.string(),
}
"""By type, in dlt's terms, Arrow's type."""


def arrow_table(
    rows: Sequence[Mapping[str, Any]],
    types: Mapping[str, str],
    *,
    required: Collection[str] = (),
    is_native: Callable[[str, str], bool] = lambda name, kind: kind != "json",  # noqa: ARG005
    takes_nul: bool = True,
) -> pa.Table:
    """Rows as an Arrow table, with dlt's columns last.

    Args:
        rows: The rows.
        types: The columns, and their types in dlt's terms; every value fits its column.
        required: Columns without nulls.
        is_native: Whether every value of a column is one that its type holds without conversion.
        takes_nul: Whether the destination's texts may hold the character NUL; else it becomes U+FFFD.
    """
    fields, arrays = [], []
    for name, kind in types.items():
        values = [row.get(name) for row in rows]
        if not is_native(name, kind):
            convert = CONVERSIONS[kind]
            values = [None if value is None else convert(value) for value in values]
        array = pa.array(values, type=ARROW[kind])
        if not takes_nul and kind in ("text", "json"):
            array = _without_nul(array, kind)
        fields.append(pa.field(name, ARROW[kind], nullable=name not in required))
        arrays.append(array)
    # replaced by dlt, which would put it last
    fields.append(pa.field("_dlt_load_id", pa.string(), nullable=False))
    arrays.append(pa.nulls(len(rows), pa.string()))
    fields.append(pa.field("_dlt_id", pa.string(), nullable=False))
    arrays.append(pa.array(generate_dlt_ids(len(rows)), type=pa.string()))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _without_nul(array: pa.Array, kind: str) -> pa.Array:
    if kind == "text":
        return pc.replace_substring(array, "\0", REPLACEMENT)
    if not pc.any(pc.match_substring(array, "\\u0000")).as_py():
        return array
    return pa.array([None if text is None else without_nul(text) for text in array.to_pylist()], type=pa.string())
