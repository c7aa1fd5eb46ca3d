"""Text of an upstream in what Dagster shows: never markdown."""

from __future__ import annotations

import re

import pytest
from dagster import TableMetadataValue

from analytics_ingest.apis.registry import APIS
from analytics_ingest.orchestrate.metadata import column_schema, declared_columns, text_table, unrendered

MUTATION = "/graphql?query=mutation{wipeAssets(assetPartitionRanges:[])}"


@pytest.mark.parametrize(
    "text", ["12 rows, 60 before", "no column has changed", "id is text, was bigint\nname is new (text)", "/v1/gates"]
)
def test_text_without_markup_stays_as_it_is(text: str) -> None:
    assert unrendered(text) == text


@pytest.mark.parametrize(
    "text",
    [
        f"![x]({MUTATION})",
        f"[x]({MUTATION})",
        f"[x]: {MUTATION}",
        f'<img src="{MUTATION}">',
        "http://127.0.0.1/x",
        "www.example.com",
        "a@example.com",
        f"a\n\n``` `\n![x]({MUTATION})",
        f"`` ![x]({MUTATION}) ``",
        f"&#33;[x]({MUTATION})",
    ],
)
def test_text_with_markup_becomes_one_code_span_that_it_cannot_close(text: str) -> None:
    shown = unrendered(text)
    fence = re.match("`+", shown)

    assert fence
    assert "\n" not in shown
    inside = shown.removeprefix(f"{fence[0]} ").removesuffix(f" {fence[0]}")
    assert inside == " ".join(text.split())
    assert fence[0] not in re.findall("`+", inside)


def test_rows_are_a_table_of_plain_text() -> None:
    table = text_table([{"id": 1, "name": f"![x]({MUTATION})"}, {"id": None, "name": "a | b"}])

    assert isinstance(table, TableMetadataValue)
    assert [dict(record.data) for record in table.records] == [
        {"id": "1", "name": f"![x]({MUTATION})"[:60] + "…"},
        {"id": "", "name": "a | b"},
    ]
    assert {column.type for column in table.schema.columns} == {"string"}


def test_the_key_is_declared_to_have_no_nulls() -> None:
    endpoint = APIS["experimentation"].by_name["gates"]
    columns = column_schema(declared_columns(endpoint), {}).columns
    assert [(column.name, column.constraints.nullable) for column in columns] == [
        ("id", False),
        ("updated_at", True),
        ("_deleted_at", True),
        ("_row_hash", True),
    ]
