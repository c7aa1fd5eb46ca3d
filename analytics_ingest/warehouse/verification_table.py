"""How far the comparison of each table with the API has come, and what it found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from analytics_ingest.warehouse.history_names import VERIFICATIONS
from analytics_ingest.warehouse.record_table import RecordTable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


@dataclass(frozen=True, kw_only=True)
class RowDifference:
    """A row that differs between a table and the API.

    Attributes:
        kind: ``missing``: only the API has it. ``extra``: only the table has it. ``changed``: its content differs.
            ``doubled``: several rows of the table have its key.
        key: The values of the key, as text; empty for an endpoint without a key, whose rows are compared together.
        path: The list that the row belongs to.
        stored: The hash of the row in the table.
        upstream: The hash of the row that came.
        seen_at: When it was seen first, UTC.
        counts: Whether it was seen twice, and so counts.
    """

    kind: Literal["missing", "extra", "changed", "doubled"]
    key: tuple[str, ...]
    path: str
    stored: str | None = None
    upstream: str | None = None
    seen_at: datetime
    counts: bool = False

    @property
    def identity(self) -> tuple[Any, ...]:
        """What is the same if the difference is seen again."""
        return self.kind, self.key, self.stored, self.upstream


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The comparison of one endpoint's table with the API. Each field is a column.

    Lists are compared in the order of their paths, some in each run. A *pass* is one comparison of all lists.

    Attributes:
        endpoint: The endpoint.
        verified_at: Start, UTC, of the last pass after which no difference was left; null without one.
        compared_at: Start of the last pass that came to its end.
        compared_before: Start of the pass before that.
        requests: Requests of the last pass that came to its end.
        pass_started_at: Start of the pass that has not come to its end; null without one.
        pass_path: The path up to which that pass has come.
        pass_requests: The requests that it has sent.
        pass_reason: Why a list of that pass could not be compared; null if all could.
        tried_at: When its comparison was last begun or gone on with, UTC.
        reason: Why it could not be; null if it could.
        differences: The rows that differ, as a JSON list of ``RowDifference``; null without any.
    """

    endpoint: str
    verified_at: datetime | None = None
    compared_at: datetime | None = None
    compared_before: datetime | None = None
    requests: int | None = None
    pass_started_at: datetime | None = None
    pass_path: str | None = None
    pass_requests: int | None = None
    pass_reason: str | None = None
    tried_at: datetime | None = None
    reason: str | None = None
    differences: str | None = None

    @property
    def rows(self) -> list[RowDifference]:
        """The rows that differ."""
        return [
            RowDifference(**{**each, "key": tuple(each["key"]), "seen_at": datetime.fromisoformat(each["seen_at"])})
            for each in json.loads(self.differences or "[]")
        ]

    @property
    def counting(self) -> list[RowDifference]:
        """The rows among them that were seen to differ twice."""
        return [each for each in self.rows if each.counts]

    def with_rows(self, rows: Sequence[RowDifference]) -> Verification:
        """The same with other differences."""
        text = json.dumps([{**asdict(each), "seen_at": each.seen_at.isoformat()} for each in rows]) if rows else None
        return replace(self, differences=text)


class VerificationTable(RecordTable[Verification]):
    """The table of the comparisons of one dataset, over an open connection."""

    table = VERIFICATIONS
    record = Verification

    def rows(self, columns: Collection[str]) -> dict[str, Verification]:
        """The comparisons by endpoint.

        Args:
            columns: The columns that the table has; one of an earlier version lacks some.
        """
        names = tuple(name for name in self.column_types() if name in columns)
        if not names:
            return {}
        found = self._sql.execute_sql(f"SELECT {', '.join(names)} FROM {self._name}")  # noqa: S608
        rows = [Verification(**dict(zip(names, map(_in_utc, values), strict=True))) for values in found or ()]
        return {row.endpoint: row for row in rows}

    def replace(self, rows: Sequence[Verification]) -> None:
        """Replaces the rows of some endpoints, all or none."""
        if not rows:
            return
        with self._sql.begin_transaction():
            endpoints = ", ".join(self._literal(row.endpoint) for row in rows)
            self._sql.execute_sql(f"DELETE FROM {self._name} WHERE endpoint IN ({endpoints})")  # noqa: S608
            self._insert(rows)


def _in_utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
