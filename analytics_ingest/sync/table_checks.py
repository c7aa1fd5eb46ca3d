"""What speaks for or against an endpoint's table after it was loaded: the facts behind Dagster's two asset checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analytics_ingest.extract.deletions import has_collapsed
from analytics_ingest.extract.rows import DELETED_AT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.extract.deletions import Deletions
    from analytics_ingest.extract.reading import ReadStats
    from analytics_ingest.warehouse.table_queries import Counts, DatasetTables

KEY_UNIQUE = "key_unique"
PARENTS_EXIST = "parents_exist"
ROWS_NOT_COLLAPSED = "rows_not_collapsed"
ROWS_AS_STATED = "rows_as_stated"
NEWEST_NOT_OLDER = "newest_not_older"
SCHEMA_UNCHANGED = "schema_unchanged"
SOUND = (KEY_UNIQUE, ROWS_NOT_COLLAPSED)
"""Findings whose failure is an error."""
WATCHED = (PARENTS_EXIST, ROWS_AS_STATED, NEWEST_NOT_OLDER, SCHEMA_UNCHANGED)
"""Findings whose failure is a warning."""
EXAMPLES = 5
OWN_COLUMNS = ("_dlt_load_id", "_dlt_id")


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One finding about one table.

    Attributes:
        name: One of the names above.
        passed: Whether all is well.
        said: What was found, for a person.
        numbers: What it was found by.
    """

    name: str
    passed: bool
    said: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


def findings_of(api: Api, endpoint: Endpoint) -> dict[str, str]:
    """The findings that there are about an endpoint's table, by name, with what each says when it passes."""
    said = {}
    if endpoint.primary_key:
        said[KEY_UNIQUE] = f"No two rows have the same {', '.join(endpoint.primary_key)}, and none lacks it."
    # the table of a snapshot is what this sync was given for all of its parents
    if endpoint.primary_key and endpoint.parents and not endpoint.parents.open_ended:
        said[PARENTS_EXIST] = f"Every row's {', '.join(endpoint.path_params)} is that of a parent that is there."
    stops = "; what is read for each of its rows is not read then" if feeds_others(api, endpoint) else ""
    said[ROWS_NOT_COLLAPSED] = f"Not many rows fewer than at the sync before (setting MIN_ROWS_SHARE){stops}."
    said[ROWS_AS_STATED] = (
        "As many rows came as the API's own totals state, its lists stood still meanwhile, and no row was rejected."
    )
    if endpoint.cursor_path:
        said[NEWEST_NOT_OLDER] = "The newest row is not older than the newest of the sync before."
    said[SCHEMA_UNCHANGED] = "The table has the columns that it had, of the same types."
    return said


def feeds_others(api: Api, endpoint: Endpoint) -> bool:
    """Whether other endpoints are read for each of its rows."""
    return any(endpoint.name in other.upstream for other in api.endpoints)


def key_unique(endpoint: Endpoint, doubled: int, lacking: int) -> CheckResult:
    """Whether the table's key is one, by the keys that more than one row has and the rows that lack a part of it."""
    key = ", ".join(endpoint.primary_key)
    said = f"{doubled} keys ({key}) have more than one row, {lacking} rows lack a part of it"
    return CheckResult(
        name=KEY_UNIQUE,
        passed=not doubled and not lacking,
        said=said,
        numbers={"doubled": doubled, "lacking": lacking},
    )


def parents_exist(endpoint: Endpoint, tables: DatasetTables, paths: Collection[str]) -> CheckResult:
    """Whether the rows that are there have a parent that is there, by the paths that the feed gives now."""
    found = tables.distinct(endpoint.name, endpoint.path_params, where_null=DELETED_AT)
    orphans = [
        values
        for values in found
        if endpoint.path_for(dict(zip(endpoint.path_params, values, strict=True))) not in paths
    ]
    shown = "; ".join(", ".join(map(str, values)) for values in orphans[:EXAMPLES])
    said = f"rows of {len(orphans)} parents that are not there: {shown}" if orphans else "every row's parent is there"
    return CheckResult(name=PARENTS_EXIST, passed=not orphans, said=said, numbers={"parents_gone": len(orphans)})


def rows_not_collapsed(before: int, now: int, *, share: float, withheld: int = 0) -> CheckResult:
    """Whether the table still has at least ``share`` of the rows that it had.

    Args:
        before: Rows before the sync, without those marked as deleted.
        now: Rows after it, without those that should be marked.
        share: The setting ``MIN_ROWS_SHARE``.
        withheld: Rows that should be marked as deleted and are not, as they are too many at once.
    """
    kept = f"; the {withheld} that did not come stay unmarked until the next sync finds the same" if withheld else ""
    return CheckResult(
        name=ROWS_NOT_COLLAPSED,
        passed=not withheld and not has_collapsed(before, now, share=share),
        said=f"{now} rows, {before} before{kept}",
        numbers={"rows": now, "rows_before": before, "rows_withheld": withheld},
    )


def rows_as_stated(
    short: int, unsettled: int, *, rejected: int = 0, reason: str = "", unproven_since: datetime | None = None
) -> CheckResult:
    """Whether all rows came that the envelopes state, off lists that stood still, and could be stored.

    Args:
        short: Rows that the envelopes state and that did not come.
        unsettled: Lists whose rows moved while they were read.
        rejected: Rows that cannot be stored.
        reason: Why the first of them was rejected.
        unproven_since: Since when rejected rows keep deletions from being marked, UTC.
    """
    said = f"{short} rows fewer than stated, rows moved between the pages of {unsettled} lists"
    if rejected:
        why = f" ({reason})" if reason else ""
        said += f"; {rejected} rows were rejected{why}, see the table _rejected_rows"
    if unproven_since:
        said += f"; where rows are rejected no deletion is marked, since {unproven_since:%Y-%m-%d %H:%M} UTC"
    return CheckResult(
        name=ROWS_AS_STATED,
        passed=not (short or unsettled or rejected or unproven_since),
        said=said,
        numbers={"rows_short": short, "lists_unsettled": unsettled, "rows_rejected": rejected},
    )


def newest_not_older(before: datetime | None, now: datetime | None) -> CheckResult:
    """Whether the newest row that came is at least as new as the newest of earlier syncs."""
    passed = before is None or (now is not None and now >= before)
    return CheckResult(
        name=NEWEST_NOT_OLDER,
        passed=passed,
        said=f"newest row {now.isoformat() if now else 'none'}, before {before.isoformat() if before else 'none'}",
    )


def schema_unchanged(before: Mapping[str, str], now: Mapping[str, str], widened: Sequence[str] = ()) -> CheckResult:
    """Whether the columns are those of before, one line for each that is not.

    Args:
        before: The columns before the sync and their types; empty if there was no table.
        now: The columns after it.
        widened: Which columns became wider, and by which row's value: a sentence for each.
    """
    changes = [f"{name} {kind} is new" for name, kind in now.items() if name not in before]
    changes += [f"{name} {kind} is gone" for name, kind in before.items() if name not in now]
    changes += [
        f"{name} is {now[name]}, was {kind}" for name, kind in before.items() if name in now and now[name] != kind
    ]
    changes = [] if not before else [each for each in changes if not each.startswith(OWN_COLUMNS)]
    said = "\n".join([*changes, *widened]) or "no column has changed"
    return CheckResult(name=SCHEMA_UNCHANGED, passed=not changes, said=said, numbers={"columns_changed": len(changes)})


@dataclass(frozen=True, kw_only=True)
class Before:
    """What an endpoint's table was before a sync.

    Attributes:
        rows: Rows that were there and not marked as deleted.
        cursor: The highest cursor value seen.
        columns: The columns and their types; empty if there was no table.
        paths: The paths of the parents that the feed gives; of an endpoint without parents its own.
    """

    rows: int
    cursor: datetime | None
    columns: Mapping[str, str]
    paths: Collection[str]


def findings(
    api: Api,
    endpoint: Endpoint,
    tables: DatasetTables,
    reading: ReadStats,
    *,
    counts: Counts,
    before: Before,
    columns: Mapping[str, str],
    whole: bool,
    share: float,
    deletions: Deletions,
    widened: Sequence[str] = (),
) -> Sequence[CheckResult]:
    """All findings about an endpoint that was read completely and loaded.

    Args:
        api: The API.
        endpoint: The endpoint.
        tables: The API's tables.
        reading: What came.
        counts: What the table counts.
        before: What the table was.
        columns: What its columns are.
        whole: Whether all there is was read, and not a window or what an API has filtered.
        share: The setting ``MIN_ROWS_SHARE``.
        deletions: Which rows are gone upstream, and whether they are marked.
        widened: Which columns became wider: a sentence for each.
    """
    remaining = deletions.remaining if deletions.collapsed and deletions.remaining is not None else counts.live
    made = {
        KEY_UNIQUE: lambda: key_unique(endpoint, counts.doubled, counts.lacking),
        PARENTS_EXIST: lambda: parents_exist(endpoint, tables, before.paths),
        ROWS_NOT_COLLAPSED: lambda: rows_not_collapsed(
            deletions.before, remaining, share=share, withheld=reading.rows_withheld
        ),
        ROWS_AS_STATED: lambda: rows_as_stated(
            reading.rows_short,
            reading.lists_unsettled,
            rejected=reading.rows_rejected,
            reason=reading.rejected_reason,
            unproven_since=reading.unproven_since,
        ),
        NEWEST_NOT_OLDER: lambda: newest_not_older(before.cursor if whole else None, reading.highest),
        SCHEMA_UNCHANGED: lambda: schema_unchanged(before.columns, columns, widened),
    }
    return [made[name]() for name in findings_of(api, endpoint)]
