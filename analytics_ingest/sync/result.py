"""How one endpoint's part of a sync ended, and what its table looks like now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from analytics_ingest.extract.rows import DELETED_AT, ROW_HASH
from analytics_ingest.sync.table_checks import (
    ROWS_NOT_COLLAPSED,
    CheckResult,
    TableBefore,
    TableFacts,
    check_table,
    has_children,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from dlt.common.schema.typing import TTableSchemaColumns

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.extract.endpoint_reader import EndpointReader
    from analytics_ingest.extract.stats import ReadStats
    from analytics_ingest.extract.sync_context import SyncContext
    from analytics_ingest.warehouse.table_queries import Counts, DatasetTables
    from analytics_ingest.warehouse.verification_table import Verification


@dataclass(frozen=True, kw_only=True)
class EndpointResult:
    """How one endpoint's part of a sync ended.

    Attributes:
        endpoint: The endpoint.
        status: ``complete``: read completely and loaded. ``failed``: not read completely; the rows that came
            are loaded. ``skipped``: not read, because something it needs failed, a setting leaves it out, or the API
            has withdrawn it.
        reason: Why it failed or was skipped.
        is_withdrawn: Whether the API has withdrawn it; children are read by the rows that its table has.
        alarming: Whether a person has to act on the reason of a skipped endpoint.
        stats: What came, and what it cost.
        rows_deleted: Rows that this sync found gone upstream.
        table_rows: Rows in its table now; ``None`` if it was not loaded.
        rows_live: Rows among them that are not marked as deleted.
        rows_before: Rows that were not marked as deleted before the sync.
        columns: The table's columns, in dlt's terms.
        cursor: The highest cursor value of all syncs, UTC.
        checks: The results of the table's checks; empty unless the endpoint is complete.
        sample: The first rows of the table; empty unless ``SAMPLE_ROWS`` is set.
        widened: Which columns became wider for a value, a sentence for each.
        drift: Signs that the API changes the endpoint, or is about to, a sentence for each.
        location: Where its rows went, without secrets; empty unless it was read.
        table_name: The table with its database and schema; empty unless it was read.
        rows_hash: See ``LedgerRow.rows_hash``; ``None`` if the table was not read.
        verified_at: When the table was last proven against the API, UTC; ``None`` if never.
    """

    endpoint: Endpoint
    status: Literal["complete", "failed", "skipped"]
    reason: str = ""
    is_withdrawn: bool = False
    alarming: bool = False
    stats: ReadStats | None = None
    rows_deleted: int = 0
    table_rows: int | None = None
    rows_live: int | None = None
    rows_before: int = 0
    columns: TTableSchemaColumns | None = None
    cursor: datetime | None = None
    checks: Sequence[CheckResult] = ()
    sample: Sequence[dict[str, object]] = ()
    widened: Sequence[str] = ()
    drift: Sequence[str] = ()
    location: str = ""
    table_name: str = ""
    rows_hash: str | None = None
    verified_at: datetime | None = None

    @property
    def rows_new(self) -> int:
        """Rows among those loaded that the table did not have, or had marked as deleted; of a snapshot all of them."""
        loaded = self.stats.rows_loaded if self.stats else 0
        if not self.endpoint.primary_key:
            return loaded
        added = (self.rows_live or 0) - self.rows_before + self.rows_deleted
        return min(max(added, 0), loaded)

    def blocks(self, api: Api) -> str:
        """Why children of this table are skipped; empty if they can be read."""
        if self.is_withdrawn:
            return ""
        if self.status != "complete":
            return f"its parent {api.name}/{self.endpoint.name} was not read"
        for check in self.checks:
            if check.name == ROWS_NOT_COLLAPSED.name and not check.passed and has_children(api, self.endpoint):
                return (
                    f"its parent {api.name}/{self.endpoint.name} has collapsed ({check.message}): "
                    "see whether that is true, and sync again to go on"
                )
        return ""


def failure_reason(stats: ReadStats) -> str:
    """Why an endpoint was not read completely: its first failure, and how many more there are."""
    first = stats.failures[0]
    more = f" (and {len(stats.failures) - 1} more like it)" if len(stats.failures) > 1 else ""
    rest = "; after so many in a row the other parents were not requested" if stats.given_up else ""
    return f"{first.path} {first.reason}{more}{rest}"


def build_result(
    reader: EndpointReader,
    context: SyncContext,
    tables: DatasetTables,
    *,
    before: TableBefore,
    columns: TTableSchemaColumns | None,
    cursor: datetime | None,
    deleted: int,
    types: Mapping[str, str],
    location: str,
    database: str,
    verification: Verification | None,
) -> EndpointResult:
    """The result of an endpoint that was read, while its table can be queried.

    Args:
        reader: The endpoint's reader.
        context: The sync.
        tables: The API's tables.
        before: What the table was.
        columns: Its columns in dlt's terms; ``None`` if it has no table.
        cursor: The highest cursor value of all syncs, UTC.
        deleted: Rows that the sync marked as deleted.
        types: Its columns and their types, as they are in the destination.
        location: Where its rows went, without secrets.
        database: The database as SQL names it before the schema; empty if there is none.
        verification: How its table compares with the API; ``None`` if it was never compared.
    """
    name, stats = reader.endpoint.name, reader.stats
    if reader.provisional_paths_named:
        before = replace(before, paths={*before.paths, *reader.provisional_paths_named})
    reason = "" if reader.is_complete else stats.withdrawn or failure_reason(stats)
    checked = reader.is_complete and columns is not None
    sample_rows = context.settings.sample_rows
    counts = tables.counts(name, reader.endpoint.primary_key, where_null=DELETED_AT) if columns else None
    if reader.deletions.collapsed and counts and reader.deletions.remaining is not None:
        stats.rows_withheld = max(0, counts.live - reader.deletions.remaining)
    shown = [each for each in dict.fromkeys((*reader.endpoint.primary_key, *types)) if not each.startswith("_")]
    return EndpointResult(
        endpoint=reader.endpoint,
        status="complete" if reader.is_complete else "skipped" if stats.withdrawn else "failed",
        reason=reason,
        is_withdrawn=bool(stats.withdrawn),
        stats=stats,
        rows_deleted=deleted,
        table_rows=counts.rows if counts else None,
        rows_live=counts.live if counts else None,
        rows_before=before.rows,
        columns=columns,
        cursor=cursor,
        checks=check_table(
            _facts(reader, context, tables, counts, before=before, types=types, verification=verification)
        )
        if checked and counts
        else (),
        widened=reader.widened,
        drift=reader.drift,
        location=location,
        table_name=".".join(filter(None, (database, context.api.name, name))),
        sample=reader.masked(tables.sample(name, shown, sample_rows)) if checked and sample_rows else (),
        rows_hash=tables.sum_of(name, ROW_HASH, where_null=DELETED_AT if DELETED_AT in types else None)
        if counts and ROW_HASH in types
        else None,
        verified_at=verification.verified_at if verification else None,
    )


def _facts(
    reader: EndpointReader,
    context: SyncContext,
    tables: DatasetTables,
    counts: Counts,
    *,
    before: TableBefore,
    types: Mapping[str, str],
    verification: Verification | None,
) -> TableFacts:
    """The facts for the checks of an endpoint that was read completely and loaded."""
    repaired = reader.endpoint.name in context.options.repairs
    stats, deletions = reader.stats, reader.deletions
    return TableFacts(
        api=context.api,
        endpoint=reader.endpoint,
        tables=tables,
        counts=counts,
        rows_before=deletions.before,
        rows_now=deletions.remaining if deletions.collapsed and deletions.remaining is not None else counts.live,
        min_share=context.settings.min_rows_share,
        rows_withheld=stats.rows_withheld,
        rows_short=stats.rows_short,
        keys_ambiguous=stats.keys_ambiguous,
        lists_unsettled=stats.lists_unsettled,
        rows_rejected=stats.rows_rejected,
        rejected_reason=stats.rejected_reason,
        unproven_since=stats.unproven_since,
        # the newest row of a window, of a filtered list, or of some lists is no evidence
        newest_before=before.cursor if reader.reads_everything and not reader.plan.leaves_covered else None,
        newest=stats.highest,
        columns_before=before.columns,
        columns=types,
        widened=reader.widened,
        drift=reader.drift,
        paths=lambda: before.paths,
        # what a repair has loaded is compared with the API afterwards
        verification=verification.with_rows([]) if repaired and verification else verification,
        verify_requests=context.settings.verify_requests,
    )
