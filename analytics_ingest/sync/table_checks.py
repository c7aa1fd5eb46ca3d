"""The checks of a table: each is one entry of ``TABLE_CHECKS``, judged by the same facts with a sync and without one.

Dagster shows them within two asset checks: ``table_sound`` has those whose failure is an error, ``table_watched`` those
whose failure is a warning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analytics_ingest.extract.deletions import has_collapsed
from analytics_ingest.extract.rows import DELETED_AT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.warehouse.table_queries import Counts, DatasetTables

MAX_EXAMPLES = 5
OWN_COLUMNS = ("_dlt_load_id", "_dlt_id")


@dataclass(frozen=True, kw_only=True)
class TableBefore:
    """What an endpoint's table was before a sync.

    Attributes:
        rows: Rows that were there and not marked as deleted.
        cursor: The highest cursor value seen.
        columns: The columns and their types; empty if there was no table.
        paths: The paths of the endpoint's partitions.
    """

    rows: int
    cursor: datetime | None
    columns: Mapping[str, str]
    paths: Collection[str]


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """What the checks of one table judge by.

    Attributes:
        api: The API.
        endpoint: The endpoint.
        tables: The API's tables.
        counts: What the table counts.
        rows_before: Rows before the sync, without those marked as deleted.
        rows_now: Rows after it, without those that should be marked.
        min_share: The setting ``MIN_ROWS_SHARE``.
        rows_withheld: Rows that should be marked as deleted and are not, as they are too many at once.
        rows_short: Rows that the envelopes state and that did not come.
        lists_unsettled: Lists whose rows moved while they were read.
        rows_rejected: Rows that cannot be stored.
        rejected_reason: Why the first of them was rejected.
        unproven_since: Since when rejected rows keep deletions from being marked, UTC.
        newest_before: The newest row of earlier syncs, UTC.
        newest: The newest row, UTC.
        columns_before: The columns before the sync and their types; empty if there was no table.
        columns: The columns and their types.
        widened: Which columns became wider, and by which row's value: a sentence for each.
        paths: Gives the paths of the endpoint's partitions.
    """

    api: Api
    endpoint: Endpoint
    tables: DatasetTables
    counts: Counts
    rows_before: int
    rows_now: int
    min_share: float
    rows_withheld: int
    rows_short: int
    lists_unsettled: int
    rows_rejected: int
    rejected_reason: str = ""
    unproven_since: datetime | None
    newest_before: datetime | None
    newest: datetime | None
    columns_before: Mapping[str, str]
    columns: Mapping[str, str]
    widened: Sequence[str] = ()
    paths: Callable[[], Collection[str]]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a check says of a table.

    Attributes:
        passed: Whether all is well.
        message: What was found, for a person.
        numbers: What it was found by.
    """

    passed: bool
    message: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CheckResult(Judgement):
    """What the check ``name`` says of a table."""

    name: str


@dataclass(frozen=True, kw_only=True)
class TableCheck:
    """One check of a table.

    Attributes:
        name: Its name, in the metadata of the asset check.
        is_error: Whether its failure is an error, and not a warning.
        describe: What it says when it passes, of an endpoint; empty for an endpoint that it does not apply to.
        judge: Judges a table.
    """

    name: str
    is_error: bool = False
    describe: Callable[[Api, Endpoint], str]
    judge: Callable[[TableFacts], Judgement]


def has_children(api: Api, endpoint: Endpoint) -> bool:
    """Whether other endpoints are read for each of its rows."""
    return any(endpoint.name in other.upstream for other in api.endpoints)


def _describe_key(_api: Api, endpoint: Endpoint) -> str:
    key = ", ".join(endpoint.primary_key)
    return f"No two rows have the same {key}, and none lacks it." if key else ""


def _judge_key(facts: TableFacts) -> Judgement:
    key, doubled, lacking = ", ".join(facts.endpoint.primary_key), facts.counts.doubled, facts.counts.lacking
    return Judgement(
        passed=not doubled and not lacking,
        message=f"{doubled} keys ({key}) have more than one row, {lacking} rows lack a part of it",
        numbers={"doubled": doubled, "lacking": lacking},
    )


def _describe_parents(_api: Api, endpoint: Endpoint) -> str:
    # the table of a snapshot is what this sync was given for all of its parents
    if not endpoint.primary_key or not endpoint.parents or endpoint.parents.open_ended:
        return ""
    return f"Every row's {', '.join(endpoint.path_params)} is that of a parent that is there."


def _judge_parents(facts: TableFacts) -> Judgement:
    endpoint, paths = facts.endpoint, facts.paths()
    found = facts.tables.distinct(endpoint.name, endpoint.path_params, where_null=DELETED_AT)
    orphans = [
        values
        for values in found
        if endpoint.path_for(dict(zip(endpoint.path_params, values, strict=True))) not in paths
    ]
    shown = "; ".join(", ".join(map(str, values)) for values in orphans[:MAX_EXAMPLES])
    return Judgement(
        passed=not orphans,
        message=f"rows of {len(orphans)} parents that are not there: {shown}"
        if orphans
        else "every row's parent is there",
        numbers={"parents_gone": len(orphans)},
    )


def _describe_collapse(api: Api, endpoint: Endpoint) -> str:
    stops = "; what is read for each of its rows is not read then" if has_children(api, endpoint) else ""
    return f"Not many rows fewer than at the sync before (setting MIN_ROWS_SHARE){stops}."


def _judge_collapse(facts: TableFacts) -> Judgement:
    before, now, withheld = facts.rows_before, facts.rows_now, facts.rows_withheld
    kept = f"; the {withheld} that did not come stay unmarked until the next sync finds the same" if withheld else ""
    return Judgement(
        passed=not withheld and not has_collapsed(before, now, share=facts.min_share),
        message=f"{now} rows, {before} before{kept}",
        numbers={"rows": now, "rows_before": before, "rows_withheld": withheld},
    )


def _judge_completeness(facts: TableFacts) -> Judgement:
    short, unsettled, rejected = facts.rows_short, facts.lists_unsettled, facts.rows_rejected
    message = f"{short} rows fewer than stated, rows moved between the pages of {unsettled} lists"
    if rejected:
        why = f" ({facts.rejected_reason})" if facts.rejected_reason else ""
        message += f"; {rejected} rows were rejected{why}, see the table _rejected_rows"
    if facts.unproven_since:
        message += f"; where rows are rejected no deletion is marked, since {facts.unproven_since:%Y-%m-%d %H:%M} UTC"
    return Judgement(
        passed=not (short or unsettled or rejected or facts.unproven_since),
        message=message,
        numbers={"rows_short": short, "lists_unsettled": unsettled, "rows_rejected": rejected},
    )


def _judge_newest(facts: TableFacts) -> Judgement:
    before, now = facts.newest_before, facts.newest
    return Judgement(
        passed=before is None or (now is not None and now >= before),
        message=f"newest row {now.isoformat() if now else 'none'}, before {before.isoformat() if before else 'none'}",
    )


def _judge_schema(facts: TableFacts) -> Judgement:
    before, now = facts.columns_before, facts.columns
    changes = [f"{name} {kind} is new" for name, kind in now.items() if name not in before]
    changes += [f"{name} {kind} is gone" for name, kind in before.items() if name not in now]
    changes += [
        f"{name} is {now[name]}, was {kind}" for name, kind in before.items() if name in now and now[name] != kind
    ]
    changes = [] if not before else [each for each in changes if not each.startswith(OWN_COLUMNS)]
    return Judgement(
        passed=not changes,
        message="\n".join([*changes, *facts.widened]) or "no column has changed",
        numbers={"columns_changed": len(changes)},
    )


ROWS_NOT_COLLAPSED = TableCheck(
    name="rows_not_collapsed", is_error=True, describe=_describe_collapse, judge=_judge_collapse
)
TABLE_CHECKS = (
    TableCheck(name="key_unique", is_error=True, describe=_describe_key, judge=_judge_key),
    TableCheck(name="parents_exist", describe=_describe_parents, judge=_judge_parents),
    ROWS_NOT_COLLAPSED,
    TableCheck(
        name="rows_as_stated",
        describe=lambda _api, _endpoint: (
            "As many rows came as the API's own totals state, its lists stood still meanwhile, and no row was rejected."
        ),
        judge=_judge_completeness,
    ),
    TableCheck(
        name="newest_not_older",
        describe=lambda _api, endpoint: (
            "The newest row is not older than the newest of the sync before." if endpoint.cursor_path else ""
        ),
        judge=_judge_newest,
    ),
    TableCheck(
        name="schema_unchanged",
        describe=lambda _api, _endpoint: "The table has the columns that it had, of the same types.",
        judge=_judge_schema,
    ),
)
"""Every check, in the order in which they are shown. A new one is an entry here."""


def checks_for(api: Api, endpoint: Endpoint) -> dict[TableCheck, str]:
    """The checks that apply to an endpoint's table, with what each says when it passes."""
    return {check: said for check in TABLE_CHECKS if (said := check.describe(api, endpoint))}


def check_table(facts: TableFacts) -> list[CheckResult]:
    """What the checks that apply to a table say of it."""
    results = []
    for check in checks_for(facts.api, facts.endpoint):
        found = check.judge(facts)
        results.append(CheckResult(name=check.name, passed=found.passed, message=found.message, numbers=found.numbers))
    return results
