"""The metadata of materialisations: counts that Dagster plots, the table's columns, a sample of its rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dagster import MetadataValue, TableColumn, TableColumnConstraints, TableRecord, TableSchema

from analytics_ingest.apis.column_descriptions import describe_table
from analytics_ingest.extract.dlt_source import table_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dagster import RawMetadataValue, TableMetadataValue
    from dlt.common.schema.typing import TColumnSchema

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.extract.stats import ReadStats
    from analytics_ingest.sync.result import EndpointResult

CELL = 60
"""Characters of a value that a sample shows."""
PLAIN = re.compile(r"[\w\s.,;:%+()'/-]*")
"""Text that markdown renders as it is, unless ``LINK`` occurs in it."""
LINK = re.compile(r"://|www\.|@", re.IGNORECASE)
"""Parts of a text that markdown turns into a link without any brackets."""


def declared_columns(endpoint: Endpoint) -> dict[str, TColumnSchema]:
    """The columns that the endpoint's table always has."""
    return {name: {**column, "name": name} for name, column in table_columns(endpoint).items()}


def column_schema(columns: Mapping[str, TColumnSchema], descriptions: Mapping[str, str]) -> TableSchema:
    """The table schema for Dagster of columns in dlt's terms.

    ``DagsterDltResource.extract_resource_metadata`` is not used: it removes the properties from the live schema, so
    that a second run in one process fails (``KeyError: 'name'``), and it has no columns where a sync loaded nothing.

    Args:
        columns: The columns.
        descriptions: By column its description, where there is one.
    """

    def position(name: str) -> int:
        """The key first, then the columns that the API sends, then our own and dlt's."""
        return 0 if columns[name].get("primary_key") else 2 if name.startswith("_") else 1

    return TableSchema(
        columns=[
            TableColumn(
                name=name,
                type=column.get("data_type") or "text",
                description=descriptions.get(name),
                constraints=TableColumnConstraints(
                    nullable=bool(column.get("nullable", True)),
                    other=["primary key"] if column.get("primary_key") else [],
                ),
            )
            for name, column in sorted(columns.items(), key=lambda item: position(item[0]))
            if column.get("data_type")
        ]
    )


def result_metadata(api: Api, result: EndpointResult, mode: str) -> Mapping[str, RawMetadataValue]:
    """The metadata of a materialisation: numbers to plot first, then further counts, the table and its columns.

    Args:
        api: The API.
        result: The endpoint's result.
        mode: Which rows the sync loads.
    """
    metadata: dict[str, Any] = _numbers(result) | {"sync_mode": mode}
    if result.stats:
        metadata |= _details(result, result.stats)
    for name, moment in (("highest_cursor", result.cursor), ("verified_at", result.verified_at)):
        if moment:
            metadata[name] = MetadataValue.timestamp(moment)
    if result.widened:
        metadata["columns_widened"] = MetadataValue.json(list(result.widened))
    if result.drift:
        metadata["drift"] = MetadataValue.json(list(result.drift))
    metadata["dagster/table_name"] = result.table_name or f"{api.name}.{result.endpoint.name}"
    if result.location:
        metadata["warehouse"] = result.location
    if result.columns:
        metadata["dagster/column_schema"] = column_schema(result.columns, describe_table(api, result.endpoint))
    if result.sample:
        metadata["sample"] = text_table(result.sample)
    return metadata


def _numbers(result: EndpointResult) -> dict[str, Any]:
    """What Dagster plots: few numbers, in the order in which people look at them."""
    numbers: dict[str, Any] = {}
    if result.rows_live is not None:
        # not those marked as deleted: Dagster shows it as what the table has
        numbers["dagster/row_count"] = MetadataValue.int(result.rows_live)
    if stats := result.stats:
        numbers |= {
            "rows_loaded": stats.rows_loaded,
            "rows_deleted": result.rows_deleted,
            "rows_rejected": stats.rows_rejected,
            "rows_read": stats.rows_read,
            "requests": stats.meter.requests,
            "duration_seconds": round(stats.seconds, 3),
        }
    return numbers


def _details(result: EndpointResult, stats: ReadStats) -> dict[str, Any]:
    """Further counts, as text: Dagster does not plot it. The checks read some of them in their next execution."""
    counts: dict[str, object] = {
        "rows_live": result.rows_live,
        "rows_before": result.rows_before,
        "rows_short": stats.rows_short,
        "rows_withheld": stats.rows_withheld,
        "lists_unsettled": stats.lists_unsettled,
        "pages": stats.pages,
        "retries": stats.meter.retries,
        "wait_seconds": round(stats.meter.wait_seconds, 3),
    }
    if stats.keys_ambiguous:
        counts["keys_ambiguous"] = stats.keys_ambiguous
    if result.endpoint.parents:
        counts |= {"parents": stats.parents, "parents_missing": stats.parents_missing}
    details: dict[str, Any] = {name: str(count) for name, count in counts.items() if count is not None}
    if stats.unproven_since:
        details["deletions_unproven_since"] = MetadataValue.timestamp(stats.unproven_since)
    return details


def text_table(rows: Sequence[Mapping[str, object]], *, cell: int | None = CELL) -> TableMetadataValue:
    """Rows as a table of plain text, which Dagster's UI does not render as markdown.

    Args:
        rows: The rows; the columns are those of the first one.
        cell: Characters of a value that are shown; ``None`` for all of them.
    """

    def shown(value: object) -> str:
        text = "" if value is None else " ".join(str(value).split())
        return text if cell is None or len(text) <= cell else f"{text[:cell]}…"

    names = list(rows[0])
    return MetadataValue.table(
        records=[TableRecord({name: shown(row.get(name)) for name in names}) for row in rows],
        schema=TableSchema(columns=[TableColumn(name=name, type="string") for name in names]),
    )


def unrendered(text: str) -> str:
    """``text`` so that Dagster's UI shows it unchanged where it renders markdown.

    The UI renders the descriptions of events, assets and check evaluations. Text with a character that can start a
    link, an image or HTML becomes a code span with more backticks than the text has in a row.
    """
    if PLAIN.fullmatch(text) and not LINK.search(text):
        return text
    flat = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", flat)), default=0))
    return f"{fence} {flat} {fence}"
