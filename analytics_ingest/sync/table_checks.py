"""The checks of a table: entries of ``TABLE_CHECKS``, evaluated by the same facts with and without a sync.

Dagster shows them within two asset checks: ``table_sound`` has those whose failure is an error, ``table_watched`` those
whose failure is a warning.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from analytics_ingest.extract.deletions import has_collapsed
from analytics_ingest.extract.rows import DELETED_AT
from analytics_ingest.warehouse.verification_table import Verification

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.warehouse.table_queries import Counts, DatasetTables
    from analytics_ingest.warehouse.verification_table import RowDifference

MAX_EXAMPLES = 5
OWN_COLUMNS = ("_dlt_load_id", "_dlt_id")


@dataclass(frozen=True, kw_only=True)
class TableBefore:
    """An endpoint's table before a sync.

    Attributes:
        rows: Rows that were not marked as deleted.
        cursor: The highest cursor value of earlier syncs.
        columns: The columns and their types; empty if there was no table.
        paths: The paths of the endpoint's partitions.
    """

    rows: int
    cursor: datetime | None
    columns: Mapping[str, str]
    paths: Collection[str]


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """The facts by which the checks of one table are evaluated.

    Attributes:
        api: The API.
        endpoint: The endpoint.
        tables: The API's tables.
        counts: Counts of the table's rows.
        rows_before: Rows before the sync, without those marked as deleted.
        rows_now: Rows after it, without those that should be marked.
        min_share: The setting ``MIN_ROWS_SHARE``.
        rows_withheld: Rows that should be marked as deleted, but are too many to mark at once.
        rows_short: Rows that the envelopes state and that were not received.
        keys_ambiguous: Keys that came twice in a list with different contents.
        lists_unsettled: Lists whose rows moved while they were read.
        rows_rejected: Rows that cannot be stored.
        rejected_reason: Why the first of them was rejected.
        unproven_since: When rejected rows started to keep deletions from being marked, UTC.
        newest_before: The newest row of earlier syncs, UTC.
        newest: The newest row, UTC.
        columns_before: The columns before the sync and their types; empty if there was no table.
        columns: The columns and their types.
        widened: A sentence for each column that became wider, with the row whose value made it so.
        drift: Signs that the API changes the endpoint, or is about to, a sentence for each.
        paths: Gives the paths of the endpoint's partitions.
        verification: How the table compares with the API; ``None`` if it was never compared.
        verify_requests: The setting ``VERIFY_REQUESTS``.
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
    keys_ambiguous: int = 0
    lists_unsettled: int
    rows_rejected: int
    rejected_reason: str = ""
    unproven_since: datetime | None
    newest_before: datetime | None
    newest: datetime | None
    columns_before: Mapping[str, str]
    columns: Mapping[str, str]
    widened: Sequence[str] = ()
    drift: Sequence[str] = ()
    paths: Callable[[], Collection[str]]
    verification: Verification | None = None
    verify_requests: int = 0


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The result of a check of a table.

    Attributes:
        name: The check's name, which ``check_table`` sets.
        passed: Whether the check passed.
        message: What the check found.
        numbers: The numbers that decided it.
    """

    name: str = ""
    passed: bool
    message: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TableCheck:
    """One check of a table.

    Attributes:
        name: Its name, in the metadata of the asset check.
        is_error: Whether its failure is an error instead of a warning.
        describe: Gives what holds for an endpoint's table if the check passes; empty if it does not apply to it.
        evaluate: Checks a table.
    """

    name: str
    is_error: bool = False
    describe: Callable[[Api, Endpoint], str]
    evaluate: Callable[[TableFacts], CheckResult]


def has_children(api: Api, endpoint: Endpoint) -> bool:
    """Whether the endpoint is a parent of others."""
    return any(endpoint.name in other.upstream for other in api.endpoints)


def _describe_key(_api: Api, endpoint: Endpoint) -> str:
    key = ", ".join(endpoint.primary_key)
    if not key:
        return ""
    return f"Each row has a key ({key}) of its own. No list had two rows of one key with different contents."


def _evaluate_key(facts: TableFacts) -> CheckResult:
    key, doubled, lacking = ", ".join(facts.endpoint.primary_key), facts.counts.doubled, facts.counts.lacking
    message = f"each row has a key ({key}) of its own"
    if doubled or lacking:
        message = f"{doubled} keys ({key}) have more than one row, {lacking} rows lack a part of it"
    if ambiguous := facts.keys_ambiguous:
        message += (
            f"; {ambiguous} keys came twice in a list with different contents: the table has one row of each, not "
            "both. Report it: the key that the endpoint declares is not the API's, or the API sends two versions "
            "of a row"
        )
    return CheckResult(
        passed=not (doubled or lacking or ambiguous),
        message=message,
        numbers={"doubled": doubled, "lacking": lacking, "ambiguous": ambiguous},
    )


def _describe_parents(_api: Api, endpoint: Endpoint) -> str:
    # each sync replaces a snapshot, so that it has no rows of other parents
    if not endpoint.primary_key or not endpoint.parents or endpoint.parents.open_ended:
        return ""
    return f"Every row's {', '.join(endpoint.path_params)} is that of a parent that exists."


def _evaluate_parents(facts: TableFacts) -> CheckResult:
    endpoint, paths = facts.endpoint, facts.paths()
    found = facts.tables.distinct(endpoint.name, endpoint.path_params, where_null=DELETED_AT)
    orphans = [
        values
        for values in found
        if endpoint.path_for(dict(zip(endpoint.path_params, values, strict=True))) not in paths
    ]
    shown = "; ".join(", ".join(map(str, values)) for values in orphans[:MAX_EXAMPLES])
    return CheckResult(
        passed=not orphans,
        message=f"rows of {len(orphans)} parents that are not there: {shown}"
        if orphans
        else "every row's parent is there",
        numbers={"parents_gone": len(orphans)},
    )


def _describe_collapse(api: Api, endpoint: Endpoint) -> str:
    stops = "; if it has, its children are not read" if has_children(api, endpoint) else ""
    return f"The table has not lost too many rows since the sync before (setting MIN_ROWS_SHARE){stops}."


def _evaluate_collapse(facts: TableFacts) -> CheckResult:
    before, now, withheld = facts.rows_before, facts.rows_now, facts.rows_withheld
    kept = f"; the {withheld} that did not come stay unmarked until the next sync finds the same" if withheld else ""
    return CheckResult(
        passed=not withheld and not has_collapsed(before, now, share=facts.min_share),
        message=f"{now} rows, {before} before{kept}",
        numbers={"rows": now, "rows_before": before, "rows_withheld": withheld},
    )


def _evaluate_completeness(facts: TableFacts) -> CheckResult:
    short, unsettled, rejected = facts.rows_short, facts.lists_unsettled, facts.rows_rejected
    message = "each list came whole"
    if short or unsettled:
        message = f"{short} rows fewer than stated, rows moved between the pages of {unsettled} lists"
    if rejected:
        why = f" ({facts.rejected_reason})" if facts.rejected_reason else ""
        message += f"; {rejected} rows were rejected{why}, see the table _rejected_rows"
    if facts.unproven_since:
        message += f"; where rows are rejected no deletion is marked, since {facts.unproven_since:%Y-%m-%d %H:%M} UTC"
    return CheckResult(
        passed=not (short or unsettled or rejected or facts.unproven_since),
        message=message,
        numbers={"rows_short": short, "lists_unsettled": unsettled, "rows_rejected": rejected},
    )


def _evaluate_newest(facts: TableFacts) -> CheckResult:
    before, now = facts.newest_before, facts.newest
    return CheckResult(
        passed=before is None or (now is not None and now >= before),
        message=f"newest row {now.isoformat() if now else 'none'}, before {before.isoformat() if before else 'none'}",
    )


def _evaluate_schema(facts: TableFacts) -> CheckResult:
    before, now = facts.columns_before, facts.columns
    changes = [f"{name} {kind} is new" for name, kind in now.items() if name not in before]
    changes += [f"{name} {kind} is gone" for name, kind in before.items() if name not in now]
    changes += [
        f"{name} is {now[name]}, was {kind}" for name, kind in before.items() if name in now and now[name] != kind
    ]
    changes = [] if not before else [each for each in changes if not each.startswith(OWN_COLUMNS)]
    return CheckResult(
        passed=not changes,
        message="\n".join([*changes, *facts.widened]) or "no column has changed",
        numbers={"columns_changed": len(changes)},
    )


def _evaluate_drift(facts: TableFacts) -> CheckResult:
    return CheckResult(
        passed=not facts.drift,
        message="\n".join(facts.drift) or "no sign that the API changes",
        numbers={"signs_of_drift": len(facts.drift)},
    )


def _evaluate_verification(facts: TableFacts) -> CheckResult:
    found = facts.verification or Verification(endpoint=facts.endpoint.name)
    differ = found.counting
    parts = [_describe_rotation(found, facts.verify_requests)]
    if differ:
        parts = [
            f"{count_of_rows(differ)} from the API: {describe_differences(facts.endpoint, differ)}",
            f"analytics-ingest repair {facts.api.name} reads their lists again",
            *parts,
        ]
    return CheckResult(passed=not differ, message="; ".join(parts), numbers={"rows_that_differ": len(differ)})


def count_of_rows(differences: Sequence[RowDifference]) -> str:
    """How many rows differ, as the start of a sentence."""
    return "1 row differs" if len(differences) == 1 else f"{len(differences)} rows differ"


def describe_differences(endpoint: Endpoint, differences: Sequence[RowDifference]) -> str:
    """The first of the rows that differ, by kind and key."""
    shown = [
        f"{each.kind} {', '.join(f'{name}={part}' for name, part in zip(endpoint.primary_key, each.key, strict=False))}"
        if each.key
        else "the rows of the snapshot"
        for each in differences[:MAX_EXAMPLES]
    ]
    more = len(differences) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _describe_rotation(found: Verification, budget: int) -> str:
    """When the table was compared, how often it is, and why not if it was not."""
    parts = [
        f"last found equal to the API {found.verified_at:%Y-%m-%d %H:%M} UTC"
        if found.verified_at
        else "not compared with the API yet"
    ]
    if found.compared_at and found.compared_before:
        days = (found.compared_at - found.compared_before).total_seconds() / 86_400
        parts.append(f"compared every {days:.1f} days")
    elif not budget:
        parts.append("VERIFY_REQUESTS is 0")
    if found.reason:
        parts.append(found.reason)
    return "; ".join(parts)


ROWS_NOT_COLLAPSED = TableCheck(
    name="rows_not_collapsed", is_error=True, describe=_describe_collapse, evaluate=_evaluate_collapse
)
TABLE_CHECKS = (
    TableCheck(name="key_unique", is_error=True, describe=_describe_key, evaluate=_evaluate_key),
    TableCheck(name="parents_exist", describe=_describe_parents, evaluate=_evaluate_parents),
    ROWS_NOT_COLLAPSED,
    TableCheck(
        name="same_as_upstream",
        is_error=True,
        describe=lambda api, _endpoint: (
            f"No row differs from the API. The job {api.name}_verify compares the table with it, some lists a day "
            "(setting VERIFY_REQUESTS)."
        ),
        evaluate=_evaluate_verification,
    ),
    TableCheck(
        name="rows_as_stated",
        describe=lambda _api, _endpoint: (
            "As many rows were read as the API states, no list changed while it was read, and no row was rejected."
        ),
        evaluate=_evaluate_completeness,
    ),
    TableCheck(
        name="newest_not_older",
        describe=lambda _api, endpoint: (
            "The newest row is not older than that of the sync before." if endpoint.cursor_path else ""
        ),
        evaluate=_evaluate_newest,
    ),
    TableCheck(
        name="schema_unchanged",
        describe=lambda _api, _endpoint: "The table has the same columns and types as before.",
        evaluate=_evaluate_schema,
    ),
    TableCheck(
        name="no_drift",
        describe=lambda _api, _endpoint: (
            "No response has a header Deprecation, Sunset or Warning, no envelope has a new field, and no column lost "
            "its values in all rows."
        ),
        evaluate=_evaluate_drift,
    ),
)
"""All checks, in the order in which they are shown. A new one is an entry here."""


def checks_for(api: Api, endpoint: Endpoint) -> dict[TableCheck, str]:
    """The checks that apply to an endpoint's table, with their descriptions."""
    return {check: description for check in TABLE_CHECKS if (description := check.describe(api, endpoint))}


def check_table(facts: TableFacts) -> list[CheckResult]:
    """The results of the checks that apply to a table."""
    return [replace(check.evaluate(facts), name=check.name) for check in checks_for(facts.api, facts.endpoint)]
