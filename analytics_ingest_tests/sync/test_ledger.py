"""The ledger: a row for each endpoint and sync, also when nothing changed and when it failed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest

from analytics_ingest.errors import AuthenticationError
from analytics_ingest.sync import api_sync
from analytics_ingest.sync.ledger_writer import ENDED
from analytics_ingest.sync.sync_run import SyncRun
from analytics_ingest.warehouse.sync_ledger import COMPLETE, LastSync, SyncLedger
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.fake_server import Asked, Response
from analytics_ingest_tests.stores import Store
from analytics_ingest_tests.trials import API, NAME, Rows, Trial

THINGS = [{"id": number, "name": f"thing {number}", "updated_at": "2026-01-01T00:00:00Z"} for number in range(4)]
PARTS = {str(number): [[{"id": 1}, {"id": 2}]] for number in range(4)}
ENDPOINTS = ["others", "parts", "states", "things"]


def ledger(store: Store) -> list[dict[str, Any]]:
    """The ledger, by sync and endpoint."""
    columns, rows = store.table(NAME, "_syncs")
    assert columns == list(SyncLedger.column_types())
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    return sorted(found, key=lambda row: (row["started_at"], row["endpoint"]))


class HourBehind:
    """A clock that was set back by an hour, in place of ``datetime``."""

    @staticmethod
    def now(tz: tzinfo) -> datetime:
        return datetime.now(tz) - timedelta(hours=1)


def facts(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a row says without times and fingerprints."""
    counts = ("rows_read", "rows_loaded", "rows_deleted", "rows_rejected", "requests")
    return (row["endpoint"], row["status"], row["reason"], *(row[name] for name in counts))


def test_every_sync_has_a_row_for_each_endpoint(store: Store, trial_api: Trial) -> None:
    before = datetime.now(UTC)
    trial_api.rows = Rows(things=[THINGS, [{"id": None}]], states=[[{"a": 1}]], parts=PARTS)
    trial_api.sync()
    trial_api.sync()
    trial_api.rows = Rows(things=[THINGS[:3]], states=[[{"a": 1}]], parts=PARTS)
    trial_api.sync("things", "others")
    first, second, third = (rows for rows in (ledger(store)[:4], ledger(store)[4:8], ledger(store)[8:]))

    assert [facts(row) for row in first] == [
        ("others", "complete", None, 3, 3, 0, 0, 1),
        ("parts", "complete", None, 8, 8, 0, 0, 4),
        ("states", "complete", None, 1, 1, 0, 0, 1),
        ("things", "complete", None, 5, 4, 0, 1, 2),
    ]
    assert [(row["endpoint"], row["rows_loaded"]) for row in second] == [(name, 0) for name in ENDPOINTS]
    assert [facts(row)[:5] for row in third] == [
        ("others", "complete", None, 3, 0),
        ("things", "complete", None, 3, 0),
    ]
    assert [row["rows_deleted"] for row in third] == [0, 1]
    for rows in (first, second, third):
        [run] = {row["run_id"] for row in rows}
        [started] = {row["started_at"] for row in rows}
        assert run
        assert before < started
        assert all(started < row["read_completely_at"] < datetime.now(UTC) for row in rows)
        assert [row["declaration"] for row in rows] == [API.by_name[row["endpoint"]].declaration for row in rows]
        assert {row["verified_at"] for row in rows} == {None}
        before = max(row["read_completely_at"] for row in rows)


@pytest.mark.parametrize("store", ["duckdb"], indirect=True)
def test_failed_and_skipped_endpoints_have_a_row_with_the_reason(store: Store, trial_api: Trial) -> None:
    trial_api.rows = Rows(things=[THINGS], parts=PARTS)
    answer = trial_api.rows.answer
    trial_api.rows.answer = lambda asked: Response(status=403, body=b"{}") if asked.path == "/things" else answer(asked)
    results = trial_api.sync()
    rows = {row["endpoint"]: row for row in ledger(store)}

    assert {name: row["status"] for name, row in rows.items()} == {
        "others": "complete",
        "states": "complete",
        "things": "failed",
        "parts": "skipped",
    }
    for name in ("things", "parts"):
        assert rows[name]["reason"] == results[name].reason
        assert rows[name]["read_completely_at"] is None
    assert rows["things"]["requests"] == 1


def test_a_first_sync_that_is_refused_has_rows_and_the_next_one_loads(store: Store, trial_api: Trial) -> None:
    trial_api.rows = Rows(things=[THINGS], parts=PARTS)
    answer = trial_api.rows.answer

    def refuse(asked: Asked) -> Response:
        return Response(status=401, body=b"{}")

    trial_api.rows.answer = refuse
    with pytest.raises(AuthenticationError) as refused:
        trial_api.sync()
    assert [facts(row)[:3] for row in ledger(store)] == [(name, "failed", str(refused.value)) for name in ENDPOINTS]

    trial_api.rows.answer = answer
    assert {result.status for result in trial_api.sync().values()} == {"complete"}
    assert [row["status"] for row in ledger(store)] == ["failed"] * 4 + ["complete"] * 4
    assert len(store.table(NAME, "parts")[1]) == 8


class Killed(BaseException):
    """In place of a signal that ends the process."""


def test_a_sync_whose_process_ends_is_interrupted(
    store: Store, trial_api: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial_api.rows = Rows(things=[THINGS], states=[[{"a": 1}]], parts=PARTS)

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(SyncRun, "_results_of", die)
        with pytest.raises(Killed):
            trial_api.sync()
    assert {row["status"] for row in ledger(store)} == {"started"}
    trial_api.sync()
    found = ledger(store)
    interrupted = [row for row in found if row["status"] == "interrupted"]

    assert interrupted
    assert {row["reason"] for row in interrupted} == {ENDED}
    assert [facts(row)[:2] for row in found[len(interrupted) :]] == [(name, "complete") for name in ENDPOINTS]


@pytest.mark.parametrize("store", ["duckdb"], indirect=True)
def test_old_rows_are_deleted_and_the_last_complete_sync_of_each_endpoint_stays(
    store: Store, trial_api: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial_api.rows = Rows(things=[THINGS], parts=PARTS)
    for _ in range(3):
        trial_api.sync()
    with store.writing() as execute:
        age = timedelta(days=60)
        execute(f"UPDATE {NAME}._syncs SET started_at = started_at - ?", [age])
        execute(f"UPDATE {NAME}._syncs SET started_at = started_at - ? WHERE endpoint <> 'parts'", [age])
    trial_api.sync("things")

    assert [(row["endpoint"], row["status"]) for row in ledger(store)] == [
        ("others", COMPLETE),
        ("states", COMPLETE),
        *[("parts", COMPLETE)] * 3,
        ("things", COMPLETE),
    ]
    configure_api(monkeypatch, NAME, ledger_retention=30)
    trial_api.sync("things")
    assert [row["endpoint"] for row in ledger(store)] == ["others", "states", "parts", "things", "things"]


def test_the_last_complete_sync_and_the_unfinished_ones_are_found(
    store: Store, trial_api: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial_api.rows = Rows(things=[THINGS], parts=PARTS)
    trial_api.sync()
    seen: list[Any] = []

    def noted(self: SyncLedger) -> Any:
        seen.append((unfinished(self)[0], self.last_syncs(SyncLedger.column_types())))
        return unfinished(self)

    unfinished = SyncLedger.unfinished
    monkeypatch.setattr(SyncLedger, "unfinished", noted)
    trial_api.sync()
    [(incomplete, complete)] = seen

    assert incomplete == {}
    names = LastSync._fields
    assert complete == {row["endpoint"]: LastSync(*(row[name] for name in names)) for row in ledger(store)[:4]}


def test_any_text_can_be_a_reason(store: Store, trial_api: Trial) -> None:
    trial_api.rows = Rows(things=[THINGS], parts=PARTS)
    text = "it's 100 % \\ \0 \n \u00e9 'x'); DROP TABLE _syncs; --"
    answer = trial_api.rows.answer

    def refuse(asked: Asked) -> Response:
        if asked.path != "/others":
            return answer(asked)
        return Response(status=400, body=text.encode(), headers={"Content-Type": "text/plain"})

    trial_api.rows.answer = refuse
    results = trial_api.sync()
    reasons = {row["endpoint"]: row["reason"] for row in ledger(store)}

    assert "it's 100 %" in results["others"].reason
    assert "DROP TABLE" in results["others"].reason
    assert reasons["others"] == results["others"].reason.replace("\0", " ")


def test_sync_after_the_clock_was_set_back_starts_after_the_one_before(
    store: Store, trial_api: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial_api.rows = Rows(things=[THINGS])
    trial_api.sync("things")
    monkeypatch.setattr(api_sync, "datetime", HourBehind)
    trial_api.rows = Rows(things=[THINGS[:3]])
    trial_api.sync("things")
    columns, rows = store.table(NAME, "things")
    deleted = [row[columns.index("_deleted_at")] for row in rows if row[columns.index("id")] == 3]
    first, second = ledger(store)

    assert [first["rows_deleted"], second["rows_deleted"]] == [0, 1]
    assert second["started_at"] == first["started_at"] + timedelta(microseconds=1)
    assert deleted == [second["started_at"]]


def test_sync_that_is_killed_after_the_clock_was_set_back_counts_as_interrupted(
    store: Store, trial_api: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial_api.rows = Rows(things=[THINGS[:2]])
    trial_api.sync("things")
    monkeypatch.setattr(api_sync, "datetime", HourBehind)
    trial_api.rows = Rows(things=[THINGS])
    with monkeypatch.context() as patch:
        patch.setattr(SyncRun, "_finish", lambda *_, **__: None)
        trial_api.sync("things")
    trial_api.sync("things")

    assert [row["status"] for row in ledger(store)] == ["complete", "interrupted", "complete"]
